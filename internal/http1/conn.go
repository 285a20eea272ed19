package http1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// maxCopied bounds the bodies that are copied behind their head, to go out in
	// one piece, in bytes. The parts of larger ones are written as they are.
	maxCopied = 16 << 10
	// maxAhead bounds the requests that are written before the answer is looked at,
	// in bytes: what a socket takes without anybody reading at the other end. The rest
	// is written while the answer is awaited, for a server may refuse a request before
	// it has read all of it.
	maxAhead = 64 << 10
)

// conn is a connection. It belongs to one exchange at a time; only Close may be
// called from elsewhere.
type conn struct {
	net.Conn
	transport *Transport
	host      *host
	reader    *bufio.Reader
	room      int64 // bytes that may still be read for a head
	kept      bool  // has served another exchange
	since     time.Time

	raw     syscall.RawConn // nil if it cannot be looked at
	look    func(fd uintptr)
	poll    poll
	pending bool // what look has found
}

func newConn(t *Transport, h *host, nc net.Conn) *conn {
	c := &conn{Conn: nc, transport: t, host: h}
	c.reader = bufio.NewReaderSize(source{c}, 4<<10)
	if sc, ok := nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			c.raw, c.look = raw, c.peek
		}
	}
	return c
}

// quiet reports whether a connection that was kept is open and has nothing to say.
func (c *conn) quiet() bool {
	if c.raw == nil {
		return true
	}
	return c.raw.Control(c.look) == nil && !c.pending
}

// source bounds what is read of a head.
type source struct{ *conn }

func (s source) Read(p []byte) (int, error) {
	if s.room <= 0 {
		return 0, errHead
	}
	n, err := s.Conn.Read(p[:min(int64(len(p)), s.room)])
	s.room -= int64(n)
	return n, err
}

// exchange sends the request and reads the head of its answer. The connection is
// closed on an error.
func (c *conn) exchange(req *http.Request, w *writing) (*http.Response, error) {
	stop := context.AfterFunc(req.Context(), func() { c.Close() }) //nolint:errcheck // it ends the exchange
	written, werr := w.send(c)
	if werr != nil && c.kept {
		stop()
		c.Close() //nolint:errcheck // it is broken
		return nil, errClosed
	}
	res, err := c.head(req)
	if err != nil {
		stop()
		c.Close() //nolint:errcheck // it is broken, or of no use
		if werr != nil {
			return nil, werr
		}
		return nil, err
	}
	b := &answer{ReadCloser: res.Body, conn: c, stop: stop, written: written, lasts: !res.Close && werr == nil}
	if res.Body == http.NoBody || req.Method == http.MethodHead {
		b.end()
	} else {
		res.Body = b
	}
	return res, nil
}

// head reads answers until the one that is not 1xx.
func (c *conn) head(req *http.Request) (*http.Response, error) {
	c.room = c.transport.maxHead()
	if _, err := c.reader.Peek(1); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			return nil, errClosed
		}
		return nil, err
	}
	for count := 1; ; count++ {
		res, err := http.ReadResponse(c.reader, req)
		if err != nil {
			if c.room <= 0 {
				err = errHead
			}
			return nil, err
		}
		if res.StatusCode >= 200 {
			c.room = math.MaxInt64
			return res, nil
		}
		if err := c.transport.early(req, res, count); err != nil {
			return nil, err
		}
		c.room = c.transport.maxHead()
	}
}

// answer is the body of an answer. Its end gives the connection back.
type answer struct {
	io.ReadCloser // of net/http; its Close is of no use, for it reads on to the end
	conn          *conn
	stop          func() bool
	written       <-chan error // of a request that is still being sent, or nil
	lasts         bool         // the connection can serve another exchange
	over          atomic.Bool
	err           error // of the last Read
}

func (b *answer) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.err = err
		if errors.Is(err, io.EOF) {
			b.end()
		} else {
			b.Close() //nolint:errcheck // always nil
		}
	}
	return n, err
}

// Close closes the connection if the answer has not been read to its end. It may be
// called while a Read is under way.
func (b *answer) Close() error {
	if !b.over.Swap(true) {
		b.stop()
		b.conn.Close() //nolint:errcheck // the rest is not wanted
	}
	return nil
}

// end gives the connection back to be used again, if that is possible.
func (b *answer) end() {
	if b.over.Swap(true) {
		return
	}
	ok := b.stop() && b.lasts && b.conn.reader.Buffered() == 0
	if ok && b.written != nil {
		select {
		case err := <-b.written:
			ok = err == nil
		default: // the server did not want all of it
			ok = false
		}
	}
	if !ok {
		b.conn.Close() //nolint:errcheck // all has been read
		return
	}
	b.conn.transport.keep(b.conn)
}
