package aigateway

import (
	"slices"
	"time"
)

// elsewhere is where a request could go in place of the instance that it is with. It is
// a copy of what the exchange knew when the attempt began, for the attempt's watch, which
// is in another goroutine.
type elsewhere struct {
	pool   *pool
	model  string
	length length
	tried  []*instance // the one that the request is with included
}

// elsewhere returns where x could go. It reports whether there is such a place at all: one
// that is merely out of order, full or resting now may be there when it is needed.
func (x *exchange) elsewhere() (e elsewhere, ok bool) {
	if x.lastAttempt() {
		return e, false
	}
	e = elsewhere{x.pool, x.model(), x.length, x.tried}
	return e, e.some(func(*instance) bool { return true })
}

// usable reports whether an instance takes part as usual, and has a place, to which the
// request could move now. The deadline for the first token is for those alone: where
// nobody else is left, a slow answer is better than none.
func (e *elsewhere) usable(now time.Duration) bool {
	return e.some(func(i *instance) bool {
		return !i.full() && i.state.health.usable() && i.state.health.admits(now, hurried)
	})
}

// some reports whether f holds for some instance that has not been tried.
func (e *elsewhere) some(f func(*instance) bool) bool {
	return slices.ContainsFunc(e.pool.tiers[:], func(r *rotation) bool {
		return slices.ContainsFunc(r.instances, func(i *instance) bool {
			return !i.state.drain.Load() && !wasTried(e.tried, i) && (!e.length.matters() || e.length.fits(i, e.model)) && f(i)
		})
	})
}
