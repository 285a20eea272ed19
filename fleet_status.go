package aigateway

import (
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
		Config:   page.Config{Path: s.path, Loaded: snap.loaded, Valid: true, Strategy: snap.strategy},
		Models:   make([]page.Model, 0, len(snap.fleet.models)+1),
		Recorder: page.Recorder{Enabled: snap.recorder != nil},
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
	}
	known := make(map[string]bool)
	for _, i := range snap.fleet.instances {
		if !known[i.model] {
			known[i.model] = true
			st.Models = append(st.Models, snap.fleet.pool(i.model).status(snap, now))
		}
	}
	sum(st, snap, now)
	next := s.history.next()
	events, _, _ := s.history.since(next - min(next, shownEvents))
	st.Events = make([]page.Event, 0, len(events))
	for _, e := range slices.Backward(events) {
		st.Events = append(st.Events, e.status())
	}
	return st
}

// status tells how the pool stands.
func (p *pool) status(snap *snapshot, now time.Duration) page.Model {
	m := page.Model{Name: p.model, State: page.ModelEmpty, Tiers: make([]page.Tier, 0, len(p.tiers))}
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
		ID: i.id, Name: i.name, Address: i.host + i.base, Weight: i.weight, UpstreamModel: i.upstreamModel, Engine: i.engine,
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
	fillNumbers(&st, v, snap.errorWindow)
	return st
}

// fillNumbers sets rates and shares by what health counts for its own ends: attempts
// that have ended in the error window. Statistics that know more belong here, and in
// [sum], alone.
func fillNumbers(i *page.Instance, v healthView, window time.Duration) {
	i.RequestsPerSecond = float64(v.results) / min(window, clock()+1).Seconds()
	i.ErrorShare = float64(v.failures) / float64(max(v.results, 1))
}

// sum fills the totals.
func sum(st *page.Status, snap *snapshot, now time.Duration) {
	var errors float64
	for _, i := range snap.fleet.instances {
		is := i.status(snap, now)
		st.Totals.InFlight += is.InFlight
		st.Totals.RequestsPerSecond += is.RequestsPerSecond
		errors += is.ErrorShare * is.RequestsPerSecond
	}
	if st.Totals.RequestsPerSecond > 0 {
		st.Totals.ErrorShare = errors / st.Totals.RequestsPerSecond
	}
}

// severities are the kinds of events that are no mere information.
var severities = map[eventKind]page.Severity{
	instanceEjected: page.Warning, instanceResting: page.Warning, keyRefused: page.Warning, modelMissing: page.Warning, poolOnFallback: page.Warning,
	poolEmpty: page.Critical, configRejected: page.Critical, recorderDropping: page.Critical, diskLow: page.Critical,
}

// status tells of an event.
func (e event) status() page.Event {
	st := page.Event{At: e.time, Kind: string(e.kind), Severity: page.Info, Instance: e.name, Model: e.model}
	if s := severities[e.kind]; s != "" {
		st.Severity = s
	}
	var text []string
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
