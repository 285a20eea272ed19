package sharegpt

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
)

func TestAppendMessages(t *testing.T) {
	f := func(turns, rest, want string) {
		t.Helper()
		got, err := AppendMessages(nil, []byte(`{"conversations":[`+turns+`]`+rest+`}`))
		if err != nil || string(got) != want {
			t.Errorf("AppendMessages(%s): got %s, error %v; want %s", turns, got, err, want)
		}
	}
	f(`{"from":"system","value":"S"},{"from":"human","value":"U"},{"from":"gpt","value":"<think>\nT\n</think>\n\nA"}`, `,"tools":"[]"`,
		`{"messages":[{"role":"system","content":"S"},{"role":"user","content":"U"},{"role":"assistant","content":"A","reasoning_content":"T"}]}`)
	f(`{"from":"human","value":""},{"from":"function_call","value":"{\"name\":\"f\",\"arguments\":{\"n\":9007199254740993}}"},{"from":"observation","value":""},{"from":"gpt","value":"A"}`,
		`,"tools":"[{\"type\":\"function\"}]"`,
		`{"messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"call_0","type":"function","function":{"name":"f","arguments":"{\"n\":9007199254740993}"}}]},`+
			`{"role":"tool","content":"","tool_call_id":"call_0"},{"role":"assistant","content":"A"}],"tools":[{"type":"function"}]}`)
	f(`{"from":"human","value":"U"},{"from":"function_call","value":"[{\"name\":\"f\",\"arguments\":{}},{\"name\":\"g\",\"arguments\":\"x\"}]"},{"from":"observation","value":"[{\"name\":\"f\",\"content\":\"1\"},{\"name\":\"g\",\"content\":\"2\"}]"}`, ``,
		`{"messages":[{"role":"user","content":"U"},{"role":"assistant","content":null,"tool_calls":[{"id":"call_0","type":"function","function":{"name":"f","arguments":"{}"}},`+
			`{"id":"call_1","type":"function","function":{"name":"g","arguments":"x"}}]},{"role":"tool","content":"1","tool_call_id":"call_0"},{"role":"tool","content":"2","tool_call_id":"call_1"}]}`)
	f(`{"from":"human","value":"<image>\nWhat?\n<audio>"},{"from":"gpt","value":"<image>"}`, `,"images":["http://a"],"audios":["data:audio/wav;base64,QQ"]`,
		`{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://a"}},{"type":"text","text":"What?"},{"type":"input_audio","input_audio":{"data":"QQ","format":"wav"}}]},`+
			`{"role":"assistant","content":"<image>"}]}`)
}

func TestAppendMessagesRefuses(t *testing.T) {
	f := func(line, want string) {
		t.Helper()
		got, err := AppendMessages([]byte("x"), []byte(line))
		if err == nil || err.Error() != want || string(got) != "x" {
			t.Errorf("AppendMessages(%s): got %q, error %v; want error %s", line, got, err, want)
		}
	}
	f(`{"conversations":`, "reading record: got 17 bytes that are no JSON, want an object")
	f(`{}`, "reading record: got no conversations, want a list of turns")
	f(`{"conversations":[{"from":"human","value":null}]}`, "reading turn 0: value is no text")
	f(`{"conversations":[{"from":"user","value":"x"}]}`, `reading turn 0: from is "user", want system, human, gpt, function_call or observation`)
}

// TestRoundTrip exports the records of all transcripts and projects what came out
// again: the conversation and the tools are the same.
func TestRoundTrip(t *testing.T) {
	rounds := 0
	for _, e := range readTranscripts(t) {
		_, records, err := NewProjector(Options{}).Append(nil, e.exchange(0), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			if r.Folder != Main && r.Folder != Media {
				continue
			}
			l, _ := readLine(t, r.Line)
			request, err := AppendMessages(nil, r.Line)
			if err != nil || !json.Valid(request) {
				t.Fatalf("%s: got %s, error %v", e.Name, request, err)
			}
			// The last message becomes the answer.
			var messages struct {
				Messages []json.RawMessage `json:"messages"`
				Tools    json.RawMessage   `json:"tools,omitempty"`
			}
			if err := json.Unmarshal(request, &messages); err != nil {
				t.Fatal(err)
			}
			n := len(messages.Messages) - 1
			body := bytes.Join([][]byte{[]byte(`{"choices":[{"message":`), messages.Messages[n], []byte(`,"finish_reason":"stop"}]}`)}, nil)
			messages.Messages = messages.Messages[:n]
			if request, err = json.Marshal(messages); err != nil {
				t.Fatal(err)
			}
			a := openai.ReadBody(openai.Chat, body, 8<<20)
			_, again, _ := project(t, Options{}, &Exchange{ID: "x", Request: request, Answer: &a})
			got, want := turns(again), turns(l)
			// A result and the user's words behind it have become one text.
			if got != want || again.Tools != l.Tools || strings.Join(again.Images, " ") != strings.Join(l.Images, " ") {
				t.Errorf("%s: got %.500s, want %.500s", e.Name, got, want)
			}
			rounds++
		}
	}
	t.Logf("%d records", rounds)
}
