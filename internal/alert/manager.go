package alert

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// settleTime is how long signals are gathered before the machine is looked at.
	settleTime = 50 * time.Millisecond
	// closeWithin bounds Close, with a context that lasts longer.
	closeWithin = 5 * time.Second
	firstRetry  = time.Second
)

// Options are fixed for the life of a [Manager].
type Options struct {
	// Dir is the data_dir, an absolute path. It is made, with mode 0700, when there is
	// something to write.
	Dir string
	// Location is that of times and names of files; nil means time.Local.
	Location *time.Location

	client  *http.Client  // in tests; nil for that of newClient
	backoff time.Duration // in tests; 0 for firstRetry
}

// Manager turns signals into messages. Create one with [New]; its methods may be
// called at once from many goroutines.
type Manager struct {
	dir     string
	in      *time.Location
	client  *http.Client
	backoff time.Duration
	disk    *disk
	wake    chan struct{}
	stop    chan struct{}
	done    chan struct{}

	mu       sync.Mutex // guards all below, and is never held across I/O
	settings *settings
	machine  *machine
	senders  map[string]*sender
	limiters map[string]*limiter // by service and address
	ending   []*sender           // that no setting names any more
	restored *state              // until the first Set
	set      bool                // Set has been called
	closed   bool
}

// New returns a manager that knows what stands in the state file of o.Dir. It tells
// nobody before the first Set. A state file that cannot be read is told to the
// logger of the first Set, and begun anew.
func New(o Options) *Manager {
	if o.Location == nil {
		o.Location = time.Local
	}
	if o.client == nil {
		o.client = newClient()
	}
	if o.backoff == 0 {
		o.backoff = firstRetry
	}
	c := Defaults()
	m := &Manager{
		dir: o.Dir, in: o.Location, client: o.client, backoff: o.backoff,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
		settings: &settings{Config: c, masker: newMasker(nil), logger: zap.NewNop(), location: o.Location},
		machine:  newMachine(c.rules()), senders: make(map[string]*sender), limiters: make(map[string]*limiter),
	}
	m.disk = newDisk(o.Dir, o.Location, m.state, func() *zap.Logger {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.settings.logger
	})
	go m.run()
	return m
}

func (m *Manager) nudge() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Signal takes a signal. It waits for nothing but other signals.
func (m *Manager) Signal(s Signal) {
	m.mu.Lock()
	mask := m.settings.masker
	m.mu.Unlock()
	s.Instance, s.Model = mask.line(s.Instance, maxName), mask.line(s.Model, maxName)
	s.Cause = mask.line(s.Cause, maxCause)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	now := time.Now()
	toLog, changed := m.machine.signal(now, &s)
	if toLog {
		m.disk.append(&Alert{Kind: s.Kind, Instance: s.Instance, Model: s.Model, Cause: s.Cause}, s.Recent, now)
	}
	if changed {
		m.disk.changed()
		m.nudge()
	}
}

// Shown returns a name of an instance or a model as messages have it: masked and cut.
func (m *Manager) Shown(name string) string {
	m.mu.Lock()
	mask := m.settings.masker
	m.mu.Unlock()
	return mask.line(name, maxName)
}

// Retain ends the alerts for which keep is false: those about instances and models
// that the configuration no longer has. Names are as [Manager.Shown] returns them;
// keep is called under a lock and must not call the Manager.
func (m *Manager) Retain(keep func(kind Kind, instance, model string) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.machine.retain(time.Now(), keep)
	m.disk.changed()
	m.nudge()
}

// run tells what is due until the manager is closed.
func (m *Manager) run() {
	defer close(m.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-m.stop:
			return
		case <-m.wake:
			timer.Reset(settleTime)
			select { // a burst of signals is one look
			case <-m.stop:
				return
			case <-timer.C:
			}
		case <-timer.C:
		}
		timer.Reset(m.tell())
	}
}

// tell hands what is due to the senders and returns how long nothing will be.
func (m *Manager) tell() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if m.set {
		if groups := m.machine.take(now); groups != nil {
			for _, s := range m.senders {
				s.enqueue(groups)
			}
			m.disk.changed()
		}
	}
	next := m.machine.next()
	if next.IsZero() || !m.set {
		return time.Hour
	}
	// A wall clock that is set may move what came from the state file: look again.
	return min(max(next.Sub(now), time.Millisecond), time.Minute)
}

// state returns what the state file is to hold, or nil if that is not known yet.
func (m *Manager) state() *state {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.set {
		return nil
	}
	if !m.settings.KeepState {
		return &state{}
	}
	s := &state{Version: stateVersion, Pending: make(map[string][]Group), Receivers: slices.Sorted(maps.Keys(m.senders))}
	s.Entries, s.Flushes = m.machine.save()
	for name, sender := range m.senders {
		if groups := sender.pending(); len(groups) > 0 {
			s.Pending[name] = groups
		}
	}
	if len(s.Entries) == 0 && len(s.Pending) == 0 {
		return &state{} // where nothing ever goes wrong nothing is written
	}
	return s
}

// Close ends all goroutines, within 5 seconds or when ctx is done; a disk that hangs
// has 5 seconds more. What is being
// sent, and what waits and may be sent now, gets that time; what is left is written
// to the errors log and the state file.
func (m *Manager) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeWithin)
	defer cancel()
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return errClosed
	}
	m.closed = true
	senders := slices.Collect(maps.Values(m.senders))
	ending := m.ending
	m.mu.Unlock()
	close(m.stop)
	<-m.done
	err := finish(ctx, senders)
	for _, s := range ending {
		select {
		case <-s.done:
		case <-ctx.Done():
			err = errHangs
		}
	}
	now := time.Now()
	for _, s := range senders {
		for _, g := range s.pending() {
			for i := range g.Alerts {
				m.disk.undelivered(s.name, &g.Alerts[i], now)
			}
		}
	}
	m.disk.changed()
	m.disk.close()
	m.client.CloseIdleConnections()
	select {
	case <-m.disk.done:
		return err
	case <-time.After(closeWithin): // the disk hangs
		return errors.Join(err, errors.New("the errors log hangs, its last lines may be lost"))
	}
}

var errHangs = errors.New("a receiver does not end")

// finish ends the senders, which may use the first half of the time.
func finish(ctx context.Context, senders []*sender) error {
	half, cancel := context.WithTimeout(ctx, closeWithin/2)
	defer cancel()
	for _, s := range senders {
		s.finish()
	}
	for _, s := range senders {
		select {
		case <-s.done:
		case <-half.Done():
			s.cancel()
		}
	}
	for _, s := range senders {
		select {
		case <-s.done:
		case <-ctx.Done():
			return errHangs
		}
		s.cancel()
	}
	return nil
}
