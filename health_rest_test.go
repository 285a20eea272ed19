package aigateway

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

// TestRests guards how long an instance gets nothing that asks for it: the time
// it names, five minutes at most, ten for an empty account (S1). It is no failure.
func TestRests(t *testing.T) {
	for _, c := range []struct {
		name        string
		v           verdict
		asked, want time.Duration
	}{
		{"as it asks", verdict{outcomeBusy, reasonRateLimit, rests, true}, 7 * time.Second, 7 * time.Second},
		{"at most five minutes", verdict{outcomeBusy, reasonOverload, rests, true}, time.Hour, 5 * time.Minute},
		{"empty account", verdict{outcomeMisconfigured, reasonQuota, rests, true}, 5 * time.Second, 10 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPatient(t)
			p.h.settle(result{verdict: c.v, begun: p.now, ended: p.now, rest: c.asked}, &p.rules)
			if left, why := p.h.resting(p.now); left != c.want || why != c.v.reason {
				t.Errorf("got a rest of %v for %s, want %v for %s", left, why, c.want, c.v.reason)
			}
			if got, want := p.h.view(p.now, p.rules.window), (healthView{phase: serving, wait: c.want}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			for _, l := range []leeway{careful, hurried, pressed, anyway} {
				if p.h.admits(p.now+c.want-1, l) || !p.h.admits(p.now+c.want, l) {
					t.Errorf("leeway %d: admitted %v before the end and %v at it, want no and yes", l, p.h.admits(p.now+c.want-1, l), p.h.admits(p.now+c.want, l))
				}
			}
			if left, why := p.h.resting(p.now + c.want); left != 0 || why != reasonNone {
				t.Errorf("at the end: got a rest of %v for %q, want none", left, why)
			}
		})
	}
}

// TestShorterRest guards that a short rest neither ends a longer one nor changes
// what it is for.
func TestShorterRest(t *testing.T) {
	p := newPatient(t)
	p.ends(verdict{outcomeMisconfigured, reasonQuota, rests, true})
	p.now += time.Second
	p.h.settle(result{verdict: verdict{outcomeBusy, reasonRateLimit, rests, true}, begun: p.now, ended: p.now, rest: time.Second}, &p.rules)
	if left, why := p.h.resting(p.now); left != quotaRest-time.Second || why != reasonQuota {
		t.Errorf("got a rest of %v for %s, want 9m59s for quota", left, why)
	}
	p.h.keyChanged(p.now)
	if left, why := p.h.resting(p.now); left != 0 {
		t.Errorf("another key: got a rest of %v for %s, want none", left, why)
	}
}

// TestTrialRests guards that a trial which is answered by a rest is made again at
// the end of it, and is no failure.
func TestTrialRests(t *testing.T) {
	p := newPatient(t)
	p.ejects()
	p.due()
	r := p.trial()
	r.rest = 20 * time.Second
	p.trialEnds(r, verdict{outcomeBusy, reasonRateLimit, rests, true})
	p.now += 20*time.Second - 1
	if p.h.admits(p.now, careful) {
		t.Error("admitted before the rest is over")
	}
	p.now++
	if c, _ := p.trialEnds(p.trial(), failure(reasonStatus)); !between(c.wait, 2*firstEjection) {
		t.Errorf("the next trial fails: got %v, want 5 to 10 s: the second failure", c.wait)
	}
}

// TestLeaves guards that an instance which loads, does not have the model or
// refuses the key goes at its first such answer, is tried every 2, 30 or 60 s
// without growth, and comes back by a trial (S5, S8, S9).
func TestLeaves(t *testing.T) {
	for why, wait := range map[reason]time.Duration{reasonLoading: 2 * time.Second, reasonModel: 30 * time.Second, reasonKey: time.Minute} {
		t.Run(string(why), func(t *testing.T) {
			p := newPatient(t)
			v := verdict{outcomeMisconfigured, why, leaves, true}
			c, changed := p.ends(v)
			if want := (change{serving, ejected, why, wait}); !changed || c != want {
				t.Errorf("first answer: got %v %+v, want %+v", changed, c, want)
			}
			if _, changed := p.ends(v); changed {
				t.Error("a second answer was told as news, want silence")
			}
			for l, want := range map[leeway]bool{careful: false, hurried: false, pressed: false, anyway: true} {
				if got := p.h.admits(p.now+wait-1, l); got != want {
					t.Errorf("before the trial, leeway %d: got admitted %v, want %v", l, got, want)
				}
			}
			for range 20 {
				p.now += wait
				if c, changed := p.trialEnds(p.trial(), v); changed || c.wait != wait {
					t.Errorf("trial: got %v %+v, want silence and %v again", changed, c, wait)
				}
			}
			if got := p.h.view(p.now, p.rules.window); got.failures != 0 || got.why != why {
				t.Errorf("got %+v, want no failure, and out for %s", got, why)
			}
			p.returns()
			if got := p.ejects(); !between(got, firstEjection) {
				t.Errorf("an ejection afterwards: got %v, want 2.5 to 5 s, as the first", got)
			}
		})
	}
}

// TestLeavesWhileEjected guards that an instance which restarts during a long
// ejection is looked at every 2 s, not at the ejection's end (S5).
func TestLeavesWhileEjected(t *testing.T) {
	p := newPatient(t)
	p.ejects()
	for range 6 {
		p.due()
		p.trialEnds(p.trial(), failure(reasonConnect))
	}
	p.due()
	c, changed := p.trialEnds(p.trial(), verdict{outcomeBusy, reasonLoading, leaves, true})
	if want := (change{halfOpen, ejected, reasonLoading, loadingTrial}); !changed || c != want {
		t.Errorf("got %v %+v, want %+v", changed, c, want)
	}
}

// TestKeyChanged guards that a new key is tried at once where the old one was
// refused or its account empty (F14), that what the old key still leads to is
// ignored, and that a new key excuses nothing else (F13).
func TestKeyChanged(t *testing.T) {
	refused := verdict{outcomeMisconfigured, reasonKey, leaves, true}
	p := newPatient(t)
	p.ends(refused)
	old := p.now
	p.now += time.Second
	p.h.keyChanged(p.now)
	p.h.settle(result{verdict: refused, begun: old, ended: p.now}, &p.rules)
	p.trial()

	p = newPatient(t)
	p.ejects()
	p.due()
	p.trialEnds(p.trial(), verdict{outcomeMisconfigured, reasonQuota, rests, true})
	if p.h.admits(p.now, careful) {
		t.Error("empty account: admitted, want a rest")
	}
	p.h.keyChanged(p.now)
	if !p.h.admits(p.now, careful) {
		t.Error("empty account and another key: not admitted, want a trial")
	}

	p = newPatient(t)
	wait := p.ejects()
	p.h.keyChanged(p.now)
	if v := p.h.view(p.now, p.rules.window); v.wait != wait || v.failures != p.rules.threshold {
		t.Errorf("ejected for failures: got %+v, want all as before", v)
	}

	p = newPatient(t)
	p.h.settle(result{verdict: verdict{outcomeBusy, reasonRateLimit, rests, true}, begun: p.now, ended: p.now, rest: time.Minute}, &p.rules)
	p.h.keyChanged(p.now)
	if left, _ := p.h.resting(p.now); left != time.Minute {
		t.Errorf("rate limit: got a rest of %v, want the minute", left)
	}
}

// TestLastUsable guards that failures never take the last usable instance of a
// pool out, and do once it is the last no more.
func TestLastUsable(t *testing.T) {
	p := newPatient(t)
	last := true
	p.rules.last = func() bool { return last }
	p.fails(1000, reasonConnect)
	p.want("the last one", serving)
	last = false
	p.fails(1, reasonConnect)
	p.want("no longer the last one", ejected)
	last = true
	p.due()
	p.trialEnds(p.trial(), failure(reasonConnect))
	p.want("a failed trial", ejected)
}

// TestLastTwoAtOnce guards that of two instances that fail at the same time one
// stays, in either tier.
func TestLastTwoAtOnce(t *testing.T) {
	for _, second := range []tier{primary, fallback} {
		for range 200 {
			two := []*instance{{weight: 1, state: new(instanceState)}, {weight: 1, state: new(instanceState)}}
			members := map[tier][]*instance{primary: two[:1]}
			members[second] = append(members[second], two[1])
			p := new(pool)
			p.tiers[primary], p.tiers[fallback] = newRotation(members[primary]), newRotation(members[fallback])
			var lock sync.Mutex
			var both sync.WaitGroup
			for _, i := range two {
				// The other one's turn comes between the look and the leap.
				last := func() bool {
					defer runtime.Gosched()
					return p.lastIs(i)
				}
				both.Go(func() {
					for n := range time.Duration(20) {
						i.state.health.settle(result{verdict: failure(reasonReset), begun: n, ended: n},
							&rules{threshold: 5, window: time.Minute, last: last, lock: &lock})
					}
				})
			}
			both.Wait()
			if a, b := two[0].state.health.usable(), two[1].state.health.usable(); a == b {
				t.Fatalf("both have failed: got usable %v and %v, want one", a, b)
			}
		}
	}
}

// TestHealthView guards what people are shown in each phase.
func TestHealthView(t *testing.T) {
	p := newPatient(t)
	f := func(when string, want healthView) {
		t.Helper()
		if got := p.h.view(p.now, p.rules.window); got != want {
			t.Errorf("%s: got %+v, want %+v", when, got, want)
		}
	}
	f("new", healthView{})
	p.ends(whole)
	p.ends(canceled)
	wait := p.ejects()
	f("ejected", healthView{phase: ejected, why: reasonStatus, wait: wait, results: 6, failures: 5})
	p.now += wait
	f("due", healthView{phase: ejected, why: reasonStatus, results: 6, failures: 5})
	p.trial()
	f("trial", healthView{phase: halfOpen, why: reasonStatus, results: 6, failures: 5})
	p.h.begins(p.now, p.now)
	p.now += 10 * time.Second
	f("slow start", healthView{phase: ramping, wait: 20 * time.Second, results: 6, failures: 5})
	p.h.settle(result{verdict: verdict{outcomeBusy, reasonOverload, rests, true}, begun: p.now, ended: p.now, rest: time.Minute}, &p.rules)
	f("a longer rest", healthView{phase: ramping, wait: time.Minute, results: 6, failures: 5})
	p.now += time.Minute
	f("a window later", healthView{phase: serving})
}
