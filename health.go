package aigateway

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/balance"
)

// clock is the time since the process began, by the monotonic clock: a jump of
// the wall clock neither stretches nor ends an ejection. All times of health are
// such readings.
func clock() time.Duration { return time.Since(began) }

var began = time.Now()

// phase is where an instance stands between serving and being left out.
type phase uint32

const (
	serving  phase = iota
	ejected        // left out until a trial is due
	halfOpen       // one trial is under way, and nothing else
	ramping        // back, with a share of the requests that grows: slow start
)

func (p phase) String() string {
	return [...]string{"serving", "ejected", "half_open", "ramping"}[p]
}

// The numbers of faults.md, section 3.
const (
	connectThreshold = 3                // consecutive failures to connect that eject: they leave no doubt
	rateWindow       = 30 * time.Second // of the rate rule
	rateResults      = 20               // results that it needs
	firstEjection    = 5 * time.Second  // doubled with every further one in a row
	longestEjection  = 5 * time.Minute
	slowStart        = 30 * time.Second
	maxRun           = 1000 // failures that are kept, unless the threshold is higher
	longestRest      = 5 * time.Minute
	defaultRest      = 5 * time.Second // after a 429 without Retry-After
	quotaRest        = 10 * time.Minute
	loadingTrial     = 2 * time.Second  // between looks at an instance that loads its model
	modelTrial       = 30 * time.Second // at one that does not have the model
	keyTrial         = 60 * time.Second // at one that refuses the key
)

// health decides whether an instance gets requests. [health.admits] is asked for
// every request and takes no lock; results come in through [health.settle], which
// alone changes the phase, but for what people decide. Its methods may be called at once from many requests.
//
// An instance is ejected by errorThreshold failures in a row within errorWindow
// (three, when no connection can be opened), or when of at least 20 results in 30 s
// half are failures. After the ejection one request, the trial, decides: if its
// answer begins, the instance is back in slow start; if it fails, it is out for
// twice as long. Nobody's faults repeat the trial.
//
// One that is ejected by hand gets no request in any case before its trial, which may
// never be due; [health.restore] brings back what is out for any reason.
type health struct {
	phase atomic.Uint32 // a phase
	until atomic.Int64  // ejected: when a trial is due; ramping: when slow start ends
	rest  atomic.Int64  // no requests before, whatever the phase; 0 for none
	// spared: it has failed too often, but no other instance of its pool was left.
	spared atomic.Bool
	manual atomic.Bool // ejected by hand, until the trial

	mu         sync.Mutex
	why        reason          // of the ejection, guarded by mu as all below
	since      time.Duration   // when the phase began
	inARow     int             // ejections without a whole slow start between them
	run        []time.Duration // times of the failures since the last success, within the window
	unreached  int             // failures to connect at the end of run
	window     tally           // of errorWindow, for people
	rate       tally
	restReason reason
	changes    *atomic.Uint64 // counts changes of phase in the store; nil in tests
	usher      *usher         // of the store; nil in tests
	load       *balance.Load  // of the instance; nil in tests
}

// rules are the file's settings for health.
type rules struct {
	threshold int
	window    time.Duration
	// last reports whether no other instance of the pool could take the requests;
	// then it stays. It is asked under the lock of the store's ejections.
	last func() bool
	lock sync.Locker
}

// result is how one attempt ended.
type result struct {
	verdict
	begun, ended time.Duration
	trial        bool
	rest         time.Duration // that the instance asked for, with blame rests
}

// change is what a result has done to an instance's phase.
type change struct {
	from, to phase
	why      reason
	wait     time.Duration // until the trial, if ejected
}

// leeway says how much of an instance's state a choice may look past.
type leeway uint8

const (
	careful leeway = iota
	hurried        // past slow start
	pressed        // past ejections for slowness as well
	anyway         // past everything but a rest that the instance asked for
)

// admits reports whether the instance may get a request now. One that is due for
// its trial may: [health.try] decides who makes it.
func (h *health) admits(now time.Duration, l leeway) bool {
	if rest := h.rest.Load(); rest != 0 && int64(now) < rest {
		return false
	}
	switch phase(h.phase.Load()) {
	case serving:
		return true
	case ramping:
		return l >= hurried || h.share(now) > rand.Float64()
	case ejected:
		if int64(now) >= h.until.Load() {
			return true
		}
		return !h.manual.Load() && (l == anyway || l == pressed && h.slow())
	default:
		return l == anyway || l == pressed && h.slow()
	}
}

// slow reports whether the instance is out for being slow. Where answers come late
// because of the load, every ejection makes the others later still; an instance that
// fails outright would only fail again.
func (h *health) slow() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.why == reasonFirstToken || h.why == reasonStall || h.why == reasonTransport
}

// usable reports whether the instance takes part as usual, rests aside.
func (h *health) usable() bool {
	p := phase(h.phase.Load())
	return p == serving || p == ramping
}

// share is the part of its requests that slow start allows, from 0.1 to 1.
func (h *health) share(now time.Duration) float64 {
	left := time.Duration(h.until.Load()) - now
	return max(0.1, 1-float64(left)/float64(slowStart))
}

// try begins an attempt. It reports whether the attempt is the instance's trial,
// and whether it may be made at all: of many that saw the trial due one makes it.
func (h *health) try(now time.Duration, l leeway) (trial, ok bool) {
	if h.usable() {
		return false, true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if phase(h.phase.Load()) == ejected && int64(now) >= h.until.Load() {
		h.move(halfOpen, now)
		return true, true
	}
	return false, l >= pressed && !h.manual.Load() || h.usable()
}

// begins tells that the answer of an attempt has begun: a trial that comes so far
// has passed, and so has any request that was sent to an ejected instance for want
// of a better one. A request from before the ejection proves nothing.
func (h *health) begins(begun, now time.Duration) (c change, changed bool) {
	if h.usable() {
		return change{}, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.usable() || begun < h.since || h.manual.Load() {
		return change{}, false
	}
	return h.back(now), true
}

// back begins slow start. The caller holds mu.
func (h *health) back(now time.Duration) change {
	c := change{from: phase(h.phase.Load()), to: ramping, why: h.why}
	h.run, h.unreached, h.rate = h.run[:0], 0, tally{}
	h.until.Store(int64(now + slowStart))
	h.move(ramping, now)
	return c
}

// settle counts the end of an attempt. It must be told of each once.
func (h *health) settle(r result, rules *rules) (c change, changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	from := h.grown(r.ended)
	// An older trial that still runs has brought the instance back before.
	trial := r.trial && from == halfOpen && r.begun >= h.since
	switch r.blame {
	case praise:
		h.window.count(r.ended, rules.window, false)
		h.rate.count(r.ended, rateWindow, false)
		h.run, h.unreached = h.run[:0], 0
		h.spare(false)
	case blameInstance:
		h.window.count(r.ended, rules.window, true)
		if trial || h.usable() && r.begun >= h.since && h.trips(r, rules) {
			return h.eject(from, r, trial, rules)
		}
	case rests:
		wait := min(r.rest, longestRest)
		if r.reason == reasonQuota {
			wait = quotaRest
		}
		if end := int64(r.ended + wait); end >= h.rest.Load() {
			h.restReason = r.reason
			h.rest.Store(end)
			h.usher.ring()
		}
		if trial {
			h.out(r.reason, r.ended, wait)
		}
	case leaves:
		if trial || from != halfOpen && r.begun >= h.since && !h.manual.Load() {
			wait := map[reason]time.Duration{reasonLoading: loadingTrial, reasonModel: modelTrial, reasonKey: keyTrial}[r.reason]
			known := from != serving && from != ramping && h.why == r.reason
			h.out(r.reason, r.ended, wait)
			return change{from, ejected, r.reason, wait}, !known
		}
	default:
		if trial {
			h.out(h.why, r.ended, 0)
		}
	}
	return change{}, false
}

// grown returns the phase, after it has ended a slow start that is over. The caller
// holds mu.
func (h *health) grown(now time.Duration) phase {
	p := phase(h.phase.Load())
	if p == ramping && int64(now) >= h.until.Load() {
		h.inARow = 0
		h.move(serving, h.since) // requests from before the ejection still prove nothing
		p = serving
	}
	return p
}

// trips counts a failure and reports whether it is one too many.
func (h *health) trips(r result, rules *rules) bool {
	h.rate.count(r.ended, rateWindow, true)
	for len(h.run) > 0 && r.ended-h.run[0] >= rules.window {
		h.run = h.run[1:]
	}
	if len(h.run) >= max(rules.threshold, maxRun) { // the last instance of a pool fails on and on
		h.run = h.run[1:]
	}
	h.run = append(h.run, r.ended)
	if r.reason == reasonConnect || r.reason == reasonResolve {
		h.unreached++
	} else {
		h.unreached = 0
	}
	results, failures := h.rate.sum(r.ended, rateWindow)
	return len(h.run) >= rules.threshold || min(h.unreached, len(h.run)) >= min(connectThreshold, rules.threshold) ||
		results >= rateResults && 2*failures >= results
}

// eject takes the instance out, unless nobody else of its pool is left.
func (h *health) eject(from phase, r result, trial bool, rules *rules) (c change, changed bool) {
	if !trial {
		rules.lock.Lock()
		defer rules.lock.Unlock()
		if rules.last() {
			h.spare(true)
			return change{}, false
		}
	}
	h.inARow++
	wait := longestEjection
	if doublings := h.inARow - 1; doublings < 10 {
		wait = min(wait, firstEjection<<doublings)
	}
	wait = wait/2 + rand.N(wait/2) // instances that failed together come back apart
	h.out(r.reason, r.ended, wait)
	return change{from, ejected, r.reason, wait}, from != halfOpen
}

// out leaves the instance out until a trial after wait.
func (h *health) out(why reason, now, wait time.Duration) {
	h.why = why
	h.run, h.unreached = h.run[:0], 0
	h.until.Store(int64(now + wait))
	h.move(ejected, now)
}

// move changes the phase. The caller holds mu and has set until.
func (h *health) move(to phase, now time.Duration) {
	h.since = now
	h.phase.Store(uint32(to))
	h.spared.Store(false)
	h.manual.Store(false)
	if to == ejected && h.load != nil {
		h.load.Forget() // as like as not it begins anew
	}
	h.count()
}

// spare says whether the instance stays only for want of another one. The caller
// holds mu.
func (h *health) spare(spared bool) {
	if h.spared.Load() != spared {
		h.spared.Store(spared)
		h.count()
	}
}

// count counts a change for those who look at all instances.
func (h *health) count() {
	if h.changes != nil {
		h.changes.Add(1)
	}
	h.usher.ring()
}

// keyChanged makes an instance that refused its key due for a trial at once.
func (h *health) keyChanged(now time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if (h.why == reasonKey || h.why == reasonQuota) && phase(h.phase.Load()) == ejected {
		h.until.Store(int64(now))
		h.since = now // what the old key leads to proves nothing
	}
	if h.restReason == reasonQuota {
		h.rest.Store(0)
	}
}
