package integration

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestStopDrains guards row L1: on SIGTERM 50 streams that have 4 s left come to
// their ends (10 s, scaled), the process ends well within 2 s more, everything is
// recorded, and nobody new is let in.
func TestStopDrains(t *testing.T) {
	g := start(t)
	g.serves(t, `data_dir: "./data",`, startInstances(t, 2)...)
	const tokens = 200
	wait := g.streams("/v1/chat/completions", chatOf(true, tokens), 50)
	signaled, own := time.Now(), watchOwn()
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "new connections to be refused", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	refused := time.Since(signaled)
	all := wait()
	drained := time.Since(signaled)
	if refused > drained/2 {
		t.Errorf("new connections are refused after %v, want it long before the last stream ends after %v", refused, drained)
	}
	for n, r := range all {
		if err := wholeStream(r, tokens); err != nil {
			t.Errorf("stream %d: %v", n, err)
		}
	}
	if err := g.stop(); err != nil {
		t.Errorf("got %v, want exit code 0", err)
	}
	took := time.Since(signaled)
	if busy := own.longest(); took > drained+2*time.Second+busy || took > 12*time.Second+busy {
		t.Errorf("the process ended after %v, %v after the last stream, want 2 s and 12 s at most", took, took-drained)
	}
	lines := g.records(t, "requests_responses")
	for _, r := range all {
		if !strings.Contains(lines[r.id], `"outcome":"ok"`) {
			t.Errorf("exchange %s: got the record %s, want one that is ok", r.id, end(lines[r.id]))
		}
	}
	t.Logf("50 of 50 whole and %d recorded; refused after %v, drained after %v, ended after %v", len(lines), refused, drained, took)
}

// TestStopCuts guards row L2: streams without end are cut within a second of the
// grace period (2 s here), visibly in each API, and recorded as cut by the shutdown;
// a request whose answer has not begun gets a 503 that may be repeated. The exit is a
// good one.
func TestStopCuts(t *testing.T) {
	const grace = 2 * time.Second
	g := start(t)
	g.serves(t, `data_dir: "./data",`, startInstances(t, 2)...)
	g.setCaddyfile(t, "grace_period 30s", "grace_period 2s")
	run(t, g.dir, nil, "reload", "--address", g.admin, "--config", "Caddyfile.example")

	const endless = `"echo":{"tokens":100000,"itl":"20ms"}}`
	apis := map[string]string{
		"/v1/chat/completions": `{"model":"echo","stream":true,"messages":[{"role":"user","content":"hi"}],` + endless,
		"/v1/completions":      `{"model":"echo","stream":true,"prompt":"hi",` + endless,
		"/v1/messages":         `{"model":"echo","stream":true,"max_tokens":100000,"messages":[{"role":"user","content":"hi"}],` + endless,
		"/v1/responses":        `{"model":"echo","stream":true,"input":"hi",` + endless,
	}
	waits := make(map[string]func() []received)
	for path, body := range apis {
		waits[path] = g.streams(path, body, 5)
	}
	held := make(chan received, 1)
	go func() {
		held <- g.posts("/v1/chat/completions", `{"model":"echo","stream":true,"messages":[{"role":"user","content":"hi"}],"echo":{"fault":"hang"}}`, nil)
	}()
	eventually(t, "21 requests under way", func() bool { return g.instance(t, 0).Active+g.instance(t, 1).Active == 21 })

	signaled, own := time.Now(), watchOwn()
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	recorded := make(map[string]bool)
	for path, wait := range waits {
		for n, r := range wait() {
			if r.err == nil || !strings.Contains(end(r.body), "the gateway is being stopped") || !strings.Contains(r.body, "w1") {
				t.Errorf("%s %d: got error %v after %q, want an error event and an aborted transfer", path, n, r.err, end(r.body))
			}
			if path != "/v1/completions" { // not among those that are recorded by default
				recorded[r.id] = true
			}
		}
	}
	cut := time.Since(signaled)
	if r := <-held; r.status != 503 || r.err != nil || !strings.Contains(r.body, `"gateway_shutdown"`) {
		t.Errorf("a stream that had not begun: got status %d %s and error %v, want 503 gateway_shutdown", r.status, r.body, r.err)
	}
	if err := g.stop(); err != nil {
		t.Errorf("got %v, want exit code 0", err)
	}
	took := time.Since(signaled)
	busy := own.longest() // this process, and so perhaps the gateway
	if cut < grace-time.Second || cut > grace+time.Second+busy {
		t.Errorf("the last stream was cut after %v, want %v ± 1 s", cut, grace)
	}
	if took > grace+2*time.Second+busy {
		t.Errorf("the process ended after %v, want %v at most", took, grace+2*time.Second)
	}
	lines := g.records(t, "requests_responses_incomplete")
	for id := range recorded {
		if !strings.Contains(lines[id], `"outcome":"shutdown"`) || !strings.Contains(lines[id], `"value":"w1 w2`) {
			t.Errorf("exchange %s: got the record %s, want what came, with outcome shutdown", id, end(lines[id]))
		}
	}
	if len(lines) != len(recorded) {
		t.Errorf("got %d records, want %d", len(lines), len(recorded))
	}
	for _, text := range []string{`"no instance answered"`, `"answer broke off"`, `"instance is left out"`} {
		if n := strings.Count(g.log.String(), text); text != `"no instance answered"` && n > 0 || n > 1 {
			t.Errorf("the log says %s %d times", text, n)
		}
	}
	t.Logf("cut after %v, ended after %v, %d recorded", cut, took, len(lines))
}

// TestStopWaiting guards row L2 for requests that wait for a place: those whose turn does
// not come within the grace period get a 503 that may be repeated.
func TestStopWaiting(t *testing.T) {
	g := start(t)
	url := startInstances(t, 1)[0]
	g.serves(t, `record: {enabled: false},`, url, url+"/other")
	write(t, g.file, fmt.Sprintf(`{record: {enabled: false}, instances: [{url: %q, model_name: "echo", max_concurrency: 1}]}`, url))
	eventually(t, "one instance", func() bool { return len(g.health(t).Instances) == 1 })
	g.setCaddyfile(t, "grace_period 30s", "grace_period 1s")
	run(t, g.dir, nil, "reload", "--address", g.admin, "--config", "Caddyfile.example")
	stream := g.streams("/v1/chat/completions", chatOf(true, 100000), 1)
	waits := make(chan received, 3)
	for range cap(waits) {
		go func() { waits <- g.posts("/v1/chat/completions", chatOf(false, 1), nil) }()
	}
	eventually(t, "three to wait", func() bool { return strings.Contains(g.steer(t, "explain", "--model", "echo"), "with 3 others") })
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for range cap(waits) {
		if r := <-waits; r.status != 503 || r.err != nil || !strings.Contains(r.body, `"gateway_shutdown"`) {
			t.Errorf("got status %d %s and error %v, want 503 gateway_shutdown", r.status, r.body, r.err)
		}
	}
	stream()
	if err := g.stop(); err != nil {
		t.Errorf("got %v, want exit code 0", err)
	}
}

// TestStopAtOnce guards the end of row L2: a second SIGINT ends the process whatever
// is under way. Caddy counts SIGINT alone: while it handles SIGTERM it hears no other
// signal but that.
func TestStopAtOnce(t *testing.T) {
	g := start(t)
	g.serves(t, `record: {enabled: false},`, startInstances(t, 1)...)
	wait := g.streams("/v1/chat/completions", chatOf(true, 100000), 2)
	if err := g.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end to begin", func() bool { return strings.Contains(g.log.String(), "grace period initiated") })
	second, own := time.Now(), watchOwn()
	if err := g.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	select {
	case <-g.ended:
	case <-time.After(patience):
		t.Fatal("the process goes on")
	}
	took := time.Since(second) - own.longest()
	if code := g.cmd.ProcessState.ExitCode(); took > time.Second || code != 2 {
		t.Errorf("got exit code %d after %v, want 2 within a second", code, took)
	}
	g.err = nil // this end is a good one
	for _, r := range wait() {
		if r.err == nil {
			t.Error("a stream ended well, want an aborted transfer")
		}
	}
}

// end is the last part of a long text.
func end(text string) string { return text[max(0, len(text)-400):] }

// setCaddyfile replaces a part of the Caddyfile, which must be there.
func (g *gateway) setCaddyfile(t testing.TB, before, after string) {
	t.Helper()
	path := filepath.Join(g.dir, "Caddyfile.example")
	text := read(t, path)
	if !strings.Contains(text, before) {
		t.Fatalf("the Caddyfile has no %q", before)
	}
	write(t, path, strings.Replace(text, before, after, 1))
}
