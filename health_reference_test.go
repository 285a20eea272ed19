package aigateway

import (
	"slices"
	"time"
)

// reference says how an instance's health develops, as written in the doc comment
// of [health] and with the same numbers, but plainly: it keeps every result and
// lets the end of slow start come by itself. It knows jitter only as bounds, so
// that the end of an ejection is told to it.
type reference struct {
	now       time.Duration
	threshold int
	window    time.Duration
	others    bool // another instance could take the requests

	phase       phase
	why         reason
	since       time.Duration // the phase's beginning; a slow start's for what serves after it
	until       time.Duration // the trial is due, or slow start ends
	ejections   int           // in a row
	byHand      bool          // out until the trial in any case
	restUntil   time.Duration
	restWhy     reason
	run         []seenResult // failures since the last success
	sinceReturn []seenResult
	all         []seenResult
}

type seenResult struct {
	at     time.Duration
	failed bool
	why    reason
}

// seenAttempt is an attempt under way.
type seenAttempt struct {
	begun    time.Duration
	trial    bool
	answered bool
}

func (m *reference) advance(d time.Duration) {
	m.now += d
	if m.phase == ramping && m.now >= m.until {
		m.phase, m.ejections = serving, 0
	}
}

func (m *reference) inService() bool { return m.phase == serving || m.phase == ramping }
func (m *reference) due() bool       { return m.phase == ejected && m.now >= m.until }
func (m *reference) rests() bool     { return m.now < m.restUntil }

// forSlowness reports whether the instance is out, and for what may be better at
// the next request: not without a connection.
func (m *reference) forSlowness() bool {
	return !m.inService() && slices.Contains([]reason{reasonFirstToken, reasonStall, reasonTransport}, m.why)
}

// admits leaves the dice of slow start out: it is right for careful only outside
// of it.
func (m *reference) admits(l leeway) bool {
	if m.rests() {
		return false
	}
	return m.inService() || m.due() || !m.byHand && (l == pressed && m.forSlowness() || l == anyway)
}

// try is right for an attempt that was admitted with l, a moment ago at most.
func (m *reference) try(l leeway) (trial, ok bool) {
	if m.due() {
		m.enter(halfOpen, m.until)
		return true, true
	}
	return false, m.inService() || !m.byHand && (l == pressed || l == anyway)
}

func (m *reference) enter(p phase, until time.Duration) {
	m.phase, m.since, m.until, m.byHand = p, m.now, until, false
}

// takeOut ejects the instance by hand, for good if wait is 0.
func (m *reference) takeOut(wait time.Duration) {
	m.leave(reasonManual)
	m.byHand, m.until = true, m.now+wait
	if wait == 0 {
		m.until = forever
	}
}

// restore reports whether the instance was out.
func (m *reference) restore() bool {
	if m.inService() {
		return false
	}
	m.comeBack()
	return true
}

func (m *reference) comeBack() {
	m.enter(ramping, m.now+30*time.Second)
	m.run, m.sinceReturn = nil, nil
}

// answers reports whether a's answer brings the instance back.
func (m *reference) answers(a *seenAttempt) bool {
	a.answered = true
	if m.inService() || m.byHand || a.begun < m.since {
		return false
	}
	m.comeBack()
	return true
}

// ends takes the end of a. It returns whether that is news, and, if the instance
// has to go, the reason and the whole of the time before jitter; sure says that
// there is none.
func (m *reference) ends(a *seenAttempt, v verdict, asked time.Duration) (news bool, why reason, whole time.Duration, sure bool) {
	trial := a.trial && m.phase == halfOpen && a.begun >= m.since
	fresh := a.begun >= m.since
	was := m.phase
	switch v.blame {
	case praise:
		m.sinceReturn = append(m.sinceReturn, seenResult{at: m.now})
		m.all = append(m.all, seenResult{at: m.now})
		m.run = nil
	case blameInstance:
		failed := seenResult{m.now, true, v.reason}
		m.all = append(m.all, failed)
		if !trial && !(fresh && m.inService() && m.tooMany(failed) && m.others) {
			return false, reasonNone, 0, false
		}
		m.ejections++
		whole = min(5*time.Second<<min(m.ejections-1, 6), 5*time.Minute)
		m.leave(v.reason)
		return was != halfOpen, v.reason, whole, false
	case rests:
		wait := min(asked, 5*time.Minute)
		if v.reason == reasonQuota {
			wait = 10 * time.Minute
		}
		if m.now+wait >= m.restUntil {
			m.restUntil, m.restWhy = m.now+wait, v.reason
		}
		if trial {
			m.leave(v.reason)
			return false, v.reason, wait, true
		}
	case leaves:
		if trial || fresh && !m.byHand && m.phase != halfOpen {
			known := !m.inService() && m.why == v.reason
			m.leave(v.reason)
			switch v.reason {
			case reasonLoading:
				whole = 2 * time.Second
			case reasonModel:
				whole = 30 * time.Second
			default:
				whole = 60 * time.Second
			}
			return !known, v.reason, whole, true
		}
	default:
		if trial {
			m.leave(m.why)
			return false, m.why, 0, true
		}
	}
	return false, reasonNone, 0, false
}

func (m *reference) leave(why reason) {
	m.enter(ejected, m.now)
	m.why, m.run = why, nil
}

// tooMany counts a failure and applies the three rules.
func (m *reference) tooMany(f seenResult) bool {
	m.sinceReturn = append(m.sinceReturn, f)
	m.run = slices.DeleteFunc(append(m.run, f), func(r seenResult) bool { return m.now-r.at >= m.window })
	unreached := 0
	for _, r := range slices.Backward(m.run) {
		if r.why != reasonConnect && r.why != reasonResolve {
			break
		}
		unreached++
	}
	results, failures := m.count(m.sinceReturn, 30*time.Second)
	return len(m.run) >= m.threshold || unreached >= 3 || results >= 20 && failures*2 >= results
}

// count counts what lies in a window that moves along in tenths.
func (m *reference) count(seen []seenResult, window time.Duration) (results, failures int) {
	tenth := window / 10
	for _, r := range slices.Backward(seen) {
		if r.at/tenth <= m.now/tenth-10 {
			break
		}
		results++
		if r.failed {
			failures++
		}
	}
	return results, failures
}

func (m *reference) keyChanged() {
	if m.phase == ejected && (m.why == reasonKey || m.why == reasonQuota) {
		m.enter(ejected, m.now)
	}
	if m.restWhy == reasonQuota {
		m.restUntil = 0
	}
}

// view is what people see.
func (m *reference) view() healthView {
	v := healthView{phase: m.phase, manual: m.byHand, wait: max(0, m.restUntil-m.now)}
	if m.phase != serving && m.until != forever {
		v.wait = max(v.wait, m.until-m.now)
	}
	if !m.inService() {
		v.why = m.why
	}
	v.results, v.failures = m.count(m.all, m.window)
	return v
}
