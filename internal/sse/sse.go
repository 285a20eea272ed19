// Package sse splits a stream of server-sent events, as model servers send them,
// into events while its bytes pass by.
//
// It follows the event stream format of the HTML standard (section 9.2.6), with
// the leniency that real servers need: a line ends at LF, CR or CRLF, wherever
// the pieces are cut; one byte order mark at the start is skipped; the space after
// a field's colon is optional; U+2028 ends nothing. Unlike a browser it also
// yields an event that the stream's end cuts off before its blank line, marked as
// unfinished, and a field named error, which older llama.cpp servers send.
//
// Any division of a stream into pieces gives the same events. Memory is bounded
// by the limit given: an event whose data is longer is yielded without data,
// marked as too long.
package sse

import "bytes"

// Event is one event. Its slices are valid until the function that it is given
// to returns.
type Event struct {
	// Name is the event field, empty where there is none.
	Name []byte
	// Data are the data fields, joined by line feeds.
	Data []byte
	// Failed says that the data came in a field named error.
	Failed bool
	// Unfinished says that the stream ended before the event's blank line.
	Unfinished bool
	// TooLong says that the data exceeded the limit and was dropped.
	TooLong bool
}

// Splitter is the state between two pieces of one stream. Create one with
// [NewSplitter]. It is not safe for concurrent use.
type Splitter struct {
	limit int

	line    []byte // beginning of a line whose end has not come
	started bool   // the byte order mark has been dealt with
	cr      bool   // the last byte was CR: an LF that follows belongs to it

	name, data []byte
	hasData    bool
	failed     bool
	tooLong    bool
}

// NewSplitter returns a splitter that keeps at most limit bytes of a line, and as
// many of an event's data. The limit is at least 16.
func NewSplitter(limit int) *Splitter { return &Splitter{limit: limit} }

// Write takes the next piece of the stream and calls yield for every event that
// ends in it. It keeps nothing of p.
func (s *Splitter) Write(p []byte, yield func(Event)) {
	if !s.started {
		if p = s.skipMark(p); !s.started {
			return
		}
	}
	for len(p) > 0 {
		if s.cr {
			s.cr = false
			if p[0] == '\n' {
				p = p[1:]
				continue
			}
		}
		if n := s.whole(p, yield); n > 0 {
			p = p[n:]
			continue
		}
		end := LineEnd(p)
		if end < 0 {
			s.keep(p)
			return
		}
		line := p[:end]
		s.cr = p[end] == '\r'
		p = p[end+1:]
		if len(s.line) > 0 {
			s.keep(line)
			s.field(s.line, yield)
			s.line = s.line[:0]
			continue
		}
		s.field(line, yield)
	}
}

var dataField = []byte("data: ")

// whole yields the event that p begins with, if that is one line of data and the blank
// line, as nearly all are, and returns their length. It does what the lines by themselves
// would do, without a copy.
func (s *Splitter) whole(p []byte, yield func(Event)) int {
	if len(s.line) > 0 || len(s.name) > 0 || s.hasData || s.failed || !bytes.HasPrefix(p, dataField) {
		return 0
	}
	end := bytes.IndexByte(p, '\n')
	if end < 0 || end+1 == len(p) || p[end+1] != '\n' || end > s.limit || bytes.IndexByte(p[:end], '\r') >= 0 {
		return 0
	}
	yield(Event{Data: p[len(dataField):end]})
	return end + 2
}

// Close ends the stream: an event that has begun is yielded as unfinished.
func (s *Splitter) Close(yield func(Event)) {
	s.started = true
	if len(s.line) > 0 {
		s.field(s.line, yield)
		s.line = nil
	}
	s.dispatch(true, yield)
}

// Idle reports whether the stream stands between two events: nothing of the next
// one has come. Bytes up to a blank line may then be left out without changing
// what follows.
func (s *Splitter) Idle() bool {
	return s.started && !s.cr && len(s.line) == 0 && len(s.name) == 0 && !s.hasData && !s.failed
}

// Held returns how many bytes of an event that has begun are kept.
func (s *Splitter) Held() int { return len(s.line) + len(s.name) + len(s.data) }

// skipMark drops a byte order mark, which may come in pieces.
func (s *Splitter) skipMark(p []byte) []byte {
	const mark = "\xef\xbb\xbf"
	if len(s.line) == 0 && len(p) > 0 && p[0] != mark[0] {
		s.started = true
		return p
	}
	joined := append(s.line, p...)
	switch {
	case len(joined) < len(mark) && string(joined) == mark[:len(joined)]:
		s.line = joined
		return nil
	case bytes.HasPrefix(joined, []byte(mark)):
		joined = joined[len(mark):]
	}
	s.started, s.line = true, nil
	return joined
}

// keep remembers the beginning of a line, one byte more than the limit at most:
// enough to see that it is too long, and of which field.
func (s *Splitter) keep(p []byte) {
	s.line = append(s.line, p[:min(len(p), s.limit+1-len(s.line))]...)
}

// LineEnd returns the index of the first CR or LF of p, or -1.
func LineEnd(p []byte) int {
	lf := bytes.IndexByte(p, '\n')
	if lf >= 0 {
		p = p[:lf]
	}
	if cr := bytes.IndexByte(p, '\r'); cr >= 0 {
		return cr
	}
	return lf
}

// field takes one line without its end.
func (s *Splitter) field(line []byte, yield func(Event)) {
	if len(line) == 0 {
		s.dispatch(false, yield)
		return
	}
	long := len(line) > s.limit
	name, value, _ := bytes.Cut(line, []byte(":"))
	if len(value) > 0 && value[0] == ' ' {
		value = value[1:]
	}
	switch string(name) {
	case "data":
		s.addData(value, long)
	case "error":
		s.failed = true
		s.addData(value, long)
	case "event":
		if !long {
			s.name = append(s.name[:0], value...)
		}
	}
}

func (s *Splitter) addData(value []byte, long bool) {
	if long || len(s.data)+len(value) > s.limit {
		s.tooLong, s.hasData = true, true
		return
	}
	if s.hasData {
		s.data = append(s.data, '\n')
	}
	s.data, s.hasData = append(s.data, value...), true
}

// dispatch ends the event that has been gathered. One without data is no event.
func (s *Splitter) dispatch(unfinished bool, yield func(Event)) {
	if s.hasData {
		e := Event{Name: s.name, Data: s.data, Failed: s.failed, Unfinished: unfinished, TooLong: s.tooLong}
		if s.tooLong {
			e.Data = nil
		}
		yield(e)
	}
	s.name, s.data = s.name[:0], s.data[:0]
	s.hasData, s.failed, s.tooLong = false, false, false
}
