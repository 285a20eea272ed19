package sse

import (
	"fmt"
	"strings"
	"testing"
)

// TestIdle guards that a splitter is idle between two events only: not within a
// line, an event, a line's end or a byte order mark.
func TestIdle(t *testing.T) {
	f := func(text string, want bool) {
		t.Helper()
		for size := 1; size <= len(text)+1; size++ {
			s := NewSplitter(40)
			for rest := text; rest != ""; {
				n := min(size, len(rest))
				s.Write([]byte(rest[:n]), func(Event) {})
				rest = rest[n:]
			}
			if got := s.Idle(); got != want {
				t.Errorf("%q in pieces of %d: got idle %v, want %v", text, size, got, want)
			}
		}
	}
	for _, text := range []string{
		"\n", "\n\n\n", "data: a\n\n", "data: a\r\n\r\n", "data: a\r\n\n", ": ping\n", ": ping\n\n", "id: 1\n", "retry: 1\n", "event:\n", "event: x\n\n", "\xef\xbb\xbf",
		"error: x\n\n", "\xef\xbb\xbf\n", "\xef\xbb\xbfdata: a\n\n", "data: " + strings.Repeat("x", 50) + "\n\n", "data: a\n\n: ping\n",
	} {
		f(text, true)
	}
	for _, text := range []string{
		"", "d", "data", "data: a", "data: a\n", "data: a\r", "data: a\r\n", "data: a\r\n\r", "data: a\r\r", "data\n", "event: x\n", "error: x\n", ": ping",
		"\xef\xbb", "\xef", "data: a\n\n:", "data: a\n\ndata: b\n", "data: " + strings.Repeat("x", 50) + "\n", "\r",
	} {
		f(text, false)
	}
}

// TestIdleMaySkip guards what idle is for: what stands between an idle place and
// any blank line behind it can be left out, and the events behind stay the same.
func TestIdleMaySkip(t *testing.T) {
	stream := "\xef\xbb\xbf: ping\n\ndata: a\n\nevent: x\ndata: b\r\n\r\ndata: c\r\rerror: d\n\n: e\n\n\nid: 1\ndata: f\ndata: g\n\nevent: y\n\ndata: h\r\n\ndata: i\n"
	skipped := 0
	for from := range len(stream) {
		for to := from + 2; to <= len(stream); to++ {
			s := NewSplitter(40)
			s.Write([]byte(stream[:from]), func(Event) {})
			if !s.Idle() || stream[to-2:to] != "\n\n" {
				continue
			}
			var got, want []string
			s.Write([]byte(stream[to:]), func(e Event) { got = append(got, fmt.Sprintf("%+v", e)) })
			s.Close(func(e Event) { got = append(got, fmt.Sprintf("%+v", e)) })
			s = NewSplitter(40)
			s.Write([]byte(stream[:to]), func(Event) {})
			s.Write([]byte(stream[to:]), func(e Event) { want = append(want, fmt.Sprintf("%+v", e)) })
			s.Close(func(e Event) { want = append(want, fmt.Sprintf("%+v", e)) })
			if skipped++; fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("without %q: got %v, want %v", stream[from:to], got, want)
			}
		}
	}
	if skipped < 20 {
		t.Errorf("got %d parts that could be skipped, want 20 at least", skipped)
	}
}
