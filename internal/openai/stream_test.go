package openai

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// state is what a Stream says of an answer.
type state struct {
	begun, ended, failed bool
	status               int
	whole                bool
}

func (s *Stream) state() state {
	status, failed := s.Failed()
	whole := s.Whole()
	return state{s.Begun(), s.Ended(), failed, status, whole}
}

// Sizes of pieces that are none: a piece ends with each event, or the first piece
// with the first event and the second one with the stream.
const (
	eachEvent  = 0
	firstEvent = -1
)

// sizes are those of the pieces in which tests feed streams.
var sizes = []int{eachEvent, firstEvent, 1, 2, 7, 64, 1 << 20}

// follow returns what s says after text has come in pieces of size bytes and ended.
func follow(s *Stream, text string, size int) state {
	for rest := []byte(text); len(rest) > 0; {
		n := min(size, len(rest))
		if size <= 0 {
			n = len(rest)
			if at := bytes.Index(rest, blankLine); at >= 0 && (size == eachEvent || len(rest) == len(text)) {
				n = at + len(blankLine)
			}
		}
		piece := bytes.Clone(rest[:n])
		s.Write(piece)
		clear(piece) // nothing of it may be kept
		rest = rest[n:]
	}
	s.Close()
	return s.state()
}

// data frames payloads as events.
func data(payloads ...string) string {
	var b strings.Builder
	for _, p := range payloads {
		b.WriteString("data: " + p + "\n\n")
	}
	return b.String()
}

// delta is a chunk of one choice with the members given.
func delta(members string) string {
	return `{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{` + members + `},"finish_reason":null}]}`
}

// finish is the last chunk of a choice.
func finish(index int, why string) string {
	return fmt.Sprintf(`{"choices":[{"index":%d,"delta":{},"finish_reason":%q}]}`, index, why)
}

// TestBegun guards that an answer begins with content of any kind, also of kinds
// not known yet, or with a finish, and with nothing less: until then a request can
// still go elsewhere.
func TestBegun(t *testing.T) {
	f := func(d Dialect, text string, want bool) {
		t.Helper()
		for _, several := range []bool{false, true} {
			for _, size := range sizes {
				if got := follow(NewStream(d, several), text, size).begun; got != want {
					t.Errorf("dialect %d, %.200q in pieces of %d: got begun %v, want %v", d, text, size, got, want)
				}
			}
		}
	}
	for _, text := range []string{
		"", ": ping\n\n", "event: x\n\n", data("{}"), data("null"), data("[DONE]"),
		data(`{"choices":[]}`), data(`{"choices":null}`),
		data(`{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":0}}`),
		data(`{"choices":[],"prompt_filter_results":[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false}}}]}`),
		data(`{"choices":[{"index":0}]}`), data(`{"choices":[{"index":0,"delta":null,"finish_reason":null}]}`),
		data(delta("")), data(delta(`"role":"assistant"`)), data(delta(`"role":"assistant","content":""`)),
		data(delta(`"role":"assistant","content":null,"refusal":null,"tool_calls":null,"function_call":null`)),
		data(delta(`"content":"","reasoning":"","reasoning_content":null,"reasoning_details":[],"tool_calls":[],"extra":{},"index":0,"partial":false`)),
		data(`{"choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":""}]}`),
		data(`{"error":{"message":"no","code":500}}`),
	} {
		f(Chat, text, false)
	}
	for _, members := range []string{
		`"content":"a"`, `"content":" "`, `"role":"assistant","content":"a"`, `"reasoning":"a"`, `"reasoning_content":"a"`, `"refusal":"a"`,
		`"content":"","reasoning_details":[{"type":"reasoning.encrypted","data":"x"}]`, `"content":[{"type":"text","text":"a"}]`,
		`"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":""}}]`, `"function_call":{"name":"f"}`,
		`"audio":{"id":"a"}`, `"member_of_2031":"a"`, `"member_of_2031":{"a":1}`, `"member_of_2031":true`,
	} {
		f(Chat, data(delta(members)), true)
	}
	f(Chat, data(finish(0, "stop")), true)
	f(Chat, data("not JSON"), true)
	f(Chat, `data: {"choices":[{"index":0,"delta":{"con`, false) // cut: it can still be asked for elsewhere
	f(Chat, data(`{"choices":"of another type"}`), true)
	f(Chat, data(strings.Repeat("x", maxEvent)), true)
	f(Chat, data(delta(`"role":"assistant"`))+": ping\n\n"+data(delta(`"content":"a"`)), true)

	f(Completions, data(`{"choices":[{"index":0,"text":"","finish_reason":null}]}`), false)
	f(Completions, data(`{"choices":[{"index":0,"text":"a","finish_reason":null}]}`), true)
	f(Completions, data(`{"choices":[{"index":0,"text":"","finish_reason":"stop"}]}`), true)

	for _, kind := range []string{
		"response.created", "response.queued", "response.in_progress", "response.output_item.added", "response.content_part.added",
		"response.reasoning_part.added", "response.reasoning_summary_part.added",
	} {
		f(Responses, "event: "+kind+"\n"+data("{}"), false)
		f(Responses, data(`{"type":"`+kind+`"}`), false)
	}
	f(Responses, data("[DONE]"), false)
	f(Responses, "event: response.output_text.delta\ndata: {\"ty", false)
	for _, kind := range []string{
		"response.output_text.delta", "response.reasoning_text.delta", "response.reasoning_summary_text.delta", "response.refusal.delta",
		"response.function_call_arguments.delta", "response.output_item.done", "response.completed", "response.incomplete", "response.kind_of_2031",
	} {
		f(Responses, "event: "+kind+"\n"+data("{}"), true)
		f(Responses, data(`{"type":"`+kind+`"}`), true)
	}

	for _, kind := range []string{"message_start", "ping", "content_block_start"} {
		f(Messages, "event: "+kind+"\n"+data(`{"type":"`+kind+`"}`), false)
	}
	for _, kind := range []string{"content_block_delta", "content_block_stop", "message_delta", "message_stop", "kind_of_2031"} {
		f(Messages, "event: "+kind+"\n"+data(`{"type":"`+kind+`"}`), true)
	}
	f(Messages, ": ping\n\n", false)

	f(Other, ": ping\n\n", false)
	f(Other, data("x"), true)
}

// TestEnded guards that each dialect's own end mark ends a stream, and that no
// text that only speaks of it does.
func TestEnded(t *testing.T) {
	f := func(d Dialect, text string, want bool) {
		t.Helper()
		for _, size := range sizes {
			if got := follow(NewStream(d, false), data(delta(`"content":"a"`))+text, size).ended; got != want {
				t.Errorf("dialect %d, %q in pieces of %d: got ended %v, want %v", d, text, size, got, want)
			}
		}
	}
	for _, mark := range []string{"data: [DONE]\n\n", "data:[DONE]\n\n", "data: [DONE] \r\n\r\n", "data: [DONE]\n", "data: [DONE]", ": x\ndata: [DONE]\n\n", "event: done\ndata: [DONE]\n\n"} {
		f(Chat, mark, true)
		f(Completions, mark, true)
		f(Responses, mark, false)
		f(Messages, mark, false)
	}
	for _, text := range []string{
		"", ": [DONE]\n\n", "id: [DONE]\n\n", data(delta(`"content":"[DONE]"`)), data(finish(0, "stop")), data("[DONE]", "")[:10],
		data(`{"type":"response.completed"}`), data(`{"type":"message_stop"}`),
	} {
		f(Chat, text, false)
	}
	for _, kind := range []string{"response.completed", "response.incomplete", "response.failed"} {
		f(Responses, "event: "+kind+"\n"+data(`{"type":"`+kind+`"}`), true)
		f(Responses, data(`{"type":"`+kind+`","response":{}}`), true)
	}
	long := `{"type":"response.completed","response":{"output":"` + strings.Repeat("x", maxEvent) + `"}}`
	f(Responses, "event: response.completed\n"+data(long), true)
	f(Responses, "event: response.completed\ndata: {\"type\":\"response.completed\"}", true)
	f(Responses, "event: response.completed\ndata: {\"type\":\"response.comp", false)
	f(Messages, "event: message_stop\ndata: {\"ty", false)
	f(Responses, data(`{"type":"response.output_text.done","text":"response.completed"}`), false)
	f(Messages, "event: message_stop\n"+data(`{"type":"message_stop"}`), true)
	f(Messages, data(`{"type":"message_stop"}`), true)
	f(Messages, "event: message_delta\n"+data(`{"type":"message_delta","delta":{"stop_reason":"end_turn"}}`), false)
}

// TestFailed guards that an error event is seen in every form that servers send,
// before and after the model has begun, with the status of the first one.
func TestFailed(t *testing.T) {
	f := func(d Dialect, text string, want int) {
		t.Helper()
		for _, before := range []string{"", ": ping\n\n", data(delta(`"content":"a"`)), data(delta(`"content":"a"`), delta(`"content":"b"`))} {
			for _, several := range []bool{false, true} {
				for _, size := range sizes {
					if got := follow(NewStream(d, several), before+text, size); got.status != want || got.failed != (want != 0) {
						t.Errorf("dialect %d, %q in pieces of %d: got %+v, want status %d", d, before+text, size, got, want)
					}
				}
			}
		}
	}
	for _, d := range []Dialect{Chat, Completions} {
		f(d, data(`{"error":{"message":"no","type":"InternalServerError","code":500}}`), 500)
		f(d, data(`{"error":{"message":"no","code":"429"}}`), 429)
		f(d, data(`{"error" : "out of memory"}`), 500)
		f(d, data(`{"id":"x","error":{"code":502},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}`), 502)
		f(d, data(`{"object":"error","message":"no","code":400}`), 400)
		f(d, "event: error\n"+data(`{"message":"no","code":503}`), 503)
		f(d, "event: error\n"+data(`not JSON`), 500)
		f(d, `error: {"code":501,"message":"no"}`+"\n\n", 501)
		f(d, data(`{"error":{"code":503}}`, `{"error":{"code":400}}`), 503)
		f(d, data(`{"error":{"code":503}}`, "[DONE]"), 503)
		f(d, data("[DONE]", `{"error":{"code":503}}`), 503)
		f(d, `data: {"error":{"code":503}}`, 503)       // without its blank line
		f(d, "event: error\ndata: {\"error\":{\"co", 0) // cut: no client can read it either
		f(d, data(`{"error":{"code":503},"choices":"of another type"}`), 503)
		f(d, data(`{"error":null,"choices":[]}`), 0)
		f(d, data(`{"error":"","choices":[]}`, `{"error":false}`, `{"error":{}}`), 0) // OpenAI's client takes none for an error
		f(d, data(`{"choices":[],"Error":"of no server"}`), 0)
		f(d, ": error\n\n", 0)
		f(d, data(delta(`"content":"{\"error\":{\"code\":500}}"`)), 0)
		f(d, data(delta(`"error":"of a tool"`)), 0)
		f(d, data(`{"choices":[],"usage":{"error":1}}`), 0)
	}
	f(Responses, "event: error\n"+data(`{"type":"error","code":"rate_limit_exceeded","message":"no","param":null,"sequence_number":3}`), 429)
	f(Responses, data(`{"type":"error","error":{"type":"server_error","code":"server_error","message":"no"}}`), 500)
	f(Responses, data(`{"type":"response.failed","response":{"status":"failed","error":{"code":"rate_limit_exceeded","message":"no"}}}`), 429)
	f(Responses, data(`{"type":"response.failed","response":{"status":"failed","error":null}}`), 500)
	f(Responses, data(`{"type":"response.failed"}`), 500)
	f(Responses, data(`{"type":"response.output_text.delta","delta":"error"}`), 0)
	f(Messages, "event: error\n"+data(`{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`), 503)
	f(Messages, data(`{"type":"error","error":{"type":"api_error","message":"no"}}`), 500)
	f(Messages, data(`{"type":"content_block_delta","delta":{"text":"error"}}`), 0)
	f(Other, `error: {"code":503}`+"\n\n", 503)
	f(Other, data("error"), 0)
}

// TestSequence guards the number that an error event gets behind the events of a
// response: clients refuse one that goes back.
func TestSequence(t *testing.T) {
	s := NewStream(Responses, false)
	text := "event: response.created\n" + data(`{"type":"response.created","sequence_number":0}`) + ": ping\n\n"
	for i := range 20 {
		text += data(fmt.Sprintf(`{"type":"response.output_text.delta","delta":"a","sequence_number":%d}`, i+1))
	}
	if follow(s, text, 100); s.Sequence() != 21 {
		t.Errorf("after events 0 to 20: got %d, want 21", s.Sequence())
	}
}
