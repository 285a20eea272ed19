package openai

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

// usageChunk is an event that tells the counts and nothing else.
const usageChunk = `data: {"id":"c","object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}` + "\n\n"

// cut returns what a client gets of text in pieces of size bytes, or of random sizes if
// that is 0.
func cut(text string, size int, random *rand.Rand) string {
	var c Cutter
	var out []byte
	for rest := []byte(text); len(rest) > 0; {
		n := size
		if n == 0 {
			n = 1 + random.IntN(300)
		}
		piece := bytes.Clone(rest[:min(n, len(rest))])
		rest = rest[len(piece):]
		out = append(out, c.Cut(piece)...)
		clear(piece) // nothing of it may be kept
	}
	return string(append(out, c.Close()...))
}

// TestCutter guards that the chunk with the counts, its blank line and no other byte are
// taken out of a stream, in whatever pieces it comes.
func TestCutter(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	f := func(text, want string) {
		t.Helper()
		for _, size := range []int{0, 1, 2, 3, 7, 64, 4096, 1 << 20} {
			if got := cut(text, size, random); got != want {
				t.Errorf("%.300q in pieces of %d:\ngot  %.300q\nwant %.300q", text, size, got, want)
			}
		}
	}
	content := data(delta(`"content":"a"`), delta(`"content":"b"`)) + data(finish(0, "stop"))
	long := strings.Repeat("x", 3*maxUsageChunk)
	f("", "")
	f(content+usageChunk+data("[DONE]"), content+data("[DONE]"))
	f(content+data("[DONE]"), content+data("[DONE]"))
	f(content+usageChunk, content)
	f(content+usageChunk[:len(usageChunk)-1], content)
	f(content+usageChunk[:len(usageChunk)-2], content)
	f(content+usageChunk[:len(usageChunk)-3], content+usageChunk[:len(usageChunk)-3]) // no event at all
	f(usageChunk+content+usageChunk+usageChunk+content, content+content)

	// Line ends, spaces, comments and other fields, which belong to the event.
	for _, eol := range []string{"\r\n", "\r"} {
		lines := func(s string) string { return strings.ReplaceAll(s, "\n", eol) }
		f(lines(content+usageChunk+data("[DONE]")), lines(content+data("[DONE]")))
		f(lines(content+usageChunk), lines(content))
	}
	f("\r\n\n"+content+"\n\n"+usageChunk+"\n"+data("[DONE]"), "\r\n\n"+content+"\n\n"+"\n"+data("[DONE]"))
	f(content+": ping\n\n: ping\nid: 7\n"+usageChunk+": ping\n\n", content+": ping\n\n: ping\n\n")
	f(content+"data:{\"usage\" : { \"prompt_tokens\": 1 }, \"choices\" : [ ]}\n\ndata: [DONE]\n\n", content+data("[DONE]"))
	f(content+"data: {\"choices\":[],\ndata: \"usage\":{}}\n\n", content)

	// What only the last chunk has goes back to the finish, if that lacks it.
	counts := func(members string) string {
		return strings.Replace(usageChunk, "}\n", members+"}\n", 1)
	}
	last := func(members string) string {
		return data(strings.TrimSuffix(finish(0, "stop"), "}") + members + "}")
	}
	const print, times = `,"system_fingerprint":"vllm-0.24.0-tp4"`, `,"timings":{"prompt_n":1,"predicted_ms":2.50}`
	for _, eol := range []string{"\n", "\r\n"} {
		lines := func(s string) string { return strings.ReplaceAll(s, "\n", eol) }
		f(lines(content+counts(print)+data("[DONE]")), lines(content[:len(content)-len(last(""))]+last(print)+data("[DONE]")))
	}
	f(content+counts(times)+data("[DONE]"), content[:len(content)-len(last(""))]+last(times)+data("[DONE]"))
	f(last("")+counts(print+times), last(print+times))
	f(last("")+strings.TrimSuffix(counts(print), "\n\n"), last(print))
	f(last(print)+counts(`,"system_fingerprint":"x"`+times), last(print+times))
	f(last("")+counts(`,"metrics":{}`), last(""))
	f(last("")+data(delta(`"content":"a"`))+counts(print), last("")+data(delta(`"content":"a"`)))
	f(last("")+last("")+counts(print), last("")+last(print))
	f(last("")+`data: {"choices":[],"usage":null`+print+"}\n\n", last("")+`data: {"choices":[],"usage":null`+print+"}\n\n")
	f("data: {\"finish_reason\":\"stop\"\n\n"+counts(print), "data: {\"finish_reason\":\"stop\"\n\n")
	f(last("")+`data: {"choices":[{"delta":{"content":"`+long+`"}}]}`+"\n\n"+counts(print), last("")+`data: {"choices":[{"delta":{"content":"`+long+`"}}]}`+"\n\n")

	// What has choices, no usage or an error is not such a chunk.
	for _, event := range []string{
		`data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}`,
		`data: {"choices":[{"index":0,"delta":{"content":"\"choices\":[],\"usage\":{"}}]}`,
		`data: {"choices":[],"usage":null}`, `data: {"choices":[]}`, `data: {"usage":{"prompt_tokens":3}}`, `data: {"choices":null,"usage":{}}`,
		`data: {"choices":[],"x":{"usage":{}}}`, `data: {"choices":[],"usage":{},"error":{"message":"x"}}`, `data: {"choices":[],"usage":{}`,
		`error: {"choices":[],"usage":{}}`, "event: error\ndata: {\"choices\":[],\"usage\":{}}", `: {"choices":[],"usage":{}}`,
		`data: {"choices":[],"usage":{"text":"` + long + `"}}`, `data: {"choices":[{"delta":{"content":"` + long + `"}}],"usage":null}`,
		`data: {"choices":[{"delta":{"content":"` + long + `"}}],` + "\n" + `data: "usage":{}}`,
	} {
		f(content+event+"\n\n"+data("[DONE]"), content+event+"\n\n"+data("[DONE]"))
		f(event+"\r\n\r\n"+usageChunk+event+"\n", event+"\r\n\r\n"+event+"\n")
		f(event+"\n\n\n"+usageChunk+event, event+"\n\n\n"+event)
	}
}

// TestCutterKeepsNoTime guards that a client gets each event as soon as it is whole.
func TestCutterKeepsNoTime(t *testing.T) {
	events := data(delta(`"content":"a"`), delta(`"content":"b"`))
	for _, size := range []int{1, 5, 40, len(events)} {
		var c Cutter
		got := 0
		for at := 0; at < len(events); at += size {
			piece := events[at:min(at+size, len(events))]
			got += len(c.Cut([]byte(piece)))
			whole := strings.LastIndex(events[:at+len(piece)], "\n\n") + 2
			if got < whole && whole > 2 {
				t.Fatalf("in pieces of %d: client has %d bytes, want the %d that are whole events", size, got, whole)
			}
		}
		if got != len(events) {
			t.Errorf("in pieces of %d: client has %d bytes, want %d", size, got, len(events))
		}
	}
}

// FuzzCutter checks that pieces make no difference, and that nothing but whole events
// goes.
func FuzzCutter(f *testing.F) {
	f.Add(data(delta(`"content":"a"`))+usageChunk+data("[DONE]"), uint64(1))
	f.Add(strings.ReplaceAll(data(delta(`"content":"a"`))+usageChunk, "\n", "\r"), uint64(2))
	f.Add("\r\n\n\r"+usageChunk[:len(usageChunk)-1]+"\r\n\r", uint64(3))
	f.Fuzz(func(t *testing.T, text string, seed uint64) {
		whole := cut(text, len(text)+1, nil)
		if got := cut(text, 0, rand.New(rand.NewPCG(seed, 0))); got != whole {
			t.Fatalf("%q: got %q in pieces, %q whole", text, got, whole)
		}
		if got := cut(text, 1, nil); got != whole {
			t.Fatalf("%q: got %q by byte, %q whole", text, got, whole)
		}
		if !strings.Contains(text, `"usage"`) && whole != text {
			t.Fatalf("%q: got %q, want it unchanged", text, whole)
		}
	})
}

// TestPieces guards the estimate of a stream's tokens: one for each event with content,
// in whatever pieces they come.
func TestPieces(t *testing.T) {
	f := func(d Dialect, several bool, want int, text string) {
		t.Helper()
		for _, size := range sizes {
			s := NewStream(d, several)
			follow(s, text, size)
			if got := s.Pieces(); got != want {
				t.Errorf("several %v, %.200q in pieces of %d: got %d, want %d", several, text, size, got, want)
			}
			s.Free()
		}
	}
	role, word := data(delta(`"role":"assistant","content":""`)), data(delta(`"content":"a"`))
	end := data(finish(0, "stop"), "[DONE]")
	for _, several := range []bool{false, true} {
		f(Chat, several, 0, "")
		f(Chat, several, 0, role+end)
		f(Chat, several, 1, role+word+end)
		f(Chat, several, 50, role+strings.Repeat(word, 50)+end)
		f(Chat, several, 50, role+strings.Repeat(word, 50))
		f(Chat, several, 50, role+strings.Repeat(word, 50)+end[:len(end)-1])
		f(Chat, several, 50, role+strings.Repeat(word, 50)+end[:len(end)-2])
		f(Chat, several, 3, strings.ReplaceAll(role+strings.Repeat(word, 3)+end, "\n", "\r\n"))
		f(Chat, several, 3, role+data(delta(`"reasoning_content":"a"`), delta(`"reasoning":"a"`), delta(`"tool_calls":[{"index":0}]`))+end)
		f(Completions, several, 2, data(`{"choices":[{"index":0,"text":"a"}]}`, `{"choices":[{"index":0,"text":"b"}]}`, `{"choices":[{"index":0,"text":"","finish_reason":"stop"}]}`, "[DONE]"))
	}
	f(Chat, true, 4, role+strings.Repeat(data(delta(`"content":"a"`), strings.Replace(delta(`"content":"a"`), `"index":0`, `"index":1`, 1)), 2))
	f(Messages, false, 2, data(`{"type":"message_start"}`, `{"type":"content_block_start"}`, `{"type":"content_block_delta"}`, `{"type":"content_block_delta"}`, `{"type":"message_delta"}`))
	f(Responses, false, 1, data(`{"type":"response.created"}`, `{"type":"response.output_text.delta"}`, `{"type":"response.output_text.done"}`, `{"type":"response.completed"}`))
}

func BenchmarkCutter(b *testing.B) {
	event := []byte(data(`{"id":"chatcmpl-0123456789abcdef0123","object":"chat.completion.chunk","created":1700000000,"model":"some-model",` +
		`"choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}]}`))
	f := func(name string, piece []byte) {
		b.Run(name, func(b *testing.B) {
			var c Cutter
			b.ReportAllocs()
			b.SetBytes(int64(len(piece)))
			for b.Loop() {
				c.Cut(piece)
			}
		})
	}
	twenty := []byte(strings.Repeat(string(event), 20))
	null := bytes.ReplaceAll(twenty, []byte(`}]}`), []byte(`}],"usage":null}`))
	f("1 event", event)
	f("20 events", twenty)
	f("20 events, usage null", null)
	f("20 events, cut between their lines", append(twenty[len(event)/2:len(twenty):len(twenty)], event[:len(event)/2]...))
}
