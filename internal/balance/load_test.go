package balance

import (
	"math"
	"testing"
	"time"
)

// TestLoad guards what is made of gauges: of true ones, stale ones and impossible ones.
func TestLoad(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	const own, mean = 1000.0, 500.0
	f := func(name string, g Gauges, age time.Duration, want float64) {
		t.Helper()
		l := new(Load)
		l.Begin(500)
		l.Begin(500)
		l.Observe(g, 2, time.Hour)
		if got := l.Tokens(time.Hour + age); math.Abs(got-want) > 1e-6*want {
			t.Errorf("%s: got %g tokens, want %g", name, got, want)
		}
	}
	f("our own two requests alone", Gauges{Running: 2}, 0, own)
	f("fewer than our own", Gauges{Running: 1}, 0, own)
	f("three of others run", Gauges{Running: 5}, 0, own+3*mean)
	f("three of others, of which two wait", Gauges{Running: 3, Waiting: 2}, 0, own+3*mean+2*mean)
	f("of our own one waits", Gauges{Running: 1, Waiting: 1}, 0, own+mean)
	f("half-life", Gauges{Running: 5}, HalfLife, own+3*mean/2)
	f("half of a half-life", Gauges{Running: 5}, HalfLife/2, own+3*mean*3/4)
	f("two half-lives", Gauges{Running: 5}, 2*HalfLife, own+3*mean/4)
	f("too old", Gauges{Running: 1000, KV: 1}, oldest, own)
	f("from the future", Gauges{Running: 5}, -time.Minute, own+3*mean)
	f("roomy cache", Gauges{KV: 0.8}, 0, own)
	f("full cache", Gauges{KV: 1}, 0, own*1.25)
	f("fuller than full", Gauges{KV: 1.009}, 0, own*1.25)
	f("nearly full cache", Gauges{KV: 0.9}, 0, own*(1+0.25/4))
	f("full cache, half-life", Gauges{KV: 1}, HalfLife, own*1.125)
	f("cache alone", Gauges{Running: -1, Waiting: nan, KV: 1}, 0, own*1.25)
	f("waiting alone", Gauges{Running: nan, Waiting: 4, KV: -1}, 0, own+2*mean+4*mean)
	f("NaN", Gauges{nan, nan, nan}, 0, own)
	f("negative", Gauges{-1, -5, -0.1}, 0, own)
	f("infinite", Gauges{inf, inf, inf}, 0, own)
	f("absurd", Gauges{1e9, 1e7, 97}, 0, own)
	f("one absurd", Gauges{Running: 1e9, Waiting: 1, KV: 97}, 0, own+mean)

	l := new(Load)
	if got := l.Tokens(0); got != 0 {
		t.Errorf("nothing known: got %g tokens, want 0", got)
	}
	l.Observe(Gauges{Running: 1}, 0, 0)
	if got := l.Tokens(0); got != firstMean {
		t.Errorf("one request of others, none of our own so far: got %g tokens, want %d", got, firstMean)
	}
	l.Observe(Gauges{nan, nan, nan}, 0, time.Second)
	if g, at, ok := l.Observed(); !ok || at != 0 || g.Running != 1 {
		t.Errorf("after gauges that cannot be: got %v of %v, %v, want those before", g, at, ok)
	}
	l.Begin(10)
	l.End(4)
	if got := l.Own(); got != 6 {
		t.Errorf("got %d own tokens, want 6", got)
	}
}

func TestMean(t *testing.T) {
	var m Mean
	if got := m.Value(7); got != 7 {
		t.Errorf("got %g before there was a value, want 7", got)
	}
	m.Add(100)
	if got := m.Value(7); got != 100 {
		t.Errorf("got %g after 100", got)
	}
	for range 500 {
		m.Add(20)
	}
	if got := m.Value(7); math.Abs(got-20) > 0.1 {
		t.Errorf("got %g after 500 times 20", got)
	}
}
