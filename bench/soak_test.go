//go:build linux

package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/soak"
)

func TestSoakArguments(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		if err := soakRun(t.Context(), args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", args, err, want)
		}
	}
	f("got -d 1s, -n 1000000, -faults 0.05, -every 5s and arguments []", "-d", "1s")
	f("-n 5", "-n", "5")
	f("-faults 2", "-faults", "2")
	f(`arguments ["x"]`, "x")
}

// TestTrend guards that a rise is told from noise.
func TestTrend(t *testing.T) {
	f := func(name string, grows bool, figure func(n int) float64) {
		t.Helper()
		var samples []sample
		for n := range 100 {
			samples = append(samples, sample{Seconds: float64(n), RSS: int64(1e6 * figure(n))})
		}
		got := trend(samples, sampled[1].figure)
		if got.grows() != grows {
			t.Errorf("%s: got %+v, want it to grow: %t", name, got, grows)
		}
	}
	noise := func(n int) float64 { return 10 * math.Sin(float64(n*n)) }
	f("flat", false, func(int) float64 { return 100 })
	f("noise", false, func(n int) float64 { return 100 + noise(n) })
	f("by 4 %", false, func(n int) float64 { return 100 + 0.04*float64(n) })
	f("by 20 %", true, func(n int) float64 { return 100 + 0.2*float64(n) })
	f("by 20 % with noise", true, func(n int) float64 { return 100 + 0.2*float64(n) + noise(n) })
	f("down", false, func(n int) float64 { return 100 - 0.2*float64(n) })
	if got := trend([]sample{{Seconds: 1}, {Seconds: 2}}, sampled[0].figure); got.grows() {
		t.Errorf("two samples: got %+v", got)
	}
}

// TestSoakFault guards that each broken promise is found.
func TestSoakFault(t *testing.T) {
	f := func(want string, change func(s *soaking, r *soakRecords)) {
		t.Helper()
		s := &soaking{duration: shortestTrend, fleet: &soakFleet{}, tally: soakTally{requests: 3, records: []uint8{1, 0, 1}}}
		for n := range 20 {
			s.samples = append(s.samples, sample{Seconds: float64(n), vitals: vitals{Goroutines: 20, Heap: 1000, Descriptors: 10}, RSS: 1e6})
		}
		r := &soakRecords{written: 2, lines: 2, found: []uint8{1, 0, 1}}
		change(s, r)
		v := vitals{Goroutines: 20, Heap: 1000, Descriptors: 10}
		after := v
		if want == "has grown" {
			after.Goroutines = 22
		}
		got := ""
		if err := s.figures(v, after, r).fault(); err != nil {
			got = err.Error()
		}
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f("", func(*soaking, *soakRecords) {})
	f("has grown", func(*soaking, *soakRecords) {})
	f("no request", func(s *soaking, _ *soakRecords) { s.tally.requests = 0 })
	f("1 of 3 requests ended as none", func(s *soaking, _ *soakRecords) { s.tally.missed = 1 })
	f("1 records are missing and 0 are too many, such as of the requests [2]", func(_ *soaking, r *soakRecords) { r.found[2] = 0 })
	f("0 records are missing and 1 are too many, such as of the requests [1]", func(_ *soaking, r *soakRecords) { r.found[1] = 1 })
	f("1 are too many", func(_ *soaking, r *soakRecords) { r.strange = 1 })
	f("counts 3 records", func(_ *soaking, r *soakRecords) { r.written = 3 })
	f("1 dropped", func(_ *soaking, r *soakRecords) { r.dropped = 1 })
	f("records verify: x", func(_ *soaking, r *soakRecords) { r.verify = "x" })
	f("1 panics", func(_ *soaking, r *soakRecords) { r.panics = 1 })
	f("heap grows", func(s *soaking, _ *soakRecords) {
		for n := range s.samples {
			s.samples[n].Heap += int64(10 * n)
		}
	})
}

func TestSoakGraph(t *testing.T) {
	for _, samples := range [][]sample{nil, {{Seconds: 1}}, {{Seconds: 1, RSS: 1e8}, {Seconds: 60, RSS: 2e8}}} {
		picture := soakGraph(samples)
		d, points := xml.NewDecoder(strings.NewReader(string(picture))), 0
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%d samples: %v in\n%s", len(samples), err, picture)
			}
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "polyline" {
				for _, a := range e.Attr {
					if a.Name.Local == "points" {
						points += len(strings.Fields(a.Value))
					}
				}
			}
		}
		if want := len(samples) * len(sampled); points != want {
			t.Errorf("%d samples: got %d points, want %d", len(samples), points, want)
		}
	}
}

// TestSoakSmoke is row L5, much shorter.
func TestSoakSmoke(t *testing.T) {
	if testing.Short() {
		t.Skip("short")
	}
	if os.Getenv("AI_GATEWAY_BENCH_SMOKE") != "1" {
		t.Skip("builds ./cmd/caddy and runs for a minute: set AI_GATEWAY_BENCH_SMOKE=1 to run")
	}
	dir := t.TempDir()
	lines, graph := filepath.Join(dir, "soak.jsonl"), filepath.Join(dir, "soak.svg")
	// So many faults that the short warm-up has most of them: what is counted for the first time takes memory.
	if err := soakRun(t.Context(), []string{"-d", "20s", "-n", "3000", "-faults", "0.3", "-every", "1s", "-json", lines, "-graph", graph}); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(lines)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	var got soakFigures
	if err := json.Unmarshal([]byte(all[len(all)-1]), &got); err != nil {
		t.Fatal(err)
	}
	if got.Requests != 3600 || got.Faulty < 200 || got.Ends[soak.Broken] == 0 || got.Expected < 2500 || got.Kills < 2 || got.Reloads < 4 || len(all) < 15 {
		t.Errorf("got %d lines, the last %+v", len(all), got)
	}
	if _, err := os.Stat(graph); err != nil {
		t.Error(err)
	}
}
