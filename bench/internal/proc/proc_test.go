//go:build linux

package proc

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseSchedstat(t *testing.T) {
	if got, err := parseSchedstat([]byte("1252987341 77 9\n")); err != nil || got != 1252987341 {
		t.Errorf("got %d, %v, want 1252987341", got, err)
	}
	for _, s := range []string{"", "1 2", "x 2 3"} {
		if got, err := parseSchedstat([]byte(s)); err == nil {
			t.Errorf("%q: got %v, want an error", s, got)
		}
	}
}

func TestParseStat(t *testing.T) {
	const line = "4242 (a) b (c) S 1 4242 4242 0 -1 4194560 900 0 3 0 150 25 7 8 20 0 9 0 5555 1 2"
	if got, err := parseStat([]byte(line)); err != nil || got != 1750*time.Millisecond {
		t.Errorf("got %v, %v, want 1.75s", got, err)
	}
	for _, s := range []string{"", "1 (a) S 1 2", strings.Replace(line, " 150 ", " x ", 1)} {
		if got, err := parseStat([]byte(s)); err == nil {
			t.Errorf("%q: got %v, want an error", s, got)
		}
	}
}

func TestParseStatus(t *testing.T) {
	const status = "Name:\tcaddy\nVmHWM:\t   73216 kB\nVmRSS:\t   70000 kB\nThreads:\tx\n"
	if got, err := parseStatus([]byte(status), "VmHWM"); err != nil || got != 73216<<10 {
		t.Errorf("got %d, %v, want %d", got, err, 73216<<10)
	}
	for _, name := range []string{"VmPeak", "Threads"} {
		if got, err := parseStatus([]byte(status), name); err == nil {
			t.Errorf("%s: got %d, want an error", name, got)
		}
	}
}

func TestParseMachine(t *testing.T) {
	got, err := parseMachine([]byte("cpu  100 1 50 1000 10 2 3 4 0 0\ncpu0 1 2 3\n"))
	if want := (Machine{Busy: 1560 * time.Millisecond, Idle: 10100 * time.Millisecond, Stolen: 40 * time.Millisecond}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, s := range []string{"", "cpu 1 2 3", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 x 4 5 6 7 8"} {
		if got, err := parseMachine([]byte(s)); err == nil {
			t.Errorf("%q: got %+v, want an error", s, got)
		}
	}
}

func TestUsageOfThisProcess(t *testing.T) {
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); ; {
		after, err := CPU(os.Getpid())
		if err == nil && after > before {
			break
		}
		if err != nil || time.Since(start) > time.Minute {
			t.Fatalf("CPU: got %v, %v after %v", after, err, before)
		}
	}
	if now, peak, err := RSS(os.Getpid()); err != nil || now < 1<<20 || peak < 1<<20 {
		t.Errorf("RSS: got %d now and %d at the peak, %v", now, peak, err)
	}
	if m, err := ReadMachine(); err != nil || m.Busy <= 0 {
		t.Errorf("machine: got %+v, %v", m, err)
	}
}

func TestProcess(t *testing.T) {
	dir := t.TempDir()
	script := `echo up; trap "" TERM; while :; do sleep 0.01; done`
	p, err := Start("script", dir, filepath.Join(dir, "log"), "/bin/sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	err = p.Ready(context.Background(), 10*time.Second, func() error {
		if string(p.Log()) != "up\n" {
			return errors.New("not up")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	p.Stop(100 * time.Millisecond) // it ignores SIGTERM
	select {
	case <-p.Done():
	default:
		t.Error("still there after Stop")
	}
}

// TestKill guards that a killed process gets no time to end as it would like to.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	p, err := Start("script", dir, filepath.Join(dir, "log"), "/bin/sh", "-c", `trap "echo bye; exit" TERM; echo up; while :; do sleep 0.01; done`)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop(0)
	err = p.Ready(context.Background(), 10*time.Second, func() error {
		if string(p.Log()) != "up\n" {
			return errors.New("not up")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Kill()
	p.Stop(time.Second)
	select {
	case <-p.Done():
	default:
		t.Error("still there after Kill")
	}
	if got := string(p.Log()); got != "up\n" {
		t.Errorf("got log %q, want that of a process without warning", got)
	}
}

func TestProcessThatEndsTellsWhy(t *testing.T) {
	dir := t.TempDir()
	p, err := Start("script", dir, filepath.Join(dir, "log"), "/bin/sh", "-c", "echo bad port; exit 1")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop(0)
	err = p.Ready(context.Background(), 10*time.Second, func() error { return errors.New("refused") })
	if err == nil || !strings.Contains(err.Error(), "script ended before it was ready: refused\nbad port") {
		t.Errorf("got %v", err)
	}
}
