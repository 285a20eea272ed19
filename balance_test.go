package aigateway

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/balance"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/splice"
)

// affinityGateway is a gateway with so many instances of model m.
func affinityGateway(t *testing.T, instances int, options ...string) (*gateway, []*witness) {
	t.Helper()
	var servers []*witness
	var urls []string
	for range instances {
		s := startWitness(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":40,"total_tokens":50}}`)
		})
		servers, urls = append(servers, s), append(urls, s.URL+"/v1")
	}
	fleet := fleetOf(urls...)
	if len(options) == 0 {
		fleet = strings.Replace(fleet, "{", `{"load_balancing_strategy": "prefix_affinity", `, 1)
	}
	return startGateway(t, fleet, options...), servers
}

// goes sends a body and returns the name of the instance that has answered.
func (g *gateway) goes(t *testing.T, path, body string, header ...string) string {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, g.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for n := 0; n < len(header); n += 2 {
		r.Header.Set(header[n], header[n+1])
	}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if text := readAll(t, res.Body); res.StatusCode != http.StatusOK {
		t.Fatalf("got status %d %s", res.StatusCode, text)
	}
	return res.Header.Get("X-Ai-Gateway-Upstream")
}

// TestAffinityByDialect guards that through the gateway each conversation stays with its
// instance in every dialect, and that conversations do not all go to the same one.
func TestAffinityByDialect(t *testing.T) {
	for _, options := range [][]string{nil, {"lb_policy prefix_affinity"}} {
		g, _ := affinityGateway(t, 4, options...)
		for path, turn := range map[string]func(talk, turns int) string{
			"/v1/chat/completions": func(talk, turns int) string { return `{"model":"m","messages":[` + talkOf(talk, turns) + `]}` },
			"/v1/messages": func(talk, turns int) string {
				return `{"messages":[` + talkOf(talk, turns) + `],"system":"brief","model":"m"}`
			},
			"/v1/responses": func(talk, turns int) string {
				return "{\n \"model\": \"m\",\n \"input\": [ " + talkOf(talk, turns) + ` ] }`
			},
			"/v1/completions": func(talk, turns int) string {
				return fmt.Sprintf(`{"model":"m","prompt":"%d %s"}`, talk, strings.Repeat("more and more ", 100*turns))
			},
		} {
			used := make(map[string]bool)
			for talk := range 24 {
				first := g.goes(t, path, turn(talk, 1))
				used[first] = true
				for turns := 2; turns < 5; turns++ {
					if got := g.goes(t, path, turn(talk, turns)); got != first {
						t.Fatalf("%s, talk %d: turn %d went to %s, the first to %s", path, talk, turns, got, first)
					}
				}
			}
			if len(used) < 3 {
				t.Errorf("%s: 24 conversations went to %d instances of 4", path, len(used))
			}
		}
	}
}

func talkOf(talk, turns int) string {
	text := fmt.Sprintf(`{"role":"user","content":"the question of talk %d"}`, talk)
	for n := 1; n < turns; n++ {
		text += fmt.Sprintf(`, {"role":"assistant","content":"answer %d"},{"role":"user","content":"and %d?"}`, n, n)
	}
	return text
}

// TestSessionStays guards that a session goes by its header or member, whatever is asked,
// and with requests that have no prompt at all.
func TestSessionStays(t *testing.T) {
	g, _ := affinityGateway(t, 4)
	for name, send := range map[string]func(session, n int) string{
		"header": func(session, n int) string {
			return g.goes(t, chatPath, fmt.Sprintf(`{"model":"m","messages":[{"role":"user","content":"%d of %d"}]}`, n, session), "X-Session-Id", fmt.Sprint(session))
		},
		"header, embeddings": func(session, n int) string {
			return g.goes(t, "/v1/embeddings", fmt.Sprintf(`{"model":"m","input":"%d"}`, n), "X-Conversation-Id", fmt.Sprintf("e%d", session))
		},
		"prompt_cache_key": func(session, n int) string {
			return g.goes(t, "/v1/responses", fmt.Sprintf(`{"model":"m","input":"%d","user":"u%d","prompt_cache_key":"k%d"}`, n, n, session))
		},
		"user": func(session, n int) string {
			return g.goes(t, "/v1/completions", fmt.Sprintf(`{"model":"m","prompt":"%d","user":"u%d"}`, n, session))
		},
	} {
		used := make(map[string]bool)
		for session := range 16 {
			first := send(session, 0)
			used[first] = true
			for n := 1; n < 4; n++ {
				if got := send(session, n); got != first {
					t.Fatalf("%s: request %d of session %d went to %s, the first to %s", name, n, session, got, first)
				}
			}
		}
		if len(used) < 2 {
			t.Errorf("%s: 16 sessions went to one instance", name)
		}
	}
}

// TestAffinityOutlives guards that what is known survives a swap of the file, and what an
// ejected instance had is forgotten.
func TestAffinityOutlives(t *testing.T) {
	g, servers := affinityGateway(t, 3)
	ask := func(talk, turns int) string {
		return g.goes(t, chatPath, `{"model":"m","messages":[`+talkOf(talk, turns)+`]}`)
	}
	const talks = 12
	var at [talks]string
	for talk := range at {
		at[talk] = ask(talk, 1)
	}
	entries := make([]string, 0, len(servers)+1)
	for _, s := range servers {
		entries = append(entries, fmt.Sprintf(`{"url": "%s/v1", "model_name": "m", "weight": 2}`, s.URL))
	}
	entries = append(entries, fmt.Sprintf(`{"url": "%s/v1", "model_name": "m", "weight": 2}`, startWitness(t, nil).URL))
	g.save(t, `{"load_balancing_strategy": "prefix_affinity", "instances": [`+strings.Join(entries, ",")+`]}`)
	for talk := range at {
		if got := ask(talk, 2); got != at[talk] {
			t.Errorf("talk %d went to %s after the swap, and to %s before", talk, got, at[talk])
		}
	}
	for _, i := range g.store.snapshot().fleet.instances {
		if i.name != at[0] {
			continue
		}
		p := new(balance.Prompt)
		body := []byte(`{"model":"m","messages":[` + talkOf(0, 3) + `]}`)
		p.Read(openai.Chat, "m", "", body, splice.Value{})
		set, usable := g.store.snapshot().fleet.pools["m"].tiers[primary].set, func(int) bool { return true }
		table := g.store.snapshot().fleet.pools["m"].state.table()
		if set.Affinity(table, p, balance.Ask{Bytes: len(body)}, usable); p.Cached == 0 {
			t.Error("before the ejection nothing is taken to be cached")
		}
		i.state.health.mu.Lock()
		i.state.health.out(reasonConnect, clock(), 0)
		i.state.health.mu.Unlock()
		if n := set.Affinity(table, p, balance.Ask{Bytes: len(body)}, usable); p.Cached != 0 {
			t.Errorf("after the ejection of %s %d bytes are taken to be cached by instance %d", i.name, p.Cached, n)
		}
	}
}

// TestLoadIsGivenBack guards that what requests count as load is taken and given back, however
// they end, and that the answers' tokens are learnt.
func TestLoadIsGivenBack(t *testing.T) {
	entered, release := make(chan struct{}, 8), make(chan struct{})
	slow := startWitness(t, func(w http.ResponseWriter, _ *http.Request) {
		entered <- struct{}{}
		<-release
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":40,"total_tokens":50}}`)
	})
	g := startGateway(t, strings.Replace(fleetOf(slow.URL+"/v1"), "{", `{"load_balancing_strategy": "least_load", `, 1))
	i := g.store.snapshot().fleet.instances[0]
	body := `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("word ", 800) + `"}]}`
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { g.post(t, chatPath, body) })
	}
	for range 3 {
		<-entered
	}
	if got, want := i.state.load.Own(), int64(3*(len(body)/4)); got != want {
		t.Errorf("three requests under way count as %d tokens, want %d", got, want)
	}
	close(release)
	wg.Wait()
	eventually(t, "the load to be given back", func() bool { return i.state.load.Own() == 0 })
	eventually(t, "the length of answers to be learnt", func() bool {
		return math.Abs(g.store.snapshot().fleet.pools["m"].state.output.Value(0)-40) < 1e-9
	})
}

// TestPlainPolicies guards the two policies in a plain reverse_proxy, as Caddyfiles name them.
func TestPlainPolicies(t *testing.T) {
	var hold atomic.Bool
	release := make(chan struct{})
	var servers []*witness
	var dials []string
	for range 3 {
		w := startWitness(t, func(http.ResponseWriter, *http.Request) {
			if hold.Load() {
				<-release
			}
		})
		servers, dials = append(servers, w), append(dials, strings.TrimPrefix(w.URL, "http://"))
	}
	counts := func() (counts [3]int, used int) {
		for n, w := range servers {
			if counts[n] = w.count(); counts[n] > 0 {
				used++
			}
		}
		return counts, used
	}
	for _, policy := range []string{"least_load", "prefix_affinity"} {
		address := freeAddress(t)
		loadCaddyfile(t, filepath.Join(t.TempDir(), "Caddyfile"), fmt.Sprintf("http://%s {\n\treverse_proxy %s {\n\t\tlb_policy %s\n\t}\n}\n",
			address, strings.Join(dials, " "), policy))
		g := &gateway{url: "http://" + address}
		for _, w := range servers {
			w.mu.Lock()
			w.seen = nil
			w.mu.Unlock()
		}
		for range 30 {
			g.goes(t, "/", "", "X-Session-Id", "one")
		}
		if got, used := counts(); policy == "least_load" && used < 2 || policy == "prefix_affinity" && used != 1 {
			t.Errorf("%s: a session's 30 requests went to the upstreams as %v", policy, got)
		}
		before, _ := counts()
		hold.Store(true)
		var wg sync.WaitGroup
		for n := range 12 { // one after the other, all held
			wg.Go(func() { g.goes(t, "/", "", "X-Session-Id", "one") })
			eventually(t, "the request to arrive", func() bool {
				got, _ := counts()
				return got[0]+got[1]+got[2] == before[0]+before[1]+before[2]+n+1
			})
		}
		got, _ := counts()
		most := max(got[0]-before[0], got[1]-before[1], got[2]-before[2])
		if limit := map[string]int{"least_load": 6, "prefix_affinity": 8}[policy]; most > limit {
			t.Errorf("%s: of 12 requests at once %d are at one upstream, want at most %d", policy, most, limit)
		}
		for range 12 {
			release <- struct{}{}
		}
		hold.Store(false)
		wg.Wait()
	}

	request := httptest.NewRequest(http.MethodPost, "/", http.NoBody)
	request.Header.Set("X-Session-Affinity", "s")
	if got := (LeastLoad{}).Select(nil, request, nil); got != nil {
		t.Error("chosen from none")
	}
	if got := (PrefixAffinity{}).Select(nil, request, nil); got != nil {
		t.Error("chosen from none")
	}
	for text, want := range map[string]string{
		"least_load 5":               "least_load: got 1 arguments, want none",
		"prefix_affinity {\n cap\n}": `prefix_affinity: got option "cap", want none`,
	} {
		if err := onlyName(caddyfile.NewTestDispenser(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v, want %s", text, err, want)
		}
	}
}
