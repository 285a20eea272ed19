package aigateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// openAPI is the part of the document that the test reads.
type openAPI struct {
	Paths map[string]map[string]struct {
		Responses map[string]struct {
			Content map[string]struct {
				Schema json.RawMessage `json:"schema"`
			} `json:"content"`
		} `json:"responses"`
	} `json:"paths"`
}

// TestOpenAPI guards that openapi.json has the paths and methods that are served and
// no others, and that every status it names is answered with a body of its schema.
func TestOpenAPI(t *testing.T) {
	m := startMoody(t)
	names := startNameServer(t)
	names.set(t, "models.test", "A 127.0.0.1")
	g := startAdmin(t, `{"dns": {"servers": ["`+names.address+`"]}, "record": {"browse": true}, "instances": [`+m.entry(`, "name": "box", "max_concurrency": 3, "engine": "vllm", "upstream_model": "u"`)+", "+m.entry(`, "api_key": "k"`)+`, {"url": "http://models.test", "resolve": "a", "discover": true}`+
		`], "fallback_instances": [`+entry(m.URL+"/w", "")+`]}`)
	g.told(g.scout(0), "told")
	g.asks(t, 5)
	g.steer(t, "box", "drain")
	g.put(1, func(h *health, now time.Duration) { h.out(reasonConnect, now, time.Hour) })
	_, _, text := g.call(t, "GET", "/openapi.json")
	var doc openAPI
	must(t, json.Unmarshal([]byte(text), &doc))

	documented := 0
	for path, methods := range doc.Paths {
		documented += len(methods)
		for method := range methods {
			if r, _, err := findRoute(&http.Request{Method: strings.ToUpper(method), URL: mustParse(t, path)}); err != nil || adminRoot+r.path != path {
				t.Errorf("%s %s is not served: %v", method, path, err)
			}
		}
	}
	for _, r := range adminRoutes {
		if doc.Paths[adminRoot+r.path][strings.ToLower(r.method)].Responses == nil {
			t.Errorf("%s %s is missing in openapi.json", r.method, r.path)
		}
	}
	if documented != len(adminRoutes) {
		t.Errorf("got %d operations, want %d", documented, len(adminRoutes))
	}

	at := g.recorded(t)
	_, _, ui := g.call(t, "GET", "/ui/")
	_, asset, _ := strings.Cut(ui, `href="assets/`)
	asset, _, _ = strings.Cut(asset, `"`)
	plain := &http.Client{Transport: client.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ask := func(method, target, kind, form string) (int, http.Header, string) {
		t.Helper()
		r, err := http.NewRequest(method, "http://"+g.admin+adminRoot+target, strings.NewReader(form))
		must(t, err)
		r.Header.Set("Content-Type", kind)
		res, err := plain.Do(r)
		must(t, err)
		return res.StatusCode, res.Header, readAll(t, res.Body)
	}
	answered := make(map[string]bool)
	f := func(path, method, query string) {
		t.Helper()
		kind, form := "application/x-www-form-urlencoded", ""
		switch {
		case query == "415":
			kind, query = "text/plain", "?"
		case strings.HasPrefix(query, "form "):
			form, query = query[len("form "):], "?"
		}
		target := strings.TrimPrefix(strings.ReplaceAll(path, "{instance}", "box"), adminRoot) + query
		if strings.Contains(query, "{instance}") {
			target = strings.TrimPrefix(strings.ReplaceAll(path, "{instance}", query[len("{instance}="):]), adminRoot)
		}
		asked := method
		if query == "405" {
			target, asked = strings.TrimSuffix(target, query), "DELETE"
		}
		if path == adminRoot+"/events" && query == "?" {
			g.listen(t, "") // which checks the type
			answered[path+" 200"] = true
			return
		}
		if path == adminRoot+"/ui/feed" && query == "?" {
			asked = http.MethodHead
		}
		target = strings.NewReplacer("{version}/{file}", asset, "AT", url.QueryEscape(at)).Replace(target)
		status, header, body := ask(asked, target, kind, form)
		key := fmt.Sprintf("%s %d", path, status)
		answered[key] = true
		documented, ok := doc.Paths[path][strings.ToLower(method)].Responses[fmt.Sprint(status)]
		if ok && documented.Content == nil && body == "" {
			return
		}
		schema := documented.Content[header.Get("Content-Type")].Schema
		if schema == nil {
			t.Errorf("%s %s: got %d %s, which openapi.json has not", method, target, status, header.Get("Content-Type"))
			return
		}
		if header.Get("Content-Type") != "application/json" {
			return
		}
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
		must(t, err)
		if err := compile(t, text, schema).Validate(value); err != nil {
			t.Errorf("%s %s: %s is not as openapi.json says: %v", method, target, body, err)
		}
	}
	for _, r := range adminRoutes {
		path := adminRoot + r.path
		for _, query := range []string{"?", "?x=1", "?config=nowhere", "405"} {
			switch {
			case query != "?":
			case r.path == "/explain":
				query = "?model=m&prompt_bytes=1"
			case r.path == "/records/exchange" || r.path == "/records/conversation":
				query = "?at=AT"
			}
			f(path, r.method, query)
		}
		if strings.Contains(r.path, "{instance}") {
			f(path, r.method, "{instance}=nobody")
			f(path, r.method, "{instance}="+strings.TrimPrefix(m.URL, "http://"))
		}
	}
	for _, path := range []string{adminRoot + "/records", adminRoot + "/records/exchanges"} {
		for _, query := range []string{"415", "form text=x", "form text=x&limit=7&outcome=ok", "form model=m", "form outcome=x", "form x=1", "form before=x"} {
			f(path, "POST", query)
		}
		f(path, "GET", "?outcome=x")
		f(path, "GET", "?before=x")
	}
	for _, path := range []string{adminRoot + "/records/exchange", adminRoot + "/records/conversation"} {
		f(path, "GET", "?at=x")
		f(path, "GET", "?at=20260314_15,main.jsonl@7")
	}
	asset = "0/page.css"
	f(adminRoot+"/ui/assets/{version}/{file}", "GET", "?")
	writeFile(t, g.file, "{")
	f(adminRoot+"/reload", "POST", "?")
	f(adminRoot+"/status", "GET", "?")
	for path, methods := range doc.Paths {
		for _, op := range methods {
			for status := range op.Responses {
				if !answered[path+" "+status] {
					t.Errorf("%s never answers %s", path, status)
				}
			}
		}
	}
}

// compile returns a schema that stands in the document.
func compile(t testing.TB, document string, schema json.RawMessage) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(document))
	must(t, err)
	root, err := jsonschema.UnmarshalJSON(strings.NewReader(string(schema)))
	must(t, err)
	object := root.(map[string]any)
	object["components"] = doc.(map[string]any)["components"]
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	must(t, c.AddResource("mem:///schema", object))
	compiled, err := c.Compile("mem:///schema")
	must(t, err)
	return compiled
}

func mustParse(t testing.TB, path string) *url.URL {
	t.Helper()
	u, err := url.Parse(path)
	must(t, err)
	return u
}
