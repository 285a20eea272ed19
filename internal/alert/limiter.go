package alert

import (
	"sync"
	"time"
)

// limiter keeps to what a service takes: no more messages than stated in any window,
// and none while it wants rest. It is safe for concurrent use.
type limiter struct {
	rates []rate

	mu    sync.Mutex
	sent  []time.Time // the last ones, the oldest first, guarded by mu as all below
	until time.Time   // the service wants rest
}

func newLimiter(rates []rate) *limiter { return &limiter{rates: rates} }

// reserve takes the right to send now, or returns how long to wait before asking
// again.
func (l *limiter) reserve(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	wait := l.until.Sub(now)
	most := 0
	for _, r := range l.rates {
		most = max(most, r.n)
		if i := len(l.sent) - r.n; i >= 0 {
			wait = max(wait, l.sent[i].Add(r.per).Sub(now))
		}
	}
	if wait > 0 {
		return wait
	}
	l.sent = append(l.sent, now)
	if len(l.sent) > most {
		l.sent = append(l.sent[:0], l.sent[len(l.sent)-most:]...)
	}
	return 0
}

// rest stops messages for d.
func (l *limiter) rest(now time.Time, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := now.Add(d); until.After(l.until) {
		l.until = until
	}
}
