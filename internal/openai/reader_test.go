package openai

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/sse"
)

// describe writes an answer on one line, with what is not empty of it.
func describe(a Answer) string {
	var b strings.Builder
	fmt.Fprintf(&b, "id=%s model=%s", a.ID, a.Model)
	for _, c := range a.Choices {
		fmt.Fprintf(&b, " [%d %s", c.Index, c.Role)
		for _, member := range []struct{ name, text string }{
			{"content", c.Content}, {"reasoning", c.Reasoning}, {"refusal", c.Refusal}, {"finish", c.Finish},
		} {
			if member.text != "" {
				fmt.Fprintf(&b, " %s=%q", member.name, member.text)
			}
		}
		calls := c.Calls
		if c.FunctionCall != nil {
			calls = append(calls, *c.FunctionCall)
		}
		for _, call := range calls {
			fmt.Fprintf(&b, " call(%s %s %s)", call.ID, call.Name, call.Arguments)
		}
		for _, e := range c.Extras {
			fmt.Fprintf(&b, " %s=%s", e.Name, e.JSON)
		}
		b.WriteString("]")
	}
	if a.Usage != nil {
		fmt.Fprintf(&b, " usage=%v", *a.Usage)
	}
	if a.Err != nil {
		fmt.Fprintf(&b, " err=%v", *a.Err)
	}
	for _, mark := range []struct {
		set  bool
		name string
	}{{a.Done, "done"}, {a.Ended, "ended"}, {a.Cut, "cut"}, {a.Garbled > 0, "garbled"}, {a.TooLarge, "too large"}} {
		if mark.set {
			b.WriteString(" " + mark.name)
		}
	}
	return strings.TrimSpace(strings.TrimPrefix(b.String(), "id= model="))
}

// TestReader holds what no transcript shows, one rule a row. A chat stream is given
// as its deltas.
func TestReader(t *testing.T) {
	stream := func(d Dialect, events ...string) string {
		var b strings.Builder
		for _, e := range events {
			if d == Chat && strings.HasPrefix(e, "{") && !strings.Contains(e, `"choices"`) && !strings.HasPrefix(e, `{"error"`) {
				e = `{"choices":[{"delta":` + e + `}]}`
			}
			if !strings.Contains(e, "data:") {
				e = "data: " + e
			}
			b.WriteString(e + "\n\n")
		}
		return b.String()
	}
	f := func(d Dialect, name, want string, events ...string) {
		t.Helper()
		body := []byte(stream(d, events...))
		for _, size := range []int{0, 1} {
			if got := describe(readStream(d, body, size)); got != want {
				t.Errorf("%s: got %s, want %s", name, got, want)
			}
		}
	}
	chat := func(name, want string, events ...string) { t.Helper(); f(Chat, name, want, events...) }
	chat("null adds nothing", `[0 assistant content="a"]`, `{"content":"a"}`, `{"content":null}`)
	chat("no delta", ``, `{"choices":null}`, `{"choices":[]}`, `{"choices":{}}`)
	chat("delta null", `[0 assistant finish="stop"] done`, `{"choices":[{"delta":null,"finish_reason":"stop"}]}`, `{"choices":[{"finish_reason":null}]}`, "[DONE]")
	chat("finish is not undone", `[0 assistant content="a" finish="stop"]`, `{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}`,
		`{"choices":[{"delta":{},"finish_reason":""}]}`)
	chat("first error wins", `[0 assistant content="a"] err={x  400} done`, `{"content":"a"}`, `{"error":{"message":"x","code":400}}`, `{"error":"y"}`, "[DONE]")
	chat("error as text", `err={x  }`, `{"error":"x"}`)
	chat("error null", `[0 assistant content="a"]`, `{"error":null,"choices":[{"delta":{"content":"a"}}]}`)
	chat("error field", `err={x  500}`, "error:{\"message\":\"x\",\"code\":500}\ndata:")
	chat("error event", `err={x  }`, "event: error\ndata: {\"error\":{\"message\":\"x\"}}")
	chat("older vLLM", `err={x BadRequestError 400}`, `{"object":"error","message":"x","type":"BadRequestError","code":400,"choices":null}`)
	chat("behind the end", `[0 assistant content="a"] done`, `{"content":"a"}`, " [DONE] ", `{"content":"b"}`)
	chat("garbled", `[0 assistant content="ab"] garbled`, `{"content":"a"}`, "{{", `{"content":"b"}`)
	chat("one line feed", `[0 assistant content="ab"] done`, "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\ndata: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\ndata: [DONE]")
	chat("two names", `[0 assistant reasoning="ab"]`, `{"reasoning":"a","reasoning_content":"a"}`, `{"reasoning":"b","reasoning_content":""}`)
	chat("details beside", `[0 assistant reasoning="a"]`, `{"reasoning":"a","reasoning_details":[{"text":"a"}]}`)
	chat("details alone", `[0 assistant reasoning="ab"]`, `{"reasoning":"","reasoning_details":[{"text":"a"},{"data":"x"},{"summary":"b"}]}`)
	chat("content array", `[0 assistant content="b" reasoning="a"]`, `{"content":[{"type":"thinking","thinking":[{"type":"text","text":"a"}]},{"type":"text","text":"b"}]}`)
	chat("refusal", `[0 assistant refusal="no."]`, `{"refusal":"no"}`, `{"refusal":"."}`)
	chat("same index, other id", `[0 assistant call(a f {}) call(b g {"x":1})]`,
		`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]}`,
		`{"tool_calls":[{"index":0,"id":"b","function":{"name":"g","arguments":"{\"x\":"}}]}`,
		`{"tool_calls":[{"index":0,"id":"","function":{"arguments":"1}"}}]}`)
	chat("sorted by index", `[0 assistant call(b g {}) call(a f {})]`,
		`{"tool_calls":[{"index":1,"id":"a","function":{"name":"f"}}]}`, `{"tool_calls":[{"index":0,"id":"b","function":{"name":"g"}}]}`)
	chat("no index", `[0 assistant call(a f {"x":1}) call(b g {})]`,
		`{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{\"x\":"}},{"id":"b","function":{"name":"g"}}]}`,
		`{"tool_calls":[{"id":"a","function":{"name":"","arguments":"1}"}}]}`)
	chat("neither index nor id", `[0 assistant call( f 12) call( g {})]`, `{"tool_calls":[{"function":{"name":"f","arguments":"1"}}]}`,
		`{"tool_calls":[{"function":{"name":"f","arguments":"2"}}]}`, `{"tool_calls":[{"function":{"name":"g"}}]}`)
	chat("name in pieces", `[0 assistant call(a get_x {})]`, `{"tool_calls":[{"index":0,"id":"a","function":{"name":"get_"}}]}`, `{"tool_calls":[{"index":0,"function":{"name":"x"}}]}`)
	chat("arguments as object", `[0 assistant call(a f {"x":9007199254740993})]`, `{"tool_calls":[{"id":"a","function":{"name":"f","arguments":{"x": 9007199254740993}}}]}`)
	chat("function call", `[0 assistant call( f {"x":1})]`, `{"function_call":{"name":"f","arguments":"{\"x\""}}`, `{"function_call":{"arguments":":1}"}}`)
	chat("extras", `[0 assistant content="ab" logprobs.content=[1, 2,3] citations=["u"] annotations=[{}]]`,
		`{"choices":[{"delta":{"content":"a"},"logprobs":{"content":[1, 2],"refusal":null}}],"citations":["t"]}`,
		`{"choices":[{"delta":{"content":"b","annotations":[{}]},"logprobs":{"content":[ 3 ]}}],"citations":["u"]}`)
	chat("last usage", `usage={1 5 6}`, `{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`,
		`{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":5}}`, `{"choices":[],"usage":null}`)
	f(Completions, "completions", `[0 assistant content="ab" finish="stop"] [1 assistant content="c"]`,
		`{"choices":[{"index":0,"text":"a","finish_reason":""}]}`, `{"choices":[{"index":1,"text":"c"}]}`, `{"choices":[{"index":0,"text":"b","finish_reason":"eos_token"}]}`)
	f(Responses, "rebuilt from deltas", `id=r model=m [0 assistant content="ab" reasoning="t" call(c f {"x":1})]`,
		`{"type":"response.created","response":{"id":"r","model":"m"}}`,
		`{"type":"response.output_item.added","output_index":0,"item":{"type":"reasoning"}}`,
		`{"type":"response.reasoning_text.delta","output_index":0,"content_index":0,"delta":"t"}`,
		`{"type":"response.output_item.added","output_index":1,"item":{"type":"message","content":[]}}`,
		`{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"a"}`,
		`{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"b"}`,
		`{"type":"response.output_item.added","output_index":2,"item":{"type":"function_call","call_id":"c","name":"f","arguments":""}}`,
		`{"type":"response.function_call_arguments.delta","output_index":2,"delta":"{\"x\":1}"}`)
	f(Responses, "rebuilt from done items", `[0 assistant content="ab" finish="length"] usage={1 2 3} ended`,
		`{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"a"}`,
		`{"type":"response.output_item.done","output_index":0,"item":{"type":"message","content":[{"type":"output_text","text":"ab"}]}}`,
		`{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[],"usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}}`)
	f(Responses, "failed", `[0 assistant finish="error"] err={x  server_error} ended`, `{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"x"}}}`)
	f(Responses, "other items and summaries", "[0 assistant content=\"a\" reasoning=\"s\\n\\nt\" finish=\"stop\" items=[{\"type\":\"web_search_call\"}]] ended",
		`{"type":"response.completed","response":{"output":[{"type":"web_search_call"},{"type":"reasoning","summary":[{"text":"s"},{"text":"t"}]},{"type":"message","content":[{"type":"output_text","text":"a"}]}]}}`)
	f(Messages, "blocks", `[0 assistant content="ab" reasoning="t" finish="tool_calls" call(i f {"x":1}) blocks=[{"type":"server_tool_use","id":"s","name":"web_search","arguments":"{\"q\":1}"}]] usage={9 7 16} ended`,
		`{"type":"message_start","message":{"usage":{"input_tokens":4,"cache_read_input_tokens":5,"output_tokens":1}}}`,
		`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"t"}}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"x"}}`,
		`{"type":"content_block_start","index":1,"content_block":{"type":"text","text":"a"}}`,
		`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"b"}}`,
		`{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"i","name":"f","input":{}}}`,
		`{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"x\":1}"}}`,
		`{"type":"content_block_start","index":3,"content_block":{"type":"server_tool_use","id":"s","name":"web_search","input":{"q":1}}}`,
		`{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":7}}`, `{"type":"message_stop"}`)
	f(Messages, "error", `[0 assistant] err={x overloaded_error }`, `{"type":"message_start","message":{}}`, `{"type":"error","error":{"type":"overloaded_error","message":"x"}}`)
	f(Other, "other", ``, `{"choices":[{"delta":{"content":"a"}}]}`)
}

// TestReaderEnds tells an event that only lacks its blank line from one that is
// cut.
func TestReaderEnds(t *testing.T) {
	f := func(body, want string) {
		t.Helper()
		if got := describe(readStream(Chat, []byte(body), 0)); got != want {
			t.Errorf("reading %q: got %s, want %s", body, got, want)
		}
	}
	f("", "")
	f(`data: {"choices":[{"delta":{"content":"a"}}]}`, `[0 assistant content="a"]`)
	f(`data: {"choices":[{"delta":{"content":"a"}`, `cut`)
	f("data: [DONE]", `done`)
	f("data: [DO", `cut`)
}

func TestReadBody(t *testing.T) {
	f := func(d Dialect, body, want string) {
		t.Helper()
		if got := describe(ReadBody(d, []byte(body), 1<<10)); got != want {
			t.Errorf("ReadBody(%q): got %s, want %s", body, got, want)
		}
	}
	f(Chat, "\n\n {\"choices\":[{\"message\":{\"content\":\"a\"}}]}\n", `[0 assistant content="a"] ended`)
	f(Chat, `{"choices":[{"message":{"content":`, "cut")
	f(Chat, "", "cut")
	f(Chat, "[]", "cut")
	f(Chat, "<html>", "cut")
	f(Chat, strings.Repeat(" ", 2000)+`{"choices":[]}`, "ended")
	f(Chat, `{"x":"`+strings.Repeat("x", 2000)+`"}`, "too large")
	f(Chat, `{"error":{"message":"x"}}`, "err={x  } ended")
	f(Chat, `{"choices":[{"message":{"tool_calls":[{"id":"","function":{"name":"f","arguments":"1"}},{"id":"","function":{"name":"f","arguments":"2"}}]}}]}`,
		`[0 assistant call( f 1) call( f 2)] ended`)
	f(Messages, `{"type":"error","error":{"type":"t","message":"x"}}`, "err={x t } ended")
	f(Responses, `{"status":"in_progress","output":[]}`, `[0 assistant finish="in_progress"]`)
	f(Other, `{}`, "")
}

// TestReaderLimit checks that an answer beyond the limit is marked, whatever part
// of it grows.
func TestReaderLimit(t *testing.T) {
	f := func(d Dialect, event string) {
		t.Helper()
		r := NewReader(d, 4<<10)
		for range 2000 {
			r.Write([]byte("data: " + event + "\n\n"))
		}
		r.Close()
		if a := r.Answer(); !a.TooLarge || r.building.size > 8<<10 {
			t.Errorf("2000 times %s: too large %v, %d bytes kept; want true, 8 KiB at most", event, a.TooLarge, r.building.size)
		}
	}
	f(Chat, `{"choices":[{"delta":{"content":"abc"}}]}`)
	f(Chat, `{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"abc"}}]}}]}`)
	f(Chat, `{"choices":[{"delta":{},"logprobs":{"content":[1]}}]}`)
	f(Chat, `{"choices":[{"delta":{"content":"`+strings.Repeat("x", 5000)+`"}}]}`)
	f(Messages, `{"type":"content_block_start","content_block":{"type":"tool_use","name":"f","input":{"a":1}}}`)
	f(Responses, `{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"abc"}`)
}

// seeds adds a stream of each dialect.
func seeds(f *testing.F) {
	f.Add(uint8(Chat), uint8(3), []byte("data: {\"id\":\"i\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"id\":\"i\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"b\\n\"}}]}\n\ndata: [DONE]\n\n"))
	f.Add(uint8(Chat), uint8(7), []byte("data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}}]}\r\n\r\nevent: error\r\ndata: {\"error\":{}}\r\n"))
	f.Add(uint8(Completions), uint8(1), []byte("data: {\"choices\":[{\"text\":\"a\",\"index\":1,\"logprobs\":{\"tokens\":[\"a\"]}}]}\ndata: [DONE]\n"))
	f.Add(uint8(Responses), uint8(5), []byte("data: {\"type\":\"response.output_item.added\",\"output_index\":1,\"item\":{\"type\":\"function_call\"}}\n\ndata: {\"type\":\"response.function_call_arguments.delta\",\"output_index\":1,\"delta\":\"x\"}\n\n"))
	f.Add(uint8(Messages), uint8(9), []byte("data: {\"type\":\"message_start\",\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"a\"}]}}\n\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"server_tool_use\"}}\n\n"))
}

// FuzzReader: any division of a stream into pieces gives the same answer, the
// pattern changes nothing, and what is kept is bounded.
func FuzzReader(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, dialect, size uint8, body []byte) {
		d := Dialect(dialect % 5)
		want := readStream(d, body, 0)
		if got := readStream(d, body, int(size)+1); !reflect.DeepEqual(got, want) {
			t.Fatalf("in pieces of %d: got %s, want %s", size+1, describe(got), describe(want))
		}
		if got := readFully(d, body); !reflect.DeepEqual(got, want) {
			t.Fatalf("without the pattern: got %s, want %s", describe(got), describe(want))
		}
		ReadBody(d, body, 1<<10)
		r := NewReader(d, 64)
		r.Write(body)
		r.Close()
		r.Answer()
		if r.building.size > 64*4 {
			t.Fatalf("limit of 64: %d bytes kept", r.building.size)
		}
	})
}

// readFully reads a stream without the pattern.
func readFully(d Dialect, body []byte) Answer {
	r := NewReader(d, limit)
	r.yield = func(e sse.Event) {
		r.pattern.text = nil
		r.event(e)
	}
	r.Write(body)
	r.Close()
	return r.Answer()
}

// FuzzPattern: a stream of chunks that differ in a piece gives the same answer
// with the pattern and without.
func FuzzPattern(f *testing.F) {
	f.Add(`{"id":"i","choices":[{"index":0,"delta":{"content":"%"},"finish_reason":null}]}`, `a|b\n|\u00e9|\ud83d\ude00|"|x\|\\||`+"\xff")
	f.Add(`{"choices":[{"delta":{"role":"assistant","content":null,"reasoning_content":"%"}}],"usage":{"prompt_tokens":1}}`, `a|b|","content":"c|d`)
	f.Add(`{"choices":[{"delta":{"reasoning":"%","reasoning_content":"%"}}]}`, `a|b`)
	f.Add(`{"choices":[{"delta":{"content":"%","reasoning":"x"}}]}`, `a|b`)
	f.Add(`{"choices":[{"delta":{"content":"%"},"logprobs":{"content":[1]}}]}`, `a|b`)
	f.Add(`{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"%","function":{"arguments":"%"}}]}}]}`, `a|a|a|b|`)
	f.Add(`{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"%","arguments":"x"}},{"id":"i","function":{"arguments":"%"}}]}}]}`, `a|a|b|`)
	f.Add(`{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"%"}}],"function_call":{"arguments":"%"}}}]}`, `a|b`)
	f.Add(`{"choices":[{"delta":{"tool_calls":[{"id":"i","type":"function","function":{"arguments":"%","name":null}}],"content":null}}]}`, `{|\"a\"|:1}|{}`)
	f.Add(`{"choices":[{"text":"%","index":%}]}`, `1|2|2`)
	f.Add(`{"choices":[{"delta":{"content":"%"},"finish_reason":"%"}]}`, `a||b|b`)
	f.Add(`{"choices":[{"delta":{"content":"%"}},{"index":1,"delta":{"content":"x"}}]}`, `a|b`)
	f.Add(`{"choices":[{"delta":{"content":"x","content":"%"},"delta":{"content":"%"}}]}`, `a|b`)
	f.Add(`{"choices":[{"delta":{"content":"%","tool_calls":[{"index":0,"function":{"arguments":"y"}}]}}]}`, `a|b`)
	f.Add(`{"created":%,"choices":[{"delta":{"content":"%"}}],"ns":%}`, `10|11|21|09|1|0`)
	f.Add(`{"choices":[{"delta":{"content":"%"}}],"usage":%}`, `1|2|3`)
	f.Add(`{"choices":[{"delta":{"content":"%"}}],"x":[1],"model":"%","error":%}`, `1|2|3`)
	f.Fuzz(func(t *testing.T, template, words string) {
		var b bytes.Buffer
		for word := range strings.SplitSeq(words, "|") {
			b.WriteString("data: " + strings.ReplaceAll(template, "%", word) + "\n\n")
		}
		for _, d := range []Dialect{Chat, Completions} {
			got, want := readStream(d, b.Bytes(), 0), readFully(d, b.Bytes())
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("got %s, want %s", describe(got), describe(want))
			}
		}
	})
}

// TestPatternOfTimes checks that chunks have a pattern whose times go on, before and
// behind what they say.
func TestPatternOfTimes(t *testing.T) {
	r := NewReader(Chat, limit)
	var first string
	for n := range 20 {
		fmt.Fprintf(writer(r.Write), "data: {\"created\":%d,\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}],\"ns\":%d,\"gap\":1.%d}\n\n", 100+n, 18+n, n%10)
		if n == 0 {
			first = string(r.pattern.after)
		}
		if got := string(r.pattern.after); got != first {
			t.Errorf("chunk %d has been read in full: got the pattern %q, want %q", n, got, first)
		}
	}
	r.Close()
	if got := r.Answer(); got.Choices[0].Content != strings.Repeat("a", 20) {
		t.Errorf("got %s", describe(got))
	}
}

// writer makes a function an io.Writer.
type writer func([]byte)

func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

// TestPatternIsOfTheLast checks that a pattern ends with the chunk that does not
// fit it: what the chunks of the pattern set would else not be set again.
func TestPatternIsOfTheLast(t *testing.T) {
	chunk := func(delta string, usage int) string {
		return fmt.Sprintf("data: {\"choices\":[{\"delta\":{%s}}],\"usage\":{\"prompt_tokens\":%d}}\n\n", delta, usage)
	}
	body := []byte(chunk(`"content":"a"`, 1) + chunk(`"refusal":"b"`, 2) + chunk(`"content":"c"`, 1))
	const want = `[0 assistant content="ac" refusal="b"] usage={1 0 1}`
	if got := describe(readStream(Chat, body, 0)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestPatternOfCalls checks that a chunk has no pattern if its second piece
// changes the call to which the first would belong next time.
func TestPatternOfCalls(t *testing.T) {
	chunk := func(calls string) string {
		return `data: {"choices":[{"delta":{"tool_calls":[` + calls + "]}}]}\n\n"
	}
	again := chunk(`{"index":0,"function":{"arguments":"1"}},{"index":0,"id":"b"}`)
	body := []byte(chunk(`{"index":0,"id":"a"}`) + again + again)
	const want = `[0 assistant call(a  1) call(b  1)]`
	if got := describe(readStream(Chat, body, 0)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// burst is an answer of n chunks as vLLM sends them.
func burst(n int) []byte {
	var b bytes.Buffer
	chunk := func(delta, rest string) {
		fmt.Fprintf(&b, `data: {"id":"chatcmpl-5b2f0e3c8a","object":"chat.completion.chunk","created":1741145650,"model":"deepseek-r1","choices":[{"index":0,"delta":{%s},"logprobs":null,"finish_reason":%s}]}`+"\n\n", delta, rest)
	}
	chunk(`"role":"assistant","content":""`, "null")
	for i := range n - 4 {
		chunk(fmt.Sprintf(`"content":" word%d"`, i), "null")
	}
	chunk(`"content":""`, `"stop"`)
	b.WriteString(`data: {"id":"chatcmpl-5b2f0e3c8a","object":"chat.completion.chunk","created":1741145650,"model":"deepseek-r1","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":196,"total_tokens":205}}` + "\n\ndata: [DONE]\n\n")
	return b.Bytes()
}

// BenchmarkReader reads a burst of 200 chunks, with the pattern and without.
func BenchmarkReader(b *testing.B) {
	body := burst(200)
	run := func(name string, read func(Dialect, []byte) Answer) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if a := read(Chat, body); !a.Done {
					b.Fatal("got an answer without its end")
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/200, "ns/chunk")
		})
	}
	run("pattern", func(d Dialect, body []byte) Answer { return readStream(d, body, 0) })
	run("pieces", func(d Dialect, body []byte) Answer { return readStream(d, body, 4096) })
	run("full", readFully)
}
