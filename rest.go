package aigateway

import "time"

// resting returns how long the instance wants no requests, and why.
func (h *health) resting(now time.Duration) (time.Duration, reason) {
	left := time.Duration(h.rest.Load()) - now
	if left <= 0 {
		return 0, reasonNone
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return left, h.restReason
}

// dozes lets the instance rest for wait, as it says of itself that it loads or sleeps. A
// longer rest stays. What it had in its cache is lost.
func (h *health) dozes(why reason, now, wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	rest := time.Duration(h.rest.Load())
	if now+wait < rest {
		return
	}
	if (rest <= now || h.restReason != why) && h.load != nil {
		h.load.Forget()
	}
	h.restReason = why
	h.rest.Store(int64(now + wait))
	h.usher.ring()
}

// wakes ends a rest that [health.dozes] began, and no other.
func (h *health) wakes(now time.Duration) {
	if h.rest.Load() <= int64(now) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.restReason == reasonLoading || h.restReason == reasonSleeping {
		h.rest.Store(0)
		h.usher.ring()
	}
}
