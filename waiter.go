package aigateway

import (
	"slices"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/fairqueue"
)

// queueEnd is how waiting ends.
type queueEnd uint8

const (
	queueNone     queueEnd = iota // there was none, or it goes on
	queueServed                   // an instance is leased
	queueMoot                     // no instance is merely full any more: choose anew
	queueFull                     // there is no room, or another one needs it more
	queueTimeout                  // it took too long
	queueLeft                     // the client has gone
	queueShutdown                 // the process ends
	queueNoModel                  // the model has left the file
)

// waiter is a request that waits.
type waiter struct {
	x     *exchange
	queue *queue
	entry *fairqueue.Entry[*waiter] // nil if it did not come so far

	out      chan struct{} // closed when it does not wait any more, and what follows is set
	end      queueEnd
	instance *instance     // leased, if it is served
	trial    bool          // of the lease
	again    time.Duration // how long to leave another try, if it was in vain
}

// queueing is what an exchange has met of queues.
type queueing struct {
	time    time.Duration // that it has waited in all
	end     queueEnd      // of the last wait
	again   time.Duration // after that, how long the client should leave another try
	spilled bool          // the fallback tier may take it although a primary is only full
}

// wait waits until an instance has a place, and begins an attempt with it. It goes by
// the newest content of the file.
func (x *exchange) wait() queueEnd {
	began := clock()
	x.own += began - x.working
	w := &waiter{x: x, out: make(chan struct{})}
	for {
		if !x.adopt(x.store.snapshot()) {
			return x.goesOn(queueNoModel, began)
		}
		w.queue = &x.pool.state.queue
		if w.queue.enter(w) {
			break
		}
	}
	w.stay()
	end := w.end
	switch {
	case end == queueServed && x.request.Context().Err() != nil:
		w.giveBack()
		end = queueLeft
	case end == queueMoot && !x.adopt(x.store.snapshot()):
		end = queueNoModel
	}
	x.line.again = w.again
	x.goesOn(end, began)
	switch end {
	case queueServed:
		x.begin(w.instance, w.trial)
	case queueLeft:
		x.last = canceled
	case queueShutdown:
		x.last = verdict{outcome: outcomeShutdown, reason: reasonShutdown}
	default:
	}
	return end
}

// goesOn notes that a wait since began is over.
func (x *exchange) goesOn(end queueEnd, began time.Duration) queueEnd {
	x.now = clock()
	x.working = x.now
	x.line.end = end
	x.line.time += x.now - began
	x.pool.state.counts.waited(x.now-began, end)
	return end
}

// adopt makes x go by snap. It reports whether the model is there; else x stays as it is.
func (x *exchange) adopt(snap *snapshot) bool {
	if x.snap == snap {
		return true
	}
	p := snap.fleet.pool(x.wanted())
	if p == nil {
		return false
	}
	x.snap, x.pool = snap, p
	return true
}

// giveBack ends the lease of a waiter that is served too late.
func (w *waiter) giveBack() {
	if w.trial {
		now := clock()
		w.instance.state.health.settle(result{begun: now, ended: now, trial: true}, nil)
	}
	w.instance.free()
}

// stay returns when w waits no more.
func (w *waiter) stay() {
	select {
	case <-w.out:
		return
	default:
	}
	limit, spill := w.limits(clock())
	timer := time.NewTimer(min(limit, spill))
	defer timer.Stop()
	for {
		select {
		case <-w.out:
			return
		case <-w.x.request.Context().Done():
			w.queue.leave(w, queueLeft)
			return
		case <-timer.C:
			if spill >= limit {
				w.queue.leave(w, queueTimeout)
				return
			}
			w.queue.spill(w)
			timer.Reset(limit - spill)
			spill = forever
		}
	}
}

// limits returns how much longer w waits from now on, and how much longer for a primary
// instance alone. Each may be forever.
func (w *waiter) limits(now time.Duration) (limit, spill time.Duration) {
	q := w.queue
	q.mu.Lock() // a swap may be changing w.x
	defer q.mu.Unlock()
	x := w.x
	bounds, r := &x.snap.queue, &x.snap.retries
	limit, spill = forever, forever
	if bounds.maxWait > 0 {
		limit = bounds.maxWait - x.line.time
	}
	if total := x.pool.total(); total > 0 {
		limit = min(limit, x.began+total-now)
	}
	if len(x.tried) > 0 && r.time > 0 {
		limit = min(limit, x.began+r.time-now)
	}
	if bounds.spills() && !x.spills() {
		spill = bounds.spillAfter - x.line.time
	}
	return limit, spill
}

// blocked reports whether waiting would help, where no place was found: there is an
// instance that could be used, so that it was full.
func (x *exchange) blocked() bool {
	return x.snap.queue.maxWaiting > 0 && (x.hopes(primary) || x.hopes(fallback))
}

// hopes reports whether a tier has an instance that x could use. Whether it is full still
// does not matter: a place that has come free since x looked is for the first who waits.
func (x *exchange) hopes(t tier) bool {
	x.leeway = x.patience()
	return !x.declined && slices.ContainsFunc(x.pool.tiers[t].instances, x.wants)
}

// patience is what is looked past where the alternative is to wait.
func (x *exchange) patience() leeway {
	if x.pool.pressed() {
		return pressed
	}
	return hurried
}

// saves reports whether the fallback tier is not for x now: primaries are only full, and
// it is not to be asked for that, or not yet.
func (x *exchange) saves() bool { return !x.spills() && x.hopes(primary) }

// spills reports whether the fallback tier may be asked while primaries are only full. A
// retry does so in any case: it has waited for an answer already.
func (x *exchange) spills() bool {
	q := &x.snap.queue
	return (x.key == nil || !x.key.patient) && (q.spillAfter == 0 || q.maxWaiting == 0 || x.line.spilled || len(x.tried) > 0)
}

// openFlow is that of all requests where nobody is told apart.
var openFlow = fairqueue.Flow{Class: fairqueue.Normal, Weight: 1}

// flowClasses are those of keys' priorities.
var flowClasses = [...]fairqueue.Class{background: fairqueue.Background, normal: fairqueue.Normal, interactive: fairqueue.Interactive}

// flow is whose places x takes when it waits.
func (x *exchange) flow() fairqueue.Flow {
	if k := x.key; k != nil {
		return fairqueue.Flow{Name: k.name, Class: flowClasses[k.priority], Weight: k.weight}
	}
	return openFlow
}

// find looks for a place for w, as [exchange.choose] does before it waits, and leases it.
func (w *waiter) find(now time.Duration) bool {
	x := w.x
	x.now, x.declined = now, false
	first, l := primary, x.patience()
	if x.lastTry() {
		first = fallback
	}
	for _, s := range []step{{first, careful}, {first, l}, {1 - first, careful}, {1 - first, l}} {
		if i, trial := x.leaseFrom(s); i != nil {
			w.instance, w.trial = i, trial
			return true
		}
	}
	return false
}

// wants reports whether w would take a place that i has.
func (w *waiter) wants(i *instance, now time.Duration) bool {
	x := w.x
	x.now, x.leeway = now, x.patience()
	return x.wants(i) && (i.tier == primary || !x.saves()) && x.request.Context().Err() == nil
}

// lease takes a place that i has.
func (w *waiter) lease(i *instance, now time.Duration) (ok bool) {
	w.trial, ok = i.take(now, w.x.leeway)
	w.instance = i
	return ok
}
