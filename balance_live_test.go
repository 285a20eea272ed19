package aigateway

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/simpleaigateway/caddy-ai-gateway/echomodel"
)

// liveEngine is a stand-in that acts like vLLM, behind a real socket.
type liveEngine struct{ url string }

func startEngine(t *testing.T, v echomodel.VLLM) *liveEngine {
	t.Helper()
	echo := echomodel.New(echomodel.Options{VLLM: &v, Script: echomodel.Script{Tokens: 4}})
	server := httptest.NewServer(echo)
	t.Cleanup(func() {
		echo.Close()
		server.Close()
	})
	return &liveEngine{server.URL}
}

// metrics reads what the engine publishes, by name.
func (e *liveEngine) metrics(t testing.TB) map[string]float64 {
	t.Helper()
	res, err := client.Get(e.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]float64)
	for line := range strings.SplitSeq(readAll(t, res.Body), "\n") {
		name, rest, _ := strings.Cut(line, "{")
		_, text, ok := strings.Cut(rest, "} ")
		if strings.HasPrefix(line, "#") || !ok {
			continue
		}
		if values[name], err = strconv.ParseFloat(text, 64); err != nil {
			t.Fatalf("metrics: %q: %v", line, err)
		}
	}
	return values
}

// liveFigures is what clients and engines have seen.
type liveFigures struct {
	ttft  []time.Duration // sorted
	took  time.Duration
	hits  float64 // share of the prompts' tokens
	moved int     // turns that another instance answered than the one before
}

func (f *liveFigures) quantile(q float64) time.Duration { return f.ttft[int(q*float64(len(f.ttft)-1))] }

func (f *liveFigures) mean() time.Duration {
	sum := time.Duration(0)
	for _, d := range f.ttft {
		sum += d
	}
	return sum / time.Duration(len(f.ttft))
}

// live is traffic through a gateway with a strategy to engines of its own. Each of the workers
// does its part of the traffic by ask, which sends one request and returns its answer.
func live(t *testing.T, strategy string, engines []echomodel.VLLM, workers int, work func(worker int, ask func(messages []string) (content, instance string))) *liveFigures {
	t.Helper()
	f := new(liveFigures)
	t.Run(strategy, func(t *testing.T) {
		var running []*liveEngine
		var entries []string
		for _, v := range engines {
			e := startEngine(t, v)
			running = append(running, e)
			entries = append(entries, fmt.Sprintf(`{"url": "%s/v1", "model_name": "m"}`, e.url))
		}
		g := startGateway(t, fmt.Sprintf(`{"load_balancing_strategy": %q, "record": {"enabled": false}, "poll": {"interval": 0.5}, "instances": [%s]}`, strategy, strings.Join(entries, ",")))
		g.asksEngines()
		var mu sync.Mutex
		var wg sync.WaitGroup
		began := time.Now()
		for worker := range workers {
			wg.Go(func() {
				work(worker, func(messages []string) (content, instance string) {
					content, instance, ttft := g.hears(t, messages)
					mu.Lock()
					defer mu.Unlock()
					f.ttft = append(f.ttft, ttft)
					return content, instance
				})
			})
		}
		wg.Wait()
		f.took = time.Since(began)
		slices.Sort(f.ttft)
		var queries, hits float64
		for _, e := range running {
			m := e.metrics(t)
			queries, hits = queries+m["vllm:prefix_cache_queries_total"], hits+m["vllm:prefix_cache_hits_total"]
			if m["vllm:num_requests_running"] != 0 || m["vllm:kv_cache_usage_perc"] != 0 {
				t.Errorf("an idle engine publishes %v", m)
			}
		}
		f.hits = hits / queries
		for _, i := range g.store.snapshot().fleet.instances {
			eventually(t, "no load to be left", func() bool { return i.state.load.Own() == 0 && i.state.inFlight.Load() == 0 })
		}
		t.Logf("%d requests in %v; TTFT mean %v, p50 %v, p99 %v; %.0f %% of the prompts cached", len(f.ttft), f.took.Round(time.Millisecond),
			f.mean().Round(time.Millisecond), f.quantile(0.5).Round(time.Millisecond), f.quantile(0.99).Round(time.Millisecond), 100*f.hits)
	})
	return f
}

// hears sends a chat as a stream and returns what the model says, who has answered, and how
// long the first event of the answer's content took.
func (g *gateway) hears(t *testing.T, messages []string) (content, instance string, ttft time.Duration) {
	t.Helper()
	began := time.Now()
	res, err := client.Post(g.url+chatPath, "application/json", strings.NewReader(`{"model":"m","stream":true,"messages":[`+strings.Join(messages, ",")+`]}`))
	if err != nil {
		t.Error(err)
		return "", "", 0
	}
	defer res.Body.Close()
	events := bufio.NewScanner(res.Body)
	for events.Scan() {
		data, ok := strings.CutPrefix(events.Text(), "data: ")
		var chunk struct {
			Choices []struct {
				Delta struct{ Content string }
			}
		}
		if !ok || json.Unmarshal([]byte(data), &chunk) != nil || len(chunk.Choices) == 0 || chunk.Choices[0].Delta.Content == "" {
			continue
		}
		if ttft == 0 {
			ttft = time.Since(began)
		}
		content += chunk.Choices[0].Delta.Content
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK || ttft == 0 {
		t.Errorf("got status %d, content %q and error %v", res.StatusCode, content, err)
	}
	return content, res.Header.Get("X-Ai-Gateway-Upstream"), ttft
}

func said(role, content string) string { return fmt.Sprintf(`{"role":%q,"content":%q}`, role, content) }

// TestLiveConversations guards that through the whole gateway conversations with shared
// prompts are answered sooner, and out of the engines' caches, with prefix_affinity.
func TestLiveConversations(t *testing.T) {
	const workers, tenants, turns = 12, 6, 5
	engines := slices.Repeat([]echomodel.VLLM{{Seqs: 16, Cache: 4500, Prefill: caddy.Duration(50 * time.Millisecond)}}, 3)
	inTime(t, func() (late string) {
		byStrategy := make(map[string]*liveFigures)
		for _, strategy := range strategies {
			moved := make([]int, workers)
			f := live(t, strategy, engines, workers, func(worker int, ask func([]string) (string, string)) {
				for talk := range 2 {
					system := strings.Repeat(fmt.Sprintf("rule %d of tenant; ", worker%tenants), 220) // about 1,000 tokens
					messages, last := []string{said("system", system)}, ""
					for turn := range turns {
						question := fmt.Sprintf("%d.%d.%d %s", worker, talk, turn, strings.Repeat("why? ", 30))
						messages = append(messages, said("user", question))
						content, instance := ask(messages)
						messages = append(messages, said("assistant", content))
						if turn > 0 && instance != last {
							moved[worker]++
						}
						last = instance
					}
				}
			})
			for _, n := range moved {
				f.moved += n
			}
			byStrategy[strategy] = f
		}
		turnsTaken, affinity := byStrategy[strategyRoundRobin], byStrategy[strategyPrefixAffinity]
		if affinity.hits < 1.5*turnsTaken.hits {
			t.Errorf("%.2f of the prompts were cached, want at least 1.5 times the %.2f of round_robin", affinity.hits, turnsTaken.hits)
		}
		if affinity.moved > 2*workers*(turns-1)/4 {
			t.Errorf("%d of %d turns went to another instance than the one before", affinity.moved, 2*workers*(turns-1))
		}
		if affinity.took > turnsTaken.took*6/10 {
			return fmt.Sprintf("took %v, want at most 0.6 of the %v of round_robin: 1.7 times the throughput", affinity.took, turnsTaken.took)
		}
		if a, b := affinity.quantile(0.5), turnsTaken.quantile(0.5); a > b {
			return fmt.Sprintf("median TTFT is %v, want less than the %v of round_robin", a, b)
		}
		return ""
	})
}

// TestLiveUnequal guards that least_load, and prefix_affinity where prompts have nothing in
// common, give slow engines less.
func TestLiveUnequal(t *testing.T) {
	fast := echomodel.VLLM{Seqs: 8, Prefill: caddy.Duration(10 * time.Millisecond)}
	slow := fast
	slow.Prefill *= 8
	inTime(t, func() (late string) {
		byStrategy := make(map[string]*liveFigures)
		for _, strategy := range []string{strategyRoundRobin, strategyLeastLoad, strategyPrefixAffinity} {
			byStrategy[strategy] = live(t, strategy, []echomodel.VLLM{fast, slow, fast, slow}, 12, func(worker int, ask func([]string) (string, string)) {
				for n := range 15 {
					ask([]string{said("user", strings.Repeat(fmt.Sprintf("%d.%d ", worker, n), 600))})
				}
			})
		}
		turns := byStrategy[strategyRoundRobin]
		for _, strategy := range []string{strategyLeastLoad, strategyPrefixAffinity} {
			f := byStrategy[strategy]
			if math.Abs(f.hits-turns.hits) > 0.1 {
				t.Errorf("%s: %.2f of the prompts were cached, want as with round_robin: %.2f", strategy, f.hits, turns.hits)
			}
			// The first requests come all at once, when nothing is known of the engines yet. They are
			// a large part of the slowest, so it is the mean that is compared.
			if got, most := f.mean(), turns.mean()*7/10; got > most {
				late = fmt.Sprintf("%s: mean TTFT is %v, want at most 0.7 of the %v of round_robin", strategy, got, turns.mean())
			}
			if f.took > turns.took*8/10 {
				late = fmt.Sprintf("%s: took %v, want at most 0.8 of the %v of round_robin", strategy, f.took, turns.took)
			}
		}
		return late
	})
}

// TestLiveOthers guards that least_load sees by an engine's gauges what others ask of it, and
// leaves it to them: without the poller it gets as much as the idle engines.
func TestLiveOthers(t *testing.T) {
	const requests = 16 // fewer than those of others and the ones of these that wait together
	share := func(polls bool) int {
		busy, idle := startEngine(t, echomodel.VLLM{Seqs: 2, Prefill: caddy.Duration(time.Second)}), startEngine(t, echomodel.VLLM{})
		g := startGateway(t, polled(strategyLeastLoad, entry(busy.url+"/v1", `, "name": "busy"`), entry(idle.url+"/v1", `, "name": "idle"`)))
		others, stop := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		defer clients.Wait()
		defer stop()
		for n := range 12 { // ask the engine directly, again and again
			clients.Go(func() {
				for k := 0; others.Err() == nil; k++ {
					text := fmt.Sprintf("%d.%d %s", n, k, strings.Repeat("x", 1600)) // 0.4 s
					r, _ := http.NewRequestWithContext(others, http.MethodPost, busy.url+chatPath, strings.NewReader(`{"model":"m","messages":[`+said("user", text)+`]}`))
					if res, err := client.Do(r); err == nil {
						io.Copy(io.Discard, res.Body)
						res.Body.Close()
					}
				}
			})
		}
		eventually(t, "the engine to be busy", func() bool { return busy.metrics(t)["vllm:num_requests_waiting"] > 5 })
		if polls {
			g.asksEngines()
			eventually(t, "the gauges", func() bool {
				load, _, ok := g.stateOf(0).load.Observed()
				_, _, both := g.stateOf(1).load.Observed()
				return ok && both && load.Waiting > 5
			})
		}
		var count atomic.Int64
		var askers sync.WaitGroup
		for range requests { // at once, so that their own counts share them out
			askers.Go(func() {
				if g.goes(t, chatPath, chat("")) == "busy" {
					count.Add(1)
				}
			})
		}
		askers.Wait()
		return int(count.Load())
	}
	with, without := share(true), share(false)
	t.Logf("of %d requests the busy engine got %d with gauges and %d without", requests, with, without)
	if with > requests/8 {
		t.Errorf("the busy engine got %d of %d requests, want at most an eighth", with, requests)
	}
	if without < requests/4 {
		t.Errorf("without gauges it got %d of %d, want as good as half: the test shows nothing", without, requests)
	}
}
