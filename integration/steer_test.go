package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/simpleaigateway/caddy-ai-gateway/echomodel"
)

// steer runs a command against the gateway's admin endpoint.
func (g *gateway) steer(t testing.TB, args ...string) string {
	t.Helper()
	out, _ := run(t, g.dir, []string{"CADDY_ADMIN=" + g.admin}, append([]string{"ai-gateway"}, args...)...)
	return out
}

// TestSteer guards that drain loses no request under load and waits for its end, that
// status shows each turn, and that eject and restore take effect at once.
func TestSteer(t *testing.T) {
	g := start(t)
	url, asked, hold, release := startCounting(t)
	quick, quickAsked, _, _ := startCounting(t)
	g.serves(t, "", url, quick)
	hold.Store(true)
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() { g.chats(t, 1) })
	}
	eventually(t, "10 requests in flight", func() bool { return asked.Load() == 10 })
	if got := g.steer(t, "drain", "i0"); got != "i0 is draining, 10 requests in flight; by hand\n" {
		t.Errorf("drain: got %s", got)
	}
	waiting := command(t, g.dir, []string{"CADDY_ADMIN=" + g.admin}, "ai-gateway", "drain", "i0", "--wait")
	var waited bytes.Buffer
	waiting.Stdout = &waited
	if err := waiting.Start(); err != nil {
		t.Fatal(err)
	}
	g.chats(t, 20)
	if got := g.steer(t, "status"); !strings.Contains(got, "i0        draining  10") || !strings.Contains(got, "i1        serving   0") {
		t.Errorf("status: got %s", got)
	}
	close(release)
	clients.Wait()
	if err := waiting.Wait(); err != nil || !strings.HasSuffix(waited.String(), "i0 is draining, 0 requests in flight; by hand\n") {
		t.Errorf("drain --wait: got %s, %v", &waited, err)
	}
	if asked.Load() != 10 || quickAsked.Load() != 30 {
		t.Errorf("while it drained: %d and %d requests, want 10 and 30", asked.Load(), quickAsked.Load())
	}
	run(t, g.dir, nil, "reload", "--address", g.admin, "--config", "Caddyfile.example", "--force")
	if got := g.state(t, "i0"); got != "draining" {
		t.Errorf("after a reload: got %s, want draining", got)
	}
	g.steer(t, "undrain", "i0")
	g.chats(t, 10)
	if asked.Load() != 15 {
		t.Errorf("back: got %d of 10 requests, want 5", asked.Load()-10)
	}
	g.steer(t, "eject", "i0")
	g.chats(t, 10)
	if got := g.state(t, "i0"); asked.Load() != 15 || got != "ejected" {
		t.Errorf("ejected: got %d requests and state %s", asked.Load()-15, got)
	}
	if got := g.steer(t, "explain", "--model", "echo"); !strings.Contains(got, "–  i0        primary  ejected  it is ejected by hand until it is restored\n") {
		t.Errorf("explain: got %s", got)
	}
	g.steer(t, "restore", "i0")
	if got := g.state(t, "i0"); got != "ramping" {
		t.Errorf("restored: got %s, want ramping", got)
	}
	if got := g.steer(t, "top"); !strings.Contains(got, "slow start for") {
		t.Errorf("top: got %s", got)
	}
}

// TestReloadBad guards that the admin API answers a file that is not valid with 422 and
// the place of the mistake.
func TestReloadBad(t *testing.T) {
	g := start(t)
	write(t, g.file, "{\n  instances: [{ url: \"http://127.0.0.1:1/v1\" }],\n}")
	res, err := http.Post("http://"+g.admin+"/ai_gateway/reload", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var e struct {
		Error    string
		Mistakes []struct{ Line, Column int }
	}
	if err := json.NewDecoder(res.Body).Decode(&e); err != nil || res.StatusCode != 422 || len(e.Mistakes) != 1 || e.Mistakes[0].Line != 2 || e.Mistakes[0].Column != 15 ||
		!strings.Contains(e.Error, "2:15: instances[0]: missing model_name") {
		t.Errorf("got %d %+v, %v, want 422 and the mistake at 2:15", res.StatusCode, e, err)
	}
}

// TestWatch guards that status --watch shows what happens, on a terminal and as JSON.
func TestWatch(t *testing.T) {
	g := start(t)
	g.serves(t, "", startInstances(t, 1)...)
	cmd := command(t, g.dir, []string{"CADDY_ADMIN=" + g.admin}, "ai-gateway", "status", "--watch", "--json")
	shown := new(log)
	cmd.Stdout = shown
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first status", func() bool { return strings.Contains(shown.String(), `"state":"serving"`) })
	g.steer(t, "drain", "i0")
	eventually(t, "the draining", func() bool { return strings.Contains(shown.String(), `"state":"draining"`) })
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("got %v, want a good end", err)
	}
}

// TestReady guards that /readyz says no while no pool can serve, and, before the
// listeners close, while the process ends; /livez says yes all the time.
func TestReady(t *testing.T) {
	g := start(t)
	ask := func(path string) int {
		res, err := http.Get(g.url + path)
		if err != nil {
			return 0
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		return res.StatusCode
	}
	g.serves(t, "", startInstances(t, 1)...)
	g.steer(t, "eject", "i0")
	if ready, live := ask("/readyz"), ask("/livez"); ready != 503 || live != 200 {
		t.Errorf("without an instance: got %d and %d, want 503 and 200", ready, live)
	}
	g.steer(t, "restore", "i0")
	if ready := ask("/readyz"); ready != 200 {
		t.Errorf("restored: got %d, want 200", ready)
	}
	g.setCaddyfile(t, "grace_period 30s", "grace_period 30s\n\tshutdown_delay 2s")
	run(t, g.dir, nil, "reload", "--address", g.admin, "--config", "Caddyfile.example")
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "503", func() bool { return ask("/readyz") == 503 })
	if live := ask("/livez"); live != 200 {
		t.Errorf("/livez while the process ends: got %d, want 200", live)
	}
	g.chats(t, 1)
	if err := g.stop(); err != nil {
		t.Error(err)
	}
}

// TestDoctor guards that doctor tells what is wrong with each instance, and exits with
// status 1.
func TestDoctor(t *testing.T) {
	dir := t.TempDir()
	instance := func(o echomodel.Options) string {
		echo := echomodel.New(o)
		server := httptest.NewServer(echo)
		t.Cleanup(func() { server.Close(); echo.Close() })
		return server.URL + "/v1"
	}
	down, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down.Close()
	write(t, dir+"/config.json5", fmt.Sprintf(`{instances: [
		{name: "well", url: %q, model_name: "m", api_key: "{env.KEY}"},
		{name: "down", url: "http://%s/v1", model_name: "m"},
		{name: "other-key", url: %q, model_name: "m", api_key: "{env.KEY}"},
		{name: "other-model", url: %q, model_name: "m"},
	]}`, instance(echomodel.Options{Models: []string{"m"}, APIKey: "sk-one"}), down.Addr(),
		instance(echomodel.Options{Models: []string{"m"}, APIKey: "sk-two"}), instance(echomodel.Options{Models: []string{"another"}})))
	cmd := command(t, dir, []string{"KEY=sk-one"}, "ai-gateway", "doctor")
	text, err := cmd.CombinedOutput()
	if _, failed := errors.AsType[*exec.ExitError](err); !failed || cmd.ProcessState.ExitCode() != 1 || strings.Contains(string(text), "sk-one") {
		t.Errorf("got %v, want exit status 1 and no key", err)
	}
	out := strings.Join(strings.Fields(string(text)), " ")
	for _, want := range []string{
		"✓ well key accepted", "✓ well model it has m", "✗ down connect " + down.Addr().String() + ": connection refused",
		"✗ other-key key the instance refuses the key of the file (status 401)", "✗ other-model model it does not have m; it has another",
		"4 instances, 3 with failures",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("got %s, want %s", text, want)
		}
	}
}
