package aigateway

import "time"

// healthView is health for people.
type healthView struct {
	phase             phase
	why               reason        // if ejected or half-open
	wait              time.Duration // until the trial, or the end of slow start or rest; 0 for a trial that is never due
	manual            bool
	results, failures int // in errorWindow
}

// view returns how things stand. A slow start that is over counts as serving.
func (h *health) view(now, window time.Duration) healthView {
	rest, _ := h.resting(now)
	h.mu.Lock()
	defer h.mu.Unlock()
	v := healthView{phase: phase(h.phase.Load()), manual: h.manual.Load()}
	wait := max(0, time.Duration(h.until.Load())-now)
	switch {
	case h.until.Load() == int64(forever):
	case v.phase == ramping && wait == 0:
		v.phase = serving
	case v.phase != serving:
		v.wait = wait
	}
	if v.phase == ejected || v.phase == halfOpen {
		v.why = h.why
	}
	v.wait = max(v.wait, rest)
	v.results, v.failures = h.window.sum(now, window)
	return v
}
