// Package fairqueue orders what waits for places that become free one by one.
//
// Each entry belongs to a flow, such as all requests of one client, and each flow
// to a class. Classes are served strictly, the highest first, but of every ten
// places one goes to those below, if somebody waits there: a lower class is slow
// while a higher one asks for more than there is, and never starves. Within a class
// flows get places by their weights, one entry counting as one; within a flow the
// entries are served as they came. Urgent entries are served first in their class,
// in their order, and are not counted against their flow.
//
// Fairness is that of start-time fair queueing (Goyal, Vin and Cheng, 1996) with a
// tag for each flow in place of each entry: a flow's tag grows by 1/weight with each
// place that it gets, and the flow with the least tag is next. A flow that has had
// nothing waiting begins at the tag that is being served, so that it can neither save up
// places nor is made to pay for those that nobody else wanted. As an entry is charged
// when it is served, one that leaves costs its flow nothing.
//
// A [Queue] is not safe for concurrent use, and knows no time; [Rate] measures how
// fast it empties.
package fairqueue

import (
	"cmp"
	"container/heap"
	"math"
	"slices"
)

// Class is the rank of a flow.
type Class uint8

// The classes, the lowest first.
const (
	Background Class = iota
	Normal
	Interactive
	classes
)

func (c Class) String() string { return [...]string{"background", "normal", "interactive"}[c] }

// lowerTurn says which of the places in a row goes to a class below.
const lowerTurn = 10

// Flow names what an entry belongs to. Flows of one name in different classes are
// different flows.
type Flow struct {
	Name   string
	Class  Class
	Weight int // relative to the other flows of the class; less than 1 is 1
}

// Entry is what waits.
type Entry[T any] struct {
	Value T

	flow       *flow[T] // nil of an urgent entry, and of one that is out
	class      Class
	urgent     bool
	in         bool
	next, prev *Entry[T] // in its flow or among the urgent ones
	arrival    uint64
}

// In reports whether e waits still.
func (e *Entry[T]) In() bool { return e.in }

// Verdict is what a caller of [Queue.Serve] says of an entry.
type Verdict uint8

// The verdicts.
const (
	Skip Verdict = iota // the free place is not for this entry: ask for the next one
	Take                // it gets the place
	Stop                // there is no place
)

// Queue is the entries that wait. Its zero value is empty.
type Queue[T any] struct {
	classes  [classes]class[T]
	length   int
	arrivals uint64
}

// Len is the number of entries.
func (q *Queue[T]) Len() int { return q.length }

// Push adds v at the end of its flow, or of the urgent ones of its class.
func (q *Queue[T]) Push(f Flow, urgent bool, v T) *Entry[T] {
	q.arrivals++
	q.length++
	e := &Entry[T]{Value: v, class: f.Class, urgent: urgent, in: true, arrival: q.arrivals}
	c := &q.classes[f.Class]
	c.length++
	if urgent {
		c.urgent.add(e)
	} else {
		c.join(f, e)
	}
	return e
}

// Remove takes e out, which may be out already: it costs its flow nothing.
func (q *Queue[T]) Remove(e *Entry[T]) {
	if !e.in {
		return
	}
	e.in = false
	q.length--
	q.classes[e.class].remove(e)
}

// Serve asks try about the entries in the order of service, until it takes one, which
// then is out and charged to its flow, or stops. Try must not change the queue.
func (q *Queue[T]) Serve(try func(T) Verdict) (served *Entry[T], ok bool) {
	for _, n := range q.order() {
		e, verdict := q.classes[n].find(try)
		if verdict == Stop {
			break
		}
		if verdict == Take {
			q.turn(n)
			q.classes[n].charge(e)
			q.Remove(e)
			return e, true
		}
	}
	return nil, false
}

// All returns the entries, in no order that means anything. The queue may change while
// they are looked at.
func (q *Queue[T]) All() []*Entry[T] {
	all := make([]*Entry[T], 0, q.length)
	for n := range q.classes {
		c := &q.classes[n]
		all = c.urgent.append(all)
		for _, f := range c.active {
			all = f.list.append(all)
		}
	}
	return all
}

// Ahead is how many entries would be served before one that f added now, if nothing
// else came.
func (q *Queue[T]) Ahead(f Flow) int {
	ahead := 0
	for n := f.Class; n < classes; n++ {
		c := &q.classes[n]
		if n > f.Class {
			ahead += c.length
			continue
		}
		ahead += c.urgent.length + c.ahead(f)
	}
	return ahead
}

// Crowd returns the entry that has to go for the sake of a new one of f, where there is
// room for so many and it is full: the newest of the flow that has the most waiting for
// its weight. A flow that floods the queue so loses its own entries, and nobody else's.
// Those of the lowest class go first, but a tenth of the room is each class's own. It is
// nil if the new entry has to go itself. An urgent one never has to, if there are others.
func (q *Queue[T]) Crowd(f Flow, urgent bool, room int) *Entry[T] {
	kept := room / lowerTurn
	for n := range f.Class {
		if c := &q.classes[n]; c.length > kept && len(c.active) > 0 {
			return c.longest().list.last
		}
	}
	c := &q.classes[f.Class]
	if c.length < kept {
		for n := classes - 1; n > f.Class; n-- {
			if c := &q.classes[n]; c.length > kept && len(c.active) > 0 {
				return c.longest().list.last
			}
		}
	}
	if len(c.active) == 0 {
		return nil
	}
	longest, own, waiting := c.longest(), c.flows[f.Name], 0
	if own != nil {
		waiting = own.list.length
	}
	if !urgent && (own == longest || float64(waiting+1)/weight(f) >= longest.load()) {
		return nil
	}
	return longest.list.last
}

// order returns the classes in the order in which they are asked for the next place.
func (q *Queue[T]) order() (order [classes]Class) {
	// Those who have had their places in a row come last, the lowest of them first.
	first, last := 0, len(order)
	for n := range classes {
		if n := classes - 1 - n; q.classes[n].turns < lowerTurn-1 {
			order[first] = n
			first++
		} else {
			last--
			order[last] = n
		}
	}
	return order
}

// turn counts that class n gets a place, for the turns of those below it.
func (q *Queue[T]) turn(n Class) {
	below := 0
	for m := range n {
		below += q.classes[m].length
	}
	if below > 0 {
		q.classes[n].turns++
	} else {
		q.classes[n].turns = 0
	}
	for m := n + 1; m < classes; m++ {
		q.classes[m].turns = 0 // this was the turn of those below, or nobody there wanted the place
	}
}

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

// list is entries in the order in which they came.
type list[T any] struct {
	first, last *Entry[T]
	length      int
}

func (l *list[T]) add(e *Entry[T]) {
	l.length++
	e.prev = l.last
	if l.last == nil {
		l.first = e
	} else {
		l.last.next = e
	}
	l.last = e
}

func (l *list[T]) remove(e *Entry[T]) {
	l.length--
	if e.prev == nil {
		l.first = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		l.last = e.prev
	} else {
		e.next.prev = e.prev
	}
	e.next, e.prev = nil, nil
}

func (l *list[T]) append(to []*Entry[T]) []*Entry[T] {
	for e := l.first; e != nil; e = e.next {
		to = append(to, e)
	}
	return to
}

func (l *list[T]) find(try func(T) Verdict) (*Entry[T], Verdict) {
	for e := l.first; e != nil; e = e.next {
		if v := try(e.Value); v != Skip {
			return e, v
		}
	}
	return nil, Skip
}
