package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/textproto"
)

const (
	// maxChunkLine bounds the line before a chunk, and a trailer, in bytes, as in net/http.
	maxChunkLine = 4 << 10
	// maxChunkExcess bounds how much of an answer may be framing beyond 16 bytes a chunk and
	// twice its data, as in net/http.
	maxChunkExcess = 16 << 10
)

var (
	errChunk       = errors.New("http1: malformed chunk")
	errChunkLine   = errors.New("http1: line before a chunk is too long")
	errChunkExcess = errors.New("http1: chunks have too much beside data")
	errLongTrailer = errors.New("http1: trailer is too long, or does not end")
)

// chunks is a body in chunks (RFC 9112, section 7.1). It reads into the caller's buffer
// and takes the framing out of it there: servers send every event of a stream as a chunk,
// and net/http's reader takes as much time for its frame as for copying it, and reads
// 4 KB at a time. It refuses what that one refuses.
type chunks struct {
	conn    *conn
	trailer *http.Header // of the answer
	stage   chunkStage
	left    uint64 // bytes of the chunk that have not come
	line    []byte // what has come of a line, or of the trailer
	excess  int64
}

type chunkStage int

const (
	chunkSize    chunkStage = iota // the line before a chunk comes next
	chunkData                      // what is left of a chunk
	chunkCR                        // the line end behind it
	chunkLF                        // the rest of that
	chunkTrailer                   // what follows the last one
	chunkOver                      // nothing
)

// Read returns what has come as soon as that has data; it does not wait for more.
func (c *chunks) Read(p []byte) (int, error) {
	for len(p) > 0 && c.stage != chunkOver {
		n, err := c.fetch(p)
		n, bad := c.unframe(p[:n])
		switch {
		case bad != nil:
			return n, bad
		case c.stage == chunkOver:
			return n, io.EOF
		case errors.Is(err, io.EOF):
			return n, io.ErrUnexpectedEOF
		case n > 0 || err != nil:
			return n, err
		}
	}
	if c.stage == chunkOver {
		return 0, io.EOF
	}
	return 0, nil
}

// fetch reads what came with the answer's head, then from the connection.
func (c *chunks) fetch(p []byte) (int, error) {
	if c.conn.reader.Buffered() > 0 {
		return c.conn.reader.Read(p)
	}
	return c.conn.Read(p)
}

// unframe takes the framing out of what p, the next piece, begins with, and returns how
// many bytes of data it then begins with.
func (c *chunks) unframe(p []byte) (n int, err error) {
	for rest := p; len(rest) > 0; {
		switch c.stage {
		case chunkData:
			m := copy(p[n:], rest[:min(uint64(len(rest)), c.left)])
			n += m
			rest = rest[m:]
			if c.left -= uint64(m); c.left == 0 {
				c.stage = chunkCR
			}
		case chunkCR, chunkLF:
			if rest[0] != "\r\n"[c.stage-chunkCR] {
				return n, errChunk
			}
			rest = rest[1:]
			if c.stage++; c.stage > chunkLF {
				c.stage = chunkSize
			}
		case chunkSize:
			if rest, err = c.begin(rest); err != nil {
				return n, err
			}
		case chunkTrailer:
			return n, c.end(rest)
		case chunkOver:
			return n, nil
		}
	}
	return n, nil
}

// begin reads the line before a chunk, of which it may be that only a part has come, and
// returns what follows.
func (c *chunks) begin(p []byte) (rest []byte, err error) {
	if size, n := plainChunkLine(p); n > 0 && len(c.line) == 0 {
		return p[n:], c.measure(size, n)
	}
	end := bytes.IndexByte(p, '\n') + 1
	if end == 0 {
		end = len(p)
	}
	line := p[:end]
	if len(c.line) > 0 || line[end-1] != '\n' {
		c.line = append(c.line, line...)
		line = c.line
	}
	if len(line) > maxChunkLine {
		return nil, errChunkLine
	}
	if line[len(line)-1] != '\n' {
		return nil, nil
	}
	c.line = c.line[:0]
	size, err := parseChunkLine(line)
	if err != nil {
		return nil, err
	}
	return p[end:], c.measure(size, len(line))
}

// measure begins a chunk, the line before which had so many bytes.
func (c *chunks) measure(size uint64, line int) error {
	c.left, c.stage = size, chunkData
	if size == 0 {
		c.stage = chunkTrailer
	}
	c.excess = max(0, c.excess+int64(line)-16-2*int64(min(size, 1<<40)))
	if c.excess > maxChunkExcess {
		return errChunkExcess
	}
	return nil
}

// plainChunkLine reads a line of nothing but a few digits, as nearly all are, and returns
// its length, or 0 if it is another.
func plainChunkLine(p []byte) (size uint64, n int) {
	for ; n < 8 && n < len(p); n++ {
		d, ok := hexDigit(p[n])
		if !ok {
			break
		}
		size = size<<4 | d
	}
	if n == 0 || n+1 >= len(p) || p[n] != '\r' || p[n+1] != '\n' {
		return 0, 0
	}
	return size, n + 2
}

func hexDigit(c byte) (d uint64, ok bool) {
	switch {
	case '0' <= c && c <= '9':
		return uint64(c - '0'), true
	case 'a' <= c && c <= 'f':
		return uint64(c - 'a' + 10), true
	case 'A' <= c && c <= 'F':
		return uint64(c - 'A' + 10), true
	}
	return 0, false
}

// parseChunkLine returns the size that a whole line tells.
func parseChunkLine(line []byte) (size uint64, err error) {
	if len(line) < 2 || bytes.IndexByte(line, '\r') != len(line)-2 {
		return 0, errChunk // a line feed alone, or a carriage return alone
	}
	digits, _, _ := bytes.Cut(bytes.TrimRight(line[:len(line)-2], " \t"), []byte(";"))
	if len(digits) == 0 || len(digits) > 16 {
		return 0, errChunk
	}
	for _, c := range digits {
		d, ok := hexDigit(c)
		if !ok {
			return 0, errChunk
		}
		size = size<<4 | d
	}
	return size, nil
}

// end reads what follows the last chunk: an empty line, or fields and one. What follows
// that is no part of the answer.
func (c *chunks) end(p []byte) error {
	c.line = append(c.line, p...)
	if bytes.HasPrefix(c.line, []byte("\r\n")) {
		c.stage = chunkOver
		c.conn.unasked = len(c.line) > len("\r\n")
		return nil
	}
	end := bytes.Index(c.line, []byte("\r\n\r\n")) + len("\r\n\r\n")
	switch {
	case end < len("\r\n\r\n") && len(c.line) >= maxChunkLine, end > maxChunkLine:
		return errLongTrailer
	case end < len("\r\n\r\n"):
		return nil
	}
	trailer := bufio.NewReaderSize(bytes.NewReader(c.line[:end]), maxChunkLine)
	fields, err := textproto.NewReader(trailer).ReadMIMEHeader()
	if err != nil {
		return err
	}
	if *c.trailer == nil {
		*c.trailer = http.Header{}
	}
	maps.Copy(*c.trailer, http.Header(fields))
	c.stage = chunkOver
	c.conn.unasked = len(c.line) > end || trailer.Buffered() > 0 // a line feed alone ends it too
	return nil
}

// Close does nothing: who reads no further closes the connection.
func (c *chunks) Close() error { return nil }
