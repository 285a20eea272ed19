package integration

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is the longest wait for anything that a slow machine does in seconds.
const patience = 30 * time.Second

// workDir holds what all tests share; TestMain makes and removes it.
var workDir string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if workDir, err = os.MkdirTemp("", "caddy-ai-gateway-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(workDir)
		return m.Run()
	}())
}

// build compiles cmd/caddy and returns the path of the binary.
var build = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(workDir, "caddy")
	out, err := exec.Command("go", "build", raceFlag, "-o", binary, "../cmd/caddy").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building cmd/caddy: %w\n%s", err, out)
	}
	return binary, nil
})

// command prepares a run of the binary that touches nothing outside of dir. What
// env adds has the form NAME=value.
func command(t testing.TB, dir string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	cmd.Env = append(cmd.Env, "GORACE=atexit_sleep_ms=10") // the race detector's own is a second for each run
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// run runs the binary to its end, which must be a good one, and returns what it
// printed.
func run(t testing.TB, dir string, env []string, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := command(t, dir, env, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("caddy %s: %v\n%s%s", strings.Join(args, " "), err, &out, &errs)
	}
	return out.String(), errs.String()
}

// gateway is a running binary with copies of the example files.
type gateway struct {
	url   string // http://127.0.0.1:PORT
	file  string // its config.json5
	admin string // HOST:PORT of its admin endpoint
	dir   string
	// binary takes the place of the one that [build] makes, if it is set before a run.
	binary string
	config string // its Caddyfile, that of the example unless it is set
	cmd    *exec.Cmd
	log    *log
	ended  chan struct{} // closed once the process has ended, with err set
	err    error
}

// start runs the example until the test ends. Its ports are free ones, so that
// any number of test runs can share a machine. What env adds has the form NAME=value.
func start(t testing.TB, env ...string) *gateway {
	t.Helper()
	const tries = 3
	for try := 1; ; try++ {
		g := launch(t, env)
		if g.ready() {
			t.Cleanup(func() {
				if err := g.stop(); err != nil {
					t.Errorf("gateway ended with %v", err)
				}
				if t.Failed() {
					t.Logf("log of the gateway:\n%s", g.log)
				}
			})
			return g
		}
		// Another program may have taken a port since it was found to be free.
		err := g.stop()
		if try == tries || !strings.Contains(g.log.String(), "address already in use") {
			t.Fatalf("gateway is not ready: %v\n%s", err, g.log)
		}
	}
}

func launch(t testing.TB, env []string) *gateway {
	t.Helper()
	ports := freePorts(t, 4)
	dir := t.TempDir()
	copyExamples(t, dir, strings.NewReplacer(":9999", ":"+ports[0], ":9101", ":"+ports[1], ":9102", ":"+ports[2]))
	g := &gateway{
		url: "http://127.0.0.1:" + ports[0], admin: "127.0.0.1:" + ports[3],
		dir: dir, file: filepath.Join(dir, "config.json5"), log: new(log),
	}
	g.run(t, env)
	return g
}

// run starts the process, for the first time or when the one before has ended.
func (g *gateway) run(t testing.TB, env []string) {
	t.Helper()
	g.ended = make(chan struct{})
	g.cmd = command(t, g.dir, append(env, "CADDY_ADMIN="+g.admin), "run", "--config", cmp.Or(g.config, "Caddyfile.example"))
	if g.binary != "" {
		g.cmd.Path = g.binary
	}
	g.cmd.Stdout, g.cmd.Stderr = g.log, g.log
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd, ended := g.cmd, g.ended
	go func() {
		g.err = cmd.Wait()
		close(ended)
	}()
}

// copyExamples writes the example files to dir, edited.
func copyExamples(t testing.TB, dir string, edit *strings.Replacer) {
	t.Helper()
	for _, name := range []string{"Caddyfile.example", "config.json5"} {
		before := read(t, filepath.Join("..", name))
		after := edit.Replace(before)
		if before == after {
			t.Fatalf("%s names none of the ports 9999, 9101 and 9102", name)
		}
		write(t, filepath.Join(dir, name), after)
	}
}

// ready waits until the gateway says that it is, or ends.
func (g *gateway) ready() bool {
	deadline := time.After(patience)
	for {
		if res, err := http.Get(g.url + "/readyz"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return true
			}
		}
		select {
		case <-g.ended:
			return false
		case <-deadline:
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// stop asks the gateway to end, as systemd and Kubernetes do, and returns how it
// did. It may be called again.
func (g *gateway) stop() error {
	select {
	case <-g.ended:
		return g.err
	default:
	}
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-g.ended:
		return g.err
	case <-time.After(2 * patience): // beyond the grace period of the example
		g.cmd.Process.Kill()
		<-g.ended
		return fmt.Errorf("no end after SIGTERM: %w", g.err)
	}
}

// log takes what a process prints. It may be read meanwhile.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// freePorts returns n different ports that nobody listens on.
func freePorts(t testing.TB, n int) []string {
	t.Helper()
	ports := make([]string, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports[i] = strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// eventually waits until condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("waited %v for %s", patience, what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// get returns the body of an answer that must be a good one.
func get(t testing.TB, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: status %d %s", url, res.StatusCode, text)
	}
	return string(text)
}

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// write puts a whole new file in the place of path, as editors do.
func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}
