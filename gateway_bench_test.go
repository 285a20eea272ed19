package aigateway

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

// BenchmarkChat sends chats, without recording, over real sockets within this process: straight to an
// instance, through a bare reverse_proxy, and through the gateway. Client and
// instance are part of each figure, so what a proxy allocates and costs is its
// figure less that of direct.
func BenchmarkChat(b *testing.B) {
	answer := `{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"` +
		strings.Repeat("word ", 180) + `"},"finish_reason":"stop"}]}`
	events := strings.Repeat(`data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"word "}}]}`+"\n\n", 99) + "data: [DONE]\n\n"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if r.URL.Query().Has("stream") {
			w.Header().Set("Content-Type", "text/event-stream")
			for event := range strings.SplitAfterSeq(events, "\n\n") {
				io.WriteString(w, event)
				http.NewResponseController(w).Flush()
			}
			return
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, answer)
	}))
	defer server.Close()
	prompt := func(n int) string {
		return `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat(`Some words of a prompt, then a line's end.\n`, n/44) + `"}],"stream":false}`
	}
	for _, kind := range []struct{ name, query, body, want string }{
		{"json1k", "", prompt(1000), answer},
		{"stream100", "?stream", prompt(1000), events},
		{"prompt256k", "", prompt(256 << 10), answer},
	} {
		for _, path := range []string{"direct", "bare", "gateway"} {
			b.Run(kind.name+"/"+path, func(b *testing.B) {
				url := server.URL
				switch path {
				case "bare":
					address := freeAddress(b)
					url = "http://" + address
					loadCaddyfile(b, filepath.Join(b.TempDir(), "Caddyfile"), fmt.Sprintf("http://%s {\n\treverse_proxy %s\n}\n", address, strings.TrimPrefix(server.URL, "http://")))
				case "gateway":
					url = startGateway(b, fleetWith(`"record": {"enabled": false}`, server.URL+"/v1")).url
				}
				url += "/v1/chat/completions" + kind.query
				b.ReportAllocs()
				for b.Loop() {
					res, err := client.Post(url, "application/json", strings.NewReader(kind.body))
					if err != nil {
						b.Fatal(err)
					}
					if got := readAll(b, res.Body); got != kind.want {
						b.Fatalf("got %d bytes, want %d", len(got), len(kind.want))
					}
				}
			})
		}
	}
}
