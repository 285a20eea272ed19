package main

import (
	"container/list"
	"slices"
)

// cache is the KV cache of an engine as vLLM manages it: blocks that requests hold, and
// blocks that nobody holds any more, which are kept by the hash of all that they and those
// before them hold until their room is needed, the one used last longest.
type cache struct {
	size int // in blocks
	held int
	byID map[uint64]*block
	free *list.List // of blocks that nobody holds, the next to go first
}

// block is a block of the cache.
type block struct {
	id      uint64 // 0 while it is not full, or holds what another one holds too
	holders int
	place   *list.Element // in free
}

func newCache(size int) *cache {
	return &cache{size: size, byID: make(map[uint64]*block), free: list.New()}
}

// find returns the block of that ID, held by one more.
func (c *cache) find(id uint64) *block {
	b := c.byID[id]
	if b == nil {
		return nil
	}
	if b.holders == 0 {
		c.free.Remove(b.place)
		b.place = nil
		c.held++
	}
	b.holders++
	return b
}

// room returns how many blocks can be taken.
func (c *cache) room() int { return c.size - c.held }

// take returns an empty block. There must be room.
func (c *cache) take() *block {
	if c.held+c.free.Len() >= c.size {
		oldest := c.free.Remove(c.free.Front()).(*block)
		delete(c.byID, oldest.id)
	}
	c.held++
	return &block{holders: 1}
}

// fill gives a block its ID, unless there is another with it.
func (c *cache) fill(b *block, id uint64) {
	if b.id == 0 && c.byID[id] == nil {
		b.id = id
		c.byID[id] = b
	}
}

// drop gives blocks of a request back, the last first: so those at its beginning, which
// others may share, are kept longest.
func (c *cache) drop(blocks []*block) {
	for _, b := range slices.Backward(blocks) {
		if b.holders--; b.holders > 0 {
			continue
		}
		c.held--
		if b.id != 0 {
			b.place = c.free.PushBack(b)
		}
	}
}
