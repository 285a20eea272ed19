package openai

import (
	"bytes"
	"runtime"
	"strings"
	"testing"
)

// fragments are what FuzzStream builds streams from: byte 0x80+i of its script
// stands for fragments[i], bytes below for themselves.
var fragments = []string{
	"data: ", "data:", "event: error\n", "event: x\n", ": ping\n", "id: 1\n", "error: ", "\n\n", "\r\n\r\n", "\r\r", "\n", "\r", "\xef\xbb\xbf",
	"[DONE]", "data: [DONE]\n\n", "null", "stop", "error", "finish_reason", `"error":{"code":503},`, `"object":"error",`, `{"error":{"type":"x","code":"429"}}`,
	`data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}` + "\n\n",
	`data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}` + "\n\n",
	`data: {"choices":[{"index":0,"delta":{"content":"error"},"finish_reason":null}]}` + "\n\n",
	`data: {"choices":[{"index":0,"delta":{"content":"` + strings.Repeat("long ", 100) + `"},"finish_reason":null}]}` + "\n\n",
	`data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n",
	`data: {"choices": [{"index": 0, "text": "a", "finish_reason": "length"}]}` + "\n\n",
	`data: {"choices":[],"usage":{"total_tokens":1}}` + "\n\n",
	`{"choices":[{"index":0,`, `"delta":{"content":"a"},`, `"finish_reason":null}]}`, `"finish_reason":"stop"}]}`, `"finish_reason":`, `"text":"a",`, `"index":0,`,
	"event: response.created\ndata: {}\n\n", `data: {"type":"response.output_text.delta"}` + "\n\n", `data: {"type":"response.completed"}` + "\n\n",
	`data: {"type":"response.failed","response":{"error":{"code":"server_error"}}}` + "\n\n",
	"event: message_start\ndata: {}\n\n", `data: {"type":"content_block_delta"}` + "\n\n", "event: message_stop\ndata: {}\n\n",
	strings.Repeat(": ping\n\n", 50),
}

func stream(script []byte) string {
	var b strings.Builder
	for _, c := range script {
		if i := int(c) - 0x80; i >= 0 && i < len(fragments) {
			b.WriteString(fragments[i])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// script names fragments by their numbers.
func script(numbers ...byte) []byte {
	for i := range numbers {
		numbers[i] += 0x80
	}
	return numbers
}

// FuzzStream checks that any division of a stream into pieces leads to the same
// judgement as byte by byte, and that searching instead of decoding does.
func FuzzStream(f *testing.F) {
	f.Add(script(22, 23, 23, 26, 28, 14), []byte{3, 200}, byte(Chat))
	f.Add(script(22, 23, 25, 24, 26, 43), []byte{255, 1}, byte(Chat))
	f.Add(script(23, 0, 29, 30, 10, 0, 32, 7, 43, 7), []byte{255}, byte(Chat))
	f.Add(script(23, 23, 2, 0, 21, 7), []byte{255, 255, 9}, byte(Completions))
	f.Add(script(12, 27, 27, 8, 0, 29, 34, 19, 31, 9), []byte{77}, byte(Completions))
	f.Add(script(36, 37, 37, 39), []byte{20}, byte(Responses))
	f.Add(script(36, 37, 38, 14), []byte{20}, byte(Responses))
	f.Add(script(40, 41, 41, 42), []byte{20}, byte(Messages))
	f.Add(script(23, 12, 6, 10), []byte{255}, byte(Chat))
	f.Add([]byte("data: x\r\n\r\nerror: {\"code\":\r\r"), []byte{1, 2, 3}, byte(Other))
	f.Fuzz(func(t *testing.T, script, cuts []byte, dialect byte) {
		text, d := stream(script), Dialect(dialect%5)
		if len(text) > keptTail || oddMark(text) {
			divided(t, NewStream(d, false), text, cuts)
			return // what is far from the end need not be seen
		}
		one := NewStream(d, false)
		want := follow(one, text, 1)
		for _, size := range []int{eachEvent, firstEvent} {
			if got := follow(NewStream(d, false), text, size); got != want {
				t.Errorf("dialect %d, %q in pieces of %d: got %+v, byte by byte %+v", d, text, size, got, want)
			}
		}
		if got := divided(t, NewStream(d, false), text, cuts); got != want {
			t.Errorf("dialect %d, %q cut by %v: got %+v, byte by byte %+v", d, text, cuts, got, want)
		}
		reference := NewStream(d, true)
		decoded := follow(reference, text, len(text)+1)
		if len(reference.choices) > 1 || oddNames(text) {
			return
		}
		if want != decoded {
			t.Errorf("dialect %d, %q: got %+v, with every event decoded %+v", d, text, want, decoded)
		}
		if d == Responses && one.Sequence() != reference.Sequence() {
			t.Errorf("%q: got sequence %d, with every event decoded %d", text, one.Sequence(), reference.Sequence())
		}
	})
}

// oddMark reports whether text has an end mark that is no event of its own, which
// is taken for one all the same.
func oddMark(text string) bool {
	return strings.Contains(strings.ReplaceAll(text, data(string(endMark)), ""), string(endMark))
}

// oddNames reports whether text may spell a member's name other than encoders do,
// which decoding accepts and searching does not.
func oddNames(text string) bool {
	const name = "finish_reason"
	return strings.Contains(text, `\u`) || strings.Contains(text, "ſ") ||
		strings.Count(strings.ToLower(text), name) != strings.Count(text, name)
}

// divided is follow with pieces of the sizes that cuts name, in turn. What s says
// must never be taken back.
func divided(t *testing.T, s *Stream, text string, cuts []byte) state {
	var begun, ended bool
	for i, rest := 0, []byte(text); len(rest) > 0; i++ {
		n := len(rest)
		if len(cuts) > 0 {
			n = min(n, int(cuts[i%len(cuts)])*17+1)
		}
		piece := bytes.Clone(rest[:n])
		s.Write(piece)
		clear(piece)
		rest = rest[n:]
		if begun && !s.Begun() || ended && !s.Ended() {
			t.Fatalf("%q cut by %v: got begun %v and ended %v after %v and %v", text, cuts, s.Begun(), s.Ended(), begun, ended)
		}
		begun, ended = s.Begun(), s.Ended()
	}
	s.Close()
	return s.state()
}

// TestStreamMemory guards that no stream makes its follower grow, whatever never
// ends in it: a line, an event, or the number of choices.
func TestStreamMemory(t *testing.T) {
	const amount = 8 << 20
	filler := strings.Repeat("x", 1<<10)
	for name, piece := range map[string]string{
		"line":         filler,
		"data lines":   "data: " + filler + "\n",
		"comments":     ": " + filler + "\n",
		"event lines":  "event: " + filler + "\n",
		"long events":  data(delta(`"content":"` + filler + filler + `"`)),
		"high choices": data(`{"choices":[{"index":4095},{"index":4096},{"index":2147483647,"finish_reason":"` + filler + `"}]}`),
	} {
		for _, several := range []bool{false, true} {
			s := NewStream(Chat, several)
			s.Write([]byte(data(delta(`"content":"a"`))))
			before := heap()
			for range amount / len(piece) {
				s.Write([]byte(piece))
			}
			if grown := heap() - before; grown > 4*maxEvent {
				t.Errorf("%s, several %v: got %d bytes more after %d bytes, want %d at most", name, several, grown, amount, 4*maxEvent)
			}
			s.Close()
		}
	}
}

// heap returns the bytes in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
