package aigateway

import (
	"net/http"
	"slices"
	"sync"
	"time"
)

// exchange is one client's request on its way to an answer. It belongs to the
// request's goroutine; a transport goroutine reads only the body.
type exchange struct {
	id      string // of the request: unique, shown to the client and in the log
	request *http.Request
	writer  http.ResponseWriter
	began   time.Duration

	snap  *snapshot // the file as it was when the request came
	route *route
	ask   ask
	body  *body
	pool  *pool
	asked *pool      // by the client, if pool is another one that has more room; else nil
	key   *clientKey // who asks; nil for an open gateway
	lease lease      // of the key, while the request is under way

	choices choices // of the answer
	length  length

	policy   policy
	prompt   *prompt       // nil unless the policy has asked for it
	now      time.Duration // when the choice under way was made
	leeway   leeway        // of that choice
	declined bool          // in that choice, by Caddy's policy, of an instance that could be used
	current  *attempt      // under way; its lease is held
	tried    []*instance   // of all attempts so far, current included
	last     verdict       // of the attempt that ended last
	reply    *reply        // the last error of an instance's own that the client may see
	noModel  *reply        // the last that says the model is missing: true only if all say so
	lacking  int           // attempts that ended so
	rest     time.Duration // the shortest that an instance asked for
	line     queueing
	events   logger

	store     *store
	ejections sync.Locker // of the store

	// What is counted. Times are readings of the clock unless they are spans.
	own     time.Duration // span that the gateway took until working
	working time.Duration // since when it works on the exchange again, and no instance
	ttft    time.Duration // span until the first token had been sent; 0 before
	ended   time.Duration // of the last attempt
	usage   usage         // of the last attempt
	meter   meter         // of an answer that may not tell it
	refused bool          // by a limit of the key

	direct directPlaceholders

	// What nearly every exchange needs once is part of it, to be allocated with it.
	firstAttempt attempt
	firstTried   [1]*instance
	headerValues [6]string
}

// canUse reports whether i may be chosen for the next attempt.
func (x *exchange) canUse(i *instance) bool { return !i.full() && x.wants(i) }

// wants reports whether i may be chosen as soon as it is not full.
func (x *exchange) wants(i *instance) bool {
	return !i.state.drain.Load() && i.state.health.admits(x.now, x.leeway) && (len(x.tried) == 0 || !x.hasTried(i)) && x.fits(i)
}

// hasTried reports whether an attempt was made with i, be it as another content of the
// file describes it.
func (x *exchange) hasTried(i *instance) bool { return wasTried(x.tried, i) }

func wasTried(tried []*instance, i *instance) bool {
	return slices.ContainsFunc(tried, func(t *instance) bool { return t.state == i.state })
}

// choose begins the next attempt, with an instance of its own; if all that could be used
// are full it waits for one. It reports whether there is one, and whether another attempt
// is allowed at all.
func (x *exchange) choose() bool {
	x.now = clock()
	if !x.mayTry() {
		return false
	}
	x.measure()
	// Nobody goes past those who wait, but for a retry, which would be the first of them.
	if len(x.tried) == 0 && x.pool.state.queue.waiting.Load() > 0 {
		if end := x.wait(); end != queueMoot {
			return end == queueServed
		}
		x.measure()
	}
	for {
		steps, late := x.steps()
		x.declined = false
		if slices.ContainsFunc(steps[:late], x.chooseFrom) {
			return true
		}
		if !x.blocked() {
			if slices.ContainsFunc(steps[late:], x.chooseFrom) {
				return true
			}
			if x.length.least == 0 {
				return false
			}
			x.length.least = 0 // those with room are out of order; one without says so itself
			continue
		}
		if end := x.wait(); end != queueMoot {
			return end == queueServed
		}
		x.measure()
	}
}

// mayTry reports whether the bounds on attempts allow another one.
func (x *exchange) mayTry() bool {
	x.end()
	n, r := len(x.tried), &x.snap.retries
	if n == 0 {
		x.pool.state.budget.requests.Add(1)
		return true
	}
	if x.request.Context().Err() != nil || !x.last.elsewhere || n >= r.attempts ||
		r.time > 0 && x.now-x.began >= r.time || x.tooLarge() && !x.last.reason.unsent() {
		return false
	}
	if x.last.reason == reasonContext { // which no instance has failed at, so that no storm can come of it
		return true
	}
	return x.pool.state.budget.take(x.now, r.ratio)
}

// lastAttempt reports whether the attempt under way is the last, as there have been as
// many as may be, or the body is sent once only.
func (x *exchange) lastAttempt() bool {
	return len(x.tried) >= x.snap.retries.attempts || x.tooLarge()
}

// tooLarge reports whether the body is over retries.max_body: it is sent to one
// instance only.
func (x *exchange) tooLarge() bool {
	return x.snap.retries.tooLarge(int64(len(x.body.bytes)))
}

// step is one part of a choice: a tier, and what may be looked past there.
type step struct {
	tier   tier
	leeway leeway
}

var (
	usualSteps   = []step{{primary, careful}, {primary, hurried}, {fallback, careful}, {fallback, hurried}, {primary, anyway}, {fallback, anyway}}
	pressedSteps = []step{{primary, pressed}, {primary, anyway}, {fallback, careful}, {fallback, anyway}}
	rescueSteps  = []step{{fallback, careful}, {fallback, hurried}, {primary, careful}, {primary, hurried}, {primary, anyway}, {fallback, anyway}}
)

// steps returns the order in which instances are looked for, and how many of the steps
// come before it is waited for those that are full. The last attempt
// belongs to the fallback tier, so that a request survives the loss of all
// primaries also before they are ejected; less than half of the primaries usable
// and no fallback, and ejections for slowness are looked past.
func (x *exchange) steps() (steps []step, late int) {
	if x.lastTry() {
		return rescueSteps, 4
	}
	if x.pool.pressed() {
		return pressedSteps, 1
	}
	return usualSteps, 4
}

// lastTry reports whether the next attempt is the last that is allowed, and the fallback
// tier's.
func (x *exchange) lastTry() bool {
	n := len(x.tried)
	return n > 0 && n == x.snap.retries.attempts-1 && len(x.pool.tiers[fallback].instances) > 0
}

// chooseFrom begins an attempt with an instance that the policy picks.
func (x *exchange) chooseFrom(s step) bool {
	i, trial := x.leaseFrom(s)
	if i == nil {
		return false
	}
	x.begin(i, trial)
	return true
}

// leaseFrom leases an instance that the policy picks, nil if there is none.
func (x *exchange) leaseFrom(s step) (i *instance, trial bool) {
	if s.tier == fallback && s.leeway < anyway && x.saves() {
		return nil, false
	}
	x.leeway = s.leeway
	for {
		i = x.policy.pick(x.pool.tiers[s.tier], x)
		if i == nil {
			return nil, false
		}
		if trial, ok := i.take(x.now, s.leeway); ok {
			return i, trial
		}
	}
}

// take leases i, and makes the lease its trial if one is due. It fails if others were
// faster.
func (i *instance) take(now time.Duration, l leeway) (trial, ok bool) {
	if trial, ok = i.state.health.try(now, l); !ok {
		return false, false
	}
	if i.lease() {
		return trial, true
	}
	if trial {
		i.state.health.settle(result{begun: now, ended: now, trial: true}, nil)
	}
	return false, false
}

// begin makes i's attempt the one under way.
func (x *exchange) begin(i *instance, trial bool) {
	a := &x.firstAttempt
	if len(x.tried) == 0 {
		x.tried = x.firstTried[:0]
	} else {
		a = new(attempt)
	}
	a.exchange, a.instance, a.trial, a.begun = x, i, trial, x.now
	if trial {
		x.events.bulletin.emit(instanceEvent(instanceTrial, i, reasonNone, 0))
	}
	x.tried = append(x.tried, i)
	x.current = a
	a.takes()
}

// another reports whether a further attempt would find an instance that takes
// part as usual.
func (x *exchange) another() bool {
	if x.lastAttempt() {
		return false
	}
	saved := x.leeway
	defer func() { x.leeway = saved }()
	x.leeway = hurried
	return slices.ContainsFunc(x.pool.tiers[primary].instances, x.canUse) ||
		slices.ContainsFunc(x.pool.tiers[fallback].instances, x.canUse)
}

// end gives up the attempt under way, if there is one.
func (x *exchange) end() {
	if a := x.current; a != nil {
		x.current = nil
		a.end()
	}
}

// rules returns what the health of i is to know of the file and its pool to settle v.
func (x *exchange) rules(i *instance, v verdict) rules {
	r := rules{threshold: x.snap.threshold, window: x.snap.errorWindow, lock: x.ejections}
	if v.blame == blameInstance { // nobody else asks
		r.last = func() bool { return x.pool.lastIs(i) }
	}
	return r
}

// full reports whether i has as many requests as it may.
func (i *instance) full() bool {
	most := i.state.most.Load()
	return most > 0 && i.state.inFlight.Load() >= most
}

// lease counts a request in flight on i, unless i is full. Every lease is given
// back once, by [instance.free]. A lease that fails is never counted, not even for a
// moment: it would make others fail that have a place, and nobody would tell them.
func (i *instance) lease() bool {
	most := i.state.most.Load()
	if most == 0 {
		i.state.inFlight.Add(1)
		return true
	}
	for {
		n := i.state.inFlight.Load()
		if n >= most {
			return false
		}
		if i.state.inFlight.CompareAndSwap(n, n+1) {
			return true
		}
	}
}
