package fairqueue

import (
	"fmt"
	"strings"
	"testing"
)

// take is what [Queue.Serve] is asked with where every place will do.
func take(string) Verdict { return Take }

// drain serves all, and returns their names in order.
func drain(q *Queue[string]) string {
	var names []string
	for {
		e, ok := q.Serve(take)
		if !ok {
			return strings.Join(names, " ")
		}
		names = append(names, e.Value)
	}
}

// push adds entries of a flow, named by it and their number.
func push(q *Queue[string], f Flow, n int) (entries []*Entry[string]) {
	for k := range n {
		entries = append(entries, q.Push(f, false, fmt.Sprint(f.Name, k)))
	}
	return entries
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %s, want %s", what, got, want)
	}
}

func normal(name string, weight int) Flow { return Flow{name, Normal, weight} }

// TestOrder guards the order within a class: by weight between flows, first come first
// served within one, and urgent entries before all.
func TestOrder(t *testing.T) {
	q := new(Queue[string])
	push(q, normal("a", 1), 4)
	push(q, normal("b", 2), 4)
	q.Push(normal("a", 1), true, "u0")
	q.Push(normal("c", 1), true, "u1")
	want(t, "weights 1 and 2", drain(q), "u0 u1 a0 b0 b1 a1 b2 b3 a2 a3")
	push(q, normal("a", 0), 2)
	push(q, normal("b", -5), 2)
	want(t, "weights below 1", drain(q), "a0 b0 a1 b1")
	want(t, "nothing", drain(q), "")
	if q.Len() != 0 {
		t.Errorf("got %d left", q.Len())
	}
}

// TestIdle guards that a flow which had nothing waiting saves up no places, and owes none
// for those it got while nobody else waited.
func TestIdle(t *testing.T) {
	q := new(Queue[string])
	push(q, normal("a", 1), 6)
	for range 3 {
		q.Serve(take)
	}
	push(q, normal("b", 1), 3)
	want(t, "b comes later", drain(q), "b0 a3 b1 a4 b2 a5")
	push(q, normal("b", 1), 2)
	push(q, normal("a", 1), 2)
	want(t, "both were served", drain(q), "b0 a0 b1 a1")
}

// TestRemove guards that those who leave cost their flow nothing, from the front, the
// middle or the end, and that leaving twice is leaving once.
func TestRemove(t *testing.T) {
	q := new(Queue[string])
	a := push(q, normal("a", 1), 6)
	push(q, normal("b", 1), 3)
	for _, n := range []int{0, 2, 5, 2} {
		q.Remove(a[n])
	}
	if a[0].In() || !a[1].In() || q.Len() != 6 {
		t.Errorf("got %v, %v and %d left, want false, true and 6", a[0].In(), a[1].In(), q.Len())
	}
	u := q.Push(normal("a", 1), true, "u")
	q.Remove(u)
	want(t, "left over", drain(q), "a1 b0 a3 b1 a4 b2")
	for range 1000 {
		for _, e := range push(q, normal("a", 1), 3) {
			q.Remove(e)
		}
	}
	push(q, normal("b", 1), 1)
	push(q, normal("a", 1), 2)
	want(t, "after 3,000 that left", drain(q), "b0 a0 a1")
}

// TestClasses guards that a class is served before those below, which get one place in
// ten all the same; and that this holds too for a class that never has two waiting.
func TestClasses(t *testing.T) {
	q := new(Queue[string])
	for _, c := range []Class{Background, Normal, Interactive} {
		push(q, Flow{c.String()[:1], c, 1}, 200)
	}
	all := strings.Fields(drain(q))
	count := func(places []string) string {
		n := make(map[byte]int)
		for _, name := range places {
			n[name[0]]++
		}
		return fmt.Sprintf("%d %d %d", n['i'], n['n'], n['b'])
	}
	want(t, "the first 9", count(all[:9]), "9 0 0")
	want(t, "the first 100", count(all[:100]), "90 9 1")
	want(t, "the first 200", count(all[:200]), "180 18 2")
	want(t, "all", count(all), "200 200 200")

	push(q, Flow{"b", Background, 1}, 20)
	served := 0
	for range 100 {
		q.Push(Flow{"i", Interactive, 1}, false, "i")
		if e, _ := q.Serve(take); e.Value != "i" {
			served++
		}
	}
	if served != 10 {
		t.Errorf("beside one interactive at a time: got %d of 100 places, want 10", served)
	}
}

// TestSkip guards that a place which the first one cannot use goes to the next one who
// can, in the order of service, and that nothing is charged for looking.
func TestSkip(t *testing.T) {
	q := new(Queue[string])
	push(q, normal("a", 1), 3)
	push(q, normal("b", 1), 3)
	push(q, normal("c", 1), 3)
	push(q, Flow{"d", Background, 1}, 1)
	only := func(names string) string {
		e, ok := q.Serve(func(name string) Verdict {
			if strings.Contains(names, name) {
				return Take
			}
			return Skip
		})
		if !ok {
			return ""
		}
		return e.Value
	}
	want(t, "in the flow", only("a1 b0"), "a1")
	want(t, "in a later flow", only("c1 a2"), "c1")
	want(t, "in a class below", only("d0"), "d0")
	want(t, "nobody", only("x"), "")
	if _, ok := q.Serve(func(string) Verdict { return Stop }); ok {
		t.Error("served although there is no place")
	}
	want(t, "the rest", drain(q), "b0 a0 b1 c0 a2 b2 c2")
}

// TestCrowd guards who has to go when there is no room: the flow with most waiting for
// its weight, and never more than what leaves each class a tenth.
func TestCrowd(t *testing.T) {
	q := new(Queue[string])
	f := func(what string, flow Flow, urgent bool, room int, name string) {
		t.Helper()
		got := "itself"
		if e := q.Crowd(flow, urgent, room); e != nil {
			got = e.Value
		}
		want(t, what, got, name)
	}
	f("an empty queue", normal("a", 1), false, 0, "itself")
	push(q, normal("flood", 1), 90)
	push(q, normal("b", 1), 10)
	f("the flood's own", normal("flood", 1), false, 100, "itself")
	f("another flow", normal("a", 1), false, 100, "flood89")
	f("a retry of the flood's", normal("flood", 1), true, 100, "flood89")
	f("heavier", normal("flood", 1000), false, 100, "itself")
	f("interactive", Flow{"i", Interactive, 1}, false, 100, "flood89")
	f("background, of which there is nothing", Flow{"c", Background, 1}, false, 100, "flood89")
	push(q, Flow{"c", Background, 1}, 10)
	f("background, which has its tenth", Flow{"d", Background, 1}, false, 100, "c9")
	f("background's only flow", Flow{"c", Background, 1}, false, 100, "itself")
	f("above a class with its tenth", normal("a", 1), false, 100, "flood89")
	push(q, Flow{"c", Background, 1}, 10)
	f("above a class with more", normal("a", 1), false, 100, "c9")

	q = new(Queue[string])
	push(q, normal("a", 1), 10)
	push(q, normal("b", 2), 16)
	f("by weight", normal("c", 1), false, 26, "a9")
	f("as much as the longest has", normal("c", 0), false, 26, "a9")
	q.Push(normal("u", 1), true, "u")
	f("urgent ones stay", normal("c", 1), true, 27, "a9")
	q = new(Queue[string])
	q.Push(normal("u", 1), true, "u")
	f("only urgent ones", normal("c", 1), true, 1, "itself")
}

// TestAhead guards the number of those who come before a new entry, by serving them.
func TestAhead(t *testing.T) {
	flows := []Flow{normal("a", 1), normal("b", 2), normal("c", 5), normal("new", 1), {"i", Interactive, 1}, {"z", Background, 1}}
	for n := range 200 {
		q := new(Queue[string])
		push(q, normal("a", 1), 3+n%7)
		push(q, normal("b", 2), 1+n%5)
		for range n % 4 {
			q.Serve(take)
		}
		push(q, normal("c", 5), n%3)
		q.Push(normal("c", 5), true, "urgent")
		f := flows[n%4] // of those above there is nothing, or the turns of those below count
		ahead := q.Ahead(f)
		q.Push(f, false, "me")
		for k := 0; ; k++ {
			if e, _ := q.Serve(take); e.Value == "me" {
				if k != ahead {
					t.Errorf("%d: %s: got %d ahead, want %d", n, f.Name, ahead, k)
				}
				break
			}
		}
	}
	q := new(Queue[string])
	push(q, flows[4], 7)
	push(q, flows[0], 3)
	for n, ahead := range []int{7 + 3, 7, 7, 7, 7, 7 + 3} {
		if n == 0 {
			ahead = 7 + 3
		}
		if n == 1 || n == 2 || n == 3 { // one of a's has its turn first, by coming earlier
			ahead++
		}
		if got := q.Ahead(flows[n]); got != ahead {
			t.Errorf("%v: got %d ahead, want %d", flows[n], got, ahead)
		}
	}
}

// TestForget guards that flows which come and go leave nothing behind.
func TestForget(t *testing.T) {
	q := new(Queue[string])
	push(q, normal("stays", 1), 20_000)
	for n := range 10_000 {
		q.Push(normal(fmt.Sprint("f", n), 1), false, "x")
		q.Serve(take)
		q.Serve(take)
	}
	if n := len(q.classes[Normal].flows); n > 100 {
		t.Errorf("got %d flows known, want few", n)
	}
}
