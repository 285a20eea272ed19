package hourly

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	keepNow = time.Date(2026, 3, 14, 15, 30, 0, 0, time.UTC)
	hour15  = "{\"x\":\"being written\"}\n"
)

// fullDisk returns a disk with the hours 10 to 15, of which 15 is being written, a
// torn line, and things that are not ours.
func fullDisk() *disk {
	d := newDisk()
	for h := 10; h < 15; h++ {
		d.put(fmt.Sprintf("/data/main/20260314_%d.jsonl", h), dataOf(h))
	}
	d.put("/data/main/20260314_14.image-2.jsonl", dataOf(142))
	d.put("/data/main/20260314_15.jsonl", hour15)
	d.put("/data/main/20260314_16.jsonl", "of a clock that was ahead\n")
	d.put("/data/torn/main.20260314_10.jsonl.at4096", "torn")
	d.put("/data/main/notes.txt", "not ours")
	d.put("/data/main/20260314_10.jsonl.bak", "not ours")
	d.put("/data/main_compressed/README", "not ours")
	d.put("/data/torn/x", "not ours")
	d.put("/data/other/20200101_00.jsonl", "not ours: another folder")
	d.put("/data/20200101_00.jsonl", "not ours: no folder")
	return d
}

func dataOf(h int) string { return strings.Repeat(fmt.Sprintf("{\"hour\":%d}\n", h), 20_000) }

func (d *disk) keeper(o KeeperOptions) *Keeper {
	o.Root, o.Folders, o.FS, o.Location = "/data", []string{"main"}, d, time.UTC
	return NewKeeper(o)
}

// unpack returns what a packed file holds.
func unpack(t *testing.T, name, data string) string {
	t.Helper()
	d := newDisk()
	d.put("/f", data)
	f, err := d.OpenFile("/f", os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := Zstd
	if strings.HasSuffix(name, ".gz") {
		c = Gzip
	}
	r, err := c.reader(&reader{t.Context(), f, 0, int64(len(data))})
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return ""
	}
	var b strings.Builder
	buf := make([]byte, 1<<16)
	for {
		n, err := r.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			if err.Error() != "EOF" {
				t.Errorf("%s: %v", name, err)
			}
			return b.String()
		}
	}
}

func TestPack(t *testing.T) {
	for c, ext := range map[Compression]string{Zstd: ".zst", Gzip: ".gz"} {
		t.Run(string(c), func(t *testing.T) {
			d := fullDisk()
			d.put("/data/main/20260314_09.jsonl", "")
			d.put("/data/main_compressed/.20260314_10.jsonl"+ext+".half", "half")
			d.put("/data/main_compressed/20260314_11.jsonl"+ext, "something else")
			before := d.files("/data/main")
			kept, err := d.keeper(KeeperOptions{Compression: c}).Keep(t.Context(), keepNow)
			if err != nil || kept.Packed != 7 || kept.Deleted != 0 {
				t.Fatalf("Keep: got %+v, %v; want 7 packed", kept, err)
			}
			want := []string{"20260314_10.jsonl.bak", "20260314_15.jsonl", "20260314_16.jsonl", "notes.txt"}
			if got := slices.Sorted(maps.Keys(d.files("/data/main"))); !slices.Equal(got, want) {
				t.Errorf("left: got %q, want %q", got, want)
			}
			after := d.files("/data/main_compressed")
			for name, of := range map[string]string{
				"20260314_10.jsonl": "20260314_10.jsonl", "20260314_11-2.jsonl": "20260314_11.jsonl", "20260314_14.jsonl": "20260314_14.jsonl",
				"20260314_14.image-2.jsonl": "20260314_14.image-2.jsonl",
			} {
				if got := unpack(t, name+ext, after[name+ext]); got != before[of] {
					t.Errorf("%s%s: got %d bytes, want the %d of %s", name, ext, len(got), len(before[of]), of)
				}
			}
			if len(after) != 8 {
				t.Errorf("packed files: got %q", slices.Sorted(maps.Keys(after)))
			}
			if again, err := d.keeper(KeeperOptions{Compression: c}).Keep(t.Context(), keepNow); err != nil || again.Packed != 0 {
				t.Errorf("Keep again: got %+v, %v; want nothing to do", again, err)
			}
		})
	}
}

// D16: packing fails, is killed or loses power at each of its operations. The lines
// are there once, and when the keeper runs again, packed.
func TestD16PackFails(t *testing.T) {
	const file = "20260314_10.jsonl"
	content := dataOf(10)
	if raceDetector { // what runs is the same, only the number differs
		content = content[:len(content)/10]
	}
	f := func(name string, err error, after func(d *disk, op int) *disk) {
		t.Run(name, func(t *testing.T) {
			for fails := 1; ; fails++ {
				d := newDisk()
				d.put("/data/main/"+file, content+"torn")
				d.ops = 0
				d.set(func(op, _ string) (int, error) {
					if d.ops == fails || d.ops > fails && after != nil {
						return 7, err
					}
					return 0, nil
				})
				_, kerr := d.keeper(KeeperOptions{Compression: Zstd}).Keep(t.Context(), keepNow)
				done := d.ops < fails
				if done && kerr != nil {
					t.Fatalf("Keep without a fault: %v", kerr)
				}
				d.set(nil)
				if after != nil {
					d = after(d, fails)
				}
				original, there := d.files("/data/main")[file]
				packed, isPacked := d.files("/data/main_compressed")[file+".zst"]
				if there && !strings.HasPrefix(original, content) || !there && !isPacked {
					t.Fatalf("operation %d fails: the lines are gone", fails)
				}
				if isPacked && unpack(t, file+".zst", packed) != content {
					t.Fatalf("operation %d fails: there is half a file under the final name", fails)
				}
				for range 2 {
					if _, err := d.keeper(KeeperOptions{Compression: Zstd}).Keep(t.Context(), keepNow); err != nil {
						t.Fatalf("operation %d fails: next Keep: %v", fails, err)
					}
				}
				packs := d.files("/data/main_compressed")
				if len(packs) != 1 || unpack(t, file+".zst", packs[file+".zst"]) != content || len(d.files("/data/main")) != 0 {
					t.Fatalf("operation %d fails: left with %q and %q", fails, slices.Collect(maps.Keys(packs)), slices.Collect(maps.Keys(d.files("/data/main"))))
				}
				if done {
					t.Logf("%d operations", fails-1)
					return
				}
			}
		})
	}
	f("error", syscall.EIO, nil)
	if !raceDetector { // what runs is the same, only the number differs
		f("full", syscall.ENOSPC, nil)
	}
	// A killed process: nothing works any more, and its locks are gone.
	unlock := func(d *disk) *disk {
		for _, n := range d.names {
			n.owner = nil
		}
		return d
	}
	f("killed", errors.New("killed"), func(d *disk, _ int) *disk { return unlock(d) })
	f("power lost", errors.New("power lost"), func(d *disk, op int) *disk { return d.crash(randomOf(op)) })
}

// A copy that reads back differently is not taken for one, whether the format's own
// checksum notices or not.
func TestD16Verify(t *testing.T) {
	other := &bytes.Buffer{}
	w, err := Gzip.writer(other)
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte("a good file of other lines\n"))
	w.Close()
	for name, spoil := range map[string]func(n *inode){
		"a bit":      func(n *inode) { n.data[len(n.data)/2] ^= 1 },
		"everything": func(n *inode) { n.data = slices.Clone(other.Bytes()) },
	} {
		t.Run(name, func(t *testing.T) {
			d := fullDisk()
			before := d.files("/data/main")
			d.set(func(op, name string) (int, error) {
				if op == "sync" && strings.HasSuffix(name, ".half") {
					spoil(d.names[name])
				}
				return 0, nil
			})
			kept, err := d.keeper(KeeperOptions{Compression: Gzip}).Keep(t.Context(), keepNow)
			if err == nil || kept.Packed != 0 || !maps.Equal(before, d.files("/data/main")) {
				t.Errorf("Keep: got %+v, %v; want errors and every original", kept, err)
			}
			if got := d.files("/data/main_compressed"); len(got) != 1 {
				t.Errorf("packed files: got %d, want only what was there", len(got))
			}
		})
	}
}

func TestKeepStops(t *testing.T) {
	d := fullDisk()
	ctx, cancel := context.WithCancel(t.Context())
	d.set(func(op, name string) (int, error) {
		if op == "write" {
			cancel()
		}
		return 0, nil
	})
	before := d.files("/data/main")
	if _, err := d.keeper(KeeperOptions{Compression: Zstd}).Keep(ctx, keepNow); !errors.Is(err, context.Canceled) {
		t.Errorf("Keep: got %v, want that the context is canceled", err)
	}
	if !maps.Equal(before, d.files("/data/main")) || len(d.files("/data/main_compressed")) != 1 {
		t.Error("a canceled Keep left something behind")
	}
}

// D17: what is deleted, for age and for space.
func TestD17Retention(t *testing.T) {
	everything := func(d *disk) (all []string) {
		for name, n := range d.names {
			if n.mode.IsRegular() {
				all = append(all, strings.TrimPrefix(name, "/data/"))
			}
		}
		return slices.Sorted(slices.Values(all))
	}
	f := func(name string, o KeeperOptions, now time.Time, gone ...string) {
		t.Run(name, func(t *testing.T) {
			d := fullDisk()
			d.put("/data/main_compressed/20260314_09.jsonl.zst", "packed")
			want := slices.DeleteFunc(everything(d), func(s string) bool { return slices.Contains(gone, s) })
			open := &handle{d: d, n: d.names["/data/main/20260314_15.jsonl"]}
			if err := open.Lock(); err != nil {
				t.Fatal(err)
			}
			kept, err := d.keeper(o).Keep(t.Context(), now)
			if err != nil || kept.Deleted != len(gone) {
				t.Errorf("Keep: got %+v, %v; want %d deleted", kept, err, len(gone))
			}
			if got := everything(d); !slices.Equal(got, want) {
				t.Errorf("left: got %q, want %q", got, want)
			}
		})
	}
	ours := []string{
		"main/20260314_10.jsonl", "main/20260314_11.jsonl", "main/20260314_12.jsonl", "main/20260314_13.jsonl", "main/20260314_14.jsonl",
		"main/20260314_14.image-2.jsonl", "main_compressed/20260314_09.jsonl.zst", "torn/main.20260314_10.jsonl.at4096",
	}
	f("nothing is asked", KeeperOptions{}, keepNow)
	f("age", KeeperOptions{MaxAge: 3 * time.Hour}, keepNow, "main/20260314_10.jsonl", "main_compressed/20260314_09.jsonl.zst", "torn/main.20260314_10.jsonl.at4096")
	f("age, 1 year later, with one file open", KeeperOptions{MaxAge: time.Hour}, keepNow.AddDate(1, 0, 0), append(ours, "main/20260314_16.jsonl")...)
	f("space", KeeperOptions{MaxBytes: 750_000}, keepNow,
		"main/20260314_10.jsonl", "main/20260314_11.jsonl", "main/20260314_12.jsonl", "main_compressed/20260314_09.jsonl.zst", "torn/main.20260314_10.jsonl.at4096")
	f("no space at all", KeeperOptions{MaxBytes: 1}, keepNow, ours...)
	f("the hour has just ended", KeeperOptions{MaxBytes: 1}, time.Date(2026, 3, 14, 15, 9, 0, 0, time.UTC), slices.DeleteFunc(slices.Clone(ours), func(s string) bool { return strings.HasPrefix(path.Base(s), "20260314_14") })...)
	f("longest age", KeeperOptions{MaxAge: 1<<63 - 1}, keepNow)
}
