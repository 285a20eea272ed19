package aigateway

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// BenchmarkServe is the handler's part of a chat of 1 KB, without recording: all between
// Caddy's router and the instance's socket. The instance is as cheap as can be.
func BenchmarkServe(b *testing.B) {
	answer := `{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"` +
		strings.Repeat("word ", 180) + `"},"finish_reason":"stop"}],"usage":{"prompt_tokens":200,"completion_tokens":180,"total_tokens":380}}`
	body := `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat(`Some words of a prompt, then a line's end.\n`, 23) + `"}],"stream":false}`
	address := serveRaw(b, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Mon, 23 Nov 2026 17:26:27 GMT\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer))
	file := filepath.Join(b.TempDir(), "config.json5")
	writeFile(b, file, fleetWith(`"record": {"enabled": false}`, "http://"+address+"/v1"))
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		b.Fatal(err)
	}
	h := &Handler{Config: file}
	if err := h.Provision(ctx); err != nil {
		b.Fatal(err)
	}
	defer h.Cleanup()
	template := &http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: "/v1/chat/completions"}, Host: "gateway", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RemoteAddr: "127.0.0.1:9",
		Header: http.Header{
			"Content-Type": {"application/json"}, "Content-Length": {fmt.Sprint(len(body))}, "User-Agent": {"bench"}, "Accept": {"*/*"}, "Accept-Encoding": {"gzip"},
		},
	}
	server := &caddyhttp.Server{Listen: []string{"127.0.0.1:80"}}
	b.ReportAllocs()
	for b.Loop() {
		ctx, end := context.WithCancel(b.Context())
		w := httptest.NewRecorder()
		r := caddyhttp.PrepareRequest(template.WithContext(ctx), caddy.NewReplacer(), w, server)
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		if err := h.ServeHTTP(w, r, nil); err != nil || w.Code != http.StatusOK || w.Body.Len() != len(answer) {
			b.Fatalf("got %v, %d, %d bytes, want %d", err, w.Code, w.Body.Len(), len(answer))
		}
		end()
	}
}

// serveRaw answers every request with a Content-Length on every connection with the
// same text.
func serveRaw(b *testing.B, answer string) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	serve := func(c net.Conn) {
		defer c.Close()
		for br := bufio.NewReader(c); ; {
			length := 0
			for {
				line, err := br.ReadSlice('\n')
				if err != nil {
					return
				}
				if digits, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
					fmt.Sscan(string(digits), &length)
				}
				if len(line) == 2 {
					break
				}
			}
			br.Discard(length)
			io.WriteString(c, answer)
		}
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l.Addr().String()
}
