package http1

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"syscall"
)

// maxAhead bounds the requests that are written, in one piece, before the answer is
// looked at, in bytes: what a socket of the usual settings takes without anybody
// reading at the other end.
const maxAhead = 32 << 10

// writing is a request on its way out. RoundTrip is one of its holders, each
// goroutine that sends it another: a server may answer before it has read all.
type writing struct {
	body    io.Closer // nil if there is none
	parts   [][]byte
	buffer  *[]byte // of head
	head    []byte
	holders atomic.Int32
}

// release gives up one hold; the last one closes the body.
func (w *writing) release() {
	if w.holders.Add(-1) > 0 {
		return
	}
	closeBody(w.body)
	if w.head != nil && cap(w.head) <= maxPooled {
		*w.buffer = w.head[:0]
		heads.Put(w.buffer)
	}
}

// send writes the request to c. If a socket may not take it at once it is written in
// the background, and the channel tells how that ended: a server may answer before it
// has read all, and keep what it does not read waiting.
func (w *writing) send(c *conn) (<-chan error, error) {
	size := len(w.head)
	for _, part := range w.parts {
		size += len(part)
	}
	if size <= maxAhead {
		text := w.head
		for _, part := range w.parts {
			text = append(text, part...)
		}
		w.head = text[:len(w.head)] // keeps what has been allocated
		_, err := c.Write(text)
		return nil, err
	}
	w.holders.Add(1)
	written := make(chan error, 1)
	go func() {
		defer w.release()
		err := w.all(c.Conn)
		written <- err
		if err != nil && !isReset(err) {
			c.Close() //nolint:errcheck // the answer is not waited for
		}
	}()
	return written, nil
}

// all writes head and parts, with one system call if the connection is no more than
// a socket. Others may set a deadline for each Write, as they mean one of a buffer.
func (w *writing) all(c net.Conn) error {
	pieces := append(net.Buffers{w.head}, w.parts...)
	if _, ok := c.(*net.TCPConn); ok {
		_, err := pieces.WriteTo(c)
		return err
	}
	for _, piece := range pieces {
		for some := range slices.Chunk(piece, 32<<10) {
			if _, err := c.Write(some); err != nil {
				return err
			}
		}
	}
	return nil
}

// isReset reports whether a write failed because the server does not read on. It may
// have answered before.
func isReset(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}
