package alert

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"
)

// Settings are what a swap of the config file or a reload may change.
type Settings struct {
	Config Config
	// Secrets are texts that no message may hold: the keys of instances and clients.
	Secrets []string
	// Logger gets what goes wrong with receivers and files; nil for nothing.
	Logger *zap.Logger
}

// settings are checked Settings, ready for use.
type settings struct {
	Config
	source   string
	masker   *masker
	logger   *zap.Logger
	location *time.Location
}

func (c *Config) rules() rules {
	return rules{time.Duration(c.GroupWait), time.Duration(c.GroupInterval), time.Duration(c.Repeat), c.Cooldown}
}

// Set puts settings in force. What is going on and what waits for receivers that
// stay, by name, is kept; a new receiver is told of all that lasts. The error is
// that of [Config.Check], and then nothing changes.
func (m *Manager) Set(s Settings) error {
	if err := s.Config.Check(); err != nil {
		return err
	}
	st := newSettings(s, m.in)
	channels := make([]channel, len(s.Config.Receivers))
	for n := range s.Config.Receivers {
		ch, _, err := s.Config.Receivers[n].channel(m.client)
		if err != nil {
			return fmt.Errorf("receivers[%d]: %w", n, err)
		}
		channels[n] = ch
	}
	var restored *state
	var loadErr error
	m.mu.Lock()
	first := !m.set
	m.mu.Unlock()
	if first && s.Config.KeepState {
		restored, loadErr = loadState(m.dir)
		if loadErr != nil {
			st.logger.Error("the state of alerts before the restart is lost, messages may be repeated", zap.Error(loadErr))
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errClosed
	}
	m.settings, m.machine.rules = st, s.Config.rules()
	if !m.set {
		m.set = true
		m.restore(restored)
	}
	m.receive(st, channels)
	m.restored = nil
	m.disk.changed()
	m.nudge()
	return nil
}

var errClosed = errors.New("alerts have been closed")

func newSettings(s Settings, in *time.Location) *settings {
	st := &settings{Config: s.Config, source: s.Config.Name, logger: s.Logger, location: in}
	st.Receivers = slices.Clone(s.Config.Receivers) // the caller's own may change
	if st.logger == nil {
		st.logger = zap.NewNop()
	}
	if st.source == "" {
		if st.source, _ = os.Hostname(); st.source == "" {
			st.source = "caddy-ai-gateway"
		}
		st.source = shorten(oneLine(st.source), maxName)
	}
	secrets := slices.Clone(s.Secrets)
	for n := range s.Config.Receivers {
		secrets = append(secrets, s.Config.Receivers[n].secrets()...)
	}
	st.masker = newMasker(secrets)
	return st
}

// restore takes up the state from before the restart; signals that came earlier
// than it count for more.
func (m *Manager) restore(s *state) {
	if s == nil {
		return
	}
	now := time.Now()
	seen := m.machine
	m.machine = newMachine(seen.rules)
	m.machine.restore(now, s.Entries, s.Flushes)
	for _, e := range seen.entries {
		if e.Active {
			m.machine.signal(now, &Signal{
				Kind: e.Kind, Instance: e.Instance, Model: e.Model, Severity: e.Severity, Cause: e.Cause, Active: true, Lasts: until(now, e.Expires),
			})
		}
	}
	m.restored = s
}

func until(now, t time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return max(t.Sub(now), time.Nanosecond)
}

// receive makes the senders those of the settings.
func (m *Manager) receive(st *settings, channels []channel) {
	stay := make(map[string]bool)
	limiters := make(map[string]*limiter)
	for n := range st.Receivers {
		r := &st.Receivers[n]
		name := r.name()
		stay[name] = true
		s, known := m.senders[name]
		if !known {
			s = newSender(name, m.backoff, m.disk.changed)
			m.senders[name] = s
		}
		missed := s.set(*r, channels[n], m.limiter(r, limiters), st)
		switch {
		case m.restored != nil && !known:
			s.enqueue(m.restored.Pending[name])
			if !slices.Contains(m.restored.Receivers, name) {
				s.enqueue(m.machine.firing())
			}
		case !known, missed:
			s.enqueue(m.machine.firing())
		}
	}
	m.limiters = limiters
	for name, s := range m.senders {
		if !stay[name] {
			s.cancel()
			m.ending = append(slices.DeleteFunc(m.ending, (*sender).ended), s)
			delete(m.senders, name)
		}
	}
}

// limiter returns that of the receiver's address, which two receivers may share and
// which stays when settings change.
func (m *Manager) limiter(r *Receiver, limiters map[string]*limiter) *limiter {
	rates := services[r.service()].rates
	if r.MaxPerMinute > 0 {
		rates = []rate{{r.MaxPerMinute, time.Minute}}
	}
	key := r.service() + " " + r.URL
	l := limiters[key]
	if l == nil {
		l = m.limiters[key]
	}
	if l == nil {
		l = newLimiter(rates)
	}
	l.mu.Lock()
	l.rates = rates
	l.mu.Unlock()
	limiters[key] = l
	return l
}
