package openai

import (
	"fmt"
	"strings"
	"testing"
)

// TestWhole guards which answers are complete when nothing more comes: those with
// their end mark, and those whose every choice has a finish.
func TestWhole(t *testing.T) {
	f := func(d Dialect, several bool, text string, want bool) {
		t.Helper()
		for _, size := range sizes {
			if got := follow(NewStream(d, several), text, size).whole; got != want {
				t.Errorf("dialect %d, several %v, %.300q in pieces of %d: got whole %v, want %v", d, several, text, size, got, want)
			}
		}
	}
	role, word := delta(`"role":"assistant","content":""`), delta(`"content":"a"`)
	for _, several := range []bool{false, true} {
		f(Chat, several, "", false)
		f(Chat, several, data(role), false)
		f(Chat, several, data(role, word, word), false)
		f(Chat, several, data(role, word, "[DONE]"), true) // some servers never send a finish
		f(Chat, several, data(role, word, finish(0, "stop")), true)
		f(Chat, several, data(role, word, finish(0, "length"), `{"choices":[],"usage":{"total_tokens":9}}`), true)
		f(Chat, several, data(finish(0, "stop")), true)
		f(Chat, several, data(role, word, finish(0, "stop"), word), true) // filters report behind the finish
		f(Chat, several, strings.TrimSuffix(data(role, word, finish(0, "stop")), "\n\n"), true)
		f(Chat, several, strings.TrimSuffix(data(role, word, finish(0, "stop")), "}\n\n"), false)
		f(Chat, several, data(role, word, finish(0, "")), false)
		f(Chat, several, data(role, word, delta(`"content":"\"finish_reason\":\"stop\""`)), false)
		f(Chat, several, data(role, word, `{"choices":[]}`), false)
		f(Completions, several, data(`{"choices":[{"text":"a","index":0,"finish_reason":null}]}`), false)
		f(Completions, several, data(`{"choices":[{"text":"a","index":0,"finish_reason":"length"}]}`), true)
		f(Responses, several, data(`{"type":"response.created"}`, `{"type":"response.output_text.delta"}`), false)
		f(Responses, several, data(`{"type":"response.incomplete"}`), true)
		f(Responses, several, data("[DONE]"), false)
		f(Messages, several, data(`{"type":"message_delta","delta":{"stop_reason":"end_turn"}}`), false)
		f(Messages, several, data(`{"type":"message_stop"}`), true)
		f(Other, several, "", true)
		f(Other, several, data("x"), true)
	}
	choice := func(i int) string {
		return fmt.Sprintf(`{"choices":[{"index":%d,"delta":{"content":"a"},"finish_reason":null}]}`, i)
	}
	f(Chat, true, data(choice(0), choice(1), finish(0, "stop")), false)
	f(Chat, true, data(choice(0), choice(1), finish(1, "stop")), false)
	f(Chat, true, data(choice(0), choice(1), finish(1, "stop"), finish(0, "stop")), true)
	f(Chat, true, data(choice(0), choice(2), finish(2, "stop"), finish(0, "stop")), true)
	f(Chat, true, data(finish(0, "stop"), choice(1)), false)
	f(Chat, true, data(choice(0), choice(1), finish(0, "stop"), "[DONE]"), true)
	f(Chat, true, data(`{"choices":[{"index":0,"finish_reason":"stop"},{"index":1,"finish_reason":null}]}`), false)
	f(Chat, true, data(choice(0), choice(-1), choice(maxChoices), finish(0, "stop")), true)
}

// TestWholeAtAnyDistance guards that a finish counts wherever it stands: in a
// long event, as of servers that repeat the whole answer in the last one, far from
// the end behind comments or reports of filters, and in any framing.
func TestWholeAtAnyDistance(t *testing.T) {
	long := strings.Repeat("long ", 2000)
	start := data(delta(`"role":"assistant"`), delta(`"content":"a"`))
	for name, text := range map[string]string{
		"long finish":       data(`{"search_results":"` + long + `","choices":[{"index":0,"finish_reason":"stop","message":{"content":"` + long + `"},"delta":{}}]}`),
		"long usage":        data(finish(0, "stop"), `{"choices":[],"usage":{"notes":"`+long[:1500]+`"}}`),
		"many comments":     data(finish(0, "stop")) + strings.Repeat(": OPENROUTER PROCESSING\n\n", 60),
		"many reports":      data(finish(0, "stop")) + strings.Repeat(data(`{"choices":[{"index":0,"finish_reason":null,"content_filter_offsets":{}}]}`), 15),
		"spaces":            data(`{"choices": [{"index": 0, "delta": {}, "finish_reason" : "stop"}]}`),
		"tab":               data("{\"choices\":[{\"delta\":{},\"finish_reason\":\t\"stop\"}]}"),
		"two data lines":    "data: {\"choices\":[{\"delta\":{},\ndata: \"finish_reason\":\"stop\"}]}\n\n",
		"value on the next": "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\ndata: \"stop\"}]}\n\n",
		"CRLF":              strings.ReplaceAll(data(delta(`"content":"b"`), finish(0, "stop")), "\n", "\r\n"),
		"CR":                strings.ReplaceAll(data(delta(`"content":"b"`), finish(0, "stop")), "\n", "\r"),
		"null first":        data(`{"choices":[{"index":0,"finish_reason":null,"native_finish_reason":"x"},{"index":0,"finish_reason":"stop"}]}`),
		"odd types":         data(`{"created":"now","object":1,"choices":[{"index":"0","delta":{},"finish_reason":"stop"}]}`),
		"named":             "id: 1\nevent: chunk\n" + data(finish(0, "stop")),
		"error in its text": data(`{"choices":[{"index":0,"delta":{"content":"error"},"finish_reason":"stop"}]}`),
	} {
		for _, size := range append(sizes, len(start), len(start)+len(text)-1) {
			if got := follow(NewStream(Chat, false), start+text, size); !got.whole || got.failed {
				t.Errorf("%s, in pieces of %d: got %+v, want whole", name, size, got)
			}
		}
	}
}

// TestLongEvents guards that an event's length neither hides an error, which may
// quote what the model wrote or the page of a proxy, nor lets a broken stream pass.
// Beyond maxTail an event is given the benefit of the doubt, unless it is cut.
func TestLongEvents(t *testing.T) {
	start := data(delta(`"role":"assistant"`), delta(`"content":"a"`))
	f := func(text string, want state) {
		t.Helper()
		want.begun = true
		for _, size := range sizes {
			if got := follow(NewStream(Chat, false), start+text, size); got != want {
				t.Errorf("%.150q … of %d bytes in pieces of %d: got %+v, want %+v", text, len(text), size, got, want)
			}
		}
	}
	for _, n := range []int{1 << 10, 5 << 10, 20 << 10, 60 << 10} {
		text := strings.Repeat("x", n)
		f("event: error\n"+data(`{"error":{"type":"invalid_request_error","failed_generation":"`+text+`","status_code":400}}`), state{failed: true, status: 400})
		f(data(`{"error":{"code":502,"message":"Provider returned error","metadata":{"raw":"`+text+`"}}}`), state{failed: true, status: 502})
		f(data(delta(`"content":"`+text+`"`)), state{})
		f(data(finish(0, text)), state{whole: true})
		f(data(finish(0, text))[:n], state{})
	}
	long := strings.Repeat("x", 3*maxTail)
	f(data(`{"choices":[{"finish_reason":"stop","message":{"content":"`+long+`"}}]}`), state{whole: true})
	f(data(delta(`"content":"` + long + `"`))[:2*maxTail], state{})
	f(data(delta(`"content":"`+long+`"`), delta(`"content":"b"`)), state{})
	f(data(delta(`"content":"`+long+`"`), finish(0, "stop")), state{whole: true})
}

// TestWholeAskedEarly guards that asking changes nothing: an answer that is not
// whole yet can still become so.
func TestWholeAskedEarly(t *testing.T) {
	s := NewStream(Chat, false)
	for i, step := range []struct {
		event string
		want  bool
	}{
		{delta(`"role":"assistant"`), false},
		{delta(`"content":"a"`), false},
		{delta(`"content":"b"`), false},
		{delta(`"content":"c"`), false},
		{finish(0, "stop"), true},
		{`{"choices":[],"usage":{}}`, true},
	} {
		s.Write([]byte(data(step.event)))
		if got := s.Whole(); got != step.want {
			t.Errorf("after event %d: got whole %v, want %v", i, got, step.want)
		}
	}
}

func BenchmarkStreamWrite(b *testing.B) {
	event := []byte(data(`{"id":"chatcmpl-0123456789abcdef0123","object":"chat.completion.chunk","created":1700000000,"model":"some-model",` +
		`"choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}]}`))
	f := func(name string, several bool, piece []byte) {
		b.Run(name, func(b *testing.B) {
			s := NewStream(Chat, several)
			s.Write(event)
			b.ReportAllocs()
			b.SetBytes(int64(len(piece)))
			for b.Loop() {
				s.Write(piece)
			}
		})
	}
	twenty := []byte(strings.Repeat(string(event), 20))
	f("1 event", false, event)
	f("20 events", false, twenty)
	f("20 events, cut between their lines", false, append(twenty[len(event)/2:len(twenty):len(twenty)], event[:len(event)/2]...))
	f("1 event, decoded", true, event)
}
