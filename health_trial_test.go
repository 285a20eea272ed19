package aigateway

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestOneTrial guards that of 200 requests at once exactly one makes the trial, and
// the others go elsewhere (N26).
func TestOneTrial(t *testing.T) {
	for range 50 {
		p := newPatient(t)
		p.ejects()
		for range 2 { // a trial that is nobody's fault is repeated, again once
			p.due()
			var trials, others atomic.Int64
			var all sync.WaitGroup
			start := make(chan struct{})
			for range 200 {
				all.Go(func() {
					<-start
					switch trial, ok := p.h.try(p.now, careful); {
					case trial:
						trials.Add(1)
					case ok:
						others.Add(1)
					}
				})
			}
			close(start)
			all.Wait()
			if trials.Load() != 1 || others.Load() != 0 {
				t.Fatalf("got %d trials and %d other attempts, want 1 and 0", trials.Load(), others.Load())
			}
			p.want("during the trial", halfOpen)
			p.trialEnds(result{begun: p.now, trial: true}, canceled)
		}
	}
}

// TestNoTrialBefore guards that nothing is sent until the ejection is over, to the
// nanosecond.
func TestNoTrialBefore(t *testing.T) {
	p := newPatient(t)
	p.ejects()
	p.due()
	p.now--
	if trial, ok := p.h.try(p.now, careful); trial || ok || p.h.admits(p.now, hurried) {
		t.Errorf("before the end: got trial %v, ok %v, admitted %v", trial, ok, p.h.admits(p.now, hurried))
	}
	p.now++
	if !p.h.admits(p.now, careful) {
		t.Error("at the end: not admitted, want the trial")
	}
	p.trial()
	if p.h.admits(p.now, hurried) {
		t.Error("during the trial: admitted, want nobody else")
	}
}

// TestPressed guards that where too few instances are left, those that were ejected
// for being slow are asked all the same, and those that fail outright are not.
func TestPressed(t *testing.T) {
	for why, want := range map[reason]bool{
		reasonFirstToken: true, reasonStall: true, reasonTransport: true, reasonStatus: false, reasonReset: false, reasonCut: false, reasonConnect: false, reasonResolve: false, reasonTLSExpired: false,
	} {
		p := newPatient(t)
		p.fails(p.rules.threshold, why)
		p.want("failures", ejected)
		if got := p.h.admits(p.now, pressed); got != want {
			t.Errorf("ejected for %s: got admitted %v, want %v", why, got, want)
		}
		if trial, ok := p.h.try(p.now, pressed); want && (trial || !ok) {
			t.Errorf("ejected for %s: got trial %v, ok %v, want an attempt that is no trial", why, trial, ok)
		}
		p.due()
		p.trial()
		if got := p.h.admits(p.now, pressed); got != want {
			t.Errorf("trial after %s: got admitted %v, want %v", why, got, want)
		}
	}
}

// TestTrialPasses guards the way back: the first byte of the trial's answer begins
// slow start, and 30 s later the instance serves as before.
func TestTrialPasses(t *testing.T) {
	p := newPatient(t)
	p.ejects()
	p.due()
	r := p.trial()
	p.now += time.Second
	c, changed := p.h.begins(r.begun, p.now)
	if want := (change{from: halfOpen, to: ramping, why: reasonStatus}); !changed || c != want {
		t.Errorf("the answer begins: got %v %+v, want %+v", changed, c, want)
	}
	if _, changed := p.h.begins(p.now, p.now); changed {
		t.Error("the next answer was told as news too")
	}
	p.now += slowStart - 1
	p.want("just before the end of slow start", ramping)
	p.now++
	p.want("at its end", serving)
	if c, changed := p.ends(whole); changed {
		t.Errorf("the first result afterwards: got %+v, want no news", c)
	}
	if got := phase(p.h.phase.Load()); got != serving {
		t.Errorf("after that result: got phase %v, want serving", got)
	}
}

// TestTrialWithoutBlame guards that a trial that ends in nobody's fault is
// repeated at once, for the same reason, and makes the ejection no longer.
func TestTrialWithoutBlame(t *testing.T) {
	p := newPatient(t)
	p.ejects()
	p.due()
	for range 10 {
		r := p.trial()
		p.now += time.Second
		if c, changed := p.trialEnds(r, canceled); changed {
			t.Errorf("got %+v, want no news", c)
		}
		if v := p.h.view(p.now, p.rules.window); v.phase != ejected || v.why != reasonStatus || v.wait != 0 {
			t.Errorf("got %+v, want ejected for status and due at once", v)
		}
	}
	if c, _ := p.trialEnds(p.trial(), failure(reasonReset)); !between(c.wait, 2*firstEjection) {
		t.Errorf("the next trial fails: got %v, want 5 to 10 s", c.wait)
	}
}

// TestLateSuccess guards that an answer to a request from before the ejection
// does not bring an instance back, before its trial or during it.
func TestLateSuccess(t *testing.T) {
	p := newPatient(t)
	old := p.now
	p.now += time.Second
	p.ejects()
	late := func(want phase) {
		t.Helper()
		if c, changed := p.h.begins(old, p.now); changed {
			t.Errorf("late answer: got %+v, want nothing", c)
		}
		p.h.settle(result{verdict: whole, begun: old, ended: p.now}, &p.rules)
		p.want("late success", want)
	}
	late(ejected)
	p.due()
	late(ejected)
	p.trial()
	late(halfOpen)
}

// TestAnsweredAnyway guards that an ejected instance that answers a request which
// was sent there for want of a better one is back at once (N29).
func TestAnsweredAnyway(t *testing.T) {
	p := newPatient(t)
	p.ejects()
	p.now += time.Second
	if trial, ok := p.h.try(p.now, anyway); trial || !ok {
		t.Fatalf("try: got trial %v, ok %v, want an attempt that is no trial", trial, ok)
	}
	if c, changed := p.h.begins(p.now, p.now); !changed || c.from != ejected || c.to != ramping {
		t.Errorf("got %v %+v, want slow start", changed, c)
	}
}

// TestLateFailures guards that requests which were on their way when the instance
// was ejected do not eject it again, in slow start or after it, and do not take it
// out for a key or a model that has been put right meanwhile (T3).
func TestLateFailures(t *testing.T) {
	for _, after := range []time.Duration{0, slowStart / 2, slowStart, 10 * slowStart} {
		p := newPatient(t)
		old := p.now
		p.now += time.Second
		p.ejects()
		p.returns()
		p.now += after
		p.ends(whole)
		for range 100 {
			for _, v := range []verdict{failure(reasonFirstToken), failure(reasonConnect), {outcomeMisconfigured, reasonKey, leaves, true}} {
				if c, changed := p.h.settle(result{verdict: v, begun: old, ended: p.now}, &p.rules); changed {
					t.Fatalf("late failure %v after the return: got %+v, want nothing", after, c)
				}
			}
		}
		p.ejects() // those that begin now count
	}
}

// TestOlderTrial guards that a trial whose answer goes on for long, until the next
// ejection's trial, cannot end that one: still exactly one trial is under way.
func TestOlderTrial(t *testing.T) {
	for _, v := range []verdict{canceled, failure(reasonReset).broken(), {outcomeBusy, reasonRateLimit, rests, true}} {
		p := newPatient(t)
		p.ejects()
		p.due()
		older := p.trial()
		p.h.begins(older.begun, p.now)
		p.now += time.Second
		p.ejects()
		p.due()
		newer := p.trial()
		p.trialEnds(older, v)
		p.want("the older trial ends "+v.outcome.String(), halfOpen)
		p.h.begins(newer.begun, p.now)
		p.want("the newer trial passes", ramping)
	}
}

// TestSlowStartShare guards that an instance that is back gets a share which grows
// over 30 s from a tenth to all: at most 35 % at a quarter of the time (N27).
func TestSlowStartShare(t *testing.T) {
	for _, c := range []struct{ at, want float64 }{{0, .1}, {.05, .1}, {.25, .25}, {.5, .5}, {.75, .75}, {1, 1}, {2, 1}} {
		p := newPatient(t)
		p.ejects()
		p.returns()
		p.now += time.Duration(c.at * float64(slowStart))
		const asked = 10_000
		admitted := 0
		for range asked {
			if p.h.admits(p.now, careful) {
				admitted++
			}
			if !p.h.admits(p.now, hurried) {
				t.Fatal("hurried: not admitted, want slow start looked past")
			}
		}
		// Five standard deviations are at most 2.5 points.
		if got := float64(admitted) / asked; math.Abs(got-c.want) > .025 {
			t.Errorf("at %.0f %% of slow start: got a share of %.3f, want %.2f", 100*c.at, got, c.want)
		}
	}
}

// TestFailuresInSlowStart guards that an instance in slow start is ejected by the
// same rules, from a clean slate: what led to the ejection is not counted twice.
func TestFailuresInSlowStart(t *testing.T) {
	p := newPatient(t)
	for range 9 {
		p.ends(whole)
		p.fails(1, reasonStatus)
	}
	p.fails(1, reasonStatus) // 19 results, ten failed
	p.fails(1, reasonStatus)
	p.want("the rate rule", ejected)
	p.returns()
	p.fails(4, reasonStatus)
	p.want("four failures", ramping)
	p.fails(1, reasonStatus)
	p.want("five failures", ejected)
}
