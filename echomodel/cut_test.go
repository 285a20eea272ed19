package echomodel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// checkCut: after events whole events, or half of a plain answer, the transfer breaks as said.
func checkCut(t *testing.T, g *rig, fault string, end error) {
	t.Helper()
	for path, request := range map[string]string{
		"/v1/chat/completions": chatRequest("a b c", ""),
		"/v1/completions":      `{"prompt":"a b c"}`,
		"/v1/responses":        `{"input":"a b c"}`,
		"/v1/messages":         chatRequest("a b c", ""),
	} {
		for _, after := range []int{1, 3} {
			script := fmt.Sprintf(`,"stream":true,"echo":{"fault":%q,"after":%d}}`, fault, after)
			a := g.post(path, strings.TrimSuffix(request, "}")+script)
			if got := len(events(t, a.body)); got != after || !errors.Is(a.err, end) {
				t.Errorf("%s: %d events, %v; want %d, %v: %q", path, got, a.err, after, end, a.body)
			}
		}
		a := g.post(path, strings.TrimSuffix(request, "}")+`,"echo":{"fault":"`+fault+`"}}`)
		if a.status != 200 || len(a.body) == 0 || json.Valid([]byte(a.body)) || !errors.Is(a.err, end) {
			t.Errorf("%s: plain: got %+v, want %v", path, a, end)
		}
	}
	if fault == "truncate" {
		return
	}
	if a := g.chat(`"`+fault+`"`, `,"stream":true`); a.status != 200 || a.body != "" || !errors.Is(a.err, end) {
		t.Errorf("after 0: got %+v, want the header alone", a)
	}
	if a := g.chat(`"`+fault+`","after":1000`, `,"stream":true`); !strings.HasSuffix(a.body, "[DONE]\n\n") || !errors.Is(a.err, end) {
		t.Errorf("after more than there are: got %+v, want the break at the end", a)
	}
}

// checkTruncate: without after only the last chunk is missing, and a plain answer declares more than comes.
func checkTruncate(t *testing.T, g *rig) {
	a := g.chat(`"truncate"`, `,"stream":true`)
	if !strings.HasSuffix(a.body, "[DONE]\n\n") || !errors.Is(a.err, io.ErrUnexpectedEOF) {
		t.Errorf("got %+v", a)
	}
	if a := g.chat(`"truncate"`, ""); a.header.Get("Content-Length") == "" {
		t.Errorf("got %+v, want a Content-Length", a)
	}
}

func checkHangMid(t *testing.T, g *rig) {
	for i, c := range []struct{ extra, end string }{
		{`,"stream":true`, `"content":"a "},"logprobs":null,"finish_reason":null}]}` + "\n\n\r\n"},
		{"", `"message":`},
	} {
		conn := g.dial("/v1/chat/completions", faultRequest(`"hang_mid","after":2`, c.extra))
		readUntil(t, conn, c.end)
		conn.Close()
		g.waitEnded()
		if got := g.Stats().Canceled; got != int64(i+1) {
			t.Errorf("canceled %d, want %d", got, i+1)
		}
	}
}

func checkBadChunk(t *testing.T, g *rig) {
	for _, extra := range []string{"", `,"stream":true`} {
		a := g.chat(`"bad_chunk","after":2`, extra)
		if a.status != 200 || a.err == nil || !strings.Contains(a.err.Error(), "invalid byte in chunk length") {
			t.Errorf("got %+v", a)
		}
		if extra != "" && len(events(t, a.body)) != 2 {
			t.Errorf("got %q, want 2 events", a.body)
		}
	}
}

func checkErrorEvent(t *testing.T, g *rig) {
	for _, c := range []struct {
		path, request, fault, want string
		then                       []string // events after it
	}{
		{
			"/v1/chat/completions", chatRequest("a b c", ""), "",
			`{"error":{"message":"echo_model fault: error_event","type":"InternalServerError","param":null,"code":500}}`,
			[]string{"[DONE]"},
		},
		{"/v1/completions", `{"prompt":"a b"}`, `,"body":"{\"error\":1}"`, `{"error":1}`, []string{"[DONE]"}},
		{
			"/v1/responses", `{"input":"a b"}`, "",
			`{"type":"error","code":"server_error","message":"echo_model fault: error_event","param":null,"sequence_number":3}`, nil,
		},
		{
			"/v1/messages", chatRequest("a b c", ""), `,"status":529`,
			`{"type":"error","error":{"type":"overloaded_error","message":"echo_model fault: error_event"}}`, nil,
		},
	} {
		a := g.post(c.path, strings.TrimSuffix(c.request, "}")+`,"stream":true,"echo":{"fault":"error_event","after":2`+c.fault+`}}`)
		es := events(t, a.body)
		if a.err != nil || len(es) != 3+len(c.then) || es[2].data != c.want {
			t.Errorf("%s: got %q, %v", c.path, a.body, a.err)
			continue
		}
		if named := es[2].name == "error"; named != strings.Contains(c.want, `"type":"error"`) {
			t.Errorf("%s: event line %q", c.path, es[2].name)
		}
		for i, want := range c.then {
			if es[3+i].data != want {
				t.Errorf("%s: got %q after it, want %q", c.path, es[3+i].data, want)
			}
		}
	}
	if a := g.chat(`"error_event"`, ""); a.err != nil || a.status != 200 {
		t.Errorf("plain: got %+v", a)
	}
}

func checkNoDone(t *testing.T, g *rig) {
	for path, last := range map[string]string{
		"/v1/chat/completions": `"finish_reason":"stop"`, "/v1/completions": `"finish_reason":"stop"`,
		"/v1/responses": "response.output_item.done", "/v1/messages": "message_delta",
	} {
		a := g.post(path, `{"messages":[{"role":"user","content":"a"}],"prompt":"a","input":"a","stream":true,"echo":{"fault":"no_done"}}`)
		es := events(t, a.body)
		if a.err != nil || !strings.Contains(es[len(es)-1].data, last) {
			t.Errorf("%s: ends with %q, %v", path, es[len(es)-1], a.err)
		}
	}
}

func checkAfterDone(t *testing.T, g *rig) {
	conn := g.dial("/v1/chat/completions", faultRequest(`"after_done"`, `,"stream":true`))
	defer conn.Close()
	if got := readUntil(t, conn, `{"late":true}`+"\n\n\r\n"); !strings.Contains(got, "[DONE]") {
		t.Errorf("got %q", got)
	}
	expectSilence(t, conn)
	conn.Close()
	g.waitEnded()
}
