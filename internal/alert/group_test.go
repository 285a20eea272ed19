package alert

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var usualRules = rules{wait: 30 * time.Second, interval: 5 * time.Minute, repeat: 4 * time.Hour, cooldown: 5 * time.Minute}

var day = time.Date(2026, 3, 14, 15, 0, 0, 0, time.UTC)

// told is one message of a clock, with its time since the beginning.
type told struct {
	at     time.Duration
	groups []Group
}

// clock drives a machine the way the manager does: it looks when next says so.
type clock struct {
	m     *machine
	now   time.Time
	told  []told
	check func(told)
	fail  func(format string, args ...any)
}

func newClock(t interface{ Fatalf(string, ...any) }, r rules) *clock {
	return &clock{m: newMachine(r), now: day, check: func(told) {}, fail: t.Fatalf}
}

func (c *clock) take() {
	if groups := c.m.take(c.now); groups != nil {
		message := told{c.now.Sub(day), groups}
		c.told = append(c.told, message)
		c.check(message)
	}
	if next := c.m.next(); !next.IsZero() && !next.After(c.now) {
		c.fail("at %v the machine has something to do at %v, which it has just been asked for", c.now, next)
	}
}

func (c *clock) pass(d time.Duration) {
	end := c.now.Add(d)
	for {
		c.take()
		next := c.m.next()
		if next.IsZero() || next.After(end) {
			break
		}
		c.now = next
	}
	c.now = end
	c.take()
}

func (c *clock) signal(kind Kind, instance string, active bool) {
	c.m.signal(c.now, &Signal{Kind: kind, Instance: instance, Active: active, Cause: "connect: refused"})
}

func (c *clock) wantTold(t *testing.T, at ...time.Duration) {
	t.Helper()
	var got []time.Duration
	for _, m := range c.told {
		got = append(got, m.at)
	}
	if fmt.Sprint(got) != fmt.Sprint(at) {
		t.Errorf("messages: got %v, want %v", got, at)
	}
}

// A3: one message, one reminder per repeat, one resolve.
func TestA3MachineLife(t *testing.T) {
	c := newClock(t, usualRules)
	c.signal(InstanceEjected, "a", true)
	c.pass(9 * time.Hour)
	c.signal(InstanceEjected, "a", false)
	c.pass(9 * time.Hour)
	c.wantTold(t, 30*time.Second, 4*time.Hour+30*time.Second, 8*time.Hour+30*time.Second, 9*time.Hour+30*time.Second)
	if a := c.told[0].groups[0].Alerts[0]; !a.New || a.Over() {
		t.Errorf("first message: got %+v, want a new alert that lasts", a)
	}
	if a := c.told[1].groups[0].Alerts[0]; a.New || a.Over() {
		t.Errorf("reminder: got %+v, want a known alert that lasts", a)
	}
	if a := c.told[3].groups[0].Alerts[0]; a.Until.Sub(day) != 9*time.Hour {
		t.Errorf("resolve: got %+v, want its end after 9 h", a)
	}
	c.pass(10 * time.Minute)
	if len(c.m.entries) != 0 || len(c.m.flushes) != 0 {
		t.Errorf("after the cooldown: got %d entries and %d groups, want none", len(c.m.entries), len(c.m.flushes))
	}
}

// A3: what heals inside the wait is told to nobody, and one that comes back while
// it is remembered is.
func TestA3MachineHealed(t *testing.T) {
	c := newClock(t, usualRules)
	c.signal(InstanceEjected, "a", true)
	c.pass(29 * time.Second)
	c.signal(InstanceEjected, "a", false)
	c.pass(time.Hour)
	c.wantTold(t)
	c.signal(InstanceEjected, "a", true)
	c.pass(20 * time.Second)
	c.signal(InstanceEjected, "a", false)
	c.pass(20 * time.Second)
	c.signal(InstanceEjected, "a", true)
	c.pass(5 * time.Second)
	if len(c.told) != 1 || c.told[0].groups[0].Alerts[0].Count != 2 {
		t.Errorf("one that came back: got %+v, want one message that counts 2", c.told)
	}
}

// S8, F3: what a person has just caused is told within seconds.
func TestUrgentKinds(t *testing.T) {
	for _, kind := range []Kind{KeyRefused, ConfigRejected} {
		c := newClock(t, usualRules)
		c.signal(kind, "a", true)
		c.pass(time.Minute)
		c.wantTold(t, 3*time.Second)
	}
}

// A fault of the whole fleet is one message, whatever kinds it shows in; a kind that
// begins just before it waits for itself.
func TestKindsTogether(t *testing.T) {
	c := newClock(t, usualRules)
	for n := range 5 {
		c.signal(InstanceEjected, fmt.Sprint(n), true)
		c.pass(time.Second)
	}
	c.signal(PoolEmpty, "", true)
	c.pass(20 * time.Second)
	c.signal(DiskLow, "", true)
	c.pass(time.Minute)
	c.wantTold(t, 30*time.Second, 55*time.Second)
	if first := c.told[0].groups; len(first) != 2 || first[0].Kind != PoolEmpty || len(first[1].Alerts) != 5 {
		t.Errorf("first message: got %+v, want the empty pool and 5 instances", first)
	}
}

// An alert whose end nobody signals ends when it is not repeated.
func TestLasts(t *testing.T) {
	c := newClock(t, usualRules)
	for range 10 {
		c.m.signal(c.now, &Signal{Kind: RecordsDropped, Active: true, Lasts: time.Minute})
		c.pass(40 * time.Second)
	}
	c.pass(time.Hour)
	c.wantTold(t, 30*time.Second, 450*time.Second)
	if got := c.told[1].groups[0].Alerts[0].Until.Sub(day); got != 420*time.Second {
		t.Errorf("end: got %v, want a minute after the last signal, 7m0s", got)
	}
}

// One that becomes worse is told again, and reaches those who want only the worst.
func TestRaised(t *testing.T) {
	c := newClock(t, usualRules)
	c.m.signal(c.now, &Signal{Kind: ErrorRate, Active: true, Severity: Warning})
	c.pass(time.Minute)
	c.m.signal(c.now, &Signal{Kind: ErrorRate, Active: true, Severity: Critical})
	c.pass(time.Hour)
	c.wantTold(t, 30*time.Second, 330*time.Second)
	strict := Receiver{MinSeverity: "critical"}
	if first, second := strict.wants(c.told[0].groups), strict.wants(c.told[1].groups); first != nil || len(second) != 1 || !second[0].Alerts[0].New {
		t.Errorf("a receiver of critical alerts: got %v and %v, want nothing and the new one", first, second)
	}
}

// reference is what an observer of messages and signals may rely on, in the words of
// the package's comment.
type reference struct {
	rules  rules
	fail   func(format string, args ...any)
	known  map[subject]bool
	lastOf map[subject]time.Duration // the last message with news of it
	active map[subject]time.Duration // since when
	quiet  map[subject]time.Duration // since when
	group  map[Kind]time.Duration    // the last message of a kind of which something lasts
	live   map[Kind]bool
}

func newReference(r rules, fail func(string, ...any)) *reference {
	return &reference{
		r, fail,
		map[subject]bool{},
		map[subject]time.Duration{},
		map[subject]time.Duration{},
		map[subject]time.Duration{},
		map[Kind]time.Duration{},
		map[Kind]bool{},
	}
}

func (r *reference) message(m told) {
	for _, g := range m.groups {
		if last, ok := r.group[g.Kind]; ok && r.live[g.Kind] {
			switch since := m.at - last; {
			case g.news() && since < r.rules.interval:
				r.fail("%v: news of %s %v after the last message, want %v or more", m.at, g.Kind, since, r.rules.interval)
			case !g.news() && since < r.rules.repeat:
				r.fail("%v: reminder of %s after %v, want %v or more", m.at, g.Kind, since, r.rules.repeat)
			}
		} else if !g.news() {
			r.fail("%v: a reminder of what was not told: %+v", m.at, g)
		}
		r.group[g.Kind], r.live[g.Kind] = m.at, false
		for i := range g.Alerts {
			r.alert(m.at, &g.Alerts[i])
		}
	}
}

func (r *reference) alert(at time.Duration, a *Alert) {
	key := a.subject()
	since, active := r.active[key]
	last, before := r.lastOf[key]
	switch {
	case a.New && r.known[key]:
		r.fail("%v: %v is told again", at, key)
	case a.New && !active:
		r.fail("%v: %v is told, and had healed", at, key)
	case a.New && before && at-last < r.rules.cooldown:
		r.fail("%v: %v begins again %v after its last message, within the cooldown", at, key, at-last)
	case a.Over() && !r.known[key]:
		r.fail("%v: the end of %v, of which nobody knew", at, key)
	case a.Over() && active:
		r.fail("%v: the end of %v, which lasts since %v", at, key, since)
	case a.Over() && at-r.quiet[key] < r.rules.wait:
		r.fail("%v: the end of %v after %v of quiet, want %v", at, key, at-r.quiet[key], r.rules.wait)
	case !a.New && !a.Over() && !r.known[key]:
		r.fail("%v: %v is called known", at, key)
	}
	if a.New || a.Over() {
		r.lastOf[key] = at
	}
	r.known[key] = !a.Over()
	r.live[a.Kind] = r.live[a.Kind] || !a.Over()
}

// silence fails if something that lasts is not known, or something that is over is.
func (r *reference) silence(now time.Duration) {
	most := r.rules.wait + r.rules.interval + r.rules.cooldown
	for key, since := range r.active {
		if now-since > most && !r.known[key] {
			r.fail("%v: silence about %v, which lasts since %v", now, key, since)
		}
	}
	for key, since := range r.quiet {
		if _, active := r.active[key]; !active && r.known[key] && now-since > r.rules.wait+r.rules.interval {
			r.fail("%v: %v is over since %v, and nobody was told", now, key, since)
		}
	}
}

// A1 to A3, A6: under any signals at any times nothing that lasts stays untold, and
// nothing is told more often than stated. A restart from the saved state is no
// exception.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seconds := func(name string, from, to int) time.Duration {
			return time.Duration(rapid.IntRange(from, to).Draw(t, name)) * time.Second
		}
		rules := rules{seconds("wait", 0, 60), seconds("interval", 1, 400), 0, seconds("cooldown", 0, 400)}
		rules.repeat = rules.interval + seconds("repeat", 0, 2000)
		c := newClock(t, rules)
		ref := newReference(rules, t.Fatalf)
		c.check = ref.message
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			kind := rapid.SampledFrom([]Kind{InstanceEjected, PoolEmpty, KeyRefused}).Draw(t, "kind")
			key := subject{Kind: kind, Instance: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "instance")}
			active := rapid.Bool().Draw(t, "active")
			c.signal(key.Kind, key.Instance, active)
			now := c.now.Sub(day)
			if _, was := ref.active[key]; active && !was {
				ref.active[key] = now
			} else if !active && was {
				delete(ref.active, key)
				ref.quiet[key] = now
			}
			if rapid.IntRange(0, 9).Draw(t, "restart") == 0 {
				entries, flushes := c.m.save()
				c.m = newMachine(rules)
				c.m.restore(c.now, entries, flushes)
				for key := range ref.active { // the gateway sees them anew
					c.signal(key.Kind, key.Instance, true)
				}
			}
			c.pass(seconds("pass", 0, rapid.SampledFrom([]int{5, 50, 500, 5000}).Draw(t, "scale")))
			ref.silence(c.now.Sub(day))
		}
		c.pass(2 * time.Hour)
		ref.silence(c.now.Sub(day))
	})
}

// A1: however one instance flaps, ten minutes hold no more than three messages, its
// end included; one fault that heals inside the wait holds none.
func TestA1Model(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock(t, usualRules)
		flaps := rapid.IntRange(1, 100).Draw(t, "flaps")
		for n := range flaps {
			c.signal(InstanceEjected, "a", true)
			c.pass(time.Duration(rapid.IntRange(0, 6000).Draw(t, "down")) * time.Millisecond)
			c.signal(InstanceEjected, "a", false)
			if n < flaps-1 {
				c.pass(time.Duration(rapid.IntRange(0, 120_000).Draw(t, "up")) * time.Millisecond)
			}
		}
		c.pass(10 * time.Minute)
		if flaps == 1 && len(c.told) > 0 {
			t.Fatalf("got %d messages of one fault of 6 s, want none", len(c.told))
		}
		for n := range c.told {
			if n >= 3 && c.told[n].at-c.told[n-3].at <= 10*time.Minute {
				t.Fatalf("got 4 messages in %v, want no more than 3 in 10m", c.told[n].at-c.told[n-3].at)
			}
		}
	})
}

// What is over because its subject is gone from the configuration is told as over.
func TestRetain(t *testing.T) {
	c := newClock(t, usualRules)
	c.signal(InstanceEjected, "a", true)
	c.signal(InstanceEjected, "b", true)
	c.pass(10 * time.Minute)
	c.m.retain(c.now, func(_ Kind, instance, _ string) bool { return instance != "a" })
	c.pass(time.Minute)
	c.wantTold(t, 30*time.Second, 10*time.Minute+30*time.Second)
	if a := c.told[1].groups[0].Alerts; !a[0].Over() || a[0].Instance != "a" || a[1].Over() {
		t.Errorf("got %+v, want the end of a beside b", a)
	}
}

// A5, A6: whatever of its messages a receiver takes, what it has been told in the
// end is how things are; nothing of what waits is lost by merging.
func TestA6Model(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock(t, usualRules)
		var waiting []Group
		believed := make(map[subject]bool) // by people
		c.check = func(m told) {
			waiting = merge(waiting, m.groups)
			if len(waiting) > len(kinds) {
				t.Fatalf("got %d groups waiting, want one of each kind at most", len(waiting))
			}
			if rapid.Bool().Draw(t, "dead") {
				return
			}
			for _, g := range waiting {
				for i := range g.Alerts {
					a := &g.Alerts[i]
					if !a.New && !a.Over() && !believed[a.subject()] {
						t.Fatalf("%v: %v is called known, and no message of it arrived", m.at, a.subject())
					}
					believed[a.subject()] = !a.Over()
				}
			}
			waiting = nil
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			kind := rapid.SampledFrom([]Kind{InstanceEjected, PoolEmpty}).Draw(t, "kind")
			c.signal(kind, rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "instance"), rapid.Bool().Draw(t, "active"))
			c.pass(time.Duration(rapid.IntRange(0, 600).Draw(t, "pass")) * time.Second)
		}
		for _, g := range waiting { // the receiver is back
			for i := range g.Alerts {
				believed[g.Alerts[i].subject()] = !g.Alerts[i].Over()
			}
		}
		firing := make(map[subject]bool)
		for _, g := range c.m.firing() {
			for i := range g.Alerts {
				firing[g.Alerts[i].subject()] = true
			}
		}
		for key, lasts := range believed {
			if lasts != firing[key] {
				t.Fatalf("%v: people believe that it lasts: %v, want %v", key, lasts, firing[key])
			}
		}
		for key := range firing {
			if !believed[key] {
				t.Fatalf("nobody was told of %v", key)
			}
		}
	})
}

// What is beyond the bound is counted, and what is known goes on.
func TestBound(t *testing.T) {
	c := newClock(t, usualRules)
	for n := range maxAlerts + 10 {
		c.signal(InstanceEjected, fmt.Sprint(n), true)
	}
	c.signal(InstanceEjected, "0", true)
	if len(c.m.entries) != maxAlerts || c.m.dropped != 10 {
		t.Errorf("got %d entries, %d dropped, want %d and 10", len(c.m.entries), c.m.dropped, maxAlerts)
	}
	c.pass(time.Minute)
	if n := len(c.told[0].groups[0].Alerts); n != maxAlerts {
		t.Errorf("told: got %d, want %d", n, maxAlerts)
	}
}
