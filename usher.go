package aigateway

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// usher sees to the requests of a store that wait, where a place comes about by other
// things than another request's end: an instance is back, or its rest is over, the file
// has a new one, or gives one more room. It also sees when there is nothing left to wait
// for. It sleeps until somebody rings or the next ejection or rest ends.
type usher struct {
	waiting atomic.Int64 // requests, for all models
	bell    chan struct{}
}

// ring tells that something has changed that requests may wait for. It may be called
// from anywhere; it never waits, and costs a look while nobody does. It may be nil.
func (u *usher) ring() {
	if u == nil || u.waiting.Load() == 0 {
		return
	}
	select {
	case u.bell <- struct{}{}:
	default: // it has been rung already
	}
}

// ushers sees to waiting requests until the store ends.
func (s *store) ushers() {
	timer := time.NewTimer(forever)
	defer timer.Stop()
	for {
		select {
		case <-s.usher.bell:
		case <-timer.C:
		case <-s.stop:
			return
		}
		timer.Reset(s.usherIn())
	}
}

// usherIn reviews all queues. It returns after how long to do so again if nobody rings.
func (s *store) usherIn() time.Duration {
	next, snap := forever, s.snapshot()
	for _, p := range snap.fleet.all() {
		if p.state.queue.waiting.Load() == 0 {
			continue
		}
		p.state.queue.review(snap, p)
		if wait := p.due(clock()); wait > 0 {
			next = min(next, wait)
		}
	}
	return next
}

// reseat lets all who wait, and who hand on to them, know of the snapshot in force, after
// before, which may be nil. The caller holds mu.
func (s *store) reseat(before *snapshot) {
	for _, i := range s.snapshot().fleet.instances {
		i.state.newest.Store(i)
	}
	if before != nil {
		for _, i := range before.fleet.instances {
			if s.states[i.id] != i.state {
				i.state.newest.Store(nil)
			}
		}
		for _, p := range before.fleet.all() {
			if s.models[p.model] != p.state {
				p.state.queue.turnAway(queueMoot, true)
			}
		}
	}
	s.usher.ring()
}

// dismiss ends the waiting of all, as the process ends.
func (s *store) dismiss() {
	for _, p := range s.snapshot().fleet.all() {
		p.state.queue.turnAway(queueShutdown, false)
	}
}

// due returns how long it takes until the first ejection or rest of the pool's instances
// ends by itself, 0 if none does.
func (p *pool) due(now time.Duration) (wait time.Duration) {
	for _, r := range p.tiers {
		for _, i := range r.instances {
			if w := i.state.health.due(now); w > 0 && (wait == 0 || w < wait) {
				wait = w
			}
		}
	}
	return wait
}

// due returns how long it takes until the instance's ejection or rest ends by itself, 0
// if neither does.
func (h *health) due(now time.Duration) time.Duration {
	if rest := time.Duration(h.rest.Load()) - now; rest > 0 {
		return rest
	}
	if until := h.until.Load(); phase(h.phase.Load()) == ejected && until != int64(forever) {
		return max(0, time.Duration(until)-now)
	}
	return 0
}

// free gives a lease back, and its place to the first who waits for one.
func (i *instance) free() {
	i.state.inFlight.Add(-1)
	if u := i.state.health.usher; u != nil && u.waiting.Load() > 0 {
		i.state.handOn()
	}
}

// handOn offers the instance's places, as it stands in the file now, to all pools that it
// is in. Only those of [anyModel] are in many: none of these is always the first.
func (s *instanceState) handOn() {
	i := s.newest.Load()
	if i == nil || i.off() {
		return
	}
	first := 0
	if len(i.pools) > 1 {
		first = rand.IntN(len(i.pools))
	}
	for n := range i.pools {
		if q := &i.pools[(first+n)%len(i.pools)].state.queue; q.waiting.Load() > 0 {
			q.offer(i)
		}
	}
}
