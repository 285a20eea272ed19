package http1_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestUnasked guards that what a server says on a kept connection that nobody has
// asked is never an answer, and that a connection it has closed is not used.
func TestUnasked(t *testing.T) {
	const forged = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
	f := func(name string, script func(c *net.TCPConn)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			said := make(chan struct{})
			s := serve(t, func(n int, c *net.TCPConn, br *bufio.Reader) {
				if n > 1 {
					answering(answerOK)(n, c, br)
					return
				}
				request(br)
				script(c)
				close(said)
				if _, _, ok := request(br); ok {
					t.Error("the connection is used again")
				}
			})
			tr := newTransport(t)
			wantOK(t, tr, s.url)
			<-said
			wantOK(t, tr, s.url)
			s.wantConns(t, 2)
		})
	}
	pieces := func(texts ...string) func(c *net.TCPConn) {
		return func(c *net.TCPConn) {
			for _, text := range texts {
				io.WriteString(c, text)
				time.Sleep(3 * time.Millisecond) // each its own segment
			}
		}
	}
	f("with the answer", pieces(answerOK+forged))
	f("behind the answer", pieces(answerOK, forged))
	f("split", pieces(answerOK, forged[:9], forged[9:]))
	f("split with the answer", pieces(answerOK[:30], answerOK[30:]+forged[:9], forged[9:]))
	f("one byte", pieces(answerOK, "\n"))
	f("behind chunks", pieces("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", forged))
	f("a timeout", pieces(answerOK, "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"))
	f("a close announced", pieces("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"))
	f("the end", func(c *net.TCPConn) {
		io.WriteString(c, answerOK)
		c.CloseWrite()
	})
	f("urgent end", func(c *net.TCPConn) {
		io.WriteString(c, answerOK)
		time.Sleep(3 * time.Millisecond)
		reset(c)
	})
}

// TestRequestClose guards that a request which asks for its connection's end says so,
// and gets it.
func TestRequestClose(t *testing.T) {
	s := serve(t, func(_ int, c *net.TCPConn, br *bufio.Reader) {
		for {
			r, _, ok := request(br)
			if !ok {
				return
			}
			if !r.Close {
				t.Error("server is not told to close")
			}
			io.WriteString(c, answerOK)
		}
	})
	tr := newTransport(t)
	for range 3 {
		r, _ := post(t, t.Context(), s.url)
		r.Close = true
		if _, _, err := finish(tr.RoundTrip(r)); err != nil {
			t.Error(err)
		}
	}
	s.wantConns(t, 3)
}

// together makes n exchanges that are all under way at once, and returns when all
// have ended.
func together(t *testing.T, rt http.RoundTripper, url string, n int) {
	t.Helper()
	var begun, ended sync.WaitGroup
	begun.Add(n)
	for range n {
		ended.Go(func() {
			r, _ := post(t, t.Context(), url)
			res, err := rt.RoundTrip(r)
			begun.Done()
			if err != nil {
				t.Error(err)
				return
			}
			begun.Wait()
			finish(res, nil)
		})
	}
	ended.Wait()
}

// TestIdleLimits guards how many connections are kept.
func TestIdleLimits(t *testing.T) {
	f := func(maxIdle, perHost int, want, wantEach int64) {
		t.Helper()
		noLeaks(t)
		texts := make([]string, 20)
		for i := range texts {
			texts[i] = answerOK
		}
		a, b := serve(t, answering(texts...)), serve(t, answering(texts...))
		tr := newTransport(t)
		tr.MaxIdle, tr.MaxIdlePerHost = maxIdle, perHost
		together(t, tr, a.url, 6)
		together(t, tr, b.url, 6)
		open := func(s *server) int64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return int64(len(s.open))
		}
		eventually(t, "the connections beyond to be closed", func() bool {
			return open(a)+open(b) == want && open(a) <= wantEach && open(b) <= wantEach
		})
		before := a.conns.Load()
		together(t, tr, a.url, int(open(a)))
		a.wantConns(t, before)
	}
	f(0, 0, 12, 6)
	f(0, 4, 8, 4)
	f(9, 0, 9, 6)
	f(5, 4, 5, 4)
	f(0, -1, 0, 0)
	f(-1, 0, 0, 0)
}

// TestIdleTimeout guards that connections without a request are closed in time, by
// nobody's doing, while those that are used stay.
func TestIdleTimeout(t *testing.T) {
	noLeaks(t)
	texts := strings.Split(strings.Repeat(answerOK+"|", 1500), "|")
	s := serve(t, answering(texts...))
	tr := newTransport(t)
	tr.IdleTimeout = time.Second
	together(t, tr, s.url, 5)
	eventually(t, "all but the one in use to be closed", func() bool {
		wantOK(t, tr, s.url)
		time.Sleep(10 * time.Millisecond) // far below the timeout
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.open) == 1
	})
	for range 30 {
		wantOK(t, tr, s.url)
		time.Sleep(10 * time.Millisecond)
	}
	s.wantConns(t, 5)
	eventually(t, "the last one to be closed", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.open) == 0
	})
	wantOK(t, tr, s.url)
	s.wantConns(t, 6)
}

// TestCloseIdle guards that connections are closed at once, that those in use finish,
// and that none is kept any more.
func TestCloseIdle(t *testing.T) {
	noLeaks(t)
	s := serve(t, answering(answerOK, answerOK, answerOK))
	tr := newTransport(t)
	together(t, tr, s.url, 3)
	r, _ := post(t, t.Context(), s.url)
	res, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	tr.CloseIdle()
	if _, body, err := finish(res, nil); body != "ok" || err != nil {
		t.Errorf("in use: got %q %v, want ok", body, err)
	}
	eventually(t, "all to be closed", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.open) == 0
	})
	wantOK(t, tr, s.url)
	wantOK(t, tr, s.url)
	s.wantConns(t, 5)
}

// TestOpaque guards that a connection which cannot be looked at is not kept: what it
// says unasked would be the next one's answer.
func TestOpaque(t *testing.T) {
	s := serve(t, answering(answerOK))
	tr := newTransport(t)
	tr.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		return struct{ net.Conn }{c}, err
	}
	wantOK(t, tr, s.url)
	wantOK(t, tr, s.url)
	s.wantConns(t, 2)
}
