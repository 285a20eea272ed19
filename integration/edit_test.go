package integration

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// startCounting runs an instance that counts its chats. Those that hold get no answer
// before release is closed.
func startCounting(t testing.TB) (url string, asked *atomic.Int64, hold *atomic.Bool, release chan struct{}) {
	t.Helper()
	asked, hold, release = new(atomic.Int64), new(atomic.Bool), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if r.Method != http.MethodPost { // the gateway asks it about itself
			http.NotFound(w, r)
			return
		}
		asked.Add(1)
		if hold.Load() {
			<-release
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}`)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/v1", asked, hold, release
}

// chats sends n chats one after the other, which must be answered.
func (g *gateway) chats(t testing.TB, n int) {
	t.Helper()
	for range n {
		res, err := http.Post(g.url+"/v1/chat/completions", "application/json",
			strings.NewReader(`{"model":"echo","messages":[{"role":"user","content":"good morning"}]}`))
		if err != nil {
			t.Error(err)
			return
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("got status %d", res.StatusCode)
		}
	}
}

// state returns how /health shows the instance of that name, "" if not at all.
func (g *gateway) state(t testing.TB, name string) string {
	t.Helper()
	for _, i := range g.health(t).Instances {
		if i.Name == name {
			return i.State
		}
	}
	return ""
}

// TestEdit guards that a running gateway follows edit add, drain, undrain and remove, and
// that draining costs no request.
func TestEdit(t *testing.T) {
	g := start(t)
	shipped := read(t, g.file)
	url, asked, hold, release := startCounting(t)
	edit := func(args ...string) string {
		t.Helper()
		out, _ := run(t, g.dir, nil, append([]string{"ai-gateway", "edit"}, args...)...) // config.json5 is the default
		return out
	}
	want := fmt.Sprintf("+    { url: %q, model_name: \"echo\", name: \"new\" },\n", url)
	if diff := edit("add", "--url", url, "--model", "echo", "--name", "new", "--dry-run"); !strings.Contains(diff, want) || read(t, g.file) != shipped {
		t.Errorf("--dry-run: got %s, want the line %s and the file as it was", diff, want)
	}
	if out := edit("add", "--url", url, "--model", "echo", "--name", "new"); out != "added "+url+" to instances\n" {
		t.Errorf("add: got %s", out)
	}
	eventually(t, "the new instance", func() bool { return g.state(t, "new") == "serving" })
	g.chats(t, 9)
	if got := asked.Load(); got != 3 {
		t.Errorf("the new instance got %d of 9 requests, want 3", got)
	}

	hold.Store(true)
	var clients sync.WaitGroup
	for range 30 {
		clients.Go(func() { g.chats(t, 1) })
	}
	eventually(t, "10 requests in flight", func() bool { return asked.Load() == 13 })
	edit("drain", "new")
	eventually(t, "its draining", func() bool { return g.state(t, "new") == "draining" })
	g.chats(t, 20)
	if got := asked.Load(); got != 13 {
		t.Errorf("while it drained the instance got %d requests", got-13)
	}
	close(release)
	clients.Wait()

	edit("undrain", url)
	eventually(t, "its return", func() bool { return g.state(t, "new") == "serving" })
	g.chats(t, 9)
	if got := asked.Load(); got != 16 {
		t.Errorf("back, the instance got %d of 9 requests, want 3", got-13)
	}
	edit("remove", "new")
	eventually(t, "its end", func() bool { return g.state(t, "new") == "" })
	if read(t, g.file) != shipped {
		t.Errorf("got %s, want the file as it was", read(t, g.file))
	}

	cmd := command(t, g.dir, nil, "ai-gateway", "edit", "drain", "newt")
	if text, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(text), `no instance is called "newt"`) {
		t.Errorf("got %s, %v, want status 1 and the reason", text, err)
	}
}

// TestEditAtOnce guards that of edits by many processes none is lost.
func TestEditAtOnce(t *testing.T) {
	const n = 20
	dir := t.TempDir()
	copyExamples(t, dir, strings.NewReplacer(":9999", ":19999", ":9101", ":19101"))
	file := filepath.Join(dir, "config.json5")
	lines := strings.Count(read(t, file), "\n")
	var processes []*exec.Cmd
	for k := range n {
		cmd := command(t, dir, nil, "ai-gateway", "edit", "add", "--url", fmt.Sprintf("http://10.0.1.%d:8000/v1", k), "--model", "m")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		processes = append(processes, cmd)
	}
	for _, cmd := range processes {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	text := read(t, file)
	for k := range n {
		if want := fmt.Sprintf("\n    { url: \"http://10.0.1.%d:8000/v1\", model_name: \"m\" },\n", k); strings.Count(text, want) != 1 {
			t.Errorf("%s is lost", strings.TrimSpace(want))
		}
	}
	if got := strings.Count(text, "\n"); got != lines+n {
		t.Errorf("got %d lines, want %d", got, lines+n)
	}
}
