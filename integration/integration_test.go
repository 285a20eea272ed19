// Package integration tests the gateway as its users meet it: the built binary,
// the example files, real sockets, and OpenAI's clients for Go and Node.
package integration

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

// connect returns OpenAI's client as the README sets it up, without its retries,
// which would hide errors.
func connect(g *gateway) openai.Client {
	return openai.NewClient(option.WithBaseURL(g.url+"/v1/"), option.WithAPIKey("EMPTY"), option.WithMaxRetries(0))
}

func ask(text string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model: "echo", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(text)},
	}
}

// health is what the tests read of /health.
type health struct {
	Status    string
	Instances map[string]instance
	Recorder  struct {
		Written int
		Dropped map[string]int
		Queued  int
	}
}

type instance struct {
	Name   string
	Weight int
	Active int64  `json:"active_connections"`
	Errors int    `json:"recent_errors"`
	State  string // serving, ejected, half_open or ramping
	Reason string
	Wait   float64 // seconds
}

func (g *gateway) health(t testing.TB) (h health) {
	t.Helper()
	if err := json.Unmarshal([]byte(get(t, g.url+"/health")), &h); err != nil {
		t.Fatal(err)
	}
	return h
}

// TestChat guards that the example answers OpenAI's client for Go at once.
func TestChat(t *testing.T) {
	g := start(t)
	client := connect(g)
	const text = "good morning to all of you"

	plain, err := client.Chat.Completions.New(t.Context(), ask(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := plain.Choices[0].Message.Content; got != text {
		t.Errorf("answer: got %q, want %q", got, text)
	}

	params := ask(text)
	params.StreamOptions.IncludeUsage = openai.Bool(true)
	answer, pieces, tokens := "", 0, int64(0)
	stream := client.Chat.Completions.NewStreaming(t.Context(), params)
	for stream.Next() {
		chunk := stream.Current()
		tokens += chunk.Usage.CompletionTokens
		for _, choice := range chunk.Choices {
			if answer += choice.Delta.Content; choice.Delta.Content != "" {
				pieces++
			}
		}
	}
	if err := stream.Err(); err != nil || answer != text || pieces != 6 || tokens != 6 {
		t.Errorf("stream: got %q in %d pieces, %d tokens and error %v, want %q, 6 and 6", answer, pieces, tokens, err, text)
	}

	embeddings, err := client.Embeddings.New(t.Context(), openai.EmbeddingNewParams{
		Model: "echo", Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"one", "two"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := embeddings.Data; len(got) != 2 || len(got[0].Embedding) == 0 || slices.Equal(got[0].Embedding, got[1].Embedding) {
		t.Errorf("embeddings: got %v, want two that differ", got)
	}

	models, err := client.Models.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(models.Data) != 1 || models.Data[0].ID != "echo" {
		t.Errorf("models: got %v, want echo", models.Data)
	}

	params.Model = "unknown"
	_, err = client.Chat.Completions.New(t.Context(), params)
	if failed, ok := errors.AsType[*openai.Error](err); !ok || failed.StatusCode != http.StatusNotFound || failed.Code != "model_not_found" {
		t.Errorf("unknown model: got %v, want status 404 and code model_not_found", err)
	}
}

// TestStreamIsLive guards that what an instance has said reaches the client while
// the instance is silent, and that the instance is free once the client has left.
func TestStreamIsLive(t *testing.T) {
	g := start(t)
	client := connect(g)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	stream := client.Chat.Completions.NewStreaming(ctx, ask("one two three"),
		option.WithJSONSet("echo", map[string]any{"fault": "hang_mid", "after": 3}))
	defer stream.Close()
	answer := ""
	for answer != "one two " {
		if !stream.Next() {
			t.Fatalf("stream ended after %q: %v", answer, stream.Err())
		}
		answer += stream.Current().Choices[0].Delta.Content
	}
	busy := func() (n int64) {
		for _, i := range g.health(t).Instances {
			n += i.Active
		}
		return n
	}
	if got := busy(); got != 1 {
		t.Errorf("got %d requests under way, want 1", got)
	}
	leave()
	eventually(t, "the instance to be free", func() bool { return busy() == 0 })
}

// TestNode guards that OpenAI's client for Node works as well.
func TestNode(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("skipped: node is not installed")
	}
	if _, err := os.Stat(filepath.Join("node", "node_modules", "openai")); err != nil {
		t.Skip("skipped: the npm package openai is not installed; run npm ci in integration/node")
	}
	g := start(t)
	cmd := exec.CommandContext(t.Context(), node, "chat.mjs", g.url+"/v1")
	cmd.Dir = "node"
	out, err := cmd.CombinedOutput()
	const want = `plain: good morning to all of you
stream: good morning to all of you (6 pieces)
models: echo
unknown model: 404 model_not_found
`
	if got := string(out); err != nil || got != want {
		t.Errorf("chat.mjs: %v\ngot  %s\nwant %s", err, got, want)
	}
}

// traffic sends chats from several clients until it is ended, and counts the good
// answers.
type traffic struct {
	good  atomic.Int64
	end   context.CancelFunc
	done  sync.WaitGroup
	wrong chan error // the first error of each client
}

func send(t testing.TB, g *gateway) *traffic {
	t.Helper()
	const clients = 4
	client := connect(g)
	ctx, cancel := context.WithCancel(t.Context())
	tr := &traffic{end: cancel, wrong: make(chan error, clients)}
	for range clients {
		tr.done.Go(func() {
			for {
				answer, err := client.Chat.Completions.New(ctx, ask("hello"))
				if ctx.Err() != nil {
					return
				}
				if err == nil && answer.Choices[0].Message.Content != "hello" {
					err = errors.New("answer is not hello: " + answer.RawJSON())
				}
				if err != nil {
					tr.wrong <- err
					return
				}
				tr.good.Add(1)
			}
		})
	}
	t.Cleanup(func() { tr.stop(t) })
	return tr
}

// flows waits until another n requests are answered, and reports any error.
func (tr *traffic) flows(t testing.TB, n int64) {
	t.Helper()
	want := tr.good.Load() + n
	eventually(t, "requests to be answered", func() bool {
		select {
		case err := <-tr.wrong:
			t.Fatalf("a request failed: %v", err)
		default:
		}
		return tr.good.Load() >= want
	})
}

// stop ends the traffic and reports any error. It may be called again.
func (tr *traffic) stop(t testing.TB) {
	t.Helper()
	tr.end()
	tr.done.Wait()
	select {
	case err := <-tr.wrong:
		t.Errorf("a request failed: %v", err)
	default:
	}
}

// TestSwap guards that a saved config.json5 takes effect while requests flow, a
// broken one does not, and neither costs a request.
func TestSwap(t *testing.T) {
	g := start(t)
	tr := send(t, g)
	tr.flows(t, 20)
	both := read(t, g.file)
	entry := regexp.MustCompile(`(?m)^    \{ url: .*\n`)
	if n := len(entry.FindAllString(both, -1)); n != 2 {
		t.Fatalf("config.json5 has %d instances on a line of their own, want 2", n)
	}
	first := true
	one := entry.ReplaceAllStringFunc(both, func(line string) string {
		if first {
			first = false
			return ""
		}
		return line
	})

	write(t, g.file, one)
	eventually(t, "one instance to be left", func() bool { return len(g.health(t).Instances) == 1 })
	tr.flows(t, 20)

	write(t, g.file, strings.Replace(both, "instances: [", "instances: [[", 1))
	eventually(t, "the mistake to be logged", func() bool {
		return regexp.MustCompile(`"level":"error".*config\.json5`).MatchString(g.log.String())
	})
	if n := len(g.health(t).Instances); n != 1 {
		t.Errorf("got %d instances after a broken file, want the 1 of before", n)
	}
	tr.flows(t, 20)

	write(t, g.file, strings.ReplaceAll(both, `weight: 1 }`, `weight: 7 }`))
	eventually(t, "both instances to be back", func() bool { return len(g.health(t).Instances) == 2 })
	for id, i := range g.health(t).Instances {
		if i.Weight != 7 {
			t.Errorf("instance %s: got weight %d, want 7", id, i.Weight)
		}
	}
	tr.flows(t, 20)
	tr.stop(t)
}

// longStream asks for an answer of a second or two, and returns a function that
// waits for its end, which must be a whole one.
func longStream(t testing.TB, g *gateway) (finish func()) {
	t.Helper()
	client := connect(g)
	text := strings.TrimSpace(strings.Repeat("word ", 40))
	stream := client.Chat.Completions.NewStreaming(t.Context(), ask(text))
	answer := ""
	next := func() bool {
		if !stream.Next() {
			return false
		}
		for _, choice := range stream.Current().Choices {
			answer += choice.Delta.Content
		}
		return true
	}
	if !next() {
		t.Fatalf("stream did not begin: %v", stream.Err())
	}
	return func() {
		t.Helper()
		for next() {
		}
		if err := stream.Err(); err != nil || answer != text {
			t.Errorf("stream: got %d of %d bytes and error %v", len(answer), len(text), err)
		}
	}
}

// TestReload guards that a reload of Caddy's configuration breaks no stream. The
// stand-ins of another process answer, as model servers are not reloaded along.
func TestReload(t *testing.T) {
	servers, g := start(t), start(t)
	before := g.health(t).Instances
	write(t, g.file, read(t, servers.file))
	eventually(t, "other instances", func() bool {
		after := g.health(t).Instances
		for id := range before {
			if _, still := after[id]; still {
				return false
			}
		}
		return len(after) == len(before)
	})
	finish := longStream(t, g)
	run(t, g.dir, nil, "reload", "--force", "--address", g.admin, "--config", "Caddyfile.example")
	finish()
	if h := g.health(t); h.Status != "healthy" || len(h.Instances) != 2 {
		t.Errorf("got %+v after the reload, want it healthy with 2 instances", h)
	}
}

// TestStop guards that SIGTERM ends the process in order: streams under way come
// to their end, and the exit code is 0.
func TestStop(t *testing.T) {
	g := start(t)
	finish := longStream(t, g)
	stopped := make(chan error, 1)
	go func() { stopped <- g.stop() }()
	finish()
	if err := <-stopped; err != nil {
		t.Errorf("got %v, want exit code 0", err)
	}
}

// TestStopRecords guards that a stream which outlasts the grace period is recorded
// as far as it has come when the process ends.
func TestStopRecords(t *testing.T) {
	servers, g := start(t), start(t)
	write(t, g.file, read(t, servers.file))
	caddyfile := filepath.Join(g.dir, "Caddyfile.example")
	write(t, caddyfile, strings.Replace(read(t, caddyfile), "grace_period 30s", "grace_period 1s", 1))
	run(t, g.dir, nil, "reload", "--force", "--address", g.admin, "--config", "Caddyfile.example")
	res, err := http.Post(g.url+"/v1/chat/completions", "application/json",
		strings.NewReader(`{"model":"echo","stream":true,"messages":[{"role":"user","content":"hi"}],"echo":{"tokens":10000}}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadFull(res.Body, make([]byte, 2<<10)); err != nil {
		t.Fatal(err)
	}
	if err := g.stop(); err != nil {
		t.Errorf("got %v, want exit code 0", err)
	}
	files, err := filepath.Glob(filepath.Join(g.dir, "data", "requests_responses_incomplete", "*.jsonl"))
	if err != nil || len(files) != 1 {
		t.Fatalf("got the files %q %v, want one", files, err)
	}
	if text := read(t, files[0]); strings.Count(text, "\n") != 1 || !strings.Contains(text, `"value":"w1 w2 w3`) {
		t.Errorf("got %.300s, want one record of what came", text)
	}
}

// TestCommands guards that Caddy's own commands take the example, and find the
// modules.
func TestCommands(t *testing.T) {
	dir := t.TempDir()
	copyExamples(t, dir, strings.NewReplacer(":9999", ":19999", ":9101", ":19101", ":9102", ":19102"))
	if _, stderr := run(t, dir, nil, "validate", "--config", "Caddyfile.example"); strings.Contains(stderr, `"level":"error"`) {
		t.Errorf("validate: %s", stderr)
	}
	adapted, stderr := run(t, dir, nil, "adapt", "--config", "Caddyfile.example")
	if !json.Valid([]byte(adapted)) || strings.Contains(adapted, "not formatted") || strings.Contains(stderr, "warn") {
		t.Errorf("adapt: got %s %s, want JSON and no warning", adapted, stderr)
	}
	if formatted, _ := run(t, dir, nil, "fmt", "Caddyfile.example"); formatted != read(t, filepath.Join(dir, "Caddyfile.example")) {
		t.Errorf("fmt would change Caddyfile.example to:\n%s", formatted)
	}
	modules, _ := run(t, dir, nil, "list-modules")
	for _, module := range []string{"http.handlers.ai_gateway", "http.handlers.echo_model", "http.reverse_proxy.upstreams.ai_gateway", "admin.api.ai_gateway"} {
		if !slices.Contains(strings.Split(modules, "\n"), module) {
			t.Errorf("list-modules shows no %s", module)
		}
	}
}
