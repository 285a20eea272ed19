package hourly

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestAppendParts guards that of lines in parts the first ones are in the file, whole, and
// that it is these that are told as taken, however much of them the disk takes.
func TestAppendParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newDisk()
		w := New(Options{Root: "/data", FS: d, Location: time.UTC})
		now := time.Date(2026, 3, 14, 15, 10, 0, 0, time.UTC)
		var parts [][]byte
		var ends []int // of the lines
		size := 0
		for n, sizes := range rapid.SliceOfN(rapid.SliceOfN(rapid.IntRange(0, 200<<10), 0, 4), 1, 6).Draw(t, "lines") {
			for _, s := range sizes {
				parts = append(parts, bytes.Repeat([]byte{byte('a' + n)}, s))
				size += s
			}
			parts = append(parts, []byte("\n"))
			size++
			ends = append(ends, size)
		}
		whole := slices.Concat(parts...)
		d.space = int64(rapid.IntRange(0, size*5/4).Draw(t, "space"))
		full := d.space < int64(size)
		taken, err := w.AppendParts(main, parts, now)
		if !bytes.Equal(slices.Concat(parts...), whole) {
			t.Fatal("the parts were changed")
		}
		want := len(ends)
		if size > joinMax && full {
			want, _ = slices.BinarySearch(ends, int(d.space)+len(d.files("/data/main")["20260314_15.jsonl"])+1)
			if e := (*Error)(nil); !errors.As(err, &e) || e.Reason != DiskFull {
				t.Fatalf("got %v, want reason disk_full", err)
			}
		} else if err != nil {
			t.Fatal(err)
		}
		if taken != want {
			t.Fatalf("taken: got %d, want %d of %d lines", taken, want, len(ends))
		}
		d.space = 1 << 40
		w.Close(now)
		wantText := ""
		if taken > 0 {
			wantText = string(whole[:ends[taken-1]])
		}
		if got := d.files("/data/main")["20260314_15.jsonl"]; got != wantText {
			t.Fatalf("file: got %d bytes, want the %d of the lines that were taken", len(got), len(wantText))
		}
	})
}

func TestAppendPartsRefuses(t *testing.T) {
	for _, parts := range [][]string{{}, {""}, {"a"}, {"a\n", "b"}, {"a\nb\n"}, {"a", "\n\n"}, {"a", "b\nc\n"}, {"a\n", ""}} {
		w := New(Options{Root: "/data", FS: newDisk()})
		var list [][]byte
		for _, p := range parts {
			list = append(list, []byte(p))
		}
		taken, err := w.AppendParts(main, list, time.Unix(0, 0))
		if e := (*Error)(nil); !errors.As(err, &e) || e.Reason != Invalid || taken != 0 {
			t.Errorf("AppendParts(%q): got %d, %v; want reason invalid", parts, taken, err)
		}
	}
}

// TestHostWriteParts: the host's own way of writing parts, more than one call takes, and
// into a file that may not become as long.
func TestHostWriteParts(t *testing.T) {
	path := t.TempDir() + "/f"
	f, err := OS.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var parts [][]byte
	for i := range 3000 {
		parts = append(parts, []byte(strings.Repeat("x", i%3)+fmt.Sprint(i)), nil)
	}
	want := slices.Concat(parts...)
	if n, err := f.WriteParts(parts); n != len(want) || err != nil {
		t.Errorf("got %d, %v, want %d", n, err, len(want))
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, %v; want %d as they were given", len(got), err, len(want))
	}
	if n, err := f.WriteParts([][]byte{nil, {}}); n != 0 || err != nil {
		t.Errorf("nothing: got %d, %v", n, err)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	var e *fs.PathError
	if n, err := (hostFile{full}).WriteParts(parts); n != 0 || !errors.As(err, &e) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("/dev/full: got %d, %v; want no space", n, err)
	}
}
