//go:build linux

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFailoverArguments(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		if err := failover(t.Context(), args); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", args, err, want)
		}
	}
	f(`got -d 7s and arguments [], want 8s or more and none`, "-d", "7s")
	f(`got -d 10s and arguments ["x"], want 8s or more and none`, "x")
	f(`got 2 candidates, want one`, "-c", "gateway,caddy")
	f(`unknown candidate "x", want some of `+names(candidates, candidateName), "-c", "x")
}

// TestFailoverSmoke kills an instance behind the gateway, and behind bare Caddy,
// which must fail the test that the gateway passes.
func TestFailoverSmoke(t *testing.T) {
	if testing.Short() {
		t.Skip("short")
	}
	if os.Getenv("AI_GATEWAY_BENCH_SMOKE") != "1" {
		t.Skip("builds ./cmd/caddy and measures for 20 s: set AI_GATEWAY_BENCH_SMOKE=1 to run")
	}
	r, err := newRig(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer r.remove()
	file := filepath.Join(t.TempDir(), "figures.jsonl")
	if err := failover(t.Context(), []string{"-d", "8s", "-caddy", r.caddy, "-json", file}); err != nil {
		t.Error(err)
	}
	err = failover(t.Context(), []string{"-d", "8s", "-caddy", r.caddy, "-c", "caddy", "-json", file})
	if err == nil || !strings.Contains(err.Error(), "client errors before commit") {
		t.Errorf("bare Caddy: got %v, want client errors", err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got []incidentFigures
	for decoder := json.NewDecoder(strings.NewReader(string(text))); decoder.More(); {
		var figures incidentFigures
		if err := decoder.Decode(&figures); err != nil {
			t.Fatal(err)
		}
		got = append(got, figures)
	}
	if len(got) != 2 {
		t.Fatalf("got %d lines, want 2:\n%s", len(got), text)
	}
	if g := got[0]; g.Candidate != "gateway" || g.Committed == 0 || g.WithEvent != g.Committed-g.Finished || g.Retried == 0 || g.Out >= 1000 || g.Back == nil {
		t.Errorf("gateway: got %+v", g)
	}
}
