//go:build linux

package load

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strconv"
	"syscall"
	"time"
)

// client is one keep-alive connection that carries one request at a time. It
// understands as much of HTTP/1.1 as a proxy answers with.
type client struct {
	net.Conn
	br *bufio.Reader
}

// response is the head of an answer. Body has to be read to io.EOF before the
// next request.
type response struct {
	status   int
	sse      bool
	close    bool // the server closes the connection after it
	upstream string
	attempts int    // both as the gateway tells them, else empty and 0
	id       string // of the request, as the gateway tells it
	body     io.Reader
}

// errNothing is wrapped when a connection ended before the first byte of an answer.
var errNothing = errors.New("no answer")

// errHead is wrapped when an answer does not start like one of HTTP/1.1.
var errHead = errors.New("malformed response head")

func dial(addr string, timeout time.Duration) (*client, error) {
	c, err := net.DialTimeout("tcp", addr, timeout)
	if err != nil {
		return nil, err
	}
	return &client{Conn: c, br: bufio.NewReaderSize(c, 16<<10)}, nil
}

// over reports whether the server has closed the connection, which is idle.
func (c *client) over() bool {
	raw, err := c.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return true
	}
	n := 0
	rerr := raw.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, err = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	})
	return rerr != nil || n > 0 || !errors.Is(err, syscall.EAGAIN)
}

// do writes a prepared request and reads the head of its answer.
func (c *client) do(request []byte) (response, error) {
	if _, err := c.Write(request); err != nil {
		return response{}, fmt.Errorf("%w: %w", errNothing, err)
	}
	for {
		r, err := c.head()
		if err != nil || r.status >= 200 {
			return r, err
		}
	}
}

func (c *client) head() (response, error) {
	var r response
	line, err := c.br.ReadSlice('\n')
	if err != nil && len(line) == 0 {
		return r, fmt.Errorf("%w: %w", errNothing, err)
	}
	if err != nil {
		return r, err
	}
	// HTTP/1.1 200 OK
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return r, fmt.Errorf("%w: %.100q", errHead, line)
	}
	r.status, err = strconv.Atoi(string(line[9:12]))
	if err != nil {
		return r, fmt.Errorf("%w: %.100q", errHead, line)
	}
	length, chunked := int64(-1), false
	for {
		line, err := c.br.ReadSlice('\n')
		if err != nil {
			return r, err
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.ParseInt(string(value), 10, 64); err != nil {
				return r, fmt.Errorf("%w: %.100q", errHead, line)
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = true
		case bytes.EqualFold(name, []byte("Connection")):
			r.close = bytes.EqualFold(value, []byte("close"))
		case bytes.EqualFold(name, []byte("Content-Type")):
			r.sse = bytes.HasPrefix(value, []byte("text/event-stream"))
		case bytes.EqualFold(name, []byte("X-AI-Gateway-Upstream")):
			r.upstream = string(value)
		case bytes.EqualFold(name, []byte("X-AI-Gateway-Request-Id")):
			r.id = string(value)
		case bytes.EqualFold(name, []byte("X-AI-Gateway-Attempts")):
			if r.attempts, err = strconv.Atoi(string(value)); err != nil {
				return r, fmt.Errorf("%w: %.100q", errHead, line)
			}
		}
	}
	switch {
	case chunked:
		r.body = &chunkedBody{br: c.br, r: httputil.NewChunkedReader(c.br)}
	case length >= 0:
		r.body = &sizedBody{br: c.br, left: length}
	default: // it ends with the connection
		r.close, r.body = true, c.br
	}
	return r, nil
}

// sizedBody is a body of known length. Unlike io.LimitedReader it tells an end
// that came too early.
type sizedBody struct {
	br   *bufio.Reader
	left int64
}

func (b *sizedBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.br.Read(p[:min(int64(len(p)), b.left)])
	if b.left -= int64(n); err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// chunkedBody adds the trailer section, which httputil's reader leaves.
type chunkedBody struct {
	br *bufio.Reader
	r  io.Reader
}

func (b *chunkedBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	for err == io.EOF {
		line, terr := b.br.ReadSlice('\n')
		if terr != nil {
			return n, io.ErrUnexpectedEOF
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			break
		}
	}
	return n, err
}
