package echomodel

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func (g *rig) metrics(t *testing.T) string {
	t.Helper()
	res, err := client.Get(g.http.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// wantMetrics fails unless these lines stand in the metrics.
func (g *rig) wantMetrics(t *testing.T, values ...string) {
	t.Helper()
	text := g.metrics(t)
	for _, value := range values {
		name, number, _ := strings.Cut(value, " ")
		if line := fmt.Sprintf("\nvllm:%s{engine=\"0\",model_name=\"m\"} %s\n", name, number); !strings.Contains(text, line) {
			t.Errorf("no line %q in\n%s", strings.TrimSpace(line), text)
		}
	}
}

// TestVLLMMetrics guards the names and values of what is published.
func TestVLLMMetrics(t *testing.T) {
	plain := newRig(t, Options{})
	if got := plain.metrics(t); got != "engine admin route\n" {
		t.Errorf("without vllm: got %q", got)
	}

	g := newRig(t, Options{Models: []string{"m"}, VLLM: &VLLM{Seqs: 1, Cache: 1600}})
	post := func(echo string, system int) {
		body := fmt.Sprintf(`{"model":"m","messages":[{"role":"system","content":"%s"},{"role":"user","content":"hi"}]%s}`, strings.Repeat("x", system), echo)
		res, err := client.Post(g.http.URL+"/v1/chat/completions", "application/json", strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("got status %d and error %v", res.StatusCode, err)
		}
		res.Body.Close()
	}
	g.wantMetrics(t, "num_requests_running 0", "num_requests_waiting 0", "kv_cache_usage_perc 0", "prefix_cache_queries_total 0", "prefix_cache_hits_total 0")
	post("", 1280) // with what is around it 1,343 bytes: 20 blocks of 64
	g.wantMetrics(t, "prefix_cache_queries_total 320", "prefix_cache_hits_total 0")
	post("", 1280)
	g.wantMetrics(t, "prefix_cache_queries_total 640", "prefix_cache_hits_total 320", "kv_cache_usage_perc 0")

	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { post(`,"echo":{"ttft":"300ms"}`, 1280) })
	}
	until := time.Now().Add(patience)
	for !strings.Contains(g.metrics(t), "num_requests_waiting{engine=\"0\",model_name=\"m\"} 1\n") {
		if time.Now().After(until) {
			t.Fatal("no request waits")
		}
	}
	g.wantMetrics(t, "num_requests_running 1", "num_requests_waiting 1", "kv_cache_usage_perc 0.2")
	wg.Wait()
	g.wantMetrics(t, "num_requests_running 0", "num_requests_waiting 0", "kv_cache_usage_perc 0")
}

// TestVLLMTimes guards how long prompts take: what is cached takes no time, and prompts are
// computed one after the other.
func TestVLLMTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newVLLM(&VLLM{Cache: 1600, Prefill: caddy.Duration(time.Second)})
		prompt := func(letter string, blocks int) []byte { return []byte(strings.Repeat(letter, blocks*blockBytes)) }
		f := func(name string, want time.Duration, parts ...[]byte) {
			t.Helper()
			if _, wait := e.compute(parts...); wait != want {
				t.Errorf("%s: got %v, want %v", name, wait, want)
			}
		}
		const block = 16 * time.Millisecond
		f("new", 50*block, prompt("a", 50))
		f("behind it", 60*block, prompt("b", 10))
		time.Sleep(time.Minute)
		f("again", 0, prompt("a", 50))
		f("longer", 5*block, prompt("a", 55))
		time.Sleep(time.Minute)
		f("a second part", 2*block, prompt("a", 55), nil, prompt("c", 2))
		time.Sleep(time.Minute)
		f("too much for the cache", 95*block, prompt("d", 95))
		time.Sleep(time.Minute)
		f("what was asked for longest ago is gone", 10*block, prompt("b", 10))
	})
}

func TestVLLMConfig(t *testing.T) {
	var h Handler
	text := "echo_model m {\nvllm {\nseqs 8\ncache 5000\nprefill 20ms\n}\n}"
	if err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err != nil {
		t.Fatal(err)
	}
	if got, want := *h.VLLM, (VLLM{8, 5000, caddy.Duration(20 * time.Millisecond)}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	for option, want := range map[string]string{
		"seqs -1":    "vllm: seqs: ",
		"cache x":    "vllm: cache: ",
		"prefill 5":  "vllm: prefill: ",
		"seqs":       "vllm: seqs: want one argument",
		"slots 5":    `vllm: unknown option "slots": want one of seqs, cache, prefill`,
		"seqs 1 2":   "vllm: seqs: want one argument",
		"prefill -1": "vllm: prefill: ",
	} {
		var h Handler
		if err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser("echo_model {\nvllm {\n" + option + "\n}\n}")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v, want %s", option, err, want)
		}
	}
	for _, v := range []VLLM{{Seqs: -1}, {Cache: -1}, {Prefill: -1}, {Seqs: maxTokens + 1}} {
		if err := (&Handler{VLLM: &v}).Validate(); err == nil || !strings.Contains(err.Error(), "vllm: ") {
			t.Errorf("%v: got error %v", v, err)
		}
	}
}
