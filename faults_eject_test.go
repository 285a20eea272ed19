package aigateway

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// startPair runs a gateway over an instance whose answers wait, and one that
// answers at once. Five failures in a row eject, as in faults.md; retries have no
// budget here, as it is not the promise at hand.
func startPair(t testing.TB) (g *gateway, slow *gated, quick *witness) {
	t.Helper()
	slow, quick = startGated(t), startWitness(t, nil)
	return startGateway(t, fleetWith(`"error_threshold": 5, "retries": {"ratio": 0}`, slow.URL+"/v1", quick.URL+"/v1")), slow, quick
}

// TestEjectionAtThreshold guards row N25: with 200 requests at once the fifth
// failure in a row ejects, not the fourth, and the instance then gets no request
// until its trial is due. The failures behind the fifth do not lengthen that.
func TestEjectionAtThreshold(t *testing.T) {
	g, slow, quick := startPair(t)
	var answers []received
	var clients sync.WaitGroup
	clients.Go(func() { answers = g.sendsMany(t, chatPath, chat(""), 200) })
	eventually(t, "both instances to have their half", func() bool { return slow.count() == 100 && quick.count() == 100 })
	for n := 1; n <= 5; n++ {
		if g.phase(0) != serving {
			t.Fatalf("instance is %v after %d failures, want it serving", g.phase(0), n-1)
		}
		slow.release <- http.StatusInternalServerError
		eventually(t, "the failure to count", func() bool { return g.marks()[0] == n })
	}
	if g.phase(0) != ejected {
		t.Fatalf("instance is %v after 5 failures, want it ejected", g.phase(0))
	}
	wantWhole(t, g.sendsMany(t, chatPath, chat(""), 200)...)
	for range 95 {
		slow.release <- http.StatusInternalServerError
	}
	clients.Wait()
	wantWhole(t, answers...)
	wantWhole(t, g.sendsMany(t, chatPath, chat(""), 200)...)
	if slow.count() != 100 {
		t.Errorf("ejected instance got %d more requests, want none", slow.count()-100)
	}
	if v := g.state(0); v.phase != ejected || v.why != reasonStatus || v.wait > firstEjection || v.failures != 100 {
		t.Errorf("got %+v, want it ejected for its status, at most %v, with 100 failures", v, firstEjection)
	}
	g.wantIdle(t)
}

// failOften makes the n-th instance ejected with its trial due, after so many
// ejections in a row.
func (g *gateway) failOften(n, times int) {
	g.put(n, func(h *health, now time.Duration) {
		h.inARow = times
		h.out(reasonStatus, now, 0)
	})
}

// TestTrialAlone guards row N26: of 200 requests at once exactly one is the trial.
// If it fails the instance is out for twice as long; if it passes, it is back.
func TestTrialAlone(t *testing.T) {
	g, slow, quick := startPair(t)
	for _, c := range []struct {
		status int
		want   phase
	}{{500, ejected}, {200, ramping}} {
		g.failOften(0, 1)
		before, others := slow.count(), quick.count()
		var answers []received
		var clients sync.WaitGroup
		clients.Go(func() { answers = g.sendsMany(t, chatPath, chat(""), 200) })
		eventually(t, "all to be asked", func() bool { return slow.count()+quick.count() >= before+others+200 })
		if n := slow.count() - before; n != 1 || g.phase(0) != halfOpen {
			t.Errorf("%d trials at once, instance is %v, want 1 and half_open", n, g.phase(0))
		}
		slow.release <- c.status
		clients.Wait()
		wantWhole(t, answers...)
		v := g.state(0)
		if v.phase != c.want || c.want == ejected && (v.wait <= firstEjection-time.Second || v.wait > 2*firstEjection) {
			t.Errorf("after a trial with status %d: got %+v, want %v, and out for 5 to 10 s", c.status, v, c.want)
		}
	}
}

// TestTrialGivenUp guards row N26 against a client that leaves during the trial:
// that proves nothing, so the next request is the trial.
func TestTrialGivenUp(t *testing.T) {
	g, slow, _ := startPair(t)
	g.failOften(0, 3)
	ctx, leave := context.WithCancel(t.Context())
	var gone sync.WaitGroup
	for g.phase(0) != halfOpen { // the other instance may have its turn first
		before := slow.count()
		done := make(chan struct{})
		gone.Go(func() {
			defer close(done)
			r, _ := http.NewRequestWithContext(ctx, "POST", g.url+chatPath, strings.NewReader(chat("")))
			if res, err := client.Do(r); err == nil {
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		})
		eventually(t, "an answer or the trial", func() bool {
			select {
			case <-done:
				return true
			default:
				return slow.count() > before
			}
		})
	}
	leave()
	gone.Wait()
	eventually(t, "the trial to be given up", func() bool { return g.phase(0) == ejected })
	g.put(0, func(h *health, now time.Duration) {
		if h.inARow != 3 || time.Duration(h.until.Load()) > now {
			t.Errorf("got %d ejections, trial due at %v, want 3 and due at once (it is %v)", h.inARow, time.Duration(h.until.Load()), now)
		}
	})
	g.wantMarks(t, "given up", 0, 0)
	slow.open()
	eventually(t, "the instance to be back", func() bool {
		wantWhole(t, g.sends(t, chatPath, chat("")))
		return g.phase(0) == ramping
	})
}

// TestSlowStart guards row N27: an instance that is back gets at most 35 % of what
// each of the others gets when a quarter of slow start is over, and 90 to 110 %
// afterwards. The past is written into its state in place of a wait of 30 s.
func TestSlowStart(t *testing.T) {
	back, other, third := startWitness(t, nil), startWitness(t, nil), startWitness(t, nil)
	g := startGateway(t, fleetOf(back.URL+"/v1", other.URL+"/v1", third.URL+"/v1"))
	share := func(left time.Duration) float64 {
		g.put(0, func(h *health, now time.Duration) {
			h.until.Store(int64(now + left))
			h.move(ramping, now)
		})
		const rounds, atOnce = 40, 20
		before, others := back.count(), other.count()+third.count()
		for range rounds {
			wantWhole(t, g.sendsMany(t, chatPath, chat(""), atOnce)...)
			g.put(0, func(h *health, now time.Duration) { h.until.Store(int64(now + left)) })
		}
		return float64(back.count()-before) / (float64(other.count()+third.count()-others) / 2)
	}
	// The standard deviation at a quarter is 2.5 %, so the bounds are four away.
	if got := share(slowStart * 3 / 4); got > 0.35 || got < 0.15 {
		t.Errorf("got %.0f %% of a full share at a quarter of slow start, want 15 to 35 %%", 100*got)
	} else {
		t.Logf("%.0f %% of a full share at a quarter of slow start", 100*got)
	}
	if got := share(-time.Second); got < 0.9 || got > 1.1 {
		t.Errorf("got %.0f %% of a full share after slow start, want 90 to 110 %%", 100*got)
	} else {
		t.Logf("%.0f %% of a full share after slow start", 100*got)
	}
	if g.phase(0) != serving {
		t.Errorf("instance is %v after slow start, want it serving", g.phase(0))
	}
}

// TestRateTrip guards row N28: an instance that fails every other time never has
// two failures in a row, and is ejected all the same once 20 results show it. One
// that fails every third time stays.
func TestRateTrip(t *testing.T) {
	for _, c := range []struct {
		every int64
		want  phase
	}{{2, ejected}, {3, serving}} {
		var turn atomic.Int64
		flaky := startWitness(t, func(w http.ResponseWriter, _ *http.Request) {
			if turn.Add(1)%c.every == 0 {
				w.WriteHeader(http.StatusInternalServerError)
			}
			io.WriteString(w, "{}")
		})
		good := startWitness(t, nil)
		g := startGateway(t, fleetWith(`"error_threshold": 5`, flaky.URL+"/v1", good.URL+"/v1"))
		began := time.Now()
		for n := 0; n < 300 && g.phase(0) == serving; n++ {
			wantWhole(t, g.sends(t, chatPath, chat("")))
		}
		took, asked := time.Since(began), flaky.count()
		if g.phase(0) != c.want {
			t.Errorf("one failure of %d: instance is %v after %d requests, want %v", c.every, g.phase(0), asked, c.want)
		}
		if c.want == ejected && (asked != rateResults || took > 40*time.Second) {
			t.Errorf("one failure of %d: ejected after %d results in %v, want %d and at most 40 s", c.every, asked, took, rateResults)
		}
	}
}
