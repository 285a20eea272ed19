package aigateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/json5"
)

// models checks key, model, engine and clock by the list of models.
func (v *visit) models(ctx context.Context) {
	got, err := v.get(ctx, v.base+"/models")
	if err != nil {
		v.tell("key", skipped, "not known: no answer")
		v.tell("model", bad, "GET %s/models: %s", v.base, cause(err))
		return
	}
	v.clock(got.date)
	switch status := got.status; {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		hint := "the instance refuses the key of the file"
		if !v.ownKey {
			hint = "the instance wants a key and the file has none; those of clients go through"
		}
		v.tell("key", bad, "%s (status %d)", hint, status)
		v.tell("model", skipped, "not known without a key")
		return
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed:
		v.tell("key", skipped, "not known: it lists no models (status %d)", status)
		v.tell("model", skipped, "it lists no models")
		return
	case status != http.StatusOK:
		v.tell("key", skipped, "not known")
		v.tell("model", bad, "GET %s/models: status %d, want 200", v.base, status)
		return
	}
	if v.ownKey {
		v.tell("key", good, "accepted")
	} else {
		v.tell("key", good, "none is wanted for the list of models")
	}
	v.model(got.text)
}

// modelEntry is a model that an instance has: OpenAI's members and vLLM's max_model_len.
type modelEntry struct {
	ID          string `json:"id"`
	OwnedBy     string `json:"owned_by"`
	MaxModelLen int64  `json:"max_model_len"`
}

// model looks for the model of the file in a list of models.
func (v *visit) model(text []byte) {
	var list struct {
		Data []modelEntry `json:"data"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		v.tell("model", bad, "GET %s/models answers no list of models", v.base)
		return
	}
	if len(list.Data) > 0 {
		v.program(list.Data[0].OwnedBy)
	}
	want := v.upstreamModel
	if want == "" {
		want = v.instance.model
	}
	if want == anyModel {
		v.tell("model", skipped, "the file takes every model; it has %d", len(list.Data))
		return
	}
	if v.scouts() {
		v.tell("model", good, "the file takes what it lists: %s", plural(len(list.Data), "model"))
		return
	}
	var known []string
	for _, m := range list.Data {
		if m.ID == want {
			length := ""
			if m.MaxModelLen > 0 {
				length = fmt.Sprintf(", max_model_len %d", m.MaxModelLen)
			}
			v.tell("model", good, "it has %s%s", want, length)
			return
		}
		known = append(known, m.ID)
	}
	hint := "it has " + strings.Join(known[:min(len(known), 5)], ", ")
	if near := json5.Nearest(want, known); near != "" {
		hint = "is upstream_model " + near + "?"
	}
	v.tell("model", bad, "it does not have %s; %s", want, hint)
}

// owners are what engines say of their models.
var owners = map[string]string{"vllm": "vllm", "sglang": "sglang", "llamacpp": "llama.cpp", "library": "ollama"}

// program compares the engine.
func (v *visit) program(owner string) {
	found := owners[owner]
	switch {
	case found == "":
		v.tell("engine", skipped, "not told")
	case v.engine == "" || v.engine == found:
		v.tell("engine", good, "%s", found)
	default:
		v.tell("engine", bad, "it is %s, the file says %s", found, v.engine)
	}
}

// clock compares the clocks.
func (v *visit) clock(told string) {
	date, err := http.ParseTime(told)
	if err != nil {
		v.tell("clock", skipped, "not told")
		return
	}
	if skew := time.Since(date).Round(time.Second); skew > maxSkew || skew < -maxSkew {
		v.tell("clock", bad, "it differs by %v from this machine's", skew.Abs())
		return
	}
	v.tell("clock", good, "as this machine's")
}

// health asks how the instance is, and of which version.
func (v *visit) health(ctx context.Context) {
	switch got, err := v.get(ctx, v.root+"/health"); {
	case err != nil:
		v.tell("health", bad, "GET %s/health: %s", v.root, cause(err))
	case got.status == http.StatusOK:
		v.tell("health", good, "well")
	case got.status < 500:
		v.tell("health", skipped, "not told (status %d)", got.status)
	default:
		v.tell("health", bad, "GET %s/health: status %d", v.root, got.status)
	}
	got, err := v.get(ctx, v.root+"/version")
	var told struct {
		Version string `json:"version"`
	}
	if err != nil || got.status != http.StatusOK || json.Unmarshal(got.text, &told) != nil || told.Version == "" || len(told.Version) > 100 {
		v.tell("version", skipped, "not told")
		return
	}
	v.tell("version", good, "%s", told.Version)
}

// probes are the requests of one token, by the gateway's path. They are as small as
// the APIs allow.
var probes = []struct{ api, path, body string }{
	{"chat", "/v1/chat/completions", `{"model":%s,"max_tokens":1,"messages":[{"role":"user","content":"hi"}]}`},
	{"completions", "/v1/completions", `{"model":%s,"max_tokens":1,"prompt":"hi"}`},
	{"responses", "/v1/responses", `{"model":%s,"max_output_tokens":1,"input":"hi"}`},
	{"messages", "/v1/messages", `{"model":%s,"max_tokens":1,"messages":[{"role":"user","content":"hi"}]}`},
}

// dialects asks each API.
func (v *visit) dialects(ctx context.Context) {
	model := v.upstreamModel
	if model == "" {
		model = v.instance.model
	}
	if v.scouts() {
		v.tell("apis", skipped, "no model is known to ask for")
		return
	}
	if model == anyModel {
		v.tell("apis", skipped, "the file takes every model, none is known to ask for")
		return
	}
	name, _ := json.Marshal(model) // a string always encodes
	for _, p := range probes {
		path, query := v.target(&route{path: p.path, rest: strings.TrimPrefix(p.path, "/v1")})
		if query != "" {
			path += "?" + query
		}
		d := openAI
		if p.api == "messages" {
			d = anthropic
		}
		got, err := v.send(ctx, http.MethodPost, path, d, strings.NewReader(fmt.Sprintf(p.body, name)))
		switch {
		case err != nil:
			v.tell(p.api, bad, "%s", cause(err))
		case got.status == http.StatusOK:
			v.tell(p.api, good, "answers")
		case got.status == http.StatusUnauthorized, got.status == http.StatusForbidden, got.status >= 500 && got.status != http.StatusNotImplemented:
			v.tell(p.api, bad, "status %d", got.status)
		default:
			v.tell(p.api, skipped, "not served, or not so (status %d)", got.status)
		}
	}
}
