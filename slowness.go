package aigateway

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// waitTime and waits are those of the times until streams began that count: the last
	// hour, and up to ten minutes more: long prompts are rare.
	waitTime = 10 * time.Minute
	waits    = 7

	// A request's size is in one of sizes classes, the first up to leastSize bytes and
	// each further one up to four times as many: 4 KiB to 4 MiB, and all above.
	leastSize = 4 << 10
	sizes     = 7

	// enoughWaits is how many times must be known of a size: of fewer than twenty not one
	// is expected above their 95th percentile.
	enoughWaits = 20
	// waitQuantile is the share of the streams that are taken for usual.
	waitQuantile = 0.95
	// newWaits is how many new times of a size change what is learnt.
	newWaits = 4

	// waitRoom is how many times the usual wait a stream may take. Waits above the
	// deadline in force never become known, so without room it would not grow.
	waitRoom = 2
	// longestWaits is how many times the configured deadline the learnt one may be: an
	// engine that gets slower by degrees, or is stuck, is found out within that.
	longestWaits = 3
)

// slowness is how long an instance has lately needed until streams began, by the size of
// their requests. What it has learnt is read without a lock; it may be used from many
// goroutines. It is empty at first, and takes 3.0 KB for each size that was asked for.
type slowness struct {
	usual [sizes]atomic.Int64 // ns that waitQuantile of the streams began within; 0 for unknown
	at    [sizes]atomic.Int64 // reading of the clock, of the newest time

	mu   sync.Mutex
	kept [sizes]*sizeWaits // guarded by mu
}

// slow returns the instance's slowness, to note a time in.
func (s *instanceState) slow() *slowness {
	if s.slowness.Load() == nil {
		s.slowness.CompareAndSwap(nil, new(slowness))
	}
	return s.slowness.Load()
}

// sizeWaits are the times of one size.
type sizeWaits struct {
	slots [waits]struct {
		epoch int64 // number of the slice of time, from 1
		spread
	}
	count uint // times so far
}

// sizeOf returns the class of a request of so many bytes.
func sizeOf(bytes int) int {
	return min((bits.Len(uint(max(0, bytes-1)/leastSize))+1)/2, sizes-1)
}

// begins notes that a stream began after wait; its request had so many bytes. Only what
// did begin counts: what was given up says nothing of how long it would have taken.
func (sl *slowness) begins(bytes int, wait, now time.Duration) {
	size, epoch := sizeOf(bytes), epochOf(now, waitTime)
	sl.mu.Lock()
	defer sl.mu.Unlock()
	w := sl.kept[size]
	if w == nil {
		w = new(sizeWaits)
		sl.kept[size] = w
	}
	s := &w.slots[epoch%waits]
	forgets := s.epoch != epoch
	if forgets {
		s.epoch, s.spread = epoch, spread{}
	}
	s.spread[class(wait)]++
	sl.at[size].Store(int64(now))
	if w.count++; forgets || w.count%newWaits == 0 {
		sl.usual[size].Store(int64(w.usual(epoch)))
	}
}

// usual returns the time that waitQuantile of the streams began within, 0 if too few are
// known.
func (w *sizeWaits) usual(epoch int64) time.Duration {
	var all spread
	total := uint32(0)
	for n := range w.slots {
		s := &w.slots[n]
		if s.epoch == 0 || epoch-s.epoch >= waits {
			continue
		}
		for class, count := range s.spread {
			all[class] += count
			total += count
		}
	}
	if total < enoughWaits {
		return 0
	}
	return all.quantile(waitQuantile)
}

// needs returns how long a stream whose request has so many bytes may take to begin, 0 if
// too little is known. What smaller requests need a larger one needs as well.
func (sl *slowness) needs(bytes int, now time.Duration) time.Duration {
	if sl == nil {
		return 0
	}
	longest := int64(0)
	for size := range sizeOf(bytes) + 1 {
		if usual := sl.usual[size].Load(); usual > longest && now-time.Duration(sl.at[size].Load()) < waits*waitTime {
			longest = usual
		}
	}
	return waitRoom * time.Duration(longest)
}

// firstTokenFor returns the deadline for the first token of a stream whose request has so
// many bytes, 0 for none. Learnt says that it is longer than configured: as long as the
// instance needs, within longestWaits, and while a quarter of the time that r and
// timeouts.total give the request is left for another instance, if spent of it has passed.
func (i *instance) firstTokenFor(bytes int64, spent time.Duration, r *retries, now time.Duration) (limit time.Duration, learnt bool) {
	d := &i.deadlines
	if d.firstToken == 0 {
		return 0, false
	}
	limit = d.firstToken + time.Duration(float64(d.firstTokenPerMB)*float64(bytes)/1e6)
	if !d.learn {
		return limit, false
	}
	needs := min(i.state.slowness.Load().needs(int(bytes), now), longestWaits*limit)
	for _, whole := range [...]time.Duration{r.time, d.total} {
		if whole > 0 {
			needs = min(needs, whole/4*3-spent)
		}
	}
	if needs <= limit {
		return limit, false
	}
	return needs, true
}
