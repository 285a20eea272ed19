package aigateway

import (
	"bufio"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzRetryAfter holds the rest that an instance asks for within its bounds, whatever
// it says.
func FuzzRetryAfter(f *testing.F) {
	for _, text := range []string{
		"", "0", "1", "1.5", "-1", "1e9", "1e300", "NaN", "Inf", "-Inf", "0x1p-2", " 3", "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
		"Fri, 31 Dec 9999 23:59:59 GMT", "soon",
	} {
		f.Add(text, "")
		f.Add("", text)
		f.Add("7", text)
	}
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, ms, text string) {
		h := http.Header{}
		if ms != "" {
			h.Set("Retry-After-Ms", ms)
		}
		if text != "" {
			h.Set("Retry-After", text)
		}
		rest, given := retryAfter(h, now)
		if rest < 0 || rest > longestRest {
			t.Errorf("%q, %q: got %v, want 0 to %v", ms, text, rest, longestRest)
		}
		if !given && rest != defaultRest {
			t.Errorf("%q, %q: got %v, want the default", ms, text, rest)
		}
		if ms == "" && text == "" && given {
			t.Error("got a rest that was not asked for")
		}
	})
}

// FuzzForwardedHeader holds the fields that an instance gets, of any request that
// net/http accepts, to what they must not be: of the client's connection, and the
// client's key where the instance has its own.
func FuzzForwardedHeader(f *testing.F) {
	for _, fields := range []string{
		"", "Connection: close\r\n", "Connection: Authorization, x-api-key\r\nAuthorization: Bearer sk-client\r\n", "Connection: X-A,,\tx-b \r\nX-A: 1\r\nX-B: 2\r\n",
		"connection: keep-alive\r\nCONNECTION: X-C\r\nx-c: 3\r\nKeep-Alive: 1\r\n", "TE: trailers, gzip\r\n", "Transfer-Encoding: chunked\r\n", "Upgrade: h2c\r\n",
		"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: evil\r\n", "Api-Key: sk-client\r\nX-Api-Key: sk-client\r\nCookie: a=b\r\n", "Accept-Encoding: gzip\r\nExpect: 100-continue\r\n",
		"X-Request-Id: a\r\nX-Request-Id: b\r\n", "X-Idempotency-Key: k\r\n", "Connection: Accept-Encoding, Via, X-Forwarded-For\r\n",
	} {
		f.Add(fields, true)
		f.Add(fields, false)
	}
	f.Fuzz(func(t *testing.T, fields string, own bool) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\n" + fields + "\r\n")))
		if err != nil {
			return
		}
		r.RemoteAddr = "10.0.0.1:5" // the server says it, not the client
		before := maps.Clone(r.Header)
		i := &instance{}
		if own {
			i.key, i.authorization = "sk-own", "Bearer sk-own"
		}
		x := &exchange{request: r, route: &route{}}
		list := x.forwarded()
		(&attempt{exchange: x, instance: i}).address(list)
		h := list.header()
		list.release()
		if !reflect.DeepEqual(r.Header, before) {
			t.Errorf("%q: the client's fields are changed: got %v", fields, r.Header)
		}
		for _, name := range hopByHop {
			if name != "Te" && h[name] != nil {
				t.Errorf("%q: got %s: %q", fields, name, h[name])
			}
		}
		if te := h["Te"]; te != nil && !slices.Equal(te, []string{"trailers"}) {
			t.Errorf("%q: got Te: %q", fields, te)
		}
		if !slices.Equal(h["Accept-Encoding"], []string{"identity"}) || h["Expect"] != nil || h["Cookie"] != nil || len(h["Via"]) == 0 || len(h["X-Request-Id"]) > 1 {
			t.Errorf("%q: got %v", fields, h)
		}
		if own && (!slices.Equal(h["Authorization"], []string{"Bearer sk-own"}) || h["Api-Key"] != nil || h["X-Api-Key"] != nil) {
			t.Errorf("%q: got %v, want the instance's key alone", fields, h)
		}
		if !slices.Equal(h["X-Forwarded-For"], []string{"10.0.0.1"}) || !slices.Equal(h["X-Forwarded-Proto"], []string{"http"}) {
			t.Errorf("%q: a client that is not trusted says where it is from: %v", fields, h)
		}
	})
}

// FuzzModelEdit guards that an instance with a name of its own for the model gets the
// client's body with that name, and with nothing else changed.
func FuzzModelEdit(f *testing.F) {
	for _, body := range []string{
		`{"model":"m"}`, `{"model":null,"a":1}`, `{}`, ` { } `, `{"a":{"model":"x"},"model":"m","b":[1e400,9007199254740993]}`, `{"mod\u0065l":"m"}`,
		`{"model":"a\"b\\"}`, "{\"model\":\"\u00e9\U0001F600\",\"x\":\"\\ud800\"}", `{"messages":[],"stream":true}`, `{"model":"m","stream_options":{"include_usage":false}}`,
		`{"model":"m","stream_options":null}`, `{"stream_options":{},"model":"m"}`,
	} {
		f.Add([]byte(body), "up/stream")
	}
	f.Add([]byte(`{"model":"m"}`), "\"\\\n\u2028")
	f.Fuzz(func(t *testing.T, text []byte, name string) {
		a, apiErr := readJSON(text)
		if apiErr != nil || name == "" || len(name) > 256 || !utf8.ValidString(name) { // the file has no such names
			return
		}
		raw, err := json.Marshal(name)
		if err != nil {
			t.Fatal(err)
		}
		b := &body{bytes: text}
		b.refs.Store(1)
		at := &attempt{exchange: &exchange{ask: a, body: b, route: &route{}}, instance: &instance{upstreamModel: name, modelJSON: raw}}
		reader, length := b.reader(edits{at.modelEdit()})
		got, err := io.ReadAll(reader)
		if err != nil || int64(len(got)) != length {
			t.Fatalf("%q: got %d bytes and %v, want %d", text, len(got), err, length)
		}
		again, apiErr := readJSON(got)
		if apiErr != nil {
			t.Fatalf("%q: got %q, which is refused: %v", text, got, apiErr)
		}
		if again.model != name {
			t.Fatalf("%q: got %q with the model %q, want %q", text, got, again.model, name)
		}
		var before, after map[string]json.RawMessage
		if json.Unmarshal(text, &before) != nil {
			return // a body of which encoding/json is a stricter judge
		}
		if err := json.Unmarshal(got, &after); err != nil {
			t.Fatalf("%q: got %q: %v", text, got, err)
		}
		delete(before, "model")
		delete(after, "model")
		if len(before) != len(after) {
			t.Fatalf("%q: got %q, with other members", text, got)
		}
		for member, value := range before {
			if string(after[member]) != string(value) {
				t.Fatalf("%q: got %q, where %q is changed", text, got, member)
			}
		}
	})
}
