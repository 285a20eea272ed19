package aigateway

import (
	"cmp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/page"
)

// shownEvents is how many events a status has.
const shownEvents = 100

// status tells how the store's fleet stands.
func (s *store) status() *page.Status {
	snap, now := s.snapshot(), clock()
	st := &page.Status{
		Version: version(), Started: began.Round(0), Now: time.Now(),
		Config: page.Config{Path: s.path, Loaded: snap.loaded, Valid: true, Strategy: snap.strategy},
		Models: make([]page.Model, 0, len(snap.fleet.models)+1),
		Alerts: snap.alerts.firing(), Recorder: page.Recorder{Enabled: snap.recorder != nil},
	}
	if e := s.rejected.Load(); e != nil {
		st.Config.Valid, st.Config.Error = false, e.cause
	}
	if _, name := s.events.lbPolicy(); name != "" {
		st.Config.Strategy = name
	}
	if snap.recorder != nil {
		r := snap.recorder.report()
		st.Recorder.Written, st.Recorder.Dropped, st.Recorder.Queued = r.Written, r.Dropped, r.Queued
		st.Recorder.DiskFreeBytes = max(0, snap.recorder.free.Load())
	}
	for _, model := range snap.fleet.order {
		st.Models = append(st.Models, snap.fleet.pool(model).status(snap, now))
	}
	sum(st)
	st.Names, st.Discovered = s.namesStatus(), snap.fleet.discoveries()
	next := s.history.next()
	events, _, _ := s.history.since(next - min(next, shownEvents))
	st.Events = make([]page.Event, 0, len(events))
	for _, e := range slices.Backward(events) {
		st.Events = append(st.Events, e.status())
	}
	return st
}

// namesStatus tells of the names that are looked up.
func (s *store) namesStatus() (all []page.Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, known := range s.resolver.names {
		all = append(all, page.Name{
			Name: name.host, Type: name.kind, Addresses: len(known.records), More: known.more, Answered: known.good, Failures: known.failures, Error: known.cause,
		})
	}
	slices.SortFunc(all, func(a, b page.Name) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Type, b.Type))
	})
	return all
}

// status tells how the pool stands.
func (p *pool) status(snap *snapshot, now time.Duration) page.Model {
	m := page.Model{Name: p.model, State: page.ModelEmpty, Waiting: p.state.queue.waiting.Load(), Tiers: make([]page.Tier, 0, len(p.tiers))}
	usable := func(i *instance) bool { return i.state.health.usable() && !i.state.health.spared.Load() }
	switch {
	case slices.ContainsFunc(p.tiers[primary].instances, usable):
		m.State = page.ModelServing
	case !slices.ContainsFunc(p.tiers[fallback].instances, usable):
	case len(p.tiers[primary].all) == 0:
		m.State = page.ModelServing
	default:
		m.State = page.ModelOnFallback
	}
	for t, r := range p.tiers {
		if len(r.all) == 0 {
			continue
		}
		ts := page.Tier{Tier: tier(t).String(), Instances: make([]page.Instance, len(r.all))}
		for n, i := range r.all {
			ts.Instances[n] = i.status(snap, now)
		}
		m.Tiers = append(m.Tiers, ts)
	}
	return m
}

// status tells how the instance stands.
func (i *instance) status(snap *snapshot, now time.Duration) page.Instance {
	v := i.state.health.view(now, snap.errorWindow)
	st := page.Instance{
		ID: i.id, Name: i.name, Address: i.place(), Weight: i.weight, Discovered: i.config.discovered, UpstreamModel: i.upstreamModel,
		State: page.InstanceState(v.phase.String()), Reason: string(v.why), WaitSeconds: v.wait.Seconds(),
		InFlight: i.state.inFlight.Load(), MaxConcurrency: i.maxConcurrency,
	}
	if v.manual {
		st.By = "api"
	}
	rest, why := i.state.health.resting(now)
	switch {
	case i.drain.any():
		st.State, st.By = page.Draining, i.drain.by()
	case i.weight == 0:
		st.State = page.Off
	case rest > 0 && (v.phase == serving || v.phase == ramping):
		st.State, st.Reason = page.Resting, string(why)
	}
	e := i.engineReport(now)
	st.Engine, st.EngineDetected, st.EngineVersion, st.Context, st.EngineLoad = e.Engine, e.EngineDetected, e.EngineVersion, e.Context, e.EngineLoad
	numbers := i.statistics(now)
	fillNumbers(&st, &numbers)
	return st
}

// fillNumbers sets what is measured of an instance.
func fillNumbers(st *page.Instance, n *instanceStats) {
	st.RequestsPerSecond, st.TokensPerSecond, st.ErrorShare = n.RequestsPerSecond, n.TokensPerSecond, n.ErrorShare
	st.TTFT, st.ITL = n.TTFT.percentiles(), n.ITL.percentiles()
	if e := n.LastError; e != nil {
		st.LastError = &page.LastError{At: e.Time, Reason: string(e.Reason)}
	}
	st.Spark = &page.Spark{
		StepSeconds: int(sparkTime / time.Second), Requests: make([]int64, len(n.Sparkline)), Errors: make([]int64, len(n.Sparkline)),
	}
	for k, p := range n.Sparkline {
		st.Spark.Requests[k], st.Spark.Errors[k] = int64(p.Requests), int64(p.Errors)
	}
}

// percentiles returns q in milliseconds, nil if nothing was measured.
func (q quantiles) percentiles() *page.Percentiles {
	if q == (quantiles{}) {
		return nil
	}
	return &page.Percentiles{P50: 1e3 * q.P50, P99: 1e3 * q.P99}
}

// sum fills the totals. An instance that stands in the pools of several models counts
// once.
func sum(st *page.Status) {
	var errors float64
	known := make(map[string]bool)
	for _, m := range st.Models {
		for _, t := range m.Tiers {
			for _, i := range t.Instances {
				if known[i.ID] {
					continue
				}
				known[i.ID] = true
				st.Totals.InFlight += i.InFlight
				st.Totals.RequestsPerSecond += i.RequestsPerSecond
				st.Totals.TokensPerSecond += i.TokensPerSecond
				errors += i.ErrorShare * i.RequestsPerSecond
			}
		}
	}
	if st.Totals.RequestsPerSecond > 0 {
		st.Totals.ErrorShare = errors / st.Totals.RequestsPerSecond
	}
}

// firing returns the alerts that people have been told of and that last, the gravest
// first.
func (a *alerts) firing() []page.Alert {
	all := make([]page.Alert, 0)
	if a == nil {
		return all
	}
	for _, g := range a.Firing() {
		for _, f := range g.Alerts {
			all = append(all, page.Alert{
				Kind: string(f.Kind), Severity: page.Severity(f.Severity.String()), Since: f.Since, Instance: f.Instance, Model: f.Model, Text: f.Cause,
			})
		}
	}
	rank := map[page.Severity]int{page.Critical: 0, page.Warning: 1, page.Info: 2}
	slices.SortStableFunc(all, func(a, b page.Alert) int { return cmp.Compare(rank[a.Severity], rank[b.Severity]) })
	return all
}

// severities are the kinds of events that are no mere information.
var severities = map[eventKind]page.Severity{
	instanceEjected: page.Warning, instanceResting: page.Warning, keyRefused: page.Warning, modelMissing: page.Warning, poolOnFallback: page.Warning,
	poolEmpty: page.Critical, configRejected: page.Critical, recorderDropping: page.Critical, diskLow: page.Critical,
	budgetOver: page.Critical, usageUnkept: page.Critical, dnsFailed: page.Warning, dnsEmpty: page.Warning,
}

// status tells of an event.
func (e event) status() page.Event {
	st := page.Event{At: e.time, Kind: string(e.kind), Severity: page.Info, Instance: e.name, Model: e.model}
	if s := severities[e.kind]; s != "" {
		st.Severity = s
	}
	var text []string
	if e.key != "" {
		text = append(text, "key "+e.key)
	}
	if e.upstream != "" {
		st.Reason = e.cause
	} else if e.cause != "" {
		text = append(text, e.cause)
	}
	if e.wait > 0 {
		text = append(text, "for "+e.wait.Round(time.Millisecond).String())
	}
	if e.count > 0 && (e.kind == recorderDropping || e.kind == recorderRecovered) {
		text = append(text, plural(e.count, "exchange"))
	}
	st.Text = strings.Join(text, "; ")
	return st
}

// version is that of this module in the build.
var version = sync.OnceValue(func() string {
	const path = "github.com/simpleaigateway/caddy-ai-gateway"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == path {
			if m.Replace != nil {
				m = m.Replace
			}
			if m.Version == "" {
				return "(devel)"
			}
			return m.Version
		}
	}
	return "unknown"
})
