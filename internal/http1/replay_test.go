package http1_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// TestReplay guards when a request is sent again: if the connection that broke was a
// kept one and no byte of an answer had come, whatever the size of the request.
func TestReplay(t *testing.T) {
	f := func(name string, size int, hangUp func(c *net.TCPConn, br *bufio.Reader)) {
		t.Helper()
		t.Run(fmt.Sprint(name, size), func(t *testing.T) {
			noLeaks(t)
			var asked atomic.Int64
			s := serve(t, func(n int, c *net.TCPConn, br *bufio.Reader) {
				if _, _, ok := request(br); !ok {
					return
				}
				io.WriteString(c, answerOK)
				if n == 1 {
					if _, err := br.Peek(1); err == nil {
						asked.Add(1)
						hangUp(c, br)
					}
					return
				}
				answering(answerOK)(n, c, br)
			})
			tr := newTransport(t)
			wantOK(t, tr, s.url)
			r, body := post(t, t.Context(), s.url, large(size))
			if status, got, err := finish(tr.RoundTrip(r)); status != 200 || got != "ok" || err != nil {
				t.Errorf("got %d %q %v, want 200 ok", status, got, err)
			}
			if asked.Load() != 1 {
				t.Errorf("the first connection was asked %d times more, want once", asked.Load())
			}
			s.wantConns(t, 2)
			wantOK(t, tr, s.url)
			s.wantConns(t, 2)
			eventually(t, "the body to be closed", func() bool { return body.closed.Load() == 1 })
		})
	}
	for _, size := range []int{10, 10_000, 30_000, 60_000, 3_000_000} {
		f("end", size, func(_ *net.TCPConn, br *bufio.Reader) { request(br) })
		f("reset", size, func(c *net.TCPConn, _ *bufio.Reader) { reset(c) })
		f("unread", size, func(*net.TCPConn, *bufio.Reader) {})
	}
}

// TestNoReplay guards when a request is not sent again: on a new connection, and once
// a byte of an answer has come. A request is sent twice at most.
func TestNoReplay(t *testing.T) {
	f := func(name string, kept bool, problem string, wantConns int64, script func(c *net.TCPConn, br *bufio.Reader)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			s := serve(t, func(n int, c *net.TCPConn, br *bufio.Reader) {
				if kept && n == 1 {
					request(br)
					io.WriteString(c, answerOK)
				}
				script(c, br)
			})
			tr := newTransport(t)
			if kept {
				wantOK(t, tr, s.url)
			}
			_, _, err := ask(t, tr, s.url, "body")
			wantError(t, err, problem)
			s.wantConns(t, wantConns)
		})
	}
	const none = "closed the connection before it answered"
	f("new, end", false, none, 1, func(_ *net.TCPConn, br *bufio.Reader) { request(br) })
	f("new, reset", false, none, 1, func(c *net.TCPConn, br *bufio.Reader) {
		request(br)
		reset(c)
	})
	f("kept, then new", true, none, 2, func(_ *net.TCPConn, br *bufio.Reader) { request(br) })
	f("one byte", true, "malformed HTTP response", 1, func(c *net.TCPConn, br *bufio.Reader) {
		request(br)
		io.WriteString(c, "H")
	})
	f("early", true, "unexpected EOF", 1, func(c *net.TCPConn, br *bufio.Reader) {
		request(br)
		io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
	})
	f("malformed", true, "malformed HTTP response", 1, func(c *net.TCPConn, br *bufio.Reader) {
		request(br)
		io.WriteString(c, "what\r\n\r\n")
	})
}

// TestReplayOnce guards that many dead connections do not send a request many times.
func TestReplayOnce(t *testing.T) {
	const n = 8
	var asked atomic.Int64
	all := make(chan struct{})
	var waiting atomic.Int64
	s := serve(t, func(_ int, c *net.TCPConn, br *bufio.Reader) {
		request(br)
		if waiting.Add(1) == n {
			close(all)
		}
		<-all
		io.WriteString(c, answerOK)
		if _, _, ok := request(br); ok {
			asked.Add(1)
		}
	})
	tr := newTransport(t)
	done := make(chan struct{})
	for range n {
		go func() {
			defer func() { done <- struct{}{} }()
			wantOK(t, tr, s.url)
		}()
	}
	for range n {
		<-done
	}
	wantOK(t, tr, s.url, "body")
	if asked.Load() != 1 {
		t.Errorf("%d dead connections got the request, want one", asked.Load())
	}
	s.wantConns(t, n+1)
}

// timeoutConn sets deadlines as Caddy's connections do.
type timeoutConn struct {
	*net.TCPConn
	read, write time.Duration
	writes      atomic.Int64
}

func (c *timeoutConn) Read(p []byte) (int, error) {
	if c.read > 0 {
		c.SetReadDeadline(time.Now().Add(c.read))
	}
	return c.TCPConn.Read(p)
}

func (c *timeoutConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	if c.write > 0 {
		c.SetWriteDeadline(time.Now().Add(c.write))
	}
	return c.TCPConn.Write(p)
}

// TestDeadlines guards that a connection which sets deadlines keeps them: they are not
// gone round, end the exchange at once, and a request that met one is not repeated.
func TestDeadlines(t *testing.T) {
	var conns []*timeoutConn
	dial := func(read, write time.Duration) func(context.Context, string, string) (net.Conn, error) {
		return func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			conns = append(conns, &timeoutConn{TCPConn: c.(*net.TCPConn), read: read, write: write})
			return conns[len(conns)-1], nil
		}
	}
	isTimeout := func(name string, err error) {
		t.Helper()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: got %v, want an i/o timeout", name, err)
		}
	}
	done := make(chan struct{})
	silent := serve(t, func(_ int, c *net.TCPConn, br *bufio.Reader) {
		request(br)
		io.WriteString(c, answerOK)
		<-done
	})
	defer close(done)
	for name, size := range map[string]int{"read": 0, "write": 30_000_000} {
		tr := newTransport(t)
		tr.Dial = dial(time.Second, 0)
		if size > 0 {
			tr.Dial = dial(0, time.Second)
		}
		before := silent.conns.Load()
		wantOK(t, tr, silent.url)
		r, body := post(t, t.Context(), silent.url, large(size+1))
		_, _, err := finish(tr.RoundTrip(r))
		isTimeout(name, err)
		if got := silent.conns.Load() - before; got != 1 {
			t.Errorf("%s: got %d connections, want 1", name, got)
		}
		eventually(t, "the body to be closed", func() bool { return body.closed.Load() == 1 })
	}
	// A deadline that has passed while the connection was kept is not the next one's.
	good := serve(t, answering(answerOK, answerOK, answerOK))
	tr := newTransport(t)
	tr.Dial = dial(time.Second, time.Second)
	for range 3 {
		wantOK(t, tr, good.url, large(100_000))
		time.Sleep(1020 * time.Millisecond) // longer than the deadline
	}
	good.wantConns(t, 1)
	if got := conns[len(conns)-1].writes.Load(); got < 12 {
		t.Errorf("300 KB went out in %d writes, want one for each 32 KB at most", got)
	}
}
