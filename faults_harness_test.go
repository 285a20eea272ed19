package aigateway

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What a good instance answers in these tests, and what of it a script sends before it
// goes wrong.
const (
	chatPath   = "/v1/chat/completions"
	chatEvent  = "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hello \"}}]}\n\n"
	chatFinish = "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
	chatStream = chatEvent + chatEvent + chatFinish + "data: [DONE]\n\n"
	chatJSON   = `{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hello hello"},"finish_reason":"stop"}]}`

	streamHeader = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
	jsonHeader   = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
)

// chatBody is a chat's request.
func chatBody(stream bool) string {
	return fmt.Sprintf(`{"model":"m","stream":%v,"messages":[{"role":"user","content":"hello"}]}`, stream)
}

// wantsStream reports whether body is [chatBody] of a stream.
func wantsStream(body []byte) bool { return bytes.Contains(body, []byte(`"stream":true`)) }

// chatAnswer is the content type and body of a good instance's answer to body.
func chatAnswer(body []byte) (kind, text string) {
	if wantsStream(body) {
		return "text/event-stream", chatStream
	}
	return "application/json", chatJSON
}

// chunked is text as one chunk of a chunked body.
func chunked(text string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(text), text) }

// scripted is an instance that a test writes out byte by byte. It notes what reaches it.
type scripted struct {
	url      string // with /v1
	address  string
	conns    atomic.Int64 // accepted
	requests atomic.Int64 // read whole

	mu   sync.Mutex
	open map[net.Conn]bool // guarded by mu
}

// script answers one request, of which it gets the body too, on its connection. If
// it returns false the connection ends.
type script func(conn *net.TCPConn, r *http.Request, body []byte) bool

// startScripted runs a scripted instance until the test ends.
func startScripted(t testing.TB, answer script) *scripted {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveScript(t, l, answer)
}

// serveScript runs a scripted instance on l.
func serveScript(t testing.TB, l net.Listener, answer script) *scripted {
	t.Helper()
	s := &scripted{address: l.Addr().String(), open: make(map[net.Conn]bool)}
	s.url = "http://" + s.address + "/v1"
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.conns.Add(1)
			s.note(conn, true)
			running.Go(func() {
				defer s.note(conn, false)
				s.serve(conn.(*net.TCPConn), answer)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.drop()
		running.Wait()
	})
	return s
}

func (s *scripted) note(conn net.Conn, open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if open {
		s.open[conn] = true
		return
	}
	delete(s.open, conn)
	conn.Close()
}

// drop closes all open connections.
func (s *scripted) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.open {
		conn.Close()
	}
}

func (s *scripted) serve(conn *net.TCPConn, answer script) {
	br := bufio.NewReader(conn)
	for {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		s.requests.Add(1)
		if !answer(conn, r, body) {
			return
		}
	}
}

// reset ends conn with a RST.
func reset(conn *net.TCPConn) {
	conn.SetLinger(0)
	conn.Close()
}

// untilClosed waits until the other end of conn is gone, or the test ends.
func untilClosed(conn net.Conn) { io.Copy(io.Discard, conn) }

// goodScript answers every request well.
func goodScript(conn *net.TCPConn, _ *http.Request, body []byte) bool {
	if wantsStream(body) {
		io.WriteString(conn, streamHeader)
		for event := range strings.SplitAfterSeq(chatStream, "\n\n") {
			if event != "" {
				io.WriteString(conn, chunked(event))
			}
		}
		io.WriteString(conn, "0\r\n\r\n")
		return true
	}
	fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n%s", jsonHeader, len(chatJSON), chatJSON)
	return true
}

// startGood runs an instance that answers every chat well.
func startGood(t testing.TB) *scripted {
	t.Helper()
	return startScripted(t, goodScript)
}

// fleetWith is [fleetOf] with more members of the file, such as "timeouts".
func fleetWith(members string, urls ...string) string {
	return "{" + members + ", " + strings.TrimPrefix(fleetOf(urls...), "{")
}

// state returns how the n-th instance of the file stands: its phase, and the results and
// failures within error_window.
func (g *gateway) state(n int) healthView {
	snap := g.store.snapshot()
	return snap.fleet.instances[n].state.health.view(clock(), snap.errorWindow)
}

// marks returns the failures of all instances, in the order of the file.
func (g *gateway) marks() []int {
	var marks []int
	for n := range g.store.snapshot().fleet.instances {
		marks = append(marks, g.state(n).failures)
	}
	return marks
}

// answer is what a client got.
type answer struct {
	status  int // 0 if not even a header came
	header  http.Header
	body    string // as far as it came
	aborted bool   // it ended in an error of the transport
	took    time.Duration
}

// whole reports whether the answer is the good one.
func (a *answer) whole() bool {
	return a.status == http.StatusOK && !a.aborted && (a.body == chatJSON || a.body == chatStream)
}

// chat sends one chat and reads the answer to its end, whatever the end is. It may be
// called from any goroutine.
func (g *gateway) chat(stream bool) answer {
	began := time.Now()
	res, err := client.Post(g.url+chatPath, "application/json", strings.NewReader(chatBody(stream)))
	if err != nil {
		return answer{aborted: true, took: time.Since(began)}
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(text), err != nil, time.Since(began)}
}

// loadReport sorts the answers to a load.
type loadReport struct {
	ok      int         // complete 200
	aborted int         // the client saw an error of the transport
	wrong   int         // 200 with a clean end that is not the good answer
	status  map[int]int // other statuses
	took    []time.Duration
	answers []answer
}

func (r *loadReport) String() string {
	return fmt.Sprintf("%d ok, %d aborted, %d wrong, %v others, slowest %v", r.ok, r.aborted, r.wrong, r.status, r.slowest())
}

func (r *loadReport) slowest() time.Duration { return slices.Max(r.took) }

// allOK fails the test unless every client got a complete 200.
func (r *loadReport) allOK(t testing.TB) {
	t.Helper()
	if r.ok != len(r.answers) {
		t.Errorf("got %v, want all %d ok", r, len(r.answers))
	}
}

// load sends the requests of the fault matrix: 300 chats, 20 at a time, half streamed.
func (g *gateway) load() *loadReport { return g.loadOf(300, 20) }

// loadOf sends n chats, some at a time, half streamed.
func (g *gateway) loadOf(n, atOnce int) *loadReport {
	report := &loadReport{status: make(map[int]int), answers: make([]answer, n)}
	var next atomic.Int64
	var clients sync.WaitGroup
	for range atOnce {
		clients.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				report.answers[i] = g.chat(i%2 == 0)
			}
		})
	}
	clients.Wait()
	for _, a := range report.answers {
		report.took = append(report.took, a.took)
		switch {
		case a.aborted:
			report.aborted++
		case a.whole():
			report.ok++
		case a.status == http.StatusOK:
			report.wrong++
		default:
			report.status[a.status]++
		}
	}
	return report
}
