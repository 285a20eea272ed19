package aigateway

import (
	"sync"
	"sync/atomic"
	"time"
)

// A pool may always make a burst of retries, and some per second: without them a
// quiet pool could not survive the loss of one instance.
const (
	retryReserve   = 100
	retryPerSecond = 10
)

// retries are the bounds of retries in config.json5.
type retries struct {
	attempts int
	time     time.Duration
	ratio    float64
	maxBody  int64
}

// retryBudget bounds the retries of one pool to a part of its requests, so that
// a fleet in trouble does not get a multiple of its load. It is a bucket that each
// request adds to and each retry takes from, as in Finagle: bounding the retries
// under way, as Envoy does, would count a retried generation for as long as it
// lasts. It may be used at once from many requests.
type retryBudget struct {
	requests atomic.Int64

	mu     sync.Mutex
	begun  bool          // guarded by mu as all below
	tokens float64       // retries that may be made
	at     time.Duration // when tokens was right
	seen   int64         // requests then
}

// take reports whether one more retry is allowed, and counts it. A ratio of 0 sets
// no limit.
func (b *retryBudget) take(now time.Duration, ratio float64) bool {
	if ratio == 0 {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	requests := b.requests.Load()
	if !b.begun {
		b.begun, b.tokens = true, retryReserve
	} else {
		earned := ratio*float64(requests-b.seen) + retryPerSecond*max(0, now-b.at).Seconds()
		b.tokens = min(retryReserve, b.tokens+earned)
	}
	b.at, b.seen = now, requests
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// tooLarge reports whether a request of so many bytes is sent to one instance only.
func (r *retries) tooLarge(size int64) bool { return r.maxBody > 0 && size > r.maxBody }
