package aigateway

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/echomodel"
)

// chunkOf is the data of a chat chunk; a finish ends it.
func chunkOf(content, finish string) string {
	end := "null"
	if finish != "" {
		end = strconv.Quote(finish)
	}
	return fmt.Sprintf(`{"choices":[{"index":0,"delta":{"content":%q},"finish_reason":%s}]}`, content, end)
}

// eventsWith is a short chat whose lines end in end.
func eventsWith(end string) string {
	var text strings.Builder
	for _, data := range []string{chunkOf("grüß", ""), chunkOf(" dich", ""), chunkOf("", "stop"), "[DONE]"} {
		text.WriteString("data: " + data + end + end)
	}
	return text.String()
}

// streamForms are chats in all the forms that event streams may have.
var streamForms = map[string]string{
	"LF":                  eventsWith("\n"),
	"CRLF":                eventsWith("\r\n"),
	"CR":                  eventsWith("\r"),
	"LF after CRLF":       "data: " + chunkOf("a", "stop") + "\r\n\n" + eventsWith("\n"),
	"byte order mark":     "\ufeff" + eventsWith("\n"),
	"comments":            ": hello\n\n:\n\n" + strings.ReplaceAll(eventsWith("\n"), "data", ": ping\ndata"),
	"multi-line data":     strings.ReplaceAll(eventsWith("\n"), `"finish`, "\ndata: \"finish"),
	"other fields":        "id: 1\nretry: 5\nunknown: x\nevent: message\n" + eventsWith("\n"),
	"no space":            strings.ReplaceAll(eventsWith("\n"), "data: ", "data:"),
	"no final blank line": strings.TrimRight(eventsWith("\n"), "\n"),
	"one final line end":  strings.TrimSuffix(eventsWith("\r\n"), "\r\n"),
	"1 MiB event":         "data: " + chunkOf(strings.Repeat("x", 1<<20), "") + "\n\n" + eventsWith("\n"),
	"3 MiB event":         "data: " + chunkOf(strings.Repeat("y", 3<<20), "") + "\n\n" + eventsWith("\n"),
	"no JSON":             "data: hello\n\n" + eventsWith("\n"),
}

// TestStreamForms guards row N21: an event stream passes byte for byte in whatever
// form and pieces it comes, ends cleanly and counts as a whole answer.
func TestStreamForms(t *testing.T) {
	server := startWitness(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		size, _ := strconv.Atoi(r.URL.Query().Get("size"))
		for piece := range slicesOf([]byte(streamForms[r.URL.Query().Get("form")]), size) {
			w.Write(piece)
			http.NewResponseController(w).Flush()
		}
	})
	g := startGateway(t, fleetOf(server.URL+"/v1"))
	for form, want := range streamForms {
		sizes := []int{1, 3, len(want)}
		if len(want) > 1<<20 {
			sizes = []int{100_001, len(want)}
		}
		for _, size := range sizes {
			r := g.sends(t, fmt.Sprintf("%s?size=%d&form=%s", chatPath, size, strings.ReplaceAll(form, " ", "+")), chat(`,"stream":true`))
			if r.status != 200 || r.err != nil || r.body != want {
				t.Errorf("%s in pieces of %d: got status %d, %d bytes, error %v; want the %d bytes sent", form, size, r.status, len(r.body), r.err, len(want))
			}
		}
		g.wantMarks(t, form, 0)
	}
	g.wantIdle(t)
}

// TestStreamErrorEvent guards row N22: an error event of the instance's own goes to
// the client as it is, once, and counts against the instance only for 5xx.
func TestStreamErrorEvent(t *testing.T) {
	for _, c := range []struct {
		path          string
		status, marks int
		data          string
	}{
		{chatPath, 500, 1, ""},
		{chatPath, 503, 1, ""},
		{chatPath, 400, 0, ""},
		{chatPath, 429, 0, ""},
		{chatPath, 200, 1, `{"object":"error","message":"CUDA out of memory","type":"InternalServerError","param":null,"code":500}`},
		{"/v1/completions", 500, 1, ""},
		{"/v1/responses", 500, 1, ""},
		{"/v1/responses", 200, 0, `{"type":"error","code":"invalid_request_error","message":"no","param":null,"sequence_number":3}`},
		{"/v1/messages", 529, 1, ""},
		{"/v1/messages", 400, 0, ""},
	} {
		t.Run(fmt.Sprintf("%s %d %d", c.path, c.status, c.marks), func(t *testing.T) {
			a := startStandIn(t, "a")
			a.plays(echomodel.Script{Fault: "error_event", After: 5, Status: c.status, Body: c.data})
			g := startGateway(t, fleetOf(a.url))
			r := g.sends(t, c.path, streamRequests[c.path]+"}")
			if c.path != "/v1/responses" {
				wantWhole(t, r)
			} else if !errors.Is(r.err, io.ErrUnexpectedEOF) { // its clients take the event for one of many
				t.Errorf("got error %v, want an aborted transfer", r.err)
			}
			own := "echo_model fault: error_event"
			if c.data != "" {
				own = c.data
			}
			if strings.Count(r.body, own) != 1 || strings.Contains(r.body, "upstream_") {
				t.Errorf("got %q, want the instance's own error event once and no other", r.body)
			}
			g.wantMarks(t, c.path, c.marks)
			if n := a.Stats().Requests; n != 1 {
				t.Errorf("instance was asked %d times, want once", n)
			}
		})
	}
}

// TestStreamErrorFirst guards that an error event before the model begins is
// another instance's chance, unless it is the client's own fault.
func TestStreamErrorFirst(t *testing.T) {
	for _, c := range []struct {
		status int
		passed bool
	}{{500, false}, {429, false}, {400, true}} {
		a, b := startStandIn(t, "a"), startStandIn(t, "b")
		a.plays(echomodel.Script{Fault: "error_event", Status: c.status})
		g := startGateway(t, fleetOf(a.url, b.url))
		failed := int64(0)
		for range 4 {
			r := g.sends(t, chatPath, chat(`,"stream":true`))
			wantWhole(t, r)
			if strings.Contains(r.body, "error_event") {
				failed++
			}
		}
		asked, answered := a.Stats().Requests, b.Stats().Requests
		if c.passed && (failed != asked || asked+answered != 4) || !c.passed && (failed != 0 || answered != 4) || asked == 0 {
			t.Errorf("status %d: %d of 4 clients got the error; instances were asked %d and %d times", c.status, failed, asked, answered)
		}
	}
}

// TestStreamWithoutMark guards row N23: a stream without its end mark is whole if
// every choice has finished; otherwise the client sees it break, by an event it
// understands and an aborted transfer.
func TestStreamWithoutMark(t *testing.T) {
	const begun = `{"choices":[{"index":0,"delta":{"content":"a"},"text":"a"}]}`
	length := false
	f := func(path, members, text string, whole bool) {
		t.Helper()
		server := startWitness(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			if length {
				w.Header().Set("Content-Length", strconv.Itoa(len(text)))
			}
			io.WriteString(w, text)
			http.NewResponseController(w).Flush()
		})
		g := startGateway(t, fleetOf(server.URL+"/v1"))
		r := g.sends(t, path, streamRequests[path]+members+"}")
		passed := strings.HasPrefix(r.body, text)
		if whole {
			if r.err != nil || r.body != text {
				t.Errorf("%s: got %q and error %v, want it as sent", path, r.body, r.err)
			}
			g.wantMarks(t, path, 0)
			return
		}
		ours := r.body[min(len(text), len(r.body)):]
		if !passed || !errors.Is(r.err, io.ErrUnexpectedEOF) || strings.Count(ours, "data: ") != 1 || !strings.Contains(ours, `"error"`) {
			t.Errorf("%s: got %q and error %v, want one error event behind the text, and an aborted transfer", path, r.body, r.err)
		}
		g.wantMarks(t, path, 1)
		if server.count() != 1 {
			t.Errorf("%s: instance was asked %d times, want once", path, server.count())
		}
	}
	f(chatPath, "", "data: "+begun+"\n\ndata: "+chunkOf("", "stop")+"\n\n", true)
	f(chatPath, "", "data: "+begun+"\n\ndata: "+chunkOf("b", "length")+"\n\ndata: {\"choices\":[],\"usage\":{}}\n\n", true)
	f(chatPath, "", "data: "+begun+"\n\ndata: "+chunkOf("", "stop"), true)
	f("/v1/completions", "", "data: "+begun+"\n\ndata: "+chunkOf("", "stop")+"\n\n", true)
	f(chatPath, "", "data: "+begun+"\n\n", false)
	f(chatPath, "", "data: "+begun+"\n\ndata: "+begun+"\n\ndata: {\"choi", false)
	f(chatPath, `,"n":2`, "data: "+begun+"\n\ndata: "+strings.Replace(begun, ":0", ":1", 1)+"\n\ndata: "+chunkOf("", "stop")+"\n\n", false)
	f("/v1/completions", "", "data: "+begun+"\n\n", false)
	f("/v1/responses", "", "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\n", false)
	f("/v1/messages", "", "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"a\"}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n", false)
	// All bytes of a declared length make no answer whole.
	length = true
	f(chatPath, "", "data: "+begun+"\n\n", false)
	f(chatPath, "", "data: "+begun+"\n\ndata: "+chunkOf("", "stop")+"\n\n", true)
}

// TestStreamHeldOpen guards row N24: an instance that sends more behind the end
// mark and holds the connection open costs the client at most a second, and the
// instance its lease no longer.
func TestStreamHeldOpen(t *testing.T) {
	a := startStandIn(t, "a")
	a.plays(echomodel.Script{Fault: "after_done"})
	g := startGateway(t, fleetOf(a.url))
	marks := map[string]string{
		chatPath: "[DONE]", "/v1/completions": "[DONE]",
		"/v1/responses": "event: response.completed", "/v1/messages": "event: message_stop",
	}
	asked := int64(0)
	for path, mark := range marks {
		own := watchOwn()
		res, err := client.Post(g.url+path, "application/json", strings.NewReader(streamRequests[path]+"}"))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		lines, ended := bufio.NewReader(res.Body), time.Time{}
		for err == nil {
			var line string
			if line, err = lines.ReadString('\n'); strings.Contains(line, mark) {
				ended = time.Now()
			}
		}
		took := time.Since(ended) - own.longest()
		if !errors.Is(err, io.EOF) || ended.IsZero() || took > time.Second {
			t.Errorf("%s: stream ended %v after its mark with %v, want within 1 s and cleanly", path, took, err)
		}
		t.Logf("%s: the end came %v after the mark", path, took)
		g.wantIdle(t)
		asked++
		eventually(t, "the instance to be told", func() bool { return a.Stats().Canceled == asked })
	}
	g.wantMarks(t, "held open", 0)
}
