package aigateway

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/simpleaigateway/caddy-ai-gateway/echomodel"
)

func init() {
	caddy.RegisterModule(new(panickyPolicy))
	caddy.RegisterModule(new(panickyWriter))
	httpcaddyfile.RegisterHandlerDirective("panicky_writer", func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return new(panickyWriter), nil
	})
}

// panickyPolicy is a selection policy with a mistake that some requests meet.
type panickyPolicy struct{}

func (panickyPolicy) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.selection_policies.panicky", New: func() caddy.Module { return new(panickyPolicy) }}
}

func (panickyPolicy) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (panickyPolicy) Select(pool reverseproxy.UpstreamPool, r *http.Request, _ http.ResponseWriter) *reverseproxy.Upstream {
	switch r.Header.Get("X-Panic") {
	case "policy":
		panic("a secret prompt")
	case "bounds":
		return pool[len(pool)]
	case "later": // once an instance has failed
		if len(pool) == 1 {
			return pool[len(pool)]
		}
	}
	return pool[0]
}

// panickyWriter is a handler in front of the gateway whose writer has a mistake: it
// panics with the second piece of an answer.
type panickyWriter struct{}

func (panickyWriter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.panicky_writer", New: func() caddy.Module { return new(panickyWriter) }}
}

func (panickyWriter) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if r.Header.Get("X-Panic") == "writer" {
		w = &secondPiece{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
	}
	return next.ServeHTTP(w, r)
}

type secondPiece struct {
	*caddyhttp.ResponseWriterWrapper
	pieces int
}

func (w *secondPiece) Write(p []byte) (int, error) {
	if w.pieces++; w.pieces == 2 {
		panic("a secret answer")
	}
	return w.ResponseWriter.Write(p)
}

// TestPanic guards row L4: a panic in one request's handling is that request's alone.
// It gets a 500, or an aborted transfer once its answer has begun; nothing that it held
// stays held, no instance is blamed, and the log tells it without the client's words.
func TestPanic(t *testing.T) {
	a, b := startStandIn(t, "a"), startStandIn(t, "b")
	a.plays(echomodel.Script{Fault: "status"})
	dir := t.TempDir()
	address := freeAddress(t)
	g := &gateway{url: "http://" + address, file: filepath.Join(dir, "config.json5")}
	logFile := filepath.Join(dir, "log")
	writeFile(t, g.file, `{"data_dir": "./data", `+strings.TrimPrefix(fleetOf(a.url, b.url), "{"))
	text := fmt.Sprintf("{\n\tadmin off\n\tpersist_config off\n\tauto_https off\n\tstorage file_system %s\n\tlog {\n\t\toutput file %s\n\t}\n}\n"+
		"http://%s {\n\troute {\n\t\tpanicky_writer\n\t\tai_gateway {\n\t\t\tlb_policy panicky\n\t\t}\n\t}\n}\n", filepath.Join(dir, "storage"), logFile, address)
	cfg, err := adapt(filepath.Join(dir, "Caddyfile"), text)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(cfg, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	if g.store, err = acquireStore(g.file, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := releaseStore(g.store); err != nil {
			t.Error(err)
		}
	})
	ask := func(where, path, body string) received {
		t.Helper()
		r, err := http.NewRequest(http.MethodPost, g.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Panic", where)
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return receivedOf(res)
	}
	const times = 20
	for _, where := range []string{"policy", "bounds", "later"} {
		for n := range times {
			r := ask(where, chatPath, chat(fmt.Sprintf(`,"stream":%v`, n%2 == 0)))
			if r.status != http.StatusInternalServerError || r.err != nil || !strings.Contains(r.body, `"internal_error"`) || strings.Contains(r.body, "secret") {
				t.Errorf("%s: got status %d %s and error %v, want 500 internal_error", where, r.status, r.body, r.err)
			}
		}
	}
	if r := ask("policy", "/v1/messages", `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"a"}]}`); r.status != 500 || !strings.Contains(r.body, `"type":"api_error"`) {
		t.Errorf("messages: got status %d %s, want 500 in Anthropic's form", r.status, r.body)
	}
	a.plays(echomodel.Script{})
	for range times {
		r := ask("writer", chatPath, chat(`,"stream":true,"echo":{"tokens":20,"itl":"2ms"}`))
		if r.status != http.StatusOK || r.err == nil || strings.Contains(r.body, "[DONE]") {
			t.Errorf("writer: got status %d %s and error %v, want an aborted transfer", r.status, r.body, r.err)
		}
	}
	g.wantIdle(t)
	if n := streams.count(); n != 0 {
		t.Errorf("got %d streams that are still known, want none", n)
	}
	rec := g.store.snapshot().recorder
	eventually(t, "the recorder to hold nothing", func() bool { return rec.active.count() == 0 && len(rec.queue) == 0 && rec.memory.Load() == 0 })
	// The first instance really failed, once for each "later".
	if marks := g.marks(); marks[1] != 0 {
		t.Errorf("got %v failures counted, want none for the second instance", marks)
	}
	g.put(0, func(h *health, _ time.Duration) { h.move(serving, 0) })
	for range times {
		wantWhole(t, ask("", chatPath, chat("")), ask("", chatPath, chat(`,"stream":true`)))
	}
	written, err := os.ReadFile(logFile)
	if err != nil {
		t.Fatal(err)
	}
	log := string(written)
	if got, want := strings.Count(log, `"panic in a request's handling"`), 4*times+1; got != want {
		t.Errorf("got %d panics in the log, want %d", got, want)
	}
	if strings.Contains(log, "secret") {
		t.Error("the log has the text of a panic, which may quote a prompt")
	}
	if !strings.Contains(log, "index out of range") || !strings.Contains(log, "panickyPolicy.Select") {
		t.Error("the log does not tell where and why")
	}
}
