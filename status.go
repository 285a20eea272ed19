package aigateway

import (
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/page"
)

// serveOwn answers the paths that no instance is asked for.
func (h *Handler) serveOwn(w http.ResponseWriter, r *http.Request, rt *route, snap *snapshot, key *clientKey) {
	switch rt.service {
	case serveModels:
		h.serveModels(w, rt, snap, key)
	case serveHealth:
		if snap.keys != nil && (key == nil || !key.status) {
			writeJSON(w, http.StatusOK, map[string]any{"status": "healthy"})
			return
		}
		writeJSON(w, http.StatusOK, h.health(snap))
	case serveLive:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintln(w, "ok")
	case serveReady:
		serveReadiness(w, snap)
	case serveIndex:
		h.serveUI(w, r, snap)
	case serveWrongMethod:
		(&apiError{
			Status: http.StatusMethodNotAllowed, Type: "invalid_request_error", Code: "method_not_allowed",
			Message: "method " + rt.method + " is not served at path " + quote(rt.path),
		}).write(w, rt.dialect)
	default:
		(&apiError{
			Status: http.StatusNotFound, Type: "invalid_request_error", Code: "unknown_url",
			Message: "path " + quote(rt.path) + " is not forwarded; the gateway serves the OpenAI API below /v1/ and the engine_routes of its configuration",
		}).write(w, rt.dialect)
	}
}

// serveReadiness says whether requests should come here: not while the process ends,
// and not while no model can be served.
func serveReadiness(w http.ResponseWriter, snap *snapshot) {
	status, text := http.StatusOK, "ok"
	switch {
	case caddy.Exiting():
		status, text = http.StatusServiceUnavailable, "the gateway ends"
	case !snap.fleet.serves(clock()):
		status, text = http.StatusServiceUnavailable, "no instance of any model is usable"
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}

// healthReport is the answer of /health. Its first four members, and the first
// five of an instance, are those of the Python program that this one replaces.
type healthReport struct {
	Status    string                    `json:"status"` // "healthy"
	Instances map[string]instanceReport `json:"instances"`
	Strategy  string                    `json:"load_balancing_strategy"`
	Uptime    float64                   `json:"uptime"` // seconds since the process began
	Recorder  *recorderReport           `json:"recorder,omitempty"`
}

type instanceReport struct {
	URL               string  `json:"url"`
	Model             string  `json:"model"`
	ActiveConnections int64   `json:"active_connections"` // requests in flight
	RecentErrors      int     `json:"recent_errors"`      // failures in the error window
	ErrorRate         float64 `json:"error_rate"`         // failures ÷ results in the error window, 0 to 1
	Name              string  `json:"name"`
	Tier              string  `json:"tier"`
	Weight            int     `json:"weight"`
	State             string  `json:"state"`            // serving, ejected, half_open, ramping or draining
	Reason            reason  `json:"reason,omitempty"` // of the ejection
	Wait              float64 `json:"wait,omitempty"`   // seconds until its trial, or until slow start or a rest is over
	UpstreamModel     string  `json:"upstream_model,omitempty"`
	engineReport
	MaxConcurrency int `json:"max_concurrency,omitempty"`
}

// engineReport is what an instance says of itself.
type engineReport struct {
	Engine         string           `json:"engine,omitempty"`          // as the file says, or as it was detected
	EngineDetected bool             `json:"engine_detected,omitempty"` // the file does not say
	EngineVersion  string           `json:"engine_version,omitempty"`
	Context        int              `json:"context,omitempty"`     // tokens of prompt and answer; 0 if not known
	EngineLoad     *page.EngineLoad `json:"engine_load,omitempty"` // nil if it does not tell
}

func (i *instance) engineReport(now time.Duration) engineReport {
	r := engineReport{Engine: i.engine}
	if f := i.state.facts.Load(); f != nil {
		r.EngineVersion = f.Version
		if i.engine == "" {
			r.Engine, r.EngineDetected = string(f.Engine), true
		}
		if i.model != anyModel {
			r.Context = i.context(i.model)
		}
	}
	if l := i.state.told.Load(); l != nil && now-l.at < maxToldAge {
		r.EngineLoad = l.report(now)
	}
	return r
}

func (h *Handler) health(snap *snapshot) healthReport {
	report := healthReport{
		Status: "healthy", Instances: make(map[string]instanceReport, len(snap.fleet.instances)),
		Strategy: snap.strategy, Uptime: time.Since(began).Seconds(),
	}
	if snap.recorder != nil {
		report.Recorder = snap.recorder.report()
	}
	if h.policyName != "" {
		report.Strategy = h.policyName
	}
	now := clock()
	for _, i := range snap.fleet.instances {
		v := i.state.health.view(now, snap.errorWindow)
		report.Instances[i.id] = instanceReport{
			URL: i.scheme + "://" + i.place(), Model: i.model, ActiveConnections: i.state.inFlight.Load(),
			RecentErrors: v.failures, ErrorRate: float64(v.failures) / float64(max(v.results, 1)), Name: i.name, Tier: i.tier.String(),
			State: i.standing(v), Reason: v.why, Wait: v.wait.Seconds(),
			Weight: i.weight, UpstreamModel: i.upstreamModel, engineReport: i.engineReport(now), MaxConcurrency: i.maxConcurrency,
		}
	}
	return report
}

// states are the words for where an instance stands.
var states = []string{serving.String(), ejected.String(), halfOpen.String(), ramping.String(), draining}

const draining = "draining"

// standing returns one of states.
func (i *instance) standing(v healthView) string {
	if i.drain.any() {
		return draining
	}
	return v.phase.String()
}
