package hourly

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"
)

func TestAppend(t *testing.T) {
	r := newRig(t, Options{})
	media := Series{"media", ".audio+image", ".jsonl"}
	for range 3 {
		r.add(main, 10)
		r.add(media, 10)
	}
	if got := len(r.lines("main")); got != 0 {
		t.Errorf("lines written before Tick: got %d, want 0", got)
	}
	r.pass(500 * time.Millisecond)
	if got := len(r.lines("main")) + len(r.lines("media")); got != 6 {
		t.Errorf("lines with the kernel after 500 ms: got %d, want 6", got)
	}
	r.pass(500 * time.Millisecond)
	for p, n := range r.d.names {
		if n.synced != len(n.data) || r.d.durable[p] != n {
			t.Errorf("%s is not durable after 1 s", p)
		}
	}
	r.wantNames("main", "20260314_15.jsonl")
	r.wantNames("media", "20260314_15.audio+image.jsonl")
	r.wantCounts(map[Kind]int{})
	r.w.Close(r.now)
	if next := r.w.Next(); !next.IsZero() {
		t.Errorf("Next after Close: got %v, want none", next)
	}
	if r.add(main, 1) == nil || r.dropped[Closed] != 1 {
		t.Errorf("Append after Close: got %v, want reason closed", r.dropped)
	}
}

// A caller that is too busy to call Tick loses nothing by it: Append does what is due.
func TestAppendTicks(t *testing.T) {
	r := newRig(t, Options{})
	for range 200 {
		r.add(main, 10)
		r.now = r.now.Add(10 * time.Millisecond)
	}
	n := r.d.names["/data/main/20260314_15.jsonl"]
	if written := len(r.lines("main")); written < 150 {
		t.Errorf("lines with the kernel after 2 s: got %d of 200, want at least 150", written)
	}
	if lines := strings.Count(string(n.data[:n.synced]), "\n"); lines < 100 {
		t.Errorf("lines on the disk after 2 s: got %d of 200, want at least 100", lines)
	}
}

func TestAppendRefuses(t *testing.T) {
	f := func(s Series, line, wantErr string) {
		t.Helper()
		w := New(Options{Root: "/data", FS: newDisk()})
		err := w.Append(s, []byte(line), time.Unix(0, 0))
		if e := (*Error)(nil); !errors.As(err, &e) || e.Reason != Invalid || e.Error() != wantErr {
			t.Errorf("Append(%+v, %q): got %v, want %s", s, line, err, wantErr)
		}
	}
	const noLine = `appending to "main": not one line that ends in a line feed`
	f(main, "", noLine)
	f(main, "secret", noLine)
	f(main, "secret\nsecret\n", noLine)
	f(main, "secret\n\n", noLine)
	f(Series{"../x", "", ".jsonl"}, "x\n", `appending to "../x/*.jsonl": not the names of a folder, a suffix and an extension`)
}

// Lines go to the disk in order and in few writes, long ones in one of their own.
func TestWritesAreWhole(t *testing.T) {
	r := newRig(t, Options{})
	writes := 0
	r.d.set(func(op, _ string) (int, error) {
		if op == "write" {
			writes++
		}
		return 0, nil
	})
	for range 1000 {
		r.add(main, 1000)
	}
	r.add(main, 12<<20)
	r.add(main, 10)
	r.w.Close(r.now)
	if lines := r.lines("main"); len(lines) != 1002 {
		t.Errorf("lines: got %d, want 1002", len(lines))
	}
	last := 0
	for line := range strings.Lines(r.d.files("/data/main")["20260314_15.jsonl"]) {
		n := int(gjson.Get(line, "n").Int())
		if n != last+1 {
			t.Fatalf("line %d follows line %d", n, last)
		}
		last = n
	}
	if writes > 8 {
		t.Errorf("writes of 1,000 lines of 1 KB, one of 12 MiB and one of 10 bytes: got %d, want at most 8", writes)
	}
}

// D5, D6: the folder is removed or replaced, the file renamed or deleted.
func TestD5D6Replaced(t *testing.T) {
	f := func(name string, act func(d *disk), want ...string) {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Options{})
			r.add(main, 10)
			r.pass(2 * time.Second)
			r.add(main, 10) // waits while it happens
			act(r.d)
			r.add(main, 10)
			r.pass(time.Second)
			r.wantNames("main", want...)
			got := len(strings.Split(r.d.files("/data/main")["20260314_15.jsonl"], "\n")) - 1
			if got != 2 {
				t.Errorf("lines in the new file: got %d, want 2", got)
			}
			if mode := r.d.names["/data/main"].mode.Perm(); mode != 0o700 {
				t.Errorf("mode of the folder: got %o, want 700", mode)
			}
			r.wantCounts(map[Kind]int{Replaced: 1})
		})
	}
	const file = "/data/main/20260314_15.jsonl"
	f("folder removed", func(d *disk) { d.removeAll("/data/main") }, "20260314_15.jsonl")
	f("root removed", func(d *disk) { d.removeAll("/data") }, "20260314_15.jsonl")
	f("folder replaced", func(d *disk) {
		d.removeAll("/data/main")
		d.Mkdir("/data/main", 0o700)
	}, "20260314_15.jsonl")
	f("file deleted", func(d *disk) { d.Remove(file) }, "20260314_15.jsonl")
	f("file renamed", func(d *disk) { d.Rename(file, file+".1") }, "20260314_15.jsonl", "20260314_15.jsonl.1")
}

// A file that is truncated in place, as logrotate's copytruncate does, is not filled
// up with zeros by the repair of a short write.
func TestD6TruncatedInPlace(t *testing.T) {
	r := newRig(t, Options{})
	r.add(main, 300<<10)
	r.d.names["/data/main/20260314_15.jsonl"].data = nil
	r.d.space = 1000
	r.add(main, 300<<10)
	if got := r.d.files("/data/main")["20260314_15.jsonl"]; got != "" {
		t.Errorf("file: got %d bytes, want none", len(got))
	}
}

// D10: two writers never have one file.
func TestD10TwoWriters(t *testing.T) {
	r := newRig(t, Options{})
	r.add(main, 10)
	r.pass(time.Second)
	first := r.w
	r.open(Options{})
	r.add(main, 10)
	r.pass(time.Second)
	r.wantNames("main", "20260314_15-2.jsonl", "20260314_15.jsonl")
	first.Close(r.now)
	r.w.Close(r.now)
	r.open(Options{})
	r.add(main, 10)
	r.w.Close(r.now)
	r.wantNames("main", "20260314_15-2.jsonl", "20260314_15.jsonl") // the first is free again
	r.lines("main")

	r.d.noLocks = true
	r.open(Options{})
	r.add(main, 10)
	r.w.Close(r.now)
	r.wantCounts(map[Kind]int{Unlocked: 1})
}

// D13: whatever a line holds, it is one line, for two parsers.
func TestD13Contents(t *testing.T) {
	d := newDisk()
	w := New(Options{Root: "/data", FS: d, Location: time.UTC})
	values := []string{
		"two\nlines\r\nand a\rreturn", "\u2028\u2029\u0085", `"}` + "\n" + `{"`, "\x00\x01\x1f\x7f", "bad \xff\xfe\xc3 utf-8", "\\n", "<&>", "\U0001f600",
	}
	now := time.Unix(0, 0)
	for _, v := range values {
		line, err := json.Marshal(map[string]string{"x": v})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Append(main, append(line, '\n'), now); err != nil {
			t.Errorf("Append of %q: %v", v, err)
		}
	}
	w.Close(now)
	lines := strings.Split(d.files("/data/main")["19700101_00.jsonl"], "\n")
	if len(lines) != len(values)+1 {
		t.Fatalf("lines: got %d, want %d", len(lines)-1, len(values))
	}
	for i, v := range values {
		want := strings.ToValidUTF8(v, "")
		var got map[string]string
		err := json.Unmarshal([]byte(lines[i]), &got)
		if err != nil || strings.ReplaceAll(got["x"], "\ufffd", "") != want {
			t.Errorf("line %q: got %q, %v; want %q", lines[i], got["x"], err, want)
		}
		if got := gjson.Get(lines[i], "x").String(); !gjson.Valid(lines[i]) || strings.ReplaceAll(got, "\ufffd", "") != want {
			t.Errorf("line %q by the second parser: got %q, want %q", lines[i], got, want)
		}
	}
}
