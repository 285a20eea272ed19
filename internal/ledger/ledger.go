// Package ledger counts what keys use, by day and model, and remembers it.
//
//	l := ledger.Open(ledger.Options{Store: ledger.NewFolder(dir)})
//	a := l.Account("team-a")
//	got, lacking, ok := a.Reserve(time.Now(), ledger.Amount{Tokens: 20}, ledger.Amount{Tokens: 500}, &budget)
//	a.Settle(time.Now(), "qwen3", got, ledger.Usage{Requests: 1, Prompt: 20, Completion: 300})
//	err := l.Close()
//
// Counting happens in memory and waits for nobody. One goroutine takes what is new to a
// [Store], four times a second; what a store cannot take stays in memory and is taken there
// once it can. A [Folder] is the store on the local disk: what it has taken survives the
// loss of power, so that a kill costs what is younger than a second.
package ledger

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Store remembers sums. Its methods are called by one goroutine, and may wait.
type Store interface {
	// Load returns everything, in any order and in any number of parts.
	Load() ([]Entry, error)
	// Add adds entries to what is remembered: all of them, so that they survive, or
	// with an error none. With [ErrForgotten] it is to be given everything.
	Add(entries []Entry) error
	// Close ends the use of the store.
	Close() error
}

// ErrForgotten is returned by a store that has lost what it remembered, and begins anew.
var ErrForgotten = errors.New("what had been stored is lost")

// Options are what a ledger needs to know. Only Store is required.
type Options struct {
	Store Store
	// Now is the time, [time.Now] unless set.
	Now func() time.Time
	// Failed is called when the store begins to fail, with the reason, and with nil when
	// it works again. It is called by one goroutine.
	Failed func(error)
}

const (
	flushTime = 250 * time.Millisecond
	retryTime = time.Second
)

// Ledger holds accounts. It is safe for concurrent use.
type Ledger struct {
	options Options
	zone    atomic.Pointer[time.Location]
	fresh   atomic.Pointer[Account] // a list of those that have something for the store

	mu       sync.Mutex
	accounts map[string]*Account // guarded by mu, as the next
	known    map[string][]Entry  // by the store, of accounts that are not there yet

	// These belong to the goroutine.
	loaded  bool
	waiting sums      // for the store
	failing string    // why the store fails
	tried   time.Time // when it failed last

	errors atomic.Int64
	broken atomic.Bool
	stop   chan struct{}
	done   chan struct{}
}

// Open returns a ledger in the machine's own time zone. If the store cannot be read it
// begins at zero, and adds what the store knows when it can be.
func Open(o Options) *Ledger {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
	l := &Ledger{
		options: o, accounts: make(map[string]*Account), waiting: make(sums), stop: make(chan struct{}), done: make(chan struct{}),
	}
	l.zone.Store(time.Local)
	l.work()
	go l.run()
	return l
}

// SetZone says where days begin.
func (l *Ledger) SetZone(zone *time.Location) { l.zone.Store(zone) }

func (l *Ledger) day(now time.Time) Day { return DayOf(now.In(l.zone.Load())) }

// renewed returns how long it takes until a part of a budget begins anew.
func (l *Ledger) renewed(now time.Time, part string) time.Duration {
	year, month, day := now.In(l.zone.Load()).Date()
	if part == MonthlyTokens || part == MonthlyCost {
		month, day = month+1, 0
	}
	return time.Date(year, month, day+1, 0, 0, 0, 0, l.zone.Load()).Sub(now)
}

// Account returns the account of that name. There is one.
func (l *Ledger) Account(name string) *Account {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[name]
	if a == nil {
		a = &Account{ledger: l, name: name}
		a.roll(l.day(l.options.Now()))
		a.merge(l.known[name])
		delete(l.known, name)
		l.accounts[name] = a
	}
	return a
}

// Each calls f with every account that there is.
func (l *Ledger) Each(f func(name string, a *Account)) {
	l.mu.Lock()
	accounts := make([]*Account, 0, len(l.accounts))
	for _, a := range l.accounts {
		accounts = append(accounts, a)
	}
	l.mu.Unlock()
	for _, a := range accounts {
		f(a.name, a)
	}
}

// queue puts an account into the list of those with something new. The caller holds the
// account's lock.
func (l *Ledger) queue(a *Account) {
	for {
		a.next = l.fresh.Load()
		if l.fresh.CompareAndSwap(a.next, a) {
			return
		}
	}
}

// Errors returns how often the store has failed.
func (l *Ledger) Errors() int64 { return l.errors.Load() }

// Broken reports whether the store fails.
func (l *Ledger) Broken() bool { return l.broken.Load() }

func (l *Ledger) run() {
	defer close(l.done)
	tick := time.NewTicker(flushTime)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.work()
		case <-l.stop:
			l.tried = time.Time{}
			l.work()
			return
		}
	}
}

// work takes to the store what is new.
func (l *Ledger) work() {
	for a := l.fresh.Swap(nil); a != nil; {
		next := a.next // before take, from which on it may be queued again
		for at, u := range a.take() {
			l.waiting.add(Entry{a.name, at.model, at.day, u})
		}
		a = next
	}
	if l.failing != "" && time.Since(l.tried) < retryTime {
		return
	}
	if err := l.store(); err != nil {
		l.errors.Add(1)
		l.tried = time.Now()
		l.broken.Store(true)
		if text := err.Error(); text != l.failing {
			l.failing = text
			l.options.Failed(err)
		}
		return
	}
	if l.failing != "" {
		l.failing = ""
		l.broken.Store(false)
		l.options.Failed(nil)
	}
}

// store reads the store, if that has not been done, and adds what waits.
func (l *Ledger) store() error {
	if !l.loaded {
		entries, err := l.options.Store.Load()
		if err != nil {
			return fmt.Errorf("reading what has been used: %w", err)
		}
		l.learn(entries)
		l.loaded = true
	}
	if len(l.waiting) == 0 {
		return nil
	}
	err := l.options.Store.Add(l.waiting.entries())
	if errors.Is(err, ErrForgotten) {
		l.remember()
		err = l.options.Store.Add(l.waiting.entries())
	}
	if err != nil {
		return fmt.Errorf("writing what has been used: %w", err)
	}
	clear(l.waiting)
	return nil
}

// remember makes all that is known wait for the store.
func (l *Ledger) remember() {
	clear(l.waiting)
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, a := range l.accounts {
		a.mu.Lock()
		for at, u := range a.cells {
			l.waiting.add(Entry{name, at.model, at.day, u})
		}
		a.fresh = nil // it stands among the cells
		a.mu.Unlock()
	}
	for _, entries := range l.known {
		for _, e := range entries {
			l.waiting.add(e)
		}
	}
}

// learn hands what the store knows to the accounts.
func (l *Ledger) learn(entries []Entry) {
	today := l.day(l.options.Now())
	all := make(sums)
	for _, e := range entries {
		var ok bool
		if e.Day, ok = e.Day.kept(today); ok {
			all.add(e)
		}
	}
	known := make(map[string][]Entry)
	for _, e := range all.entries() {
		known[e.Account] = append(known[e.Account], e)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, entries := range known {
		if a := l.accounts[name]; a != nil {
			a.merge(entries)
			delete(known, name)
		}
	}
	l.known = known
}

// Known reports whether there is anything of the account that is not zero.
func (l *Ledger) Known(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.accounts[name] != nil || l.known[name] != nil
}

// Names returns the names of all accounts, those included of which only the store knows.
func (l *Ledger) Names() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	names := make([]string, 0, len(l.accounts)+len(l.known))
	for name := range l.accounts {
		names = append(names, name)
	}
	for name := range l.known {
		names = append(names, name)
	}
	return names
}

// Close takes the rest to the store and ends the ledger. An error tells that some of it
// is lost.
func (l *Ledger) Close() error {
	close(l.stop)
	<-l.done
	err := l.options.Store.Close()
	if l.failing != "" {
		return fmt.Errorf("%s; what %d counters have counted is lost", l.failing, len(l.waiting))
	}
	return err
}
