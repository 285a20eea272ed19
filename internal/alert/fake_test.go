package alert

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fake is a receiver in memory, found by the host of fake://HOST.
type fake struct {
	mu       sync.Mutex
	err      error // what it answers
	hangs    bool
	attempts []time.Time
	got      []*Message // what it took
}

var (
	fakesMu sync.Mutex
	fakes   = map[string]*fake{}
)

func init() {
	services["fake"] = &service{build: func(a *address) (channel, error) {
		fakesMu.Lock()
		defer fakesMu.Unlock()
		return fakes[a.url.Host], nil
	}, rates: []rate{{18, time.Minute}}}
}

func (f *fake) send(ctx context.Context, m *Message) (string, error) {
	f.mu.Lock()
	f.attempts = append(f.attempts, time.Now())
	err, hangs := f.err, f.hangs
	if err == nil && !hangs {
		f.got = append(f.got, m)
	}
	f.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return "", ctx.Err()
	}
	return "taken", err
}

func (f *fake) set(err error, hangs bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.hangs = err, hangs
}

// messages returns what the receiver took, once all goroutines rest.
func (f *fake) messages() []*Message {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.got
}

func (f *fake) tries() []time.Time {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.attempts
}

// rig is a manager in a bubble of time with receivers in memory.
type rig struct {
	t   *testing.T
	dir string
	m   *Manager
	cfg Config
}

// inBubble runs f with a manager that tells the receivers of the names given.
func inBubble(t *testing.T, names []string, f func(r *rig)) {
	dir := filepath.Join(t.TempDir(), "data")
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, dir: dir, cfg: Defaults()}
		r.cfg.Name = "gw"
		for _, name := range names {
			r.receiver(name)
		}
		r.start()
		f(r)
		r.stop()
	})
}

func (r *rig) start() {
	r.t.Helper()
	r.m = New(Options{Dir: r.dir, Location: time.UTC})
	r.set()
}

func (r *rig) set() {
	r.t.Helper()
	if err := r.m.Set(Settings{Config: r.cfg, Secrets: []string{"canary-upstream-key"}}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) stop() {
	r.t.Helper()
	began := time.Now()
	if err := r.m.Close(r.t.Context()); err != nil && r.t.Context().Err() == nil {
		r.t.Error(err)
	}
	if took := time.Since(began); took > closeWithin {
		r.t.Errorf("close took %v, want %v at most", took, closeWithin)
	}
}

// receiver adds a receiver in memory to the configuration.
func (r *rig) receiver(name string) *fake {
	fakesMu.Lock()
	defer fakesMu.Unlock()
	f := new(fake)
	fakes[r.host(name)] = f
	r.cfg.Receivers = append(r.cfg.Receivers, Receiver{Name: name, URL: "fake://" + r.host(name)})
	return f
}

// host is what finds the receiver of the name in this test.
func (r *rig) host(name string) string { return strings.ReplaceAll(r.t.Name(), "/", ".") + "." + name }

func (r *rig) fake(name string) *fake {
	fakesMu.Lock()
	defer fakesMu.Unlock()
	return fakes[r.host(name)]
}

func (r *rig) out(instance string) {
	r.m.Signal(Signal{Kind: InstanceEjected, Instance: instance, Model: "qwen3", Cause: "connect: refused", Recent: 5, Active: true})
}

func (r *rig) back(instance string) {
	r.m.Signal(Signal{Kind: InstanceEjected, Instance: instance, Model: "qwen3"})
}

// errorsLog returns the errors log, of all hours.
func (r *rig) errorsLog() string {
	r.t.Helper()
	files, err := filepath.Glob(filepath.Join(r.dir, "errors", "*.log"))
	if err != nil {
		r.t.Fatal(err)
	}
	var all strings.Builder
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			r.t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

// subjects returns what a message tells: + begins, - is over, = lasts.
func subjects(m *Message) string {
	var all []string
	for _, g := range m.Groups {
		for _, a := range g.Alerts {
			sign := "="
			if a.Over() {
				sign = "-"
			} else if a.New {
				sign = "+"
			}
			all = append(all, sign+a.Instance)
		}
	}
	return strings.Join(all, " ")
}

func wantMessages(t *testing.T, got []*Message, want ...string) {
	t.Helper()
	var texts []string
	for _, m := range got {
		texts = append(texts, subjects(m))
	}
	if fmt.Sprintf("%q", texts) != fmt.Sprintf("%q", want) {
		t.Errorf("messages: got %q, want %q", texts, want)
	}
}
