package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// buildWithClock compiles cmd/caddy with a wall clock that is off by the seconds in the
// file that TEST_CLOCK names. Nothing else can move the clock of a Go program alone.
func buildWithClock(t testing.TB) string {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	before := read(t, source)
	const line = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if strings.Count(before, line) != 1 {
		t.Skipf("skipped: %s is not as expected", source)
	}
	after := strings.Replace(before, line, line+"\tsec += jump.Load()\n", 1)
	after = strings.Replace(after, "\nimport (\n", "\nimport (\n\t\"sync/atomic\"\n\t\"syscall\"\n", 1) + `
var jump atomic.Int64

// Timers read the clock where no file may be read.
func init() {
	name, ok := syscall.Getenv("TEST_CLOCK")
	if !ok {
		return
	}
	go func() {
		for ; ; Sleep(Millisecond) {
			file, err := open(name)
			if err != nil {
				continue
			}
			var text [32]byte
			n, _ := read(file, text[:])
			closefd(file)
			sign, seconds := int64(1), int64(0)
			for _, c := range text[:n] {
				if c == '-' {
					sign = -1
				} else {
					seconds = seconds*10 + int64(c-'0')
				}
			}
			jump.Store(sign * seconds)
		}
	}()
}
`
	dir := t.TempDir()
	changed, overlay, binary := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "caddy")
	write(t, changed, after)
	text, err := json.Marshal(map[string]map[string]string{"Replace": {source: changed}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, overlay, string(text))
	if out, err := exec.Command("go", "build", "-overlay", overlay, "-o", binary, "../cmd/caddy").CombinedOutput(); err != nil {
		t.Fatalf("building cmd/caddy with a clock of its own: %v\n%s", err, out)
	}
	return binary
}

// TestClockJumps guards row T1 in a process whose wall clock really jumps: an ejection
// and a deadline last as long as they should, streams go on, and the records go on in
// the files that the clock names, none of which loses a byte.
func TestClockJumps(t *testing.T) {
	if os.Getenv("AI_GATEWAY_CLOCK") != "1" {
		t.Skip("skipped: compiles the standard library anew, which takes minutes: set AI_GATEWAY_CLOCK=1 to run")
	}
	g := start(t)
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	clock := filepath.Join(g.dir, "clock")
	write(t, clock, "0")
	jump := func(by time.Duration) {
		t.Helper()
		write(t, clock, fmt.Sprint(int64(by/time.Second)))
		eventually(t, "the clock to jump", func() bool {
			res, err := plainClient.Get(g.url + "/livez")
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			now, err := http.ParseTime(res.Header.Get("Date"))
			return err == nil && now.Sub(time.Now().Add(by)).Abs() < time.Minute
		})
	}
	g.binary = buildWithClock(t)
	g.run(t, []string{"TEST_CLOCK=" + clock})
	if !g.ready() {
		t.Fatalf("gateway is not ready: %s", g.log)
	}
	urls := append(startInstances(t, 1), "http://127.0.0.1:"+freePorts(t, 1)[0]+"/v1", "http://127.0.0.1:"+freePorts(t, 1)[0]+"/v1")
	const year = 365 * 24 * time.Hour
	for n, by := range []time.Duration{time.Hour, -time.Hour, -year} {
		jump(0)
		// Other instances each time, so that the second one is ejected for the first time.
		g.serves(t, fmt.Sprintf(`data_dir: "./data", timeouts: {stall: %g},`, 1+float64(n)/1000), urls[0], strings.Replace(urls[1], "/v1", fmt.Sprintf("/%d/v1", n), 1))
		eventually(t, "the dead instance to be out", func() bool {
			g.posts("/v1/chat/completions", chatOf(false, 1), nil)
			i := g.instance(t, 1)
			return i.State == "ejected" && i.Wait > 2
		})
		files := g.files(t)
		began, before := time.Now(), g.instance(t, 1)
		silent := make(chan time.Duration, 1)
		go func() {
			g.posts("/v1/chat/completions", strings.Replace(chatOf(true, 9), `"tokens"`, `"fault":"hang_mid","after":3,"tokens"`, 1), nil)
			silent <- time.Since(began)
		}()
		wait := g.streams("/v1/chat/completions", chatOf(true, 100), 5) // 2 s
		jump(by)
		after, passed := g.instance(t, 1), time.Since(began).Seconds()
		if after.State != "ejected" || before.Wait-after.Wait > passed+0.2 || before.Wait-after.Wait < 0 {
			t.Errorf("%v: got the dead instance %+v, %.2f s after %+v", by, after, passed, before)
		}
		if took := <-silent; took < time.Second || took > 2*time.Second {
			t.Errorf("%v: silence ended after %v, want the deadline of 1 s", by, took)
		}
		for _, r := range wait() {
			if err := wholeStream(r, 100); err != nil {
				t.Errorf("%v: %v", by, err)
			}
		}
		var last received
		eventually(t, "a record by the new clock", func() bool {
			last = g.posts("/v1/chat/completions", chatOf(false, 1), nil)
			return last.status == http.StatusOK && g.files(t)[time.Now().Add(by).Format("20060102_15")+".jsonl"] != ""
		})
		eventually(t, "the last record", func() bool { return g.records(t, "requests_responses")[last.id] != "" })
		for name, text := range g.files(t) {
			if !strings.HasPrefix(text, files[name]) {
				t.Errorf("%v: %s does not begin with what it had before", by, name)
			}
		}
		t.Logf("%v: %.1f s", by, time.Since(began).Seconds())
		if i := g.instance(t, 0); i.State != "serving" || i.Errors != 1 && n == 0 {
			t.Errorf("%v: got %+v, want it serving with the failure of the silence", by, i)
		}
	}
	if n := len(g.files(t)); n != 3 && n != 4 { // the test may span a full hour
		t.Errorf("got %d files, want one for each hour that the clock showed", n)
	}
	if err := g.stop(); err != nil {
		t.Error(err)
	}
}

// files returns the text of the files of whole records by name.
func (g *gateway) files(t testing.TB) map[string]string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(g.dir, "data", "requests_responses", "*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, name := range names {
		all[filepath.Base(name)] = read(t, name)
	}
	return all
}
