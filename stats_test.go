package aigateway

import (
	"math"
	"testing"
	"time"
	"unsafe"
)

// counted is an instance whose attempts end when the test says.
type counted struct {
	*instance
	t *testing.T
}

func newCounted(t *testing.T) counted {
	return counted{&instance{state: new(instanceState)}, t}
}

// ends counts an attempt that ended at now with so many tokens.
func (c counted) ends(now time.Duration, v verdict, tokens int64) {
	a := &attempt{instance: c.instance}
	a.usage.Completion, a.usage.source = tokens, usageTold
	c.state.counts.settle(a, v, now)
}

func (c counted) want(what string, got, want float64) {
	c.t.Helper()
	if math.Abs(got-want) > 1e-9*max(1, math.Abs(want)) {
		c.t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// TestStatistics guards rates, the share of errors, the sparkline and the last error,
// and that all of them are forgotten in time.
func TestStatistics(t *testing.T) {
	c := newCounted(t)
	if s := c.statistics(0); len(s.Sparkline) != 60 || s.RequestsPerSecond != 0 || s.LastError != nil {
		t.Errorf("before the first attempt: got %+v, want 60 empty points", s)
	}
	begin := 100 * time.Minute
	for n := range 120 { // two a second, for a minute
		v := whole
		if n%4 == 0 {
			v = failure(reasonStatus)
		}
		c.ends(begin+time.Duration(n)*500*time.Millisecond, v, 30)
	}
	c.ends(begin+59*time.Second, canceled, 0)
	now := begin + time.Minute
	s := c.statistics(now)
	c.want("requests/s", s.RequestsPerSecond, 2)
	c.want("tokens/s", s.TokensPerSecond, 60)
	c.want("error share", s.ErrorShare, 0.25)
	for n, want := range []sparkline{{30, 8}, {30, 7}, {30, 8}, {30, 7}, {0, 0}} {
		if got := s.Sparkline[55+n]; got != want {
			t.Errorf("point %d: got %+v, want %+v", 55+n, got, want)
		}
	}
	if s.LastError == nil || s.LastError.Reason != reasonStatus || s.LastError.Outcome != "failed" {
		t.Errorf("last error: got %+v, want failed for status", s.LastError)
	} else if age := time.Since(s.LastError.Time); age < time.Second || age > 10*time.Second {
		t.Errorf("last error: got an age of %v, want 2 s", age)
	}

	s = c.statistics(now + 2*time.Minute)
	c.want("requests/s after 2 minutes", s.RequestsPerSecond, 0)
	c.want("error share after 2 minutes", s.ErrorShare, 0)
	if got := s.Sparkline[47]; got != (sparkline{30, 8}) {
		t.Errorf("point 47 after 2 minutes: got %+v, want the first", got)
	}
	s = c.statistics(now + 15*time.Minute)
	for n, p := range s.Sparkline {
		if p != (sparkline{}) {
			t.Errorf("point %d after 15 minutes: got %+v, want nothing", n, p)
		}
	}
	if s.LastError == nil {
		t.Error("the last error is forgotten")
	}
}

// TestStatisticsYoung guards that an instance's first seconds are not taken for a
// minute.
func TestStatisticsYoung(t *testing.T) {
	c := newCounted(t)
	begin := 3*time.Hour + 7*time.Second
	for n := range 20 {
		c.ends(begin+time.Duration(n)*250*time.Millisecond, whole, 0)
	}
	c.want("requests/s", c.statistics(begin+5*time.Second).RequestsPerSecond, 4)
}

// TestStatisticsTimes guards the quantiles of the last five minutes.
func TestStatisticsTimes(t *testing.T) {
	c := newCounted(t)
	begin := time.Hour
	counts := &c.state.counts
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 0.13*want {
			t.Errorf("%s: got %v s, want %v", what, got, want)
		}
	}
	var gaps spread
	for n := range 100 {
		counts.begins(begin, time.Duration(n+1)*10*time.Millisecond)
		gaps[class(20*time.Millisecond)]++
	}
	gaps[class(300*time.Millisecond)] = 5
	counts.adds(begin, &gaps)
	s := c.statistics(begin + 4*time.Minute)
	near("TTFT p50", s.TTFT.P50, 0.5)
	near("TTFT p99", s.TTFT.P99, 1)
	near("ITL p50", s.ITL.P50, 0.02)
	near("ITL p99", s.ITL.P99, 0.3)
	counts.begins(begin+5*time.Minute, 3*time.Second)
	s = c.statistics(begin + 6*time.Minute)
	near("TTFT p50, the old ones forgotten", s.TTFT.P50, 3)
	if s.ITL != (quantiles{}) {
		t.Errorf("ITL: got %+v after 6 minutes, want nothing", s.ITL)
	}
	if s = c.statistics(begin + 12*time.Minute); s.TTFT != (quantiles{}) {
		t.Errorf("TTFT: got %+v after 12 minutes, want nothing", s.TTFT)
	}
}

// TestStatisticsMemory guards the sizes that comments tell.
func TestStatisticsMemory(t *testing.T) {
	f := func(what string, got, most uintptr) {
		t.Helper()
		if got > most {
			t.Errorf("%s takes %d bytes, want at most %d", what, got, most)
		}
		t.Logf("%s: %d bytes", what, got)
	}
	f("an instance that has been asked", unsafe.Sizeof(recent{})+unsafe.Sizeof(histogram{}), 7500)
	f("a model", unsafe.Sizeof(modelCounts{}), 6200)
}

// TestStatisticsSwap guards that a swap keeps the statistics of an instance that stays.
func TestStatisticsSwap(t *testing.T) {
	a := startStandIn(t, "a")
	g := startGateway(t, fleetOf(a.url))
	wantWhole(t, g.sends(t, "/v1/chat/completions", `{"model": "m", "messages": [{"role": "user", "content": "x"}]}`))
	total := func() (n uint32) {
		for _, p := range g.store.snapshot().fleet.instances[0].statistics(clock()).Sparkline {
			n += p.Requests
		}
		return n
	}
	eventually(t, "the request to be counted", func() bool { return total() == 1 })
	g.save(t, fleetOf(a.url, "http://127.0.0.1:1/v1"))
	if got := total(); got != 1 {
		t.Errorf("got %d requests after a swap, want 1", got)
	}
}
