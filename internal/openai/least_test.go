package openai

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLeastTokens guards what counts as a token in the requests of all dialects, and what
// does not.
func TestLeastTokens(t *testing.T) {
	f := func(body string, want int) {
		t.Helper()
		if got := LeastTokens([]byte(body)); got != want {
			t.Errorf("%.300s: got %d, want %d", body, got, want)
		}
	}
	says := func(text string) string {
		return `{"model":"a b c","messages":[{"role":"user","content":"` + text + `"}]}`
	}

	f(says(``), 0)
	f(says(`one two three`), 3)
	f(says(` one  two\n\tthree\r\n `), 3)
	f(says(`one two\u000athree`), 2) // escapes by number are no white space here
	f(says(`{\n//\n}`), 0)
	f(says(`don't a-b_c/d`), 2)
	f(says(`\"a\\n b\"`), 2)
	f(says(`a\\`), 1)
	f(says(strings.Repeat(" ", 10_000)+"x"), 1)
	f(says(strings.Repeat("=", 10_000)), 0)
	f(says(strings.Repeat("a", 10_000)), 1)
	f(says("\u00a0 \u3000 \u2003 \u200b"), 0) // white space, zero width and not
	f(says("привет мир"), 2)
	f(says("안녕 세상"), 2)
	f(says(strings.Repeat("我们要", 160)), 30)
	f(says(strings.Repeat(`\u6211\u4eec`, 160)), 10) // of these two it knows one
	f(says("<think>a b c</think>d e"), 2)
	f(says(`\u003cthink\u003ea b c\u003c/think\u003e d e`), 2)

	f(`{"messages":[{"role":"system","content":"a b"},{"role":"user","content":[{"type":"text","text":"c d e"},{"type":"image_url","image_url":{"url":"data:x y z"}}]},
		{"role":"assistant","content":null,"reasoning_content":"not in the prompt","tool_calls":[{"function":{"arguments":"{\"a\": 1}"}}]},{"role":"tool","content":"f"}],
		"tools":[{"function":{"description":"x y z","parameters":{"properties":{"text":{"enum":["x y"]}}}}}],"metadata":{"text":"x y"},"prediction":{"content":"x y"}}`, 6)
	f(`{"prompt":"a b c","suffix":"d e"}`, 3)
	f(`{"prompt":["a b c","d e f g","h"]}`, 4)
	f(`{"prompt":[1,2,3]}`, 0)
	f(`{"input":"a b","instructions":"c d e","text":{"format":{"text":"x y"}}}`, 5)
	f(`{"input":[{"role":"user","content":[{"type":"input_text","text":"a b"}]},{"type":"function_call_output","output":"c d e"}]}`, 5)
	f(`{"system":[{"type":"text","text":"a b"}],"messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"text","text":"c"}]},{"type":"thinking","thinking":"x y"}]}]}`, 3)
	f(`{"content":"a b","text":"c d"}`, 0)

	f(`{"prompt":`+strings.Repeat("[", 300)+strings.Repeat("]", 300)+`}`, 0)
	for _, broken := range []string{``, `"`, `"a`, `{"prompt":"a`, `{"prompt":"a\`, `{"prompt":"a\u`, `}}]]`, `{"prompt"`, `[`, `"a b"`} {
		LeastTokens([]byte(broken))
	}
}

// TestLeastTokensOfTranscripts guards the bound against what real servers have counted, with
// the tokenizers of a dozen makers.
func TestLeastTokensOfTranscripts(t *testing.T) {
	compared := 0
	for _, tr := range readTranscripts(t) {
		request, err := os.ReadFile(filepath.Join(transcripts, tr.Name+".request.json"))
		if err != nil || tr.Expected.Usage == nil || tr.Expected.Usage.Prompt == 0 {
			continue
		}
		compared++
		if got, want := LeastTokens(request), int(tr.Expected.Usage.Prompt); got > want || got == 0 {
			t.Errorf("%s: got %d, want 1 to %d", tr.Name, got, want)
		}
	}
	if compared < 20 {
		t.Errorf("compared %d requests, want 20 or more", compared)
	}
}

// TestLeastTokensOfPictures guards that a picture within a request is no long prompt.
func TestLeastTokensOfPictures(t *testing.T) {
	image := base64.StdEncoding.EncodeToString(make([]byte, 1<<20))
	body, err := json.Marshal(map[string]any{"messages": []any{map[string]any{"role": "user", "content": []any{
		map[string]any{"type": "image_url", "image_url": map[string]any{"url": "data:image/png;base64," + image}},
		map[string]any{"type": "text", "text": "what is this?"},
	}}}})
	if got := LeastTokens(body); err != nil || got != 3 {
		t.Errorf("got %d, %v, want the 3 of the question", got, err)
	}
}

// FuzzLeastTokens guards that any bytes have a number that is not above half their length.
func FuzzLeastTokens(f *testing.F) {
	f.Add([]byte(`{"messages":[{"content":"a b \u4f60 c\n"}]}`))
	f.Add([]byte(`{"prompt":["a\\","b"],"input":[[[{"text":"a"}]]]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if got := LeastTokens(body); got < 0 || 2*got > len(body)+1 {
			t.Errorf("%q: got %d", body, got)
		}
	})
}

// BenchmarkLeastTokens shows what the count costs for each byte.
func BenchmarkLeastTokens(b *testing.B) {
	body := []byte(`{"messages":[{"role":"user","content":"` + strings.Repeat("the words of a long prompt, ", 10_000) + `"}]}`)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		LeastTokens(body)
	}
}
