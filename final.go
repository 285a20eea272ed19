package aigateway

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"
)

// drainsRetry is what a client is told to wait when all instances drain: that ends by
// a person's hand.
const drainsRetry = "30"

// unreachedRetry is what a client is told to wait when no instance could be
// reached: about as long as a first ejection.
const unreachedRetry = "5"

// waitedInVain answers a request that has left its queue without an instance.
func (x *exchange) waitedInVain(w http.ResponseWriter) bool {
	var e *apiError
	switch x.line.end {
	case queueFull:
		e = unavailable(http.StatusServiceUnavailable, "queue_full", "every instance of the model is busy, and too many requests wait already")
	case queueTimeout:
		e = unavailable(http.StatusServiceUnavailable, "queue_timeout", "no instance of the model became free in time")
	case queueLeft:
		w.WriteHeader(statusClientClosed)
		return true
	case queueShutdown:
		verdict{outcome: outcomeShutdown}.error().write(w, x.route.dialect)
		http.NewResponseController(w).Flush() //nolint:errcheck // the process ends, and nobody is left to tell
		return true
	case queueNoModel:
		e = noPool(x.ask.model, x.key.allowed(x.store.snapshot().available()))
	default:
		return false
	}
	if x.line.again > 0 {
		w.Header().Set("Retry-After", wholeSeconds(x.line.again))
	}
	e.write(w, x.route.dialect)
	return true
}

// nobody answers a request for which no instance can be asked at all: all are
// full, off, or want no requests for a time.
func (x *exchange) nobody(w http.ResponseWriter) {
	if x.waitedInVain(w) {
		return
	}
	if x.pool.drains {
		w.Header().Set("Retry-After", drainsRetry)
		unavailable(http.StatusServiceUnavailable, "draining", "every instance of the model is being drained").write(w, x.route.dialect)
		return
	}
	if len(x.pool.tiers[primary].all)+len(x.pool.tiers[fallback].all) == 0 {
		w.Header().Set("Retry-After", "2")
		unavailable(http.StatusServiceUnavailable, "no_instance", "no server of the model is known yet, as its name in the DNS brings none").write(w, x.route.dialect)
		return
	}
	wait, limited := x.pool.rest(x.now)
	if wait == 0 {
		w.Header().Set("Retry-After", "1")
		unavailable(http.StatusServiceUnavailable, "no_instance", "every instance of the model is busy or switched off").write(w, x.route.dialect)
		return
	}
	w.Header().Set("Retry-After", wholeSeconds(wait))
	if limited {
		e := unavailable(http.StatusTooManyRequests, "rate_limited", "every instance of the model wants no requests for a while")
		e.Type = "rate_limit_error"
		e.write(w, x.route.dialect)
		return
	}
	unavailable(http.StatusServiceUnavailable, "overloaded", "every instance of the model wants no requests for a while").write(w, x.route.dialect)
}

// rest returns how long it takes until the first instance of the pool wants
// requests again, 0 if one does now, and whether rate limits are to blame.
func (p *pool) rest(now time.Duration) (wait time.Duration, limited bool) {
	for _, r := range p.tiers {
		for _, i := range r.instances {
			left, why := i.state.health.resting(now)
			if left == 0 {
				return 0, false
			}
			if wait == 0 || left < wait {
				wait = left
			}
			limited = limited || why == reasonRateLimit
		}
	}
	return wait, limited
}

// fails answers a request that no instance has answered: with the last error that
// an instance gave, or else in the gateway's own words. X-Should-Retry tells the
// official clients not to multiply the attempts.
func (x *exchange) fails(w http.ResponseWriter) {
	h := w.Header()
	x.describe(x.tried[len(x.tried)-1])
	v := x.last
	if x.events.Core().Enabled(zap.WarnLevel) {
		x.events.Warn("no instance answered", zap.String("request_id", x.id), zap.String("model", x.pool.model),
			zap.Int("attempts", len(x.tried)), zap.Stringer("outcome", v.outcome), zap.String("reason", string(v.reason)))
	}
	if x.reply == nil && x.lacking == len(x.tried) {
		x.reply = x.noModel
	}
	status := v.status()
	if x.reply != nil {
		status = x.reply.status
	}
	if x.rest > 0 {
		h.Set("Retry-After", wholeSeconds(x.rest))
	} else if v.reason.unsent() {
		h.Set("Retry-After", unreachedRetry)
	} else if x.line.again > 0 {
		h.Set("Retry-After", wholeSeconds(x.line.again))
	}
	if status >= 500 && v.outcome != outcomeShutdown {
		h.Set("X-Should-Retry", "false")
	}
	if x.reply != nil {
		x.reply.write(w)
		return
	}
	v.error().write(w, x.route.dialect)
}

// status is the one for a client whose request ended with v.
func (v verdict) status() int { return v.error().Status }

// error words v for a client. It tells nothing of the fleet's addresses.
func (v verdict) error() *apiError {
	switch {
	case v.outcome == outcomeShutdown:
		return unavailable(http.StatusServiceUnavailable, "gateway_shutdown", "the gateway is being stopped")
	case v.reason.unsent():
		return unavailable(http.StatusServiceUnavailable, "upstream_unreachable", "no instance of the model could be reached")
	case v.reason == reasonResources:
		return unavailable(http.StatusServiceUnavailable, "gateway_resources", "the gateway is out of resources")
	case v.reason == reasonLoading:
		return unavailable(http.StatusServiceUnavailable, "upstream_loading", "the model is being loaded")
	case v.reason == reasonFirstToken, v.reason == reasonStall, v.reason == reasonTotal, v.reason == reasonTransport:
		return unavailable(http.StatusGatewayTimeout, "upstream_timeout", "the model's instances did not answer in time")
	case v.reason == reasonOverload:
		return unavailable(http.StatusServiceUnavailable, "overloaded", "every instance of the model wants no requests for a while")
	case v.outcome == outcomeBusy:
		e := unavailable(http.StatusTooManyRequests, "rate_limited", "every instance of the model wants no requests for a while")
		e.Type = "rate_limit_error"
		return e
	case v.outcome == outcomeMisconfigured:
		return unavailable(http.StatusBadGateway, "upstream_refused", "the model's instances refuse the gateway's requests")
	}
	return unavailable(http.StatusBadGateway, "upstream_error", "no instance of the model gave a valid answer")
}

// wholeSeconds writes d for Retry-After, in whole seconds, rounded up.
func wholeSeconds(d time.Duration) string { return strconv.Itoa(int(math.Ceil(d.Seconds()))) }
