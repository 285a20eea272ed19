package chat

import (
	"bytes"
	"errors"
	"fmt"
)

// Errors of an answer that is not the one that was due.
var (
	// ErrWrong is wrapped when bytes differ from those expected.
	ErrWrong = errors.New("wrong answer")
	// ErrShort is returned when the answer ended before it was complete.
	ErrShort = errors.New("answer cut short")
	// ErrEvent is returned when the answer ended with an in-band error event.
	ErrEvent = errors.New("error event")
)

// CheckWhole compares a whole answer; scratch is a buffer to use again.
func CheckWhole(a *Answer, got, scratch []byte) ([]byte, error) {
	want := a.AppendWhole(scratch[:0])
	if bytes.Equal(got, want) {
		return want, nil
	}
	if len(got) < len(want) && bytes.HasPrefix(want, got) {
		return want, ErrShort
	}
	return want, fmt.Errorf("%w: got %.300q, want %.300q", ErrWrong, got, want)
}

// Stream checks a streamed answer event by event. Its zero value is unusable:
// Reset it.
type Stream struct {
	answer *Answer
	next   int    // the event that is due
	want   []byte // that event, time stamp 0; empty after the last
}

// Reset makes s expect the answer a from its start.
func (s *Stream) Reset(a *Answer) {
	s.answer, s.next = a, -1
	s.advance()
}

func (s *Stream) advance() {
	s.next++
	s.want = s.want[:0]
	if s.next < s.answer.Events() {
		s.want = s.answer.AppendEvent(s.want, s.next, 0)
	}
}

// Event is one event that arrived as it was due.
type Event struct {
	Size  int   // bytes, blank line included
	Token bool  // it carries a token
	First bool  // it carries the first token
	Sent  int64 // when the upstream wrote it, in nanoseconds since 1970; 0 for [DONE]
}

// Next checks the event at the start of b. The event is the zero Event when b
// does not hold the whole of it yet.
func (s *Stream) Next(b []byte) (Event, error) {
	if len(b) == 0 {
		return Event{}, nil
	}
	if len(s.want) == 0 {
		return Event{}, fmt.Errorf("%w: %.300q after the end", ErrWrong, b)
	}
	if len(b) < len(s.want) {
		return Event{}, nil
	}
	got, e := b[:len(s.want)], Event{Size: len(s.want)}
	if at := len(s.answer.prefix); len(s.want) > at+stampDigits {
		n, rest := number(got[at:])
		last, rest := number(rest) // number stops at 18 digits
		if len(rest) != len(got)-at-stampDigits {
			return Event{}, s.wrong(b)
		}
		e.Sent = int64(n)*10 + int64(last)
		copy(s.want[at:], got[at:at+stampDigits])
	}
	if !bytes.Equal(got, s.want) {
		return Event{}, s.wrong(b)
	}
	n, ok := s.answer.Token(s.next)
	e.Token, e.First = ok, ok && n == 0
	s.advance()
	return e, nil
}

func (s *Stream) wrong(got []byte) error {
	if isErrorEvent(got) {
		return ErrEvent
	}
	return fmt.Errorf("%w: event %d: got %.300q, want %.300q", ErrWrong, s.next, got, s.want)
}

// End says whether a stream that ended with rest unread was complete.
func (s *Stream) End(rest []byte) error {
	switch {
	case isErrorEvent(rest):
		return ErrEvent
	case len(s.want) > 0:
		return ErrShort
	}
	return nil
}

// isErrorEvent knows the two forms in use: a named event, and a data line whose
// object holds an error. Before it may stand what was left of a broken event, and
// the blank line that ends it.
func isErrorEvent(b []byte) bool {
	for line := range bytes.Lines(b) {
		if bytes.HasPrefix(line, []byte("event: error")) || bytes.HasPrefix(line, []byte(`data: {"error"`)) {
			return true
		}
	}
	return false
}
