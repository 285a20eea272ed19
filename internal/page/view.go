package page

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
)

// A view is a Status with what the page concludes from it.
type view struct {
	*Status
	Verdict  string // "ok", "warning", "critical" or "idle"
	Problems []problem
	More     int // problems that are not listed
	Takes    int // instances that take requests
	Count    int // of all instances
	Rows     []modelRow
	Spark    *Spark // of all instances
}

// problem is one line below the verdict.
type problem struct {
	Severity Severity
	Subject  string // a name
	Text     string // key in the table of texts, or empty
	Reason   string
}

// modelRow heads a model's instances in the table.
type modelRow struct {
	Key string
	*Model
	Takes, Count      int
	InFlight          int64
	RequestsPerSecond float64
	TokensPerSecond   float64
	ErrorShare        float64 // weighted by requests
	Spark             *Spark
	Instances         []instanceRow
}

// instanceRow is an instance in the table.
type instanceRow struct {
	Key, ModelKey string
	Tier          string
	Steer         bool // it has buttons
	*Instance
}

// Drained reports whether somebody lets it drain who can end that here.
func (r instanceRow) Drained() bool { return r.State == Draining && r.By != "file" }

// Out reports whether it is left out for failures, or by hand.
func (r instanceRow) Out() bool { return r.State == Ejected || r.State == HalfOpen }

const (
	listedProblems = 6
	shownEvents    = 100
)

// newView concludes. A verdict is critical if a model has nobody, or an alert says
// so; it is a warning if an instance is out, a model lives on its fallback, the file
// was rejected, or an alert says so.
func newView(s *Status) *view {
	v := &view{Status: s, Verdict: "ok"}
	if len(s.Events) > shownEvents {
		shown := *s
		shown.Events = s.Events[:shownEvents]
		v.Status = &shown
	}
	var all sum
	for i := range s.Models {
		row := v.addModel(&s.Models[i])
		all.add(row.Spark)
		v.Takes, v.Count = v.Takes+row.Takes, v.Count+row.Count
	}
	v.Spark = all.spark
	if !s.Config.Valid {
		v.problem(Warning, problem{Text: "config.rejected"})
	}
	for _, a := range s.Alerts {
		// What the states say already is not said again, but an alert may be graver.
		if known := v.find(a.Instance, a.Model); known != nil && a.Severity == Critical {
			known.Severity, v.Verdict = Critical, "critical"
		} else if known == nil && a.Severity != Info {
			v.problem(a.Severity, problem{Subject: cmp.Or(a.Instance, a.Model), Text: "event." + a.Kind, Reason: a.Reason})
		}
	}
	slices.SortStableFunc(v.Problems, func(a, b problem) int { return cmp.Compare(a.Severity, b.Severity) }) // "critical" < "warning"
	if v.Count == 0 && v.Verdict == "ok" {
		v.Verdict = "idle"
	}
	if n := len(v.Problems); n > listedProblems {
		v.Problems, v.More = v.Problems[:listedProblems], n-listedProblems
	}
	return v
}

func (v *view) problem(s Severity, p problem) {
	p.Severity = s
	v.Problems = append(v.Problems, p)
	if s == Critical || v.Verdict == "ok" {
		v.Verdict = string(s)
	}
}

// find returns the problem of one of names, if it has been found already.
func (v *view) find(names ...string) *problem {
	for i, p := range v.Problems {
		if p.Subject != "" && slices.Contains(names, p.Subject) {
			return &v.Problems[i]
		}
	}
	return nil
}

func (v *view) addModel(m *Model) *modelRow {
	row := modelRow{Key: "m-" + key(m.Name), Model: m}
	switch m.State {
	case ModelEmpty:
		v.problem(Critical, problem{Subject: m.Name, Text: "problem.empty"})
	case ModelOnFallback:
		v.problem(Warning, problem{Subject: m.Name, Text: "problem.on_fallback"})
	default:
	}
	var past sum
	failed := 0.0
	for t := range m.Tiers {
		tier := &m.Tiers[t]
		for i := range tier.Instances {
			in := &tier.Instances[i]
			row.Instances = append(row.Instances, instanceRow{
				Key: "i-" + key(m.Name, in.ID), ModelKey: row.Key, Tier: tier.Tier, Instance: in,
			})
			row.Count++
			if in.takes() {
				row.Takes++
			}
			row.InFlight += in.InFlight
			row.RequestsPerSecond += in.RequestsPerSecond
			row.TokensPerSecond += in.TokensPerSecond
			failed += in.ErrorShare * in.RequestsPerSecond
			past.add(in.Spark)
			if in.State.Bad() {
				v.problem(Warning, problem{Subject: in.Name, Text: "state." + string(in.State), Reason: in.Reason})
			}
		}
	}
	if row.RequestsPerSecond > 0 {
		row.ErrorShare = failed / row.RequestsPerSecond
	}
	row.Spark = past.spark
	v.Rows = append(v.Rows, row)
	return &v.Rows[len(v.Rows)-1]
}

// takes reports whether the instance gets new requests as usual.
func (in *Instance) takes() bool { return in.State == Serving || in.State == Ramping }

// Bad reports whether an instance in this state is out against its operator's will.
func (s InstanceState) Bad() bool { return s == Ejected || s == HalfOpen || s == Resting }

// Rank orders states by how much they want to be looked at, for sorting.
func (s InstanceState) Rank() int {
	return slices.Index([]InstanceState{Ejected, HalfOpen, Resting, Off, Draining, Ramping, Serving}, s)
}

// Rank orders the states of models likewise.
func (s ModelState) Rank() int {
	return slices.Index([]ModelState{ModelEmpty, ModelOnFallback, ModelServing}, s)
}

// key makes an element's id of names that may hold anything.
func key(names ...string) string {
	h := fnv.New64a()
	for _, name := range names {
		fmt.Fprintf(h, "%d:%s", len(name), name)
	}
	return strconv.FormatUint(h.Sum64(), 36)
}

// sum adds sparks up.
type sum struct{ spark *Spark }

func (s *sum) add(more *Spark) {
	if more == nil || len(more.Requests) == 0 {
		return
	}
	if s.spark == nil {
		s.spark = &Spark{StepSeconds: more.StepSeconds}
	}
	s.spark.Requests = plus(s.spark.Requests, more.Requests)
	s.spark.Errors = plus(s.spark.Errors, more.Errors)
}

// plus adds two series whose last values are of the same time.
func plus(a, b []int64) []int64 {
	if len(a) < len(b) {
		a = slices.Concat(make([]int64, len(b)-len(a)), a)
	}
	for i, n := range b {
		a[len(a)-len(b)+i] += n
	}
	return a
}

// count returns how many requests ended and how many of them failed.
func (s *Spark) count() (requests, errors int64) {
	for _, n := range s.Requests {
		requests += n
	}
	for _, n := range s.Errors {
		errors += n
	}
	return requests, errors
}

// Data writes the spark for the script: the step, the requests, the errors.
func (s *Spark) Data() string {
	var b strings.Builder
	b.WriteString(strconv.Itoa(s.StepSeconds))
	for _, series := range [][]int64{s.Requests, s.Errors} {
		b.WriteByte('|')
		for i, n := range series {
			if i > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(strconv.FormatInt(n, 10))
		}
	}
	return b.String()
}
