package aigateway

import (
	"context"
	"errors"
	"math"
	"time"

	"go.uber.org/zap"
)

// What people decide about a running fleet, by the admin API. It lives with what is
// known of the instances: over swaps and reloads, until the process ends or the
// instance leaves the file.

// errStoreEnded is returned when no configuration uses the file any more.
var errStoreEnded = errors.New("no configuration uses the file any more")

// forever is the time of a trial that is never due.
const forever = time.Duration(math.MaxInt64)

// takeOut ejects the instance by hand, for wait, or until it is restored if that is 0.
func (h *health) takeOut(now, wait time.Duration) change {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := change{h.grown(now), ejected, reasonManual, wait}
	if wait <= 0 || wait > forever-now {
		wait = forever - now
	}
	h.out(reasonManual, now, wait)
	h.manual.Store(true)
	return c
}

// restore ends an ejection or a trial, whoever began it.
func (h *health) restore(now time.Duration) (c change, changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.usable() {
		return change{}, false
	}
	return h.back(now), true
}

// setDrain lets the instance of that ID drain, or not, whatever the file says. An
// instance that the file drains goes on draining. It returns the instance as it is
// then, nil if the file has none of that ID.
func (s *store) setDrain(id string, drain bool) *instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.states[id]
	if state == nil {
		return nil
	}
	if state.drained != drain {
		state.drained = drain
		s.renew()
		s.logger.Load().Info("instance is steered by hand", zap.String("upstream", id), zap.Bool("drain", drain))
	}
	return s.snapshot().fleet.instance(id)
}

// takeOut ejects i for wait, or until it is restored if that is 0.
func (s *store) takeOut(i *instance, wait time.Duration) {
	s.handLogger().out(i, i.state.health.takeOut(clock(), wait))
}

// restore brings i back, in slow start, and ends a draining by hand. It returns the
// instance as it is then, nil if it has left the file.
func (s *store) restore(i *instance) *instance {
	if c, changed := i.state.health.restore(clock()); changed {
		s.handLogger().back(i, c)
	}
	return s.setDrain(i.id, false)
}

func (s *store) handLogger() logger { return logger{s.logger.Load(), s.events} }

// reload has the file looked at now, and waits for it. Changed is nil if it is as it
// was.
func (s *store) reload(ctx context.Context) (changed *swap, err error) {
	answer := make(chan looked, 1)
	select {
	case s.asked <- answer:
	case <-s.stop:
		return nil, errStoreEnded
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case l := <-answer:
		return l.changed, l.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// instance returns the one of that ID, or nil.
func (f *fleet) instance(id string) *instance {
	for _, i := range f.instances {
		if i.id == id {
			return i
		}
	}
	return nil
}

// serves reports whether the pool has an instance that takes requests as usual, or one
// whose trial is due: without requests it would never come back.
func (p *pool) serves(now time.Duration) bool {
	for _, r := range p.tiers {
		for _, i := range r.instances {
			if i.state.health.admits(now, hurried) {
				return true
			}
		}
	}
	return false
}

// serves reports whether a pool does.
func (f *fleet) serves(now time.Duration) bool {
	for _, p := range f.pools {
		if p.serves(now) {
			return true
		}
	}
	return f.any != nil && f.any.serves(now)
}
