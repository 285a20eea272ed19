package alert

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Result is what one receiver answered to a test message.
type Result struct {
	Receiver string `json:"receiver"`
	Type     string `json:"type"`
	OK       bool   `json:"ok"`
	// Answer is what it said, or why it could not be asked, without secrets.
	Answer  string        `json:"answer"`
	Latency time.Duration `json:"latency"`
}

// Test sends a marked message to the receiver of that name, or to all for "", and
// returns what each answered, in the order of the file. It keeps to the receivers'
// rates, tries once and counts nowhere. An unknown name is one result that says so.
func (m *Manager) Test(ctx context.Context, name string) []Result {
	m.mu.Lock()
	st := m.settings
	limiters := maps.Clone(m.limiters)
	m.mu.Unlock()
	return test(ctx, st, name, m.client, limiters)
}

// Test does what [Manager.Test] does, for a program that runs no manager.
func Test(ctx context.Context, s Settings, name string) ([]Result, error) {
	if err := s.Config.Check(); err != nil {
		return nil, err
	}
	client := newClient()
	defer client.CloseIdleConnections()
	return test(ctx, newSettings(s, time.Local), name, client, nil), nil
}

func test(ctx context.Context, st *settings, name string, client *http.Client, limiters map[string]*limiter) []Result {
	var names []string
	var chosen []*Receiver
	for n := range st.Receivers {
		r := &st.Receivers[n]
		names = append(names, r.name())
		if name == "" || r.name() == name {
			chosen = append(chosen, r)
		}
	}
	if len(chosen) == 0 {
		return []Result{{Receiver: name, Answer: fmt.Sprintf("no such receiver, want one of: %s", strings.Join(names, ", "))}}
	}
	results := make([]Result, len(chosen))
	var all sync.WaitGroup
	for n, r := range chosen {
		all.Go(func() { results[n] = testOne(ctx, st, r, client, limiters[r.service()+" "+r.URL]) })
	}
	all.Wait()
	return results
}

func testOne(ctx context.Context, st *settings, r *Receiver, client *http.Client, l *limiter) Result {
	res := Result{Receiver: r.name(), Type: r.service()}
	ch, _, err := r.channel(client)
	if err != nil {
		res.Answer = err.Error()
		return res
	}
	began := time.Now()
	if l != nil {
		if wait := l.reserve(began); wait > 0 {
			res.Answer = fmt.Sprintf("not asked, its rate allows the next message in %v", wait.Round(time.Second))
			return res
		}
	}
	said, err := attempt(ctx, ch, &Message{
		Source: st.source, Receiver: res.Receiver, Language: r.Language, Test: true, Time: began.In(st.location),
	})
	if err != nil {
		said = err.Error()
	}
	res.OK, res.Answer, res.Latency = err == nil, st.masker.line(said, maxCause), time.Since(began)
	return res
}

// Stats are the counters of a [Manager].
type Stats struct {
	Receivers []ReceiverStats `json:"receivers"`
	Firing    int             `json:"firing"`  // alerts that people have been told of and that last
	Dropped   int             `json:"dropped"` // signals beyond what is remembered
	LostLines int             `json:"lost_lines"`
}

// ReceiverStats are the counters of one receiver since it was first set.
type ReceiverStats struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	Sent    int64  `json:"sent"`    // messages that arrived
	Errors  int64  `json:"errors"`  // attempts that failed
	Refused int64  `json:"refused"` // messages dropped because the receiver will never take them
	Waiting int    `json:"waiting"` // alerts that wait to be told
	// LastError is why the last attempt failed, empty if it did not.
	LastError string `json:"last_error,omitempty"`
}

// Stats returns the counters.
func (m *Manager) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Stats{Dropped: m.machine.dropped}
	for _, g := range m.machine.firing() {
		s.Firing += len(g.Alerts)
	}
	for _, name := range slices.Sorted(maps.Keys(m.senders)) {
		s.Receivers = append(s.Receivers, m.senders[name].stats())
	}
	m.disk.mu.Lock()
	s.LostLines = m.disk.lost
	m.disk.mu.Unlock()
	return s
}

func (s *sender) stats() ReceiverStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := ReceiverStats{Name: s.name, Type: s.receiver.service(), Sent: s.sent, Errors: s.errors, Refused: s.dropped, LastError: s.lastErr}
	for _, g := range merge(s.sending, s.waiting) {
		r.Waiting += len(g.Alerts)
	}
	return r
}

// Firing returns what people have been told of and what lasts, the worst first.
func (m *Manager) Firing() []Group {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.machine.firing()
}
