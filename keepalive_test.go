package aigateway

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// waitingStream begins a chat stream and returns its answer.
func waitingStream(t *testing.T, g *gateway, path string) *http.Response {
	t.Helper()
	res, err := client.Post(g.url+path, "application/json", strings.NewReader(`{"model":"m","stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

const (
	comment = ": keepalive\n\n"
	whole1  = `data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n"
)

// TestKeepalive guards that a client which waits for a stream gets comments, and
// then the stream as it is, also when the instance is changed meanwhile.
func TestKeepalive(t *testing.T) {
	release := make(chan struct{})
	var w *witness
	w = startWitness(t, func(rw http.ResponseWriter, r *http.Request) {
		<-release
		if w.count() == 1 {
			rw.WriteHeader(500)
			return
		}
		rw.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(rw, whole1)
	})
	fleet := fmt.Sprintf(`{"stream_keepalive": 1, "instances": [{"url": "%s/v1", "model_name": "m"}, {"url": "%s/v2", "model_name": "m"}]}`, w.URL, w.URL)
	g := startGateway(t, fleet)
	res := waitingStream(t, g, "/v1/chat/completions")
	got := make([]byte, len(comment))
	if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != comment || res.StatusCode != 200 || mediaType(res.Header) != "text/event-stream" {
		t.Fatalf("got status %d, type %q, %q %v, want a comment", res.StatusCode, res.Header.Get("Content-Type"), got, err)
	}
	close(release)
	rest, err := io.ReadAll(res.Body)
	if trimmed := strings.ReplaceAll(string(rest), comment, ""); err != nil || trimmed != whole1 {
		t.Errorf("got %q %v, want the stream", rest, err)
	}
	if w.count() != 2 {
		t.Errorf("instances were asked %d times, want 2", w.count())
	}
}

// TestKeepaliveError guards that an error after the first comment is an event in
// the API's form and an aborted transfer.
func TestKeepaliveError(t *testing.T) {
	release := make(chan struct{}, 2)
	w := startWitness(t, func(rw http.ResponseWriter, r *http.Request) {
		<-release
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(400)
		io.WriteString(rw, `{"error":{"message":"too long","code":"context_length_exceeded"}}`)
	})
	g := startGateway(t, fmt.Sprintf(`{"stream_keepalive": 1, "instances": [{"url": "%s/v1", "model_name": "m"}]}`, w.URL))
	for path, want := range map[string]string{
		"/v1/chat/completions": `data: {"error":{"message":"too long","type":"server_error","param":null,"code":"context_length_exceeded"}}`,
		"/v1/messages":         "event: error\ndata: {\"type\":\"error\",\"error\":{\"message\":\"too long\",\"type\":\"api_error\"}}",
	} {
		res := waitingStream(t, g, path)
		io.ReadFull(res.Body, make([]byte, len(comment)))
		release <- struct{}{}
		rest, err := io.ReadAll(res.Body)
		if strings.Trim(strings.ReplaceAll(string(rest), comment, ""), "\n") != want || err == nil {
			t.Errorf("%s: got %q %v, want %q and an aborted transfer", path, rest, err, want)
		}
	}
}

// TestKeepaliveUnused guards that an answer in time is the same with it as
// without.
func TestKeepaliveUnused(t *testing.T) {
	w := startWitness(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("X-Engine", "e")
		if r.URL.Query().Has("bad") {
			rw.WriteHeader(400)
		}
		io.WriteString(rw, `{"a":1}`)
	})
	g := startGateway(t, fmt.Sprintf(`{"stream_keepalive": 60, "instances": [{"url": "%s/v1", "model_name": "m"}]}`, w.URL))
	for path, want := range map[string]int{"/v1/chat/completions": 200, "/v1/chat/completions?bad": 400} {
		res := waitingStream(t, g, path)
		if body := readAll(t, res.Body); res.StatusCode != want || body != `{"a":1}` || res.Header.Get("X-Engine") != "e" || res.Header.Get("X-AI-Gateway-Upstream") == "" {
			t.Errorf("%s: got status %d, header %v, %s", path, res.StatusCode, res.Header, body)
		}
	}
}
