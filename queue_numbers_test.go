package aigateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestQueueNumbers guards what metrics, access log and records tell of waiting.
func TestQueueNumbers(t *testing.T) {
	s := startGated(t)
	path := filepath.Join(t.TempDir(), "access.log")
	g := startMeasured(t, queued(s.URL+"/v1", 1, `"max_waiting": 1, "max_wait": "500ms"`), "log {\n\t\toutput file "+path+"\n\t\tformat json\n\t\tlevel INFO\n\t}")
	before := g.series(t)
	first := g.later(t, context.Background(), chat(""))
	eventually(t, "the first to be answered", func() bool { return s.count() == 1 })
	second := g.later(t, context.Background(), chat(""))
	g.wantWaiting(t, 1)
	if got := g.series(t)[`queue_waiting{model="m"}`]; got != 1 {
		t.Errorf("queue_waiting is %v, want 1", got)
	}
	g.sends(t, chatPath, chat(""))
	<-second
	third := g.later(t, context.Background(), chat(""))
	g.wantWaiting(t, 1)
	waited := time.Now()
	time.AfterFunc(50*time.Millisecond, s.open)
	wantWhole(t, <-first, <-third)
	took := time.Since(waited).Seconds()
	g.wantEmpty(t)
	got := moved(before, g.series(t))
	for name, want := range map[string]float64{
		`queue_wait_seconds_count{model="m"}`: 3, `queue_refused_total{model="m",reason="full"}`: 1, `queue_refused_total{model="m",reason="timeout"}`: 1,
		`queue_waiting{model="m"}`: 0, `requests_total{model="m",outcome="unavailable"}`: 2, `requests_total{model="m",outcome="ok"}`: 2,
	} {
		if got[name] != want {
			t.Errorf("%s grew by %v, want %v", name, got[name], want)
		}
	}

	var queued []float64
	eventually(t, "four lines in the access log", func() bool {
		text, _ := os.ReadFile(path)
		queued = nil
		for line := range strings.Lines(string(text)) {
			var fields struct {
				Gateway struct{ Queued *float64 } `json:"ai_gateway"`
			}
			if json.Unmarshal([]byte(line), &fields) == nil && fields.Gateway.Queued != nil {
				queued = append(queued, *fields.Gateway.Queued)
			}
		}
		return strings.Count(string(text), "\n") >= 4 && len(queued) == 3
	})
	slowest, last := 0.0, queued[2]
	for _, q := range queued {
		slowest = max(slowest, q)
	}
	if slowest < 0.5 || last > took+1 {
		t.Errorf("got %v s in the access log, want one that waited for 0.5 s, and none without a wait", queued)
	}
}

// TestQueueRecord guards that a record tells how long its request waited, and only if it
// did.
func TestQueueRecord(t *testing.T) {
	hold := make(chan struct{})
	s := startScripted(t, func(conn *net.TCPConn, r *http.Request, body []byte) bool {
		<-hold
		return goodScript(conn, r, body)
	})
	g := startGateway(t, queued(s.url, 1, ""))
	first := g.later(t, context.Background(), chatBody(false))
	eventually(t, "the first to be answered", func() bool { return s.requests.Load() == 1 })
	second := g.later(t, context.Background(), chatBody(true))
	g.wantWaiting(t, 1)
	time.AfterFunc(20*time.Millisecond, func() { close(hold) })
	wantWhole(t, <-first, <-second)
	told := 0
	for _, line := range g.waitRecords(t, mainFolder, 2) {
		var meta struct {
			Queue *int64 `json:"queue_ms"`
			Total int64  `json:"latency_ms"`
		}
		must(t, json.Unmarshal([]byte(line.Meta), &meta))
		if meta.Queue != nil {
			told++
			if *meta.Queue < 1 || *meta.Queue > meta.Total {
				t.Errorf("got %d ms of %d, want a part of them", *meta.Queue, meta.Total)
			}
		}
	}
	if told != 1 {
		t.Errorf("%d records tell of waiting, want 1", told)
	}
}

// TestQueueExplain guards that it is told when a request would wait, and that who is left
// out is not asked then.
func TestQueueExplain(t *testing.T) {
	s, other := startGated(t), startMoody(t)
	g := startAdmin(t, entries(entry(s.URL+"/v1", `, "name": "full", "max_concurrency": 1`), other.entry(`, "name": "out"`)))
	g.steer(t, "out", "eject?for=1h")
	first := g.later(t, context.Background(), chat(""))
	eventually(t, "the first to be answered", func() bool { return s.count() == 1 })
	second := g.later(t, context.Background(), chat(""))
	g.wantWaiting(t, 1)
	var e explanation
	g.good(t, "GET", "/explain?model=m", &e)
	if notes := fmt.Sprint(e.Notes); len(e.Order) != 0 || !strings.Contains(notes, "it waits, with 1 others now") {
		t.Errorf("got the order %v and notes %s, want nobody and that it waits", e.Order, notes)
	}
	s.open()
	wantWhole(t, <-first, <-second)
	if other.count() != 0 {
		t.Errorf("the one that is out was asked %d times", other.count())
	}
}
