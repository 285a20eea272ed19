package aigateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/simpleaigateway/caddy-ai-gateway/echomodel"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
)

// tokens are the series of an instance's tokens.
func tokens(metric, upstream, kind string) string {
	return fmt.Sprintf("%s{model=\"m\",type=%q,upstream=%q}", metric, kind, upstream)
}

// wantTokens waits until the series have moved by what want says since before, and no
// other ones of tokens have, but for those of the instance "not".
func (g *gateway) wantTokens(t *testing.T, what string, before, want map[string]float64) {
	t.Helper()
	var got map[string]float64
	settled := func() bool {
		got = moved(before, g.series(t))
		for name := range got {
			if !strings.HasPrefix(name, "tokens_") || strings.Contains(name, `upstream="not"`) {
				delete(got, name)
			}
		}
		return fmt.Sprint(got) == fmt.Sprint(want)
	}
	for tries := 0; !settled(); tries++ {
		if tries == 100 {
			t.Errorf("%s: got tokens %v, want %v", what, got, want)
			return
		}
		g.wantIdle(t)
	}
}

// versions are what a server sends that is asked for the usage, and what it sends if it
// is not.
type versions struct {
	asked, unasked     string
	prompt, completion float64 // told in the answer to who asks; 0 if nothing is
}

// versionsOf makes them of a recorded stream. One that has no chunk with the usage
// alone is given one if add is set.
func versionsOf(t *testing.T, e *transcript, add bool) versions {
	t.Helper()
	v := versions{asked: string(e.body), unasked: string(e.body)}
	if u := e.Expected.Usage; u != nil {
		v.prompt, v.completion = u.Prompt, u.Completion
	}
	finish := 0
	for at := 0; at < len(v.asked); {
		end := strings.Index(v.asked[at:], "\n\n") + 2
		if end < 2 {
			break
		}
		event := v.asked[at : at+end]
		var c struct {
			Choices []struct {
				Finish string `json:"finish_reason"`
			}
			Usage       map[string]any
			Fingerprint json.RawMessage `json:"system_fingerprint"`
		}
		_, payload, _ := strings.Cut(event, "data:")
		if json.Unmarshal([]byte(payload), &c) == nil && c.Choices != nil && len(c.Choices) == 0 && c.Usage != nil {
			v.unasked = v.asked[:at] + v.asked[at+end:]
			if strings.HasPrefix(e.Server, "vLLM 0.24") { // it writes this into its last chunk, whichever that is
				v.unasked = v.asked[:finish-3] + `,"system_fingerprint":` + string(c.Fingerprint) + v.asked[finish-3:at] + v.asked[at+end:]
			}
			return v
		}
		if at += end; len(c.Choices) > 0 && c.Choices[0].Finish != "" {
			finish = at
		}
	}
	if add {
		at := strings.LastIndex(v.asked, "data: [DONE]")
		if at < 0 {
			v.asked = strings.TrimRight(v.asked, "\n") + "\n\n"
			v.unasked = v.asked
			at = len(v.asked)
		}
		v.prompt, v.completion = 1234, 567
		v.asked = v.asked[:at] + `data: {"id":"x","choices":[],"usage":{"prompt_tokens":1234,"completion_tokens":567,"total_tokens":1801}}` + "\n\n" + v.asked[at:]
	}
	return v
}

// TestUsageTranscripts replays every recorded stream of chat completions and completions
// from a server that sends its usage when asked. A client that has not asked for it gets
// the very bytes that it would get from a server that was not asked either, in
// whatever pieces they come; a client that has gets the rest too; and the metrics have the
// tokens that the recordings' index has.
func TestUsageTranscripts(t *testing.T) {
	var mu sync.Mutex
	var now versions
	size := 0
	server := startWitness(t, nil)
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("instance cannot read its request: %v", err)
		}
		var ask struct {
			Options struct {
				Usage bool `json:"include_usage"`
			} `json:"stream_options"`
		}
		if err := json.Unmarshal(body, &ask); err != nil {
			t.Errorf("instance got %q: %v", body, err)
		}
		mu.Lock()
		text, n := now.unasked, size
		if ask.Options.Usage {
			text = now.asked
		}
		mu.Unlock()
		w.Header().Set("Content-Type", "text/event-stream")
		for piece := range slicesOf([]byte(text), n) {
			w.Write(piece)
			http.NewResponseController(w).Flush()
		}
	})
	g := startMeasured(t, fmt.Sprintf(`{"record": {"enabled": false}, "error_threshold": 1000, "instances": [
		{"url": "%[1]s/v1", "model_name": "m", "name": "asked", "engine": "vllm"}, {"url": "%[1]s/v1", "model_name": "n", "name": "not", "engine": "vllm", "ask_usage": false}]}`, server.URL))
	options := []string{``, `,"stream_options":null`, `,"stream_options":{}`, `,"stream_options":{"include_usage":false,"x":1}`}
	replayed, cut, counted := 0, 0, 0
	transcripts := loadTranscripts(t)
	for n := range transcripts {
		e := &transcripts[n]
		if e.API != "chat" && e.API != "completions" || e.ContentType != "text/event-stream" {
			continue
		}
		replayed++
		path := map[string]string{"chat": chatPath, "completions": "/v1/completions"}[e.API]
		for _, add := range []bool{false, true} {
			v := versionsOf(t, e, add)
			if add && v == versionsOf(t, e, false) {
				continue
			}
			if v.asked != v.unasked {
				cut++
			}
			before := g.series(t)
			send := func(what, model, options, want string) {
				t.Helper()
				got := g.sends(t, path, `{"model":"`+model+`","stream":true`+options+`}`)
				if got.status != http.StatusOK || got.body != want {
					t.Errorf("%s, %s in pieces of %d: got status %d, %d bytes, want %d:\n%.2000q\n%.2000q", e.Name, what, size, got.status, len(got.body), len(want), got.body, want)
				}
			}
			sizes := []int{len(v.asked), 1, 7, 4096}
			if raceDetector { // more pieces of a stream give it no more to find
				sizes[1], sizes[2] = 61, 251
			}
			for n, pieces := range sizes {
				mu.Lock()
				now, size = v, pieces
				mu.Unlock()
				send("not asked for", "m", options[n], v.unasked)
				if pieces > 1 { // or it is [TestTranscripts]
					send("instance not asked", "n", options[n], v.unasked)
				}
			}
			send("asked for", "m", `,"stream_options":{"include_usage":true}`, v.asked)
			if v.prompt == 0 { // the index has none
				continue
			}
			counted++
			g.wantTokens(t, e.Name, before, map[string]float64{
				tokens("tokens_total", "asked", "prompt"): 5 * v.prompt, tokens("tokens_total", "asked", "completion"): 5 * v.completion,
			})
		}
	}
	if replayed < 50 || cut < replayed || counted < replayed {
		t.Errorf("%d streams, %d with a chunk to take out, %d counted; want more", replayed, cut, counted)
	}
	t.Logf("%d streams, %d with a chunk to take out, %d with tokens in the index", replayed, cut, counted)
}

// TestUsageEdit guards what an instance is sent that is asked for usage: the client's
// bytes, but for the model's name and the least that asks for it.
func TestUsageEdit(t *testing.T) {
	w := startWitness(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, chatStream)
	})
	g := startGateway(t, fmt.Sprintf(`{"record": {"enabled": false}, "instances": [
		{"url": "%[1]s/v1", "model_name": "m", "engine": "vllm"}, {"url": "%[1]s/v1", "model_name": "long", "upstream_model": "a/longer/name", "ask_usage": true},
		{"url": "%[1]s/v1", "model_name": "not", "engine": "vllm", "ask_usage": false, "upstream_model": "n"}, {"url": "%[1]s/v1", "model_name": "unknown"}]}`, w.URL))
	f := func(path, body, want string) {
		t.Helper()
		if got := g.sends(t, path, body); got.status != http.StatusOK || got.body != chatStream {
			t.Errorf("%s: got status %d %q", body, got.status, got.body)
		}
		if got := w.last(t); got.body != want || got.length != int64(len(want)) {
			t.Errorf("%s: instance got\n%s of length %d, want\n%s", body, got.body, got.length, want)
		}
	}
	same := func(path, body string) {
		t.Helper()
		f(path, body, body)
	}
	const on = `"stream_options":{"include_usage":true}`
	f(chatPath, `{"model":"m","stream":true}`, `{`+on+`,"model":"m","stream":true}`)
	f("/v1/completions", " {\n \"stream\" : true, \"model\":\"m\", \"prompt\": \"x\"} ", " {"+on+",\n \"stream\" : true, \"model\":\"m\", \"prompt\": \"x\"} ")
	f(chatPath, `{"stream_options": null,"stream":true,"model":"m"}`, `{"stream_options": {"include_usage":true},"stream":true,"model":"m"}`)
	f(chatPath, `{"stream_options":{},"stream":true,"model":"m"}`, `{`+on+`,"stream":true,"model":"m"}`)
	f(chatPath, `{"model":"m","stream":true,"stream_options": { "x" : 1 } }`, `{"model":"m","stream":true,"stream_options": {"include_usage":true, "x" : 1 } }`)
	f(chatPath, `{"model":"m","stream_options":{"include_usage": false },"stream":true}`, `{"model":"m","stream_options":{"include_usage": true },"stream":true}`)
	f(chatPath, `{"model":"m","stream_options":{"a":[{"include_usage":1}],"include_usage":null},"stream":true}`,
		`{"model":"m","stream_options":{"a":[{"include_usage":1}],"include_usage":true},"stream":true}`)

	// The model changes too, in front of it and behind it, or is not given.
	f(chatPath, `{"model":"long","stream":true}`, `{`+on+`,"model":"a/longer/name","stream":true}`)
	f(chatPath, `{"model":"long","stream":true,"stream_options":{}}`, `{"model":"a/longer/name","stream":true,`+on+`}`)
	f(chatPath, `{"stream_options":{"include_usage":false},"stream":true,"model":"long","x":1}`, `{`+on+`,"stream":true,"model":"a/longer/name","x":1}`)
	f(chatPath, `{"model":"not","stream":true}`, `{"model":"n","stream":true}`)

	// Nothing to do, or nobody knows what.
	same(chatPath, `{"model":"m","stream":true,`+on+`}`)
	same(chatPath, `{"model":"m"}`)
	same(chatPath, `{"model":"m","stream":false,"stream_options":null}`)
	same(chatPath, `{"model":"unknown","stream":true}`)
	for _, path := range []string{"/v1/responses", "/v1/messages"} {
		body := `{"model":"m","stream":true}`
		g.sends(t, path, body)
		if got := w.last(t); got.uri != path || got.body != body {
			t.Errorf("%s: instance got %s at %s", path, got.body, got.uri)
		}
	}
	for _, value := range []string{
		`"x"`, `[]`, `1`, `true`, `{"include_usage":"false"}`, `{"include_usage":0}`, `{"include_usage":false,"include_usage":false}`, `{"continuous_usage_stats":true}`,
		`{"include_usage":false,"continuous_usage_stats":true}`,
	} {
		same(chatPath, `{"model":"m","stream":true,"stream_options":`+value+`}`)
	}
	same(chatPath, `{"model":"m","stream":true,"n":2}`)
	same("/v1/completions", `{"model":"m","stream":true,"prompt":["a","b"]}`)

	if status, body := g.post(t, chatPath, `{"model":"m","stream":true,"stream_options":null,"stream_options":{}}`); status != http.StatusBadRequest || !strings.Contains(body, "stream_options") {
		t.Errorf("stream_options twice: got %d %s, want 400", status, body)
	}
}

// TestUsageWithoutModel guards that a body without a model gets both members.
func TestUsageWithoutModel(t *testing.T) {
	w := startWitness(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, chatStream)
	})
	g := startGateway(t, fmt.Sprintf(`{"record": {"enabled": false}, "instances": [{"url": "%s/v1", "model_name": "m", "engine": "sglang", "upstream_model": "u"}]}`, w.URL))
	wantWhole(t, g.sends(t, chatPath, `{"stream":true}`))
	if got, want := w.last(t).body, `{"model":"u","stream_options":{"include_usage":true},"stream":true}`; got != want {
		t.Errorf("instance got %s, want %s", got, want)
	}
}

// TestUsageRefused guards that an instance which does not know what it is asked for
// costs the client nothing: it gets the answer to what it has sent. The instance is
// not asked again until the next swap.
func TestUsageRefused(t *testing.T) {
	var mu sync.Mutex
	knows, status := false, http.StatusBadRequest
	w := startWitness(t, nil)
	w.Config.Handler = func(note http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			text, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(strings.NewReader(string(text)))
			note.ServeHTTP(nowhere{}, r)
			mu.Lock()
			defer mu.Unlock()
			switch asks := strings.Contains(string(text), "stream_options"); {
			case strings.Contains(string(text), "bad"):
				http.Error(rw, `{"error":{"message":"bad: `+strings.ReplaceAll(string(text), `"`, `'`)+`"}}`, status)
			case asks && !knows:
				http.Error(rw, `{"error":{"message":"Unrecognized request argument supplied: stream_options"}}`, status)
			default:
				rw.Header().Set("Content-Type", "text/event-stream")
				io.WriteString(rw, chatStream)
			}
		})
	}(w.Config.Handler)
	fleet := fmt.Sprintf(`{"record": {"enabled": false}, "instances": [{"url": "%s/v1", "model_name": "m", "ask_usage": true}]}`, w.URL)
	g := startGateway(t, fleet)
	f := func(what, body string, status int, asked ...bool) {
		t.Helper()
		before := w.count()
		got := g.sends(t, chatPath, body)
		if got.status != status || status == http.StatusOK && got.body != chatStream || strings.Contains(got.body, "stream_options") {
			t.Errorf("%s: got status %d %q, want %d", what, got.status, got.body, status)
		}
		var seen []bool
		w.mu.Lock()
		for _, r := range w.seen[before:] {
			seen = append(seen, strings.Contains(r.body, "stream_options"))
		}
		w.mu.Unlock()
		if !slices.Equal(seen, asked) {
			t.Errorf("%s: instance was asked %v, want %v", what, seen, asked)
		}
		g.wantMarks(t, what, 0)
		if tried := got.header.Get("X-Ai-Gateway-Attempts"); tried != "1" {
			t.Errorf("%s: got %s attempts, want 1", what, tried)
		}
	}
	const stream, bad = `{"model":"m","stream":true}`, `{"model":"m","stream":true,"bad":1}`
	f("the client's own mistake", bad, 400, true, false) // the text of the first error names the gateway's member
	f("an instance that refuses", stream, 200, true, false)
	f("and once it is known", stream, 200, false)
	f("a mistake then", bad, 400, false)
	g.save(t, fleet+" ")
	mu.Lock()
	status = http.StatusUnprocessableEntity
	mu.Unlock()
	f("behind a swap, with 422", stream, 200, true, false)
	f("and then", stream, 200, false)
	mu.Lock()
	knows = true
	mu.Unlock()
	g.save(t, fleet)
	f("behind a swap, of a server that has learnt it", stream, 200, true)
	f("and then", stream, 200, true)
}

// nowhere is an answer that nobody gets.
type nowhere struct{}

func (nowhere) Header() http.Header         { return make(http.Header) }
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) WriteHeader(int)             {}

// TestUsageDefaults guards which engines are asked.
func TestUsageDefaults(t *testing.T) {
	yes, no := true, false
	f := func(engine string, ask *bool, want ...openai.Dialect) {
		t.Helper()
		if got := (&InstanceConfig{Engine: engine, AskUsage: ask}).asked(); !slices.Equal(got, want) {
			t.Errorf("engine %q: got %v, want %v", engine, got, want)
		}
	}
	known := map[string]int{"vllm": 2, "sglang": 2, "llama.cpp": 1, "ollama": 1}
	for _, engine := range append([]string{""}, engines...) {
		f(engine, nil, []openai.Dialect{openai.Chat, openai.Completions}[:known[engine]]...)
		f(engine, &yes, openai.Chat, openai.Completions)
		f(engine, &no)
	}
}

// TestUsageEstimated guards that the tokens of a stream that does not tell them are
// estimated, also of one that its client leaves, and are never added to those that are
// told.
func TestUsageEstimated(t *testing.T) {
	a := startStandIn(t, "a")
	g := startMeasured(t, fmt.Sprintf(`{"instances": [{"url": %q, "model_name": "m", "name": "a"}]}`, a.url))
	prompt := strings.Repeat("word ", 40)
	body := `{"model":"m","stream":true,"messages":[{"role":"user","content":"` + prompt + `"}]}`
	of := func(prompt, completion int) map[string]float64 {
		return map[string]float64{
			tokens("tokens_estimated_total", "a", "prompt"): float64(prompt), tokens("tokens_estimated_total", "a", "completion"): float64(completion),
		}
	}
	before := g.series(t)
	wantWhole(t, g.sends(t, chatPath, body))
	g.wantTokens(t, "a whole stream", before, of((len(body)+3)/4, 40))

	before = g.series(t)
	image := `{"model":"m","stream":true,"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,` +
		strings.Repeat("QUFB", 1000) + `"}},{"type":"text","text":"a b c"}]}]}`
	wantWhole(t, g.sends(t, chatPath, image))
	g.wantTokens(t, "an image", before, of((len(image)-4000+3)/4+imageTokens, 3))

	before = g.series(t)
	a.plays(echomodel.Script{Fault: "hang_mid", After: 6})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url+chatPath, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	for text, buf := "", make([]byte, 1<<10); strings.Count(text, `"content":"word`) < 5; {
		n, err := res.Body.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		text += string(buf[:n])
	}
	cancel()
	res.Body.Close()
	g.wantIdle(t)
	g.wantTokens(t, "a client that leaves", before, of((len(body)+3)/4, 5))

	for folder, want := range map[string][]string{
		mainFolder:       {fmt.Sprintf(`"usage":{"prompt":%d,"completion":40,"total":%d,"estimated":true}`, (len(body)+3)/4, (len(body)+3)/4+40)},
		incompleteFolder: {`"completion":5,`, `"estimated":true}`},
	} {
		meta := g.waitRecords(t, folder, 1)[0].Meta
		for _, text := range want {
			if !strings.Contains(meta, text) {
				t.Errorf("%s: got meta %s, want %s in it", folder, meta, text)
			}
		}
	}
}

// TestUsageRecorded guards that a record has the counts that the client has not seen.
func TestUsageRecorded(t *testing.T) {
	a := startStandIn(t, "a")
	g := startMeasured(t, fmt.Sprintf(`{"instances": [{"url": %q, "model_name": "m", "name": "a", "engine": "vllm"}]}`, a.url))
	before := g.series(t)
	got := g.sends(t, chatPath, `{"model":"m","stream":true,"messages":[{"role":"user","content":"a b c"}]}`)
	wantWhole(t, got)
	if strings.Contains(got.body, "usage") {
		t.Errorf("client got %s", got.body)
	}
	g.wantTokens(t, "an asked stream", before, map[string]float64{tokens("tokens_total", "a", "prompt"): 3, tokens("tokens_total", "a", "completion"): 3})
	r := g.waitRecords(t, mainFolder, 1)[0]
	if !strings.Contains(r.Meta, `"usage":{"prompt":3,"completion":3,"total":6}`) || strings.Contains(r.Request, "stream_options") {
		t.Errorf("got meta %s, request %s", r.Meta, r.Request)
	}
}
