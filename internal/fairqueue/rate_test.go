package fairqueue

import (
	"testing"
	"time"
)

// TestRate guards that a rate is that of the time in which somebody waits, that it
// follows changes, and that nothing is claimed of what is not known.
func TestRate(t *testing.T) {
	var r Rate
	now := time.Hour
	f := func(what string, n int, want time.Duration) {
		t.Helper()
		if got := r.Time(now, n); got < want*9/10 || got > want*11/10 {
			t.Errorf("%s: %d take %v, want %v", what, n, got, want)
		}
	}
	serve := func(n int, every time.Duration) {
		for range n {
			now += every
			r.Count(now)
		}
	}
	f("nobody has waited", 10, 0)
	r.Waits(now, true)
	f("since now", 10, 0)
	now += 2 * time.Second
	f("nobody was served in 2 s", 1, 2*time.Second)
	r.Count(now)
	f("one in 2 s", 3, 6*time.Second)
	serve(9, 2*time.Second)
	f("10 in 20 s", 5, 10*time.Second)
	r.Waits(now, false)
	now += time.Hour
	f("nobody waited for an hour", 5, 10*time.Second)
	r.Waits(now, true)
	serve(200, time.Second/2)
	f("four times as fast", 8, 4*time.Second)
	now += 10 * time.Minute
	f("nobody was served for 10 min", 2, 2*rateMemory)
	f("without end", 1<<40, maxTime)
	now -= time.Minute
	f("an older reading", 2, 2*rateMemory)
}
