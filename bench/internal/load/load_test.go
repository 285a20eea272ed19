//go:build linux

package load

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/chat"
	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/mock"
)

func spec(address string, o chat.Order) Spec {
	return Spec{
		Targets: []Target{{Address: address, PID: os.Getpid()}}, Path: "/v1/chat/completions", Connections: 4, Bytes: 2000, Order: o,
		Warm: 20 * time.Millisecond, Slice: 20 * time.Millisecond, Slices: 3, Ramp: 5 * time.Millisecond, Timeout: 5 * time.Second,
	}
}

func startMock(t *testing.T) string {
	t.Helper()
	s, err := mock.Listen("127.0.0.1:0", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		s.Serve(t.Context())
		close(done)
	}()
	t.Cleanup(func() { <-done })
	return s.Addresses()[1]
}

func TestLoadVerifiesTheMock(t *testing.T) {
	for name, o := range map[string]chat.Order{
		"whole":           {Tokens: 50},
		"burst":           {Tokens: 50, Stream: true},
		"burst and usage": {Tokens: 50, Stream: true, Usage: true},
		"paced":           {Tokens: 5, Gap: 5 * time.Millisecond, Stream: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := spec(startMock(t), o)
			s.Targets = append(s.Targets, Target{Address: startMock(t)})
			both, err := Run(context.Background(), s)
			if err != nil {
				t.Fatal(err)
			}
			r, other := both[0], both[1]
			if r.CPU <= 0 || r.PeakRSS == 0 || other.CPU != 0 || other.Requests == 0 || other.Wrong > 0 {
				t.Errorf("got %+v and %+v", r, other)
			}
			if r.Requests == 0 || len(r.Errors) > 0 || r.Wrong > 0 {
				t.Errorf("got %d requests, errors %v, %d wrong: %s", r.Requests, r.Errors, r.Wrong, r.Sample)
			}
			if o.Stream != (r.Events > 0 && r.TTFT.Count > 0 && r.Delay.Count > 0) {
				t.Errorf("got %d events, TTFT %+v, delay %+v", r.Events, r.TTFT, r.Delay)
			}
		})
	}
}

// TestMockTakesChunkedBodies guards against a proxy that does not pass the
// length on.
func TestMockTakesChunkedBodies(t *testing.T) {
	body := chat.NewRequest(5000, chat.Order{Tokens: 3}).Body
	for range 2 {
		res, err := http.Post("http://"+startMock(t)+"/v1/chat/completions", "application/json", io.MultiReader(strings.NewReader(string(body))))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		_ = res.Body.Close() // it was read to its end
		if err != nil || res.StatusCode != 200 || !strings.Contains(string(got), `"completion_tokens":3`) {
			t.Errorf("got status %d, %s, %v", res.StatusCode, got, err)
		}
	}
}

// TestLoadSeesFaults puts a proxy that does harm between load and mock.
func TestLoadSeesFaults(t *testing.T) {
	upstream := startMock(t)
	f := func(name string, o chat.Order, want string, harm func(w http.ResponseWriter, answer string)) {
		t.Helper()
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			res, err := http.Post("http://"+upstream+r.URL.Path, "application/json", r.Body)
			if err != nil {
				return // the load was stopped
			}
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			if err != nil {
				return
			}
			w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
			harm(w, string(b))
		}))
		defer s.Close()
		rs, err := Run(context.Background(), spec(strings.TrimPrefix(s.URL, "http://"), o))
		if err != nil {
			t.Fatal(err)
		}
		r := rs[0]
		got := fmt.Sprint(slices.Collect(maps.Keys(r.Errors)), r.Sample)
		if r.Requests > 0 || !strings.Contains(got, want) {
			t.Errorf("%s: got %d right answers and %.500s, want %q", name, r.Requests, got, want)
		}
	}
	whole, stream := chat.Order{Tokens: 20}, chat.Order{Tokens: 20, Stream: true}
	f("status", whole, "status 502", func(w http.ResponseWriter, _ string) { w.WriteHeader(502) })
	f("changed", whole, "wrong answer", func(w http.ResponseWriter, a string) { _, _ = io.WriteString(w, strings.ToUpper(a)) })
	f("cut", stream, "answer cut short", func(w http.ResponseWriter, a string) { _, _ = io.WriteString(w, a[:len(a)/2]) })
	f("broken", stream, "connection closed early", func(w http.ResponseWriter, a string) {
		_, _ = io.WriteString(w, a[:len(a)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	f("error event", stream, "error event", func(w http.ResponseWriter, a string) {
		first, _, _ := strings.Cut(a, "\n\n")
		_, _ = io.WriteString(w, first+"\n\ndata: {\"error\":{\"message\":\"gone\"}}\n\n")
	})
	f("doubled", stream, "wrong answer", func(w http.ResponseWriter, a string) {
		first, _, _ := strings.Cut(a, "\n\n")
		_, _ = io.WriteString(w, first+"\n\n"+a)
	})
}

// TestJournal guards that a journal has every request, with what the gateway told
// of it.
func TestJournal(t *testing.T) {
	upstream := startMock(t)
	var requests atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := requests.Add(1)
		w.Header().Set("X-AI-Gateway-Upstream", "127.0.0.2:1/v1")
		w.Header().Set("X-AI-Gateway-Attempts", "2")
		switch n % 3 {
		case 0:
			http.Error(w, "no", http.StatusBadGateway)
		case 1:
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "\n\ndata: {\"error\":{}}\n\n")
		default:
			res, err := http.Post("http://"+upstream+r.URL.Path, "application/json", r.Body)
			if err != nil {
				return // the load was stopped
			}
			defer res.Body.Close()
			w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
			_, _ = io.Copy(w, res.Body)
		}
	}))
	defer s.Close()
	what := spec(strings.TrimPrefix(s.URL, "http://"), chat.Order{Tokens: 5, Stream: true})
	what.Journal, what.Warm, what.Slice = true, 0, 100*time.Millisecond
	results, err := Run(context.Background(), what)
	if err != nil {
		t.Fatal(err)
	}
	r := results[0]
	if len(r.Journal) != int(requests.Load()) {
		t.Errorf("got %d entries, want one for each of %d requests", len(r.Journal), requests.Load())
	}
	got := map[string]int{}
	for _, e := range r.Journal {
		got[fmt.Sprintf("%d %s %d %v %s", e.Status, e.Upstream, e.Attempts, e.Stream, e.Error)]++
		if e.Begun >= e.Head || e.Head > e.Ended {
			t.Errorf("got times %+v, want them in order", e)
		}
	}
	if len(got) != 3 || got["200 127.0.0.2:1/v1 2 true "] != int(r.Requests) || got["200 127.0.0.2:1/v1 2 true error event"] != r.Errors["error event"] ||
		got["502 127.0.0.2:1/v1 2 true status 502"] != r.Errors["status 502"] {
		t.Errorf("got entries %v, want those of %d right answers and %v", got, r.Requests, r.Errors)
	}
}

func TestLoadReportsARefusedConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Run(context.Background(), spec(address, chat.Order{Tokens: 1}))
	if err != nil || r[0].Requests != 0 || r[0].Errors["connection refused"] == 0 {
		t.Errorf("got %+v, %v", r, err)
	}
}
