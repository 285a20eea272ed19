package http1

import (
	"io"
	"net"
	"sync/atomic"
)

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
	if cap(w.head) <= maxPooled {
		*w.buffer = w.head[:0]
		heads.Put(w.buffer)
	}
}

// send writes the request to c. If it is too large to be written at once, it goes
// on in the background, and the channel tells how that ended.
func (w *writing) send(c *conn) (<-chan error, error) {
	size := len(w.head)
	for _, part := range w.parts {
		size += len(part)
	}
	switch {
	case size <= maxCopied:
		text := w.head
		for _, part := range w.parts {
			text = append(text, part...)
		}
		w.head = text[:len(w.head)] // keeps what has been allocated
		_, err := c.Write(text)
		return nil, err
	case size <= maxAhead:
		return nil, w.all(c)
	}
	w.holders.Add(1)
	written := make(chan error, 1)
	go func() {
		defer w.release()
		written <- w.all(c)
	}()
	return written, nil
}

// all writes head and parts with as few system calls as the connection allows.
func (w *writing) all(c *conn) error {
	pieces := append(net.Buffers{w.head}, w.parts...)
	_, err := pieces.WriteTo(c.Conn)
	return err
}
