package ledger

import (
	"maps"
	"sync"
	"time"
)

// Budget bounds what an account may use. 0 is no bound. Days and months are those of
// the ledger's zone.
type Budget struct {
	DailyTokens, MonthlyTokens int64
	DailyCost, MonthlyCost     int64 // in millionths, as in [Usage]
}

// Amount is a part of a budget.
type Amount struct{ Tokens, Cost int64 }

// Account counts what one key has used. It is safe for concurrent use.
type Account struct {
	ledger *Ledger
	name   string

	mu       sync.Mutex
	day      Day // that today and month are of; guarded by mu, as all below
	today    Usage
	month    Usage
	reserved Amount
	total    Usage // since the ledger was opened
	cells    map[cell]Usage
	fresh    map[cell]Usage // not yet with the store
	queued   bool           // in the ledger's list, by next
	next     *Account
}

// The names of the parts of a budget.
const (
	DailyTokens   = "daily_tokens"
	MonthlyTokens = "monthly_tokens"
	DailyCost     = "daily_cost"
	MonthlyCost   = "monthly_cost"
)

// State is how an account stands towards one part of its budget.
type State struct {
	Name     string
	Used     int64 // of tokens, or millionths
	Reserved int64 // by requests under way
	Limit    int64
	Renewed  time.Duration // until the next day or month
}

// Reserve takes of the budget what a request that begins is expected to use, or as much
// of it as there is, but not less than least. If there is less it returns what there is
// too little of.
func (a *Account) Reserve(now time.Time, least, want Amount, b *Budget) (got Amount, lacking State, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.roll(a.ledger.day(now))
	states, n := a.states(b)
	for _, s := range states[:n] {
		room, need, expected := s.Limit-s.Used-s.Reserved, least.Tokens, &want.Tokens
		if s.Name == DailyCost || s.Name == MonthlyCost {
			need, expected = least.Cost, &want.Cost
		}
		if room < max(need, 1) { // what costs nothing is refused too once nothing is left
			s.Renewed = a.ledger.renewed(now, s.Name)
			return Amount{}, s, false
		}
		*expected = min(*expected, room)
	}
	a.reserved.Tokens += want.Tokens
	a.reserved.Cost += want.Cost
	return want, State{}, true
}

// Settle gives back what was reserved, and counts what was used of a model.
func (a *Account) Settle(now time.Time, model string, reserved Amount, used Usage) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.roll(a.ledger.day(now))
	a.reserved.Tokens -= reserved.Tokens
	a.reserved.Cost -= reserved.Cost
	if used == (Usage{}) {
		return
	}
	a.today.add(used)
	a.month.add(used)
	a.total.add(used)
	at := cell{a.day, model}
	addTo(&a.cells, at, used)
	addTo(&a.fresh, at, used)
	if !a.queued {
		a.queued = true
		a.ledger.queue(a)
	}
}

func addTo(cells *map[cell]Usage, at cell, used Usage) {
	if *cells == nil {
		*cells = make(map[cell]Usage)
	}
	sum := (*cells)[at]
	sum.add(used)
	(*cells)[at] = sum
}

// take returns what is not yet with the store. It is with it from now on.
func (a *Account) take() map[cell]Usage {
	a.mu.Lock()
	defer a.mu.Unlock()
	fresh := a.fresh
	a.fresh, a.queued, a.next = nil, false, nil
	return fresh
}

// roll makes the sums those of a day. The caller holds mu.
func (a *Account) roll(day Day) {
	if a.day == day {
		return
	}
	kept := make(map[cell]Usage, len(a.cells))
	for at, u := range a.cells {
		if d, ok := at.day.kept(day); ok {
			addTo(&kept, cell{d, at.model}, u)
		}
	}
	a.day, a.today, a.month, a.cells = day, Usage{}, Usage{}, kept
	for at, u := range a.cells {
		if at.day == day {
			a.today.add(u)
		}
		if at.day.Month() == day.Month() {
			a.month.add(u)
		}
	}
}

// merge adds what the store knows.
func (a *Account) merge(entries []Entry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range entries {
		addTo(&a.cells, cell{e.Day, e.Model}, e.Usage)
	}
	day := a.day
	a.day = 0
	a.roll(day)
}

// states returns how the account stands. The caller holds mu.
func (a *Account) states(b *Budget) (all [4]State, n int) {
	add := func(name string, used, reserved, limit int64) {
		if limit > 0 {
			all[n] = State{Name: name, Used: used, Reserved: reserved, Limit: limit}
			n++
		}
	}
	add(DailyTokens, a.today.Tokens(), a.reserved.Tokens, b.DailyTokens)
	add(MonthlyTokens, a.month.Tokens(), a.reserved.Tokens, b.MonthlyTokens)
	add(DailyCost, a.today.Cost, a.reserved.Cost, b.DailyCost)
	add(MonthlyCost, a.month.Cost, a.reserved.Cost, b.MonthlyCost)
	return all, n
}

// States returns how the account stands towards each part of its budget.
func (a *Account) States(now time.Time, b *Budget) []State {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.roll(a.ledger.day(now))
	all, n := a.states(b)
	for i := range all[:n] {
		all[i].Renewed = a.ledger.renewed(now, all[i].Name)
	}
	return all[:n]
}

// Sums returns what has been used of each model today and this month.
func (a *Account) Sums(now time.Time) (today, month map[string]Usage) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.roll(a.ledger.day(now))
	today, month = make(map[string]Usage), make(map[string]Usage)
	for at, u := range a.cells {
		if at.day.Month() != a.day.Month() {
			continue
		}
		sum := month[at.model]
		sum.add(u)
		month[at.model] = sum
		if at.day == a.day {
			today[at.model] = u
		}
	}
	return today, month
}

// Total returns what has been used since the ledger was opened.
func (a *Account) Total() Usage {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.total
}

// all returns the entries of the account, for tests and reports.
func (a *Account) all() map[cell]Usage {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.cells)
}
