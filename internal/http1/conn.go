package http1

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"
)

// conn is a connection. It belongs to one exchange at a time; only Close may be
// called from elsewhere.
type conn struct {
	net.Conn
	transport *Transport
	host      *host
	reader    *bufio.Reader
	room      int64     // bytes that may still be read for a head
	kept      bool      // has served another exchange
	answered  bool      // a byte of the exchange's answer has come
	unasked   bool      // something has come behind it
	since     time.Time // it is kept without a request

	raw     syscall.RawConn // nil if it cannot be looked at
	look    func(fd uintptr)
	poll    poll
	pending bool // what look has found
	talk    talk
}

// headBuffer is how much is read with the head of an answer, in bytes: what a proxy then
// has of the body fits in one write of 4 KB, with a head of its own.
const headBuffer = 3584

func newConn(t *Transport, h *host, nc net.Conn) *conn {
	c := &conn{Conn: nc, transport: t, host: h}
	c.reader = bufio.NewReaderSize(source{c}, headBuffer)
	if sc, ok := nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			c.raw, c.look = raw, c.peek
		}
	}
	if _, ok := nc.(*net.TCPConn); ok && c.raw != nil {
		c.talk.step = c.converse
	}
	return c
}

// quiet reports whether a connection that was kept is open and has nothing to say.
func (c *conn) quiet() bool {
	return c.raw != nil && c.raw.Control(c.look) == nil && !c.pending
}

// talk is the beginning of an exchange on a socket that was kept: it must have nothing to
// say, then the request is written, then the answer begins. As reading finds out about the
// first, and does not wait for the last, that is one system call less than looking first.
type talk struct {
	step    func(fd uintptr) bool // nil if the connection is more than a socket
	request *writing              // to be written, nil if it has been
	into    []byte                // where the answer goes
	n       int                   // bytes of it
	err     error
}

// source bounds what is read of a head.
type source struct{ *conn }

func (s source) Read(p []byte) (int, error) {
	if s.room <= 0 {
		return 0, errHead
	}
	p = p[:min(int64(len(p)), s.room)]
	if s.talk.request != nil {
		n, err := s.talks(p)
		s.room -= int64(n)
		return n, err
	}
	n, err := s.Conn.Read(p)
	s.room -= int64(n)
	return n, err
}

// exchange sends the request and reads the head of its answer. The connection is
// closed on an error.
func (c *conn) exchange(req *Request, w *writing) (*http.Response, error) {
	c.answered, c.unasked = false, false
	req.Life.Tie(c)
	var written <-chan error
	var werr error
	switch later := c.kept && c.talk.step != nil; { // [host.open] has looked at the others
	case later && w.size() <= maxAhead:
		c.talk.request = w
	case later && !c.quiet():
		werr = errUnasked
	default:
		written, werr = w.send(c)
	}
	var res *http.Response
	err := werr
	if werr == nil || isReset(werr) {
		res, err = c.head(req)
	}
	if err != nil {
		req.Life.Untie(c)
		select {
		case werr = <-written: // never, if there is no such channel
		default:
		}
		c.Close() //nolint:errcheck // it is broken, or of no use
		if werr != nil && !c.answered {
			return nil, werr
		}
		return nil, err
	}
	b := &answer{ReadCloser: res.Body, conn: c, life: req.Life, written: written}
	b.lasts = werr == nil && !res.Close && !req.Close && res.StatusCode >= 200
	if res.Body == http.NoBody {
		b.end()
		return res, nil
	}
	if len(res.TransferEncoding) > 0 { // net/http knows no other than chunked
		b.chunks = chunks{conn: c, trailer: &res.Trailer}
		b.ReadCloser = &b.chunks
	}
	res.Body = b
	return res, nil
}

// head reads past answers 1xx. It returns statuses below too, as net/http does.
func (c *conn) head(req *Request) (*http.Response, error) {
	c.room = c.transport.maxHead()
	if _, err := c.reader.Peek(1); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			err = errClosed
		}
		return nil, err
	}
	c.answered = true
	for {
		res, err := http.ReadResponse(c.reader, req.answers())
		switch {
		case err != nil && c.room <= 0:
			return nil, errHead
		case err != nil:
			return nil, err
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, errSwitched
		case res.StatusCode < 100 || res.StatusCode >= 200:
			c.room = math.MaxInt64
			return res, nil
		case c.transport.Early != nil:
			if err := c.transport.Early(req.Life, res.StatusCode, res.Header); err != nil {
				return nil, fmt.Errorf("http1: answer %d: %w", res.StatusCode, err)
			}
			c.room = c.transport.maxHead()
		}
	}
}

// answer is the body of an answer. Its end gives the connection back.
type answer struct {
	io.ReadCloser // of net/http, whose Close is of no use, for it reads on to the end, or chunks
	chunks        chunks
	conn          *conn
	life          Life
	written       <-chan error // of a request that is still being sent, or nil
	lasts         bool         // the connection can serve another exchange
	over          atomic.Bool
	err           error // of the last Read
}

func (b *answer) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.over.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		b.end()
	default:
		err = causeOr(b.life, err)
		b.Close() //nolint:errcheck // always nil
	}
	b.err = err
	return n, err
}

// Close closes the connection if the answer has not been read to its end. It may be
// called while a Read is under way.
func (b *answer) Close() error {
	if !b.over.Swap(true) {
		b.life.Untie(b.conn)
		b.conn.Close() //nolint:errcheck // the rest is not wanted
	}
	return nil
}

// writeGrace is how long a request may still be on its way when its answer has been
// read, as in net/http. The sender of one that the server has read whole may not have
// come to say so.
const writeGrace = 50 * time.Millisecond

// end gives the connection back to be used again, if that is possible.
func (b *answer) end() {
	if b.over.Swap(true) {
		return
	}
	ok := b.life.Untie(b.conn) && b.lasts && !b.conn.unasked && b.conn.reader.Buffered() == 0
	if ok && b.written != nil {
		ok = b.sent()
	}
	if !ok {
		b.conn.Close() //nolint:errcheck // all has been read
		return
	}
	b.conn.transport.keep(b.conn)
}

// sent reports whether the request has been written whole.
func (b *answer) sent() bool {
	select {
	case err := <-b.written:
		return err == nil
	default:
	}
	select {
	case err := <-b.written:
		return err == nil
	case <-time.After(writeGrace): // the server does not want all of it
		return false
	}
}
