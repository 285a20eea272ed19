package chat

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestRequestIsJSONOfTheSizeAskedFor(t *testing.T) {
	for _, size := range []int{1 << 10, 4 << 10, 256 << 10} {
		r := NewRequest(size, Order{Tokens: 7, Gap: 50 * time.Millisecond, Stream: true, Usage: true})
		r.SetSeed(r.Body, 123456789)
		if len(r.Body) != size {
			t.Errorf("size %d: got %d bytes", size, len(r.Body))
		}
		var got struct {
			Messages []struct{ Content string }
			Stream   bool
			Mock     struct {
				Seed, Tokens int
				Gap          int `json:"gap_ms"`
			}
		}
		if err := json.Unmarshal(r.Body, &got); err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		if got.Mock.Seed != 123456789 || got.Mock.Tokens != 7 || got.Mock.Gap != 50 || !got.Stream || len(got.Messages) != 2 {
			t.Errorf("size %d: got %+v", size, got)
		}
	}
}

func TestPromptHasEscapesEverySixtyToEightyCharacters(t *testing.T) {
	p := string(appendPrompt(nil, 256<<10))
	if n := float64(len(p)) / float64(strings.Count(p, `\`)); n < 20 || n > 80 {
		t.Errorf("a backslash every %.0f bytes", n)
	}
	for _, s := range breaks {
		if !strings.Contains(p, s) {
			t.Errorf("no %q", s)
		}
	}
}

func TestParseFindsWhatWasOrdered(t *testing.T) {
	f := func(o Order) {
		t.Helper()
		r := NewRequest(4<<10, o)
		r.SetSeed(r.Body, 987654321)
		var a, want Answer
		got, err := Parse(r.Body, &a)
		if err != nil || got != o {
			t.Fatalf("got %+v, %v, want %+v", got, err, o)
		}
		want.Reset(987654321, []byte(Model), r.Fingerprint, o)
		if g, w := string(a.AppendWhole(nil)), string(want.AppendWhole(nil)); g != w {
			t.Errorf("got %s, want %s", g, w)
		}
	}
	f(Order{Tokens: 1})
	f(Order{Tokens: 200, Stream: true})
	f(Order{Tokens: 200, Gap: 50 * time.Millisecond, Stream: true, Usage: true})
}

func TestParseRefusesAForeignRequest(t *testing.T) {
	for _, body := range []string{``, `{"model":"m","messages":[]}`, `{"mock":{"seed":1,"tokens":5}}`, `{"mock":{"seed":100000000,"gap_ms":1}}`} {
		if _, err := Parse([]byte(body), new(Answer)); !errors.Is(err, ErrNoOrder) {
			t.Errorf("%s: got %v, want %v", body, err, ErrNoOrder)
		}
	}
}

func TestFingerprintSeesAChangedPrompt(t *testing.T) {
	r := NewRequest(4<<10, Order{Tokens: 1})
	for i := len(r.Body) / 2; i < len(r.Body)/2+50; i++ {
		body := append([]byte(nil), r.Body...)
		body[i] ^= 1
		var a Answer
		if _, err := Parse(body, &a); err != nil || string(a.fingerprint) == string(r.Fingerprint) {
			t.Errorf("byte %d changed: got fingerprint %s, %v", i, a.fingerprint, err)
		}
	}
}

func newAnswer(o Order) *Answer {
	var a Answer
	a.Reset(123456789, []byte(Model), []byte("fp_0"), o)
	return &a
}

func TestAnswersAreJSON(t *testing.T) {
	a := newAnswer(Order{Tokens: 50, Stream: true, Usage: true})
	var whole struct {
		Choices []struct{ Message struct{ Content string } }
	}
	if err := json.Unmarshal(a.AppendWhole(nil), &whole); err != nil {
		t.Fatal(err)
	}
	var content strings.Builder
	for i := range a.Events() - 1 {
		event := string(a.AppendEvent(nil, i, 1767225600123456789))
		var chunk struct {
			Sent    int64 `json:"sent_ns"`
			Choices []struct{ Delta struct{ Content string } }
		}
		data, ok := strings.CutPrefix(event, "data: ")
		if err := json.Unmarshal([]byte(data), &chunk); !ok || err != nil || chunk.Sent != 1767225600123456789 {
			t.Fatalf("event %d %s: %+v, %v", i, event, chunk, err)
		}
		for _, c := range chunk.Choices {
			content.WriteString(c.Delta.Content)
		}
	}
	if got, want := content.String(), whole.Choices[0].Message.Content; got != want {
		t.Errorf("stream %q, whole %q", got, want)
	}
}

func TestCheckWhole(t *testing.T) {
	a := newAnswer(Order{Tokens: 5})
	right := string(a.AppendWhole(nil))
	f := func(got string, want error) {
		t.Helper()
		if _, err := CheckWhole(a, []byte(got), nil); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", got, err, want)
		}
	}
	f(right, nil)
	f(right[:50], ErrShort)
	f(right+" ", ErrWrong)
	f(strings.Replace(right, "123456789", "123456788", 1), ErrWrong)
}

// TestStreamAnyChunking guards that the verdict does not depend on how the
// bytes were split on their way.
func TestStreamAnyChunking(t *testing.T) {
	a := newAnswer(Order{Tokens: 20, Stream: true, Usage: true})
	var right []byte
	for i := range a.Events() {
		right = a.AppendEvent(right, i, 1767225600000000000+int64(i))
	}
	for size := 1; size < len(right); size += 1 + size/3 {
		var s Stream
		s.Reset(a)
		var buf []byte
		var events, tokens, first int
		for at := 0; at < len(right); at += size {
			buf = append(buf, right[at:min(at+size, len(right))]...)
			for {
				e, err := s.Next(buf)
				if err != nil {
					t.Fatalf("pieces of %d: %v", size, err)
				}
				if e.Size == 0 {
					break
				}
				if want := int64(1767225600000000000 + events); e.Sent != want && e.Sent != 0 {
					t.Fatalf("pieces of %d: event %d sent at %d, want %d", size, events, e.Sent, want)
				}
				buf = buf[e.Size:]
				events++
				if e.Token {
					tokens++
				}
				if e.First {
					first++
				}
			}
		}
		if err := s.End(buf); err != nil || events != 24 || tokens != 20 || first != 1 {
			t.Errorf("pieces of %d: %d events, %d tokens, %d first, %v", size, events, tokens, first, err)
		}
	}
}

func TestStreamSeesEveryFault(t *testing.T) {
	a := newAnswer(Order{Tokens: 3, Stream: true})
	events := make([]string, a.Events())
	for i := range events {
		events[i] = string(a.AppendEvent(nil, i, 1767225600000000000))
	}
	f := func(name string, want error, events ...string) {
		t.Helper()
		var s Stream
		s.Reset(a)
		b := []byte(strings.Join(events, ""))
		for {
			e, err := s.Next(b)
			if err == nil && e.Size == 0 {
				err = s.End(b)
			}
			if b = b[e.Size:]; err != nil || e.Size == 0 {
				if !errors.Is(err, want) {
					t.Errorf("%s: got %v, want %v", name, err, want)
				}
				return
			}
		}
	}
	e := events
	f("right", nil, e...)
	f("nothing", ErrShort)
	f("lost", ErrWrong, e[0], e[1], e[3], e[4], e[5])
	f("doubled", ErrWrong, e[0], e[1], e[1], e[2], e[3], e[4], e[5])
	f("re-ordered", ErrWrong, e[0], e[2], e[1], e[3], e[4], e[5])
	f("no end", ErrShort, e[:5]...)
	f("cut in an event", ErrShort, e[0], e[1][:40])
	f("more", ErrWrong, append(e[:6:6], e[5])...)
	f("stamp", ErrWrong, e[0], strings.Replace(e[1], "1767225600000000000", "176722560000000000x", 1), e[2], e[3], e[4], e[5])
	f("error", ErrEvent, e[0], "data: {\"error\":{\"message\":\"gone\"}}\n\n")
	f("error behind a blank line", ErrEvent, e[0], "\n\ndata: {\"error\":{\"message\":\"gone\"}}\n\n")
	f("error behind half an event", ErrEvent, e[0], e[1][:40]+"\n\ndata: {\"error\":{\"message\":\"gone\"}}\n\n")
	f("named error behind half an event", ErrEvent, e[0], e[1][:len(e[1])-3]+"\n\nevent: error\ndata: {}\n\n")
	f("half an event and a blank line", ErrShort, e[0], e[1][:40]+"\n\n")
	f("named error", ErrEvent, e[0], "event: error\ndata: {}\n\n")
	f("error and more", ErrEvent, e[0], "data: {\"error\":{\"message\":\"gone\"}}\n\n"+strings.Repeat(" ", 500))
}
