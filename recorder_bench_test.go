package aigateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
)

// BenchmarkRecord is what the goroutine that owns the files does for one exchange,
// the kernel's part included.
func BenchmarkRecord(b *testing.B) {
	ask := func(prompt string) string {
		return fmt.Sprintf(`{"model":"bench","messages":[{"role":"system","content":"You answer."},{"role":"user","content":"%s"}],"temperature":0.7}`, prompt)
	}
	const words = `the gateway records \"every\" exchange, and each line\nis whole; `
	whole := `{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"bench","choices":[{"index":0,"message":{"role":"assistant","content":"` +
		strings.Repeat(words, 12) + `"},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":100,"completion_tokens":200,"total_tokens":300}}`
	var stream strings.Builder
	for i := range 60 {
		fmt.Fprintf(&stream, "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"bench\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word%d\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n", i)
	}
	stream.WriteString("data: [DONE]\n\n")
	for _, c := range []struct{ name, ask, media, answer string }{
		{"chat", ask(strings.Repeat(words, 12)), "application/json", whole},
		{"stream", ask(strings.Repeat(words, 12)), "text/event-stream", stream.String()},
		{"prompt256k", ask(strings.Repeat(words, 4100)), "application/json", whole},
	} {
		b.Run(c.name, func(b *testing.B) {
			cfg := defaultRecord
			s := scribe{recorder: &recorder{dir: b.TempDir(), dropped: make(map[string]int64), told: make(map[string]time.Time)}}
			settings := newRecordSettings(&cfg)
			s.recorder.settings.Store(settings)
			s.logger.Store(zap.NewNop())
			ask, answer := []byte(c.ask), []byte(c.answer)
			b.ReportAllocs()
			for n := 1; b.Loop(); n++ {
				body := &body{bytes: ask}
				body.refs.Store(1)
				w := &capture{recorder: s.recorder, id: newRequestID(), dialect: openai.Chat, body: body, scanned: true, settings: settings, status: http.StatusOK, media: c.media}
				w.keep(answer)
				w.take()
				s.write(w)
				if n%16 == 0 { // as many as gather
					s.flush(time.Now())
					s.writer.Tick(time.Now())
				}
			}
			s.flush(time.Now())
			s.writer.Close(time.Now())
			if got := s.written.Load(); got != int64(b.N) {
				b.Errorf("lines written: got %d, want %d", got, b.N)
			}
		})
	}
}
