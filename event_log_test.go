package aigateway

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// eventLog has all events of a store.
type eventLog struct {
	mu   sync.Mutex
	all  []event // guarded by mu
	next int     // that wait looks at first; guarded by mu
}

// logEvents notes the events of s from now on.
func logEvents(s *store) *eventLog {
	l := new(eventLog)
	s.subscribe(func(e event) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all = append(l.all, e)
	})
	return l
}

// wait returns the next event of the kind after that which wait returned last. Those
// of other kinds in between are passed over.
func (l *eventLog) wait(t testing.TB, kind eventKind) (found event) {
	t.Helper()
	eventually(t, "event "+string(kind), func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for n, e := range l.all[l.next:] {
			if e.kind == kind {
				found, l.next = e, l.next+n+1
				return true
			}
		}
		return false
	})
	return found
}

// kinds returns all kinds so far, in order.
func (l *eventLog) kinds() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var kinds []string
	for _, e := range l.all {
		kinds = append(kinds, string(e.kind))
	}
	return strings.Join(kinds, " ")
}

// text is all that the events say.
func (l *eventLog) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("%+v", l.all)
}

// gathered returns the value of a metric without labels.
func gathered(t testing.TB, name string) float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	must(t, registerMetrics(registry))
	families, err := registry.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
