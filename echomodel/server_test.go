package echomodel

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

func TestRefusals(t *testing.T) {
	g := newRig(t, Options{Models: []string{"m", "org/x"}})
	deep := strings.Repeat("[", 1<<20)
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{
			"model", "POST", "/v1/chat/completions", `{"model":"x\"y","messages":[]}`, 404,
			"{\"error\":{\"message\":\"The model `x\\\"y` does not exist.\",\"type\":\"NotFoundError\",\"param\":\"model\",\"code\":404}}",
		},
		{"model of Anthropic", "POST", "/v1/messages", `{"model":"x","messages":[]}`, 404, `"type":"not_found_error"`},
		{"no model is the first", "POST", "/v1/chat/completions", `{"messages":[]}`, 200, `"model":"m"`},
		{"escaped model", "POST", "/v1/chat/completions", `{"model":"org\/x","messages":[]}`, 200, `"model":"org\/x"`},
		{"model no string", "POST", "/v1/chat/completions", `{"model":5}`, 400, "valid string"},
		{"path", "POST", "/v1//chat/completions", `{}`, 404, `{"detail":"Not Found"}`},
		{"method", "GET", "/v1/chat/completions", ``, 405, `{"detail":"Method Not Allowed"}`},
		{"no JSON", "POST", "/v1/chat/completions", `{"model":"m",}`, 400, "JSON decode error"},
		{"no object", "POST", "/v1/chat/completions", `[]`, 400, "want an object"},
		{"nothing", "POST", "/v1/chat/completions", ``, 400, "want an object"},
		{"two values", "POST", "/v1/chat/completions", `{} {}`, 400, "want nothing more"},
		{"deep", "POST", "/v1/chat/completions", `{"a":` + deep, 400, "nested"},
		{"control character echoed", "POST", "/v1/completions", "{\"prompt\":\"a\nb\"}", 400, "control character"},
		{"bad escape echoed", "POST", "/v1/completions", `{"prompt":"\x"}`, 400, "escape"},
		{"no messages", "POST", "/v1/chat/completions", `{"model":"m"}`, 400, "Field required"},
		{"no prompt", "POST", "/v1/completions", `{"model":"m"}`, 400, "Field required"},
		{"no input", "POST", "/v1/responses", `{"model":"m"}`, 400, "Field required"},
		{"n", "POST", "/v1/chat/completions", `{"n":1e9}`, 400, `"param":"n"`},
		{"unknown fault", "POST", "/v1/completions", `{"prompt":"a","echo":{"fault":"x"}}`, 400, "want one of after_done, "},
		{"unknown member", "POST", "/v1/completions", `{"prompt":"a","echo":{"falt":"x"}}`, 400, "unknown member"},
		{"count in a request", "POST", "/v1/completions", `{"prompt":"a","echo":{"count":1}}`, 400, "unknown member"},
		{"duration", "POST", "/v1/completions", `{"prompt":"a","echo":{"ttft":"5"}}`, 400, "want a duration such as 50ms"},
		{"negative", "POST", "/v1/completions", `{"prompt":"a","echo":{"tokens":-1}}`, 400, "want a number from 0"},
		{"huge", "POST", "/v1/completions", `{"prompt":"a","echo":{"tokens":1000000,"size":60000000}}`, 400, "answer larger"},
		{"form", "POST", "/v1/audio/transcriptions", `{}`, 400, "multipart/form-data"},
		{"control", "POST", "/echo/control", `{"fault":"x"}`, 400, "want one of after_done, "},
		{"control path", "GET", "/echo/x", ``, 404, "want POST, GET or DELETE /echo/control"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := g.do(c.method, c.path, c.body)
			if a.status != c.status || !strings.Contains(strings.ReplaceAll(a.body, `\u003c`, "<"), c.want) {
				t.Errorf("got %d %s, want %d with %s", a.status, a.body, c.status, c.want)
			}
			if !json.Valid([]byte(a.body)) {
				t.Errorf("no JSON: %s", a.body)
			}
		})
	}
}

func TestAPIKey(t *testing.T) {
	g := newRig(t, Options{APIKey: "sk-right"})
	for _, c := range []struct {
		header, value, path string
		want                int
	}{
		{"Authorization", "Bearer sk-right", "/v1/models", 200},
		{"X-Api-Key", "sk-right", "/v1/models", 200},
		{"Authorization", "Bearer sk-wrong", "/v1/models", 401},
		{"Authorization", "", "/v1/models", 401},
		{"Authorization", "", "/health", 200},
		{"Authorization", "", "/echo/stats", 200},
	} {
		req, err := http.NewRequest(http.MethodGet, g.http.URL+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(c.header, c.value)
		a := send(req)
		if a.status != c.want || c.want == 401 && a.body != `{"error":"Unauthorized"}` {
			t.Errorf("%s: %q on %s: got %d %s, want %d", c.header, c.value, c.path, a.status, a.body, c.want)
		}
	}
}

// TestSmallRoutes holds what the answers of the lesser routes have in them.
func TestSmallRoutes(t *testing.T) {
	g := newRig(t, Options{Models: []string{"a", "b"}, Name: "n"})
	const usage = `"usage":{"prompt_tokens":3,"total_tokens":3,"completion_tokens":0,"prompt_tokens_details":null}`
	for _, c := range []struct{ method, path, body, want string }{
		{"GET", "/health", "", ""},
		{"GET", "/version", "", `{"version":"echo","name":"n"}`},
		{"GET", "/v1/files", "", `"data":[]`},
		{"GET", "/v1/models", "", `{"id":"b","object":"model"`},
		{"GET", "/metrics", "", "engine admin route"},
		{"POST", "/sleep", "", "engine admin route"},
		{"POST", "/v1/load_lora_adapter", "", "engine admin route"},
		{"POST", "/tokenize", `{"prompt":"w7 w8"}`, `{"count":2,"max_model_len":32768,"tokens":[7,8],"token_strs":null}`},
		{"POST", "/tokenize", `{"messages":[{"role":"user","content":"w1"}]}`, `"tokens":[1]`},
		{"POST", "/detokenize", `{"tokens":[7,8]}`, `{"prompt":"w7 w8"}`},
		{"POST", "/v1/messages/count_tokens", `{"messages":[{"role":"user","content":"a b c"}]}`, `{"input_tokens":3}`},
		{"POST", "/score", `{"text_1":"a","text_2":["b","c"]}`, usage},
		{"POST", "/score", `{"text_1":["a","b"],"text_2":["c"]}`, "1:1, 1:N or N:N"},
		{"POST", "/classify", `{"input":["a","b","c"]}`, `"num_classes":2}],` + usage},
		{"POST", "/pooling", `{"input":"a b c"}`, `"object":"pooling","data":[`},
		{"POST", "/v1/embeddings", `{"input":[[1,2],[3]]}`, usage},
		{"POST", "/v1/chat/completions", `{"messages":[],"echo":null,"tools":null}`, `"content":""`},
	} {
		if a := g.do(c.method, c.path, c.body); !strings.Contains(a.body, c.want) || a.header.Get("X-Echo-Name") != "n" {
			t.Errorf("%s %s %s: got %+v, want %s", c.method, c.path, c.body, a, c.want)
		}
	}
	for _, path := range []string{"/rerank", "/v1/rerank", "/v2/rerank"} {
		a := g.post(path, `{"query":"q","documents":["a","b",{"text":"c"}],"top_n":2}`)
		got := decode[struct {
			Results []struct {
				Index    int
				Document struct{ Text string }
				Score    float64 `json:"relevance_score"`
			}
		}](t, a.body).Results
		if len(got) != 2 || got[0].Score < got[1].Score || got[0].Document.Text != string("abc"[got[0].Index]) {
			t.Errorf("%s: got %s", path, a.body)
		}
	}
}

func TestEmbeddings(t *testing.T) {
	g := newRig(t, Options{})
	type result struct {
		Data []struct{ Embedding json.RawMessage }
	}
	floats := decode[result](t, g.post("/v1/embeddings", `{"input":["a","b","a"],"dimensions":3}`).body)
	var v [3][]float32
	for i := range v {
		v[i] = decode[[]float32](t, string(floats.Data[i].Embedding))
	}
	if len(v[0]) != 3 || !slices.Equal(v[0], v[2]) || slices.Equal(v[0], v[1]) {
		t.Errorf("got %v", v)
	}
	coded := decode[result](t, g.post("/v1/embeddings", `{"input":"a","dimensions":3,"encoding_format":"base64"}`).body)
	b, err := base64.StdEncoding.DecodeString(decode[string](t, string(coded.Data[0].Embedding)))
	if err != nil || !bytes.Equal(b, littleEndian(v[0])) {
		t.Errorf("base64: got %x, %v, want %x", b, err, littleEndian(v[0]))
	}
}

func TestTranscription(t *testing.T) {
	g := newRig(t, Options{})
	form := func(fields ...string) answer {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		file, err := w.CreateFormFile("file", `speech "1".wav`)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = file.Write(make([]byte, 1000))
		for i := 0; i < len(fields); i += 2 {
			_ = w.WriteField(fields[i], fields[i+1])
		}
		_ = w.Close()
		req, err := http.NewRequest(http.MethodPost, g.http.URL+"/v1/audio/transcriptions", &b)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", w.FormDataContentType())
		return send(req)
	}
	if a, want := form("model", "whisper"), `{"text":"speech \"1\".wav, 1000 bytes, model whisper"}`; a.body != want {
		t.Errorf("got %+v, want %s", a, want)
	}
	if a := form("echo", `{"fault":"status","status":503}`); a.status != 503 {
		t.Errorf("got %+v, want 503", a)
	}
}

func TestRealtime(t *testing.T) {
	g := newRig(t, Options{})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dial := func() *websocket.Conn {
		conn, resp, err := websocket.Dial(ctx, g.http.URL+"/v1/realtime?model=m", &websocket.DialOptions{Subprotocols: []string{"realtime"}})
		if err != nil || resp.Header.Get("X-Echo-Name") != "echo" || conn.Subprotocol() != "realtime" {
			t.Fatalf("got %v, %v", resp, err)
		}
		return conn
	}
	conn := dial()
	for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
		if err := conn.Write(ctx, kind, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if got, b, err := conn.Read(ctx); got != kind || string(b) != "hello" || err != nil {
			t.Errorf("got %v %q, %v", got, b, err)
		}
	}
	if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	g.waitEnded()
	if got := g.Stats(); got.Canceled != 0 || got.InFlight != 0 || got.Last.URI != "/v1/realtime?model=m" {
		t.Errorf("after a proper end: got %+v", got)
	}
	_ = dial().CloseNow()
	g.waitEnded()
	if got := g.Stats().Canceled; got != 1 {
		t.Errorf("after a break: canceled %d, want 1", got)
	}
	g.SetScript(Script{Fault: "status"}, 1)
	if _, resp, err := websocket.Dial(ctx, g.http.URL+"/v1/realtime", nil); err == nil || resp.StatusCode != 500 {
		t.Errorf("got %v, %v, want 500", resp, err)
	}
}
