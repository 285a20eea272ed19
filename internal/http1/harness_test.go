package http1_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/http1"
)

// answerOK is the least that ends an exchange well.
const answerOK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// memory is a request's body. Once it is closed its bytes are others', so whoever
// still sends them sends what nobody has written.
type memory struct {
	io.Reader
	parts  [][]byte
	closed atomic.Int64
}

var others = bytes.Repeat([]byte("!"), 64<<10)

func newMemory(parts ...string) *memory {
	m := &memory{Reader: strings.NewReader(strings.Join(parts, ""))}
	for _, part := range parts {
		m.parts = append(m.parts, []byte(part))
	}
	return m
}

func (m *memory) Parts() [][]byte { return m.parts }

func (m *memory) Close() error {
	if m.closed.Add(1) == 1 {
		for _, part := range m.parts {
			for len(part) > 0 {
				part = part[copy(part, others):]
			}
		}
	}
	return nil
}

// server is a raw TCP server on loopback.
type server struct {
	url   string
	conns atomic.Int64
	mu    sync.Mutex
	open  map[net.Conn]bool // guarded by mu
}

// serve runs script for each connection, with its number from 1. The connection is
// closed when it returns.
func serve(t testing.TB, script func(n int, c *net.TCPConn, br *bufio.Reader)) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, l, script)
}

// serveOn is serve on a listener that the test has made.
func serveOn(t testing.TB, l net.Listener, script func(n int, c *net.TCPConn, br *bufio.Reader)) *server {
	s := &server{url: "http://" + l.Addr().String(), open: make(map[net.Conn]bool)}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.open[c] = true
			s.mu.Unlock()
			n := int(s.conns.Add(1))
			running.Go(func() {
				defer func() {
					c.Close()
					s.mu.Lock()
					delete(s.open, c)
					s.mu.Unlock()
				}()
				script(n, c.(*net.TCPConn), bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		for c := range s.open {
			c.Close()
		}
		s.mu.Unlock()
		running.Wait()
	})
	return s
}

// answering reads whole requests and answers the k-th of a connection, from 0, with
// the k-th text. After the last the connection stays open until the client ends it.
func answering(texts ...string) func(int, *net.TCPConn, *bufio.Reader) {
	return func(_ int, c *net.TCPConn, br *bufio.Reader) {
		for _, text := range texts {
			if _, _, ok := request(br); !ok {
				return
			}
			io.WriteString(c, text)
		}
		io.Copy(io.Discard, br)
	}
}

// request reads a whole request.
func request(br *bufio.Reader) (*http.Request, string, bool) {
	r, err := http.ReadRequest(br)
	if err != nil {
		return nil, "", false
	}
	body, err := io.ReadAll(r.Body)
	return r, string(body), err == nil
}

// reset ends c with a RST.
func reset(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}

// newTransport returns a transport that is closed when the test ends.
func newTransport(t testing.TB) *http1.Transport {
	tr := &http1.Transport{Dial: new(net.Dialer).DialContext}
	t.Cleanup(tr.CloseIdle)
	return tr
}

// post makes a POST with a body, or a GET without, that fails the test if it hangs.
func post(t testing.TB, ctx context.Context, url string, parts ...string) (*http.Request, *memory) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	t.Cleanup(cancel)
	method, body := http.MethodGet, newMemory(parts...)
	if len(parts) > 0 {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(parts) > 0 {
		r.Body, r.ContentLength = body, int64(len(strings.Join(parts, "")))
	}
	return r, body
}

// ask makes one exchange to its end.
func ask(t testing.TB, rt http.RoundTripper, url string, parts ...string) (status int, body string, err error) {
	t.Helper()
	r, _ := post(t, t.Context(), url, parts...)
	return finish(rt.RoundTrip(r))
}

func finish(res *http.Response, err error) (int, string, error) {
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), err
}

// wantOK makes an exchange that must end well.
func wantOK(t testing.TB, rt http.RoundTripper, url string, parts ...string) {
	t.Helper()
	if status, body, err := ask(t, rt, url, parts...); status != 200 || body != "ok" || err != nil {
		t.Errorf("got %d %q %v, want 200 ok", status, body, err)
	}
}

// wantConns fails the test unless the server has accepted so many connections.
func (s *server) wantConns(t testing.TB, want int64) {
	t.Helper()
	if got := s.conns.Load(); got != want {
		t.Errorf("server got %d connections, want %d", got, want)
	}
}

// wantError fails the test unless err says so.
func wantError(t testing.TB, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("got error %v, want one that says %q", err, text)
	}
}

// eventually waits until condition holds, at most a minute, for a machine may be busy.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

// noLeaks fails the test unless goroutines and descriptors are as few as they were when
// all else of the test has been cleaned up. To be called first.
func noLeaks(t testing.TB) {
	time.Sleep(time.Nanosecond) // the first timer of a process opens descriptors
	goroutines, files := runtime.NumGoroutine(), descriptors()
	t.Cleanup(func() {
		eventually(t, fmt.Sprintf("goroutines to be %d again, descriptors %d", goroutines, files), func() bool {
			return runtime.NumGoroutine() <= goroutines && descriptors() <= files
		})
	})
}

// descriptors returns how many files the process has open, or 0 where that is unknown.
func descriptors() int {
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}

func sum(text string) string {
	h := sha256.Sum256([]byte(text))
	return hex.EncodeToString(h[:])
}

// large returns a text of n bytes of which no two pieces are alike.
func large(n int) string {
	if n > largestText {
		panic(fmt.Sprintf("got %d bytes, want at most %d", n, largestText))
	}
	return allText()[:n]
}

const largestText = 30_000_001

var allText = sync.OnceValue(func() string {
	b := make([]byte, 0, largestText+20)
	for i := int64(0); len(b) < largestText; i++ {
		b = append(strconv.AppendInt(b, i, 10), ',')
	}
	return string(b)
})
