package fairqueue

import (
	"math"
	"time"
)

// rateMemory is the time after which a hand-over counts for a third in [Rate]: longer
// than most answers of a model take, so that a fleet with few places is measured by
// more than one, and short enough to follow a loss of instances within max_wait.
const rateMemory = 30 * time.Second

// Rate measures how fast a queue is served, as an average of the hand-overs that
// fades by time. Only time in which somebody waits counts: while nobody does, places are
// free and their number says nothing. Times are readings of one clock. It is not safe for
// concurrent use; its zero value knows nothing yet.
type Rate struct {
	waits  bool
	at     time.Duration // of the last reckoning
	sum    float64       // of the hand-overs, faded
	weight float64       // of the time that they were measured in, in seconds, faded
}

// Waits says whether somebody waits from now on.
func (r *Rate) Waits(now time.Duration, waits bool) {
	r.reckon(now)
	r.waits = waits
}

// Count counts a hand-over.
func (r *Rate) Count(now time.Duration) {
	r.reckon(now)
	r.sum++
}

// reckon lets the past fade.
func (r *Rate) reckon(now time.Duration) {
	passed := max(0, now-r.at)
	r.at = max(r.at, now)
	if !r.waits {
		return
	}
	fade := math.Exp(-passed.Seconds() / rateMemory.Seconds())
	r.sum *= fade
	r.weight = r.weight*fade + rateMemory.Seconds()*(1-fade)
}

// Time is how long n hand-overs take, as far as it is known: 0 before the first time
// that somebody waits. If there has been none yet, the first is taken to be due now.
func (r *Rate) Time(now time.Duration, n int) time.Duration {
	if r.reckon(now); r.weight == 0 {
		return 0
	}
	perSecond := max(1, r.sum) / r.weight
	return time.Duration(min(float64(n)/perSecond, maxTime.Seconds()) * float64(time.Second))
}

// maxTime is the longest time that is told.
const maxTime = 24 * time.Hour
