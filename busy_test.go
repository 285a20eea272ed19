package aigateway

import (
	"testing"
	"time"
)

// inTime repeats try, which judges times and returns which was too long, or nothing: three
// times, or for a minute if a busy machine keeps this process waiting meanwhile, as such a
// time says nothing of the gateway. What is late by the gateway's own doing is late each time.
func inTime(t testing.TB, try func() (late string)) {
	t.Helper()
	const busy = 20 * time.Millisecond
	begun := time.Now()
	for n := 1; ; n++ {
		w := watchOwn()
		late := try()
		gap := w.longest()
		if late == "" || t.Failed() {
			return
		}
		if n >= 3 && gap < busy || time.Since(begun) > time.Minute {
			t.Fatalf("%s, %d times in a row, and this process waited for %v at most", late, n, gap)
		}
		t.Logf("once more, as this process itself waited for %v: %s", gap, late)
	}
}

// ownWatch measures for how long this process, of which the instances and clients of
// tests are a part, does not run.
type ownWatch struct {
	stop chan struct{}
	gap  chan time.Duration
}

func watchOwn() *ownWatch {
	w := &ownWatch{stop: make(chan struct{}), gap: make(chan time.Duration)}
	go func() {
		const pace = 5 * time.Millisecond
		tick := time.NewTicker(pace)
		defer tick.Stop()
		var longest time.Duration
		for last := time.Now(); ; {
			select {
			case <-tick.C:
				longest, last = max(longest, time.Since(last)-pace), time.Now()
			case <-w.stop:
				w.gap <- longest
				return
			}
		}
	}()
	return w
}

// longest ends the watch.
func (w *ownWatch) longest() time.Duration {
	close(w.stop)
	return <-w.gap
}
