package echomodel

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// maxBody bounds a request's body, in bytes.
const maxBody = 256 << 20

// maxPooled bounds the buffers that go back to a pool, in bytes.
const maxPooled = 1 << 20

// body is a request's body. The request and the statistics (as the last one seen) hold it together; whoever lets go
// last returns it to the pool.
type body struct {
	bytes []byte
	holds atomic.Int32
}

var bodies = sync.Pool{New: func() any { return new(body) }}

func newBody() *body {
	b := bodies.Get().(*body)
	b.bytes = b.bytes[:0]
	b.holds.Store(1)
	return b
}

func (b *body) hold() { b.holds.Add(1) }

func (b *body) release() {
	if b.holds.Add(-1) == 0 && cap(b.bytes) <= maxPooled {
		bodies.Put(b)
	}
}

// read takes the whole body of r. It returns an *apiError if that is too large, otherwise what the connection says.
func (b *body) read(r *http.Request) error {
	if r.ContentLength > maxBody {
		return &apiError{status: http.StatusRequestEntityTooLarge, message: "request body too large"}
	}
	if n := int(r.ContentLength); n >= 0 {
		if cap(b.bytes) < n {
			b.bytes = make([]byte, n)
		}
		b.bytes = b.bytes[:n]
		_, err := io.ReadFull(r.Body, b.bytes)
		return err
	}
	buf := bytes.NewBuffer(b.bytes)
	_, err := buf.ReadFrom(io.LimitReader(r.Body, maxBody+1))
	if b.bytes = buf.Bytes(); err == nil && len(b.bytes) > maxBody {
		return &apiError{status: http.StatusRequestEntityTooLarge, message: "request body too large"}
	}
	return err
}
