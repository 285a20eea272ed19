package aigateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
)

// stalledRecorder is a recorder whose disk takes nothing.
func stalledRecorder() *recorder {
	r := &recorder{
		dir: "stalled", done: make(chan struct{}), queue: make(chan *capture, recordQueue), dropped: make(map[string]int64), told: make(map[string]time.Time),
	}
	r.logger.Store(zap.NewNop())
	return r
}

// captured returns a capture of a request with a body of n bytes.
func captured(r *recorder, n int) *capture {
	x := &exchange{
		id: newRequestID(), route: &route{stream: openai.Chat}, body: &body{bytes: make([]byte, n)}, snap: new(snapshot),
		request: httptest.NewRequest(http.MethodPost, "/v1/chat/completions", nil),
	}
	x.body.refs.Store(1)
	return r.capture(httptest.NewRecorder(), x)
}

// TestRecorderStalls guards row D7: while the disk stalls, exchanges queue up to
// the bound, and then the newest are dropped and counted. Nobody waits.
func TestRecorderStalls(t *testing.T) {
	r := stalledRecorder()
	for range recordQueue + 500 {
		c := captured(r, 100)
		if _, err := io.WriteString(c, "answer"); err != nil {
			t.Fatal(err)
		}
		r.submit(c) // would never return if it waited
	}
	if got := r.report(); got.Queued != recordQueue || got.Dropped[dropQueue] != 500 || r.active.count() != 0 {
		t.Errorf("got %+v with %d active, want %d queued and 500 dropped", got, r.active.count(), recordQueue)
	}
	if want := int64(recordQueue * (firstPiece + 100)); r.memory.Load() != want {
		t.Errorf("got %d bytes reserved, want %d", r.memory.Load(), want)
	}
}

// TestRecorderClosed guards that an exchange which comes after its recorder's end
// is counted, not lost without a word.
func TestRecorderClosed(t *testing.T) {
	r := stalledRecorder()
	c := captured(r, 10)
	close(r.done)
	r.submit(c)
	if got := r.report(); got.Queued != 0 || got.Dropped[dropClosed] != 1 || r.memory.Load() != 0 {
		t.Errorf("got %+v with %d bytes reserved, want one dropped and none", got, r.memory.Load())
	}
}

// TestRecorderMemory guards row D12: what all captures hold together is bounded,
// what is too much is dropped and counted, and all of it is given back.
func TestRecorderMemory(t *testing.T) {
	if raceDetector {
		t.Skip("skipped: one goroutine gives the race detector nothing to find, and all of that memory would be a multiple of it")
	}
	r := stalledRecorder()
	answer := bytes.Repeat([]byte("x"), 4<<20)
	var captures []*capture
	var most int64
	for range 100 {
		c := captured(r, 0)
		if n, err := c.Write(answer); n != len(answer) || err != nil {
			t.Fatalf("client got %d bytes, %v, want all", n, err)
		}
		captures = append(captures, c)
		most = max(most, r.memory.Load())
	}
	if most > recordMemory || most < recordMemory-8<<20 {
		t.Errorf("got %d bytes at most, want nearly %d", most, recordMemory)
	}
	for _, c := range captures {
		r.submit(c)
	}
	if got := r.report(); got.Dropped[dropMemory] == 0 || got.Queued+int(got.Dropped[dropMemory]) != 100 {
		t.Errorf("got %+v, want 100 queued and dropped", got)
	}
	for len(r.queue) > 0 {
		(<-r.queue).release()
	}
	if r.memory.Load() != 0 {
		t.Errorf("got %d bytes reserved in the end, want none", r.memory.Load())
	}
}

// TestRecordLongAnswer guards row D11: the client gets all of an answer that is
// longer than what a record may hold, and the record has its beginning. A stream whose
// text alone fits is recorded whole.
func TestRecordLongAnswer(t *testing.T) {
	const size = 12 << 20
	w := startWitness(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		for range size / 1024 {
			fmt.Fprintf(rw, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"}}]}\n\n", strings.Repeat("y", 1024-55))
		}
		io.WriteString(rw, whole1)
	})
	g := startGateway(t, fleetOf(w.URL+"/v1"))
	status, body := g.post(t, "/v1/chat/completions", `{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}`)
	if status != 200 || len(body) < size || !strings.HasSuffix(body, "[DONE]\n\n") {
		t.Errorf("client got status %d and %d bytes, want all of more than %d", status, len(body), size)
	}
	r := g.waitRecords(t, incompleteFolder, 1)[0]
	if n := len(r.talk()); n < 6<<20 || n > maxCapture || !strings.Contains(r.Meta, `"status":"truncated"`) {
		t.Errorf("record has %d bytes, %s", n, r.Meta)
	}
	if want := fmt.Sprintf(`"truncated":true,"bytes":%d}`, len(body)); !strings.HasSuffix(r.Meta, want) {
		t.Errorf("got meta %s, want %s in it", r.Meta, want)
	}
}

// TestRecordLongPlainAnswer guards row D11 for an answer in one piece, of which the
// beginning cannot be read: it is counted.
func TestRecordLongPlainAnswer(t *testing.T) {
	answer := `{"choices":[{"index":0,"message":{"role":"assistant","content":"` + strings.Repeat("y", 12<<20) + `"},"finish_reason":"stop"}]}`
	w := startWitness(t, func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, answer) })
	g := startGateway(t, fleetOf(w.URL+"/v1"))
	status, body := g.post(t, chatPath, `{"model":"m","messages":[{"role":"user","content":"hi"}]}`)
	if status != http.StatusOK || body != answer {
		t.Errorf("client got status %d and %d bytes, want all %d", status, len(body), len(answer))
	}
	rec := g.store.snapshot().recorder
	eventually(t, "the answer to be counted", func() bool { return rec.report().Dropped[dropUnreadable] == 1 })
}

// TestRecordManyEvents guards that of a stream the text counts, not its events: one of
// 12 MiB that says little is recorded whole, and holds little memory meanwhile.
func TestRecordManyEvents(t *testing.T) {
	const events = 24 << 10
	release := make(chan struct{})
	w := startWitness(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		for range events {
			fmt.Fprintf(rw, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"yes \"}}],\"system_fingerprint\":\"%s\"}\n\n", strings.Repeat("f", 512-90))
		}
		http.NewResponseController(rw).Flush()
		<-release
		io.WriteString(rw, whole1)
	})
	g := startGateway(t, fleetOf(w.URL+"/v1"))
	answer := g.later(t, context.Background(), chat(`,"stream":true`))
	rec := g.store.snapshot().recorder
	eventually(t, "all events to be read", func() bool {
		captures := rec.active.all()
		if len(captures) != 1 {
			return false
		}
		captures[0].mu.Lock()
		defer captures[0].mu.Unlock()
		return captures[0].total >= events*500
	})
	if held := rec.memory.Load(); held > 256<<10 {
		t.Errorf("%d bytes are held of a text of %d", held, 4*events)
	}
	close(release)
	wantWhole(t, <-answer)
	if r := g.waitRecords(t, mainFolder, 1)[0]; len(r.talk()) < 4*events {
		t.Errorf("record has %d bytes of text, want %d; %s", len(r.talk()), 4*events, r.Meta)
	}
}

// TestRecordMove guards that a saved data_dir takes effect while requests run:
// those under way end in the old folder, new ones in the new, and none is lost.
func TestRecordMove(t *testing.T) {
	release := make(chan struct{})
	var once sync.Once
	w := startWitness(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("slow") {
			<-release
		}
		io.WriteString(rw, `{"choices":[{"index":0,"message":{"role":"assistant","content":"yes"},"finish_reason":"stop"}]}`)
	})
	defer once.Do(func() { close(release) })
	fleet := func(dir string) string {
		return fmt.Sprintf(`{"data_dir": %q, "instances": [{"url": "%s/v1", "model_name": "m"}]}`, dir, w.URL)
	}
	g := startGateway(t, fleet("data/first"))
	const ask = `{"model":"m","messages":[{"role":"user","content":"hi"}]}`
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.post(t, "/v1/chat/completions?slow", ask)
	}()
	eventually(t, "the slow request to be under way", func() bool { return w.count() == 1 })
	g.save(t, fleet("data/second"))
	g.post(t, "/v1/chat/completions", ask)
	once.Do(func() { close(release) })
	<-done
	for _, dir := range []string{"first", "second"} {
		pattern := filepath.Join(filepath.Dir(g.file), "data", dir, mainFolder, "*.jsonl")
		eventually(t, "a record in "+dir, func() bool {
			files, _ := filepath.Glob(pattern)
			return len(files) == 1
		})
	}
}

// BenchmarkRecordOff backs row D18: an exchange that is not recorded costs nothing.
func BenchmarkRecordOff(b *testing.B) {
	snap := new(snapshot)
	r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", nil)
	rt := newRoute(r, nil)
	b.ReportAllocs()
	for b.Loop() {
		if snap.recorder != nil && snap.record.wants(r, rt) {
			b.Fatal("recorded")
		}
	}
}
