package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/simpleaigateway/caddy-ai-gateway/echomodel"
)

// startInstances runs n stand-ins for model servers in this process until the test
// ends, and returns their URLs. No reload, stop or kill of the gateway touches them.
func startInstances(t testing.TB, n int) []string {
	t.Helper()
	var urls []string
	for i := range n {
		urls = append(urls, startInstance(t, fmt.Sprint("echo-", i), echomodel.Script{}))
	}
	return urls
}

// startInstance runs one that answers as the script says.
func startInstance(t testing.TB, name string, script echomodel.Script) (url string) {
	t.Helper()
	echo := echomodel.New(echomodel.Options{Name: name, Script: script})
	server := httptest.NewServer(echo)
	t.Cleanup(server.Close)
	t.Cleanup(func() { echo.Close() })
	return server.URL + "/v1"
}

// serves gives the gateway a config.json5 with these instances and further members,
// each with a comma behind it, and waits until it is in force.
func (g *gateway) serves(t testing.TB, members string, urls ...string) {
	t.Helper()
	entries := make([]string, len(urls))
	for i, u := range urls {
		entries[i] = fmt.Sprintf(`{url: %q, model_name: "echo", name: "i%d"}`, u, i)
	}
	write(t, g.file, fmt.Sprintf("{%s instances: [%s]}", members, strings.Join(entries, ", ")))
	eventually(t, "the instances to be in force", func() bool {
		var names []string
		for _, i := range g.health(t).Instances {
			names = append(names, i.Name)
		}
		slices.Sort(names)
		return len(names) == len(urls) && names[0] == "i0"
	})
}

// instance returns what /health says of the n-th instance of [gateway.serves].
func (g *gateway) instance(t testing.TB, n int) instance {
	t.Helper()
	for _, i := range g.health(t).Instances {
		if i.Name == fmt.Sprint("i", n) {
			return i
		}
	}
	t.Fatalf("there is no instance %d in /health", n)
	return instance{}
}

// received is an answer as far as it came. Err is how it ended, nil for a whole one.
type received struct {
	status int
	id     string // the gateway's, of the request
	body   string
	err    error
}

// plainClient keeps no connections: a process that ends must not be asked by an old one.
var plainClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// posts sends body to path and reads the answer to its end, whatever that is. Begun,
// unless it is nil, is called after the first byte.
func (g *gateway) posts(path, body string, begun func()) (r received) {
	res, err := plainClient.Post(g.url+path, "application/json", strings.NewReader(body))
	if err != nil {
		return received{err: err}
	}
	defer res.Body.Close()
	r.status, r.id = res.StatusCode, res.Header.Get("X-Ai-Gateway-Request-Id")
	first := make([]byte, 1)
	if _, r.err = io.ReadFull(res.Body, first); r.err != nil {
		return r
	}
	if begun != nil {
		begun()
	}
	rest, err := io.ReadAll(res.Body)
	r.body, r.err = string(first)+string(rest), err
	return r
}

// chatOf asks for an answer of so many tokens, 20 ms apart.
func chatOf(stream bool, tokens int) string {
	return fmt.Sprintf(`{"model":"echo","stream":%v,"messages":[{"role":"user","content":"hi"}],"echo":{"tokens":%d,"itl":"20ms"}}`, stream, tokens)
}

// wholeStream returns what is wrong with the answer to [chatOf] of a stream, nil if nothing.
func wholeStream(r received, tokens int) error {
	if r.status != http.StatusOK || r.err != nil {
		return fmt.Errorf("status %d, error %w after %s", r.status, r.err, end(r.body))
	}
	var want strings.Builder
	for n := range tokens {
		fmt.Fprintf(&want, "w%d ", n+1)
	}
	got := ""
	for event := range strings.SplitSeq(r.body, "\n\n") {
		data, ok := strings.CutPrefix(event, "data: ")
		if !ok || data == "[DONE]" {
			continue
		}
		var chunk struct {
			Choices []struct{ Delta struct{ Content string } }
		}
		if err := json.Unmarshal([]byte(data), &chunk); err != nil {
			return fmt.Errorf("event %.300s: %w", data, err)
		}
		for _, c := range chunk.Choices {
			got += c.Delta.Content
		}
	}
	if strings.TrimSpace(got) != strings.TrimSpace(want.String()) || !strings.HasSuffix(r.body, "data: [DONE]\n\n") {
		return fmt.Errorf("got %d bytes of content that end in %s, want w1 to w%d and the end mark", len(got), end(got), tokens)
	}
	return nil
}

// streams asks for n streams at once and returns when all have begun. The function
// that it returns waits for their ends.
func (g *gateway) streams(path, body string, n int) (wait func() []received) {
	all := make([]received, n)
	var begun, ended sync.WaitGroup
	begun.Add(n)
	for i := range all {
		ended.Go(func() {
			once := sync.OnceFunc(begun.Done)
			defer once()
			all[i] = g.posts(path, body, once)
		})
	}
	begun.Wait()
	return func() []received {
		ended.Wait()
		return all
	}
}

// records returns the lines below data_dir in the folder of that name, by the ID of
// their exchange, without backslashes. An exchange that is there twice fails the test.
func (g *gateway) records(t testing.TB, folder string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(g.dir, "data", folder, "*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	lines := make(map[string]string)
	for _, file := range files {
		text := read(t, file)
		if text != "" && !strings.HasSuffix(text, "\n") {
			t.Errorf("%s ends in the middle of a line", file)
		}
		for line := range strings.Lines(text) {
			var record struct{ ID string }
			if err := json.Unmarshal([]byte(line), &record); err != nil {
				t.Errorf("%s: %.200s: %v", file, line, err)
			}
			id := strings.TrimSuffix(record.ID, "-0")
			if lines[id] != "" {
				t.Errorf("exchange %s is recorded twice", id)
			}
			lines[id] = strings.ReplaceAll(line, `\`, "") // the members of meta are a text of their own
		}
	}
	return lines
}
