package hourly

import (
	"fmt"
	"io/fs"
	"testing"
	"time"
)

// discard is a file system of which every file forgets at once what is written, so
// that the writer's own work is measured.
type discard struct{ *disk }

type forgetful struct{ *handle }

func (d discard) OpenFile(name string, flag int, mode fs.FileMode) (File, error) {
	f, err := d.disk.OpenFile(name, flag, mode)
	if err != nil {
		return nil, err
	}
	return forgetful{f.(*handle)}, nil
}

func (forgetful) Write(p []byte) (int, error) { return len(p), nil }
func (forgetful) WriteParts(parts [][]byte) (n int, _ error) {
	for _, p := range parts {
		n += len(p)
	}
	return n, nil
}
func (forgetful) Sync() error              { return nil }
func (forgetful) SyncBeside() <-chan error { done := make(chan error, 1); done <- nil; return done }
func (forgetful) StartSync()               {}

// In steady state a line costs no allocation.
func TestNoAllocations(t *testing.T) {
	for _, size := range []int{1 << 10, 256 << 10, 1 << 20} {
		w := New(Options{Root: "/data", FS: discard{newDisk()}, MinFree: 1})
		line, now := lineOf(size), time.Now()
		add := func() {
			now = now.Add(10 * time.Microsecond)
			if err := w.Append(main, line, now); err != nil {
				t.Fatal(err)
			}
		}
		for range 1000 {
			add()
		}
		if got := testing.AllocsPerRun(1000, add); got != 0 {
			t.Errorf("allocations per line of %d bytes: got %v, want 0", size, got)
		}
	}
}

func lineOf(size int) []byte {
	line := make([]byte, size)
	for i := range line {
		line[i] = 'x'
	}
	line[size-1] = '\n'
	return line
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1 << 10, 256 << 10} {
		for _, on := range []string{"memory", "host"} {
			b.Run(fmt.Sprintf("%dKiB/%s", size>>10, on), func(b *testing.B) {
				o := Options{Root: b.TempDir(), MinFree: 1}
				if on == "memory" {
					o.Root, o.FS = "/data", discard{newDisk()}
				}
				w := New(o)
				line := lineOf(size)
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for b.Loop() {
					if err := w.Append(main, line, time.Now()); err != nil {
						b.Fatal(err)
					}
				}
				w.Close(time.Now())
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
			})
		}
	}
}
