package aigateway

import (
	"context"
	"net/http"
	"slices"
	"time"
)

// maxAttempts bounds how many instances one request may try.
const maxAttempts = 3

// exchange is one client's request on its way to an answer. It belongs to the
// request's goroutine; a transport goroutine reads only the body.
type exchange struct {
	request *http.Request
	writer  http.ResponseWriter

	snap  *snapshot // the file as it was when the request came
	route *route
	ask   ask
	body  *body
	pool  *pool

	policy  policy
	current *instance   // of the attempt under way; its lease is held
	tried   []*instance // of all attempts so far, current included
	last    error       // of the attempt that failed last
}

// canUse reports whether i may be chosen for the next attempt.
func (x *exchange) canUse(i *instance) bool {
	if i.maxConcurrency > 0 && i.state.inFlight.Load() >= int64(i.maxConcurrency) {
		return false
	}
	return len(x.tried) == 0 || !slices.Contains(x.tried, i)
}

// choose ends the attempt under way, if any, and picks the instance of the next
// one: from the primary tier, or else from the fallback tier. It reports whether
// there is one.
func (x *exchange) choose() bool {
	x.release()
	if len(x.tried) == maxAttempts || x.request.Context().Err() != nil {
		return false
	}
	for _, r := range x.pool.tiers {
		for {
			i := x.policy.pick(r, x)
			if i == nil {
				break
			}
			if i.lease() {
				x.current = i
				x.tried = append(x.tried, i)
				return true
			}
		}
	}
	return false
}

// lease counts a request in flight on i, unless i is full. Every lease is given
// back once, by [exchange.release].
func (i *instance) lease() bool {
	if n := i.state.inFlight.Add(1); i.maxConcurrency > 0 && n > int64(i.maxConcurrency) {
		i.state.inFlight.Add(-1)
		return false
	}
	return true
}

// release ends the attempt under way, if there is one.
func (x *exchange) release() {
	if x.current != nil {
		x.current.state.inFlight.Add(-1)
		x.current = nil
	}
}

// finish counts how the attempt under way ended.
func (x *exchange) finish(o outcome) {
	x.current.state.health.record(o, time.Now(), x.snap.errorWindow)
}

type exchangeKey struct{}

// exchangeOf returns the exchange that ctx was given by [Handler.ServeHTTP].
func exchangeOf(ctx context.Context) *exchange {
	return ctx.Value(exchangeKey{}).(*exchange)
}
