package engine

import (
	"fmt"
	"strings"
	"testing"
)

// longMetrics has as much text as vLLM's metrics have after some time, 100 KB, most of it
// histograms.
func longMetrics() string {
	var b strings.Builder
	b.Write(vllm011.Body)
	for metric := range 24 {
		fmt.Fprintf(&b, "# HELP vllm:histogram_%d_seconds Histogram of something in seconds.\n# TYPE vllm:histogram_%d_seconds histogram\n", metric, metric)
		for bucket := range 40 {
			fmt.Fprintf(&b, "vllm:histogram_%d_seconds_bucket{engine=\"0\",le=\"%d.5\",model_name=\"Qwen/Qwen3-32B\"} %d.0\n", metric, bucket, 12345*bucket)
		}
	}
	return b.String()
}

// BenchmarkMetrics reads vLLM's metrics.
func BenchmarkMetrics(b *testing.B) {
	a := text(200, longMetrics())
	b.SetBytes(int64(len(a.Body)))
	b.ReportAllocs()
	for b.Loop() {
		var l Look
		readVLLM(a, &l)
		if l.Gauges.Running != 20 {
			b.Fatalf("got %+v", l.Gauges)
		}
	}
}
