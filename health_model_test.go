package aigateway

import (
	"flag"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// modelSteps is how many random steps [TestHealthModel] makes at least. It makes
// about four times as many, for their number is random too.
const modelSteps = 100_000

// TestHealthModel guards that health is what [reference] says after every one of
// 100,000 random steps. A failure is shown by the shortest run of steps that
// leads to it.
func TestHealthModel(t *testing.T) {
	const runs = 400
	factor := 1
	if testing.Short() { // the library makes a fifth of the runs, of half the length
		factor = 10
	}
	set(t, "rapid.checks", strconv.Itoa(runs))
	set(t, "rapid.steps", strconv.Itoa(factor*4*modelSteps/runs))
	set(t, "rapid.nofailfile", "true") // the message has all steps
	seen := make(map[string]int)
	rapid.Check(t, func(t *rapid.T) { newHealthRun(t, seen).run(t) })
	if t.Failed() {
		return
	}
	t.Log(seen)
	if seen["steps"] < modelSteps {
		t.Errorf("made %d steps, want %d", seen["steps"], modelSteps)
	}
	for _, event := range []string{
		"ejections", "ejections of 300 s", "trials passed", "trials failed", "trials repeated", "answered without a trial", "late answers ignored",
		"late failures ignored", "last one stays", "whole slow starts", "out for loading", "out for model", "out for key", "older trials",
		"ejected by hand for good", "ejected by hand for a time", "trials after a hand's ejection", "restored", "answers after a hand's ejection ignored",
	} {
		if seen[event] < 20 {
			t.Errorf("%s: seen %d times, want 20 or the test proves little about it", event, seen[event])
		}
	}
}

// set gives a flag of the library another value for the length of the test.
func set(t *testing.T, name, value string) {
	t.Helper()
	f := flag.Lookup(name)
	before := f.Value.String()
	if err := f.Value.Set(value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Value.Set(before) })
}

// healthRun is one run of random steps.
type healthRun struct {
	h     health
	m     reference
	rules *rules
	wall  time.Time // jumps; only dates in Retry-After are read by it
	// steady says that error_window stays, without which the counts for people are
	// not exact for a while.
	steady bool
	under  []*seenAttempt // under way
	seen   map[string]int
}

func newHealthRun(t *rapid.T, seen map[string]int) *healthRun {
	r := &healthRun{wall: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), seen: seen, steady: rapid.Bool().Draw(t, "steady")}
	r.m = reference{now: time.Hour, threshold: 5, window: time.Minute, others: true}
	r.reload(t)
	return r
}

func (r *healthRun) run(t *rapid.T) {
	steps := map[string]func(*rapid.T){
		"advance": r.advance, "advance to the end": r.advanceToEnd, "wall clock jumps": r.jump,
		"begin": r.begin, "begin many": r.beginMany, "answer": r.answer, "succeed": r.succeed,
		"fail": r.fail, "fail again": r.fail, "fail in a row": r.failInARow, "fail every second time": r.failHalf, "long trial": r.longTrial, "cancel": r.cancel, "reject": r.reject,
		"busy": r.busy, "quota": r.quota, "leave": r.leave,
		"swap": r.swap, "reload": r.reload, "another key": r.key, "others": r.others,
		"eject by hand": r.takeOut, "restore": r.restore,
	}
	for name, step := range steps {
		steps[name] = func(t *rapid.T) { r.seen["steps"]++; step(t) }
	}
	steps[""] = r.check
	t.Repeat(steps)
}

// check compares all that can be asked.
func (r *healthRun) check(t *rapid.T) {
	got, want := r.h.view(r.m.now, r.m.window), r.m.view()
	if !r.steady {
		got.results, got.failures, want.results, want.failures = 0, 0, 0, 0
	}
	if got != want {
		t.Fatalf("view: got %+v, want %+v", got, want)
	}
	if got, want := r.h.usable(), r.m.inService(); got != want {
		t.Fatalf("usable: got %v, want %v", got, want)
	}
	for l := careful; l <= anyway; l++ {
		if l == careful && r.m.phase == ramping {
			r.checkShare(t)
			continue
		}
		if got, want := r.h.admits(r.m.now, l), r.m.admits(l); got != want {
			t.Fatalf("admits with leeway %d: got %v, want %v", l, got, want)
		}
	}
	left, why := r.h.resting(r.m.now)
	if left != max(0, r.m.restUntil-r.m.now) || left > 0 && why != r.m.restWhy {
		t.Fatalf("resting: got %v for %q, want until %v for %q", left, why, r.m.restUntil, r.m.restWhy)
	}
}

// checkShare checks slow start's: its dice are thrown elsewhere.
func (r *healthRun) checkShare(t *rapid.T) {
	want := max(.1, float64(r.m.now-r.m.since)/float64(30*time.Second))
	if got := r.h.share(r.m.now); got < want-1e-9 || got > want+1e-9 {
		t.Fatalf("share: got %v, want %v", got, want)
	}
}

func (r *healthRun) advance(t *rapid.T) {
	longest := rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, 10 * time.Second, 100 * time.Second, 400 * time.Second}).Draw(t, "at most")
	r.m.advance(time.Duration(rapid.Int64Range(0, int64(longest)).Draw(t, "d")))
}

// advanceToEnd goes to the moment at which something ends, or one before it.
func (r *healthRun) advanceToEnd(t *rapid.T) {
	end := rapid.SampledFrom([]time.Duration{r.m.until, r.m.restUntil}).Draw(t, "end")
	if end == forever {
		return
	}
	was := r.m.phase
	r.m.advance(max(0, end-r.m.now-time.Duration(rapid.Int64Range(0, 1).Draw(t, "before"))))
	if was == ramping && r.m.phase == serving {
		r.seen["whole slow starts"]++
	}
}

func (r *healthRun) jump(t *rapid.T) {
	r.wall = r.wall.Add(time.Duration(rapid.Int64Range(-365*24, 365*24).Draw(t, "hours")) * time.Hour)
}

// begin begins an attempt, if the instance may be asked, and returns it or nil.
func (r *healthRun) begin(t *rapid.T) {
	r.attempt(t, rapid.SampledFrom([]leeway{careful, hurried, pressed, anyway}).Draw(t, "leeway"))
}

func (r *healthRun) attempt(t *rapid.T, l leeway) *seenAttempt {
	if !r.m.admits(l) {
		return nil
	}
	byHand := r.m.byHand
	trial, ok := r.h.try(r.m.now, l)
	if wantTrial, want := r.m.try(l); trial != wantTrial || ok != want {
		t.Fatalf("try with leeway %d: got trial %v, ok %v, want %v, %v", l, trial, ok, wantTrial, want)
	}
	if !ok {
		return nil
	}
	if trial && byHand {
		r.seen["trials after a hand's ejection"]++
	}
	a := &seenAttempt{begun: r.m.now, trial: trial}
	r.under = append(r.under, a)
	return a
}

// beginMany begins attempts that were all admitted before the first of them was
// made.
func (r *healthRun) beginMany(t *rapid.T) {
	if !r.m.admits(careful) {
		return
	}
	trials := 0
	for range rapid.IntRange(2, 5).Draw(t, "n") {
		got, ok := r.h.try(r.m.now, careful)
		if want, wantOK := r.m.try(careful); got != want || ok != wantOK {
			t.Fatalf("try of many: got trial %v, ok %v, want %v, %v", got, ok, want, wantOK)
		}
		if ok {
			r.under = append(r.under, &seenAttempt{begun: r.m.now, trial: got})
		}
		if got {
			trials++
		}
	}
	if trials > 1 {
		t.Fatalf("got %d trials at once, want 1", trials)
	}
}

// take returns an attempt under way and removes it; a new one if there is none.
func (r *healthRun) take(t *rapid.T) *seenAttempt {
	if len(r.under) == 0 {
		r.attempt(t, anyway)
	}
	if len(r.under) == 0 { // it rests
		return nil
	}
	n := len(r.under) - 1
	if rapid.Bool().Draw(t, "old") {
		n = rapid.IntRange(0, n).Draw(t, "attempt")
	}
	a := r.under[n]
	r.under = append(r.under[:n], r.under[n+1:]...)
	return a
}

func (r *healthRun) answer(t *rapid.T) {
	if a := r.take(t); a != nil {
		r.answers(t, a)
		r.under = append([]*seenAttempt{a}, r.under...) // it goes on for long
	}
}

func (r *healthRun) answers(t *rapid.T, a *seenAttempt) {
	if a.answered {
		return
	}
	from, why, inService := r.m.phase, r.m.why, r.m.inService()
	got, changed := r.h.begins(a.begun, r.m.now)
	want := r.m.answers(a)
	if changed != want || changed && got != (change{from: from, to: ramping, why: why}) {
		t.Fatalf("answer begins: got %v %+v, want %v from %v for %q", changed, got, want, from, why)
	}
	switch {
	case want && a.trial:
		r.seen["trials passed"]++
	case want:
		r.seen["answered without a trial"]++
	case r.m.byHand:
		r.seen["answers after a hand's ejection ignored"]++
	case !inService:
		r.seen["late answers ignored"]++
	}
}

// ends settles a, or whatever is under way, with v.
func (r *healthRun) ends(t *rapid.T, a *seenAttempt, v verdict, rest time.Duration) {
	if a == nil {
		return
	}
	from, trial := r.m.phase, a.trial && r.m.phase == halfOpen && a.begun >= r.m.since
	got, changed := r.h.settle(result{verdict: v, begun: a.begun, ended: r.m.now, trial: a.trial, rest: rest}, r.rules)
	news, why, whole, sure := r.m.ends(a, v, rest)
	if changed != news || changed && (got.from != from || got.to != ejected || got.why != why) {
		t.Fatalf("end with %v for %q: got %v %+v, want %v from %v for %q", v.outcome, v.reason, changed, got, news, from, why)
	}
	r.note(a, v, from, trial, why, whole)
	if why == reasonNone {
		return
	}
	wait := time.Duration(r.h.until.Load()) - r.m.now
	if sure && wait != whole || !sure && (wait < whole/2 || wait > whole) {
		t.Fatalf("out for %q: got %v, want %v, or from half of it on if it is an ejection", why, wait, whole)
	}
	r.m.until = r.m.now + wait
}

// note counts what has been met.
func (r *healthRun) note(a *seenAttempt, v verdict, from phase, trial bool, why reason, whole time.Duration) {
	switch {
	case a.trial && from == halfOpen && !trial:
		r.seen["older trials"]++
	case trial && v.blame == blameInstance:
		r.seen["trials failed"]++
	case trial && v.blame == blameNobody:
		r.seen["trials repeated"]++
	case v.blame == leaves && why != reasonNone:
		r.seen["out for "+string(why)]++
	case v.blame == blameInstance && why != reasonNone:
		r.seen["ejections"]++
	case v.blame == blameInstance && a.begun < r.m.since && r.m.inService():
		r.seen["late failures ignored"]++
	case v.blame == blameInstance && !r.m.others && len(r.m.run) >= r.m.threshold:
		r.seen["last one stays"]++
	}
	if v.blame == blameInstance && whole == 5*time.Minute {
		r.seen["ejections of 300 s"]++
	}
}

func (r *healthRun) succeed(t *rapid.T) {
	if a := r.take(t); a != nil {
		r.answers(t, a)
		r.ends(t, a, whole, 0)
	}
}

func (r *healthRun) reject(t *rapid.T) {
	if a := r.take(t); a != nil {
		r.answers(t, a)
		r.ends(t, a, verdict{outcome: outcomeRejected, reason: reasonStatus}, 0)
	}
}

var failureReasons = []reason{reasonStatus, reasonStatus, reasonReset, reasonFirstToken, reasonConnect, reasonConnect, reasonResolve, reasonTLS}

func (r *healthRun) fail(t *rapid.T) {
	r.ends(t, r.take(t), failure(rapid.SampledFrom(failureReasons).Draw(t, "why")), 0)
}

// failInARow waits for the trial, if one is to come, and then fails often.
func (r *healthRun) failInARow(t *rapid.T) {
	if r.m.phase == ejected && r.m.until != forever {
		r.m.advance(max(0, r.m.until-r.m.now))
	}
	why := rapid.SampledFrom(failureReasons).Draw(t, "why")
	for range rapid.IntRange(1, 8).Draw(t, "n") {
		if a := r.attempt(t, hurried); a != nil {
			r.under = r.under[:len(r.under)-1]
			r.ends(t, a, failure(why), 0)
		}
	}
}

// failHalf lets every second one of some quick requests fail.
func (r *healthRun) failHalf(t *rapid.T) {
	for n := range 2 * rapid.IntRange(8, 12).Draw(t, "n") {
		a := r.attempt(t, hurried)
		if a == nil {
			return
		}
		r.under = r.under[:len(r.under)-1]
		if n%2 == 0 {
			r.answers(t, a)
			r.ends(t, a, whole, 0)
		} else {
			r.ends(t, a, failure(reasonReset), 0)
		}
	}
}

// longTrial lets a trial pass whose answer goes on until the next trial is under
// way, and ends it then.
func (r *healthRun) longTrial(t *rapid.T) {
	if r.m.phase != ejected || r.m.until == forever {
		return
	}
	r.m.advance(max(0, r.m.until-r.m.now, r.m.restUntil-r.m.now))
	older := r.attempt(t, careful)
	r.under = r.under[:len(r.under)-1]
	r.answers(t, older)
	r.failInARow(t)
	if r.m.phase == ejected {
		r.m.advance(max(0, r.m.until-r.m.now))
		r.attempt(t, careful)
	}
	r.ends(t, older, rapid.SampledFrom([]verdict{canceled, failure(reasonReset).broken(), whole, {outcomeMisconfigured, reasonQuota, rests, true}}).Draw(t, "end"), 0)
}

func (r *healthRun) cancel(t *rapid.T) { r.ends(t, r.take(t), canceled, 0) }

// busy asks for a rest by a date, which is read by the wall clock of the moment.
func (r *healthRun) busy(t *rapid.T) {
	seconds := rapid.IntRange(0, 400).Draw(t, "seconds")
	date := r.wall.Add(time.Duration(seconds) * time.Second).Format(http.TimeFormat)
	rest, given := retryAfter(http.Header{"Retry-After": {date}}, r.wall)
	if want := min(5*time.Minute, time.Duration(seconds)*time.Second); rest != want || !given {
		t.Fatalf("Retry-After %s at %v: got %v, want %v", date, r.wall, rest, want)
	}
	r.ends(t, r.take(t), verdict{outcomeBusy, reasonRateLimit, rests, true}, rest)
}

func (r *healthRun) quota(t *rapid.T) {
	r.ends(t, r.take(t), verdict{outcomeMisconfigured, reasonQuota, rests, true}, defaultRest)
}

func (r *healthRun) leave(t *rapid.T) {
	why := rapid.SampledFrom([]reason{reasonLoading, reasonModel, reasonKey}).Draw(t, "why")
	r.ends(t, r.take(t), verdict{outcomeMisconfigured, why, leaves, true}, 0)
}

// swap puts other settings in force.
func (r *healthRun) swap(t *rapid.T) {
	r.m.threshold = rapid.IntRange(1, 12).Draw(t, "threshold")
	if !r.steady {
		r.m.window = time.Duration(rapid.IntRange(1, 600).Draw(t, "window")) * time.Second
	}
	r.reload(t)
}

// reload hands the same settings over anew.
func (r *healthRun) reload(*rapid.T) {
	r.rules = &rules{threshold: r.m.threshold, window: r.m.window, last: func() bool { return !r.m.others }, lock: new(sync.Mutex)}
}

func (r *healthRun) key(*rapid.T) {
	r.h.keyChanged(r.m.now)
	r.m.keyChanged()
}

func (r *healthRun) others(t *rapid.T) { r.m.others = rapid.IntRange(0, 3).Draw(t, "others") > 0 }

// takeOut ejects by hand, whatever the phase.
func (r *healthRun) takeOut(t *rapid.T) {
	wait := time.Duration(rapid.SampledFrom([]int{0, 0, 1, 60, 600}).Draw(t, "seconds")) * time.Second
	from := r.m.phase
	got := r.h.takeOut(r.m.now, wait)
	r.m.takeOut(wait)
	if want := (change{from, ejected, reasonManual, wait}); got != want {
		t.Fatalf("eject by hand: got %+v, want %+v", got, want)
	}
	if wait == 0 {
		r.seen["ejected by hand for good"]++
	} else {
		r.seen["ejected by hand for a time"]++
	}
}

func (r *healthRun) restore(t *rapid.T) {
	from, why := r.m.phase, r.m.why
	got, changed := r.h.restore(r.m.now)
	want := r.m.restore()
	if changed != want || changed && got != (change{from: from, to: ramping, why: why}) {
		t.Fatalf("restore: got %v %+v, want %v from %v for %q", changed, got, want, from, why)
	}
	if want {
		r.seen["restored"]++
	}
}
