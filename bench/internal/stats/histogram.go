// Package stats holds the arithmetic of a benchmark: a histogram small enough
// to keep one per connection, and medians of ratios.
package stats

import (
	"math/bits"
	"time"
)

// Each power of two is cut into 2^fineBits buckets, which bounds the relative
// error of a quantile to 1/2^(fineBits+1), 1.6 %.
const (
	fineBits = 5
	fine     = 1 << fineBits
	nBuckets = (64 - fineBits) * fine
)

// Histogram counts durations in logarithmic buckets. The zero value is empty
// and ready. It is not safe for concurrent use: keep one per goroutine and
// Merge them.
type Histogram struct {
	n       uint64
	max     uint64
	buckets [nBuckets]uint64
}

// bucket returns the bucket of v. Below 2^fineBits every value has its own.
func bucket(v uint64) int {
	shift := bits.Len64(v) - 1 - fineBits
	if shift <= 0 {
		return int(v)
	}
	return shift<<fineBits + int(v>>shift)
}

// middle returns the value in the middle of bucket i.
func middle(i int) uint64 {
	shift := i>>fineBits - 1
	if shift <= 0 {
		return uint64(i)
	}
	return uint64(fine+i&(fine-1))<<shift + 1<<(shift-1)
}

// Add counts d; a negative d counts as 0.
func (h *Histogram) Add(d time.Duration) {
	v := uint64(max(d, 0))
	h.n++
	h.max = max(h.max, v)
	h.buckets[bucket(v)]++
}

// Merge adds the counts of o to h.
func (h *Histogram) Merge(o *Histogram) {
	h.n += o.n
	h.max = max(h.max, o.max)
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
}

// Count returns how many durations were added.
func (h *Histogram) Count() uint64 { return h.n }

// Quantile returns the q-quantile, 0 <= q <= 1; it is 0 when h is empty and
// never more than the largest duration added.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := max(uint64(q*float64(h.n)+0.5), 1)
	var seen uint64
	for i, n := range h.buckets {
		if seen += n; n > 0 && seen >= rank {
			return time.Duration(min(middle(i), h.max))
		}
	}
	return time.Duration(h.max)
}

// Quantiles are the figures of a Histogram that a report shows, in
// milliseconds.
type Quantiles struct {
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p999"`
	Max   float64 `json:"max"`
	Count uint64  `json:"count"`
}

// Quantiles sums h up.
func (h *Histogram) Quantiles() Quantiles {
	ms := func(q float64) float64 { return float64(h.Quantile(q)) / 1e6 }
	return Quantiles{P50: ms(0.5), P99: ms(0.99), P999: ms(0.999), Max: float64(h.max) / 1e6, Count: h.n}
}
