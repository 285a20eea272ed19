package echomodel

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// told is what an answer of any dialect comes to, read from its JSON or its events.
type told struct {
	reasoning, text, tool, arguments, finish string
	prompt, completion                       int
}

type chatAnswer struct {
	ID      string
	Object  string
	Model   string
	Created int64
	Choices []struct {
		Index          int
		Text           string
		Message, Delta struct {
			Role      string
			Content   string
			Reasoning string `json:"reasoning_content"`
			ToolCalls []struct {
				ID       string
				Function struct{ Name, Arguments string }
			} `json:"tool_calls"`
		}
		FinishReason string `json:"finish_reason"`
	}
	Usage struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
		Total      int `json:"total_tokens"`
	}
	Fingerprint string `json:"system_fingerprint"`
}

// readChat adds up the chunks or the one answer of chat and completions, per choice.
func readChat(t *testing.T, body string, stream bool) map[int]*told {
	t.Helper()
	out := map[int]*told{}
	bodies := []string{body}
	if stream {
		bodies = nil
		es := events(t, body)
		for i, e := range es {
			if last := i == len(es)-1; last != (e.data == "[DONE]") {
				t.Fatalf("[DONE] missing or not last: %q", body)
			} else if !last {
				bodies = append(bodies, e.data)
			}
		}
	}
	for _, b := range bodies {
		a := decode[chatAnswer](t, b)
		if a.Model != "m" || a.Created == 0 || a.ID == "" {
			t.Errorf("model %q, created %d, id %q", a.Model, a.Created, a.ID)
		}
		for _, c := range a.Choices {
			if out[c.Index] == nil {
				out[c.Index] = &told{}
			}
			o := out[c.Index]
			o.reasoning += c.Message.Reasoning + c.Delta.Reasoning
			o.text += c.Text + c.Message.Content + c.Delta.Content
			o.finish += c.FinishReason
			for _, call := range append(c.Message.ToolCalls, c.Delta.ToolCalls...) {
				o.tool += call.Function.Name
				o.arguments += call.Function.Arguments
			}
		}
		if a.Usage.Total != 0 {
			if a.Usage.Prompt+a.Usage.Completion != a.Usage.Total {
				t.Errorf("usage %+v does not add up", a.Usage)
			}
			for _, o := range out {
				o.prompt, o.completion = a.Usage.Prompt, a.Usage.Completion
			}
		}
	}
	return out
}

type responsesAnswer struct {
	Type     string
	Sequence int `json:"sequence_number"`
	Delta    string
	Response *responsesAnswer
	Status   string
	Output   []struct {
		Type, Name, Arguments string
		Content               []struct{ Type, Text string }
	}
	Usage struct {
		Input  int `json:"input_tokens"`
		Output int `json:"output_tokens"`
	}
}

// readResponses reads the one answer, or the terminal event, which must agree with the deltas.
func readResponses(t *testing.T, body string, stream bool) told {
	t.Helper()
	var deltas told
	final := body
	if stream {
		for i, e := range events(t, body) {
			a := decode[responsesAnswer](t, e.data)
			if a.Type != e.name || a.Sequence != i {
				t.Errorf("event %d: line %q, type %q, sequence_number %d", i, e.name, a.Type, a.Sequence)
			}
			switch a.Type {
			case "response.output_text.delta":
				deltas.text += a.Delta
			case "response.reasoning_text.delta":
				deltas.reasoning += a.Delta
			case "response.function_call_arguments.delta":
				deltas.arguments += a.Delta
			case "response.completed", "response.incomplete":
				_, final, _ = strings.Cut(strings.TrimSuffix(e.data, "}"), `"response":`)
			}
		}
	}
	a := decode[responsesAnswer](t, final)
	out := told{finish: a.Status, prompt: a.Usage.Input, completion: a.Usage.Output}
	for _, item := range a.Output {
		out.tool += item.Name
		out.arguments += item.Arguments
		for _, part := range item.Content {
			if part.Type == "reasoning_text" {
				out.reasoning += part.Text
			} else {
				out.text += part.Text
			}
		}
	}
	if stream && (deltas.text != out.text || deltas.reasoning != out.reasoning || deltas.arguments != out.arguments) {
		t.Errorf("deltas %+v, output %+v", deltas, out)
	}
	return out
}

type messagesAnswer struct {
	Type       string
	StopReason string `json:"stop_reason"`
	Content    []struct {
		Type, Text, Thinking, Name string
	}
	ContentBlock struct{ Name string } `json:"content_block"`
	Message      *messagesAnswer
	Delta        struct {
		Text, Thinking string
		PartialJSON    string `json:"partial_json"`
		StopReason     string `json:"stop_reason"`
	}
	Usage struct {
		Input  int `json:"input_tokens"`
		Output int `json:"output_tokens"`
	}
}

func readMessages(t *testing.T, body string, stream bool) (out told) {
	t.Helper()
	if !stream {
		a := decode[messagesAnswer](t, body)
		out = told{finish: a.StopReason, prompt: a.Usage.Input, completion: a.Usage.Output}
		for _, c := range a.Content {
			out.text += c.Text
			out.reasoning += c.Thinking
			if c.Type == "tool_use" {
				out.tool, out.arguments = c.Name, "{}"
			}
		}
		return out
	}
	es := events(t, body)
	if es[0].name != "message_start" || es[len(es)-1].name != "message_stop" {
		t.Errorf("stream from %q to %q", es[0].name, es[len(es)-1].name)
	}
	for _, e := range es {
		a := decode[messagesAnswer](t, e.data)
		if a.Type != e.name {
			t.Errorf("event line %q, type %q", e.name, a.Type)
		}
		out.text += a.Delta.Text
		out.reasoning += a.Delta.Thinking
		out.arguments += a.Delta.PartialJSON
		out.finish += a.Delta.StopReason
		out.tool += a.ContentBlock.Name
		if a.Usage.Input > 0 {
			out.prompt, out.completion = a.Usage.Input, a.Usage.Output
		}
	}
	return out
}

// TestDialects asks each dialect the same things, plain and streaming.
func TestDialects(t *testing.T) {
	dialects := []struct {
		path    string
		request string // with the text, then more members
		tools   string
		limit   string
		stop    [3]string // finish for the end, the limit, a call
		prompt  int       // tokens beside the text
		read    func(t *testing.T, body string, stream bool) told
	}{
		{
			path:    "/v1/chat/completions",
			request: `{"model":"m","messages":[{"role":"system","content":"be brief"},{"role":"user","content":%s}]%s}`,
			tools:   `,"tools":[{"type":"function","function":{"name":"look_up"}},{"type":"function","function":{"name":"b"}}]`,
			limit:   `,"max_completion_tokens":2`,
			stop:    [3]string{"stop", "length", "tool_calls"},
			prompt:  2,
			read: func(t *testing.T, body string, stream bool) told {
				t.Helper()
				return *readChat(t, body, stream)[0]
			},
		},
		{
			path:    "/v1/completions",
			request: `{"model":"m","prompt":%s%s}`,
			limit:   `,"max_tokens":2`,
			stop:    [3]string{"stop", "length"},
			read: func(t *testing.T, body string, stream bool) told {
				t.Helper()
				return *readChat(t, body, stream)[0]
			},
		},
		{
			path:    "/v1/responses",
			request: `{"model":"m","instructions":"be brief","input":[{"role":"user","content":[{"type":"input_text","text":%s}]}]%s}`,
			tools:   `,"tools":[{"type":"function","name":"look_up"}]`,
			limit:   `,"max_output_tokens":2`,
			stop:    [3]string{"completed", "incomplete", "completed"},
			prompt:  2,
			read:    readResponses,
		},
		{
			path:    "/v1/messages",
			request: `{"model":"m","system":[{"type":"text","text":"be brief"}],"messages":[{"role":"user","content":%s}]%s}`,
			tools:   `,"tools":[{"name":"look_up","input_schema":{}}]`,
			limit:   `,"max_tokens":2`,
			stop:    [3]string{"end_turn", "max_tokens", "tool_use"},
			prompt:  2,
			read:    readMessages,
		},
	}
	const text = "Wörter \"quoted\"\n\\n \U0001F600 <end>"
	g := newRig(t, Options{Name: "unit-1"})
	for _, d := range dialects {
		cases := []struct {
			name, text, extra string
			want              told
		}{
			{"echo", text, "", told{text: text, finish: d.stop[0], completion: 5}},
			{"limit", text, d.limit, told{text: "Wörter \"quoted\"\n", finish: d.stop[1], completion: 2}},
			{"generated", text, `,"echo":{"tokens":3}`, told{text: "w1 w2 w3", finish: d.stop[0], completion: 3}},
			{"padded", text, `,"echo":{"tokens":2,"size":5}`, told{text: "w1xx w2xxx", finish: d.stop[0], completion: 2}},
			{"reasoning", "a b", `,"echo":{"reasoning":2}`, told{reasoning: "r1 r2", text: "a b", finish: d.stop[0], completion: 4}},
			{"call", "use the tool", d.tools, told{tool: "look_up", arguments: "{}", finish: d.stop[2], completion: 2}},
			{"no call", "just talk", d.tools, told{text: "just talk", finish: d.stop[0], completion: 2}},
		}
		for _, c := range cases {
			if d.tools == "" && c.want.tool != "" {
				continue
			}
			if d.path == "/v1/completions" && c.want.reasoning != "" {
				c.want.reasoning, c.want.completion = "", c.want.completion-2
			}
			c.want.prompt = d.prompt + countBlanks([]byte(c.text))
			for _, stream := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %s stream=%t", d.path, c.name, stream), func(t *testing.T) {
					extra := c.extra
					if stream {
						extra += `,"stream":true,"stream_options":{"include_usage":true}`
					}
					a := g.post(d.path, fmt.Sprintf(d.request, appendString(nil, c.text), extra))
					if a.err != nil || a.status != http.StatusOK || a.header.Get("X-Echo-Name") != "unit-1" {
						t.Fatalf("got %+v", a)
					}
					if got := strings.HasPrefix(a.header.Get("Content-Type"), "text/event-stream"); got != stream {
						t.Errorf("Content-Type %q, stream %t", a.header.Get("Content-Type"), stream)
					}
					if got := d.read(t, a.body, stream); got != c.want {
						t.Errorf("got  %+v\nwant %+v\nbody %s", got, c.want, a.body)
					}
				})
			}
		}
	}
}

// TestChatChunks holds the stream's shape against vLLM's: role, content, finish, usage, [DONE].
func TestChatChunks(t *testing.T) {
	g := newRig(t, Options{})
	a := g.post("/v1/chat/completions", chatRequest("one two", `,"stream":true,"stream_options":{"include_usage":true}`))
	want := []string{
		`{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}`,
		`{"index":0,"delta":{"content":"one "},"logprobs":null,"finish_reason":null}]}`,
		`{"index":0,"delta":{"content":"two"},"logprobs":null,"finish_reason":null}]}`,
		`{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop","stop_reason":null}],"system_fingerprint":"echo"}`,
		`],"usage":{"prompt_tokens":4,"total_tokens":6,"completion_tokens":2,"prompt_tokens_details":null},"system_fingerprint":"echo"}`,
		"[DONE]",
	}
	got := events(t, a.body)
	if len(got) != len(want) {
		t.Fatalf("got %d events, want %d: %s", len(got), len(want), a.body)
	}
	for i := range want {
		if _, rest, _ := strings.Cut(got[i].data, `"choices":[`); rest != want[i] && got[i].data != want[i] {
			t.Errorf("event %d: got %s, want %s", i, got[i].data, want[i])
		}
	}
	if a := g.post("/v1/chat/completions", chatRequest("x", `,"stream":true`)); strings.Contains(a.body, "usage") {
		t.Errorf("usage nobody asked for: %s", a.body)
	}
}

func TestChoices(t *testing.T) {
	g := newRig(t, Options{})
	for _, stream := range []bool{false, true} {
		extra := fmt.Sprintf(`,"n":3,"stream":%t`, stream)
		got := readChat(t, g.post("/v1/chat/completions", chatRequest("a b", extra)).body, stream)
		if len(got) != 3 || got[2].text != "a b" || got[2].finish != "stop" {
			t.Errorf("stream=%t: got %v", stream, got)
		}
		body := fmt.Sprintf(`{"model":"m","prompt":["a b","c"],"n":2,"max_tokens":1,"echo":true,"stream":%t}`, stream)
		got = readChat(t, g.post("/v1/completions", body).body, stream)
		for i, want := range []told{{text: "a ", finish: "length"}, {}, {}, {text: "c", finish: "stop"}} {
			if want.text != "" && (got[i].text != want.text || got[i].finish != want.finish) {
				t.Errorf("stream=%t, choice %d: got %+v, want %+v", stream, i, *got[i], want)
			}
		}
	}
}

// TestLastUser picks the text to repeat out of longer conversations.
func TestLastUser(t *testing.T) {
	g := newRig(t, Options{})
	for _, c := range []struct{ name, messages, want string }{
		{"before an answer", `[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]`, "a"},
		{"parts", `[{"role":"user","content":[{"type":"text","text":"a "},{"type":"image_url","image_url":{}},{"type":"text","text":"b"}]}]`, "a b"},
		{"tool results carry no text", `[{"role":"user","content":"a"},{"role":"user","content":[{"type":"tool_result","content":"x"}]}]`, "a"},
		{"none", `[{"role":"system","content":"a"}]`, ""},
		{"empty", `[]`, ""},
		{"escaped key", `[{"role":"user","cont\u0065nt":"a"}]`, "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := `{"model":"m","messages":` + c.messages + `}`
			if got := readChat(t, g.post("/v1/chat/completions", body).body, false)[0].text; got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
