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
	minBodyBuffer = 1 << 10
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
	b.buffer = bodyBuffer(4 << 10)
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

// edit is a change of a body: text takes the place of a part of it. The zero edit
// changes nothing.
type edit struct {
	place splice.Value
	text  []byte
}

// edits are the changes of a body for one instance, of its model and of what it is
// asked besides.
type edits [2]edit

// reader returns the body with the edits made, which do not overlap, as one attempt's
// request body, and its length.
func (b *body) reader(changes edits) (*bodyReader, int64) {
	b.refs.Add(1)
	r := &bodyReader{body: b}
	if changes[1].place.Start < changes[0].place.Start {
		changes[0], changes[1] = changes[1], changes[0]
	}
	at, length := 0, len(b.bytes)
	for n, e := range changes {
		r.parts[2*n], r.parts[2*n+1] = b.bytes[at:e.place.Start], e.text
		at = e.place.End
		length += len(e.text) - (e.place.End - e.place.Start)
	}
	r.parts[2*len(changes)] = b.bytes[at:]
	return r, int64(length)
}

// fill makes the body, with the edits made, that of r.
func (b *body) fill(r *http.Request, changes edits) {
	reader, length := b.reader(changes)
	r.Body, r.ContentLength, r.TransferEncoding = reader, length, nil
	r.GetBody = func() (io.ReadCloser, error) {
		again, _ := b.reader(changes)
		return again, nil
	}
}

// bodyReader reads one body once. Close may come from another goroutine while
// a Read is under way (HTTP/2 does that): the lock makes sure that no byte of
// the buffer is looked at once the hold on it is gone.
type bodyReader struct {
	mu    sync.Mutex
	body  *body // nil once closed
	parts [2*len(edits{}) + 1][]byte
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
		r.body, r.parts = nil, [len(r.parts)][]byte{}
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
