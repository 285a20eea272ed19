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
