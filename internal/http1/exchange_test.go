package http1_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/http1"
)

// TestAnswers guards how answers are read, and which leave the connection for another
// exchange: the second request shows it.
func TestAnswers(t *testing.T) {
	const keeps, closes = true, false
	f := func(name, method, raw string, status int, body, problem string, keep bool) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(n int, c *net.TCPConn, br *bufio.Reader) {
				if n > 1 {
					answering(answerOK)(n, c, br)
					return
				}
				request(br)
				io.WriteString(c, raw)
				if keep {
					answering(answerOK)(n, c, br)
				}
			})
			tr := newTransport(t)
			r, _ := post(t, t.Context(), s.url)
			r.Method = method
			gotStatus, got, err := finish(tr.RoundTrip(r))
			if gotStatus != status || got != body {
				t.Errorf("got %d %q, want %d %q", gotStatus, got, status, body)
			}
			if problem != "" {
				wantError(t, err, problem)
			} else if err != nil {
				t.Error(err)
			}
			wantOK(t, tr, s.url)
			s.wantConns(t, map[bool]int64{keeps: 1, closes: 2}[keep])
		})
	}
	f("length", "GET", answerOK, 200, "ok", "", keeps)
	f("chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\no\r\n1\r\nk\r\n0\r\nA: b\r\n\r\n", 200, "ok", "", keeps)
	f("chunked and length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, "", "", keeps)
	f("no length", "GET", "HTTP/1.1 200 OK\r\n\r\nok", 200, "ok", "", closes)
	f("length 0", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", "", keeps)
	f("equal lengths", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", 200, "ok", "", keeps)
	f("HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", "", closes)
	f("HTTP/1.0 keep-alive", "GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", 200, "ok", "", keeps)
	f("HTTP/1.0 chunked", "GET", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", 200, "2\r\nok\r\n", "", closes)
	f("close", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 200, "ok", "", closes)
	f("HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", 200, "", "", keeps)
	f("HEAD chunked", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, "", "", keeps)
	f("HEAD with a body", "HEAD", answerOK, 200, "", "", closes)
	f("204", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", 204, "", "", keeps)
	f("304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", 304, "", "", keeps)
	f("304 with a body", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\nabc", 304, "", "", closes)
	f("early", "GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"+answerOK, 200, "ok", "", keeps)
	f("below 100", "GET", "HTTP/1.1 099 What\r\nContent-Length: 2\r\n\r\nok", 99, "ok", "", closes)
	f("switched", "GET", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 0, "", "switched protocols unasked", closes)
	f("behind the answer", "GET", answerOK+"HTTP/1.1 500 No\r\n\r\n", 200, "ok", "", closes)
	f("cut length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", 200, "ok", "unexpected EOF", closes)
	f("cut chunk", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nok", 200, "ok", "unexpected EOF", closes)
	f("cut before the last chunk", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", 200, "ok", "unexpected EOF", closes)
	f("bad chunk", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nx\r\n", 200, "ok", "malformed chunk", closes)
	f("nothing", "GET", "", 0, "", "closed the connection before it answered", closes)
	f("cut head", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", 0, "", "unexpected EOF", closes)
	f("garbage", "GET", "SSH-2.0-x\r\n\r\n", 0, "", "malformed HTTP response", closes)
	f("HTTP/0.9", "GET", "<html>\n", 0, "", "malformed HTTP response", closes)
	f("bad length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", 0, "", "bad Content-Length", closes)
	f("two lengths", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok", 0, "", "multiple Content-Length", closes)
	f("unknown coding", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 0, "", "unsupported transfer encoding", closes)
	f("endless head", "GET", "HTTP/1.1 200 OK\r\nA: "+strings.Repeat("a", 11<<20), 0, "", "head of the answer is too large", closes)
}

// TestTrailer guards that fields behind a body are given out.
func TestTrailer(t *testing.T) {
	s := serve(t, answering("HTTP/1.1 200 OK\r\nTrailer: Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nSum: 7\r\n\r\n"))
	r, _ := post(t, t.Context(), s.url)
	res, err := newTransport(t).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	finish(res, nil)
	if got := res.Trailer.Get("Sum"); got != "7" || res.Request != r {
		t.Errorf("got Sum %q, want 7, and the request that was made", got)
	}
}

// TestEarly guards that answers 1xx are handed out, each within the bound on heads,
// that their receiver can end the exchange, and that nobody's share one bound.
func TestEarly(t *testing.T) {
	hint := "HTTP/1.1 103 Early Hints\r\nLink: " + strings.Repeat("l", 600) + "\r\n\r\n"
	s := serve(t, answering(strings.Repeat(hint, 9)+answerOK, strings.Repeat(hint, 9)+answerOK))
	tr := newTransport(t)
	tr.MaxHead = 6000
	seen := 0
	tr.Early = func(_ http1.Life, status int, header http.Header) error {
		if seen++; status != 103 || len(header.Get("Link")) != 600 {
			t.Errorf("got %d %v", status, header)
		}
		if seen == 12 {
			return errors.New("enough")
		}
		return nil
	}
	wantOK(t, tr, s.url)
	_, _, err := ask(t, tr, s.url)
	wantError(t, err, "http1: answer 103: enough")
	if seen != 12 {
		t.Errorf("got %d hints, want 12", seen)
	}
	tr.Early = nil
	tr.MaxHead = 5000 // nine hints have 5700 bytes
	_, _, err = ask(t, tr, s.url)
	wantError(t, err, "head of the answer is too large")
	tr.MaxHead = 6000
	wantOK(t, tr, s.url)
}

// TestRefused guards which requests are not sent, and that their bodies are closed.
func TestRefused(t *testing.T) {
	tr := &http1.Transport{Dial: func(context.Context, string, string) (net.Conn, error) {
		t.Error("a connection is opened")
		return nil, net.ErrClosed
	}}
	f := func(problem string, change func(r *http.Request)) {
		t.Helper()
		r, body := post(t, t.Context(), "http://host/path", "body")
		change(r)
		_, _, err := finish(tr.RoundTrip(r))
		wantError(t, err, problem)
		if got := body.closed.Load(); got != 1 {
			t.Errorf("%s: body is closed %d times, want once", problem, got)
		}
	}
	set := func(name, value string) func(r *http.Request) {
		return func(r *http.Request) { r.Header[name] = []string{value} }
	}
	f("another scheme", func(r *http.Request) { r.URL.Scheme = "https" })
	f("no host", func(r *http.Request) { r.URL.Host = "" })
	f("no host", func(r *http.Request) { r.URL = nil })
	f(`invalid method "GET /x"`, func(r *http.Request) { r.Method = "GET /x" })
	f(`invalid method "CONNECT"`, func(r *http.Request) { r.Method = "CONNECT" })
	f("value for Host", func(r *http.Request) { r.Host = "a\r\nB: c" })
	f("value for Host", func(r *http.Request) { r.Host = "a b" })
	f("request's path", func(r *http.Request) { r.URL.RawQuery = "a HTTP/1.1\r\nB: c" })
	f("request's path", func(r *http.Request) { r.URL.RawQuery = "a b" })
	f("request's path", func(r *http.Request) { r.URL.Opaque = "/\x00" })
	f(`value for "A"`, set("A", "b\r\nC: d"))
	f(`value for "A"`, set("A", "b\nC: d"))
	f(`value for "A"`, set("A", "b\x00"))
	f(`value for "User-Agent"`, set("User-Agent", "b\r\nC: d"))
	f(`invalid header field name "A: b\r\nC"`, set("A: b\r\nC", "d"))
	f(`invalid header field name "A "`, set("A ", "b"))
	f(`invalid header field name ""`, set("", "b"))
	f("context canceled", func(r *http.Request) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		*r = *r.WithContext(ctx)
	})
	body := io.NopCloser(strings.NewReader("x"))
	r, _ := post(t, t.Context(), "http://host/")
	r.Body = body
	_, _, err := finish(tr.RoundTrip(r))
	wantError(t, err, "not in memory")
}

// TestAddress guards which address is dialled for a URL.
func TestAddress(t *testing.T) {
	f := func(url, want string) {
		t.Helper()
		var got string
		tr := &http1.Transport{Dial: func(_ context.Context, network, address string) (net.Conn, error) {
			got = network + " " + address
			return nil, net.ErrClosed
		}}
		if _, _, err := ask(t, tr, url); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: got %v, want the dialler's error", url, err)
		}
		if got != "tcp "+want {
			t.Errorf("%s: got %s, want tcp %s", url, got, want)
		}
	}
	f("http://host/", "host:80")
	f("http://host:/", "host:80")
	f("http://host:8080/", "host:8080")
	f("http://1.2.3.4", "1.2.3.4:80")
	f("http://[::1]/", "[::1]:80")
	f("http://[::1]:9/", "[::1]:9")
	f("http://bücher.example:7/", "xn--bcher-kva.example:7")
}

// TestLargeBody guards that bodies of all sizes arrive whole, on one connection.
func TestLargeBody(t *testing.T) {
	s := serve(t, func(_ int, c *net.TCPConn, br *bufio.Reader) {
		for {
			_, body, ok := request(br)
			if !ok {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n%s", sum(body))
		}
	})
	tr := newTransport(t)
	for _, n := range []int{1, 1000, 32<<10 - 90, 32<<10 - 89, 32 << 10, 64 << 10, 1 << 20, 9 << 20} {
		text := large(n)
		for _, parts := range [][]string{{text}, {text[:n/2], "", text[n/2:]}} {
			r, body := post(t, t.Context(), s.url, parts...)
			status, got, err := finish(tr.RoundTrip(r))
			if status != 200 || got != sum(text) || err != nil {
				t.Errorf("%d bytes: got %d %q %v, want 200 %q", n, status, got, err, sum(text))
			}
			eventually(t, "the body to be closed", func() bool { return body.closed.Load() == 1 })
		}
	}
	t.Logf("%d connections", s.conns.Load())
}
