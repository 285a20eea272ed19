package integration

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestReloadKeeps guards row F15 for each way to reload Caddy's configuration, every
// time with a real change: streams and plain answers under way come to their ends, the
// counts of requests in flight and an ejection go on, and the records go on in the one
// file that is open, by one writer.
func TestReloadKeeps(t *testing.T) {
	g := start(t)
	urls := append(startInstances(t, 2), "http://127.0.0.1:"+freePorts(t, 1)[0]+"/v1")
	g.serves(t, `data_dir: "./data", timeouts: {total: 600},`, urls...)
	eventually(t, "the dead instance to be out", func() bool {
		g.posts("/v1/chat/completions", chatOf(false, 1), nil)
		return g.instance(t, 2).State == "ejected"
	})
	exchanges := g.health(t).Recorder
	eventually(t, "the records to be written", func() bool {
		exchanges = g.health(t).Recorder
		return exchanges.Queued == 0 && len(g.open(t)) == 1
	})
	file := g.open(t)[0]

	const tokens = 150 // 3 s
	began := time.Now()
	streams := g.streams("/v1/chat/completions", chatOf(true, tokens), 10)
	plain := make(chan received, 10)
	for range cap(plain) {
		go func() { plain <- g.posts("/v1/chat/completions", chatOf(false, tokens), nil) }()
	}
	active := func() int64 { return g.instance(t, 0).Active + g.instance(t, 1).Active }
	eventually(t, "20 requests under way", func() bool { return active() == 20 })

	// By the admin API last: from then on Caddy does not know its file any more.
	for n, way := range []string{"file", "signal", "file", "signal", "api", "api"} {
		before := "max_body 32MiB"
		if n > 0 {
			before = fmt.Sprintf("max_body %dMiB", 32+n)
		}
		g.setCaddyfile(t, before, fmt.Sprintf("max_body %dMiB", 33+n))
		g.reload(t, way)
		out := g.instance(t, 2)
		// It may have had its trial, which is due 2.5 to 5 s after the first ejection.
		if out.State != "ejected" && out.State != "half_open" || out.Reason != "connect" {
			t.Errorf("%d, by %s: got the dead instance %+v, want it out as before", n, way, out)
		}
		if got := active(); got != 20 && time.Since(began) < tokens*20*time.Millisecond {
			t.Errorf("%d, by %s: got %d requests in flight, want the 20 of before", n, way, got)
		}
		if r := g.posts("/v1/chat/completions", chatOf(false, 1), nil); r.status != http.StatusOK {
			t.Errorf("%d, by %s: got status %d %v", n, way, r.status, r.err)
		}
		if files := g.open(t); len(files) != 1 || files[0] != file {
			t.Errorf("%d, by %s: got the open files %q, want %s as before, once", n, way, files, file)
		}
	}
	t.Logf("6 reloads until %v after the streams began", time.Since(began))
	for _, r := range streams() {
		if err := wholeStream(r, tokens); err != nil {
			t.Error(err)
		}
	}
	for range cap(plain) {
		if r := <-plain; r.status != http.StatusOK || r.err != nil || !strings.Contains(r.body, fmt.Sprintf("w%d", tokens)) {
			t.Errorf("plain: got status %d, %s and error %v", r.status, end(r.body), r.err)
		}
	}
	eventually(t, "all to be recorded", func() bool {
		r := g.health(t).Recorder
		return r.Queued == 0 && r.Written >= exchanges.Written+20+6
	})
	if r := g.health(t).Recorder; r.Written != exchanges.Written+26 || len(r.Dropped) > 0 {
		t.Errorf("got %+v after %+v and 26 exchanges", r, exchanges)
	}
	if err := g.stop(); err != nil {
		t.Error(err)
	}
	if n := len(g.records(t, "requests_responses")); n != exchanges.Written+26 {
		t.Errorf("got %d records in the files, want %d", n, exchanges.Written+26)
	}
}

// reload loads the Caddyfile anew in one of three ways and waits until it is in force.
func (g *gateway) reload(t testing.TB, way string) {
	t.Helper()
	loaded := strings.Count(g.log.String(), `"msg":"load complete"`)
	signaled := strings.Count(g.log.String(), "successfully reloaded config from file")
	switch way {
	case "file":
		run(t, g.dir, nil, "reload", "--address", g.admin, "--config", "Caddyfile.example")
	case "signal":
		g.signal(t, syscall.SIGUSR1)
		eventually(t, "the reload by signal", func() bool {
			return strings.Count(g.log.String(), "successfully reloaded config from file") > signaled
		})
		return
	case "api":
		text := read(t, filepath.Join(g.dir, "Caddyfile.example"))
		res, err := http.Post("http://"+g.admin+"/load", "text/caddyfile", bytes.NewReader([]byte(text)))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Fatalf("POST /load: status %d", res.StatusCode)
		}
	}
	eventually(t, "the reload", func() bool { return strings.Count(g.log.String(), `"msg":"load complete"`) > loaded })
}

// open returns which files of records the process holds open, one entry for each
// descriptor.
func (g *gateway) open(t testing.TB) (files []string) {
	t.Helper()
	dir := filepath.Join("/proc", fmt.Sprint(g.cmd.Process.Pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Skip("skipped: there is no /proc")
	}
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasSuffix(target, ".jsonl") {
			files = append(files, target)
		}
	}
	return files
}

// TestReloadUpgraded guards what a reload does to a WebSocket, which /v1/realtime may
// become: without stream_close_delay it is closed at once, with it it stays.
func TestReloadUpgraded(t *testing.T) {
	g := start(t)
	g.serves(t, `data_dir: "./data",`, startInstances(t, 1)...)
	dial := func() *websocket.Conn {
		t.Helper()
		c, _, err := websocket.Dial(t.Context(), g.url+"/v1/realtime?model=echo", nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.CloseNow() })
		return c
	}
	// says reports whether the connection carries a message there and back.
	says := func(c *websocket.Conn) error {
		if err := c.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
			return err
		}
		_, text, err := c.Read(t.Context())
		if err == nil && string(text) != "hello" {
			err = fmt.Errorf("got %q back", text)
		}
		return err
	}
	short := dial()
	if err := says(short); err != nil {
		t.Fatal(err)
	}
	g.setCaddyfile(t, "max_body 32MiB", "stream_close_delay 1m\n\t\tmax_body 32MiB")
	g.reload(t, "file")
	eventually(t, "the WebSocket to be closed", func() bool { return says(short) != nil })
	long := dial()
	for n := range 3 {
		g.setCaddyfile(t, fmt.Sprintf("max_body %dMiB", 32+n), fmt.Sprintf("max_body %dMiB", 33+n))
		g.reload(t, "file")
		if err := says(long); err != nil {
			t.Errorf("with stream_close_delay, after reload %d: %v", n+1, err)
		}
	}
	if i := g.instance(t, 0); i.Active != 1 || i.Errors != 0 {
		t.Errorf("got %+v, want one request in flight and no failure", i)
	}
}
