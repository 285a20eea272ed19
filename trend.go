package aigateway

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/alert"
)

const (
	trendStep   = 10 * time.Second
	trendSteps  = 30 // five minutes
	trendWindow = trendSteps * trendStep
	// trendLeast is how many of a thing there must be for its parts to mean something.
	trendLeast = 20
	// trendSlow is the part of slow beginnings above which the 95th percentile is.
	trendSlow = 0.05
)

// pulse counts, for as long as a pool's snapshot lasts, what alerts are measured by. It
// takes no lock.
type pulse struct {
	attempts atomic.Int64 // that say something about their instances
	failures atomic.Int64 // of them
	begun    atomic.Int64 // streams whose answers have begun, while slow_first_token is set
	slow     atomic.Int64 // of them, after slow_first_token
}

// settled counts an attempt.
func (p *pulse) settled(v verdict) {
	if v.blame == praise || v.blame == blameInstance {
		p.attempts.Add(1)
	}
	if v.blame == blameInstance {
		p.failures.Add(1)
	}
}

// begins counts a stream whose answer begins after took, if limit is set.
func (p *pulse) begins(took, limit time.Duration) {
	if limit == 0 {
		return
	}
	p.begun.Add(1)
	if took > limit {
		p.slow.Add(1)
	}
}

// counts are the counts of a pulse, or their changes.
type counts struct{ attempts, failures, begun, slow int64 }

func (p *pulse) counts() counts {
	return counts{p.attempts.Load(), p.failures.Load(), p.begun.Load(), p.slow.Load()}
}

func (c counts) plus(sign int64, d counts) counts {
	return counts{c.attempts + sign*d.attempts, c.failures + sign*d.failures, c.begun + sign*d.begun, c.slow + sign*d.slow}
}

// trends tell people of models that fail or are slow too often. They belong to the
// observer, and cost nothing for models without requests.
type trends struct {
	due    time.Time
	at     int // the step
	models map[string]*trend
}

// trend is what has become of a model in trendWindow, over swaps.
type trend struct {
	pool  *pool
	last  counts // of pool
	steps [trendSteps]counts
	sum   counts // of steps
	told  map[alert.Kind]*alerts
}

// look takes the counts every trendStep and signals what begins and ends.
func (t *trends) look(snap *snapshot, now time.Time) {
	if now.Before(t.due) {
		return
	}
	t.due = now.Add(trendStep)
	t.at = (t.at + 1) % trendSteps
	seen := make(map[string]*trend, len(t.models))
	for _, p := range snap.fleet.all() {
		m := t.models[p.model]
		if m == nil {
			if p.pulse.counts() == (counts{}) {
				continue
			}
			m = &trend{told: make(map[alert.Kind]*alerts)}
		}
		seen[p.model] = m
		m.step(p, t.at)
		m.tell(snap)
	}
	t.models = seen
}

// step takes the counts of the model's pool, which is another one after a swap.
func (m *trend) step(p *pool, at int) {
	if m.pool != p {
		m.pool, m.last = p, counts{}
	}
	now := p.pulse.counts()
	change := now.plus(-1, m.last)
	m.sum = m.sum.plus(-1, m.steps[at]).plus(1, change)
	m.steps[at], m.last = change, now
}

// tell compares the window with the bounds of the file.
func (m *trend) tell(snap *snapshot) {
	s := &m.sum
	m.signal(snap, alert.ErrorRate, snap.errorRate > 0 && s.attempts >= trendLeast && float64(s.failures) >= snap.errorRate*float64(s.attempts),
		fmt.Sprintf("%d of %d attempts failed in %v", s.failures, s.attempts, trendWindow))
	m.signal(snap, alert.SlowFirstToken, snap.slowFirstToken > 0 && s.begun >= trendLeast && float64(s.slow) > trendSlow*float64(s.begun),
		fmt.Sprintf("%d of %d streams began after more than %v, in %v", s.slow, s.begun, snap.slowFirstToken, trendWindow))
}

// signal tells of a transition, and those who have not heard of it.
func (m *trend) signal(snap *snapshot, kind alert.Kind, active bool, cause string) {
	told := m.told[kind]
	if active && told == snap.alerts || !active && told == nil {
		return
	}
	delete(m.told, kind)
	if active {
		m.told[kind] = snap.alerts
	}
	snap.alerts.Signal(alert.Signal{Kind: kind, Model: m.pool.model, Cause: cause, Recent: int(m.sum.failures), Active: active})
}
