package aigateway

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/splice"
)

const (
	// firstPiece and laterPiece are the sizes in which a capture takes memory: a
	// plain answer fits in the first, and a stream never holds much more than has
	// arrived.
	firstPiece = 4 << 10
	laterPiece = 16 << 10
	// maxCapture bounds what is kept of one answer, in bytes. Of a stream that says more
	// the beginning is recorded, as one that was cut; the beginning of another answer
	// cannot be read.
	maxCapture = 8 << 20
	// gatherSize is how much of a stream gathers before it is read, in bytes. To read each
	// event when it comes would cost a multiple, for by then neither the reader's code nor
	// its data are in the processor's cache.
	gatherSize = 2 << 10
)

var (
	firstPieces = sync.Pool{New: func() any { b := make([]byte, 0, firstPiece); return &b }}
	laterPieces = sync.Pool{New: func() any { b := make([]byte, 0, laterPiece); return &b }}
	gatherings  = sync.Pool{New: func() any { b := make([]byte, 0, gatherSize); return &b }}
)

// capture is the writer of a client whose exchange is recorded. It keeps a copy of
// what the client gets, within the recorder's bounds; the client notices nothing of
// it. A stream is read as it passes: what it says is a twentieth of its bytes, and
// thousands are open at a time. The request's goroutine writes to it; the recorder takes
// it when the answer has gone out, or at the process's end while it is still being
// written.
type capture struct {
	http.ResponseWriter
	recorder  *recorder
	settings  *recordSettings
	id        string // of the request
	key       string // name of the client's, or ""
	dialect   openai.Dialect
	began     time.Duration
	body      *body        // of the request; the capture is one of its holders
	scanned   bool         // the body is known to be a JSON object
	longest   splice.Value // the place of its longest string
	canonical bool         // that is in the form of the records
	underway  member[*capture]

	mu        sync.Mutex
	pieces    []*[]byte      // guarded by mu, as all below
	size      int            // bytes in pieces
	reader    *openai.Reader // of a stream, which has no pieces, or nil
	gathered  *[]byte        // of a stream, to be read, or nil
	room      int64          // bytes reserved for both
	full      bool           // no more is kept
	total     int64          // bytes that the client got
	status    int
	media     string // Content-Type
	encoding  string // Content-Encoding
	instance  string
	ending    captureEnd
	firstByte time.Duration
	ended     time.Duration
	reserved  int64  // for the request's body, once it waits for the writer
	lost      string // why nothing is kept, or ""
	taken     bool   // the recorder has it, or nobody wants it

	firstPiece [1]*[]byte // of pieces: most answers need no more
}

// WriteHeader notes what kind of answer comes.
func (c *capture) WriteHeader(status int) {
	if status >= 200 {
		c.begin(status)
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *capture) begin(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.taken {
		return
	}
	h := c.Header()
	c.status, c.media, c.encoding = status, firstOf(h["Content-Type"]), firstOf(h["Content-Encoding"])
	c.instance = firstOf(h["X-Ai-Gateway-Upstream"])
	if c.encoding == "" && c.isStream() {
		c.reader = openai.NewReader(c.dialect, 2*maxCapture) // it is full before
	}
}

// isStream reports whether the answer is a stream of events.
func (c *capture) isStream() bool {
	media, _, _ := strings.Cut(c.media, ";")
	return strings.EqualFold(strings.TrimSpace(media), "text/event-stream")
}

// firstOf is [http.Header.Get] for a name in canonical form.
func firstOf(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

func (c *capture) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.keep(p[:n])
	return n, err
}

// Unwrap is for [http.ResponseController].
func (c *capture) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// keep copies p.
func (c *capture) keep(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.taken { // at the process's end
		return
	}
	if c.status == 0 {
		c.status = http.StatusOK
	}
	if c.total == 0 {
		c.firstByte = clock()
	}
	c.total += int64(len(p))
	if c.reader != nil {
		c.read(p)
		return
	}
	for len(p) > 0 && c.lost == "" && c.size < maxCapture {
		last := c.piece()
		if last == nil {
			return
		}
		n := min(len(p), cap(*last)-len(*last))
		*last = append(*last, p[:n]...)
		c.size += n
		p = p[n:]
	}
	c.full = c.full || len(p) > 0
}

// read takes the next piece of a stream. The caller holds mu.
func (c *capture) read(p []byte) {
	if c.full {
		return
	}
	if c.gathered == nil && len(p) < gatherSize {
		if !c.reserve(gatherSize) {
			return
		}
		c.gathered = gatherings.Get().(*[]byte)
	}
	if c.gathered != nil {
		if len(*c.gathered)+len(p) <= gatherSize {
			*c.gathered = append(*c.gathered, p...)
			return
		}
		c.readGathered()
	}
	c.reader.Write(p)
	held := int64(c.reader.Held()) + gatherSize
	c.full = held >= maxCapture
	if held > c.room {
		c.reserve((held - c.room + firstPiece - 1) / firstPiece * firstPiece)
	}
}

func (c *capture) readGathered() {
	c.reader.Write(*c.gathered)
	*c.gathered = (*c.gathered)[:0]
}

// reserve takes memory for reading a stream. Without any, nothing is kept.
func (c *capture) reserve(n int64) bool {
	if !c.recorder.reserve(n) {
		c.lost = dropMemory
		c.free()
		return false
	}
	c.room += n
	return true
}

// piece returns a piece with room in it, or nil if the recorder has no memory left.
func (c *capture) piece() *[]byte {
	if n := len(c.pieces); n > 0 && len(*c.pieces[n-1]) < cap(*c.pieces[n-1]) {
		return c.pieces[n-1]
	}
	pool, size := &laterPieces, laterPiece
	if len(c.pieces) == 0 {
		pool, size = &firstPieces, firstPiece
		c.pieces = c.firstPiece[:0]
	}
	if !c.recorder.reserve(int64(size)) {
		c.lost = dropMemory
		c.free()
		return nil
	}
	piece := pool.Get().(*[]byte)
	c.pieces = append(c.pieces, piece)
	return piece
}

// free gives the memory back. The caller holds mu.
func (c *capture) free() {
	for _, piece := range c.pieces {
		pool := &laterPieces
		if cap(*piece) == firstPiece {
			pool = &firstPieces
		}
		c.recorder.giveBack(int64(cap(*piece)))
		*piece = (*piece)[:0]
		pool.Put(piece)
	}
	c.pieces, c.size = nil, 0
	if c.gathered != nil {
		*c.gathered = (*c.gathered)[:0]
		gatherings.Put(c.gathered)
		c.gathered = nil
	}
	if c.room > 0 {
		c.recorder.giveBack(c.room)
	}
	c.reader, c.room = nil, 0
}

// captureEnd is how an exchange ended.
type captureEnd struct {
	outcome    outcome
	clientGone bool
	usage      usage
	queued     time.Duration // that it waited for a place
	overflow   string        // model that was asked instead, "" for none
}

// note says how the exchange ended, unless the capture is taken.
func (c *capture) note(e captureEnd) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.taken {
		c.ending = e
	}
}

// take makes the capture the caller's, once.
func (c *capture) take() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.taken {
		return false
	}
	c.taken, c.ended = true, clock()
	if n := int64(len(c.body.bytes)); c.lost == "" && n > 0 {
		if c.recorder.reserve(n) {
			c.reserved = n
		} else {
			c.lost = dropMemory
		}
	}
	return true
}

// release gives up what a taken capture holds.
func (c *capture) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.free()
	if c.reserved > 0 {
		c.recorder.giveBack(c.reserved)
	}
	c.body.release()
}

// compressed reads what was kept of a taken capture that is compressed.
func (c *capture) compressed() io.Reader {
	if len(c.pieces) == 1 {
		return bytes.NewReader(*c.pieces[0])
	}
	readers := make([]io.Reader, len(c.pieces))
	for i, piece := range c.pieces {
		readers[i] = bytes.NewReader(*piece)
	}
	return io.MultiReader(readers...)
}
