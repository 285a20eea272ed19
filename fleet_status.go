package aigateway

import (
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

// fleetStatus is a store and what it knows of its fleet, at one moment, as GET
// /ai_gateway/status answers it. openapi.json describes each member.
type fleetStatus struct {
	Version  string         `json:"version"`
	Started  time.Time      `json:"started"`
	Now      time.Time      `json:"now"`
	Config   configStatus   `json:"config"`
	Totals   totalStatus    `json:"totals"`
	Models   []modelStatus  `json:"models"` // in the order of the file
	Events   []eventStatus  `json:"events"` // the newest first
	Recorder recorderStatus `json:"recorder"`
}

type configStatus struct {
	Path     string    `json:"path"`
	Loaded   time.Time `json:"loaded"`
	Valid    bool      `json:"valid"`
	Error    string    `json:"error,omitempty"`
	Strategy string    `json:"strategy"`
}

type totalStatus struct {
	InFlight          int64   `json:"in_flight"`
	RequestsPerSecond float64 `json:"requests_per_second"`
	TokensPerSecond   float64 `json:"tokens_per_second,omitempty"`
	ErrorShare        float64 `json:"error_share"`
}

type modelStatus struct {
	Name  string       `json:"name"`
	State string       `json:"state"` // serving, on_fallback or empty
	Tiers []tierStatus `json:"tiers"`
}

type tierStatus struct {
	Tier      string           `json:"tier"`
	Instances []instanceStatus `json:"instances"`
}

type instanceStatus struct {
	ID             string  `json:"id"`
	Name           string  `json:"name"`
	Address        string  `json:"address"`
	Weight         int     `json:"weight"`
	UpstreamModel  string  `json:"upstream_model,omitempty"`
	Engine         string  `json:"engine,omitempty"`
	State          string  `json:"state"`
	By             string  `json:"by,omitempty"` // who lets it drain, or took it out: file, api or both
	Reason         reason  `json:"reason,omitempty"`
	WaitSeconds    float64 `json:"wait_seconds,omitempty"`
	InFlight       int64   `json:"in_flight"`
	MaxConcurrency int     `json:"max_concurrency,omitempty"`

	RequestsPerSecond float64 `json:"requests_per_second"`
	TokensPerSecond   float64 `json:"tokens_per_second,omitempty"`
	ErrorShare        float64 `json:"error_share"`
}

type eventStatus struct {
	At       time.Time `json:"at"`
	Kind     eventKind `json:"kind"`
	Severity string    `json:"severity"` // info, warning or critical
	Instance string    `json:"instance,omitempty"`
	Model    string    `json:"model,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Text     string    `json:"text,omitempty"`
}

type recorderStatus struct {
	Enabled bool             `json:"enabled"`
	Written int64            `json:"written"`
	Dropped map[string]int64 `json:"dropped,omitempty"`
	Queued  int              `json:"queued"`
}

// The states of an instance that are not a phase.
const (
	stateDraining = "draining"
	stateResting  = "resting"
	stateOff      = "off"
)

// shownEvents is how many events a status has.
const shownEvents = 100

// status tells how the store's fleet stands.
func (s *store) status() fleetStatus {
	snap, now := s.snapshot(), clock()
	st := fleetStatus{
		Version: version(), Started: began.Round(0), Now: time.Now(),
		Config:   configStatus{Path: s.path, Loaded: snap.loaded, Valid: true, Strategy: snap.strategy},
		Models:   make([]modelStatus, 0, len(snap.fleet.models)+1),
		Recorder: recorderStatus{Enabled: snap.recorder != nil},
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
	st.sum(snap, now)
	next := s.history.next()
	events, _, _ := s.history.since(next - min(next, shownEvents))
	st.Events = make([]eventStatus, 0, len(events))
	for _, e := range slices.Backward(events) {
		st.Events = append(st.Events, e.status())
	}
	return st
}

// status tells how the pool stands.
func (p *pool) status(snap *snapshot, now time.Duration) modelStatus {
	m := modelStatus{Name: p.model, State: "empty", Tiers: make([]tierStatus, 0, len(p.tiers))}
	usable := func(i *instance) bool { return i.state.health.usable() && !i.state.health.spared.Load() }
	switch {
	case slices.ContainsFunc(p.tiers[primary].instances, usable):
		m.State = "serving"
	case !slices.ContainsFunc(p.tiers[fallback].instances, usable):
	case len(p.tiers[primary].all) == 0:
		m.State = "serving"
	default:
		m.State = "on_fallback"
	}
	for t, r := range p.tiers {
		if len(r.all) == 0 {
			continue
		}
		ts := tierStatus{tier(t).String(), make([]instanceStatus, len(r.all))}
		for n, i := range r.all {
			ts.Instances[n] = i.status(snap, now)
		}
		m.Tiers = append(m.Tiers, ts)
	}
	return m
}

// status tells how the instance stands.
func (i *instance) status(snap *snapshot, now time.Duration) instanceStatus {
	v := i.state.health.view(now, snap.errorWindow)
	st := instanceStatus{
		ID: i.id, Name: i.name, Address: i.host + i.base, Weight: i.weight, UpstreamModel: i.upstreamModel, Engine: i.engine,
		State: v.phase.String(), Reason: v.why, WaitSeconds: v.wait.Seconds(),
		InFlight: i.state.inFlight.Load(), MaxConcurrency: i.maxConcurrency,
	}
	if v.manual {
		st.By = "api"
	}
	rest, why := i.state.health.resting(now)
	switch {
	case i.drain.any():
		st.State, st.By = stateDraining, i.drain.by()
	case i.weight == 0:
		st.State = stateOff
	case rest > 0 && (v.phase == serving || v.phase == ramping):
		st.State, st.Reason = stateResting, why
	}
	st.fillNumbers(v, snap.errorWindow)
	return st
}

// fillNumbers sets rates and shares by what health counts for its own ends: attempts
// that have ended in the error window. Statistics that know more belong here, and in
// [fleetStatus.sum], alone.
func (i *instanceStatus) fillNumbers(v healthView, window time.Duration) {
	i.RequestsPerSecond = float64(v.results) / min(window, clock()+1).Seconds()
	i.ErrorShare = float64(v.failures) / float64(max(v.results, 1))
}

// sum fills the totals.
func (st *fleetStatus) sum(snap *snapshot, now time.Duration) {
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
var severities = map[eventKind]string{
	instanceEjected: "warning", instanceResting: "warning", keyRefused: "warning", modelMissing: "warning", poolOnFallback: "warning",
	poolEmpty: "critical", configRejected: "critical", recorderDropping: "critical", diskLow: "critical",
}

// status tells of an event.
func (e event) status() eventStatus {
	st := eventStatus{At: e.time, Kind: e.kind, Severity: "info", Instance: e.name, Model: e.model}
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
