package aigateway

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/simpleaigateway/caddy-ai-gateway/echomodel"
)

// slowly returns an instance, with timeouts in place of the defaults, n of whose streams
// of so many bytes began after wait each, at now.
func slowly(n, bytes int, wait, now time.Duration, timeouts TimeoutsConfig) *instance {
	i := &instance{deadlines: defaultDeadlines.with(&timeouts), state: new(instanceState)}
	for range n {
		i.state.slow().begins(bytes, wait, now)
	}
	return i
}

// near reports whether got is want, as near as classes of times tell.
func near(got, want time.Duration) bool {
	return got > want*3/4 && got < want*5/4
}

// TestSlowness guards what is learnt of how long streams take to begin: nothing of fewer
// than 20, twice the 95th percentile of each size, and for the larger ones too.
func TestSlowness(t *testing.T) {
	const now = time.Hour
	f := func(name string, p *slowness, bytes int, at, want time.Duration) {
		t.Helper()
		if got := p.needs(bytes, at); want == 0 && got != 0 || want > 0 && !near(got, want) {
			t.Errorf("%s: of %d bytes: got %v, want %v", name, bytes, got, want)
		}
	}
	p := slowly(19, 10_000, 100*time.Second, now, TimeoutsConfig{}).state.slow()
	f("nineteen", p, 10_000, now, 0)
	p.begins(10_000, 100*time.Second, now)
	f("twenty", p, 10_000, now, 200*time.Second)
	f("same size", p, 4097, now, 200*time.Second)
	f("smaller", p, 4096, now, 0)
	f("larger", p, 10<<20, now, 200*time.Second)

	for n := range 100 { // one in twenty is slow, and a few more
		p.begins(1<<20, map[bool]time.Duration{true: 400 * time.Second, false: 40 * time.Second}[n%15 == 0], now)
	}
	f("one in fifteen", p, 1<<20, now, 800*time.Second)
	for range 100 {
		p.begins(1<<20, 40*time.Second, now)
	}
	f("one in thirty, but smaller ones need more", p, 1<<20, now, 200*time.Second)

	f("an hour later", p, 1<<20, now+time.Hour, 200*time.Second)
	f("ten minutes more", p, 1<<20, now+time.Hour+10*time.Minute, 0)
	p.begins(10_000, time.Second, now+time.Hour+10*time.Minute)
	f("one new is not enough", p, 10_000, now+time.Hour+10*time.Minute, 0)
	for range 20 {
		p.begins(10_000, time.Second, now+2*time.Hour)
	}
	f("the engine has become faster", p, 10_000, now+2*time.Hour, 2*time.Second)
}

// TestSizeOf guards the bounds of sizes: four times as many bytes each.
func TestSizeOf(t *testing.T) {
	bound := 4 << 10
	for size := range sizes - 1 {
		if got, next := sizeOf(bound), sizeOf(bound+1); got != size || next != size+1 {
			t.Errorf("of %d and one more bytes: got %d and %d, want %d and %d", bound, got, next, size, size+1)
		}
		bound *= 4
	}
	for _, bytes := range []int{0, 1} {
		if got := sizeOf(bytes); got != 0 {
			t.Errorf("of %d bytes: got %d, want 0", bytes, got)
		}
	}
	if got := sizeOf(1 << 40); got != sizes-1 {
		t.Errorf("of a TiB: got %d, want %d", got, sizes-1)
	}
}

// TestFirstTokenFor guards that what is learnt makes the deadline longer and never
// shorter, within its bounds, and not at all where that is off.
func TestFirstTokenFor(t *testing.T) {
	const now = time.Hour
	s := func(n int) *Seconds { return new(Seconds(time.Duration(n) * time.Second)) }
	endless := retries{}
	f := func(name string, i *instance, bytes int64, spent time.Duration, r retries, want time.Duration, wantLearnt bool) {
		t.Helper()
		got, learnt := i.firstTokenFor(bytes, spent, &r, now)
		if learnt != wantLearnt || !wantLearnt && got != want || !near(got, want) && want > 0 {
			t.Errorf("%s: got %v, learnt %v, want %v, %v", name, got, learnt, want, wantLearnt)
		}
	}
	f("nothing known", slowly(0, 0, 0, now, TimeoutsConfig{}), 1e6, 0, endless, 360*time.Second, false)
	f("fast", slowly(99, 1e6, time.Second, now, TimeoutsConfig{}), 1e6, 0, endless, 360*time.Second, false)
	f("slow", slowly(99, 1e6, 250*time.Second, now, TimeoutsConfig{}), 1e6, 0, endless, 500*time.Second, true)
	f("off", slowly(99, 1e6, 250*time.Second, now, TimeoutsConfig{Learn: new(false)}), 1e6, 0, endless, 360*time.Second, false)
	f("no deadline", slowly(99, 1e6, 250*time.Second, now, TimeoutsConfig{FirstToken: s(0)}), 1e6, 0, endless, 0, false)

	poisoned := slowly(999, 1000, 17*time.Minute, now, TimeoutsConfig{FirstToken: s(30), Total: s(0)})
	if got, _ := poisoned.firstTokenFor(1000, 0, &endless, now); got != 90*time.Second+180*time.Millisecond {
		t.Errorf("three times first_token: got %v, want 1m30s and 3 × 60 ms", got)
	}
	const whole = 600 * time.Second
	slow := slowly(99, 1000, 17*time.Minute, now, TimeoutsConfig{Total: s(0)})
	if got, _ := slow.firstTokenFor(1000, 0, &retries{time: whole}, now); got != 450*time.Second {
		t.Errorf("retries.time of 10 minutes: got %v, want three quarters", got)
	}
	if got, _ := slow.firstTokenFor(1000, 100*time.Second, &retries{time: whole}, now); got != 350*time.Second {
		t.Errorf("100 s later: got %v, want as much less", got)
	}
	if got, learnt := slow.firstTokenFor(0, 200*time.Second, &retries{time: whole}, now); got != 300*time.Second || learnt {
		t.Errorf("200 s later: got %v, want first_token, for it is never shorter", got)
	}
	slow = slowly(99, 1000, 17*time.Minute, now, TimeoutsConfig{Total: s(1000)})
	if got, _ := slow.firstTokenFor(1000, 0, &endless, now); got != 750*time.Second {
		t.Errorf("total of 1000 s: got %v, want three quarters", got)
	}
}

// TestLearntDeadlineIsBounded guards that a stuck engine, or one that gets slower by
// degrees, does not teach the gateway to wait for ever: only streams that begin before
// the deadline count.
func TestLearntDeadlineIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour - clock())
		i := slowly(0, 0, 0, 0, TimeoutsConfig{})
		r := retries{time: 10 * time.Minute}
		wait, grown, longest := time.Second, false, time.Duration(0)
		for range 10_000 { // a little slower each time
			limit, learnt := i.firstTokenFor(2000, 0, &r, clock())
			longest, grown = max(longest, limit), grown || learnt
			time.Sleep(min(wait, limit))
			if wait <= limit {
				i.state.slow().begins(2000, wait, clock())
			}
			wait += wait / 500
		}
		if !grown || longest != 450*time.Second {
			t.Errorf("got at most %v, want 7m30s and no more", longest)
		}
		if limit, learnt := i.firstTokenFor(2000, 0, &r, clock()); learnt || limit != 300*time.Second+120*time.Millisecond {
			t.Errorf("long after: got %v, want first_token again, as no stream begins any more", limit)
		}
	})
}

// TestLearntFirstToken guards, through real sockets, that an instance which needs longer
// for its long prompts is waited for longer than first_token, as [explanation] tells; that
// this outlives a swap of the file, and can be switched off.
func TestLearntFirstToken(t *testing.T) {
	slow, other := startStandIn(t, "slow"), startStandIn(t, "other")
	fleet := func(members string) string {
		return fmt.Sprintf(`{"retries": {"ratio": 0}, "timeouts": {"first_token": 1, "first_token_per_mb": 0%s}, "instances": [{"url": %q, "name": "slow", "model_name": "m"}],
			"fallback_instances": [{"url": %q, "name": "other", "model_name": "m"}]}`, members, slow.url, other.url)
	}
	g := startGateway(t, fleet(""))
	long := `{"model":"m","stream":true,"messages":[{"role":"user","content":"` + strings.Repeat("word ", 2000) + `"}]}`
	takes := func(wait time.Duration) { slow.plays(echomodel.Script{TTFT: caddy.Duration(wait), Tokens: 2}) }
	asks := func(what, body, want string) {
		t.Helper()
		r := g.sends(t, chatPath, body)
		wantWhole(t, r)
		if got := r.header.Get("X-Ai-Gateway-Upstream"); got != want {
			t.Errorf("%s: got the answer of %s, want that of %s", what, got, want)
		}
	}
	takes(1300 * time.Millisecond)
	asks("nothing is known", long, "other")
	takes(750 * time.Millisecond)
	wantWhole(t, g.sendsMany(t, chatPath, long, enoughWaits)...)
	takes(1200 * time.Millisecond)
	asks("slower than first_token, but not than usual", long, "slow")
	if e := g.store.explain("m", int64(len(long))); !e.Order[0].FirstTokenLearnt || !near(time.Duration(e.Order[0].FirstTokenSeconds*1e9), 1500*time.Millisecond) {
		t.Errorf("explained: got %v s, learnt %v, want about 1.5 s, learnt", e.Order[0].FirstTokenSeconds, e.Order[0].FirstTokenLearnt)
	}
	if e := g.store.explain("m", 1000); e.Order[0].FirstTokenLearnt {
		t.Errorf("of a short prompt: got %v s, as learnt, want what is configured", e.Order[0].FirstTokenSeconds)
	}
	g.save(t, fleet(`, "stall": 60`))
	asks("after a swap", long, "slow")
	asks("a short prompt", streamRequests[chatPath]+"}", "other")
	g.save(t, fleet(`, "learn": false`))
	asks("off", long, "other")
	g.wantMarks(t, "for what was too slow", 3, 0)
}

// BenchmarkSlowness shows that looking up what is learnt costs a few ns for each size up
// to the request's, and noting a time less than the merging of the slots for every fourth.
func BenchmarkSlowness(b *testing.B) {
	const now = time.Hour
	i := slowly(99, 1e6, 200*time.Second, now, TimeoutsConfig{})
	r := retries{time: 10 * time.Minute}
	b.Run("firstTokenFor", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, learnt := i.firstTokenFor(1e6, 0, &r, now); !learnt {
				b.Fatal("nothing learnt")
			}
		}
	})
	b.Run("begins", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			i.state.slow().begins(1e6, time.Second, now)
		}
	})
}
