package balance

import (
	"encoding/binary"
	"runtime"
	"slices"
	"sync"
	"testing"
	"unsafe"

	"github.com/cespare/xxhash/v2"
	"pgregory.net/rapid"
)

// TestTableBounded guards that a table takes as much memory as it says after a million
// different prompts, and still knows the newest.
func TestTableBounded(t *testing.T) {
	if got := unsafe.Sizeof(Table{}); got != TableBytes || TableBytes > 1600<<10 {
		t.Fatalf("a table takes %d bytes, want %d and at most 1.6 MiB", got, TableBytes)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	table, set, p := new(Table), setOf(1, 1, 1, 1), new(Prompt)
	hash := func(n int) uint64 { return xxhash.Sum64(binary.LittleEndian.AppendUint64(nil, uint64(n))) }
	const prompts = 1_000_000
	for n := range prompts {
		p.blocks = append(p.all[:0], block{hash: hash(2 * n)}, block{hash: hash(2*n + 1)})
		table.Record(p, set.Server(n%4))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if got := int64(after.HeapAlloc) - int64(before.HeapAlloc); got > TableBytes+256<<10 {
		t.Errorf("a million prompts take %d bytes, want at most %d", got, TableBytes)
	}
	if got := table.count(); got > buckets*ways || got < buckets*ways*9/10 {
		t.Errorf("the table knows %d blocks, want about %d", got, buckets*ways)
	}
	lost := 0
	for n := prompts - 5000; n < prompts; n++ {
		m, known := table.look(hash(2 * n))
		if !known {
			lost++
		} else if m[0] != set.Server(n%4).mark() {
			t.Fatalf("prompt %d: got marks %v, want server %d", n, m, n%4)
		}
	}
	if lost > 50 {
		t.Errorf("of the last 5,000 prompts %d are forgotten, want at most 50", lost)
	}
	runtime.KeepAlive(table)
}

// TestTableModel compares a table with a slow one that keeps its promises word by word.
func TestTableModel(t *testing.T) {
	type known struct {
		block uint64
		marks []uint32 // the last one first
	}
	rapid.Check(t, func(t *rapid.T) {
		table := new(Table)
		model := make(map[uint64][]known) // by bucket, the one used last first
		use := func(block uint64) *known {
			list := model[block%buckets]
			n := slices.IndexFunc(list, func(k known) bool { return k.block == block })
			if n < 0 {
				return nil
			}
			k := list[n]
			list = slices.Insert(slices.Delete(list, n, n+1), 0, k)
			model[block%buckets] = list
			return &list[0]
		}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			block := rapid.Uint64Range(1, 30).Draw(t, "block")*buckets + rapid.Uint64Range(0, 1).Draw(t, "bucket")
			if rapid.Bool().Draw(t, "note") {
				mark := rapid.Uint32Range(1, 7).Draw(t, "mark")
				table.note(block, mark)
				k := use(block)
				if k == nil {
					list := slices.Insert(model[block%buckets], 0, known{block: block})
					model[block%buckets] = list[:min(len(list), ways)]
					k = &list[0]
				}
				k.marks = slices.DeleteFunc(k.marks, func(m uint32) bool { return m == mark })
				k.marks = slices.Insert(k.marks, 0, mark)
				k.marks = k.marks[:min(len(k.marks), holders)]
				continue
			}
			got, ok := table.look(block)
			var want marks
			k := use(block)
			if k != nil {
				copy(want[:], k.marks)
			}
			if got != want || ok != (k != nil) {
				t.Fatalf("block %d: got %v, %v, want %v", block, got, ok, want)
			}
		}
	})
}

// TestTableAtOnce lets many requests use a table at once, for the race detector.
func TestTableAtOnce(t *testing.T) {
	table, set := new(Table), setOf(1, 1, 1)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			p := new(Prompt)
			for n := range 2000 {
				p.blocks = append(p.all[:0], block{hash: uint64(n%50)*buckets + 1}, block{hash: uint64(n)})
				p.head = 1
				if got := set.Affinity(table, p, Ask{Bytes: 100}, all); got < 0 {
					t.Error("got no server")
				}
				table.Record(p, set.Server((g+n)%3))
			}
		})
	}
	wg.Wait()
}
