package echomodel

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// BenchmarkChat measures the handler alone, without sockets: what a benchmark through it pays for the upstream.
func BenchmarkChat(b *testing.B) {
	for _, c := range []struct{ name, body string }{
		{"1KB plain", chatRequest(strings.Repeat("word ", 200), "")},
		{"256KB plain", chatRequest(strings.Repeat("line of code\n", 20_000), `,"echo":{"tokens":400}`)},
		{"200 tokens streamed", chatRequest("hello", `,"stream":true,"echo":{"tokens":200}`)},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := New(Options{})
			w := &discard{header: http.Header{}}
			r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", nil)
			r.ContentLength = int64(len(c.body))
			raw := []byte(c.body)
			body := bytes.NewReader(raw)
			r.Body = io.NopCloser(body)
			b.SetBytes(r.ContentLength)
			b.ReportAllocs()
			for b.Loop() {
				body.Reset(raw)
				s.ServeHTTP(w, r)
			}
		})
	}
}

type discard struct{ header http.Header }

func (w *discard) Header() http.Header         { return w.header }
func (w *discard) WriteHeader(int)             {}
func (w *discard) Write(b []byte) (int, error) { return len(b), nil }
func (w *discard) Flush()                      {}
