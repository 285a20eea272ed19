package sharegpt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
)

// FuzzProject: whatever request and answer, nothing panics, every line has its
// columns and an order that trainers take, and a content that is left in its place
// gives the same lines.
func FuzzProject(f *testing.F) {
	f.Add(uint8(1), []byte(`{"messages":[{"role":"user","content":"a <image>"},{"role":"assistant","tool_calls":[{"function":{"arguments":"1"}}]},{"role":"tool","content":"x"}]}`), []byte(`{"choices":[{"message":{"content":"a"}}]}`))
	f.Add(uint8(2), []byte(`{"prompt":["a","b"],"n":1,"echo":true}`), []byte(`{"choices":[{"text":"ab"},{"index":1,"text":"c"}]}`))
	f.Add(uint8(3), []byte(`{"input":[{"role":"user","content":[{"type":"input_image","image_url":"u"}]},{"type":"function_call_output","output":{}}]}`), []byte(`{"output":[{"type":"message","content":"a"}]}`))
	f.Add(uint8(4), []byte(`{"system":"s","messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"image","source":{"url":"u"}}]}]},{"role":"assistant","content":"p"}]}`), []byte(`{"content":[{"type":"tool_use","input":{"a":1}}]}`))
	f.Add(uint8(1), []byte(`{"messages":[{"role":"user","content":"\n\/\u00e9"}]}`), []byte(`{"choices":[{"message":{"content":"\u003c/think>a\n\/"}}]}`))
	f.Fuzz(func(t *testing.T, dialect uint8, request, answer []byte) {
		d, options := openai.Dialect(dialect%5), Options{Endpoints: all.Endpoints, RecordRaw: RecordRaw(dialect>>3) % 3}
		a := openai.ReadBody(d, answer, 1<<20)
		x := &Exchange{ID: "x", HTTP: 200, Request: request, Answer: &a}
		lines, records, err := NewProjector(options).Append(nil, x, nil)
		if err != nil {
			return
		}
		still := openai.ReadBodyInPlace(d, answer, 1<<20)
		y := &Exchange{ID: "x", HTTP: 200, Request: request, Answer: &still}
		if again, _, _ := NewProjector(options).Append(nil, y, nil); !bytes.Equal(again, lines) {
			t.Fatalf("in place: got %s, want %s", again, lines)
		}
		options.InPlace = true
		if got := parts(t, options, y); !bytes.Equal(got, lines) {
			t.Fatalf("in parts: got %s, want %s", got, lines)
		}
		if len(records) != len(a.Choices) {
			t.Fatalf("got %d records of %d choices", len(records), len(a.Choices))
		}
		for _, r := range records {
			if r.Folder == None {
				continue
			}
			l, _ := readLine(t, r.Line)
			body := l.Conversations
			if body[0].From == "system" {
				body = body[1:]
			}
			if len(body) == 0 || len(body)%2 != 0 {
				t.Fatalf("got %d turns besides system in %s", len(body), r.Line)
			}
			for i, turn := range body {
				if trained := turn.From == "gpt" || turn.From == "function_call"; trained != (i%2 == 1) || turn.From == "system" || trained && turn.Value == "" {
					t.Fatalf("turn %d is %s in %s", i, turn.From, r.Line)
				}
				if turn.From == "function_call" && !json.Valid([]byte(turn.Value)) {
					t.Fatalf("turn %d is no JSON in %s", i, r.Line)
				}
			}
			if r.Folder == Media {
				text := turns(l)
				if got, want := strings.Count(text, "<image>"), len(l.Images); got != want {
					t.Fatalf("got %d placeholders for %d images in %s", got, want, r.Line)
				}
			}
			if l.Request != "" && !json.Valid([]byte(l.Request)) || l.Response != "" && !json.Valid([]byte(l.Response)) || !json.Valid([]byte(l.Tools)) {
				t.Fatalf("request, response or tools are no JSON in %s", r.Line)
			}
			if _, err := AppendMessages(nil, r.Line); err != nil {
				t.Fatalf("exporting %s: %v", r.Line, err)
			}
		}
	})
}

// TestSynthetic has the lines of requests and answers that no transcript shows
// judged by the checker.
func TestSynthetic(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3 to run the checker")
	}
	if _, err := os.Stat(filepath.Join(shared, "check_sharegpt.py")); err != nil {
		t.Skip("the checker is not here: ", shared)
	}
	requests := []string{
		`{"messages":[]}`, `{}`, `{"messages":[{"role":"assistant","content":"A"}]}`, `{"messages":[{"role":"system","content":""},{"role":"user","content":""}]}`,
		`{"messages":[{"role":"user","content":"\ud800\u0000\r\n"},{"role":"assistant","content":null}]}`,
		`{"messages":[{"role":"tool","content":"x"},{"role":"tool","content":"y"}],"tools":[{"name":"f"},{"type":"function","function":{"name":"g","parameters":{}}}]}`,
		`{"messages":[{"role":"user","content":[{"type":"image_url","image_url":"http://x"},{"type":"text","text":"<image><audio>"}]}]}`,
		`{"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"oops <image>"}}]},{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x"}}]}]}`,
	}
	answers := []openai.Choice{
		{Content: "2025-03-05"}, {Reasoning: "T"}, {Content: "\r\u2028\xff<image>"}, {Refusal: "no"}, {Calls: []openai.Call{{Name: "", Arguments: "[]"}}}, {Calls: []openai.Call{{Name: "f", Arguments: "<image>"}}},
	}
	files := map[string][]byte{}
	for i, request := range requests {
		for j, c := range answers {
			x := &Exchange{ID: fmt.Sprintf("x%d.%d", i, j), HTTP: 200, Request: []byte(request), Answer: &openai.Answer{Dialect: openai.Chat, Done: true, Choices: []openai.Choice{c}}}
			records, _, _ := project(t, Options{}, x)
			name := strings.TrimSuffix(records[0].Folder.String()+"."+records[0].Suffix, ".") + ".jsonl"
			files[name] = append(files[name], records[0].Line...)
		}
	}
	check(t, python, files)
}

// BenchmarkProject writes the record of a chat with a prompt of that size.
func BenchmarkProject(b *testing.B) {
	for _, size := range []int{1 << 10, 256 << 10} {
		for _, raw := range []RecordRaw{Lossy, Always} {
			b.Run(fmt.Sprintf("%dKiB,raw=%d", size>>10, raw), func(b *testing.B) {
				prompt, err := json.Marshal(strings.Repeat("Some words of a prompt, with \"quotes\", and a line end after a hundred letters, more or less, as it is.\n", size/103+1)[:size])
				if err != nil {
					b.Fatal(err)
				}
				x := &Exchange{ID: "01JNM3S0", HTTP: 200, Answer: said(openai.Chat), Request: []byte(`{"model":"m","temperature":0.6,"max_tokens":4096,"messages":[{"role":"user","content":` + string(prompt) + `}]}`)}
				p := NewProjector(Options{RecordRaw: raw})
				var buffer []byte
				var records []Record
				b.ReportAllocs()
				b.SetBytes(int64(len(x.Request)))
				for b.Loop() {
					if buffer, records, err = p.Append(buffer[:0], x, records[:0]); err != nil || len(records) != 1 {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
