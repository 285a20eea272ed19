package openai

import (
	"fmt"
	"strings"
	"testing"
)

// TestUsage guards that the counts of every transcript are found as its index has
// them, however the stream is cut, whether its events are read one by one or not, and
// in the last bytes of a plain answer.
func TestUsage(t *testing.T) {
	streams, bodies := 0, 0
	for _, e := range readTranscripts(t) {
		want := "none"
		switch u := e.Expected.Usage; {
		case e.Name == "t03_tgi_completion_prompts4":
			want = "3 10" // the server counts each choice apart, and this is the last
		case u != nil:
			want = fmt.Sprint(u.Prompt, u.Completion)
		}
		word := func(u Usage, found bool) string {
			if !found {
				return "none"
			}
			return fmt.Sprint(u.Prompt, u.Completion)
		}
		if !strings.HasPrefix(e.ContentType, "text/event-stream") {
			bodies++
			if got := word(FindUsage(e.body[max(0, len(e.body)-UsageTail):])); got != want {
				t.Errorf("%s: got %s, want %s", e.Name, got, want)
			}
			continue
		}
		streams++
		for _, several := range []bool{false, true} {
			for _, size := range []int{1, 100, len(e.body)} {
				s := NewStream(dialects[e.API], several)
				for rest := e.body; len(rest) > 0; {
					n := min(size, len(rest))
					s.Write(rest[:n])
					rest = rest[n:]
				}
				s.Close()
				if got := word(s.Usage()); got != want {
					t.Errorf("%s, several %v, pieces of %d: got %s, want %s", e.Name, several, size, got, want)
				}
				s.Free()
			}
		}
	}
	t.Logf("%d streams, %d plain answers", streams, bodies)
}

// TestFindUsage guards that only the answer's own counts are taken for them.
func TestFindUsage(t *testing.T) {
	f := func(tail, want string) {
		t.Helper()
		got := "none"
		if u, found := FindUsage([]byte(tail)); found {
			got = fmt.Sprint(u.Prompt, u.Completion)
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", tail, got, want)
		}
	}
	f(`{"usage":{"prompt_tokens":1,"completion_tokens":2}}`, "1 2")
	f(`ut in two"}],"usage": {"input_tokens":1,"output_tokens":2,"more":{"x":[1]}}, "tier":"}" , "m":{} }`+"\n", "1 2")
	f(`{"usage" : {"prompt_tokens":3}}`, "3 0")
	f(`{"usage":null}`, "none")
	f(`{"usage":{}}`, "none")
	f(`{"usage":{"prompt_tokens":"3"}}`, "none")
	f(`{"usage":{"prompt_tokens":3}`, "none")
	f(`{"usage":{"prompt_tokens":3`, "none")
	f(`{"usage"`, "none")
	f(`{"x":{"usage":{"prompt_tokens":9}}}`, "none")
	f(`{"x":[{"usage":{"prompt_tokens":9}}],"usage":{"prompt_tokens":1}}`, "1 0")
	f(`{"usage":{"prompt_tokens":1},"x":[{"usage":{"prompt_tokens":9}}]}`, "1 0")
	f(`{"text":"{\"usage\":{\"prompt_tokens\":9}}"}`, "none")
	f(`{"\"usage":{"prompt_tokens":9}}`, "none")
	f(`{"text":"usage","x":{"prompt_tokens":9}}`, "none")
}

// TestFindUsageAllocates guards that members that are no counts cost nothing: it runs in
// the request's goroutine.
func TestFindUsageAllocates(t *testing.T) {
	tail := []byte(`"}}],"usage":{"prompt_tokens":11,"prompt_tokens_details":{"cached_tokens":3},"completion_tokens":5,"details":null,"note":"x"}}`)
	var u Usage
	if got := testing.AllocsPerRun(100, func() { u, _ = FindUsage(tail) }); got != 0 || u != (Usage{11, 5, 16}) {
		t.Errorf("got %v allocations and %v, want none and 11, 5, 16", got, u)
	}
}
