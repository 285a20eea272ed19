package aigateway

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"
)

func init() { caddy.RegisterModule(noter{}) }

// noter is a handler of Caddy's events that notes them under a label. It panics if
// the label is "panics".
type noter struct {
	Label string `json:"label"`
}

func (noter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.test_noter", New: func() caddy.Module { return new(noter) }}
}

func (n *noter) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	d.NextArg()
	n.Label = d.Val()
	return nil
}

func (n *noter) Handle(ctx context.Context, e caddy.Event) error {
	if n.Label == "panics" {
		panic("noter")
	}
	repl := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	noted.mu.Lock()
	defer noted.mu.Unlock()
	noted.all = append(noted.all, n.Label+" "+repl.ReplaceAll("{event.name} {event.module} {event.data.name} {event.data.model} {event.data.tier} {event.data.cause}", ""))
	return nil
}

// noted is what noters have noted.
var noted struct {
	mu  sync.Mutex
	all []string // guarded by mu
}

func notes() string {
	noted.mu.Lock()
	defer noted.mu.Unlock()
	return strings.Join(noted.all, "\n")
}

var _ caddyevents.Handler = (*noter)(nil)

// TestCaddyEvents guards that "on ai_gateway.instance_ejected" of the events app gets
// the event, that a reload hands over to the newest configuration, that one that
// fails to start takes nothing away, and that the end of all leaves no trouble.
func TestCaddyEvents(t *testing.T) {
	noted.all = nil
	m, other := startMoody(t), startMoody(t)
	dir := t.TempDir()
	file, address := filepath.Join(dir, "config.json5"), freeAddress(t)
	writeFile(t, file, `{"error_threshold": 3, "instances": [`+m.entry(`, "name": "first", "api_key": "sk-secret"`)+", "+other.entry("")+`]}`)
	site := fmt.Sprintf("http://%s {\n\tai_gateway\n}\n", address)
	on := func(label string) string {
		return fmt.Sprintf("events {\n\ton ai_gateway.instance_ejected test_noter %s\n\ton ai_gateway.instance_back test_noter panics\n}", label)
	}
	loadCaddyfile(t, filepath.Join(dir, "Caddyfile"), site, on("one"))
	s, err := acquireStore(file, zap.NewNop())
	must(t, err)
	g := &gateway{url: "http://" + address, file: file, store: s}
	events := logEvents(s)
	f := func(want string) {
		t.Helper()
		wantSettled(t, address)
		m.status.Store(500)
		g.asks(t, 8)
		events.wait(t, instanceEjected)
		eventually(t, want, func() bool { return strings.HasSuffix(notes(), want) })
		m.status.Store(200)
		g.makeDue(0)
		g.asks(t, 4)
		events.wait(t, instanceBack) // whose handler panics
		g.put(0, func(h *health, now time.Duration) { h.move(serving, now) })
	}
	const said = " ai_gateway.instance_ejected http.handlers.ai_gateway first m primary status"
	f("one" + said)
	loadCaddyfile(t, filepath.Join(dir, "Caddyfile"), site, on("two"))
	f("two" + said)

	// A configuration that fails after its first handler has been provisioned.
	cfg, err := adapt(filepath.Join(dir, "Caddyfile"), fmt.Sprintf("{\nadmin off\nauto_https off\npersist_config off\n%s\n}\n"+
		"http://%s {\nhandle /v1/* {\nai_gateway\n}\nhandle {\nai_gateway missing.json5\n}\n}\n", on("three"), address))
	must(t, err)
	if err := caddy.Load(cfg, true); err == nil || !strings.Contains(err.Error(), "missing.json5") {
		t.Fatalf("got error %v, want the missing file's", err)
	}
	f("two" + said)
	if got := strings.Count(notes(), "\n") + 1; got != 3 {
		t.Errorf("got %d events, want 3:\n%s", got, notes())
	}
	eventually(t, "ended configurations to be forgotten", func() bool {
		s.events.mu.Lock()
		defer s.events.mu.Unlock()
		return len(s.events.voices) == 1
	})

	must(t, caddy.Stop())
	s.events.emit(event{kind: instanceEjected, name: "after the end"})
	events.wait(t, instanceEjected)
	if strings.Contains(notes(), "after the end") {
		t.Error("got an event in a configuration that has ended")
	}
	must(t, releaseStore(s))
	s.events.emit(event{kind: instanceEjected}) // into the void
}

// TestNewestVoice guards that events go to the newest configuration that has started
// and not ended, and that those which have ended are let go.
func TestNewestVoice(t *testing.T) {
	b := newBulletin()
	loggers := make(map[*voice]*zap.Logger)
	var ends []context.CancelFunc
	for range 3 {
		ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
		v := &voice{ctx: ctx, logger: zap.NewNop().Named("x")}
		loggers[v] = v.logger
		b.voices, ends = append(b.voices, v), append(ends, cancel)
	}
	defer ends[0]()
	all := slices.Clone(b.voices)
	f := func(what string, want *voice) {
		t.Helper()
		if got := b.voice(); got != want {
			t.Errorf("%s: got voice %d, want %d", what, slices.Index(all, got), slices.Index(all, want))
		}
	}
	f("none has started", nil)
	all[0].started.Store(true)
	f("the first has started", all[0])
	all[1].started.Store(true)
	f("the second has started", all[1])
	if got := b.forget(); got != nil || len(b.voices) != 3 {
		t.Errorf("nothing has ended: got %d voices, want 3 and no other logger", len(b.voices))
	}
	ends[1]()
	f("the second has ended", all[0])
	ends[2]()
	if got := b.forget(); got != loggers[all[0]] || len(b.voices) != 1 {
		t.Errorf("the newest has failed: got %d voices, want 1 and the logger of the first", len(b.voices))
	}
	f("the newest has failed", all[0])
}

// TestMetricsRegistered guards that the metrics are in the registry of every
// configuration, also with two handlers and after a reload.
func TestMetricsRegistered(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "config.json5"), weighted(1))
	address := freeAddress(t)
	for n := range 2 {
		loadCaddyfile(t, filepath.Join(dir, "Caddyfile"), fmt.Sprintf(`http://%s {
			handle /metrics {
				metrics
			}
			handle /a%d/* {
				ai_gateway
			}
			handle {
				ai_gateway
			}
		}`, address, n))
		wantSettled(t, address)
		res, err := client.Get("http://" + address + "/metrics")
		must(t, err)
		text := readAll(t, res.Body)
		for _, want := range []string{
			"\ncaddy_ai_gateway_config_last_reload_successful 1\n",
			"\ncaddy_ai_gateway_config_last_reload_success_timestamp_seconds 1.",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("load %d: got metrics without %q", n, want)
			}
		}
	}
}
