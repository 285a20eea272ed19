package aigateway

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/engine"
)

// BenchmarkPoll is one poll of an instance that tells as much as vLLM, 100 KB: with the
// default interval 64 instances are 32 of them in a second. The processor time includes that of
// the server, which is in this process.
func BenchmarkPoll(b *testing.B) {
	var metrics strings.Builder
	metrics.WriteString(vllmMetrics("3", "1", "0.5"))
	for n := range 1000 {
		fmt.Fprintf(&metrics, "vllm:time_to_first_token_seconds_bucket{engine=\"0\",le=\"%d.5\",model_name=\"Qwen/Qwen3-32B\"} %d.0\n", n, n*12345)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/metrics":
			w.Header().Set("Content-Length", strconv.Itoa(metrics.Len()))
			io.WriteString(w, metrics.String())
		case "/v1/models":
			io.WriteString(w, `{"data":[{"id":"m","owned_by":"vllm","max_model_len":8192}]}`)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	cfg, err := parseConfig([]byte(entries(entry(server.URL+"/v1", ""))), ".")
	if err != nil {
		b.Fatal(err)
	}
	i := newInstance(cfg.Instances[0], primary, "id", new(instanceState))
	one := &poll{instance: i, newest: i, transport: newPollTransport(new(http.Transport))}
	one.server = engine.NewServer("", one.get)
	s := &store{events: newBulletin()}
	var before, after syscall.Rusage
	b.ReportAllocs()
	syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	for b.Loop() {
		one.ask(b.Context(), s, polling{2 * time.Second, time.Second}, true)
	}
	syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(used)/float64(b.N)/1e3, "cpu-µs/op")
	if load, _, ok := i.state.load.Observed(); !ok || load.Running != 3 || one.errors > 0 {
		b.Fatalf("got %+v, %d errors", load, one.errors)
	}
}
