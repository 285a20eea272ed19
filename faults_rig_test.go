package aigateway

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/simpleaigateway/caddy-ai-gateway/echomodel"
)

// standIn is a model server that fails in the way it is told.
type standIn struct {
	*echomodel.Server
	url string // with /v1, as in the fleet's file
}

func startStandIn(t testing.TB, name string) *standIn {
	t.Helper()
	s := echomodel.New(echomodel.Options{Name: name})
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	t.Cleanup(func() { s.Close() })
	return &standIn{s, server.URL + "/v1"}
}

// plays gives all further requests the script.
func (s *standIn) plays(script echomodel.Script) { s.SetScript(script, 0) }

// received is an answer as the client got it. Err is how its body ended, nil for
// a whole one.
type received struct {
	status int
	header http.Header
	body   string
	err    error
}

// sends posts body to path.
func (g *gateway) sends(t testing.TB, path, body string) received {
	t.Helper()
	res, err := client.Post(g.url+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return received{err: err}
	}
	return receivedOf(res)
}

func receivedOf(res *http.Response) received {
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return received{res.StatusCode, res.Header, string(text), err}
}

// sendsMany posts body to path count times, all at once.
func (g *gateway) sendsMany(t testing.TB, path, body string, count int) []received {
	t.Helper()
	all := make([]received, count)
	var clients sync.WaitGroup
	for n := range all {
		clients.Go(func() { all[n] = g.sends(t, path, body) })
	}
	clients.Wait()
	return all
}

// wantWhole checks that every answer is a complete 200.
func wantWhole(t testing.TB, all ...received) {
	t.Helper()
	for n, r := range all {
		if r.status != http.StatusOK || r.err != nil {
			t.Errorf("answer %d: got status %d %.300s and error %v, want a whole 200", n, r.status, r.body, r.err)
		}
	}
}

// healthOf returns how the n-th instance of the file does.
func (g *gateway) healthOf(n int) *health {
	return &g.store.snapshot().fleet.instances[n].state.health
}

// phase returns where the n-th instance of the file stands.
func (g *gateway) phase(n int) phase { return phase(g.healthOf(n).phase.Load()) }

// wantMarks checks the failures that are counted for each instance of the file.
func (g *gateway) wantMarks(t testing.TB, what string, want ...int) {
	t.Helper()
	if got := g.marks(); !slices.Equal(got, want) {
		t.Errorf("%s: got %v failures counted, want %v", what, got, want)
	}
}

// wantIdle waits until no lease is held.
func (g *gateway) wantIdle(t testing.TB) {
	t.Helper()
	eventually(t, "all leases to be given back", func() bool {
		for _, i := range g.store.snapshot().fleet.instances {
			if i.state.inFlight.Load() != 0 {
				return false
			}
		}
		return true
	})
}

// put changes the state of the n-th instance as if its past had been another one.
func (g *gateway) put(n int, change func(h *health, now time.Duration)) {
	h := g.healthOf(n)
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h, clock())
}

// makeDue ends the time that the n-th instance is out.
func (g *gateway) makeDue(n int) {
	g.put(n, func(h *health, now time.Duration) { h.until.Store(int64(now)) })
}

// gated is an instance whose answers wait: each takes its status from release.
// The closed channel lets the rest go with 200.
type gated struct {
	*witness
	release chan int
}

func startGated(t testing.TB) *gated {
	t.Helper()
	s := &gated{release: make(chan int)}
	s.witness = startWitness(t, func(w http.ResponseWriter, _ *http.Request) {
		status, ok := <-s.release
		if !ok {
			status = http.StatusOK
		}
		w.WriteHeader(status)
		io.WriteString(w, "{}")
	})
	t.Cleanup(s.open)
	return s
}

// open lets all answers go.
func (s *gated) open() {
	select {
	case <-s.release:
	default:
		close(s.release)
	}
}

// chat is a request for a chat. Members stand beside model and messages, each with
// a comma before it.
func chat(members string) string {
	return `{"model":"m","messages":[{"role":"user","content":"a b c d"}]` + members + `}`
}

// streamRequests are requests for a stream in each dialect, open for further
// members and the last brace.
var streamRequests = map[string]string{
	"/v1/chat/completions": `{"model":"m","stream":true,"messages":[{"role":"user","content":"a b c d"}]`,
	"/v1/completions":      `{"model":"m","stream":true,"prompt":"a b c d"`,
	"/v1/responses":        `{"model":"m","stream":true,"input":"a b c d"`,
	"/v1/messages":         `{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"a b c d"}]`,
}

// startServers is [startGateway] for a server with options of its own, such as
// timeouts and protocols. Lines are further lines of the site's block.
func startServers(t testing.TB, fleet, scheme, servers, lines string) *gateway {
	t.Helper()
	dir := t.TempDir()
	g := &gateway{url: scheme + "://" + freeAddress(t), file: filepath.Join(dir, "config.json5")}
	writeFile(t, g.file, fleet)
	loadCaddyfile(t, filepath.Join(dir, "Caddyfile"), fmt.Sprintf("%s {\n%s\n\tai_gateway\n}\n", g.url, lines), "servers {\n"+servers+"\n}")
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

// address is where the gateway listens.
func (g *gateway) address() string {
	_, address, _ := strings.Cut(g.url, "://")
	return address
}

// dial opens a connection to the gateway that is spoken to byte by byte.
func (g *gateway) dial(t testing.TB) *talk {
	t.Helper()
	return (&wire{address: g.address()}).dial(t)
}

// posts is [post] to this gateway.
func (g *gateway) posts(path, headers, body string) string {
	return strings.Replace(post(path, headers, body), "Host: gateway", "Host: "+g.address(), 1)
}
