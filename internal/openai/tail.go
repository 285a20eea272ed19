package openai

import (
	"bytes"
	"encoding/json"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/sse"
)

// skim keeps the tail of the stream, and looks for the end mark near its end.
func (s *Stream) skim(p []byte) {
	s.lines += bytes.Count(p, blankLine[:1])
	s.keep(p)
	if s.ended {
		return
	}
	const near = 256 // a server that goes on after the mark says little
	last := s.tail[max(0, len(s.tail)-min(len(s.tail), len(p)+len(endMark)+len(dataField), near)):]
	if bytes.Contains(last, endMark) {
		s.ended = hasEndMark(s.tail)
	}
}

// hasEndMark reports whether a line of tail is the end mark.
func hasEndMark(tail []byte) bool {
	for {
		at := bytes.LastIndex(tail, endMark)
		if at < 0 {
			return false
		}
		before, behind := bytes.TrimRight(tail[:at], " \t"), bytes.TrimLeft(tail[at+len(endMark):], " \t")
		before, isData := bytes.CutSuffix(before, dataField[:5])
		if isData && (len(before) == 0 || isLineEnd(before[len(before)-1])) && (len(behind) == 0 || isLineEnd(behind[0])) {
			return true
		}
		tail = tail[:at]
	}
}

func isLineEnd(c byte) bool { return c == '\n' || c == '\r' }

// keep remembers the end of p.
func (s *Stream) keep(p []byte) {
	s.fresh = true
	if cap(s.tail) == 0 {
		s.tail = make([]byte, 0, tailSize)
	}
	if len(p) > keptTail {
		if at := behindBlankLine(p[:len(p)-keptTail]); at > 0 {
			s.tail, s.cut, p = s.tail[:0], false, p[at:]
		}
	}
	if len(p) > maxTail {
		s.tail, s.cut, p = s.tail[:0], true, p[len(p)-maxTail:]
	}
	if len(s.tail)+len(p) > cap(s.tail) {
		s.forget()
	}
	s.tail = append(s.tail, p...)
}

// forget drops the beginning of the tail: whole events, or else a part of one that
// is too long.
func (s *Stream) forget() {
	drop := len(s.tail) - keptTail
	if drop <= 0 {
		return
	}
	switch at := behindBlankLine(s.tail[:drop]); {
	case at > 0:
		drop, s.cut = at, false
	case len(s.tail) < maxTail:
		return
	default:
		s.cut = true
	}
	s.tail = s.tail[:copy(s.tail, s.tail[drop:])]
}

// bareTail returns how many events at the end of the tail have no content: the finish,
// the counts, the end mark.
func (s *Stream) bareTail() (n int) {
	for tail := s.tail; len(tail) > 0; n++ {
		at := behindBlankLine(tail[:len(tail)-1])
		event := tail[at:]
		if at == 0 && s.cut || hasText(event) {
			break
		}
		if _, data, ok := bytes.Cut(event, dataField[:5]); ok && !bytes.Equal(bytes.TrimSpace(data), endMark) {
			if !json.Valid(data) || chunkSays(data) {
				break
			}
		}
		if bytes.IndexByte(event, '\n') < 0 {
			n-- // it has not been counted
		}
		tail = tail[:at]
	}
	return n
}

// behindBlankLine returns where the last event of p ends, or 0.
func behindBlankLine(p []byte) int {
	for at := bytes.LastIndexByte(p, '\n'); at > 0; at = bytes.LastIndexByte(p[:at], '\n') {
		if p[at-1] == '\n' || at > 1 && p[at-1] == '\r' && p[at-2] == '\n' {
			return at + 1
		}
	}
	return 0
}

// readTail reads the events of the tail, of which the first may be cut, if
// anything is to be learnt there: an error, or the finish of a stream that has no
// end mark.
func (s *Stream) readTail() {
	if !s.fresh || s.ended && !bytes.Contains(s.tail, errorWord) {
		return
	}
	s.fresh = false
	pieces := s.pieces
	defer func() { s.pieces = pieces }() // these are counted by their lines
	tail := sse.NewSplitter(maxEvent)
	s.blind = s.cut && bytes.HasSuffix(s.tail, blankLine[:1])
	read := func(e sse.Event) {
		s.blind = false
		switch {
		case e.Failed:
			s.fail(ErrorStatus(e.Data))
		case cutOff(e):
		case ends(e.Data):
			s.ended = true
		case string(e.Name) == "error":
			s.fail(ErrorStatus(e.Data))
		default:
			s.readChunk(e.Data)
		}
	}
	tail.Write(blankLine, read) // only a stream can begin with a byte order mark
	tail.Write(s.tail, read)
	tail.Close(read)
}
