package aigateway

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A histogram's classes are four to each doubling, from leastClass up: fine enough
// to tell a median by, and every fourth bound is one of a metric's buckets. As
// leastClass is 1/64 ms, those are 1 ms, 2 ms, 4 ms and so on.
const (
	leastClass = 15625 * time.Nanosecond
	doublings  = 26 // up to 1,048.576 s
	classes    = 1 + 4*doublings + 1
)

// class returns the number of the class that d is in: 0 up to leastClass, the last
// one above all bounds. An upper bound belongs to its class.
func class(d time.Duration) int {
	if d <= leastClass {
		return 0
	}
	quarters := uint64(d-1) * 4 / uint64(leastClass)
	doubling := bits.Len64(quarters) - 3
	if doubling >= doublings {
		return classes - 1
	}
	return 1 + 4*doubling + int(quarters>>doubling)&3
}

// classEnd returns the upper bound of a class; of the last one it is its lower bound.
func classEnd(class int) time.Duration {
	if class = min(class, classes-2); class == 0 {
		return leastClass
	}
	doubling, quarter := (class-1)/4, (class-1)%4
	return leastClass << doubling * time.Duration(5+quarter) / 4
}

// classBegin returns the lower bound of a class.
func classBegin(class int) time.Duration {
	if class == 0 {
		return 0
	}
	return classEnd(class - 1)
}

// spread counts times by class. It belongs to one goroutine, or stands under a lock.
type spread [classes]uint32

// quantile returns the time that the share q of all counted lie below, as near as
// classes tell, and 0 if there are none.
func (s *spread) quantile(q float64) time.Duration {
	var total uint64
	for _, n := range s {
		total += uint64(n)
	}
	left := q * float64(total)
	for class, n := range s {
		if n > 0 && left <= float64(n) {
			begin, end := classBegin(class), classEnd(class)
			return begin + time.Duration(float64(end-begin)*left/float64(n))
		}
		left -= float64(n)
	}
	return 0
}

// histogram counts times by class, for a metric. It may be used at once from many
// goroutines.
type histogram struct {
	counts [classes]atomic.Uint64
	sum    atomic.Int64 // nanoseconds
}

func (h *histogram) observe(d time.Duration) {
	h.counts[class(d)].Add(1)
	h.sum.Add(int64(d))
}

// add observes what s has counted, sum in all.
func (h *histogram) add(s *spread, sum time.Duration) {
	for class, n := range s {
		if n > 0 {
			h.counts[class].Add(uint64(n))
		}
	}
	h.sum.Add(int64(sum))
}

// merge adds what other holds.
func (h *histogram) merge(other *histogram) {
	for class := range other.counts {
		if n := other.counts[class].Load(); n > 0 {
			h.counts[class].Add(n)
		}
	}
	h.sum.Add(other.sum.Load())
}

// buckets are the bounds that a metric shows: leastClass doubled from first times to
// last times.
type buckets struct{ first, last int }

// metric returns the present counts.
func (h *histogram) metric(desc *prometheus.Desc, b buckets, labels ...string) prometheus.Metric {
	shown := make(map[float64]uint64, b.last-b.first+1)
	var count uint64
	for class := range h.counts {
		count += h.counts[class].Load()
		if doubling := class / 4; class%4 == 0 && doubling >= b.first && doubling <= b.last {
			shown[classEnd(class).Seconds()] = count
		}
	}
	return prometheus.MustNewConstHistogram(desc, count, time.Duration(h.sum.Load()).Seconds(), shown, labels...)
}
