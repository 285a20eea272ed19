package aigateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/page"
)

// startAdmin runs a gateway over a fleet's file, with an admin endpoint.
func startAdmin(t testing.TB, fleet string, options ...string) *adminGateway {
	t.Helper()
	dir := t.TempDir()
	g := &adminGateway{&gateway{file: filepath.Join(dir, "config.json5")}, "", dir, ""}
	writeFile(t, g.file, fleet)
	g.block = fmt.Sprintf(" {\n\tai_gateway {\n\t\t%s\n\t}\n}\n", strings.Join(options, "\n\t\t"))
	t.Cleanup(func() { // the endpoint outlives Stop
		off := `{"admin":{"disabled":true,"config":{"persist":false}},"logging":{"logs":{"default":{"level":"PANIC"}}}}`
		must(t, caddy.Load([]byte(off), true))
		must(t, caddy.Stop())
	})
	g.load(t, freeAddress(t))
	var err error
	if g.store, err = acquireStore(g.file, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, releaseStore(g.store)) })
	return g
}

// call makes a request to the admin API and returns status, headers and body.
func (g *adminGateway) call(t testing.TB, method, path string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+g.admin+"/ai_gateway"+path, nil)
	must(t, err)
	res, err := client.Do(r)
	must(t, err)
	return res.StatusCode, res.Header, readAll(t, res.Body)
}

// good makes a request that must succeed and reads the answer into v.
func (g *adminGateway) good(t testing.TB, method, path string, v any) {
	t.Helper()
	status, _, body := g.call(t, method, path)
	if status != 200 {
		t.Fatalf("%s %s: got %d %s", method, path, status, body)
	}
	must(t, json.Unmarshal([]byte(body), v))
}

func (g *adminGateway) status(t testing.TB) (s page.Status) {
	t.Helper()
	g.good(t, "GET", "/status", &s)
	return s
}

// steer posts a decision about an instance and returns it as it is then.
func (g *adminGateway) steer(t testing.TB, name, decision string) (m memberStatus) {
	t.Helper()
	g.good(t, "POST", "/instances/"+url.PathEscape(name)+"/"+decision, &m)
	return m
}

// TestAdminStatus guards the picture: each state of instances and models, by whom,
// and no secret of the file anywhere.
func TestAdminStatus(t *testing.T) {
	slow := startGated(t)
	at := func(path, members string) string { return entry(slow.URL+"/"+path, members) }
	fleet := `{"instances": [` + strings.Join([]string{
		at("a", `, "name": "a", "api_key": "sk-secret-1", "max_concurrency": 9, "engine": "vllm", "upstream_model": "u", "headers": {"x-team": "sk-secret-2"}`),
		at("b", `, "name": "b", "weight": 0`), at("c", `, "name": "c", "drain": true`), at("d", `, "name": "d"`), at("e", `, "name": "e"`), at("f", `, "name": "f"`), at("g", `, "name": "g"`),
		fmt.Sprintf(`{"url": %q, "model_name": "z"}`, slow.URL+"/z/v1"),
	}, ", ") + `], "fallback_instances": [` + fmt.Sprintf(`{"url": %q, "model_name": "z", "name": "cloud"}, {"url": %q, "model_name": "only"}`, slow.URL+"/y", slow.URL+"/x") + `]}`
	g := startAdmin(t, fleet)
	g.put(3, func(h *health, now time.Duration) { h.out(reasonConnect, now, time.Hour) })
	g.put(4, func(h *health, now time.Duration) {
		h.rest.Store(int64(now + time.Hour))
		h.restReason = reasonRateLimit
	})
	g.put(5, func(h *health, now time.Duration) { h.out(reasonConnect, now, 0); h.move(halfOpen, now) })
	g.put(6, func(h *health, now time.Duration) { h.out(reasonConnect, now, 0); h.back(now) })
	g.put(7, func(h *health, now time.Duration) { h.out(reasonConnect, now, time.Hour) })
	answered := make(chan received, 1)
	go func() { answered <- g.sends(t, chatPath, chat("")) }()
	eventually(t, "a request in flight", func() bool { return slow.count() == 1 })
	s := g.status(t)
	slow.open()
	wantWhole(t, <-answered)

	if s.Config.Path != g.file || !s.Config.Valid || s.Config.Strategy != "round_robin" || s.Config.Loaded.IsZero() || s.Version == "" ||
		s.Totals.InFlight != 1 || !s.Recorder.Enabled || time.Since(s.Now) > time.Minute || s.Started.After(s.Now) {
		t.Errorf("got %+v", s)
	}
	var models []string
	for _, m := range s.Models {
		models = append(models, m.Name+" "+string(m.State))
	}
	if got, want := strings.Join(models, ", "), "m serving, z on_fallback, only serving"; got != want {
		t.Errorf("models: got %s, want %s", got, want)
	}
	got := make(map[string]page.Instance)
	for _, i := range s.Models[0].Tiers[0].Instances {
		got[i.Name] = i
	}
	for name, want := range map[string]string{"b": "off  ", "c": "draining file ", "d": "ejected  connect", "e": "resting  rate_limit", "f": "half_open  connect"} {
		if i := got[name]; string(i.State)+" "+i.By+" "+i.Reason != want {
			t.Errorf("%s: got %+v, want %s", name, i, want)
		}
	}
	if i := got["d"]; i.WaitSeconds < 3500 || i.WaitSeconds > 3600 {
		t.Errorf("wait: got %v, want an hour", i.WaitSeconds)
	}
	if i := got["a"]; i.MaxConcurrency != 9 || i.Engine != "vllm" || i.UpstreamModel != "u" || i.Weight != 1 || !strings.HasSuffix(i.Address, "/a") || strings.Contains(i.Address, "//") {
		t.Errorf("got %+v", i)
	}
	for _, path := range []string{"/status", "/instances", "/instances/a", "/explain?model=m"} {
		status, _, body := g.call(t, "GET", path)
		if status != 200 || strings.Contains(body, "sk-secret") || strings.Contains(body, "prompt") {
			t.Errorf("GET %s: got %d %s, want 200 and no secret", path, status, body)
		}
	}
}

// TestAdminErrors guards that each wrong request says what was found and what is
// allowed.
func TestAdminErrors(t *testing.T) {
	w := startWitness(t, nil)
	g := startAdmin(t, entries(entry(w.URL+"/a", `, "name": "box-1", "api_key": "k1"`), entry(w.URL+"/b", ""), entry(w.URL+"/c", "")))
	f := func(method, path string, wantStatus int, wantCode, wantText, wantAllowed string) {
		t.Helper()
		status, header, body := g.call(t, method, path)
		var e adminError
		must(t, json.Unmarshal([]byte(body), &e))
		allowed := strings.Join(e.Allowed, ",")
		if status != wantStatus || e.Code != wantCode || !strings.Contains(e.Message, wantText) || !strings.Contains(allowed, wantAllowed) ||
			header.Get("Content-Type") != "application/json" || header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s: got %d %s, want %d %s with %q, allowed %q", method, path, status, body, wantStatus, wantCode, wantText, wantAllowed)
		}
		if status == 405 && header.Get("Allow") != strings.ReplaceAll(allowed, ",", ", ") {
			t.Errorf("%s %s: got Allow %q, want %s", method, path, header.Get("Allow"), allowed)
		}
	}
	f("GET", "/", 404, "unknown_path", `path "/ai_gateway/" is not served`, "GET /ai_gateway/status")
	f("GET", "/instances/a/b/c", 404, "unknown_path", "", "POST /ai_gateway/instances/{instance}/drain")
	f("POST", "/instances//drain", 405, "method_not_allowed", "", "") // the mux redirects to /instances/drain, an instance of that name
	f("POST", "/status", 405, "method_not_allowed", `got method "POST", want GET or HEAD`, "GET,HEAD")
	f("GET", "/reload", 405, "method_not_allowed", "", "POST")
	f("DELETE", "/instances/box-1", 405, "method_not_allowed", "", "GET,HEAD")
	f("GET", "/instances/box-1/drain", 405, "method_not_allowed", "", "POST")
	f("GET", "/status?x=1", 400, "unknown_parameter", `parameter "x"`, "config")
	f("POST", "/instances/box-1/eject?fro=1m", 400, "unknown_parameter", `"fro"`, "for,config")
	f("GET", "/status?config=a&config=b", 400, "invalid_parameter", "more than once", "")
	f("GET", "/status?%zz", 400, "invalid_query", "", "config")
	f("GET", "/status?config=/no/such", 404, "unknown_config", `"/no/such"`, g.file)
	f("GET", "/instances/box-2", 404, "unknown_instance", `did you mean "box-1"?`, "box-1,")
	f("POST", "/instances/nobody/drain", 404, "unknown_instance", "there are box-1", "box-1,")
	f("GET", "/instances/"+url.PathEscape(strings.TrimPrefix(w.URL, "http://")), 409, "ambiguous_instance", "is 3 instances", g.store.snapshot().fleet.instances[2].id)
	for _, wait := range []string{"", "0", "-1m", "1ms", "soon", "99999h", "1e9"} {
		f("POST", "/instances/box-1/eject?for="+wait, 400, "invalid_parameter", `for: got "`+wait+`", want seconds or a time such as "10m"`, "")
	}
	f("GET", "/explain", 400, "missing_parameter", "model:", "m")
	f("GET", "/explain?model=n", 404, "unknown_model", `"n"`, "m")
	f("GET", "/explain?model=m&prompt_bytes=-1", 400, "invalid_parameter", `got "-1"`, "")
	if got := g.status(t).Models[0].Tiers[0].Instances[0]; got.State != "serving" {
		t.Errorf("after all that: got %+v, want it to serve", got)
	}
	if status, _, body := g.call(t, "HEAD", "/status"); status != 200 || body != "" {
		t.Errorf("HEAD: got %d %q", status, body)
	}
}

// TestAdminFiles guards that of two files each is steered alone.
func TestAdminFiles(t *testing.T) {
	w := startWitness(t, nil)
	g := startAdmin(t, entries(entry(w.URL+"/v1", `, "name": "x"`)))
	other := filepath.Join(t.TempDir(), "other.json5")
	writeFile(t, other, entries(entry(w.URL+"/v1", `, "name": "x"`)))
	s, err := acquireStore(other, zap.NewNop())
	must(t, err)
	defer func() { must(t, releaseStore(s)) }()
	status, _, body := g.call(t, "GET", "/status")
	var e adminError
	must(t, json.Unmarshal([]byte(body), &e))
	want := []string{g.file, other}
	slices.Sort(want)
	if status != 400 || e.Code != "missing_config" || !slices.Equal(e.Allowed, want) {
		t.Errorf("got %d %s, want 400 and both files", status, body)
	}
	g.steer(t, "x", "drain?config="+url.QueryEscape(other))
	if got := g.store.snapshot().fleet.instances[0].drain; got.any() || !s.snapshot().fleet.instances[0].drain.hand {
		t.Errorf("got %+v here, want the other one to drain", got)
	}
}

// TestAdminReload guards that reload looks at the file before it answers, and says
// what changes, or each mistake without the file's text.
func TestAdminReload(t *testing.T) {
	g := startAdmin(t, fleetOf("http://a:1/v1", "http://b:1/v1"))
	var r reloadAnswer
	g.good(t, "POST", "/reload", &r)
	if r.Summary != "no change" || r.Path != g.file {
		t.Errorf("got %+v, want no change", r)
	}
	writeFile(t, g.file, fleetOf("http://a:1/v1", "http://c:1/v1"))
	g.good(t, "POST", "/reload", &r)
	if models := g.status(t).Models; !strings.Contains(models[0].Tiers[0].Instances[1].Address, "c:1") {
		t.Errorf("after reload: got %+v, want c in force", models)
	}
	// The watcher may have seen it first.
	if r.Summary != "no change" && (!slices.Equal(r.Added, []string{"c:1/v1"}) || !slices.Equal(r.Removed, []string{"b:1/v1"})) {
		t.Errorf("got %+v, want c for b", r)
	}
	for range 2 {
		writeFile(t, g.file, "{\"instances\": [\n  {\"url\": \"http://a:1/v1\", \"model_name\": \"m\", \"api_key\": \"sk-secret\", \"wieght\": 1},\n]}")
		status, _, body := g.call(t, "POST", "/reload")
		var e adminError
		must(t, json.Unmarshal([]byte(body), &e))
		if status != 422 || e.Code != "config_rejected" || len(e.Mistakes) != 1 || e.Mistakes[0].Line != 2 || e.Mistakes[0].Column == 0 ||
			!strings.Contains(e.Mistakes[0].Message, `did you mean "weight"?`) || strings.Contains(body, "sk-secret") {
			t.Errorf("got %d %s, want 422 and the mistake at 2:…", status, body)
		}
		if s := g.status(t).Config; s.Valid || !strings.HasPrefix(s.Error, "2:") || strings.Contains(s.Error, "sk-secret") {
			t.Errorf("status: got %+v, want it not valid", s)
		}
	}
	writeFile(t, g.file, fleetOf("http://a:1/v1"))
	g.good(t, "POST", "/reload", &r)
	if s := g.status(t).Config; !s.Valid || s.Error != "" {
		t.Errorf("status: got %+v, want it valid", s)
	}
	must(t, os.Remove(g.file))
	if status, _, body := g.call(t, "POST", "/reload"); status != 422 || !strings.Contains(body, "no such file") {
		t.Errorf("got %d %s, want 422 and the reason", status, body)
	}
}

// recorded waits for a record and returns its place.
func (g *adminGateway) recorded(t testing.TB) (at string) {
	t.Helper()
	eventually(t, "a record", func() bool {
		var list page.Recordings
		g.good(t, "GET", "/records/exchanges", &list)
		if len(list.Exchanges) > 0 {
			at = list.Exchanges[0].At
		}
		return at != ""
	})
	return at
}
