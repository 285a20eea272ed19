package limit

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// TestBucketBound guards that in no span of time more is used than the bucket's bound,
// whatever is reserved, and that a client that always wants more gets nearly all.
func TestBucketBound(t *testing.T) {
	type use struct {
		at     time.Duration
		amount int64
	}
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 1))
		rate := []int64{7, 60, 600, 10_007, 1_000_000}[random.IntN(5)]
		greedy := seed%2 == 0
		var b Bucket
		var uses []use
		var out []struct {
			r    Reservation
			used int64
		}
		now, total := time.Duration(random.Int64N(1e12)), int64(0)
		begun := now
		for range 3000 {
			now += time.Duration(random.Int64N(int64(2 * Period / time.Duration(min(rate, 400)))))
			n := 1 + random.Int64N(max(1, rate/20))
			for b.Wait(now, n, rate) == 0 {
				used := n - random.Int64N(n+1)
				if greedy {
					used = n
				}
				out = append(out, struct {
					r    Reservation
					used int64
				}{b.Reserve(now, n, rate), used})
				uses, total = append(uses, use{now, used}), total+used
				if !greedy && random.IntN(3) > 0 {
					break
				}
			}
			for len(out) > 0 && random.IntN(3) > 0 {
				i := random.IntN(len(out))
				b.Settle(now, out[i].r, out[i].used, rate)
				out[i] = out[len(out)-1]
				out = out[:len(out)-1]
			}
		}
		for i := range uses {
			sum := int64(0)
			for j := i; j < min(len(uses), i+500); j++ {
				sum += uses[j].amount
				if span := uses[j].at - uses[i].at; float64(sum) > float64(rate)*(1+span.Seconds()/60)+1e-3 {
					t.Fatalf("seed %d, rate %d: %d used in %v, want at most %.1f", seed, rate, sum, span, float64(rate)*(1+span.Seconds()/60))
				}
			}
		}
		if allowed := float64(rate) * (1 + (now-begun).Seconds()/60); greedy && float64(total) < allowed*.99-float64(rate)/20-1 {
			t.Errorf("seed %d, rate %d: %d used, want nearly %.0f", seed, rate, total, allowed)
		}
	}
}

// TestBucketRefund guards what comes back of a reservation.
func TestBucketRefund(t *testing.T) {
	f := func(name string, want int64, now time.Duration, do func(b *Bucket)) {
		t.Helper()
		var b Bucket
		do(&b)
		if got := b.Left(now, 600); got != want {
			t.Errorf("%s: got %d left, want %d", name, got, want)
		}
	}
	f("nothing used", 600, 0, func(b *Bucket) { b.Settle(0, b.Reserve(0, 500, 600), 0, 600) })
	f("part used", 500, 0, func(b *Bucket) { b.Settle(0, b.Reserve(0, 500, 600), 100, 600) })
	f("all used", 100, 0, func(b *Bucket) { b.Settle(0, b.Reserve(0, 500, 600), 500, 600) })
	f("more used, which is owed", 0, 30*time.Second, func(b *Bucket) { b.Settle(0, b.Reserve(0, 500, 600), 1000, 600) })
	f("full since", 0, time.Minute, func(b *Bucket) {
		first := b.Reserve(0, 600, 600)
		b.Reserve(time.Minute, 600, 600)
		b.Settle(time.Minute, first, 0, 600)
	})
	f("would have been full since", 300, 30*time.Second, func(b *Bucket) {
		first := b.Reserve(0, 600, 600)
		b.Reserve(30*time.Second, 300, 600)
		b.Settle(30*time.Second, first, 0, 600)
	})
	var b Bucket
	b.Take(0, 60, 60)
	if got := b.Wait(0, 1, 60); got != time.Second {
		t.Errorf("got a wait of %v, want 1s", got)
	}
	if got := b.Left(0, 120); got != 0 {
		t.Errorf("at a higher rate: got %d left of an empty bucket", got)
	}
	if got := b.Wait(0, 1<<62, 1); got < time.Hour {
		t.Errorf("got a wait of %v for an absurd amount", got)
	}
}

// TestBucketBounded guards that reservations that stay out do not make the bucket grow.
func TestBucketBounded(t *testing.T) {
	var b Bucket
	b.Reserve(0, 1, 1_000_000)
	for n := range 10_000 {
		b.Settle(time.Duration(n), b.Reserve(time.Duration(n), 50, 1_000_000), 49, 1_000_000)
	}
	if len(b.lows) > maxLows || cap(b.lows) > 2*maxLows {
		t.Errorf("got %d lows with room for %d", len(b.lows), cap(b.lows))
	}
}

// TestBucketBurst guards that of a burst of reservations everything unused comes back, also
// of one that is out while a thousand others begin.
func TestBucketBurst(t *testing.T) {
	const rate, burst, reserved, used = 200_000, 1000, 95, 50
	var b Bucket
	var out []Reservation
	for n := range burst {
		out = append(out, b.Reserve(time.Duration(n), reserved, rate))
	}
	for _, n := range rand.Perm(burst) {
		b.Settle(burst, out[n], used, rate)
	}
	if got, want := b.Left(burst, rate), int64(rate-burst*used); got < want-1 || got > want {
		t.Errorf("got %d left, want %d", got, want)
	}
}

func TestGuard(t *testing.T) {
	g := &Guard{Most: 3, Window: time.Minute, Places: 100}
	place := func(s string) netip.Prefix { return Place(netip.MustParseAddr(s)) }
	a := place("192.0.2.1")
	f := func(now time.Duration, from netip.Prefix, want time.Duration) {
		t.Helper()
		if got := g.Blocked(now, from); got != want {
			t.Errorf("at %v from %v: got blocked for %v, want %v", now, from, got, want)
		}
	}
	for n := range 3 {
		f(0, a, 0)
		if got := g.Fail(time.Duration(n)*time.Second, a); got != (n == 2) {
			t.Errorf("failure %d: got blocks %v", n+1, got)
		}
	}
	f(10*time.Second, a, 50*time.Second)
	f(10*time.Second, place("::ffff:192.0.2.1"), 50*time.Second)
	f(10*time.Second, place("192.0.2.2"), 0)
	if g.Fail(11*time.Second, a) {
		t.Error("told twice that the place is blocked")
	}
	f(time.Minute, a, 0)
	if g.blocked.Load() != 0 || g.Count() != 0 {
		t.Errorf("after the window: got %d blocked, %d remembered", g.blocked.Load(), g.Count())
	}
	for n := range 3 {
		g.Fail(0, place(fmt.Sprintf("2001:db8:0:1::%x", n)))
	}
	f(0, place("2001:db8:0:1:ffff::1%eth0"), time.Minute)
	f(0, place("2001:db8:0:2::1"), 0)
	for n := range 1000 {
		for range 3 {
			g.Fail(0, place(fmt.Sprintf("10.0.%d.%d", n>>8, n&255)))
		}
	}
	if n := g.Count(); n != 100 || g.blocked.Load() != 100 {
		t.Errorf("got %d places and %d blocked of 1,000, want 100", n, g.blocked.Load())
	}
	f(0, netip.Prefix{}, 0)
	if (netip.Prefix{}) != Place(netip.Addr{}) {
		t.Error("an invalid address has a place")
	}
}
