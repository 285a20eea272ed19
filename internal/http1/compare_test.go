package http1_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/http1"
)

// script is what a server says to the first request on its first connection.
type script struct {
	method   string
	answer   string
	segments []byte // sizes of the pieces in which it is read, over and over
	ends     bool   // the connection ends behind it
}

// result is what a client makes of it.
type result struct {
	Failed bool // without an answer
	Status int
	Proto  string
	Length int64
	Coding []string
	Header http.Header
	Body   string
	Broken bool // the body did not end well
	Tail   http.Header
	Kept   bool // another request goes out on the same connection
}

// scriptServer runs one script after another.
type scriptServer struct {
	*server
	mu     sync.Mutex
	script script
	first  bool // the next connection is the script's
}

func startScriptServer(t testing.TB) *scriptServer {
	s := new(scriptServer)
	s.server = serve(t, func(_ int, c *net.TCPConn, br *bufio.Reader) {
		s.mu.Lock()
		script, first := s.script, s.first
		s.first = false
		s.mu.Unlock()
		if _, _, ok := request(br); !ok {
			return
		}
		if first {
			io.WriteString(c, script.answer)
			if script.ends {
				c.CloseWrite()
			}
			if _, _, ok := request(br); !ok {
				return
			}
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nSecond: %v\r\nContent-Length: 2\r\n\r\nok", first)
		io.Copy(io.Discard, br)
	})
	return s
}

// segmented is a connection that reads no more at once than its segments allow.
type segmented struct {
	*net.TCPConn
	sizes []byte
	next  int
}

func (c *segmented) Read(p []byte) (int, error) {
	if len(c.sizes) > 0 {
		size := int(c.sizes[c.next%len(c.sizes)]) + 1
		c.next++
		p = p[:min(len(p), size)]
	}
	return c.TCPConn.Read(p)
}

// maxHead is the bound on heads in these tests.
const maxHead = 2000

// run tells what a client makes of a script.
func (s *scriptServer) run(t testing.TB, x script, client func(dial func(context.Context, string, string) (net.Conn, error)) (http.RoundTripper, func())) result {
	s.mu.Lock()
	s.script, s.first = x, true
	s.mu.Unlock()
	rt, done := client(func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &segmented{TCPConn: c.(*net.TCPConn), sizes: x.segments}, nil
	})
	defer done()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ask := func(method string) (*http.Response, error) {
		r, err := http.NewRequestWithContext(ctx, method, s.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		return rt.RoundTrip(r)
	}
	var got result
	if res, err := ask(x.method); err != nil {
		got.Failed = true
	} else if res.StatusCode == http.StatusSwitchingProtocols {
		res.Body.Close() // which has no end
		return result{Status: res.StatusCode}
	} else {
		body, err := io.ReadAll(res.Body)
		got = result{
			Status: res.StatusCode, Proto: res.Proto, Length: res.ContentLength, Coding: res.TransferEncoding, Header: res.Header,
			Body: string(body), Broken: err != nil, Tail: res.Trailer,
		}
		res.Body.Close()
	}
	if res, err := ask(http.MethodGet); err == nil {
		got.Kept = res.Header.Get("Second") == "true"
		res.Body.Close()
	} else {
		got.Kept = true // and it had something to say
	}
	if ctx.Err() != nil {
		t.Fatalf("the exchange hangs: %+v", x)
	}
	return got
}

func ours(dial func(context.Context, string, string) (net.Conn, error)) (http.RoundTripper, func()) {
	tr := &http1.Transport{Dial: dial, MaxHead: maxHead}
	return tr, tr.CloseIdle
}

func theirs(dial func(context.Context, string, string) (net.Conn, error)) (http.RoundTripper, func()) {
	tr := &http.Transport{DialContext: dial, MaxResponseHeaderBytes: maxHead, DisableCompression: true}
	return tr, tr.CloseIdleConnections
}

// whole reports whether an answer ends before its connection does, and how many bytes
// follow it.
func whole(method, answer string) (ends bool, rest int) {
	br := bufio.NewReader(strings.NewReader(answer))
	for {
		res, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			return false, 0
		}
		if res.StatusCode >= 100 && res.StatusCode < 200 && res.StatusCode != 101 {
			continue
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			return false, 0
		}
		text, _ := io.ReadAll(br)
		return !res.Close, len(text)
	}
}

// compare fails the test unless both clients make the same of a script.
func (s *scriptServer) compare(t testing.TB, x script) {
	ends, rest := whole(x.method, x.answer)
	x.ends = x.ends || !ends
	want, got := s.run(t, x, theirs), s.run(t, x, ours)
	if want.Status == http.StatusSwitchingProtocols {
		if !got.Failed {
			t.Errorf("%+v: got %+v for an upgrade that was not asked for", x, got)
		}
		return
	}
	if x.ends || rest > 0 {
		// Here net/http finds out in a goroutine of its own, sooner or later.
		if got.Kept {
			t.Errorf("%+v: connection is used again, with %d bytes left, ended %v", x, rest, x.ends)
		}
		want.Kept = false
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v:\n got %+v\nwant %+v", x, got, want)
	}
}

// silence takes net/http's log away, where it tells of bytes that nobody asked for.
func silence(t testing.TB) {
	before := log.Writer()
	log.SetOutput(io.Discard)
	t.Cleanup(func() { log.SetOutput(before) })
}

// fields are fields of answers that decide on framing, or look as if they did.
var fields = []string{
	"Content-Length: 2", "Content-Length: 5", "Content-Length: 0", "content-length:2", "Content-Length: 02", "Content-Length: -1", "Content-Length: +2",
	"Content-Length: 2, 2", "Content-Length:", "Content-Length : 2", "Content-Length: 99999999999999999999", "Content-Length: 0x2",
	"Transfer-Encoding: chunked", "Transfer-Encoding: Chunked", "Transfer-Encoding: gzip", "Transfer-Encoding: identity", "Transfer-Encoding: chunked, chunked",
	"Transfer-Encoding:\tchunked", "Transfer-Encoding : chunked", "Transfer-Encoding: xchunked", "Transfer-Encoding: \vchunked",
	"Connection: close", "Connection: keep-alive", "Connection: x, Close", "Connection: upgrade", "Keep-Alive: timeout=5", "Trailer: Sum", "Trailer: Content-Length",
	"A: b", "A: c", "A:", ": x", "no colon", " folded", "B: \x00", "B: \x80", "C: d\r", "Pragma: no-cache", "Long: " + strings.Repeat("l", 700), "Set-Cookie: a=b",
}

// randomAnswer draws the text of an answer, good or bad.
func randomAnswer(t *rapid.T) string {
	var b strings.Builder
	if rapid.IntRange(0, 5).Draw(t, "early") == 0 {
		b.WriteString("HTTP/1.1 103 Early Hints\r\nLink: " + strings.Repeat("l", rapid.IntRange(0, 1500).Draw(t, "hint")) + "\r\n\r\n")
	}
	b.WriteString(rapid.SampledFrom([]string{"HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "http/1.1", "HTTP/11", ""}).Draw(t, "proto"))
	b.WriteString(rapid.SampledFrom([]string{" 200 OK", " 200 OK", " 200 OK", " 204 None", " 304 Same", " 500 No", " 100 On", " 101 Up", " 099 What", " 20 x", " 200", "  200 OK", " 2000 x", ""}).Draw(t, "status"))
	end := rapid.SampledFrom([]string{"\r\n", "\r\n", "\r\n", "\n"}).Draw(t, "end")
	b.WriteString(end)
	for _, field := range rapid.SliceOfN(rapid.SampledFrom(fields), 0, 4).Draw(t, "fields") {
		b.WriteString(field + end)
	}
	b.WriteString(end)
	bodies := []string{
		"", "ok", "12345", "ok" + answerOK, "2\r\nok\r\n0\r\n\r\n", "2\r\nok\r\n0\r\nSum: 7\r\n\r\n", "2;x=\"y\"\r\nok\r\n000\r\n\r\n", "2\nok\n0\n\n", "2\r\nok", "2\r\nok0\r\n\r\n",
		"2\r\nok\r\n0\r\n", "-1\r\n", "g\r\n", "ffffffffffffffffff\r\n", "2 \r\nok\r\n0\r\n\r\n", "0\r\n\r\n" + answerOK, "0\r\nbad\r\n\r\n", "\r\n", strings.Repeat("x", 9000),
	}
	b.WriteString(rapid.SampledFrom(bodies).Draw(t, "body"))
	text := b.String()
	switch rapid.IntRange(0, 7).Draw(t, "change") {
	case 0:
		return text[:rapid.IntRange(0, len(text)).Draw(t, "cut")]
	case 1:
		at := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		return text[:at] + string(rapid.Byte().Draw(t, "byte")) + text[at+1:]
	}
	return text
}

// TestCompare guards that answers, good or bad and however they are cut to pieces, give
// the same as with net/http, and leave the same connections to be used again.
func TestCompare(t *testing.T) {
	silence(t)
	s := startScriptServer(t)
	rapid.Check(t, func(rt *rapid.T) {
		s.compare(t, script{
			method:   rapid.SampledFrom([]string{"GET", "GET", "HEAD"}).Draw(rt, "method"),
			answer:   randomAnswer(rt),
			segments: rapid.SampledFrom([][]byte{nil, {0}, {1}, {16, 0, 90}, {254, 3}}).Draw(rt, "segments"),
			ends:     rapid.Bool().Draw(rt, "ends"),
		})
		if t.Failed() {
			rt.FailNow()
		}
	})
}

// FuzzCompare is TestCompare on whatever comes.
func FuzzCompare(f *testing.F) {
	for _, seed := range []string{
		answerOK, answerOK + "x", "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n" + answerOK,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
	} {
		f.Add(seed, []byte{7, 0}, false, false)
		f.Add(seed, []byte(nil), true, true)
	}
	silence(f)
	s := startScriptServer(f)
	f.Fuzz(func(t *testing.T, answer string, segments []byte, head, ends bool) {
		if len(answer) > 20_000 || len(segments) > 100 {
			return
		}
		s.compare(t, script{method: map[bool]string{true: "HEAD", false: "GET"}[head], answer: answer, segments: segments, ends: ends})
	})
}
