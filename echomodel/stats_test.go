package echomodel

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestControl(t *testing.T) {
	g := newRig(t, Options{Script: Script{Tokens: 2}})
	status := func(path string) int {
		t.Helper()
		if path == "/health" || path == "/v1/models" {
			return g.do("GET", path, "").status
		}
		return g.post(path, `{"messages":[],"prompt":"a"}`).status
	}
	set := func(body string) {
		t.Helper()
		if a := g.post("/echo/control", body); a.status != 200 {
			t.Fatalf("got %+v", a)
		}
	}
	expect := func(path string, want ...int) {
		t.Helper()
		for i, w := range want {
			if got := status(path); got != w {
				t.Errorf("%s, request %d: got %d, want %d", path, i+1, got, w)
			}
		}
	}
	set(`{"fault":"status","status":503,"count":2}`)
	expect("/health", 200) // takes nothing off the count
	expect("/v1/models", 200)
	expect("/v1/chat/completions", 503)
	if got := g.current(); got.Count != 1 || got.Status != 503 || got.Tokens != 2 {
		t.Errorf("in force: got %+v", got)
	}
	expect("/v1/completions", 503, 200)

	set(`{"fault":"status","path":"/health"}`)
	expect("/health", 500, 500)
	expect("/v1/completions", 200)
	set(`{"fault":"status","path":"*"}`)
	expect("/v1/models", 500)
	expect("/v1/completions", 500)
	if a := g.do("DELETE", "/echo/control", ""); a.status != 200 {
		t.Errorf("got %+v", a)
	}
	expect("/v1/models", 200)
	expect("/v1/completions", 200)

	set(`{"tokens":1}`) // no fault, but members lie over the configured ones all the same
	if a := g.post("/v1/completions", `{"model":"m","prompt":"a b c"}`); readChat(t, a.body, false)[0].text != "w1" {
		t.Errorf("got %+v", a)
	}
	if a := g.do("GET", "/echo/control", ""); a.body != `{"tokens":1}`+"\n" {
		t.Errorf("got %+v", a)
	}
}

func TestStats(t *testing.T) {
	g := newRig(t, Options{})
	const body = `{"model":"m","messages":[{"role":"user","content":"a"}]}`
	req, err := http.NewRequest(http.MethodPost, g.http.URL+"/v1/chat/completions?a=%2F&b", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header["X-Two"] = []string{"1", "2"}
	req.Host = "model.internal"
	g.post("/v1/completions", `{"prompt":"a","echo":{"fault":"status"}}`)
	g.post("/v1/%2e%2e/metrics", ``)
	if a := send(req); a.status != 200 {
		t.Fatalf("got %+v", a)
	}
	got := decode[Stats](t, g.do("GET", "/echo/stats", "").body)
	sum := sha256.Sum256([]byte(body))
	last := got.Last
	if got.Requests != 3 || got.Connections != 3 || got.ByFault["status"] != 1 || got.Canceled != 0 ||
		got.ByPath["/v1/chat/completions"] != 1 || got.ByPath["other"] != 1 {
		t.Errorf("got %+v", got)
	}
	if last.Method != "POST" || last.URI != "/v1/chat/completions?a=%2F&b" || last.Host != "model.internal" ||
		!slices.Equal(last.Header["X-Two"], []string{"1", "2"}) || last.BodyLength != len(body) ||
		last.ContentLength != int64(len(body)) || last.BodySHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("last: got %+v", last)
	}
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), -1 // chunked
	send(req)
	if last := g.Stats().Last; last.BodySHA256 != hex.EncodeToString(sum[:]) || last.ContentLength != -1 ||
		!slices.Equal(last.TransferEncoding, []string{"chunked"}) {
		t.Errorf("chunked: got %+v", last)
	}
	if got := decode[Stats](t, g.do("DELETE", "/echo/stats", "").body); got.Requests != 0 || got.Last != nil || len(got.ByPath) != 0 {
		t.Errorf("reset: got %+v", got)
	}
}

// TestBodiesAreNotMixed: bodies are pooled and shared with the statistics; each answer must still repeat its own.
func TestBodiesAreNotMixed(t *testing.T) {
	g := newRig(t, Options{})
	done := make(chan error)
	for i := range 8 {
		go func() {
			for j := range 50 {
				text := strings.Repeat(fmt.Sprintf("word%d.%d ", i, j), 20)
				req, err := http.NewRequest(http.MethodPost, g.http.URL+"/v1/completions",
					strings.NewReader(`{"prompt":"`+text+`","stream":true}`))
				if err != nil {
					done <- err
					return
				}
				a := send(req)
				if n := strings.Count(a.body, fmt.Sprintf("word%d.%d ", i, j)); n != 20 {
					done <- fmt.Errorf("%d of 20 words, %w", n, a.err)
					return
				}
				g.Stats()
			}
			done <- nil
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
