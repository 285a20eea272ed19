package http1_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

var errEnough = errors.New("enough")

// TestCancel guards that an exchange ends at once when its context does, with the
// context's cause, wherever it is, and that nothing is left of it.
func TestCancel(t *testing.T) {
	f := func(name string, size int, script func(c *net.TCPConn, br *bufio.Reader, reached func())) {
		t.Helper()
		for _, kept := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				noLeaks(t)
				reached, gone := make(chan struct{}), make(chan struct{})
				s := serve(t, func(_ int, c *net.TCPConn, br *bufio.Reader) {
					if kept {
						request(br)
						io.WriteString(c, answerOK)
					}
					script(c, br, func() { close(reached) })
					io.Copy(io.Discard, br) // until the client closes
					close(gone)
				})
				tr := newTransport(t)
				if kept {
					wantOK(t, tr, s.url)
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				r, body := post(t, ctx, s.url, large(size))
				done := make(chan error, 1)
				go func() {
					_, _, err := finish(tr.RoundTrip(r))
					done <- err
				}()
				<-reached
				cancel(errEnough)
				if err := <-done; !errors.Is(err, errEnough) {
					t.Errorf("got %v, want the context's cause", err)
				}
				<-gone
				s.wantConns(t, 1)
				eventually(t, "the body to be closed", func() bool { return body.closed.Load() == 1 })
			})
		}
	}
	says := func(text string) func(*net.TCPConn, *bufio.Reader, func()) {
		return func(c *net.TCPConn, br *bufio.Reader, reached func()) {
			request(br)
			io.WriteString(c, text)
			reached()
		}
	}
	f("while writing", 30_000_000, func(_ *net.TCPConn, br *bufio.Reader, reached func()) {
		br.ReadString('\n')
		reached()
		time.Sleep(5 * time.Millisecond) // the client fills the sockets
	})
	f("while writing, answered", 30_000_000, func(c *net.TCPConn, br *bufio.Reader, reached func()) {
		br.ReadString('\n')
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart")
		reached()
	})
	f("before the head", 9, says(""))
	f("behind an early one", 9, says("HTTP/1.1 103 Early Hints\r\n\r\n"))
	f("in the head", 9, says("HTTP/1.1 200 OK\r\nContent-"))
	f("in the body", 9, says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart"))
	f("in a chunk", 9, says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\npart"))
	f("before the end of chunks", 9, says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"))
	f("before the close", 9, says("HTTP/1.1 200 OK\r\n\r\npart"))
}

// TestCancelDial guards that a dial is broken off, and that a connection which it
// brings all the same is closed.
func TestCancelDial(t *testing.T) {
	noLeaks(t)
	gone := make(chan struct{})
	s := serve(t, func(_ int, _ *net.TCPConn, br *bufio.Reader) {
		io.Copy(io.Discard, br)
		close(gone)
	})
	for _, late := range []bool{false, true} {
		tr := newTransport(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		tr.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			cancel(errEnough)
			<-ctx.Done()
			if late {
				return net.Dial(network, address)
			}
			return nil, ctx.Err()
		}
		r, body := post(t, ctx, s.url, "body")
		if _, _, err := finish(tr.RoundTrip(r)); !errors.Is(err, errEnough) {
			t.Errorf("late %v: got %v, want the context's cause", late, err)
		}
		if got := body.closed.Load(); got != 1 {
			t.Errorf("late %v: body is closed %d times, want once", late, got)
		}
	}
	<-gone
}

// TestCancelAfter guards that the end of a context means nothing once its exchange is
// over: the connection may be another's.
func TestCancelAfter(t *testing.T) {
	s := serve(t, answering(answerOK, "HTTP/1.1 204 No Content\r\n\r\n", answerOK, answerOK))
	tr := newTransport(t)
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		r, _ := post(t, ctx, s.url)
		if _, _, err := finish(tr.RoundTrip(r)); err != nil {
			t.Error(err)
		}
		cancel()
	}
	r, _ := post(t, t.Context(), s.url)
	res, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	finish(res, nil)
	r2, _ := post(t, t.Context(), s.url)
	res2, err := tr.RoundTrip(r2)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close() // again
	if n, err := res.Body.Read(make([]byte, 9)); n != 0 || err != io.EOF {
		t.Errorf("a read behind the end: got %d %v, want EOF", n, err)
	}
	if _, body, err := finish(res2, nil); body != "ok" || err != nil {
		t.Errorf("got %q %v, want ok", body, err)
	}
	s.wantConns(t, 1)
}

// TestClose guards that an answer that is not read to its end takes its connection
// along, also while it is being read, and that nothing can be read after.
func TestClose(t *testing.T) {
	noLeaks(t)
	gone := make(chan struct{})
	s := serve(t, func(n int, c *net.TCPConn, br *bufio.Reader) {
		if n == 3 {
			answering(answerOK)(n, c, br)
			return
		}
		request(br)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart")
		io.Copy(io.Discard, br)
		gone <- struct{}{}
	})
	tr := newTransport(t)
	for _, reading := range []bool{false, true} {
		r, _ := post(t, t.Context(), s.url)
		res, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 9)
		if n, err := io.ReadFull(res.Body, p[:2]); n != 2 || err != nil {
			t.Fatal(n, err)
		}
		if reading {
			if n, err := io.ReadFull(res.Body, p[:2]); n != 2 || err != nil {
				t.Fatal(n, err)
			}
			time.AfterFunc(5*time.Millisecond, func() { res.Body.Close() })
			if n, err := res.Body.Read(p); n != 0 || err == nil || errors.Is(err, io.EOF) {
				t.Errorf("closed while reading: got %d %v, want an error", n, err)
			}
		}
		res.Body.Close()
		<-gone
		if n, err := res.Body.Read(p); n != 0 || err == nil || errors.Is(err, io.EOF) {
			t.Errorf("read after close: got %d %v, want an error", n, err)
		}
		if err := res.Body.Close(); err != nil {
			t.Error(err)
		}
	}
	wantOK(t, tr, s.url)
}

// TestManyCloses guards with the race detector that a Close which meets the end of the
// answer neither keeps a closed connection nor closes a kept one.
func TestManyCloses(t *testing.T) {
	s := serve(t, func(_ int, c *net.TCPConn, br *bufio.Reader) {
		for {
			if _, _, ok := request(br); !ok {
				return
			}
			io.WriteString(c, answerOK)
		}
	})
	tr := newTransport(t)
	for range 300 {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			res.Body.Close()
		}()
		var text strings.Builder
		io.Copy(&text, res.Body)
		if !strings.HasPrefix("ok", text.String()) {
			t.Fatalf("got %q, want a part of ok", text.String())
		}
		<-done
		cancel()
		wantOK(t, tr, s.url)
	}
}
