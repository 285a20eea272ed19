package aigateway

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// adminGateway is a gateway whose admin endpoint listens.
type adminGateway struct {
	*gateway
	admin string // HOST:PORT
	dir   string
	block string // of the Caddyfile, behind the site's address
}

// load loads the Caddyfile, also again, with another address of the site: a listener
// that closes resets the connections it has not accepted yet.
func (g *adminGateway) load(t testing.TB, admin string) {
	t.Helper()
	g.url, g.admin = "http://"+freeAddress(t), admin
	loadCaddyfile(t, filepath.Join(g.dir, "Caddyfile"), g.url+g.block, "admin "+g.admin)
}

// eventStream is a client of the events.
type eventStream struct {
	*bufio.Reader
	body io.Closer
}

func (g *adminGateway) listen(t testing.TB, last string) *eventStream {
	t.Helper()
	r, err := http.NewRequest("GET", "http://"+g.admin+"/ai_gateway/events", nil)
	must(t, err)
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	res, err := client.Do(r)
	must(t, err)
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("got %d %v", res.StatusCode, res.Header)
	}
	t.Cleanup(func() { res.Body.Close() })
	s := &eventStream{bufio.NewReader(res.Body), res.Body}
	s.next(t) // it has begun
	return s
}

// next returns the lines of the next block, an error in their place at the end.
func (s *eventStream) next(t testing.TB) string {
	t.Helper()
	var lines []string
	for {
		line, err := s.ReadString('\n')
		if err != nil {
			return err.Error()
		}
		if line = strings.TrimSuffix(line, "\n"); line == "" {
			return strings.Join(lines, "|")
		}
		lines = append(lines, line)
	}
}

// TestAdminEvents guards that a client hears of each event once and in order, goes on
// after a pause, is told what it has missed, and is let go with the configuration.
func TestAdminEvents(t *testing.T) {
	g := startAdmin(t, fleetOf("http://a:1/v1", "http://b:1/v1"))
	live := g.listen(t, "")
	g.steer(t, "a:1", "drain")
	first := live.next(t)
	if !strings.HasPrefix(first, "id: 0|event: instance_draining|data: {") || !strings.Contains(first, `"instance":"a:1/v1","model":"m","reason":"api"}`) {
		t.Errorf("got %s, want the draining", first)
	}
	g.steer(t, "a:1", "undrain")
	second := live.next(t)
	if got := g.listen(t, "0").next(t); got != second || !strings.HasPrefix(got, "id: 1|event: instance_undrained|") {
		t.Errorf("after 0: got %s, want %s", got, second)
	}
	if got := g.status(t).Events; len(got) != 2 || got[0].Kind != string(instanceUndrained) {
		t.Errorf("got %+v, want two, the newest first", got)
	}
	for range 150 {
		g.steer(t, "a:1", "drain")
		g.steer(t, "a:1", "undrain")
	}
	eventually(t, "302 events", func() bool { return g.store.history.next() == 302 })
	late := g.listen(t, "0")
	if got := late.next(t); got != `event: missed|data: {"count":101}` {
		t.Errorf("got %s, want 101 missed", got)
	}
	if got := late.next(t); !strings.HasPrefix(got, "id: 102|") {
		t.Errorf("got %s, want the event 102", got)
	}
	future := g.listen(t, "99999")
	if got := len(g.status(t).Events); got != shownEvents {
		t.Errorf("got %d events in the status, want %d", got, shownEvents)
	}
	for n := 2; n < 302; n++ {
		if got := live.next(t); !strings.HasPrefix(got, fmt.Sprintf("id: %d|", n)) {
			t.Fatalf("got %s, want the event %d", got, n)
		}
	}
	g.load(t, freeAddress(t))
	for _, s := range []*eventStream{live, future} {
		if got := s.next(t); got != "EOF" {
			t.Errorf("after a reload: got %s, want the end", got)
		}
	}
	g.listen(t, "")

	admin := freeAddress(t)
	bad, err := adapt(filepath.Join(g.dir, "Caddyfile"), fmt.Sprintf("{\n\tadmin %s\n\tpersist_config off\n\tauto_https off\n\tlog {\n\t\tlevel PANIC\n\t}\n}\nhttp://%s {\n\tai_gateway missing.json5\n}\n", admin, freeAddress(t)))
	must(t, err)
	if err := caddy.Load(bad, true); err == nil {
		t.Fatal("a configuration without its file starts")
	}
	g.admin = admin // Caddy has moved it already
	after := g.listen(t, "")
	g.steer(t, "b:1", "drain")
	if got := after.next(t); !strings.Contains(got, `"instance":"b:1/v1"`) {
		t.Errorf("after a configuration that failed: got %s, want the draining", got)
	}
	g.load(t, freeAddress(t))
	if got := after.next(t); got != "EOF" {
		t.Errorf("after the next one: got %s, want the end", got)
	}
}
