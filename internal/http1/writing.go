package http1

import (
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
)

// maxAhead bounds the requests that are written, in one piece, before the answer is
// looked at, in bytes: what a socket of the usual settings takes without anybody
// reading at the other end.
const maxAhead = 32 << 10

// writing is a request on its way out. Do is one of its holders, each goroutine that
// sends it another: a server may answer before it has read all.
type writing struct {
	body    Body // nil if there is none
	parts   [][]byte
	head    []byte
	holders atomic.Int32
}

// writings holds them for the buffers of their heads.
var writings = sync.Pool{New: func() any { return &writing{head: make([]byte, 0, 4<<10)} }}

// maxPooled bounds the buffers that are kept, in bytes.
const maxPooled = 64 << 10

func newWriting(body Body) *writing {
	w := writings.Get().(*writing)
	w.holders.Store(1)
	if w.body = body; body != nil {
		w.parts = body.Parts()
	}
	return w
}

// release gives up one hold; the last one closes the body.
func (w *writing) release() {
	if w.holders.Add(-1) > 0 {
		return
	}
	if w.body != nil {
		w.body.Close() // it has been read, or nobody wants it
	}
	if w.body, w.parts, w.head = nil, nil, w.head[:0]; cap(w.head) <= maxPooled {
		writings.Put(w)
	}
}

// size is the length of head and parts.
func (w *writing) size() int {
	size := len(w.head)
	for _, part := range w.parts {
		size += len(part)
	}
	return size
}

// send writes the request to c. If a socket may not take it at once it is written in
// the background, and the channel tells how that ended: a server may answer before it
// has read all, and keep what it does not read waiting.
func (w *writing) send(c *conn) (<-chan error, error) {
	if w.size() <= maxAhead {
		return nil, w.ahead(c)
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

// ahead writes the request in one piece.
func (w *writing) ahead(c net.Conn) error {
	text := w.head
	for _, part := range w.parts {
		text = append(text, part...)
	}
	w.head = text[:len(w.head)] // keeps what has been allocated
	_, err := c.Write(text)
	return err
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
