package integration

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// canaries are secrets by what they are. Each is random, so that it is nowhere but where
// somebody has put it.
type canaries map[string]string

func newCanaries(names ...string) canaries {
	c := make(canaries)
	for _, name := range names {
		c[name] = "sk-" + rand.Text() + "+/" + rand.Text()
	}
	return c
}

// in returns the names of those that text has: as they are, escaped for a URL or JSON, or
// in base64 at any of its three alignments.
func (c canaries) in(text []byte) (found []string) {
	for name, secret := range c {
		forms := []string{secret, url.QueryEscape(secret), url.PathEscape(secret), strings.ReplaceAll(secret, "/", `\/`)}
		for skip := range 3 {
			for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
				coded := encoding.EncodeToString([]byte(strings.Repeat("x", skip) + secret))
				forms = append(forms, coded[4:len(coded)-4]) // what stands around it changes its ends
			}
		}
		if slices.ContainsFunc(forms, func(form string) bool { return bytes.Contains(text, []byte(form)) }) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found
}

// taker is a server that keeps what it is sent.
type taker struct {
	*httptest.Server
	mu     sync.Mutex
	bodies bytes.Buffer // guarded by mu, as seen
	seen   bytes.Buffer // URLs and headers
}

func startTaker(t *testing.T, status int) *taker {
	t.Helper()
	k := new(taker)
	k.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			if z, err := gzip.NewReader(body); err == nil {
				body = z
			}
		}
		text, _ := io.ReadAll(body)
		k.mu.Lock()
		defer k.mu.Unlock()
		k.bodies.Write(text)
		fmt.Fprintln(&k.seen, r.URL, r.Header)
		w.WriteHeader(status)
		fmt.Fprintf(w, "no: %s %s %s", r.URL, r.Header, text) // careless servers say whom they refuse
	}))
	t.Cleanup(k.Close)
	return k
}

func (k *taker) took() (bodies, seen []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return bytes.Clone(k.bodies.Bytes()), bytes.Clone(k.seen.Bytes())
}

// startTelltale is a model server that tells whatever it knows in its errors. A request's
// prompt names what it does.
func startTelltale(t *testing.T, answer string) (server *httptest.Server, seen func() []byte) {
	t.Helper()
	var mu sync.Mutex
	var all bytes.Buffer
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		fmt.Fprintln(&all, r.URL, r.Header)
		mu.Unlock()
		told, _ := json.Marshal(fmt.Sprint(r.Header, " ", r.URL, " ", r.Host))
		failure := fmt.Sprintf(`{"error":{"message":%s,"type":"server_error"}}`, told)
		chunk := `data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"` + answer + `"}}]}` + "\n\n"
		w.Header().Set("X-Told", r.Header.Get("Authorization")+r.Header.Get("X-Team"))
		does := func(what string) bool { return bytes.Contains(body, []byte("do "+what)) }
		switch {
		case does("refuse"):
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, failure)
		case does("fail"):
			w.WriteHeader(http.StatusInternalServerError)
			io.WriteString(w, failure)
		case does("forbid"):
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, failure)
		case does("break"):
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, chunk)
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case does("complain"):
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, chunk+"data: "+failure+"\n\n")
		case does("stream"):
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, chunk+"data: [DONE]\n\n")
		default:
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"%s"},"finish_reason":"stop"}]}`, answer)
		}
	}))
	t.Cleanup(server.Close)
	return server, func() []byte {
		mu.Lock()
		defer mu.Unlock()
		return bytes.Clone(all.Bytes())
	}
}

// TestCanaries guards row X1: secrets that stand in every place of requests, answers and
// files, on good ways and bad ones, with debugging and tracing on, come out nowhere: not
// in logs, metrics, the admin API, pages, records, alerts, errors, spans, the dump of
// Caddy's configuration or what commands print.
func TestCanaries(t *testing.T) {
	c := newCanaries("Authorization", "X-Api-Key", "Api-Key", "query key", "cookie", "api_key", "fallback api_key", "header", "webhook token", "webhook secret",
		"mail password", "user of a URL", "prompt", "answer", "environment")
	plain := strings.NewReplacer("+/", "00") // of words that stand in JSON as they are
	c["prompt"], c["answer"] = plain.Replace(c["prompt"]), plain.Replace(c["answer"])

	server, seen := startTelltale(t, c["answer"])
	hook, refusing, spans := startTaker(t, http.StatusOK), startTaker(t, http.StatusForbidden), startTaker(t, http.StatusOK)
	ports := freePorts(t, 4)
	dir := t.TempDir()
	g := &gateway{url: "http://127.0.0.1:" + ports[0], admin: "127.0.0.1:" + ports[1], dir: dir, file: filepath.Join(dir, "config.json5"), log: new(log)}
	write(t, filepath.Join(dir, "Caddyfile.example"), fmt.Sprintf(`{
	debug
	grace_period 1s
}
http://127.0.0.1:%s {
	log {
		format filter {
			request>headers>X-Api-Key delete
			request>headers>Api-Key delete
			request>uri query {
				delete key
			}
			wrap json
		}
	}
	tracing
	handle /metrics {
		metrics
	}
	handle {
		ai_gateway config.json5
	}
}
`, ports[0]))
	fleet := fmt.Sprintf(`{
	instances: [
		{url: "%[1]s/v1", model_name: "m", name: "a", api_key: "%[2]s", headers: {"X-Team": "%[3]s"}},
		{url: "%[1]s/v1", model_name: "own", name: "b"},
		{url: "http://127.0.0.1:%[4]s/v1", model_name: "dead", name: "c", api_key: "%[2]s"},
		{url: "%[1]s/v1", model_name: "env", name: "d", api_key: "{env.CANARY_KEY}", engine: "vllm"},
	],
	fallback_instances: [{url: "%[1]s/v1", model_name: "dead", name: "f", api_key: "%[5]s"}],
	error_threshold: 2,
	alerts: {group_wait: 0, receivers: [
		{type: "webhook", name: "hook", url: "%[6]s/send?token=%[8]s", secret: "%[9]s"},
		{type: "dingtalk", name: "refuses", url: "%[7]s/robot/send?access_token=%[8]s", secret: "%[9]s"},
		{type: "smtp", name: "mail", url: "smtp://ops:%[10]s@127.0.0.1:%[4]s/?from=a@example.org&to=b@example.org"},
	]},
}`, server.URL, c["api_key"], c["header"], ports[2], c["fallback api_key"], hook.URL, refusing.URL, url.QueryEscape(c["webhook token"]), c["webhook secret"], url.QueryEscape(c["mail password"]))
	write(t, g.file, fleet)
	env := []string{
		"CANARY_KEY=" + c["environment"], "OTEL_EXPORTER_OTLP_ENDPOINT=" + spans.URL, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_BSP_SCHEDULE_DELAY=100",
	}
	g.run(t, env)
	if !g.ready() {
		t.Fatalf("gateway is not ready: %v\n%s", g.stop(), g.log)
	}
	t.Cleanup(func() { _ = g.stop() }) // it is stopped below, if all goes well

	keys := canaries{}
	for name, secret := range c {
		if name != "prompt" && name != "answer" {
			keys[name] = secret
		}
	}
	surfaces := 0
	search := func(what string, text []byte, secrets canaries) {
		t.Helper()
		surfaces++
		if found := secrets.in(text); len(found) > 0 {
			if len(text) > 1<<20 {
				text = text[:1<<20]
			}
			for line := range bytes.Lines(text) {
				if secrets.in(line) != nil {
					t.Errorf("%s has %v: %.1500s", what, found, line)
					return
				}
			}
			t.Errorf("%s has %v", what, found)
		}
	}

	events, stopEvents := context.WithCancel(t.Context())
	defer stopEvents()
	var stream bytes.Buffer
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		r, _ := http.NewRequestWithContext(events, http.MethodGet, "http://"+g.admin+"/ai_gateway/events", nil)
		if res, err := http.DefaultClient.Do(r); err == nil {
			_, _ = io.Copy(&stream, res.Body) // ends with the context
			res.Body.Close()
		}
	}()

	ask := func(path, model, does string, wantsStream bool) {
		t.Helper()
		body := fmt.Sprintf(`{"model":%q,"stream":%v,"messages":[{"role":"user","content":"do %s: %s"}]}`, model, wantsStream, does, c["prompt"])
		if does == "nonsense" {
			body = `{"model": "` + c["prompt"] + `", "messages": x` + c["prompt"]
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.url+path+"?key="+url.QueryEscape(c["query key"]), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+c["Authorization"])
		r.Header.Set("X-Api-Key", c["X-Api-Key"])
		r.Header.Set("Api-Key", c["Api-Key"])
		r.Header.Set("Cookie", "session="+c["cookie"])
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(res.Body) // some break
		res.Body.Close()
		name := fmt.Sprintf("answer %d to %s, %s, %s", res.StatusCode, path, model, does)
		header := new(bytes.Buffer)
		_ = res.Header.Write(header) // a buffer takes everything
		search("header of "+name, header.Bytes(), keys)
		search("body of "+name, text, keys)
	}
	for _, model := range []string{"m", "own", "env", "dead"} {
		for _, does := range []string{"plain", "stream", "refuse", "fail", "forbid", "break", "complain"} {
			ask("/v1/chat/completions", model, does, does == "stream" || does == "break" || does == "complain")
		}
	}
	ask("/v1/chat/completions", "m", "nonsense", false)
	ask("/v1/chat/completions", c["prompt"], "plain", false)
	ask("/v1/messages", "m", "fail", false)
	ask("/v1/nothing", "m", "plain", false)
	for range 3 { // until it is ejected, which is told
		ask("/v1/chat/completions", "m", "fail", false)
	}

	// A file with mistakes, in whose lines secrets stand, and a good one again.
	write(t, g.file, strings.Replace(fleet, `name: "b"`, `naming: "b"`, 1))
	write(t, g.file, strings.Replace(fleet, server.URL, "http://u:"+url.QueryEscape(c["user of a URL"])+"@127.0.0.1", 1))
	eventually(t, "the mistake to be told", func() bool { return strings.Contains(g.log.String(), "fleet's file is not valid") })
	bad, _ := command(t, dir, append(env, "CADDY_ADMIN="+g.admin), "ai-gateway", "check").CombinedOutput() // it has mistakes
	search("check of a bad file", bad, c)
	write(t, g.file, strings.Replace(fleet, `name: "b"`, `name: "b2"`, 1))
	eventually(t, "the new name", func() bool { return strings.Contains(string(mustGet(t, "http://"+g.admin+"/ai_gateway/status")), "b2") })

	eventually(t, "alerts", func() bool {
		sent, _ := hook.took()
		refused, _ := refusing.took()
		return len(sent) > 0 && len(refused) > 0
	})
	eventually(t, "spans", func() bool {
		sent, _ := spans.took()
		return bytes.Contains(sent, []byte("gen_ai.request.model"))
	})
	eventually(t, "records", func() bool { return len(recordsBelow(t, dir)) > 0 })

	for _, path := range adminPaths(t) {
		search("admin API "+path, mustGet(t, "http://"+g.admin+path), c)
	}
	for _, path := range []string{"/config/", "/metrics", "/reverse_proxy/upstreams", "/debug/vars", "/debug/pprof/goroutine?debug=2", "/debug/pprof/cmdline"} {
		search("Caddy's admin endpoint "+path, mustGet(t, "http://"+g.admin+path), c)
	}
	for _, path := range []string{"/", "/health", "/livez", "/readyz", "/metrics", "/v1/models", "/ai_gateway/ui/"} {
		search("gateway's "+path, mustGet(t, g.url+path), c)
	}
	for _, args := range [][]string{{"status"}, {"status", "--json"}, {"explain", "--model", "m"}, {"explain", "--model", "dead"}, {"doctor"}, {"check"}, {"check", "--json"}} {
		out, _ := command(t, dir, append(env, "CADDY_ADMIN="+g.admin), append([]string{"ai-gateway"}, args...)...).CombinedOutput() // doctor finds faults
		if len(out) == 0 {
			t.Errorf("%v printed nothing", args)
		}
		search(strings.Join(args, " "), out, c)
	}
	stopEvents()
	<-listening
	search("events", stream.Bytes(), c)
	for name, k := range map[string]*taker{"webhook": hook, "refusing webhook": refusing, "spans": spans} {
		bodies, _ := k.took()
		search(name, bodies, c)
	}
	if err := g.stop(); err != nil {
		t.Errorf("gateway ended with %v", err)
	}
	search("log", []byte(g.log.String()), c)
	for path, text := range recordsBelow(t, dir) {
		search(path, text, keys)
	}
	errorLogs, err := filepath.Glob(filepath.Join(dir, "data", "errors", "*"))
	if err != nil || len(errorLogs) == 0 {
		t.Errorf("got no log of alerts, and error %v", err)
	}
	for _, path := range errorLogs {
		search(path, []byte(read(t, path)), c)
	}

	// The search finds what is there: the secrets were in use.
	_, urls := hook.took()
	inUse := append(append(seen(), urls...), []byte(c["prompt"])...)
	for _, name := range []string{"Authorization", "X-Api-Key", "Api-Key", "query key", "api_key", "fallback api_key", "header", "environment", "webhook token"} {
		if !slices.Contains(c.in(inUse), name) {
			t.Errorf("%s was never sent", name)
		}
	}
	t.Logf("%d canaries, %d surfaces", len(c), surfaces)
}

// adminPaths are all paths of the admin API that can be read and end.
func adminPaths(t *testing.T) (paths []string) {
	t.Helper()
	var doc struct {
		Paths map[string]map[string]any
	}
	if err := json.Unmarshal([]byte(read(t, "../openapi.json")), &doc); err != nil {
		t.Fatal(err)
	}
	for path, methods := range doc.Paths {
		if methods["get"] == nil || strings.HasSuffix(path, "/events") {
			continue
		}
		path = strings.ReplaceAll(path, "{instance}", "a")
		if strings.HasSuffix(path, "/explain") {
			path += "?model=m"
		}
		paths = append(paths, path)
	}
	if len(paths) < 4 {
		t.Errorf("got %v, want all paths", paths)
	}
	return paths
}

// recordsBelow returns the files of records in dir by path.
func recordsBelow(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "data", "requests_responses*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	records := make(map[string][]byte)
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		records[path] = text
	}
	return records
}

// mustGet returns the body of an answer, whatever its status is.
func mustGet(t *testing.T, url string) []byte {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second}
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil && !isTimeout(err) {
		t.Fatal(err)
	}
	return append(text, fmt.Sprint(res.Header)...)
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}
