package aigateway

import (
	"sync"
	"testing"
	"time"
)

// patient is the health of an instance, with a clock of its own and a pool that
// can spare it.
type patient struct {
	*testing.T
	h     health
	rules rules
	now   time.Duration
}

func newPatient(t *testing.T) *patient {
	t.Helper()
	return &patient{T: t, now: time.Hour, rules: rules{
		threshold: 5, window: time.Minute, last: func() bool { return false }, lock: new(sync.Mutex),
	}}
}

// ends settles an attempt that begins and ends now.
func (p *patient) ends(v verdict) (change, bool) {
	return p.h.settle(result{verdict: v, begun: p.now, ended: p.now}, &p.rules)
}

// fails counts n failures for why.
func (p *patient) fails(n int, why reason) {
	for range n {
		p.ends(failure(why))
	}
}

// ejects fails until the instance is out, and returns for how long.
func (p *patient) ejects() time.Duration {
	p.Helper()
	p.fails(p.rules.threshold-1, reasonStatus)
	c, changed := p.ends(failure(reasonStatus))
	if !changed || c.to != ejected {
		p.Fatalf("%d failures in a row: got %v %+v, want an ejection", p.rules.threshold, changed, c)
	}
	return c.wait
}

// due moves the clock to the moment of the trial.
func (p *patient) due() { p.now = time.Duration(p.h.until.Load()) }

// trial begins the trial, which must be due.
func (p *patient) trial() result {
	p.Helper()
	if trial, ok := p.h.try(p.now, careful); !trial || !ok {
		p.Fatalf("try: got trial %v, ok %v, want the trial", trial, ok)
	}
	return result{begun: p.now, trial: true}
}

// trialEnds settles the trial r with v now.
func (p *patient) trialEnds(r result, v verdict) (change, bool) {
	r.verdict, r.ended = v, p.now
	return p.h.settle(r, &p.rules)
}

// returns lets a trial pass at once.
func (p *patient) returns() {
	p.Helper()
	p.due()
	r := p.trial()
	if c, changed := p.h.begins(r.begun, p.now); !changed || c.from != halfOpen || c.to != ramping {
		p.Fatalf("the trial's answer begins: got %v %+v, want slow start", changed, c)
	}
	p.trialEnds(r, whole)
}

func (p *patient) want(when string, want phase) {
	p.Helper()
	if got := p.h.view(p.now, p.rules.window).phase; got != want {
		p.Fatalf("%s: got phase %v, want %v", when, got, want)
	}
}

// between reports whether an ejection of whole may last wait: equal jitter.
func between(wait, whole time.Duration) bool { return whole/2 <= wait && wait <= whole }

// TestEjectedAtThreshold guards that exactly the failure at error_threshold takes
// an instance out (N25), and that the change tells why and for how long.
func TestEjectedAtThreshold(t *testing.T) {
	for _, threshold := range []int{1, 2, 5, 10} {
		p := newPatient(t)
		p.rules.threshold = threshold
		p.fails(threshold-1, reasonStatus)
		p.want("one below the threshold", serving)
		c, changed := p.ends(failure(reasonFirstToken))
		if !changed || c.from != serving || c.to != ejected || c.why != reasonFirstToken || !between(c.wait, firstEjection) {
			t.Errorf("failure %d: got %v %+v, want an ejection for first_token of 2.5 to 5 s", threshold, changed, c)
		}
		p.want("at the threshold", ejected)
		if c, changed := p.ends(failure(reasonStatus)); changed {
			t.Errorf("failure %d: got %+v, want no second ejection", threshold+1, c)
		}
		for l, want := range map[leeway]bool{careful: false, hurried: false, pressed: true, anyway: true} {
			if got := p.h.admits(p.now, l); got != want {
				t.Errorf("ejected for failures, leeway %d: got admitted %v, want %v", l, got, want)
			}
		}
	}
}

// TestFailuresLeaveWindow guards that failures in a row count only while they lie
// within error_window.
func TestFailuresLeaveWindow(t *testing.T) {
	for _, c := range []struct {
		name  string
		after time.Duration // from the first failure to the fifth
		want  phase
	}{
		{"last moment", time.Minute - 1, ejected},
		{"just over", time.Minute, serving},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPatient(t)
			p.fails(1, reasonStatus)
			p.now += 30 * time.Second
			p.fails(3, reasonStatus)
			p.now += c.after - 30*time.Second
			p.fails(1, reasonStatus)
			p.want("five failures", c.want)
		})
	}
}

// TestSuccessClearsRun guards that only an unbroken run ejects, and that what is
// nobody's fault breaks none.
func TestSuccessClearsRun(t *testing.T) {
	p := newPatient(t)
	for range 3 {
		p.fails(4, reasonStatus)
		p.ends(whole)
		p.now += 31 * time.Second // beyond the rate rule
	}
	p.want("runs of four", serving)
	p.fails(4, reasonStatus)
	for _, v := range []verdict{
		canceled,
		{outcome: outcomeRejected, reason: reasonStatus},
		{outcomeBusy, reasonRateLimit, rests, true},
		{outcome: outcomeFailed, reason: reasonResources},
	} {
		p.ends(v)
		p.want("nobody's fault", serving)
	}
	p.fails(1, reasonStatus)
	p.want("the fifth failure", ejected)
}

// TestNobodysFault guards that what an instance cannot help, a thousand times
// over, neither ejects it nor shows as an error (marks 0: C2, S7, S10, N32).
func TestNobodysFault(t *testing.T) {
	p := newPatient(t)
	for range 1000 {
		p.ends(canceled)
		p.ends(verdict{outcome: outcomeRejected, reason: reasonStatus})
		p.ends(verdict{outcome: outcomeFailed, reason: reasonResources})
		p.ends(verdict{outcomeBusy, reasonRateLimit, rests, true})
	}
	if got, want := p.h.view(p.now, p.rules.window), (healthView{phase: serving}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestConnectFailures guards that three failures in a row to open a connection
// eject, below any higher threshold (N1), and that others between them count anew.
func TestConnectFailures(t *testing.T) {
	for _, c := range []struct {
		name      string
		threshold int
		whys      []reason
		want      phase
	}{
		{"two", 10, []reason{reasonConnect, reasonConnect}, serving},
		{"three", 10, []reason{reasonConnect, reasonConnect, reasonConnect}, ejected},
		{"no name", 10, []reason{reasonResolve, reasonConnect, reasonResolve}, ejected},
		{"after other failures", 10, []reason{reasonStatus, reasonReset, reasonConnect, reasonConnect, reasonConnect}, ejected},
		{"interrupted by another failure", 10, []reason{reasonConnect, reasonConnect, reasonReset, reasonConnect, reasonConnect}, serving},
		{"interrupted by a success", 10, []reason{reasonConnect, reasonConnect, reasonNone, reasonConnect, reasonConnect}, serving},
		{"handshakes are no doubt", 10, []reason{reasonTLS, reasonTLS, reasonTLS, reasonTLSTimeout}, serving},
		{"lower threshold", 2, []reason{reasonConnect, reasonConnect}, ejected},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPatient(t)
			p.rules.threshold = c.threshold
			for _, why := range c.whys {
				if why == reasonNone {
					p.ends(whole)
				} else {
					p.fails(1, why)
				}
			}
			p.want("afterwards", c.want)
		})
	}
	p := newPatient(t)
	p.rules.threshold = 10
	p.fails(2, reasonConnect)
	p.now += p.rules.window
	p.fails(2, reasonConnect)
	p.want("two within the window, two before it", serving)
}

// TestHalfFail guards that an instance of which every second request fails goes
// at the twentieth result, though it never fails twice in a row (N28).
func TestHalfFail(t *testing.T) {
	p := newPatient(t)
	for n := 1; n <= 20; n++ {
		p.want("fewer than 20 results", serving)
		if n%2 == 1 {
			p.ends(whole)
		} else {
			p.fails(1, reasonStatus)
		}
		p.now += 1300 * time.Millisecond // 20 results take 26 s
	}
	p.want("ten failures in 20 results", ejected)
}

// TestRateRuleSpares guards the scope of the rate rule: not below half, not below
// 20 results in 30 s, and not with what was before the window.
func TestRateRuleSpares(t *testing.T) {
	for _, c := range []struct {
		name   string
		every  time.Duration // between results
		failed func(n int) bool
	}{
		{"a third fails", 10 * time.Millisecond, func(n int) bool { return n%3 == 2 }},
		{"fewer than 20 in 30 s", 1700 * time.Millisecond, func(n int) bool { return n%2 == 1 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPatient(t)
			for n := range 600 {
				if c.failed(n) {
					p.fails(1, reasonStatus)
				} else {
					p.ends(whole)
				}
				p.want("still", serving)
				p.now += c.every
			}
		})
	}
	p := newPatient(t)
	for n := range 19 {
		if n%2 == 0 {
			p.fails(1, reasonStatus)
		} else {
			p.ends(whole)
		}
	}
	p.now += rateWindow
	p.ends(whole)
	p.fails(1, reasonStatus)
	p.want("21 results, of which 11 failed, but 19 of them 30 s ago", serving)
}

// TestEjectionGrows guards that ejections in a row last 5 s, twice as long each
// time, and 300 s at most, each with equal jitter.
func TestEjectionGrows(t *testing.T) {
	var shortest, longest [8]time.Duration
	for range 100 {
		p := newPatient(t)
		wait := p.ejects()
		for n, seconds := range []int{5, 10, 20, 40, 80, 160, 300, 300} {
			whole := time.Duration(seconds) * time.Second
			if !between(wait, whole) {
				t.Fatalf("ejection %d: got %v, want %v to %v", n+1, wait, whole/2, whole)
			}
			if shortest[n] == 0 || wait < shortest[n] {
				shortest[n] = wait
			}
			longest[n] = max(longest[n], wait)
			p.due()
			c, changed := p.trialEnds(p.trial(), failure(reasonStatus))
			if changed {
				t.Fatal("a failed trial was told as news, want silence: the instance was out before")
			}
			wait = c.wait
		}
	}
	for n := range shortest {
		if longest[n]-shortest[n] < longest[n]/4 {
			t.Errorf("ejection %d: 100 of them lasted %v to %v, want them spread over half of it", n+1, shortest[n], longest[n])
		}
	}
}

// TestEjectionForgotten guards that a whole slow start ends the growth, and a
// slow start that is cut short does not.
func TestEjectionForgotten(t *testing.T) {
	for _, c := range []struct {
		name  string
		after time.Duration
		whole time.Duration
	}{
		{"cut short", slowStart - 1, 2 * firstEjection},
		{"whole", slowStart, firstEjection},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 20 {
				p := newPatient(t)
				p.ejects()
				p.returns()
				p.now += c.after
				if wait := p.ejects(); !between(wait, c.whole) {
					t.Fatalf("second ejection %v after the return: got %v, want %v to %v", c.after, wait, c.whole/2, c.whole)
				}
			}
		})
	}
}
