package fairqueue

import (
	"cmp"
	"container/heap"
	"math"
	"slices"
)

// class is the entries of one class.
type class[T any] struct {
	length int
	turns  int // places that it got in a row while those below waited
	urgent list[T]
	flows  map[string]*flow[T] // those that wait, and those whose tag is not forgotten yet
	active flowHeap[T]         // those that wait
	now    float64             // the tag that is being served
	kept   int                 // flows after the last look for those to be forgotten
}

// flow is the entries of one flow.
type flow[T any] struct {
	list   list[T]
	weight float64
	tag    float64
	index  int // in the heap
}

// load is how much waits of the flow for its weight.
func (f *flow[T]) load() float64 { return float64(f.list.length) / f.weight }

func weight(f Flow) float64 { return float64(max(1, f.Weight)) }

// longest returns the flow that has the most waiting for its weight. One waits at least.
func (c *class[T]) longest() *flow[T] {
	return slices.MaxFunc(c.active, func(a, b *flow[T]) int { return cmp.Compare(a.load(), b.load()) })
}

// join adds e to its flow.
func (c *class[T]) join(to Flow, e *Entry[T]) {
	f := c.flows[to.Name]
	if f == nil {
		if c.flows == nil {
			c.flows = make(map[string]*flow[T])
		}
		f = new(flow[T])
		c.flows[to.Name] = f
	}
	f.weight = weight(to)
	e.flow = f
	f.list.add(e)
	if f.list.length == 1 {
		f.tag = max(f.tag, c.now)
		heap.Push(&c.active, f)
		c.forget()
	}
}

// forget drops the flows that do not wait and have no more been given than those that
// do, so that there are not many more than wait.
func (c *class[T]) forget() {
	if len(c.flows) < 2*c.kept+16 {
		return
	}
	for name, f := range c.flows {
		if f.list.length == 0 && f.tag <= c.now {
			delete(c.flows, name)
		}
	}
	c.kept = len(c.flows)
}

func (c *class[T]) remove(e *Entry[T]) {
	c.length--
	if e.urgent {
		c.urgent.remove(e)
	} else {
		f := e.flow
		e.flow = nil
		first := f.list.first == e
		f.list.remove(e)
		switch {
		case f.list.length == 0:
			heap.Remove(&c.active, f.index)
		case first:
			heap.Fix(&c.active, f.index) // its next entry came later
		}
	}
	if c.length == 0 { // what was given in a time of plenty is not held against anybody
		*c = class[T]{turns: c.turns}
	}
}

// charge lets e's flow pay for the place.
func (c *class[T]) charge(e *Entry[T]) {
	if e.flow == nil {
		return
	}
	c.now = max(c.now, c.active[0].tag)
	e.flow.tag += 1 / e.flow.weight
	heap.Fix(&c.active, e.flow.index)
}

// find asks try about the entries in their order, until it does not skip one.
func (c *class[T]) find(try func(T) Verdict) (*Entry[T], Verdict) {
	if e, v := c.urgent.find(try); v != Skip {
		return e, v
	}
	if len(c.active) == 0 {
		return nil, Skip
	}
	if e, v := c.active[0].list.find(try); v != Skip || len(c.active) == 1 {
		return e, v
	}
	rest := slices.Clone(c.active[1:])
	slices.SortFunc(rest, func(a, b *flow[T]) int {
		if before(a, b) {
			return -1
		}
		return 1
	})
	for _, f := range rest {
		if e, v := f.list.find(try); v != Skip {
			return e, v
		}
	}
	return nil, Skip
}

// ahead is how many of the class would be served before a new entry of f.
func (c *class[T]) ahead(to Flow) int {
	own, tag := 0, c.now
	if f := c.flows[to.Name]; f != nil {
		own, tag = f.list.length, max(tag, f.tag)
	}
	ahead := 0.0
	last := tag + float64(own)/weight(to) // the tag at which the new one is served
	for _, f := range c.active {
		if f == c.flows[to.Name] {
			ahead += float64(own)
			continue
		}
		// Those of its entries whose tags are not above.
		ahead += min(float64(f.list.length), max(0, math.Floor((last-f.tag)*f.weight)+1))
	}
	return int(ahead)
}

// flowHeap has the flow that is next at its top.
type flowHeap[T any] []*flow[T]

// before reports whether a's first entry is served before b's.
func before[T any](a, b *flow[T]) bool {
	if a.tag != b.tag {
		return a.tag < b.tag
	}
	return a.list.first.arrival < b.list.first.arrival
}

func (h flowHeap[T]) Len() int           { return len(h) }
func (h flowHeap[T]) Less(i, j int) bool { return before(h[i], h[j]) }
func (h flowHeap[T]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *flowHeap[T]) Push(x any) {
	f := x.(*flow[T])
	f.index = len(*h)
	*h = append(*h, f)
}

func (h *flowHeap[T]) Pop() any {
	last := len(*h) - 1
	f := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return f
}
