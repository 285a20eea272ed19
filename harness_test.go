package aigateway

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// client keeps as many connections as a test has requests at once, and shows
// answers as they come.
var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}}

// gateway is a running Caddy with one ai_gateway site, in this process. There
// can be only one at a time, so tests that use it do not run in parallel.
type gateway struct {
	url   string // http://127.0.0.1:PORT
	file  string // the fleet's file
	store *store
}

// theLongWay gives the tests' gateways options with which requests go through
// Caddy's proxy and the standard transport, in place of the gateway's own.
var theLongWay = os.Getenv("AI_GATEWAY_TEST_LONG_WAY") != ""

// startGateway runs a gateway over a fleet's file of the given content. Options
// are lines of the ai_gateway block.
func startGateway(t testing.TB, fleet string, options ...string) *gateway {
	t.Helper()
	if theLongWay {
		if !strings.Contains(strings.Join(options, "\n"), "transport ") {
			options = append(options, "transport http {\n max_conns_per_host 100000\n }")
		}
		options = append(options, "verbose_logs")
	}
	dir := t.TempDir()
	g := &gateway{file: filepath.Join(dir, "config.json5")}
	writeFile(t, g.file, fleet)
	address := freeAddress(t)
	g.url = "http://" + address
	loadCaddyfile(t, filepath.Join(dir, "Caddyfile"), fmt.Sprintf("http://%s {\n\tai_gateway {\n\t\t%s\n\t}\n}\n", address, strings.Join(options, "\n\t\t")))
	var err error
	if g.store, err = acquireStore(g.file, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := releaseStore(g.store); err != nil {
			t.Error(err)
		}
	})
	return g
}

// loadCaddyfile runs Caddy with sites, a Caddyfile's text that stands at path,
// until the test ends. Options are more global ones.
func loadCaddyfile(t testing.TB, path, sites string, options ...string) {
	t.Helper()
	text := fmt.Sprintf("{\n\tadmin off\n\tpersist_config off\n\tauto_https off\n\tstorage file_system %s\n\tlog {\n\t\tlevel PANIC\n\t}\n%s\n}\n%s",
		filepath.Join(filepath.Dir(path), "storage"), strings.Join(options, "\n"), sites)
	cfg, err := adapt(path, text)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(cfg, true); err != nil {
		t.Fatalf("loading %s: %v", text, err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
}

func adapt(path, text string) ([]byte, error) {
	cfg, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": path})
	return cfg, err
}

// save writes a new fleet's file and waits until it is in force.
func (g *gateway) save(t testing.TB, fleet string) {
	t.Helper()
	before := g.store.snapshot()
	writeFile(t, g.file, fleet)
	eventually(t, "the saved file to be in force", func() bool { return g.store.snapshot() != before })
}

// eventually waits until condition holds, at most a minute, for a machine may be busy.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("waited a minute for %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}

// post sends body to path and returns status and body of the answer.
func (g *gateway) post(t testing.TB, path, body string) (int, string) {
	t.Helper()
	res, err := client.Post(g.url+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, readAll(t, res.Body)
}

func readAll(t testing.TB, r io.ReadCloser) string {
	t.Helper()
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// writeFile puts a whole file at path at once, as whoever watches it could take a part
// that stood for long for a mistake.
func writeFile(t testing.TB, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path+".new", []byte(text), 0o600))
	must(t, os.Rename(path+".new", path))
}

// freeAddress returns an address of this machine that refuses connections until a Caddy
// listens there, or who else shares its port. A socket that does not listen holds the port
// until the test ends, so that no other program takes it.
func freeAddress(t testing.TB) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { syscall.Close(fd) })
	must(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	must(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	address, err := syscall.Getsockname(fd)
	must(t, err)
	return fmt.Sprintf("127.0.0.1:%d", address.(*syscall.SockaddrInet4).Port)
}

// listenAt listens at a free address, as Caddy does.
func listenAt(t testing.TB, address string) net.Listener {
	t.Helper()
	shared := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { must(t, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)) })
	}}
	l, err := shared.Listen(t.Context(), "tcp", address)
	must(t, err)
	return l
}

// wantSettled waits until a reload is over at address: the server before closes its
// listener while connections to it may wait there, and resets them.
func wantSettled(t testing.TB, address string) {
	t.Helper()
	client.CloseIdleConnections()
	inRow := 0
	eventually(t, address+" to answer every time", func() bool {
		fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		res, err := fresh.Get("http://" + address + "/livez")
		if inRow++; err != nil {
			inRow = 0
			return false
		}
		res.Body.Close()
		return inRow == 20
	})
}

// fleetOf returns a fleet's file with one instance of model m for each URL.
func fleetOf(urls ...string) string {
	entries := make([]string, len(urls))
	for i, u := range urls {
		entries[i] = fmt.Sprintf(`{"url": %q, "model_name": "m"}`, u)
	}
	return `{"instances": [` + strings.Join(entries, ", ") + `]}`
}

// seenRequest is what an instance was sent.
type seenRequest struct {
	method, uri, host, body string
	length                  int64
	header                  http.Header
}

// witness is an instance that notes what it is sent and answers with answer, or
// with an empty object.
type witness struct {
	*httptest.Server
	mu   sync.Mutex
	seen []seenRequest

	// hurried clients may leave before their request has reached the instance whole.
	hurried atomic.Bool
}

func startWitness(t testing.TB, answer http.HandlerFunc) *witness {
	t.Helper()
	w := new(witness)
	if answer == nil {
		answer = func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") }
	}
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil && !w.hurried.Load() {
			t.Errorf("instance cannot read its request: %v", err)
		}
		w.mu.Lock()
		w.seen = append(w.seen, seenRequest{r.Method, r.RequestURI, r.Host, string(body), r.ContentLength, r.Header.Clone()})
		w.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer(rw, r)
	}))
	t.Cleanup(w.Close)
	return w
}

func (w *witness) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.seen)
}

// last returns the newest request.
func (w *witness) last(t testing.TB) seenRequest {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.seen) == 0 {
		t.Fatal("instance was asked nothing")
	}
	return w.seen[len(w.seen)-1]
}
