package sharegpt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
)

// TestMedia checks that placeholders and lists agree, in kind, number and order.
func TestMedia(t *testing.T) {
	const parts = `{"type":"image_url","image_url":{"url":"http://a"}},{"type":"text","text":"say <image> or <video>"},{"type":"input_audio","input_audio":{"data":"QQ","format":"wav"}}`
	x := &Exchange{ID: "x", Request: []byte(`{"messages":[{"role":"user","content":[` + parts + `]}]}`), Answer: said(openai.Chat)}
	x.Answer.Choices[0].Content = "an <image>"
	records, l, _ := project(t, Options{}, x)
	const want = "u:<image>~say &lt;image&gt; or &lt;video&gt;~<audio> | a:an &lt;image&gt;"
	if got := turns(l); records[0].Folder != Media || records[0].Suffix != "audio+image" || got != want {
		t.Errorf("got %s %q: %s; want media %q: %s", records[0].Folder, records[0].Suffix, got, "audio+image", want)
	}
	if got := fmt.Sprint(l.Images, l.Audios, l.Videos); got != "[http://a] [data:audio/wav;base64,QQ] []" {
		t.Errorf("got lists %s", got)
	}
	x.Answer.Choices[0].Finish = "content_filter"
	records, l, meta := project(t, Options{}, x)
	if got := fmt.Sprintf("%v %q %v %v %v", records[0].Folder, records[0].Suffix, l.Images, meta["flags"], l.Request != ""); got != `incomplete "" [] [dropped_media] true` {
		t.Errorf("incomplete: got %s", got)
	}
	const blocks = `{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"http://b"}},
		{"type":"tool_result","tool_use_id":"i","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"QQ"}}]}]}]}`
	_, l, _ = project(t, Options{}, &Exchange{ID: "x", Request: []byte(blocks), Answer: said(openai.Messages)})
	if got := fmt.Sprintf("%s %s", turns(l), l.Images); got != "o:<image>~~<image> | a:yes [data:image/png;base64,QQ http://b]" {
		t.Errorf("results first: got %s", got)
	}
}

// TestColumns checks the columns and meta of a line that has all of them.
func TestColumns(t *testing.T) {
	const request = `{ "model":"alias", "stream":true,"messages":[{"role":"user","content":"U"}],"temperature":0.60,"seed":9007199254740993,
		"tools":[{"type":"function","function":{"strict":true,"name":"f","parameters":{"z":1,"type":"object"}}},{"type":"web_search"}],"metadata":{"b":"\u00e9","a":null}}`
	x := &Exchange{
		ID: "01J", Created: 1741145650, Instance: "gpu-a", Key: "k3", HTTP: 200, TTFT: 95, Latency: 812, Outcome: "ok", Request: []byte(request),
		Answer: &openai.Answer{
			Dialect: openai.Chat, Stream: true, ID: "c", Model: "m", Done: true, Usage: &openai.Usage{Prompt: 9, Completion: 4, Total: 13},
			Choices: []openai.Choice{{
				Index: 1, Role: "assistant", Content: "A", Reasoning: "T", Finish: "tool_calls",
				Calls:  []openai.Call{{ID: "i", Type: "function", Name: "f", Arguments: `{"a":1}`}},
				Extras: []openai.Extra{{Name: "logprobs.content", JSON: []byte(`[ 1 ]`)}},
			}},
		},
	}
	lines, _, err := NewProjector(Options{}).Append([]byte("before\n"), x, nil)
	if err != nil {
		t.Fatal(err)
	}
	text := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	want := "before\n" + `{"id":"01J-1","conversations":[{"from":"human","value":"U"},{"from":"function_call","value":"{\"name\":\"f\",\"arguments\":{\"a\":1}}"}],` +
		`"tools":` + text(`[{"type":"function","function":{"name":"f","description":"","parameters":{"z":1,"type":"object","properties":{}}}}]`) +
		`,"model":"m","created":1741145650,"finish_reason":"tool_calls","meta":` +
		text(`{"v":1,"status":"ok","endpoint":"chat","stream":true,"choice":1,"upstream_id":"c","instance":"gpu-a","key":"k3","http":200,"ttft_ms":95,"latency_ms":812,`+
			`"usage":{"prompt":9,"completion":4,"total":13},"params":{"model":"alias","temperature":0.60,"seed":9007199254740993,"metadata":{"b":"é","a":null}},`+
			`"flags":["dropped_tool","reasoning_with_tool_call","text_with_tool_call"],"outcome":"ok"}`) +
		`,"request":` + text(`{"model":"alias","stream":true,"messages":[{"role":"user","content":"U"}],"temperature":0.60,"seed":9007199254740993,`+
		`"tools":[{"type":"function","function":{"strict":true,"name":"f","parameters":{"z":1,"type":"object"}}},{"type":"web_search"}],"metadata":{"b":"é","a":null}}`) +
		`,"response":` + text(`{"role":"assistant","content":"A","reasoning_content":"T","tool_calls":[{"id":"i","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}],"logprobs.content":[1]}`) + "}\n"
	if string(lines) != want {
		t.Errorf("got  %s\nwant %s", lines, want)
	}
}

// TestChoices checks that the choices of one answer do not touch each other.
func TestChoices(t *testing.T) {
	f := func(d openai.Dialect, request, want string, choices ...openai.Choice) {
		t.Helper()
		for i := range choices {
			choices[i].Index = i
		}
		x := &Exchange{ID: "x", HTTP: 200, Request: []byte(request), Answer: &openai.Answer{Dialect: d, Done: true, Choices: choices}}
		_, records, err := NewProjector(all).Append(nil, x, nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range records {
			l, _ := readLine(t, r.Line)
			got = append(got, l.ID+" "+turns(l))
		}
		if s := strings.Join(got, "; "); s != want {
			t.Errorf("got %s, want %s", s, want)
		}
	}
	call := []openai.Call{{Name: "f", Arguments: "{}"}}
	f(openai.Chat, `{"messages":[{"role":"user","content":"U"},{"role":"assistant","content":"P"}]}`,
		`x-0 u:U | c:{"name":"f","arguments":{}}; x-1 u:U | a:P~~A; x-2 u:U | c:{"name":"f","arguments":{}}; x-3 u:U | a:P~~B`,
		openai.Choice{Calls: call}, openai.Choice{Content: "A"}, openai.Choice{Calls: call}, openai.Choice{Content: "B"})
	f(openai.Completions, `{"prompt":["P","Q"],"n":2}`, `x-0 u:P | a:A; x-1 u:P | a:B; x-2 u:Q | a:C; x-3 u:Q | a:D`,
		openai.Choice{Content: "A"}, openai.Choice{Content: "B"}, openai.Choice{Content: "C"}, openai.Choice{Content: "D"})
}

// TestPartialHistory checks that a conversation of which the server knows more
// than the request holds is not trained on.
func TestPartialHistory(t *testing.T) {
	for _, member := range []string{`"previous_response_id":"r"`, `"conversation":{"id":"c"}`, `"prompt":{"id":"p"}`} {
		x := &Exchange{ID: "x", Request: []byte(`{"input":"U",` + member + `}`), Answer: said(openai.Responses)}
		if records, _, _ := project(t, Options{}, x); records[0].Folder != Incomplete || records[0].Status != OK {
			t.Errorf("%s: got %s, %s; want incomplete, ok", member, records[0].Folder, records[0].Status)
		}
	}
}

// TestRedact looks for a secret that stands in every place of an exchange.
func TestRedact(t *testing.T) {
	const secret = "sk-12345"
	request := strings.ReplaceAll(`{"model":"m","user":"@","messages":[{"role":"system","content":"@"},{"role":"user","content":[{"type":"text","text":"a @ b"}]},
		{"role":"assistant","content":"@","reasoning":"@","tool_calls":[{"id":"i","function":{"name":"f","arguments":"{\"k\":\"@\"}"}}]},{"role":"tool","tool_call_id":"i","content":"@"}],
		"tools":[{"type":"function","function":{"name":"f","description":"@","parameters":{"properties":{"k":{"default":"@"}}}}}]}`, "@", secret)
	a := &openai.Answer{Dialect: openai.Chat, Err: &openai.Failure{Message: secret}, Choices: []openai.Choice{{
		Role: "assistant", Content: secret, Reasoning: secret, Refusal: secret, Calls: []openai.Call{{Name: "f", Arguments: `{"k":"` + secret + `"}`}},
		Extras: []openai.Extra{{Name: "annotations", JSON: []byte(`["` + secret + `"]`)}},
	}}}
	o := Options{RecordRaw: Always, Redact: []*regexp.Regexp{regexp.MustCompile(`sk-\d+`)}}
	lines, _, err := NewProjector(o).Append(nil, &Exchange{ID: "x", HTTP: 200, Request: []byte(request), Answer: a}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(lines, []byte(secret)) {
		t.Errorf("got the secret in %s", lines)
	}
	l, _ := readLine(t, lines)
	if got, want := turns(l), "s:[redacted] | u:a [redacted] b | c:{\"name\":\"f\",\"arguments\":{\"k\":\"[redacted]\"}} | o:[redacted] | c:{\"name\":\"f\",\"arguments\":{\"k\":\"[redacted]\"}}"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, text := range []string{l.Request, l.Response, l.Tools} {
		if !json.Valid([]byte(text)) || !strings.Contains(text, Redacted) {
			t.Errorf("got %s, want valid JSON with %s", text, Redacted)
		}
	}
}

// TestUnreadableRequest checks that an error does not repeat the request.
func TestUnreadableRequest(t *testing.T) {
	got, records, err := NewProjector(Options{}).Append(nil, &Exchange{HTTP: 200, Request: []byte(`{"messages":secret}`), Answer: said(openai.Chat)}, nil)
	if err == nil || err.Error() != "reading request: got 's', want a value at byte 12" || len(got) > 0 || len(records) > 0 {
		t.Errorf("got %d bytes, %d records, error %v", len(got), len(records), err)
	}
}
