package stats

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestBucketHoldsItsMiddle(t *testing.T) {
	for i := range nBuckets - 1 {
		if m := middle(i); bucket(m) != i || middle(i+1) <= m {
			t.Fatalf("bucket %d: middle %d is in bucket %d, the next middle is %d", i, m, bucket(m), middle(i+1))
		}
	}
	for _, v := range []uint64{0, 1, fine - 1, fine, 2*fine - 1, 2 * fine, 1e9, math.MaxInt64} {
		i := bucket(v)
		if i < 0 || i >= nBuckets {
			t.Fatalf("value %d: bucket %d of %d", v, i, nBuckets)
		}
		if got := middle(i); math.Abs(float64(got)-float64(v)) > float64(v)/(2*fine)+1 {
			t.Errorf("value %d: middle of its bucket is %d", v, got)
		}
	}
}

func TestHistogramQuantile(t *testing.T) {
	var a, b Histogram
	var all []float64
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 10000 {
		d := time.Duration(math.Exp(r.NormFloat64()+14) + 1)
		all = append(all, float64(d))
		if i%3 == 0 {
			a.Add(d)
		} else {
			b.Add(d)
		}
	}
	a.Merge(&b)
	slices.Sort(all)
	for _, q := range []float64{0, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[max(int(q*10000+0.5), 1)-1]
		if got := float64(a.Quantile(q)); math.Abs(got-want) > want/(2*fine)+1 {
			t.Errorf("quantile %v: got %v, want %v", q, got, want)
		}
	}
	if got := a.Quantiles(); got.Count != 10000 || got.Max != all[9999]/1e6 {
		t.Errorf("got count %d and max %v, want 10000 and %v", got.Count, got.Max, all[9999]/1e6)
	}
}

func TestHistogramEdges(t *testing.T) {
	var h Histogram
	if got := h.Quantile(0.5); got != 0 {
		t.Errorf("empty: got %v, want 0", got)
	}
	h.Add(-time.Second)
	if got := h.Quantile(1); got != 0 || h.Count() != 1 {
		t.Errorf("negative: got %v of %d, want 0 of 1", got, h.Count())
	}
	h.Add(math.MaxInt64)
	if got := h.Quantile(1); got <= 0 {
		t.Errorf("largest: got %v", got)
	}
}

func TestMedian(t *testing.T) {
	f := func(want float64, v ...float64) {
		t.Helper()
		before := slices.Clone(v)
		if got := Median(v); got != want {
			t.Errorf("median of %v: got %v, want %v", v, got, want)
		}
		if !slices.Equal(v, before) {
			t.Errorf("median changed %v to %v", before, v)
		}
	}
	f(0)
	f(3, 3)
	f(2, 3, 1)
	f(2.5, 4, 1, 3, 2)
}

func TestRatioOf(t *testing.T) {
	f := func(figure, reference map[int]float64, want Ratio) {
		t.Helper()
		if got := RatioOf(figure, reference); got != want {
			t.Errorf("%v to %v: got %+v, want %+v", figure, reference, got, want)
		}
	}
	f(nil, nil, Ratio{})
	f(map[int]float64{1: 2}, map[int]float64{2: 2}, Ratio{})
	f(map[int]float64{1: 0}, map[int]float64{1: 2}, Ratio{})
	// The machine was half as fast in round 2: the ratios do not see it.
	f(map[int]float64{1: 3, 2: 6, 3: 4}, map[int]float64{1: 2, 2: 4, 3: 2}, Ratio{Median: 1.5, Min: 1.5, Max: 2, Rounds: 3})
}
