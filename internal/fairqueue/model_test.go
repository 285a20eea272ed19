package fairqueue

import (
	"cmp"
	"flag"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// modelSteps is how many random steps [TestModel] makes at least.
const modelSteps = 100_000

// item is an entry of the reference, and what it is in the queue.
type item struct {
	flow   Flow
	urgent bool
	number int
	kinds  int // of places that it takes, as bits
	entry  *Entry[*item]
}

// reference is a queue in plain words: a list that is sorted for every place.
type reference struct {
	items []*item
	tags  map[Flow]float64 // by name and class
	now   [classes]float64
	row   [classes]int // places in a row while others waited below
}

func identity(f Flow) Flow { return Flow{f.Name, f.Class, 0} }

func (m *reference) waiting(f func(*item) bool) int {
	n := 0
	for _, i := range m.items {
		if f(i) {
			n++
		}
	}
	return n
}

func (m *reference) push(i *item) {
	id := identity(i.flow)
	if m.waiting(func(o *item) bool { return !o.urgent && identity(o.flow) == id }) == 0 && !i.urgent {
		m.tags[id] = max(m.tags[id], m.now[i.flow.Class])
	}
	m.items = append(m.items, i)
}

func (m *reference) remove(i *item) {
	m.items = slices.DeleteFunc(m.items, func(o *item) bool { return o == i })
	if c := i.flow.Class; m.waiting(func(o *item) bool { return o.flow.Class == c }) == 0 {
		m.now[c] = 0
		for id := range m.tags {
			if id.Class == c {
				delete(m.tags, id)
			}
		}
	}
}

// order returns all items as they are due.
func (m *reference) order() []*item {
	first := make(map[Flow]int)
	for _, i := range m.items {
		if id := identity(i.flow); !i.urgent && first[id] == 0 {
			first[id] = i.number
		}
	}
	rank := func(c Class) int { // classes whose turn is over come last, the lowest first
		if m.row[c] >= lowerTurn-1 {
			return 100 + int(c)
		}
		return 10 - int(c)
	}
	sorted := slices.Clone(m.items)
	slices.SortFunc(sorted, func(a, b *item) int {
		if n := cmp.Compare(rank(a.flow.Class), rank(b.flow.Class)); n != 0 {
			return n
		}
		switch {
		case a.urgent && !b.urgent:
			return -1
		case b.urgent && !a.urgent:
			return 1
		case a.urgent:
			return cmp.Compare(a.number, b.number)
		}
		ida, idb := identity(a.flow), identity(b.flow)
		return cmp.Or(cmp.Compare(m.tags[ida], m.tags[idb]), cmp.Compare(first[ida], first[idb]), cmp.Compare(a.number, b.number))
	})
	return sorted
}

// serve gives a place of a kind to whom it is due.
func (m *reference) serve(kind int) *item {
	for _, i := range m.order() {
		if i.kinds&kind == 0 {
			continue
		}
		c := i.flow.Class
		if m.waiting(func(o *item) bool { return o.flow.Class < c }) > 0 {
			m.row[c]++
		} else {
			m.row[c] = 0
		}
		for above := c + 1; above < classes; above++ {
			m.row[above] = 0
		}
		if !i.urgent {
			m.now[c] = max(m.now[c], m.least(c))
			m.tags[identity(i.flow)] += 1 / float64(max(1, i.flow.Weight))
		}
		m.remove(i)
		return i
	}
	return nil
}

// least is the least tag of a flow that waits.
func (m *reference) least(c Class) float64 {
	least, found := 0.0, false
	for _, o := range m.items {
		if tag := m.tags[identity(o.flow)]; !o.urgent && o.flow.Class == c && (!found || tag < least) {
			least, found = tag, true
		}
	}
	return least
}

// TestModel guards that a queue does what the reference does in 100,000 random steps:
// who is served, what is left, and that nobody is lost. Weights are powers of two, so
// that both reckon exactly.
func TestModel(t *testing.T) {
	const runs = 400
	set(t, "rapid.checks", strconv.Itoa(runs))
	set(t, "rapid.steps", strconv.Itoa(2*modelSteps/runs))
	set(t, "rapid.nofailfile", "true") // the message has all steps
	seen := make(map[string]int)
	rapid.Check(t, func(t *rapid.T) {
		q, m, number := new(Queue[*item]), &reference{tags: make(map[Flow]float64)}, 0
		flows := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"})
		weights := map[string]int{"a": 1, "b": 1, "c": 2, "d": 8, "e": 0}
		push := func(t *rapid.T) {
			number++
			i := &item{number: number, urgent: rapid.IntRange(0, 9).Draw(t, "urgent") == 0, kinds: rapid.SampledFrom([]int{3, 3, 3, 1, 2}).Draw(t, "kinds")}
			i.flow = Flow{Name: flows.Draw(t, "flow"), Class: Class(rapid.IntRange(0, 2).Draw(t, "class"))}
			i.flow.Weight = weights[i.flow.Name]
			i.entry = q.Push(i.flow, i.urgent, i)
			m.push(i)
		}
		t.Repeat(map[string]func(*rapid.T){
			"push": push,
			"push again": func(t *rapid.T) { // as often as entries go, or the queue would be short
				if len(m.items) < 30 {
					push(t)
				}
			},
			"serve": func(t *rapid.T) {
				kind := rapid.IntRange(1, 2).Draw(t, "kind")
				want := m.serve(kind)
				e, ok := q.Serve(func(i *item) Verdict {
					if i.kinds&kind == 0 {
						seen["skipped"]++
						return Skip
					}
					return Take
				})
				switch {
				case ok != (want != nil):
					t.Fatalf("served %v, want %v", ok, want != nil)
				case ok && e.Value != want:
					t.Fatalf("served %+v, want %+v", *e.Value, *want)
				case ok && e.In():
					t.Fatal("who is served waits still")
				case ok:
					seen["served"]++
				}
			},
			"remove": func(t *rapid.T) {
				if len(m.items) == 0 {
					return
				}
				i := m.items[rapid.IntRange(0, len(m.items)-1).Draw(t, "which")]
				q.Remove(i.entry)
				m.remove(i)
				seen["removed"]++
			},
			"": func(t *rapid.T) {
				seen["steps"]++
				seen["most"] = max(seen["most"], q.Len())
				all := make(map[*item]bool)
				for _, e := range q.All() {
					all[e.Value] = true
				}
				if q.Len() != len(m.items) || len(all) != len(m.items) {
					t.Fatalf("%d wait and %d are listed, want %d", q.Len(), len(all), len(m.items))
				}
				for _, i := range m.items {
					if !all[i] || !i.entry.In() {
						t.Fatalf("%+v is lost", *i)
					}
				}
			},
		})
	})
	t.Log(seen)
	if seen["steps"] < modelSteps || seen["served"] < modelSteps/10 || seen["removed"] < modelSteps/10 || seen["skipped"] < 1000 || seen["most"] < 5 {
		t.Errorf("the steps prove little: %v", seen)
	}
}

// set gives a flag of the library another value for the length of the test.
func set(t *testing.T, name, value string) {
	t.Helper()
	f := flag.Lookup(name)
	before := f.Value.String()
	if err := f.Value.Set(value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Value.Set(before) })
}
