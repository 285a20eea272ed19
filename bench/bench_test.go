//go:build linux

package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/load"
)

// TestMain lets the test program play the parts that bench starts itself for.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestPick(t *testing.T) {
	f := func(list, want string) {
		t.Helper()
		picked, err := pick("scenario", list, scenarios, scenarioName)
		got := names(picked, scenarioName)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", list, got, want)
		}
	}
	f("json,burst,paced,paced500,single,light,prompt256k,prompt4m,open100,open1k,open5k,open10k,instances", "json,burst,paced,paced500,single,light,prompt256k,prompt4m,open100,open1k,open5k,open10k,instances")
	f("paced,json", "paced,json")
	f("json,json", `scenario "json" is named twice`)
	f("", `unknown scenario "", want some of json,burst,paced,paced500,single,light,prompt256k,prompt4m,open100,open1k,open5k,open10k,instances`)
	f("json,quick", `unknown scenario "quick", want some of json,burst,paced,paced500,single,light,prompt256k,prompt4m,open100,open1k,open5k,open10k,instances`)
}

// candidatesOf returns the candidates of a list of names.
func candidatesOf(t *testing.T, list string) []candidate {
	t.Helper()
	cs, err := pick("candidate", list, candidates, candidateName)
	if err != nil {
		t.Fatal(err)
	}
	return cs
}

func TestConfigure(t *testing.T) {
	f := func(name string, flush bool, wantCaddyfile, wantConfig []string) {
		t.Helper()
		c := candidatesOf(t, name)[0]
		c.flush = flush
		dir := t.TempDir()
		file, err := c.configure(dir, "127.0.0.1:9999", []string{"127.0.0.1:1", "127.0.0.1:2"})
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range wantCaddyfile {
			if !strings.Contains(string(got), w) {
				t.Errorf("%s: got\n%s, want %q in it", name, got, w)
			}
		}
		config, err := os.ReadFile(filepath.Join(dir, "config.json5"))
		if (err == nil) != (wantConfig != nil) {
			t.Errorf("%s: config.json5: %v", name, err)
		}
		for _, w := range wantConfig {
			if !strings.Contains(string(config), w) {
				t.Errorf("%s: got\n%s, want %q in it", name, config, w)
			}
		}
	}
	f("caddy", false, []string{"http://127.0.0.1:9999 {", "\treverse_proxy 127.0.0.1:1 127.0.0.1:2 {\n\t\tlb_policy round_robin\n\t\ttransport"}, nil)
	f("caddy", true, []string{"round_robin\n\t\tflush_interval -1\n"}, nil)
	f("gateway", true, []string{"\tai_gateway config.json5 {\n\t\ttransport"}, []string{`"url": "http://127.0.0.1:2/v1"`})
	f("gateway-norecord", false, nil, []string{`"record": {"enabled": false}`, `"data_dir": "/`})
}

func TestEntrants(t *testing.T) {
	c := &comparison{candidates: candidatesOf(t, "caddy,gateway")}
	f := func(instances []int, want ...string) {
		t.Helper()
		var got []string
		for _, e := range c.entrants(scenario{instances: instances}) {
			ref := e.reference()
			got = append(got, e.label+" to "+ref.name)
			if ref.instances != instances[0] {
				t.Errorf("%s is compared with a fleet of %d", e.label, ref.instances)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("fleets %v: got %q, want %q", instances, got, want)
		}
	}
	f([]int{2}, "caddy to caddy", "gateway to caddy")
	f([]int{1, 64}, "caddy-1 to caddy", "caddy-64 to caddy", "gateway-1 to gateway", "gateway-64 to gateway")
}

func TestSummary(t *testing.T) {
	s := scenarios[0]
	c := &comparison{candidates: candidatesOf(t, "caddy,gateway")}
	for round, cpu := range []float64{1, 2, 4} {
		c.runs = append(c.runs,
			measured{Scenario: s.name, Round: round, Candidate: "caddy", Instances: 2, Result: load.Result{Seconds: 2, Requests: 10000, CPU: cpu}},
			measured{Scenario: s.name, Round: round, Candidate: "gateway", Instances: 2, Result: load.Result{Seconds: 2, Requests: 5000, CPU: cpu / 4}})
	}
	var b strings.Builder
	if err := summarize([]scenario{s}, c.entrants, c.runs).write(&b); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 4 {
		t.Fatalf("got\n%s", &b)
	}
	for i, want := range []string{
		"| scenario | candidate | CPU µs |     per | × CPU |",
		"|----------|-----------|-------:|--------:|------:|",
		"| json     | caddy     | 200.00 | request | 1.000 |",
		"| json     | gateway   | 100.00 | request | 0.500 |",
	} {
		if !strings.HasPrefix(lines[i], want) {
			t.Errorf("line %d: got %q, want %q", i, lines[i], want)
		}
	}
}

func TestCPUModel(t *testing.T) {
	if got := cpuModel("processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\nmodel name\t: Other\n"); got != "Some CPU @ 3 GHz" {
		t.Errorf("got %q", got)
	}
	if got := cpuModel("processor\t: 0\n"); !strings.HasSuffix(got, "CPU of unknown model") {
		t.Errorf("got %q", got)
	}
}

// TestSmoke runs one short round of bare Caddy against itself, and of the
// gateway. It builds ./cmd/caddy, which takes minutes when nothing is cached.
func TestSmoke(t *testing.T) {
	if testing.Short() {
		t.Skip("short")
	}
	if os.Getenv("AI_GATEWAY_BENCH_SMOKE") != "1" {
		t.Skip("builds ./cmd/caddy and measures for a few seconds: set AI_GATEWAY_BENCH_SMOKE=1 to run")
	}
	file := filepath.Join(t.TempDir(), "runs.jsonl")
	err := compare(t.Context(), []string{"-c", "caddy,caddy-again,gateway", "-s", "json,burst", "-rounds", "1", "-d", "300ms", "-json", file})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil || strings.Count(string(b), "\n") != 6 {
		t.Errorf("got %v and\n%s, want 6 lines", err, b)
	}
}
