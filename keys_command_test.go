package aigateway

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.uber.org/zap"
	zapobserver "go.uber.org/zap/zaptest/observer"
)

// runKeys runs caddy ai-gateway keys.
func runKeys(stdin string, args ...string) (stdout, stderr string, err error) {
	cmd := keysCommand()
	var out, errs bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetArgs(args)
	cmd.SilenceUsage = true
	cmd.SilenceErrors = true
	err = cmd.Execute()
	return out.String(), errs.String(), err
}

var keyForm = regexp.MustCompile(`aig-[0-9a-f]{64}`)

// TestKeysNew guards row X4: a new key has 256 random bits and a prefix, is printed once,
// and only its hash comes into the file, of which no other byte changes.
func TestKeysNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json5")
	const before = "// the fleet\n{\n  instances: [\n    { url: \"http://h/v1\", model_name: \"m\" }, // one\n  ],\n  keys: [\n    // ours\n    { name: \"old\", user: \"u\" },\n  ],\n}\n"
	writeFile(t, path, before)
	first, _, err := runKeys("", "new", "team-a")
	must(t, err)
	second, _, err := runKeys("", "new", "team-a")
	must(t, err)
	key := keyForm.FindString(first)
	if key == "" || key == keyForm.FindString(second) || !strings.Contains(first, `{ name: "team-a", hash: "`+digestOf(key).String()+`" }`) || strings.Count(first, key) != 1 {
		t.Errorf("got %q and %q", first, second)
	}
	added, _, err := runKeys("", "new", "team-a", "--add", "--config", path)
	must(t, err)
	key = keyForm.FindString(added)
	text, err := os.ReadFile(path)
	must(t, err)
	want := strings.Replace(before, "\"u\" },\n", "\"u\" },\n    { name: \"team-a\", hash: \""+digestOf(key).String()+"\" },\n", 1)
	if string(text) != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	if _, _, err := runKeys("", "new", "team-a", "--add", "--config", path); err == nil || !strings.Contains(err.Error(), "called \"team-a\" already") {
		t.Errorf("the same name again: got %v", err)
	}
	if out, _, err := runKeys("", "new", "team-b", "--add", "--dry-run", "--config", path); err != nil || keyForm.MatchString(out) {
		t.Errorf("dry run: got %q, %v", out, err)
	}
	if _, _, err := runKeys("", "new", "a b"); err == nil || !strings.Contains(err.Error(), `got the name "a b", want`) {
		t.Errorf("a bad name: got %v", err)
	}
	writeFile(t, path, fleetOf("http://h/v1"))
	if _, note, err := runKeys("", "new", "first", "--add", "--config", path); err != nil || !strings.Contains(note, "asks every client") {
		t.Errorf("the first key: got %q, %v", note, err)
	}
}

// TestKeysRevoke guards that revoking changes nothing but what it must.
func TestKeysRevoke(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.json5")
	entry := keyEntry("team-a", 1, "")
	before := "{ /* x */ instances: [{url: 'http://h/v1', model_name: 'm'}],\n keys: [" + entry + ", // a\n" + keyEntry("team-b", 2, `, "disabled": false`) + "], keys_file: 'more.json5' }\n"
	writeFile(t, path, before)
	writeFile(t, filepath.Join(dir, "more.json5"), "["+keyEntry("team-c", 3, "")+"]")
	f := func(name, want string, edit func(string) string) {
		t.Helper()
		text, err := os.ReadFile(path)
		must(t, err)
		out, _, err := runKeys("", "revoke", name, "--config", path)
		if err != nil {
			out = err.Error()
		}
		after, err := os.ReadFile(path)
		must(t, err)
		if !strings.Contains(out, want) || string(after) != edit(string(text)) {
			t.Errorf("revoke %s: got %q and\n%s", name, out, after)
		}
	}
	same := func(s string) string { return s }
	f("team-a", "revoked key team-a", func(s string) string {
		return strings.Replace(s, entry, strings.TrimSuffix(entry, "}")+`, "disabled": true}`, 1)
	})
	f("team-b", "revoked key team-b", func(s string) string { return strings.Replace(s, `"disabled": false`, `"disabled": true`, 1) })
	f("team-b", "disabled already", same)
	f("team-c", "stands in keys_file", same)
	f("team-aa", `did you mean "team-a"?`, same)
	f("nobody", `no key is called "nobody"`, same)
}

// TestKeysHash guards that the hash is that of the key without its line end.
func TestKeysHash(t *testing.T) {
	key := testKey(1)
	for _, end := range []string{"", "\n", "\r\n"} {
		if out, _, err := runKeys(key+end, "hash"); err != nil || out != digestOf(key).String()+"\n" {
			t.Errorf("got %q, %v", out, err)
		}
	}
	for _, bad := range []string{"", "short", "with a blank " + key, strings.Repeat("x", 600)} {
		if out, _, err := runKeys(bad, "hash"); err == nil || out != "" || len(bad) > 5 && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: got %q, %v", bad, out, err)
		}
	}
}

// TestAdminKeys guards what the admin API and the command line tell of keys, in the form
// of openapi.json, and that it holds neither key nor hash.
func TestAdminKeys(t *testing.T) {
	w := startWitness(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, chatUsing(10, 40))
	})
	fleet := strings.TrimSuffix(fleetFor([]string{
		keyEntry("team-a", 1, `, "requests_per_minute": 100, "tokens_per_minute": 10000, "max_concurrency": 5, "models": ["m"], "expires": "2099-01-31", "priority": "interactive", "weight": 3, "budgets": {"daily_tokens": 1000, "monthly_cost": 2.5}`),
		keyEntry("gone", 2, `, "disabled": true`), keyEntry("late", 3, `, "expires": "2020-01-31"`), `{"name": "alice", "user": "alice"}`,
	}, w.URL+"/v1"), "}") + `, "prices": {"m": {"prompt": 1, "completion": 2}}, "key_label": true}`
	g := startAdmin(t, fleet)
	for range 3 {
		wantStatus(t, g.send(t, "POST", chatPath, chatBody(false), bearer(1)), 200)
	}
	_, _, document := g.call(t, "GET", "/openapi.json")
	for path, schema := range map[string]string{"/keys": "Keys", "/usage": "Usage", "/usage?key=team-a": "Usage", "/usage?key=none": "Usage"} {
		status, _, body := g.call(t, "GET", path)
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
		must(t, err)
		if err := compile(t, document, []byte(`{"$ref": "#/components/schemas/`+schema+`"}`)).Validate(value); err != nil || status != 200 {
			t.Errorf("%s: got %d %s: %v", path, status, body, err)
		}
		if strings.Contains(body, testKey(1)) || strings.Contains(body, digestOf(testKey(1)).String()[7:20]) {
			t.Errorf("%s: got a key in %s", path, body)
		}
	}
	var used usageAnswer
	g.good(t, "GET", "/usage", &used)
	want := usageSum{3, 30, 120, 0.00027}
	if len(used.Keys) != 1 || used.Keys[0].Name != "team-a" || used.Keys[0].Today != want || used.Keys[0].Month != want || !used.Kept || len(used.Keys[0].Models) != 1 {
		t.Errorf("got %+v", used)
	}
	list, _, err := runKeys("", "list", "--address", g.admin)
	must(t, err)
	for _, text := range []string{"team-a", "97 of 100 left", "0 of 5", "daily_tokens 150 of 1000, monthly_cost 0.00027 of 2.5", "disabled", "expired", "alice"} {
		if !strings.Contains(list, text) {
			t.Errorf("list: got\n%s\nwithout %q", list, text)
		}
	}
	table, _, err := runKeys("", "usage", "--address", g.admin)
	must(t, err)
	if !strings.Contains(table, "3 requests") || !strings.Contains(table, "150 tokens") {
		t.Errorf("usage: got\n%s", table)
	}
	metrics := scraped(t)
	for _, line := range []string{`key_requests_total{key="team-a"} 3`, `key_tokens_total{key="team-a",type="completion"} 120`, `key_cost_total{key="team-a"} 0.00027`, "usage_store_failing 0"} {
		if !strings.Contains(metrics, "caddy_ai_gateway_"+line+"\n") {
			t.Errorf("the metrics have no %s", line)
		}
	}
	if strings.Contains(metrics, `key="alice"`) || strings.Contains(metrics, testKey(1)) {
		t.Error("the metrics have a key that has used nothing, or a key itself")
	}
	g.save(t, strings.Replace(fleet, `"key_label": true`, `"key_label": false`, 1))
	if metrics := scraped(t); strings.Contains(metrics, "key_requests_total{") || strings.Contains(metrics, "team-a") {
		t.Error("the metrics have names of keys without key_label")
	}
	g.save(t, fleetOf(w.URL+"/v1"))
	if list, _, err := runKeys("", "list", "--address", g.admin); err != nil || !strings.Contains(list, "the gateway is open") {
		t.Errorf("without keys: got %q, %v", list, err)
	}
	g.good(t, "GET", "/usage", &used)
}

// TestWarnOpen guards that an open gateway that others can reach says so, once.
func TestWarnOpen(t *testing.T) {
	for address, want := range map[string]bool{
		":9999": true, "0.0.0.0:80": true, "[::]:80": true, "10.0.0.1:80": true, "tcp/10.0.0.1:80": true, "udp/:443": true, "example.com:80": true,
		"127.0.0.1:80": false, "[::1]:80": false, "localhost:80": false, "127.9.9.9:1": false, "unix//run/x.sock": false, "[::ffff:127.0.0.1]:80": false,
	} {
		if got := isReachable(address); got != want {
			t.Errorf("%s: got %v, want %v", address, got, want)
		}
	}
	w := startGood(t)
	core, logs := zapobserver.New(zap.WarnLevel)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "config.json5"), fleetOf(w.url))
	_, port, _ := strings.Cut(freeAddress(t), ":")
	loadCaddyfile(t, filepath.Join(dir, "Caddyfile"), fmt.Sprintf("http://127.0.0.1:%s {\n\tbind localhost\n\tai_gateway\n}\n", port))
	s, err := acquireStore(filepath.Join(dir, "config.json5"), zap.New(core))
	must(t, err)
	defer func() { must(t, releaseStore(s)) }()
	g := &gateway{url: "http://127.0.0.1:" + port}
	g.chat(false)
	if n := logs.FilterMessageSnippet("open to everybody").Len(); n != 0 || s.openTold.Load() {
		t.Errorf("on loopback: got %d warnings", n)
	}
}
