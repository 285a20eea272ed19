package aigateway

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// deadlines bound the phases of an attempt on one instance; 0 is none.
type deadlines struct {
	connect, tls    time.Duration
	firstToken      time.Duration // of a stream, until the model begins
	firstTokenPerMB time.Duration // more, for each MB of the request
	learn           bool          // what the instance needs makes firstToken longer
	stall           time.Duration // between two pieces of an answer
	total           time.Duration // of the request, all attempts together
}

// defaultDeadlines are those of faults.md, section 3.
var defaultDeadlines = deadlines{
	connect: 3 * time.Second, tls: 5 * time.Second, firstToken: 300 * time.Second, firstTokenPerMB: 60 * time.Second,
	learn: true, stall: 120 * time.Second, total: 30 * time.Minute,
}

// with returns d with what c sets in its place.
func (d deadlines) with(c *TimeoutsConfig) deadlines {
	for _, set := range []struct {
		from *Seconds
		to   *time.Duration
	}{
		{c.Connect, &d.connect},
		{c.TLS, &d.tls},
		{c.FirstToken, &d.firstToken},
		{c.FirstTokenPerMB, &d.firstTokenPerMB},
		{c.Stall, &d.stall},
		{c.Total, &d.total},
	} {
		if set.from != nil {
			*set.to = time.Duration(*set.from)
		}
	}
	if c.Learn != nil {
		d.learn = *c.Learn
	}
	return d
}

// doneGrace is how long an instance has to end a stream after its end mark. Some
// hold the connection open.
const doneGrace = 500 * time.Millisecond

// errDone is the cause of an attempt's end when its answer is whole but the
// instance does not end it.
var errDone = &deadlineError{"done"}

// errLate is the cause of an attempt's end when the time of its request was over
// long before anybody noticed. The instance is not to blame.
var errLate = &deadlineError{reasonTotal}

// lastLook is how long before a deadline the watch looks for the first time. If the
// process sleeps then, or has no processor, the deadline moves by twice what is lost.
// In any case so much time is left, after a sleep before it, to read what came meanwhile.
func lastLook(limit time.Duration) time.Duration { return min(time.Second, limit/4) }

// late reports whether a timer fired so long after it was due that the process
// slept, or had no processor: then it says nothing about an instance, whose bytes
// may have come meanwhile.
func late(by, limit time.Duration) bool { return by > lastLook(limit)/4 }

// ender is what ends an attempt's connection, for a cause.
type ender interface{ end(cause error) }

// endFunc is the ender of a context of the standard library.
type endFunc context.CancelCauseFunc

func (f endFunc) end(cause error) { f(cause) }

// watchdog ends an attempt whose deadline has passed, by canceling its context
// with a [deadlineError]. A single timer serves all deadlines: it is not moved when
// bytes come, but looks, when it fires, whether any have.
type watchdog struct {
	ends   ender
	total  time.Duration // reading of the clock; 0 for none
	spares *elsewhere    // without a usable one the first token has time; nil if that does not matter

	// waiting is when the read under way began, 0 between reads. A client that
	// takes its time is no silence of the instance.
	waiting atomic.Int64

	mu    sync.Mutex
	timer *time.Timer   // guarded by mu, as all below
	next  time.Duration // when it fires, or has fired
	why   reason        // of the phase's deadline
	limit time.Duration // of the phase; 0 for none
	due   time.Duration // reading of the clock; for reasonStall it moves with waiting
	// looked is whether the last look before due has been taken.
	looked bool
	// saved are why, limit and due of the phase that a handshake interrupts.
	saved     func()
	connected bool
	stopped   bool
}

// begin starts the watch with a deadline for the phase at hand; limit 0 is none.
func (w *watchdog) begin(now time.Duration, why reason, limit time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return
	}
	w.why, w.limit, w.due, w.looked = why, limit, now+limit, false
	w.arm(now)
}

// handshake puts the deadline of a TLS handshake before that of the phase at hand,
// unless the attempt has a connection already: the transport goes on dialling
// when another one becomes free.
func (w *watchdog) handshake(now, limit time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped || w.connected || w.saved != nil {
		return
	}
	why, before, due := w.why, w.limit, w.due
	w.saved = func() { w.why, w.limit, w.due, w.looked = why, before, due, false }
	w.why, w.limit, w.due, w.looked = reasonTLSTimeout, limit, now+limit, false
	w.arm(now)
}

// connects ends the watch over a handshake.
func (w *watchdog) connects(now time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.connected = true
	if w.stopped || w.saved == nil {
		return
	}
	w.saved()
	w.saved = nil
	w.arm(now)
}

// arm sets the timer for the next deadline. One that fires earlier is left alone,
// as moving it costs more than looking once too often.
func (w *watchdog) arm(now time.Duration) {
	next := w.total
	if w.limit > 0 && (next == 0 || w.look() < next) {
		next = w.look()
	}
	if next == 0 || w.next > now && w.next <= next {
		return
	}
	w.next = next
	if w.timer == nil {
		w.timer = time.AfterFunc(max(1, next-now), w.fire)
	} else {
		w.timer.Reset(max(1, next-now))
	}
}

// look is when to look at the phase next.
func (w *watchdog) look() time.Duration {
	if w.looked || w.why == errDone.why {
		return w.due
	}
	return w.due - lastLook(w.limit)
}

// fire ends the attempt, or finds that it is not time yet.
func (w *watchdog) fire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return
	}
	now := clock()
	by := now - w.next
	w.next = 0
	if w.total > 0 && now >= w.total {
		if late(now-w.total, time.Second) {
			w.ends.end(errLate)
		} else {
			w.ends.end(&deadlineError{reasonTotal})
		}
		return
	}
	if w.limit == 0 || w.why == reasonNone {
		w.limit = 0
		w.arm(now)
		return
	}
	if w.why == reasonStall {
		w.hears(now)
	}
	switch {
	case now < w.look():
	case w.why == errDone.why:
		w.ends.end(errDone)
		return
	case !w.looked || late(by, w.limit):
		w.looked = true
		w.due = max(w.due, now+max(lastLook(w.limit), min(2*by, w.limit)))
	case w.why == reasonFirstToken && w.spares != nil && !w.spares.usable(now):
		w.due = now + lastLook(w.limit)
	default:
		w.ends.end(&deadlineError{w.why})
		return
	}
	w.arm(now)
}

// hears moves the deadline of silence behind the last piece that came.
func (w *watchdog) hears(now time.Duration) {
	since := now
	if waiting := w.waiting.Load(); waiting != 0 {
		since = time.Duration(waiting)
	}
	if due := since + w.limit; due > w.due {
		w.due, w.looked = due, false
	}
}

// stop ends the watch.
func (w *watchdog) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	if w.timer != nil {
		w.timer.Stop()
	}
}
