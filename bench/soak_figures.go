//go:build linux

package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/soak"
)

// sample is what the gateway had of everything at some moment: a line of the soak's file.
type sample struct {
	Kind    string  `json:"kind"`
	Seconds float64 `json:"seconds"` // of the measured time
	vitals
	RSS      int64 `json:"rss"` // bytes
	Requests int   `json:"requests"`
}

// soakTally counts the ends of requests.
type soakTally struct {
	requests int
	faulty   int            // with a fault
	ends     map[string]int // by kind of end
	missed   int
	misses   map[string]int // by fault and miss
	replayed int
	records  []uint8 // that each request must have, by its number
}

// count sorts an end, and reports whether it is a miss that is to be told.
func (t *soakTally) count(p *soak.Plan, o *soak.Outcome, missed string) (told bool) {
	if t.ends == nil {
		t.ends, t.misses = make(map[string]int), make(map[string]int)
	}
	t.requests++
	t.replayed += o.Replayed
	if p.Fault() != "" {
		t.faulty++
	}
	t.records[p.N] = uint8(o.Records())
	if missed == "" {
		t.ends[o.End]++
		return false
	}
	t.missed++
	kind, _, _ := strings.Cut(missed, ":")
	t.misses[fmt.Sprintf("%s, %q: %s", p.Kind(), p.Fault(), kind)]++
	return t.missed <= missesTold
}

// expected is how many records there must be.
func (t *soakTally) expected() (n int) {
	for _, records := range t.records {
		n += int(records)
	}
	return n
}

// soakFigures sum a soak up.
type soakFigures struct {
	Requests int            `json:"requests"` // warm-up included, as in all counts
	Faulty   int            `json:"faulty"`
	Ends     map[string]int `json:"ends"` // as predicted
	Missed   int            `json:"missed"`
	Misses   map[string]int `json:"misses,omitempty"`
	Replayed int            `json:"replayed"`
	Swaps    int            `json:"swaps"`
	Reloads  int            `json:"reloads"`
	Kills    int            `json:"kills"`

	Expected int    `json:"records_expected"`
	Lines    int    `json:"records"`
	Written  int    `json:"records_written"` // by the metric
	Dropped  int    `json:"records_dropped"`
	Lost     int    `json:"records_lost"`
	Surplus  int    `json:"records_surplus"`
	First    []int  `json:"records_wrong,omitempty"` // the first requests whose records are not as many as they must be
	Verify   string `json:"verify,omitempty"`

	Before vitals             `json:"before"` // at rest
	After  vitals             `json:"after"`
	Trends map[string]trended `json:"trends"` // under load
	Judged bool               `json:"trends_judged"`

	Errors int    `json:"errors_logged"`
	Panics int    `json:"panics"`
	Logged string `json:"error_sample,omitempty"`
}

// trended is how much a figure has risen over the second half of the measured time, as a part of its mean,
// by the straight line that fits the samples best, and the standard error of that.
type trended struct {
	Mean  float64 `json:"mean"`
	Rise  float64 `json:"rise"`
	Error float64 `json:"error"`
}

// shortestTrend is the shortest measured time whose trends are judged: before that,
// memory still fills what the garbage collector leaves it.
const shortestTrend = 5 * time.Minute

// grows reports whether the rise is more than what counts as none, and no accident.
func (t trended) grows() bool { return t.Rise > flat && t.Rise-2*t.Error > 0 }

// trend fits a line by least squares.
func trend(samples []sample, figure func(sample) float64) trended {
	n := float64(len(samples))
	if n < 3 {
		return trended{}
	}
	var mx, my float64
	for _, s := range samples {
		mx += s.Seconds / n
		my += figure(s) / n
	}
	var xx, xy, yy float64
	for _, s := range samples {
		dx, dy := s.Seconds-mx, figure(s)-my
		xx, xy, yy = xx+dx*dx, xy+dx*dy, yy+dy*dy
	}
	slope, span := xy/xx, samples[len(samples)-1].Seconds-samples[0].Seconds
	spread := math.Sqrt(max(0, yy-slope*xy) / (n - 2) / xx)
	return trended{Mean: my, Rise: slope * span / my, Error: spread * span / my}
}

// sampled are the figures of a sample that are judged.
var sampled = []struct {
	name   string
	figure func(sample) float64
}{
	{"heap", func(s sample) float64 { return float64(s.Heap) }},
	{"memory", func(s sample) float64 { return float64(s.RSS) }},
	{"goroutines", func(s sample) float64 { return float64(s.Goroutines) }},
	{"descriptors", func(s sample) float64 { return float64(s.Descriptors) }},
}

func (s *soaking) figures(before, after vitals, r *soakRecords) soakFigures {
	t := &s.tally
	f := soakFigures{
		Requests: t.requests, Faulty: t.faulty, Ends: t.ends, Missed: t.missed, Misses: t.misses, Replayed: t.replayed,
		Swaps: s.fleet.swaps, Reloads: s.fleet.reloads, Kills: len(s.fleet.strikes),
		Expected: t.expected(), Lines: r.lines, Written: r.written, Dropped: r.dropped, Surplus: r.strange, Verify: r.verify,
		Before: before, After: after, Trends: make(map[string]trended), Judged: s.duration >= shortestTrend,
		Errors: r.errors, Panics: r.panics, Logged: r.sample,
	}
	for n, want := range t.records {
		f.Lost += max(0, int(want)-int(r.found[n]))
		f.Surplus += max(0, int(r.found[n])-int(want))
		if want != r.found[n] && len(f.First) < 20 {
			f.First = append(f.First, n)
		}
	}
	settled := s.samples[len(s.samples)/2:] // in the first half connections are still opened
	for _, v := range sampled {
		f.Trends[v.name] = trend(settled, v.figure)
	}
	return f
}

// fault returns an error when the gateway did not keep what it promises.
func (f soakFigures) fault() error {
	growth := f.After.growth(f.Before)
	switch {
	case f.Requests == 0:
		return fmt.Errorf("no request was made")
	case f.Missed > 0:
		return fmt.Errorf("%d of %d requests ended as none of their faults allows", f.Missed, f.Requests)
	case f.Lost+f.Surplus > 0:
		return fmt.Errorf("%d records are missing and %d are too many, such as of the requests %v", f.Lost, f.Surplus, f.First)
	case f.Written != f.Lines || f.Dropped > 0:
		return fmt.Errorf("the gateway counts %d records and %d dropped ones, and wrote %d", f.Written, f.Dropped, f.Lines)
	case f.Verify != "":
		return fmt.Errorf("records verify: %s", f.Verify)
	case f.Panics > 0:
		return fmt.Errorf("%d panics in the log", f.Panics)
	case slices.Max(growth[:]) > flat:
		return fmt.Errorf("the process has grown: %+v at rest before, %+v after", f.Before, f.After)
	}
	for _, v := range sampled {
		if t := f.Trends[v.name]; f.Judged && t.grows() {
			return fmt.Errorf("%s grows: by %.1f ± %.1f %% in the second half of the measured time", v.name, 100*t.Rise, 100*t.Error)
		}
	}
	return nil
}

func (f soakFigures) table() table {
	t := table{{"figure", "", "value"}}
	add := func(name, unit, format string, values ...any) {
		t = append(t, []string{name, unit, fmt.Sprintf(format, values...)})
	}
	add("requests, with the warm-up", "", "%d", f.Requests)
	add("of these with a fault", "", "%d", f.Faulty)
	for _, end := range sortedKeys(f.Ends) {
		add("ended as predicted: "+end, "", "%d", f.Ends[end])
	}
	add("ended otherwise", "", "%d", f.Missed)
	for _, miss := range sortedKeys(f.Misses) {
		add("  "+miss, "", "%d", f.Misses[miss])
	}
	add("sent again: closed as they came", "", "%d", f.Replayed)
	add("swaps, reloads, kills", "", "%d, %d, %d", f.Swaps, f.Reloads, f.Kills)
	add("records due, written, by the metric", "", "%d, %d, %d", f.Expected, f.Lines, f.Written)
	add("records missing, too many, dropped", "", "%d, %d, %d", f.Lost, f.Surplus, f.Dropped)
	growth := f.After.growth(f.Before)
	add("at rest before, after: goroutines", fmt.Sprintf("%+.1f %%", 100*growth[0]), "%d, %d", f.Before.Goroutines, f.After.Goroutines)
	add("at rest before, after: heap", fmt.Sprintf("KB, %+.1f %%", 100*growth[1]), "%d, %d", f.Before.Heap/1000, f.After.Heap/1000)
	add("at rest before, after: descriptors", fmt.Sprintf("%+.1f %%", 100*growth[2]), "%d, %d", f.Before.Descriptors, f.After.Descriptors)
	for _, v := range sampled {
		trend := f.Trends[v.name]
		mean, unit := trend.Mean, ""
		if v.name == "heap" || v.name == "memory" {
			mean, unit = mean/1e6, "MB, "
		}
		add("under load, mean and trend: "+v.name, unit+fmt.Sprintf("%+.1f ± %.1f %%", 100*trend.Rise, 100*trend.Error), "%.1f", mean)
	}
	add("errors in the log, panics", "", "%d, %d", f.Errors, f.Panics)
	return t
}

func sortedKeys(m map[string]int) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
