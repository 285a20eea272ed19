package aigateway

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/echomodel"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/page"
)

// commands runs a command against the admin endpoint.
func (g *adminGateway) command(args ...string) (stdout string, err error) {
	stdout, _, err = runCommand(append(args, "--address", g.admin)...)
	return stdout, err
}

// TestSteerCommands guards what each command does and prints.
func TestSteerCommands(t *testing.T) {
	slow, other := startGated(t), startMoody(t)
	g := startAdmin(t, entries(entry(slow.URL+"/v1", `, "name": "slow", "api_key": "sk-secret", "max_concurrency": 8`), other.entry(`, "name": "other"`)))
	answered := make(chan received, 1)
	f := func(want string, args ...string) {
		t.Helper()
		out, err := g.command(args...)
		if !regexp.MustCompile("(?s)^"+want+"$").MatchString(out) || err != nil {
			t.Errorf("%q: got %s, %v, want %s", args, out, err, want)
		}
	}
	f("other is ejected, 0 requests in flight; by hand, trial in 10m0s\n", "eject", "other", "--for", "10m")
	go func() { answered <- g.sends(t, chatPath, chat("")) }()
	eventually(t, "a request in flight", func() bool { return slow.count() == 1 })
	f("slow is draining, 1 request in flight; by hand\n", "drain", "slow")
	f("1 in flight, 0.0 requests/s, 0.0% errors · round_robin · "+g.file+` in force since ..:..:..

MODEL  TIER     INSTANCE  STATE     IN FLIGHT  REQ/S  ERRORS  NOTE
m      primary  slow      draining  1/8        0.0    0.0%    by hand; model is empty
m      primary  other     ejected   0          0.0    0.0%    by hand, trial in (10m0s|9m59s); model is empty
`, "status")
	f(`.*\nINSTANCE  IN FLIGHT                        REQ/S  ERRORS  STATE     MODELS  NOTE
slow      1/8        ▇{20}  0.0    0.0%    draining  m       by hand
other     0                                0.0    0.0%    ejected   m       by hand, trial in .*
`, "top")
	if _, err := g.command("drain", "slow", "--wait", "--timeout", "500ms"); err == nil || !strings.Contains(err.Error(), "slow still has 1 request in flight") {
		t.Errorf("got %v, want that it still has one", err)
	}
	waited := make(chan error, 1)
	go func() {
		_, err := g.command("drain", "slow", "--wait")
		waited <- err
	}()
	slow.open()
	if err := <-waited; err != nil {
		t.Error(err)
	}
	wantWhole(t, <-answered)
	f("other is ramping, 0 requests in flight; slow start for 30s\n", "restore", "other")
	f(`model m, round_robin, at most 3 attempts
(note: [^\n]*\n)?   INSTANCE  TIER     STATE     WHY
1  other     primary  ramping   [^\n]*
–  slow      primary  draining  it drains, by: api
`, "explain", "--model", "m")
	f("slow is serving, 0 requests in flight\n", "undrain", "slow")
	out, err := g.command("status", "--json")
	var st page.Status
	if err != nil || json.Unmarshal([]byte(out), &st) != nil || len(st.Models) != 1 || strings.Contains(out, "sk-secret") {
		t.Errorf("--json: got %s, %v", out, err)
	}
	wrong := func(want string, args ...string) {
		t.Helper()
		if out, err := g.command(args...); err == nil || err.Error() != want {
			t.Errorf("%q: got %s, %v, want %s", args, out, err, want)
		}
	}
	wrong(`no instance is called "slwo"; did you mean "slow"?`, "drain", "slwo")
	wrong(`for: got "soon", want seconds or a time such as "10m", from 1s to 366 days`, "eject", "slow", "--for", "soon")
	wrong(`model: want the model that a client would ask for`, "explain")
	wrong(`model "n" is served by no instance: m`, "explain", "--model", "n")
	wrong(`config: no gateway uses "/no/such": `+g.file, "status", "--config", "/no/such")
	dead := freeAddress(t)
	if _, _, err := runCommand("status", "--address", dead); err == nil || !strings.Contains(err.Error(), "asking the gateway at "+dead) || !strings.Contains(err.Error(), "is it running") {
		t.Errorf("got %v, want that nobody is there", err)
	}
	plainServer := startWitness(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "nothing here", 404) })
	if _, _, err := runCommand("status", "--address", plainServer.Listener.Addr().String()); err == nil || !strings.Contains(err.Error(), "got HTTP 404: nothing here, want the admin API") {
		t.Errorf("got %v, want that it is no gateway", err)
	}
}

// TestAdminSocket guards that the commands reach an endpoint that is a unix socket.
func TestAdminSocket(t *testing.T) {
	g := startAdmin(t, fleetOf("http://a:1/v1"))
	g.load(t, "unix/"+filepath.Join(t.TempDir(), "a.sock")+"|0600")
	if out, err := g.command("drain", "a:1"); err != nil || !strings.HasPrefix(out, "a:1/v1 is draining") {
		t.Errorf("got %s, %v", out, err)
	}
}

// ailing is a model server with something wrong.
func ailing(t testing.TB, answer http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	return s.URL
}

// TestDoctor guards every check, its words, and that no key is shown.
func TestDoctor(t *testing.T) {
	echo := func(o echomodel.Options) string {
		e := echomodel.New(o)
		s := httptest.NewServer(e)
		t.Cleanup(func() { s.Close(); e.Close() })
		return s.URL
	}
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"data":[{"id":"m"}]}`)
	}))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	late := ailing(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
		switch r.URL.Path {
		case "/v1/models":
			io.WriteString(w, `{"data":[{"id":"qwen3-32b","owned_by":"sglang","max_model_len":32768},{"id":"sk-secret"}]}`)
		case "/health":
			w.WriteHeader(503)
		default:
			w.WriteHeader(404)
		}
	})
	healthy := echo(echomodel.Options{Name: "a", Models: []string{"m"}, APIKey: "sk-secret"})
	e := newEditRun(t, `{"instances": [`+strings.Join([]string{
		entry(healthy+"/v1", `, "name": "well", "api_key": "sk-secret"`),
		entry(healthy+"/v1/", `, "name": "wrong", "api_key": "sk-wrong-secret"`),
		entry("http://"+freeAddress(t)+"/v1", `, "name": "down"`),
		entry("http://no-such-host.invalid/v1", `, "name": "nameless"`),
		entry(late+"/v1", `, "name": "late", "engine": "vllm", "upstream_model": "qwen3-32", "api_key": "sk-secret"`),
		entry(secure.URL+"/v1", `, "name": "secure"`),
		fmt.Sprintf(`{"url": %q, "model_name": "*", "name": "any", "api_key": "sk-secret"}`, healthy+"/v1"),
	}, ", ")+`]}`)
	out, _, err := runCommand("doctor", e.file, "--ask", "--timeout", "5s")
	if err == nil || strings.Contains(out, "secret") {
		t.Errorf("got %v and %s, want a failure and no key", err, out)
	}
	out = regexp.MustCompile(`  +`).ReplaceAllString(out, "  ") // of columns
	for _, want := range []string{
		`✓  well  connect  127\.0\.0\.1:\d+ in [0-9.]+[mµ]?s`,
		`–  well  tls  the url is http`,
		`✓  well  key  accepted`,
		`✓  well  model  it has m.*`,
		`✓  well  health  well`,
		`✓  well  version  .+`,
		`✓  well  clock  as this machine's`,
		`✓  well  chat  answers`,
		`✓  well  completions  answers`,
		`✓  well  responses  answers`,
		`✓  well  messages  answers`,
		`✗  wrong  key  the instance refuses the key of the file \(status 401\)`,
		`✗  down  connect  127\.0\.0\.1:\d+: connection refused`,
		`–  down  key, model, health  not asked`,
		`✗  nameless  name  no-such-host\.invalid does not resolve: .+`,
		`✗  late  clock  it differs by 1h0m\ds from this machine's`,
		`✗  late  engine  it is sglang, the file says vllm`,
		`✗  late  model  it does not have qwen3-32; is upstream_model qwen3-32b\?`,
		`✗  late  health  GET /health: status 503`,
		`✗  secure  tls  x509: certificate signed by unknown authority; .*--ca`,
		`–  any  model  the file takes every model; it has 1`,
		`–  any  apis  .*`,
		`7 instances, 5 with failures`,
	} {
		if !regexp.MustCompile(`(?m)^` + want + `$`).MatchString(out) {
			t.Errorf("got no line %s", want)
		}
	}
	if t.Failed() {
		t.Log(out)
	}

	e = newEditRun(t, entries(entry(healthy+"/v1", `, "api_key": "sk-secret"`)))
	out, _, err = runCommand("doctor", e.file, "--json")
	var d diagnosis
	if err != nil || json.Unmarshal([]byte(out), &d) != nil || !d.Well || len(d.Instances) != 1 || strings.Contains(out, "answers") || strings.Contains(out, "secret") {
		t.Errorf("--json: got %s, %v, want one that is well, and no request of a token", out, err)
	}
	e = newEditRun(t, entries(entry(healthy+"/v1", "")))
	if out, _, err = runCommand("doctor", e.file); err == nil || !strings.Contains(out, "the instance wants a key and the file has none") {
		t.Errorf("without a key: got %s, %v", out, err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})))
	e = newEditRun(t, entries(entry(secure.URL+"/v1", "")))
	if out, _, err = runCommand("doctor", e.file, "--ca", ca); err != nil || !strings.Contains(out, "the certificate is valid until 2084-01-29") {
		t.Errorf("with the authority: got %s, %v", out, err)
	}
	e = newEditRun(t, `{"instances": [{"url": "x"}]}`)
	if _, _, err = runCommand("doctor", e.file); err == nil || !strings.Contains(err.Error(), "missing model_name") {
		t.Errorf("bad file: got %v, want the mistake", err)
	}
}
