package balance

import "sync"

const (
	ways      = 8       // entries of a bucket
	holders   = 4       // servers that are remembered for a block
	buckets   = 1 << 13 // of a table
	stripes   = 1 << 7  // locks of a table
	entrySize = 8 + 4*holders
)

// TableBytes is what a [Table] takes in memory, whatever is put into it: room for 65,536
// blocks, or up to 64 MiB of prompts.
const TableBytes = buckets*ways*entrySize + stripes*8

// Table remembers which servers have got which blocks of prompts lately, and so have them
// in their caches, as like as not. It holds at most [TableBytes]; what nobody has asked
// for the longest time goes first, within the eight blocks that share a bucket. Its zero value
// is empty. It may be used at once from many requests: each holds one of its 128 locks for
// a moment, for one block at a time.
type Table struct {
	locks   [stripes]sync.Mutex
	buckets [buckets]bucket // guarded by locks[n%stripes]
}

// bucket is the blocks whose hashes lead to the same place, the one used last first.
type bucket [ways]entry

// entry is what is known of one block.
type entry struct {
	block uint64 // its hash; 0 for none
	marks marks
}

// marks are of the servers that have got a block, the last one first; 0 is none.
type marks [holders]uint32

// find brings the entry of a block to the front, and reports whether there is one.
func (b *bucket) find(block uint64) bool {
	for n := range b {
		if b[n].block == block {
			found := b[n]
			copy(b[1:n+1], b[:n])
			b[0] = found
			return true
		}
	}
	return false
}

// add puts the mark of a server in front.
func (m *marks) add(mark uint32) {
	n := 0
	for n < holders-1 && m[n] != mark {
		n++
	}
	copy(m[1:n+1], m[:n])
	m[0] = mark
}

// look returns who has got the block.
func (t *Table) look(block uint64) (m marks, known bool) {
	n := block % buckets
	lock := &t.locks[n%stripes]
	lock.Lock()
	b := &t.buckets[n]
	if known = b.find(block); known {
		m = b[0].marks
	}
	lock.Unlock()
	return m, known
}

// note says that the server of that mark gets the block.
func (t *Table) note(block uint64, mark uint32) {
	n := block % buckets
	lock := &t.locks[n%stripes]
	lock.Lock()
	b := &t.buckets[n]
	if !b.find(block) {
		copy(b[1:], b[:ways-1])
		b[0] = entry{block: block}
	}
	b[0].marks.add(mark)
	lock.Unlock()
}

// Record says that a prompt is sent to s. What [Set.Affinity] has found to be so it does not
// say again.
func (t *Table) Record(p *Prompt, s *Server) {
	mark := s.mark()
	if p.Session != 0 {
		t.note(p.Session, mark)
	}
	for k, b := range p.blocks {
		if k >= p.found || p.seen[k][0] != mark {
			t.note(b.hash, mark)
		}
	}
}

// count returns how many blocks the table knows.
func (t *Table) count() (known int) {
	for n := range t.buckets {
		lock := &t.locks[n%stripes]
		lock.Lock()
		for _, e := range &t.buckets[n] {
			if e.block != 0 {
				known++
			}
		}
		lock.Unlock()
	}
	return known
}
