package aigateway

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// outcome says how an attempt ended.
type outcome uint8

const (
	outcomeOK       outcome = iota // the instance answered, if only with the client's own error
	outcomeFailed                  // connect, TLS or reset before the answer, or a 5xx
	outcomeCanceled                // the client went away: nobody's fault
)

// instanceState is what the gateway has learnt of an instance. The store keeps
// it while the instance's ID stays in the file.
type instanceState struct {
	host     reverseproxy.Host // Caddy's own counter, read by its policies
	inFlight atomic.Int64      // attempts, each counted once from choice to end
	health   health
}

// healthBuckets is the resolution in which results leave the error window.
const healthBuckets = 10

// health counts an instance's results over the last error_window seconds. Its
// methods may be called at once from many requests.
type health struct {
	mu      sync.Mutex
	buckets [healthBuckets]struct {
		epoch            int64 // number of the slice of time that the counts belong to
		results, failure int
	}
}

// record counts one result.
func (h *health) record(o outcome, now time.Time, window time.Duration) {
	if o == outcomeCanceled {
		return
	}
	epoch := bucketEpoch(now, window)
	h.mu.Lock()
	defer h.mu.Unlock()
	b := &h.buckets[epoch%healthBuckets]
	if b.epoch != epoch {
		b.epoch, b.results, b.failure = epoch, 0, 0
	}
	b.results++
	if o == outcomeFailed {
		b.failure++
	}
}

// recent returns how many results and how many failures lie in the window.
func (h *health) recent(now time.Time, window time.Duration) (results, failures int) {
	epoch := bucketEpoch(now, window)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range h.buckets {
		if b.epoch > epoch-healthBuckets && b.epoch <= epoch {
			results += b.results
			failures += b.failure
		}
	}
	return results, failures
}

// began anchors bucket numbers to the monotonic clock: a jump of the wall clock
// neither stretches nor empties a window.
var began = time.Now()

func bucketEpoch(now time.Time, window time.Duration) int64 {
	return int64(now.Sub(began)/(window/healthBuckets)) + healthBuckets
}
