package aigateway

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestClass guards that a time is in the one class whose bounds it lies between, the
// upper one included, and that classes are never wider than a quarter of a doubling.
func TestClass(t *testing.T) {
	check := func(d time.Duration) {
		t.Helper()
		c := class(d)
		begin, end := classBegin(c), classEnd(c)
		if c == classes-1 {
			end = math.MaxInt64
		}
		// Bounds that are no whole nanoseconds are rounded down.
		if d-1 > end || c > 0 && d <= begin {
			t.Fatalf("%v: got class %d, which is %v to %v", d, c, begin, end)
		}
		if c > 0 && c < classes-1 && end > begin*5/4+1 {
			t.Fatalf("class %d is %v to %v, want at most a quarter more", c, begin, end)
		}
	}
	for _, d := range []time.Duration{-1, 0, 1, leastClass - 1, leastClass, leastClass + 1, time.Hour, math.MaxInt64 / 8} {
		check(d)
	}
	for n := range doublings + 1 {
		bound := leastClass << n
		if got := classEnd(4 * n); got != bound {
			t.Errorf("class %d ends at %v, want %v", 4*n, got, bound)
		}
		if got := class(bound); got != 4*n {
			t.Errorf("%v: got class %d, want %d", bound, got, 4*n)
		}
		for _, d := range []time.Duration{bound - 1, bound, bound + 1} {
			check(d)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		check(time.Duration(random.Uint64N(1 << random.UintN(45))))
	}
}

// TestQuantile compares quantiles with those of the sorted times.
func TestQuantile(t *testing.T) {
	var s spread
	if got := s.quantile(0.5); got != 0 {
		t.Errorf("of nothing: got %v, want 0", got)
	}
	random := rand.New(rand.NewPCG(3, 4))
	times := make([]time.Duration, 10_000)
	for i := range times {
		times[i] = time.Duration(math.Exp(random.NormFloat64()*0.7) * 30e6)
		s[class(times[i])]++
	}
	slices.Sort(times)
	for _, q := range []float64{0.01, 0.5, 0.9, 0.99} {
		got, want := s.quantile(q), times[int(q*float64(len(times)))]
		if off := math.Abs(float64(got-want)) / float64(want); off > 0.05 {
			t.Errorf("quantile %v: got %v, want %v", q, got, want)
		}
	}
}
