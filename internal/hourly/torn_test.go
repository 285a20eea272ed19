package hourly

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mendOf mends a file with the data and returns what it holds then, what was moved
// aside, and what was told.
func mendOf(t *testing.T, data string) (left string, aside map[string]string, events []Event) {
	t.Helper()
	d := newDisk()
	d.put("/data/main/20260314_14.jsonl", data)
	w := New(Options{Root: "/data", FS: d, Report: func(e Event) { events = append(events, e) }})
	n, err := w.Recover("main")
	if err != nil || n != len(events) {
		t.Fatalf("Recover of %.40q: got %d, %v, events %+v", data, n, err, events)
	}
	return d.files("/data/main")["20260314_14.jsonl"], d.files("/data/torn"), events
}

func TestRecover(t *testing.T) {
	f := func(whole, torn string) {
		t.Helper()
		left, aside, events := mendOf(t, whole+torn)
		if left != whole {
			t.Errorf("Recover of %d + %d bytes: got %d left", len(whole), len(torn), len(left))
		}
		if torn == "" {
			if len(aside)+len(events) != 0 {
				t.Errorf("Recover of %d whole bytes: got %d files aside, %d events", len(whole), len(aside), len(events))
			}
			return
		}
		name := fmt.Sprintf("main.20260314_14.jsonl.at%d", len(whole))
		if aside[name] != torn || events[0].Kind != Torn || events[0].Bytes != int64(len(torn)) {
			t.Errorf("Recover of %d + %d bytes: got %d aside, events %+v", len(whole), len(torn), len(aside[name]), events)
		}
		if hour, ok := tornHour(name); !ok || hour != 2026031414 {
			t.Errorf("tornHour(%q): got %d, %v", name, hour, ok)
		}
	}
	long := strings.Repeat("x", 3*chunk+17)
	f("", "")
	f("\n", "")
	f("{}\n{}\n", "")
	f("", "{")
	f("{}\n", "{\"x\":\"")
	f("{}\n", "\x00\x00\x00\x00")
	f(long+"\n", long)
	f("", long)
	for n := chunk - 2; n <= chunk+2; n++ {
		f("{}\n", long[:n])
	}
}

// What cannot be moved aside stays, is told, and is left alone by writers: they
// take another name.
func TestRecoverFails(t *testing.T) {
	r := newRig(t, Options{})
	const torn = "{}\n{\"x\":"
	r.d.put("/data/main/20260314_15.jsonl", torn)
	r.d.set(func(op, name string) (int, error) {
		if op == "write" && strings.Contains(name, "/torn/") {
			return 2, syscall.ENOSPC
		}
		return 0, nil
	})
	n, err := r.w.Recover("main")
	if e := (*Error)(nil); n != 0 || !errors.As(err, &e) || e.Reason != DiskFull {
		t.Errorf("Recover: got %d, %v; want 0 and reason disk_full", n, err)
	}
	r.add(main, 10)
	r.w.Close(r.now)
	if got := r.d.files("/data/main"); got["20260314_15.jsonl"] != torn || strings.Count(got["20260314_15-2.jsonl"], "\n") != 1 {
		t.Errorf("files: got %q", got)
	}
	if got := r.d.files("/data/torn"); len(got) != 0 {
		t.Errorf("moved aside by halves: %q", got)
	}
}

// A file that a writer has open may end anywhere.
func TestRecoverLeavesOpenFiles(t *testing.T) {
	r := newRig(t, Options{})
	r.add(main, 10)
	r.pass(time.Second)
	n := r.d.names["/data/main/20260314_15.jsonl"]
	n.data = append(n.data, "half of a write"...)
	if mended, err := New(Options{Root: "/data", FS: r.d}).Recover("main"); mended != 0 || err != nil {
		t.Errorf("Recover: got %d, %v; want 0", mended, err)
	}
}

func FuzzRecover(f *testing.F) {
	for _, s := range []string{"", "{}\n", "{}\n{", "\n\n\x00", "no line"} {
		f.Add([]byte(s), 1)
		f.Add([]byte(s), chunk)
	}
	f.Fuzz(func(t *testing.T, data []byte, times int) {
		data = bytes.Repeat(data, min(max(times, 1), 3*chunk)%(3*chunk/(len(data)+1)+1))
		left, aside, _ := mendOf(t, string(data))
		all := left
		for _, torn := range aside {
			if strings.Contains(torn, "\n") || torn == "" {
				t.Errorf("moved aside: %.40q, want no line feed in it", torn)
			}
			all += torn
		}
		if all != string(data) || left != "" && !strings.HasSuffix(left, "\n") || len(aside) > 1 {
			t.Errorf("of %d bytes %d are left and %d there in all", len(data), len(left), len(all))
		}
	})
}
