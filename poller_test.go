package aigateway

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/simpleaigateway/caddy-ai-gateway/echomodel"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/engine"
)

// asksEngines lets the gateway poll its instances.
func (g *gateway) asksEngines() { g.store.done.Go(newPoller(g.store).run) }

// polled returns a fleet's file with that strategy whose instances are polled every half
// second.
func polled(strategy string, list ...string) string {
	return fmt.Sprintf(`{"load_balancing_strategy": %q, "record": {"enabled": false}, "poll": {"interval": 0.5, "timeout": 0.3}, "instances": [%s]}`,
		strategy, strings.Join(list, ", "))
}

// askable is an instance that answers chats, and GET by path with what the test wants.
type askable struct {
	*witness
	mu      sync.Mutex
	answers map[string]http.HandlerFunc // guarded by mu
}

// startAskable starts one. Paths without an answer are 404.
func startAskable(t testing.TB, answers map[string]http.HandlerFunc) *askable {
	a := &askable{answers: answers}
	a.witness = startWitness(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			body, _ := io.ReadAll(r.Body)
			kind, text := chatAnswer(body)
			w.Header().Set("Content-Type", kind)
			io.WriteString(w, text)
			return
		}
		a.mu.Lock()
		answer := a.answers[r.URL.Path]
		a.mu.Unlock()
		if answer == nil {
			answer = http.NotFound
		}
		answer(w, r)
	})
	return a
}

// set changes the answer for a path.
func (a *askable) set(path string, answer http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers[path] = answer
}

// asked returns how often each path was asked for so far.
func (w *witness) asked() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	asked := make(map[string]int)
	for _, r := range w.seen {
		asked[r.method+" "+r.uri]++
	}
	return asked
}

// says answers with a status and a text.
func says(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, text)
	}
}

// vllmAnswers are those of vLLM 0.11 in development mode, with so many requests.
func vllmAnswers(running, waiting, kv string) map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"/v1/models":   says(200, `{"object":"list","data":[{"id":"m","object":"model","owned_by":"vllm","max_model_len":8192}]}`),
		"/version":     says(200, `{"version":"0.11.0"}`),
		"/is_sleeping": says(200, `{"is_sleeping":false}`),
		"/metrics":     says(200, vllmMetrics(running, waiting, kv)),
	}
}

func vllmMetrics(running, waiting, kv string) string {
	const labels = `{engine="0",model_name="m"}`
	return "vllm:num_requests_running" + labels + " " + running + "\nvllm:num_requests_waiting" + labels + " " + waiting +
		"\nvllm:kv_cache_usage_perc" + labels + " " + kv + "\n"
}

func (g *gateway) stateOf(n int) *instanceState { return g.store.snapshot().fleet.instances[n].state }

// TestPollsEngine guards that an instance's engine, version, models and load become known, by
// what the stand-in for vLLM answers, that they stay known over a swap of the file, and that
// an instance is asked for its load only if a policy looks at it.
func TestPollsEngine(t *testing.T) {
	e := startEngine(t, echomodel.VLLM{Seqs: 1, Prefill: caddy.Duration(2 * time.Second)})
	fleet := func(strategy, more string) string { return polled(strategy, entry(e.url+"/v1", more)) }
	g := startGateway(t, fleet(strategyRoundRobin, ""))
	g.asksEngines()
	s := g.stateOf(0)
	eventually(t, "the instance's models", func() bool { return s.facts.Load() != nil })
	f := s.facts.Load()
	if want := []engine.Model{{ID: "echo", Context: 32768}}; f.Engine != engine.VLLM || !f.detected || f.Version != "echo" || !slices.Equal(f.Models, want) {
		t.Errorf("got %+v, want vllm, detected, of version echo, with %v", f, want)
	}
	if got := g.store.snapshot().fleet.instances[0].context("m"); got != 32768 {
		t.Errorf("got a context of %d, want 32768", got)
	}
	if _, _, ok := s.load.Observed(); ok {
		t.Error("with round_robin the load was asked for")
	}

	g.save(t, fleet(strategyLeastLoad, `, "weight": 2`))
	if g.stateOf(0) != s || s.facts.Load() == nil {
		t.Error("what the instance has told did not survive a swap")
	}
	client := http.Client{Timeout: 10 * time.Second}
	for range 3 { // one is computed, two wait
		go func() {
			if res, err := client.Post(e.url+chatPath, "application/json", strings.NewReader(`{"model":"m","messages":[`+said("user", strings.Repeat("x", 4000))+`]}`)); err == nil {
				res.Body.Close()
			}
		}()
	}
	eventually(t, "the load to be known", func() bool {
		load, _, ok := s.load.Observed()
		return ok && load.Running == 1 && load.Waiting == 2
	})
	if got := s.load.Tokens(clock()); got < 4*512 {
		t.Errorf("got %v tokens to do, want those of three requests, of which two wait", got)
	}
	g.save(t, fleet(strategyLeastLoad, `, "engine": "vllm"`))
	eventually(t, "the engine to be the file's", func() bool { return !s.facts.Load().detected })
}

// TestPollRequests guards what instances are asked: GET alone, with their key and headers,
// below their own paths, and never a token.
func TestPollRequests(t *testing.T) {
	a := startAskable(t, map[string]http.HandlerFunc{
		"/box1/v1/models": says(200, `{"data":[{"id":"m","owned_by":"vllm","max_model_len":100}]}`),
		"/own/metrics":    says(200, vllmMetrics("1", "2", "0.5")),
	})
	g := startGateway(t, polled(strategyLeastLoad, entry(a.URL+"/box1/v1",
		`, "api_key": "k1", "headers": {"X-Team": "t"}, "paths": {"/metrics": "/own/metrics?name=x"}`)))
	g.asksEngines()
	s := g.stateOf(0)
	eventually(t, "the load to be known twice", func() bool {
		_, _, ok := s.load.Observed()
		return ok && a.asked()["GET /own/metrics?name=x"] > 1
	})
	asked := a.asked()
	for _, want := range []string{"GET /box1/v1/models", "GET /box1/version", "GET /own/metrics?name=x", "GET /box1/is_sleeping"} {
		if asked[want] == 0 {
			t.Errorf("got %v, want %s", asked, want)
		}
		delete(asked, want)
	}
	if len(asked) > 0 || a.asked()["GET /box1/is_sleeping"] > 1 {
		t.Errorf("got %v besides, want nothing, and what is not there once", asked)
	}
	a.witness.mu.Lock()
	defer a.witness.mu.Unlock()
	for _, r := range a.seen {
		if r.header.Get("Authorization") != "Bearer k1" || r.header.Get("X-Team") != "t" || r.body != "" {
			t.Errorf("%s came with %v", r.uri, r.header)
		}
	}
}

// TestPolled guards who is asked at all.
func TestPolled(t *testing.T) {
	for url, want := range map[string]bool{
		"http://10.0.0.1:8000/v1": true, "http://box:8000/v1": true, "http://[::1]:8000/v1": true, "https://127.0.0.1/v1": true,
		"https://api.example.com/v1": false, "https://8.8.8.8/v1": false,
	} {
		for _, engine := range []string{"", "vllm"} {
			cfg, err := parseConfig([]byte(entries(entry(url, fmt.Sprintf(`, "engine": %q`, engine)))), ".")
			if engine == "" {
				cfg, err = parseConfig([]byte(entries(entry(url, ""))), ".")
			}
			must(t, err)
			i := newInstance(cfg.Instances[0], primary, "id", new(instanceState))
			if got := i.polled(); got != (want || engine != "") {
				t.Errorf("%s, engine %q: got %v", url, engine, got)
			}
		}
	}
}
