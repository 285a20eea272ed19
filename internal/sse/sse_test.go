package sse

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// events returns what the stream yields when it comes in pieces of size bytes.
func events(stream string, size, limit int) []string {
	var got []string
	yield := func(e Event) {
		text := fmt.Sprintf("%s|%s", e.Name, e.Data)
		if e.Failed {
			text += " failed"
		}
		if e.Unfinished {
			text += " unfinished"
		}
		if e.TooLong {
			text += " too long"
		}
		got = append(got, text)
	}
	s := NewSplitter(limit)
	for rest := []byte(stream); len(rest) > 0; {
		n := min(size, len(rest))
		piece := bytes.Clone(rest[:n])
		s.Write(piece, yield)
		clear(piece) // nothing of it may be kept
		rest = rest[n:]
	}
	s.Close(yield)
	return got
}

func TestSplitter(t *testing.T) {
	f := func(stream string, want ...string) {
		t.Helper()
		for _, size := range []int{1, 2, 3, 7, 4096} {
			if got := events(stream, size, 40); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%q in pieces of %d: got %q, want %q", stream, size, got, want)
			}
		}
	}
	f("")
	f("\n\n\n")
	f("data: a\n\n", "|a")
	f("data:a\n\ndata:  b\n\n", "|a", "| b")
	f("data: a\r\n\r\ndata: b\r\rdata: c\n\n", "|a", "|b", "|c")
	f("data: a\r\n\n", "|a")
	f("\xef\xbb\xbfdata: a\n\n", "|a")
	f("\xef\xbbdata: a\n\ndata: b\n\n", "|b")
	f("data: \xef\xbb\xbfa\n\n", "|\xef\xbb\xbfa")
	f(": ping\n\n:\n\ndata: a\n\n", "|a")
	f("event: x\ndata: a\nid: 1\nretry: 2\n\ndata: b\n\n", "x|a", "|b")
	f("event: x\n\ndata: a\n\n", "|a")
	f("data: a\ndata: b\ndata\ndata:\n\n", "|a\nb\n\n")
	f("data\n\n", "|")
	f("error: {\"code\":500}\n\n", "|{\"code\":500} failed")
	f("data: a\u2028b\n\n", "|a\u2028b")
	f("data: a\n", "|a unfinished")
	f("data: a", "|a unfinished")
	f("data: a\n\nda", "|a")
	f("\xef\xbb", []string(nil)...)
	f("data: "+strings.Repeat("x", 34)+"\n\n", "|"+strings.Repeat("x", 34))
	f("event: y\ndata: "+strings.Repeat("x", 35)+"\n\ndata: a\n\n", "y| too long", "|a")
	f("data: "+strings.Repeat("x", 30)+"\ndata: "+strings.Repeat("x", 30)+"\n\ndata: a\n\n", "| too long", "|a")
	f(": "+strings.Repeat("x", 90)+"\ndata: a\n\n", "|a")
	f("data: [DONE]\n\n", "|[DONE]")
}

// FuzzSplitter checks that pieces make no difference, and that no memory grows
// beyond the limit.
func FuzzSplitter(f *testing.F) {
	for _, s := range []string{"data: a\r\n\r\n", "\xef\xbb\xbfevent: x\ndata: {}\n\n", ": c\ndata\n\ndata: b", "error: x\r\r", "data: 0123456789012345678901234\n\n"} {
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, stream string, size int) {
		whole := events(stream, len(stream)+1, 16)
		if got := events(stream, max(1, size%64), 16); fmt.Sprint(got) != fmt.Sprint(whole) {
			t.Fatalf("%q in pieces of %d: got %q, whole %q", stream, size, got, whole)
		}
		for _, e := range whole {
			if _, data, _ := strings.Cut(e, "|"); len(data) > 16+len(" failed unfinished too long") {
				t.Fatalf("%q: event %q is longer than the limit", stream, e)
			}
		}
	})
}

func BenchmarkSplitter(b *testing.B) {
	event := []byte(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}` + "\n\n")
	s := NewSplitter(1 << 20)
	b.ReportAllocs()
	b.SetBytes(int64(len(event)))
	for b.Loop() {
		s.Write(event, func(Event) {})
	}
}
