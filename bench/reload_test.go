//go:build linux

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/load"
)

func TestReloadArguments(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		if err := reload(t.Context(), args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", args, err, want)
		}
	}
	f(`got -d 10ms, -swaps 500, -reloads 50, -rate 500, -streams 200 and arguments [], want 1s, 0, 1, 2, 1 or more and none`, "-d", "10ms")
	f(`-reloads 0`, "-reloads", "0")
	f(`arguments ["x"]`, "x")
	f(`got 2 candidates, want one`, "-c", "gateway,caddy")
}

// TestAftermath guards that each broken promise is found.
func TestAftermath(t *testing.T) {
	second := int64(time.Second)
	whole := func() *aftermath {
		v := vitals{Goroutines: 20, Heap: 1000, Descriptors: 10}
		return &aftermath{
			recorded: true, before: v, after: v, known: map[string]int{"old": 1}, records: map[string]int{"old": 1, "a": 1, "b": 1},
			journal: []load.Entry{
				{ID: "a", Begun: 1, Head: 2, Ended: 3, Status: 200},
				{ID: "b", Begun: 1, Head: 2, Ended: 10 * second, Status: 200, Stream: true},
			},
		}
	}
	f := func(want string, change func(a *aftermath)) {
		t.Helper()
		a := whole()
		change(a)
		got := ""
		if err := a.figures().fault(); err != nil {
			got = err.Error()
		}
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f("", func(*aftermath) {})
	f("", func(a *aftermath) { a.after = vitals{Goroutines: 21, Heap: 1050, Descriptors: 9} })
	f("0 long streams", func(a *aftermath) { a.journal = a.journal[:1] })
	f("1 client errors, such as status 502", func(a *aftermath) { a.journal[0].Status, a.journal[0].Error = 502, "status 502" })
	f("1 client errors", func(a *aftermath) { a.journal[0].Head, a.journal[0].Error = 0, "connection refused" })
	f("1 answers broke", func(a *aftermath) { a.journal[1].Error = "error event" })
	f("1 were altered", func(a *aftermath) { a.journal[1].Error = "wrong answer: got" })
	f("1 are not recorded", func(a *aftermath) { delete(a.records, "a") })
	f("1 are twice", func(a *aftermath) { a.records["b"] = 2 })
	f("1 records are of no answer", func(a *aftermath) { a.records["c"] = 1 })
	f("has grown", func(a *aftermath) { a.after.Goroutines = 22 })
	f("has grown", func(a *aftermath) { a.after.Heap = 1051 })
	f("has grown", func(a *aftermath) { a.after.Descriptors = 11 })
}

// TestReloadSmoke is row F11, shorter: 100 swaps and 10 reloads.
func TestReloadSmoke(t *testing.T) {
	if testing.Short() {
		t.Skip("short")
	}
	if os.Getenv("AI_GATEWAY_BENCH_SMOKE") != "1" {
		t.Skip("builds ./cmd/caddy and measures for a minute: set AI_GATEWAY_BENCH_SMOKE=1 to run")
	}
	file := filepath.Join(t.TempDir(), "figures.jsonl")
	if err := reload(t.Context(), []string{"-d", "12s", "-swaps", "100", "-reloads", "10", "-rate", "200", "-streams", "50", "-json", file}); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got aftermathFigures
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.Requests < 2400 || got.OK != got.Requests || got.Streams < 50 || got.Records != got.OK || got.Reload.Count != 10 || got.Swap.Count != 40 {
		t.Errorf("got %+v", got)
	}
}
