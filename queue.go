package aigateway

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/fairqueue"
)

// queueBounds are the bounds of queues in config.json5.
type queueBounds struct {
	maxWaiting int
	maxWait    time.Duration
	spillAfter time.Duration
}

// spills reports whether a wait, if it is long, leads to the fallback tier. Where
// spillAfter is 0 that has been asked before.
func (b *queueBounds) spills() bool {
	return b.spillAfter > 0 && (b.maxWait == 0 || b.spillAfter <= b.maxWait)
}

// queue is where requests for one model wait while every instance that could take them
// is full. A place is handed on by whoever gives it back, see [instance.free], and by
// the store's [usher] where something else makes it. Both look for those who wait after
// they have changed what they change; who is going to wait counts itself before it looks
// for a place. So one of the two sees the other, and nobody waits beside a free place.
//
// The lock is taken by those alone who wait and who hand on to them. While it is held the
// exchange of a waiter in the queue is the holder's.
type queue struct {
	waiting atomic.Int64 // changes under mu

	mu     sync.Mutex
	order  fairqueue.Queue[*waiter] // guarded by mu, as all below
	rate   fairqueue.Rate
	closed bool // the model has left the file
}

// enter lines w up, unless its waiting ends at once. It reports whether the file is still
// the one that w goes by.
func (q *queue) enter(w *waiter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	x, now := w.x, clock()
	q.count(1, x.store)
	if q.closed || x.store.snapshot() != x.snap {
		q.count(-1, x.store)
		return false
	}
	if ending.Load() {
		q.finish(w, queueShutdown)
		return true
	}
	flow, urgent, bounds := x.flow(), len(x.tried) > 0, &x.snap.queue
	crowded := q.order.Len() >= bounds.maxWaiting
	if bounds.spills() && (crowded || q.rate.Time(now, q.order.Ahead(flow)+1) > bounds.spillAfter) {
		x.line.spilled = true
	}
	if crowded && !q.makeRoom(w, flow, urgent, now) {
		return true
	}
	w.entry = q.order.Push(flow, urgent, w)
	if q.order.Len() == 1 {
		q.rate.Waits(now, true)
	}
	q.serve(now)
	switch {
	case !w.entry.In():
	case !x.blocked():
		q.out(w, queueMoot, now)
	case q.order.Len() == 1 && x.pool.due(now) > 0:
		x.store.usher.ring() // which waits for that
	}
	return true
}

// makeRoom turns away who has to go for w. It reports false if that is w itself.
func (q *queue) makeRoom(w *waiter, flow fairqueue.Flow, urgent bool, now time.Duration) bool {
	if crowd := q.order.Crowd(flow, urgent, w.x.snap.queue.maxWaiting); crowd != nil {
		q.out(crowd.Value, queueFull, now)
		return true
	}
	end := queueFull
	if w.x.line.spilled && w.find(now) {
		end = queueServed
	}
	w.again = q.again(flow, now)
	q.finish(w, end)
	return false
}

// leave takes w out, unless it is.
func (q *queue) leave(w *waiter, end queueEnd) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if w.entry.In() {
		q.out(w, end, clock())
	}
}

// spill lets w go to the fallback tier.
func (q *queue) spill(w *waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !w.entry.In() {
		return
	}
	w.x.line.spilled = true
	if now := clock(); w.find(now) {
		q.out(w, queueServed, now)
	}
}

// offer hands the places that i has on to those who wait for them, in their order.
func (q *queue) offer(i *instance) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := clock()
	for {
		e, ok := q.order.Serve(func(w *waiter) fairqueue.Verdict {
			switch {
			case i.full():
				return fairqueue.Stop
			case !w.wants(i, now):
				return fairqueue.Skip
			case !w.lease(i, now):
				return fairqueue.Stop
			}
			return fairqueue.Take
		})
		if !ok {
			return
		}
		q.out(e.Value, queueServed, now)
	}
}

// serve hands on all places that there are to those who wait, in their order.
func (q *queue) serve(now time.Duration) {
	var none [2]bool // by tier: nobody finds a place there
	for {
		e, ok := q.order.Serve(func(w *waiter) fairqueue.Verdict {
			switch {
			case none[primary] && none[fallback]:
				return fairqueue.Stop
			case none[primary] && !w.x.spills() || w.x.request.Context().Err() != nil:
				return fairqueue.Skip
			case w.find(now):
				return fairqueue.Take
			}
			if len(w.x.tried) == 0 { // who has tried some finds no more than this one
				none[primary] = true
				none[fallback] = none[fallback] || !w.x.saves()
			}
			return fairqueue.Skip
		})
		if !ok {
			return
		}
		q.out(e.Value, queueServed, now)
	}
}

// review sees to those who wait after something has changed, and makes them go by snap,
// in which p is the queue's pool. Who has nothing to wait for any more chooses anew.
func (q *queue) review(snap *snapshot, p *pool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := clock()
	for _, e := range q.order.All() {
		w := e.Value
		if w.x.snap != snap && snap.fleet.pool(w.x.wanted()) != p {
			q.out(w, queueMoot, now)
			continue
		}
		w.x.snap, w.x.pool = snap, p
	}
	q.serve(now)
	for _, e := range q.order.All() {
		if w := e.Value; !w.x.blocked() {
			q.out(w, queueMoot, now)
		}
	}
}

// turnAway ends the waiting of all; closed says that nobody can wait afterwards either.
func (q *queue) turnAway(end queueEnd, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = q.closed || closed
	now := clock()
	for _, e := range q.order.All() {
		q.out(e.Value, end, now)
	}
}

// view returns how many wait, and how long a new one with the weight of most would.
func (q *queue) view(now time.Duration) (waiting int, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.order.Len(), q.rate.Time(now, q.order.Ahead(openFlow)+1)
}

// out takes w out, which waits or has just been served. The caller holds mu, as that of
// all that follow.
func (q *queue) out(w *waiter, end queueEnd, now time.Duration) {
	switch end {
	case queueServed:
		q.rate.Count(now)
	case queueFull, queueTimeout:
		w.again = q.again(w.x.flow(), now)
	default:
	}
	if q.order.Remove(w.entry); q.order.Len() == 0 {
		q.rate.Waits(now, false)
	}
	q.finish(w, end)
}

// finish lets w go.
func (q *queue) finish(w *waiter, end queueEnd) {
	q.count(-1, w.x.store)
	if end == queueShutdown {
		dismissed.Add(1) // until [exchange.finish]
	}
	w.end = end
	close(w.out)
}

// The bounds of Retry-After for who has waited in vain.
const (
	leastAgain = time.Second
	mostAgain  = time.Minute
)

// again is how long a client of flow should leave another try: until it would be its turn.
func (q *queue) again(flow fairqueue.Flow, now time.Duration) time.Duration {
	return min(mostAgain, max(leastAgain, q.rate.Time(now, q.order.Ahead(flow)+1)))
}

// count counts those who wait, for [instance.free] in s.
func (q *queue) count(n int64, s *store) {
	q.waiting.Add(n)
	s.usher.waiting.Add(n)
}
