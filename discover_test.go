package aigateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/engine"
)

// modelList is an answer of /v1/models of vLLM, with the length of the context behind each
// name.
func modelList(models ...string) string {
	var entries []string
	for _, m := range models {
		name, length, _ := strings.Cut(m, ":")
		entries = append(entries, fmt.Sprintf(`{"id":%q,"object":"model","owned_by":"vllm","max_model_len":%s}`, name, "0"+length))
	}
	return `{"object":"list","data":[` + strings.ReplaceAll(strings.Join(entries, ","), ":0", ":") + `]}`
}

// lists returns what /v1/models lists for the client, as NAME or NAME:CONTEXT.
func (g *gateway) lists(t testing.TB, key string) (models []string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, g.url+"/v1/models", http.NoBody)
	must(t, err)
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	res, err := client.Do(r)
	must(t, err)
	var list struct {
		Object string      `json:"object"`
		Data   []modelInfo `json:"data"`
	}
	must(t, json.Unmarshal([]byte(readAll(t, res.Body)), &list))
	for _, m := range list.Data {
		if m.Object != "model" || m.Created == 0 || m.OwnedBy != "caddy-ai-gateway" || list.Object != "list" {
			t.Errorf("got %+v of a %s", m, list.Object)
		}
		if m.MaxModelLen > 0 {
			m.ID += fmt.Sprint(":", m.MaxModelLen)
		}
		models = append(models, m.ID)
	}
	return models
}

func wantModels(t testing.TB, g *gateway, key string, want ...string) {
	t.Helper()
	if got := g.lists(t, key); !slices.Equal(got, want) {
		t.Errorf("got models %q, want %q", got, want)
	}
}

// told has the scout of an entry, or its instance, tell of these models, as the poller notes.
func (g *gateway) told(i *instance, models ...string) {
	f := &facts{Facts: engine.Facts{Engine: engine.VLLM}}
	for _, m := range models {
		f.Models = append(f.Models, engine.Model{ID: m})
	}
	before := i.state.facts.Swap(f)
	if i.scouts() {
		g.store.discovers(i, before)
	}
}

func (g *gateway) scout(n int) *instance { return g.store.snapshot().fleet.scouts[n] }

func (g *gateway) chats(t testing.TB, model string, want int) string {
	t.Helper()
	status, body := g.post(t, chatPath, fmt.Sprintf(`{"model": %q, "messages": []}`, model))
	if status != want {
		t.Errorf("%s: got %d %s, want %d", model, status, body, want)
	}
	return body
}

// TestDiscover guards, with a server that is polled, that its models come and go with its
// list, and are kept while it does not answer.
func TestDiscover(t *testing.T) {
	s := startAskable(t, vllmAnswers("0", "0", "0"))
	s.set("/v1/models", says(200, modelList("a:100", "org/b:200")))
	g := startGateway(t, polled(strategyRoundRobin, `{"url": "`+s.URL+`/v1", "discover": true, "engine": "vllm", "api_key": "sk-box"}`))
	wantModels(t, g, "")
	g.chats(t, "a", 404)
	g.asksEngines()
	eventually(t, "models to be discovered", func() bool { return g.store.snapshot().fleet.pool("org/b") != nil })
	wantModels(t, g, "", "a:100", "org/b:200")
	g.chats(t, "a", 200)
	g.chats(t, "org/b", 200)
	if r := s.last(t); r.header.Get("Authorization") != "Bearer sk-box" || !strings.Contains(r.body, `"org/b"`) {
		t.Errorf("got %q with %q", r.body, r.header.Get("Authorization"))
	}
	g.chats(t, "c", 404)
	wantEvent(t, g, modelsChanged, strings.TrimPrefix(s.URL, "http://")+"/v1", "2 instances added, 0 removed, 0 changed; 0 settings changed")
	b := g.store.snapshot().fleet.pool("org/b").tiers[primary].all[0]

	// Falling asleep and waking up has it asked anew.
	s.set("/v1/models", says(200, modelList("org/b:300", "c:50")))
	s.set("/is_sleeping", says(200, `{"is_sleeping":true}`))
	rests := func() bool {
		left, _ := b.state.health.resting(clock())
		return left > 0
	}
	eventually(t, "the model to rest with its server", rests)
	s.set("/is_sleeping", says(200, `{"is_sleeping":false}`))
	eventually(t, "the other list", func() bool { return g.store.snapshot().fleet.pool("c") != nil })
	eventually(t, "the end of the rest", func() bool { return !rests() })
	wantModels(t, g, "", "c:50", "org/b:300")
	g.chats(t, "c", 200)
	g.chats(t, "a", 404)
	if now := g.store.snapshot().fleet.pool("org/b").tiers[primary].all[0]; now.state != b.state {
		t.Error("the model that stays has lost its state")
	}
	if st := g.store.status(); len(st.Discovered) != 1 || !st.Discovered[0].Answered || !slices.Equal(st.Discovered[0].Models, []string{"c", "org/b"}) ||
		len(st.Models) != 2 || !st.Models[0].Tiers[0].Instances[0].Discovered {
		t.Errorf("got %+v, %+v", st.Discovered, st.Models)
	}

	// A server that is loading, lists nothing, or is not there, keeps what it told.
	for _, answer := range []http.HandlerFunc{says(503, `loading`), says(200, modelList()), says(200, `<html>`), says(404, ``)} {
		s.set("/v1/models", answer)
		s.set("/is_sleeping", says(200, `{"is_sleeping":true}`))
		eventually(t, "the model to rest", rests)
		count := s.asked()["GET /v1/models"]
		s.set("/is_sleeping", says(200, `{"is_sleeping":false}`))
		eventually(t, "the list to be asked for", func() bool { return s.asked()["GET /v1/models"] > count })
		eventually(t, "the end of the rest", func() bool { return !rests() })
		wantModels(t, g, "", "c:50", "org/b:300")
	}
}

// TestDiscoverBeside guards which of the file and of a server's list names a model.
func TestDiscoverBeside(t *testing.T) {
	own, other, cloud := startWitness(t, nil), startWitness(t, nil), startWitness(t, nil)
	g := startGateway(t, fmt.Sprintf(`{
		"instances": [
			{"url": %[1]q, "model_name": "alias", "upstream_model": "Org/Model", "discover": true, "name": "own"},
			{"url": %[1]q, "model_name": "fast", "weight": 2},
			{"url": %[2]q, "model_name": "shared"},
		],
		"fallback_instances": [{"url": %[3]q, "discover": true, "max_concurrency": 3}],
	}`, own.URL+"/v1", other.URL+"/v1", cloud.URL+"/v1"))
	wantModels(t, g, "", "alias", "fast", "shared")
	g.told(g.scout(0), "Org/Model", "fast", "shared", "more", "*", "more")
	g.told(g.scout(1), "shared", "cloudy")
	wantModels(t, g, "", "alias", "cloudy", "fast", "more", "shared")
	place := func(model string) (all []string) {
		for _, r := range g.store.snapshot().fleet.pool(model).tiers {
			for _, i := range r.all {
				all = append(all, fmt.Sprint(i.tier, " ", i.name == "own", " ", i.weight, " ", i.upstreamModel, " ", i.maxConcurrency))
			}
		}
		return all
	}
	for model, want := range map[string][]string{
		"alias": {"primary true 1 Org/Model 0"}, "fast": {"primary false 2  0"}, "more": {"primary true 1  0"},
		"shared": {"primary true 1  0", "primary false 1  0", "fallback false 1  3"}, "cloudy": {"fallback false 1  3"},
	} {
		if got := place(model); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", model, got, want)
		}
	}
	g.chats(t, "Org/Model", 404)
	g.chats(t, "cloudy", 200)
	if cloud.count() != 1 {
		t.Errorf("the cloud got %d requests, want 1", cloud.count())
	}

	// A saved file keeps what is known, and what it takes over.
	more := g.store.snapshot().fleet.pool("more").tiers[primary].all[0]
	more.state.inFlight.Add(1)
	defer more.state.inFlight.Add(-1)
	g.save(t, fmt.Sprintf(`{"instances": [{"url": %q, "discover": true, "drain": true}, {"url": %q, "model_name": "more", "name": "named"}]}`, own.URL+"/v1", own.URL+"/v1"))
	wantModels(t, g, "", "Org/Model", "fast", "more", "shared")
	now := g.store.snapshot().fleet.pool("more").tiers[primary].all
	if len(now) != 1 || now[0].name != "named" || now[0].state != more.state {
		t.Errorf("got %d instances of more, want the file's with the state of that which was discovered", len(now))
	}
	if body := g.chats(t, "fast", 503); !strings.Contains(body, "draining") {
		t.Errorf("got %s, want that it drains", body)
	}
	g.save(t, fleetOf(own.URL+"/v1"))
	wantModels(t, g, "", "m")
	g.told(more, "x") // too late
	g.store.discovers(&instance{id: more.id, state: more.state}, nil)
	wantModels(t, g, "", "m")
}

// TestDiscoverBounds guards how much is believed of a list.
func TestDiscoverBounds(t *testing.T) {
	s := startAskable(t, nil)
	var all []string
	for n := range 300 {
		all = append(all, fmt.Sprintf("m%03d:7", n))
	}
	odd := append([]string{"", "a\x01b", "*", strings.Repeat("x", 257), strings.Repeat("y", 256)}, all...)
	s.answers = map[string]http.HandlerFunc{"/v1/models": func(w http.ResponseWriter, _ *http.Request) {
		var list struct {
			Data []map[string]string `json:"data"`
		}
		for _, m := range odd {
			list.Data = append(list.Data, map[string]string{"id": strings.TrimSuffix(m, ":7")})
		}
		_ = json.NewEncoder(w).Encode(list)
	}}
	g := startGateway(t, polled(strategyRoundRobin, `{"url": "`+s.URL+`/v1", "discover": true, "engine": "generic"}`))
	g.asksEngines()
	eventually(t, "models to be discovered", func() bool { return len(g.store.snapshot().fleet.models) > 0 })
	models := g.lists(t, "")
	if len(models) != maxModels || models[0] != "m000" || models[maxModels-2] != "m254" || models[maxModels-1] != strings.Repeat("y", 256) {
		t.Errorf("got %d models, %q to %q", len(models), models[0], models[len(models)-1])
	}
	if d := g.store.status().Discovered[0]; len(d.Models) != maxModels || d.More == 0 {
		t.Errorf("got %d models and %d more", len(d.Models), d.More)
	}
	if count := strings.Count(scraped(t), "upstream_info{"); count != maxModels {
		t.Errorf("got %d instances in the metrics, want %d", count, maxModels)
	}
}

// TestDiscoverKeys guards that a key may ask for, and sees, its models alone, whoever has told
// of them.
func TestDiscoverKeys(t *testing.T) {
	s := startWitness(t, nil)
	g := startGateway(t, fmt.Sprintf(`{"instances": [{"url": %q, "discover": true}, {"url": %q, "model_name": "*"}], "keys": [%s, %s]}`,
		s.URL+"/v1", s.URL+"/any/v1", keyEntry("one", 1, `, "models": ["a", "any-b"]`), keyEntry("two", 2, "")))
	g.told(g.scout(0), "a", "b")
	g.told(g.store.snapshot().fleet.any.tiers[primary].all[0], "any-a", "any-b", "*")
	wantModels(t, g, testKey(1), "a", "any-b")
	wantModels(t, g, testKey(2), "a", "any-a", "any-b", "b")
	for model, want := range map[string]int{"a": 200, "b": 403, "any-b": 200, "any-a": 403} {
		if got := g.send(t, "POST", chatPath, `{"model": "`+model+`", "messages": []}`, bearer(1)); got.status != want {
			t.Errorf("%s: got %d %s, want %d", model, got.status, got.body, want)
		}
	}
	if got := g.send(t, "GET", "/v1/models/b", "", bearer(1)); got.status != 404 || strings.Contains(got.body, "any-a") {
		t.Errorf("got %d %s of a model of others", got.status, got.body)
	}
	if got := g.send(t, "GET", "/v1/models/any-b", "", bearer(1)); got.status != 200 || !strings.Contains(got.body, `"any-b"`) {
		t.Errorf("got %d %s of a model that an instance for all has told of", got.status, got.body)
	}
}

// TestModelsContext guards which length of the context /v1/models tells.
func TestModelsContext(t *testing.T) {
	s := startWitness(t, nil)
	entry := func(path, more string) string {
		return `{"url": "` + s.URL + path + `", "model_name": "m"` + more + `}`
	}
	g := startGateway(t, `{"instances": [`+entry("/1", "")+", "+entry("/2", `, "upstream_model": "u"`)+`], "fallback_instances": [`+entry("/3", "")+`]}`)
	wantModels(t, g, "", "m")
	tells := func(n int, models ...engine.Model) {
		g.stateOf(n).facts.Store(&facts{Facts: engine.Facts{Engine: engine.VLLM, Models: models}})
	}
	tells(2, engine.Model{ID: "m", Context: 900})
	wantModels(t, g, "", "m:900")
	tells(0, engine.Model{ID: "m", Context: 100}, engine.Model{ID: "u", Context: 800})
	wantModels(t, g, "", "m:100")
	tells(1, engine.Model{ID: "m", Context: 700}, engine.Model{ID: "u", Context: 200})
	wantModels(t, g, "", "m:200")
	res, err := client.Get(g.url + "/v1/models/m")
	must(t, err)
	if body := readAll(t, res.Body); !strings.Contains(body, `"max_model_len":200`) {
		t.Errorf("got %s", body)
	}
	g.save(t, `{"instances": [`+entry("/1", `, "context_length": 4096`)+`]}`)
	wantModels(t, g, "", "m:4096")
	if s.count() != 0 {
		t.Errorf("the instances were asked %d times", s.count())
	}
}

// TestDiscoverResolve guards a name whose servers have different models.
func TestDiscoverResolve(t *testing.T) {
	port := startReplicas(t, 2, false, func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/models" {
				says(200, modelList("both:10", fmt.Sprintf("only-%d:10", n)))(w, r)
				return
			}
			fmt.Fprintf(w, `{"from": %d}`, n)
		}
	})
	names := startNameServer(t)
	names.set(t, "models.test", "A 127.0.0.1", "A 127.0.0.2")
	g := startGateway(t, fmt.Sprintf(`{"poll": {"interval": 0.5}, "dns": {"servers": [%q]}, "instances": [{"url": "http://models.test:%s/v1", "resolve": "a", "discover": true}]}`,
		names.address, port))
	g.asksEngines()
	eventually(t, "both servers to tell", func() bool { return len(g.store.snapshot().fleet.models) == 3 })
	wantModels(t, g, "", "both:10", "only-1:10", "only-2:10")
	for range 2 {
		if body := g.chats(t, "only-2", 200); body != `{"from": 2}` {
			t.Errorf("got %s", body)
		}
	}
	names.set(t, "models.test", "A 127.0.0.1")
	g.refresh(t)
	wantModels(t, g, "", "both:10", "only-1:10")
}

// TestDiscoverChurn guards that requests for a model that stays see nothing of lists that change.
func TestDiscoverChurn(t *testing.T) {
	s := startWitness(t, nil)
	g := startGateway(t, `{"instances": [{"url": "`+s.URL+`/v1", "discover": true}]}`)
	g.told(g.scout(0), "stays")
	stop := make(chan struct{})
	var under sync.WaitGroup
	for range 20 {
		under.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					g.chats(t, "stays", 200)
				}
			}
		})
	}
	for n := range 100 {
		g.told(g.scout(0), "stays", fmt.Sprint("comes-", n))
		seen := s.count()
		eventually(t, "requests between changes", func() bool { return s.count() > seen })
	}
	close(stop)
	under.Wait()
	wantModels(t, g, "", "comes-99", "stays")
}
