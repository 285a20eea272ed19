package integration

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// startCut runs an instance that answers in order at first, but ends each stream
// without saying that it is whole, and each plain answer before its length.
func startCut(t testing.TB) string {
	t.Helper()
	const chunk = `data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"one "},"text":"one "}]}` + "\n\n"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if !strings.Contains(string(body), `"stream":true`) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, `{"choices":[{"index":0,"message":{"content":"one`)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		if strings.HasSuffix(r.URL.Path, "/responses") {
			io.WriteString(w, `event: response.output_text.delta`+"\n"+`data: {"type":"response.output_text.delta","delta":"one "}`+"\n\n")
			return
		}
		io.WriteString(w, chunk)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/v1"
}

// node runs a script of the folder node with OpenAI's client.
func node(t testing.TB, args ...string) string {
	t.Helper()
	program, err := exec.LookPath("node")
	if err != nil {
		t.Skip("skipped: node is not installed")
	}
	if _, err := os.Stat(filepath.Join("node", "node_modules", "openai")); err != nil {
		t.Skip("skipped: the npm package openai is not installed; run npm ci in integration/node")
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = "node"
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("node %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// withBreaks saves a configuration with a model cut, and with a shorter patience
// for silence than the usual 120 s, and waits until it is in force.
func withBreaks(t testing.TB, g *gateway) {
	t.Helper()
	text := strings.Replace(read(t, g.file), "\n{\n", "\n{\n  timeouts: { stall: 0.5 },\n", 1)
	text = strings.Replace(text, "instances: [\n", fmt.Sprintf("instances: [\n{ url: %q, model_name: \"cut\" },\n", startCut(t)), 1)
	write(t, g.file, text)
	eventually(t, "the model cut to be there", func() bool { return len(g.health(t).Instances) == 3 })
}

// TestNodeFaults guards row C24: whatever breaks in the middle of an answer,
// OpenAI's client for Node raises an exception, for a stream while the program
// iterates over it and with the text so far given. None ends as if it were whole.
func TestNodeFaults(t *testing.T) {
	g := start(t)
	withBreaks(t, g)
	faults := []string{"reset_mid", "eof_mid", "bad_chunk", "hang_mid", "error_event", "model/cut"}
	got := make(map[string]string)
	for line := range strings.Lines(node(t, append([]string{"faults.mjs", g.url + "/v1"}, faults...)...)) {
		name, result, _ := strings.Cut(strings.TrimSpace(line), ": ")
		got[name] = result
	}
	for _, fault := range faults {
		for _, api := range []string{"chat", "completions", "responses"} {
			wantRaised(t, got, fault, api)
		}
	}
	if len(got) != 6*len(faults) {
		t.Errorf("got %d results, want %d", len(got), 6*len(faults))
	}
}

// soFar is the text before a break, after 7 events or those of the model cut.
var soFar = map[string]string{
	"chat": "one two three four five six", "completions": "one two three four five six seven", "responses": "one two three",
}

func wantRaised(t testing.TB, got map[string]string, fault, api string) {
	t.Helper()
	text := soFar[api]
	if fault == "model/cut" {
		text = "one"
	}
	name := fault + " " + api + " stream"
	if raised := regexp.MustCompile(`^(API)?Error while iterating after "` + text + `"$`); !raised.MatchString(got[name]) {
		t.Errorf("%s: got %s, want an error while iterating after %q", name, got[name], text)
	}
	name = fault + " " + api + " plain"
	want := regexp.MustCompile(`^(API)?Error at once after ""$`)
	if fault == "error_event" { // plain answers have none
		want = regexp.MustCompile(`^one two three four five six seven eight$`)
	}
	if !want.MatchString(got[name]) {
		t.Errorf("%s: got %s, want %s", name, got[name], want)
	}
}

// TestNodeSame guards row C24 for whole answers: OpenAI's client for Node notices no
// difference between the gateway and the model server behind it.
func TestNodeSame(t *testing.T) {
	g := start(t)
	server := regexp.MustCompile(`url: "(http://127\.0\.0\.1:\d+/v1)", model_name: "echo"`).FindStringSubmatch(read(t, g.file))
	if server == nil {
		t.Fatal("config.json5 has no stand-in")
	}
	through, direct := node(t, "faults.mjs", g.url+"/v1", "none"), node(t, "faults.mjs", server[1], "none")
	if through != direct || strings.Count(through, ": one two three four five six seven eight\n") != 6 {
		t.Errorf("through the gateway\n%swithout it\n%s", through, direct)
	}
}
