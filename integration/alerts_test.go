package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/simpleaigateway/caddy-ai-gateway/echomodel"
)

// hook is a receiver of alerts of the type webhook.
type hook struct {
	*httptest.Server
	mu  sync.Mutex
	all []hookMessage // guarded by mu, as text
	raw string
}

// hookMessage is what the tests look at of Alertmanager's webhook JSON.
type hookMessage struct {
	Status   string
	Receiver string
	Alerts   []struct {
		Status              string
		Labels, Annotations map[string]string
	}
}

// startHook starts a receiver, which answers with status.
func startHook(t testing.TB, status int) *hook {
	t.Helper()
	h := new(hook)
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		var m hookMessage
		if err == nil {
			err = json.Unmarshal(text, &m)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if err != nil {
			m.Status = err.Error()
		}
		h.all = append(h.all, m)
		h.raw += string(text) + "\n"
		w.WriteHeader(status)
		// As careless servers do, it says whom it has refused.
		fmt.Fprintf(w, "%s %s %s", r.URL, r.Header.Get("Authorization"), text)
	}))
	t.Cleanup(h.Close)
	return h
}

// told returns the messages so far in words.
func (h *hook) told() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []string
	for _, m := range h.all {
		for _, a := range m.Alerts {
			all = append(all, fmt.Sprintf("%s %s %s %s: %s", a.Status, a.Labels["alertname"], a.Labels["upstream"], a.Labels["model"], a.Annotations["description"]))
		}
	}
	return strings.Join(all, "\n")
}

// server is a stand-in for a model server that can be taken away and put back.
type server struct {
	address string
	http    *httptest.Server
}

func (s *server) up(t testing.TB) {
	t.Helper()
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	echo := echomodel.New(echomodel.Options{Name: "echo"})
	t.Cleanup(func() { echo.Close() })
	s.http = &httptest.Server{Listener: l, Config: &http.Server{Handler: echo}}
	s.http.Start()
	t.Cleanup(s.http.Close)
}

func (s *server) down() {
	s.http.CloseClientConnections()
	s.http.Close()
}

// errorsLog returns the text of the errors log.
func (g *gateway) errorsLog(t testing.TB) (all string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(g.dir, "data", "errors", "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !regexp.MustCompile(`/\d{8}_\d{2}\.log$`).MatchString(file) {
			t.Errorf("got the file %s, want YYYYMMDD_HH.log", file)
		}
		all += read(t, file)
	}
	return all
}

// TestAlerts guards the way from a dead instance to people: killed under requests, it is
// told once, with its cause, and once when it is back. Trials that fail, a swap, a reload
// and a restart in between repeat nothing. Whom the file tells nothing of it tells not.
func TestAlerts(t *testing.T) {
	g := start(t)
	ops, money := startHook(t, http.StatusOK), startHook(t, http.StatusOK)
	dead := &server{address: "127.0.0.1:" + freePorts(t, 1)[0]}
	dead.up(t)
	urls := append(startInstances(t, 1), "http://"+dead.address+"/v1")
	members := fmt.Sprintf(`data_dir: "./data", error_window: %%d, alerts: {name: "gw", group_wait: 1, group_interval: 1, receivers: [
		{name: "ops", type: "webhook", url: %q}, {name: "money", type: "webhook", url: %q, kinds: ["fallback_in_use", "budget_over"]}]},`, ops.URL, money.URL)
	g.serves(t, fmt.Sprintf(members, 300), urls...)
	ask := func() {
		t.Helper()
		if r := g.posts("/v1/chat/completions", chatOf(false, 1), nil); r.status != http.StatusOK {
			t.Errorf("got status %d %v %s, want every request answered", r.status, r.err, r.body)
		}
	}
	until := func(what string, condition func() bool) {
		t.Helper()
		eventually(t, what, func() bool { ask(); return condition() })
	}
	state := func(want string) func() bool { return func() bool { return g.instance(t, 1).State == want } }

	dead.down()
	until("the dead instance to be out", state("ejected"))
	const cause = "connect: no connection can be opened"
	const begun = "firing instance_ejected i1 echo: " + cause
	eventually(t, "the message", func() bool { return ops.told() != "" })
	if got := ops.told(); got != begun {
		t.Errorf("got\n%s\nwant\n%s", got, begun)
	}
	form := regexp.MustCompile(`^时间: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\n 实例: i1 \[echo\]\n 错误: ` + cause + `\n 最近错误次数: [1-9]\d*\n$`)
	eventually(t, "the errors log", func() bool { return form.MatchString(g.errorsLog(t)) })

	g.serves(t, fmt.Sprintf(members, 299), urls...)
	g.setCaddyfile(t, "max_body 32MiB", "max_body 33MiB")
	g.reload(t, "file")
	failures := g.instance(t, 1).Errors
	until("a trial to fail after swap and reload", func() bool { return g.instance(t, 1).Errors > failures })
	metrics := get(t, "http://"+g.admin+"/metrics")
	for _, want := range []string{`alerts_sent_total{receiver="ops"} 1`, `alerts_sent_total{receiver="money"} 0`, `alert_errors_total{receiver="ops"} 0`} {
		if !strings.Contains(metrics, "\ncaddy_ai_gateway_"+want+"\n") {
			t.Errorf("got metrics without %s", want)
		}
	}

	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	g.run(t, nil)
	if !g.ready() {
		t.Fatalf("the gateway does not start again: %s", g.log)
	}
	until("the dead instance to be out again", state("ejected"))
	if got := ops.told(); got != begun {
		t.Errorf("after swap, reload and restart: got\n%s\nwant\n%s", got, begun)
	}
	dead.up(t)
	until("the instance to be back", state("ramping"))
	eventually(t, "the second message", func() bool { return strings.Contains(ops.told(), "resolved") })
	if got, want := ops.told(), begun+"\nresolved instance_ejected i1 echo: "+cause; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if err := g.stop(); err != nil {
		t.Error(err)
	}
	if got := money.told(); got != "" {
		t.Errorf("a receiver of other kinds: got %s, want nothing", got)
	}
	if log := g.errorsLog(t); !form.MatchString(log) {
		t.Errorf("errors log: got\n%s\nwant one entry in alert_cooldown, restart or not, of the form %v", log, form)
	}
}

// TestAlertSecrets guards that what opens receivers and instances stands in no log, also
// of the level debug, no message, metric, state file or errors log, whatever the servers
// answer and however they fail; and that test-alert does not print it.
func TestAlertSecrets(t *testing.T) {
	g := start(t)
	good, bad := startHook(t, http.StatusOK), startHook(t, http.StatusForbidden)
	closed := freePorts(t, 1)[0]
	// A server that says its key back.
	rude := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintf(w, `{"error":{"message":"bad key %s %s"}}`, r.Header.Get("Authorization"), r.Header.Get("X-Team"))
	}))
	t.Cleanup(rude.Close)
	receivers := fmt.Sprintf(`receivers: [
		{name: "good", type: "webhook", url: "%s/hook/canary-path-1234567?token=canary-query", secret: "canary-secret"},
		{name: "bad", type: "webhook", url: "%s/hook/canary-path-1234567?token=canary-query", secret: "canary-secret"},
		{name: "closed", type: "webhook", url: "http://127.0.0.1:%s/hook/canary-path-1234567"},
		{name: "robot", url: "gotify://127.0.0.1:%s/canary-token-123456?disabletls=yes"},
		{name: "mail", url: "smtp://canary-user:canary-password@127.0.0.1:%s/?from=a@b.c&to=d@e.f"},
	]`, good.URL, bad.URL, closed, closed, closed)
	config := fmt.Sprintf(`{data_dir: "./data", error_threshold: 2, alerts: {group_wait: 0, %s}, instances: [
		{url: %q, model_name: "echo", name: "i0", api_key: "canary-key-1", headers: {"X-Team": "canary-header"}},
		{url: %q, model_name: "echo", name: "i1"}]}`, receivers, rude.URL+"/v1", startInstances(t, 1)[0])
	write(t, g.file, config)
	g.setCaddyfile(t, "grace_period 30s", "grace_period 30s\n\tdebug")
	g.reload(t, "file")
	eventually(t, "an instance to be out, and all receivers to be tried", func() bool {
		g.posts("/v1/chat/completions", chatOf(false, 1), nil)
		log := g.log.String()
		return good.told() != "" && strings.Contains(log, `"msg":"alert refused by its receiver`) && strings.Count(log, `"msg":"alert not delivered`) >= 3
	})
	if !strings.Contains(g.log.String(), `"level":"debug"`) {
		t.Error("got no log of the level debug")
	}
	// A swap that changes every secret, and one that is refused.
	write(t, g.file, strings.ReplaceAll(config, "canary-", "canary-2"))
	eventually(t, "the swap", func() bool { return strings.Contains(g.log.String(), "alerts.receivers changed") })
	write(t, g.file, strings.ReplaceAll(config, "group_wait: 0", "group_wait: 'x'"))
	eventually(t, "the refusal to be told", func() bool { return strings.Contains(good.told(), "config_rejected") })
	eventually(t, "the state file", func() bool {
		_, err := os.Stat(filepath.Join(g.dir, "data", "alerts_state.json"))
		return err == nil && g.errorsLog(t) != ""
	})
	metrics := get(t, "http://"+g.admin+"/metrics")
	if err := g.stop(); err != nil {
		t.Error(err)
	}

	write(t, g.file, config)
	cmd := command(t, g.dir, nil, "ai-gateway", "test-alert")
	printed, _ := cmd.CombinedOutput()
	seen := map[string]string{"log": g.log.String(), "messages": good.raw + bad.raw, "metrics": metrics, "test-alert": string(printed)}
	files := 0
	err := filepath.Walk(filepath.Join(g.dir, "data"), func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			files++
			seen[path] = read(t, path)
		}
		return err
	})
	if err != nil || files < 2 {
		t.Errorf("got %d files, %v, want the state and the errors log", files, err)
	}
	for where, text := range seen {
		if at := strings.Index(text, "canary"); at >= 0 {
			t.Errorf("%s shows a secret: %q", where, text[max(0, at-200):min(len(text), at+100)])
		}
	}
}

// TestTestAlert guards what test-alert prints, and its exit status.
func TestTestAlert(t *testing.T) {
	good, bad := startHook(t, http.StatusOK), startHook(t, http.StatusForbidden)
	dir := t.TempDir()
	file := filepath.Join(dir, "fleet.json5")
	write(t, file, fmt.Sprintf(`{instances: [{url: "http://127.0.0.1:1/v1", model_name: "m"}], alerts: {name: "gw", receivers: [
		{type: "webhook", url: %q}, {name: "dba", type: "webhook", url: %q}]}}`, good.URL, bad.URL))
	f := func(status int, want string, args ...string) {
		t.Helper()
		cmd := command(t, dir, nil, append([]string{"ai-gateway", "test-alert"}, args...)...)
		out, _ := cmd.CombinedOutput()
		if got := string(out); cmd.ProcessState.ExitCode() != status || !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("test-alert %q: got status %d and\n%s\nwant %d and %s", args, cmd.ProcessState.ExitCode(), got, status, want)
		}
	}
	f(0, `(?m)^receiver +type +result +time +answer\nwebhook +webhook +taken +\d+m?s +HTTP 200$`, "webhook", "--config", file)
	f(1, `\ndba +webhook +FAILED +\d+m?s +.*403`, "dba", "--config", file)
	f(1, `\nwebhook +webhook +taken .*\ndba +webhook +FAILED `, "--config", file)
	f(1, `no such receiver, want one of: webhook, dba`, "ops", "--config", file)
	f(1, `no such file`, "--config", "missing.json5")
	write(t, file, `{instances: [{url: "http://127.0.0.1:1/v1", model_name: "m"}]}`)
	f(1, `fleet.json5: alerts has no receivers`, "--config", file)
	write(t, file, `{instances: [{url: "http://127.0.0.1:1/v1", model_name: "m"}], alerts: {receivers: [{url: "x"}]}}`)
	f(1, `alerts.receivers\[0\].url: the scheme is none of`, "--config", file)
	if got := good.told(); strings.Count(got, "firing test") != 2 || strings.Count(got, "resolved test") != 2 ||
		strings.Count(got, "Gateway gw reaches receiver webhook") != 4 {
		t.Errorf("got %s, want two tests, each with its end", got)
	}
}
