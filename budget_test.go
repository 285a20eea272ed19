package aigateway

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// taken returns how many of n retries are allowed at now.
func (b *retryBudget) taken(n int, now time.Duration, ratio float64) (allowed int) {
	for range n {
		if b.take(now, ratio) {
			allowed++
		}
	}
	return allowed
}

// TestRetryBudget guards the bound on a pool's retries: a reserve of 100, 10 more
// a second, and the ratio's part of the requests, never more than 100 at once.
func TestRetryBudget(t *testing.T) {
	now := time.Hour
	b := new(retryBudget)
	f := func(when string, ratio float64, want int) {
		t.Helper()
		if got := b.taken(1000, now, ratio); got != want {
			t.Errorf("%s: got %d retries, want %d", when, got, want)
		}
	}
	b.requests.Store(1_000_000) // from before the first retry
	f("reserve", .2, 100)
	now += 99 * time.Millisecond
	f("99 ms later", .2, 0)
	now += time.Millisecond
	f("100 ms later", .2, 1)
	now += time.Second
	f("a second later", .2, 10)
	b.requests.Add(200)
	f("200 requests later", .2, 40)
	b.requests.Add(4)
	f("4 requests later", .2, 0)
	b.requests.Add(1)
	f("5 requests later", .2, 1)
	b.requests.Add(40)
	f("40 requests and another ratio", .5, 20)
	now += time.Hour
	b.requests.Add(1_000_000)
	f("long after", .2, 100)
	now -= time.Second // readings of two requests may come in the other order
	f("a reading of before", .2, 0)
	now += 2 * time.Second
	if got := b.taken(1000, now, .2); got < 10 {
		t.Errorf("a second after the latest reading: got %d retries, want at least 10: a reading of before costs none", got)
	}
}

// TestRetryBudgetStorm guards that retries are a fifth of the requests in a storm
// of a minute in which every request fails, beside the reserve and its refill.
func TestRetryBudgetStorm(t *testing.T) {
	b := new(retryBudget)
	const perSecond, seconds = 1000, 60
	retries := 0
	for n := range perSecond * seconds {
		now := time.Duration(n) * time.Second / perSecond
		b.requests.Add(1)
		retries += b.taken(2, now, .2)
	}
	const requests = perSecond * seconds
	if most := requests/5 + retryReserve + retryPerSecond*seconds; retries > most || retries < most-2 {
		t.Errorf("got %d retries of %d requests, want %d", retries, requests, most)
	}
}

// TestRetryBudgetOff guards that a ratio of 0 sets no limit and uses nothing up.
func TestRetryBudgetOff(t *testing.T) {
	b := new(retryBudget)
	if got := b.taken(10_000, 0, 0); got != 10_000 {
		t.Errorf("ratio 0: got %d retries of 10000", got)
	}
	if got := b.taken(1000, 0, .2); got != retryReserve {
		t.Errorf("a ratio afterwards: got %d retries, want the whole reserve of 100", got)
	}
}

// TestRetryBudgetAtOnce guards that many requests at once get no more than there is.
func TestRetryBudgetAtOnce(t *testing.T) {
	b := new(retryBudget)
	var allowed atomic.Int64
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			b.requests.Add(1)
			allowed.Add(int64(b.taken(20, time.Hour, 1)))
		})
	}
	all.Wait()
	// Requests that come before the first retry earn nothing.
	if got := allowed.Load(); got < retryReserve || got >= retryReserve+50 {
		t.Errorf("got %d retries, want 100 to 149", got)
	}
}
