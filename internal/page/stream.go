package page

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"net/http"
	"sync"
	"time"
)

// A message is some lines of an event stream, shared by all who are sent it.
type message struct {
	plain []byte
	// packed is plain as deflate blocks that refer to nothing before them and end at a
	// byte, so that any sequence of messages is one valid stream: it is compressed once,
	// not once for each viewer.
	packed func() []byte
}

var beatMessage = textMessage([]byte(":\n\n"))

// newMessage returns an event with data as JSON.
func newMessage(event string, data any) *message {
	var b bytes.Buffer
	b.WriteString("event: " + event + "\ndata: ")
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // it is read by a JSON parser, and most of it is HTML
	if err := encoder.Encode(data); err != nil {
		panic(err) // of strings, which always can be encoded
	}
	b.WriteByte('\n') // Encode has ended the line
	return textMessage(b.Bytes())
}

func textMessage(plain []byte) *message {
	return &message{plain, sync.OnceValue(func() []byte {
		var b bytes.Buffer
		w, err := flate.NewWriter(&b, flate.DefaultCompression)
		if err != nil {
			panic(err) // of the level, which is a constant
		}
		_, _ = w.Write(plain) // a buffer takes all
		_ = w.Flush()
		return b.Bytes()
	})}
}

var (
	gzipHead   = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255} // RFC 1952, 2.3: deflate, no name, no time
	emptyBlock = []byte{1, 0, 0, 0xff, 0xff}                  // RFC 1951, 3.2.4: the last one, stored
)

// stream writes messages to one viewer. One goroutine uses it.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	ctx     context.Context // ends with the request, or with the feed
	cancel  func()

	gzip bool
	sum  uint32 // of what has been sent, as gzip wants it at the end
	size uint32
}

// newStream begins the answer to r, which ends with feed at the latest: then a write
// that hangs is given up.
func newStream(w http.ResponseWriter, r *http.Request, feed context.Context) *stream {
	s := &stream{w: w, control: http.NewResponseController(w), gzip: acceptsGzip(r)}
	ctx, cancel := context.WithCancel(r.Context())
	unlink := context.AfterFunc(feed, cancel)
	hurried := make(chan struct{})
	unhurry := context.AfterFunc(ctx, func() {
		defer close(hurried)
		s.within(feedGrace)
	})
	s.ctx, s.cancel = ctx, func() {
		unlink()
		if !unhurry() {
			<-hurried // or it would set the deadline of a later request
		}
		cancel()
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	h.Add("Vary", "Accept-Encoding")
	if s.gzip {
		h.Set("Content-Encoding", "gzip")
		if r.Method != http.MethodHead {
			_, _ = w.Write(gzipHead) // a failure shows in the next write
		}
	}
	return s
}

// within bounds the time of writes. Where the server knows no such bound, the
// client's end or the server's own bounds must do.
func (s *stream) within(d time.Duration) { _ = s.control.SetWriteDeadline(time.Now().Add(d)) }

// send writes m. It blocks for feedPatience at most, less once the stream's context ends.
func (s *stream) send(m *message) error {
	s.within(feedPatience)
	if err := s.ctx.Err(); err != nil { // only now: its end may have set the deadline before
		return err
	}
	bytes := m.plain
	if s.gzip {
		bytes = m.packed()
		s.sum = crc32.Update(s.sum, crc32.IEEETable, m.plain)
		s.size += uint32(len(m.plain))
	}
	if _, err := s.w.Write(bytes); err != nil {
		return err
	}
	return s.control.Flush()
}

// end writes what gzip wants at its end. The server lifts the deadline for the next
// request of the connection.
func (s *stream) end() {
	s.cancel()
	s.within(feedGrace)
	if s.gzip && s.size > 0 {
		tail := binary.LittleEndian.AppendUint32(emptyBlock, s.sum)
		_, _ = s.w.Write(binary.LittleEndian.AppendUint32(tail, s.size)) // the viewer may have gone
	}
}
