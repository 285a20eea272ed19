package alert

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

const (
	// urgentWait is the longest group wait of kinds that follow upon an act of a person.
	urgentWait = 3 * time.Second
	// confirmWithin is how long after a restart an alert from before it is believed:
	// Alertmanager's resolve_timeout.
	confirmWithin = 5 * time.Minute
	// maxAlerts bounds what is remembered. Subjects come from the configuration, so
	// only a fleet beyond all sizes gets here.
	maxAlerts = 20000
)

// rules are the times of the grouping.
type rules struct {
	wait, interval, repeat, cooldown time.Duration
}

// entry is an alert with what people know of it.
type entry struct {
	Alert
	Running bool      `json:"running"`          // an episode has begun and is not over for people
	Active  bool      `json:"active"`           // now
	Changed time.Time `json:"changed"`          // when Active last changed
	Expires time.Time `json:"expires,omitzero"` // when it ends unless signalled again
	Told    bool      `json:"told"`             // people know that it lasts
	Raised  bool      `json:"raised,omitempty"` // it has become worse since
	ToldAt  time.Time `json:"told_at,omitzero"` // the last message about it, its end included
	Logged  time.Time `json:"logged,omitzero"`  // the last line in the errors log

	unconfirmed bool // from before a restart, and not signalled since
}

// flush is the last message about a group, as long as something that it told lasts.
type flush struct {
	At time.Time `json:"at"`
}

// machine decides which alerts are told when. It has no clock: every method is told
// the time. It is not safe for concurrent use.
type machine struct {
	rules   rules
	entries map[subject]*entry
	flushes map[Kind]flush
	dropped int // signals beyond maxAlerts
}

func newMachine(r rules) *machine {
	return &machine{rules: r, entries: make(map[subject]*entry), flushes: make(map[Kind]flush)}
}

// signal takes s, whose texts are fit for people. It reports whether the errors log
// is to tell of it, and whether more than a count has changed.
func (m *machine) signal(now time.Time, s *Signal) (toLog, changed bool) {
	key := subject{s.Kind, s.Instance, s.Model}
	e := m.entries[key]
	if e != nil {
		m.pass(e, now)
	}
	if !s.Active {
		if e == nil || !e.Active {
			return false, false
		}
		e.end(now)
		return false, true
	}
	if e == nil {
		if len(m.entries) >= maxAlerts {
			m.dropped++
			return false, false
		}
		e = &entry{Alert: Alert{Kind: s.Kind, Instance: s.Instance, Model: s.Model}}
		m.entries[key] = e
	}
	severity := s.Severity
	if severity == 0 {
		severity = s.Kind.usual()
	}
	if !e.Running {
		e.Running, e.Since, e.Count, e.Severity = true, now, 0, severity
	}
	if !e.Active {
		e.Active, e.Changed, changed = true, now, true
	}
	if severity > e.Severity {
		e.Severity, e.Raised, changed = severity, e.Told, true
	}
	e.Cause, e.unconfirmed = s.Cause, false
	e.Count++
	e.Expires = time.Time{}
	if s.Lasts > 0 {
		e.Expires = now.Add(s.Lasts)
	}
	if !e.Logged.IsZero() && now.Sub(e.Logged) < m.rules.cooldown {
		return false, changed
	}
	e.Logged = now
	return true, true
}

func (e *entry) end(now time.Time) {
	e.Active, e.Changed, e.Expires = false, now, time.Time{}
}

// pass does what time alone changes in an entry.
func (m *machine) pass(e *entry, now time.Time) {
	if e.Active && !e.Expires.IsZero() && !now.Before(e.Expires) {
		e.end(e.Expires)
		e.unconfirmed = false
	}
	if e.Running && !e.Told && !e.Active && now.Sub(e.Changed) >= m.rules.wait {
		e.Running = false // it healed, and nobody needs to know
	}
}

// spent reports whether nothing about e matters any more.
func (m *machine) spent(e *entry, now time.Time) bool {
	return !e.Running && !e.Active && now.Sub(e.ToldAt) >= m.rules.cooldown && now.Sub(e.Logged) >= m.rules.cooldown
}

// retain ends the alerts whose subject is gone.
func (m *machine) retain(now time.Time, keep func(kind Kind, instance, model string) bool) {
	for key, e := range m.entries {
		if e.Active && !keep(key.Kind, key.Instance, key.Model) {
			e.end(now)
		}
	}
}

// due returns when e has news for people, or the zero time; its group may have to
// wait longer.
func (m *machine) due(e *entry) time.Time {
	switch {
	case !e.Running || e.unconfirmed:
		return time.Time{}
	case !e.Told && e.Active:
		at := e.Since.Add(e.Kind.wait(m.rules.wait))
		return later(at, m.cool(e))
	case e.Told && !e.Active:
		return e.Changed.Add(m.rules.wait)
	case e.Told && e.Raised:
		return e.Changed
	}
	return time.Time{}
}

// cool returns when the cooldown of e ends.
func (m *machine) cool(e *entry) time.Time {
	if e.ToldAt.IsZero() {
		return e.ToldAt
	}
	return e.ToldAt.Add(m.rules.cooldown)
}

// groupDue returns when the group that e is in has something to say because of e.
func (m *machine) groupDue(e *entry) time.Time {
	at := m.due(e)
	f, live := m.flushes[e.Kind]
	if !at.IsZero() && live {
		at = later(at, f.At.Add(m.rules.interval))
	}
	if live && e.Told && e.Active && m.rules.repeat > 0 {
		if again := f.At.Add(m.rules.repeat); at.IsZero() || again.Before(at) {
			at = again
		}
	}
	return at
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// next returns when take, or a look at the time, has something to do; the zero time
// if nothing is to come.
func (m *machine) next() (next time.Time) {
	earliest := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, e := range m.entries {
		earliest(m.groupDue(e))
		if e.Active {
			earliest(e.Expires)
		}
	}
	return next
}

// take returns the groups that are to be told now, the worst first, and takes them
// for told. It returns nil if there is none.
func (m *machine) take(now time.Time) []Group {
	ready := make(map[Kind]bool)
	for key, e := range m.entries {
		m.pass(e, now)
		if m.spent(e, now) {
			delete(m.entries, key)
		} else if at := m.groupDue(e); !at.IsZero() && !now.Before(at) {
			ready[e.Kind] = true
		}
	}
	if len(ready) == 0 {
		return nil
	}
	for _, e := range m.entries { // those who go along
		if _, live := m.flushes[e.Kind]; !live && !ready[e.Kind] && m.fresh(e, now) && now.Sub(e.Since) >= e.Kind.wait(m.rules.wait)/2 {
			ready[e.Kind] = true
		}
	}
	groups := make([]Group, 0, len(ready))
	for kind := range ready {
		groups = append(groups, m.tell(kind, now))
	}
	slices.SortFunc(groups, worstFirst)
	return groups
}

func worstFirst(a, b Group) int {
	return cmp.Or(cmp.Compare(b.severity(), a.severity()), cmp.Compare(a.Kind, b.Kind))
}

// fresh reports whether e may be told as new.
func (m *machine) fresh(e *entry, now time.Time) bool {
	return e.Running && e.Active && !e.Told && !e.unconfirmed && !now.Before(m.cool(e))
}

// tell returns the group of the kind and takes it for told.
func (m *machine) tell(kind Kind, now time.Time) Group {
	g := Group{Kind: kind}
	live := false
	for _, e := range m.entries {
		if e.Kind != kind || !e.Running || !e.Told && !m.fresh(e, now) {
			continue
		}
		a := e.Alert
		a.New = !e.Told || e.Raised
		if e.Told && !e.Active && now.Sub(e.Changed) >= m.rules.wait {
			a.Until, a.New = e.Changed, false
			e.Running, e.Told, e.ToldAt = false, false, now
		} else {
			live = true
			if a.New {
				e.ToldAt = now
			}
			e.Told = true
		}
		e.Raised = false
		g.Alerts = append(g.Alerts, a)
	}
	sortAlerts(g.Alerts)
	if live {
		m.flushes[kind] = flush{now}
	} else {
		delete(m.flushes, kind)
	}
	return g
}

// sortAlerts puts first what people must see: new ones, then those that are over,
// then the rest; within, the worst and the oldest.
func sortAlerts(alerts []Alert) {
	rank := func(a *Alert) int {
		switch {
		case a.Over():
			return 1
		case a.New:
			return 0
		default:
			return 2
		}
	}
	slices.SortFunc(alerts, func(a, b Alert) int {
		return cmp.Or(cmp.Compare(rank(&a), rank(&b)), cmp.Compare(b.Severity, a.Severity), a.Since.Compare(b.Since),
			cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.Model, b.Model))
	})
}

// firing returns all that people have been told of and that lasts, as if it were
// new, for a receiver that has not heard of it.
func (m *machine) firing() (groups []Group) {
	byKind := make(map[Kind][]Alert)
	for _, e := range m.entries {
		if e.Told {
			a := e.Alert
			a.New = true
			byKind[e.Kind] = append(byKind[e.Kind], a)
		}
	}
	for kind, alerts := range byKind {
		sortAlerts(alerts)
		groups = append(groups, Group{kind, alerts})
	}
	slices.SortFunc(groups, worstFirst)
	return groups
}

// save returns the entries for the state file.
func (m *machine) save() ([]entry, map[Kind]flush) {
	entries := make([]entry, 0, len(m.entries))
	for _, e := range m.entries {
		entries = append(entries, *e)
	}
	return entries, maps.Clone(m.flushes)
}

// restore puts what save returned before a restart into an empty machine. What was
// going on is believed for a while.
func (m *machine) restore(now time.Time, entries []entry, flushes map[Kind]flush) {
	for _, e := range entries {
		if len(m.entries) >= maxAlerts {
			break
		}
		for _, t := range []*time.Time{&e.Since, &e.Changed, &e.ToldAt, &e.Logged} {
			if t.After(now) {
				*t = now // the clock was set back meanwhile
			}
		}
		if e.Active {
			e.unconfirmed = true
			e.Expires = now.Add(confirmWithin)
		}
		m.entries[e.subject()] = &e
	}
	for kind, f := range flushes {
		if f.At.After(now) {
			f.At = now
		}
		m.flushes[kind] = f
	}
}
