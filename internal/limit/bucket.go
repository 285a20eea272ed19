// Package limit holds the limits of a client key: so much a minute ([Bucket]), and
// how often an address may present wrong keys ([Guard]).
//
// Times are readings of a monotonic clock that the caller gives, so that nothing here
// depends on the time of day.
package limit

import (
	"math"
	"math/bits"
	"slices"
	"time"
)

// Period is the time that a rate is given for.
const Period = time.Minute

// Bucket is a token bucket: it holds as much as the rate allows in [Period], is filled
// evenly, and full in the beginning. In any span of time t no more is taken from it
// than rate × (1 + t/Period). It knows no rate of its own: one that changes meanwhile
// finds it filled to the same part. What was taken is kept as the time until the bucket
// is full again, in whole nanoseconds and rounded up, so that rounding never gives
// more. The zero value is a full bucket. It is not safe for concurrent use.
type Bucket struct {
	full time.Duration // when it is full again, or has been
	lows []low         // since the oldest reservation that is still out
	out  int           // reservations
}

// low says that the bucket lacked lack at a time. Among lows, both grow: a lack that was
// followed by a smaller one does not count.
type low struct{ at, lack time.Duration }

// maxLows bounds what is kept of the past: as many as a key may begin of requests in one
// burst. What is beyond is taken for lower than it was, which makes refunds smaller, never
// larger.
const maxLows = 4096

// Reservation is what was taken until its use is known. The zero value is none.
type Reservation struct {
	amount int64
	at     time.Duration
}

// lack returns the time in which n is filled in, rounded up.
func lack(n, rate int64) time.Duration {
	if n <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(n), uint64(Period))
	if hi >= uint64(rate) { // more than 500 years
		return math.MaxInt64 / 4
	}
	t, rest := bits.Div64(hi, lo, uint64(rate))
	if rest > 0 {
		t++
	}
	return time.Duration(min(t, math.MaxInt64/4))
}

// Lack returns the time until the bucket is full.
func (b *Bucket) Lack(now time.Duration) time.Duration { return max(0, b.full-now) }

// Left returns how much can be taken at once.
func (b *Bucket) Left(now time.Duration, rate int64) int64 {
	hi, lo := bits.Mul64(uint64(max(0, Period-b.Lack(now))), uint64(rate))
	left, _ := bits.Div64(hi, lo, uint64(Period)) // at most rate
	return int64(left)
}

// Wait returns how long it takes until n can be taken: 0 if it can be now. More than
// rate can never be.
func (b *Bucket) Wait(now time.Duration, n, rate int64) time.Duration {
	return max(0, b.Lack(now)+lack(n, rate)-Period)
}

// Take takes n, which [Bucket.Wait] allows.
func (b *Bucket) Take(now time.Duration, n, rate int64) {
	b.full = max(b.full, now) + lack(n, rate)
}

// Reserve takes n, which [Bucket.Wait] allows, until [Bucket.Settle] is told what was
// used of it.
func (b *Bucket) Reserve(now time.Duration, n, rate int64) Reservation {
	if b.out == 0 {
		b.lows = b.lows[:0]
	} else {
		b.note(now)
	}
	b.out++
	b.Take(now, n, rate)
	return Reservation{n, now}
}

// note remembers what the bucket lacks now.
func (b *Bucket) note(now time.Duration) {
	l := low{now, b.Lack(now)}
	for n := len(b.lows); n > 0 && b.lows[n-1].lack >= l.lack; n-- {
		b.lows = b.lows[:n-1]
	}
	if len(b.lows) == maxLows {
		b.lows[1].lack = b.lows[0].lack
		b.lows = append(b.lows[:0], b.lows[1:]...)
	}
	b.lows = append(b.lows, l)
}

// giveBack makes the bucket fuller by the time back, as far as it would be without the
// reservation, and the past with it.
func (b *Bucket) giveBack(now time.Duration, r Reservation, back time.Duration) {
	first := slices.IndexFunc(b.lows, func(l low) bool { return l.at >= r.at })
	back = min(back, b.Lack(now))
	if first >= 0 {
		back = min(back, b.lows[first].lack)
		for n := first; n < len(b.lows); n++ {
			b.lows[n].lack -= back
		}
		keep := first
		for keep > 0 && b.lows[keep-1].lack >= b.lows[first].lack {
			keep--
		}
		b.lows = slices.Delete(b.lows, keep, first)
	}
	b.full -= back
}

// Settle replaces what was reserved by what was used. What was not used is given back
// as far as the bucket would hold more without the reservation: one that has been full
// since then would not. What was used beyond is owed.
func (b *Bucket) Settle(now time.Duration, r Reservation, used, rate int64) {
	b.out--
	if more := lack(used, rate) - lack(r.amount, rate); more > 0 {
		b.full = max(b.full, now) + more
	} else {
		b.giveBack(now, r, -more)
	}
	if b.out == 0 {
		b.lows = b.lows[:0]
	}
}
