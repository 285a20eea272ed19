package aigateway

import (
	"errors"
	"io"
	"math/bits"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/splice"
)

// Bodies are read into buffers of these sizes, in powers of two. Larger ones
// are left to the garbage collector: they are rare, and a pool would keep them.
const (
	minBodyBuffer = 1 << 12
	maxBodyPower  = 22
)

// bodyBuffers holds *[]byte by the power of two of their length.
var bodyBuffers [maxBodyPower + 1]sync.Pool

var (
	errBodyTooLarge = errors.New("request body is too large")
	errBodyClosed   = errors.New("request body is closed")
)

// body is one client's request body, read whole before it is sent anywhere:
// any attempt can replay it, and net/http has nothing left to cut a stream for
// when an instance answers early (golang/go#40747).
//
// Its buffer returns to a pool when the last holder has released it. The
// handler is one holder, every reader another: net/http may still read a body
// after RoundTrip has returned.
type body struct {
	bytes  []byte
	buffer *[]byte
	refs   atomic.Int32

	arrived time.Duration // when it had been read
}

// readBody reads r's body, at most limit bytes, and gives the caller the first
// hold on it. errBodyTooLarge is returned for a longer one, before reading if
// its length is declared.
func readBody(r *http.Request, limit int64) (*body, error) {
	b := new(body)
	b.refs.Store(1)
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return b, nil
	}
	if r.ContentLength > limit {
		return nil, errBodyTooLarge
	}
	if r.ContentLength > 0 {
		b.buffer = bodyBuffer(int(r.ContentLength))
		b.bytes = (*b.buffer)[:r.ContentLength]
		if _, err := io.ReadFull(r.Body, b.bytes); err != nil {
			b.release()
			return nil, err
		}
		return b, nil
	}
	if err := b.readChunked(r.Body, limit); err != nil {
		b.release()
		return nil, err
	}
	return b, nil
}

// readChunked reads a body of undeclared length into buffers that double.
func (b *body) readChunked(r io.Reader, limit int64) error {
	b.buffer = bodyBuffer(minBodyBuffer)
	buf, n := *b.buffer, 0
	for {
		if n == len(buf) {
			larger := bodyBuffer(2 * len(buf))
			copy(*larger, buf)
			putBodyBuffer(b.buffer)
			b.buffer, buf = larger, *larger
		}
		// One byte more than allowed tells that there is more.
		m, err := r.Read(buf[n:min(int64(len(buf)), limit+1)])
		if n += m; int64(n) > limit {
			return errBodyTooLarge
		}
		if err == io.EOF {
			b.bytes = buf[:n]
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// release gives up one hold.
func (b *body) release() {
	if b.refs.Add(-1) == 0 && b.buffer != nil {
		putBodyBuffer(b.buffer)
		b.buffer, b.bytes = nil, nil
	}
}

// reader returns the body with the bytes at place replaced, as one attempt's
// request body, and its length. A zero place leaves the body as it is.
func (b *body) reader(place splice.Value, replacement []byte) (*bodyReader, int64) {
	b.refs.Add(1)
	r := &bodyReader{body: b}
	if place == (splice.Value{}) {
		r.parts[0] = b.bytes
		return r, int64(len(b.bytes))
	}
	r.parts = [3][]byte{b.bytes[:place.Start], replacement, b.bytes[place.End:]}
	return r, int64(len(r.parts[0]) + len(r.parts[1]) + len(r.parts[2]))
}

// bodyReader reads one body once. Close may come from another goroutine while
// a Read is under way (HTTP/2 does that): the lock makes sure that no byte of
// the buffer is looked at once the hold on it is gone.
type bodyReader struct {
	mu    sync.Mutex
	body  *body // nil once closed
	parts [3][]byte
	next  int
}

func (r *bodyReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.body == nil {
		return 0, errBodyClosed
	}
	n := 0
	for n < len(p) && r.next < len(r.parts) {
		m := copy(p[n:], r.parts[r.next])
		n += m
		if r.parts[r.next] = r.parts[r.next][m:]; len(r.parts[r.next]) == 0 {
			r.next++
		}
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Parts is for [http1.Transport], which writes them without a copy.
func (r *bodyReader) Parts() [][]byte { return r.parts[:] }

func (r *bodyReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.body != nil {
		r.body.release()
		r.body, r.parts = nil, [3][]byte{}
	}
	return nil
}

// bodyBuffer returns a buffer of at least n bytes, sliced to its capacity.
func bodyBuffer(n int) *[]byte {
	class := bits.Len(uint(max(n, minBodyBuffer) - 1))
	if class < len(bodyBuffers) {
		if buf, ok := bodyBuffers[class].Get().(*[]byte); ok {
			return buf
		}
		n = 1 << class
	}
	buf := make([]byte, n)
	return &buf
}

func putBodyBuffer(buf *[]byte) {
	if class := bits.Len(uint(len(*buf) - 1)); class < len(bodyBuffers) && len(*buf) == 1<<class {
		bodyBuffers[class].Put(buf)
	}
}
