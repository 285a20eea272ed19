//go:build unix

package http1_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// refusal is an answer that may come before a request is read.
const refusal = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno"

// buffer returns what gives a socket a buffer of 2n bytes.
func buffer(kind, n int) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, kind, n) })
	}
}

// TestEarlyAnswer guards that a server which answers before it has read the request
// is heard, that the rest of the request is not taken for the next one, and that no
// byte of the body is looked at after it is closed.
func TestEarlyAnswer(t *testing.T) {
	for _, size := range []int{1000, 10_000, 32_000, 60_000, 100_000, 8_000_000} {
		for _, kept := range []bool{false, true} {
			for _, closes := range []bool{false, true} {
				t.Run(fmt.Sprint(size, kept, closes), func(t *testing.T) {
					noLeaks(t)
					testEarlyAnswer(t, size, kept, closes)
				})
			}
		}
	}
}

func testEarlyAnswer(t *testing.T, size int, kept, closes bool) {
	var refused atomic.Bool
	heard, text := make(chan struct{}), large(size)
	narrow := net.ListenConfig{Control: buffer(unix.SO_RCVBUF, 4096)}
	l, err := narrow.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := serveOn(t, l, func(_ int, c *net.TCPConn, br *bufio.Reader) {
		for first := true; ; first = false {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if first == kept || refused.Swap(true) {
				io.Copy(io.Discard, r.Body)
				io.WriteString(c, answerOK)
				continue
			}
			io.WriteString(c, refusal)
			if closes {
				c.CloseWrite()
			}
			<-heard
			if body, err := io.ReadAll(r.Body); err == nil && string(body) != text {
				t.Errorf("server got another body than was sent")
			}
		}
	})
	tr := newTransport(t)
	// What Linux begins with on a network whose packets have 1500 bytes; loopback's are
	// 40 times as long.
	tr.Dial = (&net.Dialer{Control: buffer(unix.SO_SNDBUF, 23_000)}).DialContext
	if kept {
		wantOK(t, tr, s.url)
	}
	r, body := post(t, t.Context(), s.url, text)
	status, got, err := finish(tr.RoundTrip(r))
	close(heard)
	if status != 413 || got != "no" || err != nil {
		t.Errorf("got %d %q %v, want 413 no", status, got, err)
	}
	eventually(t, "the body to be closed", func() bool { return body.closed.Load() == 1 })
	wantOK(t, tr, s.url, "next")
}

// TestRefusedAndReset guards that an answer is heard although the rest of the request
// broke off in a RST, on a kept connection too: it must not be replayed.
func TestRefusedAndReset(t *testing.T) {
	for _, size := range []int{9000, 5_000_000} {
		closed := make(chan struct{})
		s := serve(t, func(_ int, c *net.TCPConn, br *bufio.Reader) {
			request(br)
			io.WriteString(c, answerOK)
			c.Read(make([]byte, 1))
			io.WriteString(c, refusal)
			c.Close() // with bytes unread: a RST
			close(closed)
		})
		tr := newTransport(t)
		tr.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, address)
			return &haltingConn{TCPConn: c.(*net.TCPConn), until: closed}, err
		}
		wantOK(t, tr, s.url)
		status, got, err := ask(t, tr, s.url, large(size))
		if status != 413 || got != "no" || err != nil {
			t.Errorf("%d bytes: got %d %q %v, want 413 no", size, status, got, err)
		}
		s.wantConns(t, 1)
	}
}

// haltingConn is a connection that halts within its second request.
type haltingConn struct {
	*net.TCPConn
	until  chan struct{}
	writes int
}

func (c *haltingConn) Write(p []byte) (int, error) {
	if c.writes++; c.writes != 2 {
		return c.TCPConn.Write(p)
	}
	n, err := c.TCPConn.Write(p[:20])
	if err != nil {
		return n, err
	}
	<-c.until
	m, err := c.TCPConn.Write(p[20:])
	return n + m, err
}
