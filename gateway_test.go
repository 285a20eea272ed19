package aigateway

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
)

// TestModelSplice guards that a request body reaches the instance byte for byte
// but for the model's value.
func TestModelSplice(t *testing.T) {
	w := startWitness(t, nil)
	g := startGateway(t, fmt.Sprintf(`{"instances": [
		{"url": "%s/v1", "model_name": "plain"},
		{"url": "%s/v1", "model_name": "named", "upstream_model": "org/Real \"x\""},
	]}`, w.URL, w.URL))
	f := func(sent, want string) {
		t.Helper()
		if status, body := g.post(t, "/v1/chat/completions", sent); status != 200 {
			t.Fatalf("POST %s: status %d %s", sent, status, body)
		}
		got := w.last(t)
		if got.body != want || got.length != int64(len(want)) {
			t.Errorf("POST %s: instance got %s (length %d), want %s", sent, got.body, got.length, want)
		}
	}
	same := func(sent string) { t.Helper(); f(sent, sent) }
	same(`{"model":"plain"}`)
	same(" {\r\n\t\"z\" : 9007199254740993,\"model\" :\t\"plain\" , \"a\":1e400,\"a\":0.10 }\n")
	same("{\"model\":\"plain\",\"x\":\"\xff\\ud800\\u0000 \xe2\x80\xa8\"}")
	same(`{"model":"pl\u0061in","unknown":{"model":"named"}}`)
	f(`{"model":"named"}`, `{"model":"org/Real \"x\""}`)
	f(`{"a":1 , "mod\u0065l" : "n\u0061med" , "z":2}`, `{"a":1 , "mod\u0065l" : "org/Real \"x\"" , "z":2}`)
}

// TestModelInsert guards that an upstream_model also serves clients who name none.
func TestModelInsert(t *testing.T) {
	w := startWitness(t, nil)
	g := startGateway(t, fmt.Sprintf(`{"instances": [{"url": "%s/v1", "model_name": "m", "upstream_model": "real"}]}`, w.URL))
	f := func(sent, want string) {
		t.Helper()
		if status, body := g.post(t, "/v1/chat/completions", sent); status != 200 {
			t.Fatalf("POST %s: status %d %s", sent, status, body)
		}
		if got := w.last(t).body; got != want {
			t.Errorf("POST %s: instance got %s, want %s", sent, got, want)
		}
	}
	f(`{}`, `{"model":"real"}`)
	f(` { } `, ` {"model":"real" } `)
	f(`{"a":1}`, `{"model":"real","a":1}`)
	f(`{"model":null,"a":1}`, `{"model":"real","a":1}`)
}

func TestMultipartModel(t *testing.T) {
	w := startWitness(t, nil)
	g := startGateway(t, fmt.Sprintf(`{"instances": [
		{"url": "%s/v1", "model_name": "whisper", "upstream_model": "openai/whisper-large-v3"},
		{"url": "http://127.0.0.1:1/v1", "model_name": "other"},
	]}`, w.URL))
	audio := strings.Repeat("\x00\r\n--\xff", 9000)
	form := func(model string) (string, string) {
		var b bytes.Buffer
		mw := multipart.NewWriter(&b)
		if err := mw.SetBoundary("boundary"); err != nil {
			t.Fatal(err)
		}
		part, _ := mw.CreateFormFile("file", "model")
		io.WriteString(part, audio)
		mw.WriteField("model", model)
		mw.WriteField("language", "en")
		mw.Close()
		return b.String(), mw.FormDataContentType()
	}
	sent, contentType := form("whisper")
	want, _ := form("openai/whisper-large-v3")
	res, err := client.Post(g.url+"/v1/audio/transcriptions", contentType, strings.NewReader(sent))
	if err != nil {
		t.Fatal(err)
	}
	readAll(t, res.Body)
	if got := w.last(t); got.body != want || got.uri != "/v1/audio/transcriptions" || got.header.Get("Content-Type") != contentType {
		t.Errorf("instance got %d bytes at %s, want %d", len(got.body), got.uri, len(want))
	}
}

// TestRouting guards which pool a request goes to, and to which path of the
// instance.
func TestRouting(t *testing.T) {
	a, b, rest, cloud := startWitness(t, nil), startWitness(t, nil), startWitness(t, nil), startWitness(t, nil)
	g := startGateway(t, fmt.Sprintf(`{
		"instances": [
			{"url": "%s/v1", "model_name": "a"},
			{"url": "%s/maas/v1/", "model_name": "b", "upstream_model": "B", "paths": {"/v1/embeddings": "/openai/embed?api-version=1"}},
			{"url": "%s", "model_name": "*"},
		],
		"fallback_instances": [{"url": "%s/v4", "model_name": "c"}],
	}`, a.URL, b.URL, rest.URL, cloud.URL))
	f := func(w *witness, method, path, body, wantURI string) {
		t.Helper()
		before := w.count()
		r, err := http.NewRequest(method, g.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if text := readAll(t, res.Body); res.StatusCode != 200 || w.count() != before+1 {
			t.Fatalf("%s %s %s: status %d %s, instance asked %d times", method, path, body, res.StatusCode, text, w.count()-before)
		}
		if got := w.last(t); got.uri != wantURI || got.method != method {
			t.Errorf("%s %s %s: instance got %s %s, want %s", method, path, body, got.method, got.uri, wantURI)
		}
	}
	f(a, "POST", "/v1/chat/completions", `{"model":"a"}`, "/v1/chat/completions")
	f(a, "POST", "/v1/messages/count_tokens", `{"model":"a"}`, "/v1/messages/count_tokens")
	f(a, "POST", "/tokenize", `{"model":"a"}`, "/tokenize")
	f(a, "POST", "/v2/rerank?x=%20y&z", `{"model":"a"}`, "/v2/rerank?x=%20y&z")
	f(a, "GET", "/v1/realtime?model=a&voice=b", "", "/v1/realtime?model=a&voice=b")
	f(b, "POST", "/v1/chat/completions", `{"model":"b"}`, "/maas/v1/chat/completions")
	f(b, "POST", "/v1/rerank", `{"model":"b"}`, "/maas/v1/rerank")
	f(b, "POST", "/tokenize", `{"model":"b"}`, "/maas/tokenize")
	f(b, "GET", "/v1/realtime?model=b&voice=v", "", "/maas/v1/realtime?model=B&voice=v")
	f(b, "POST", "/v1/embeddings", `{"model":"b"}`, "/openai/embed?api-version=1")
	f(b, "POST", "/v1/embeddings?x=1", `{"model":"b"}`, "/openai/embed?api-version=1&x=1")
	f(rest, "POST", "/v1/chat/completions", `{"model":"other"}`, "/chat/completions")
	f(rest, "POST", "/v1/chat/completions", `{}`, "/chat/completions")
	f(rest, "GET", "/v1/files", "", "/files")
	f(rest, "DELETE", "/v1/files/file-abc_1.2", "", "/files/file-abc_1.2")
	f(rest, "POST", "/v1/chat/completions", `{"model":"c"}`, "/chat/completions")
	rest.Close()
	f(cloud, "POST", "/v1/chat/completions", `{"model":"c"}`, "/v4/chat/completions")
}

// TestHeaders guards what an instance learns of the client.
func TestHeaders(t *testing.T) {
	a := startWitness(t, nil)
	fleet := func(list, members string) string {
		return fmt.Sprintf(`{%q: [{"url": "%s/v1", "model_name": "m"%s}]}`, list, a.URL, members)
	}
	g := startGateway(t, fleet("instances", ""))
	ask := func(path string) http.Header {
		t.Helper()
		r, _ := http.NewRequest("POST", g.url+path, strings.NewReader(`{"model":"m"}`))
		for _, line := range []string{
			"Authorization: Bearer client", "Cookie: session=1", "X-Api-Key: client", "Api-Key: client", "Accept-Encoding: br, gzip",
			"Connection: Authorization, X-Hop", "X-Hop: 1", "Te: trailers", "X-Forwarded-For: 6.6.6.6", "Openai-Beta: x=1", "Expect: 100-continue",
		} {
			name, value, _ := strings.Cut(line, ": ")
			r.Header.Add(name, value)
		}
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, res.Body)
		return a.last(t).header
	}
	f := func(h http.Header, name, want string) {
		t.Helper()
		if got := strings.Join(h[name], "|"); got != want {
			t.Errorf("instance got %s %q, want %q", name, got, want)
		}
	}
	h := ask("/v1/chat/completions")
	// The client nominated its own Authorization as a header of its connection.
	for name, want := range map[string]string{
		"Authorization": "", "Cookie": "", "X-Api-Key": "client", "Api-Key": "client", "Accept-Encoding": "identity", "X-Hop": "",
		"X-Forwarded-For": "127.0.0.1", "Openai-Beta": "x=1", "Expect": "", "X-Idempotency-Key": "", "Content-Type": "",
	} {
		f(h, name, want)
	}
	g.save(t, fleet("instances", `, "api_key": "secret", "headers": {"x-team": "t1", "Openai-Beta": "y"}`))
	h = ask("/v1/chat/completions")
	f(h, "Authorization", "Bearer secret")
	f(h, "X-Api-Key", "")
	f(h, "Api-Key", "")
	f(h, "X-Team", "t1")
	f(h, "Openai-Beta", "y")
	h = ask("/v1/messages")
	f(h, "Authorization", "Bearer secret")
	f(h, "X-Api-Key", "secret")
	g.save(t, fleet("fallback_instances", ""))
	h = ask("/v1/chat/completions")
	f(h, "X-Forwarded-For", "")
	f(h, "X-Forwarded-Host", "")
	f(h, "Via", "")
}
