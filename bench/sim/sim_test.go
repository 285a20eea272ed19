package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func named(name string) scenario {
	for _, sc := range scenarios {
		if sc.name == name {
			return sc
		}
	}
	panic(name)
}

// compared simulates all policies and logs the table.
func compared(t *testing.T, name string, engines int, length time.Duration) (byPolicy map[string]figures) {
	t.Helper()
	if raceDetector {
		t.Skip("takes minutes with the race detector, which has nothing to find here: a simulation is one goroutine")
	}
	sc := named(name)
	all := sc.compare(setup{boxes: sc.boxes(engines), length: length, seed: 1}, time.Second)
	var table strings.Builder
	show(&table, all)
	t.Logf("%s, %d engines\n%s", name, engines, table.String())
	byPolicy = make(map[string]figures)
	for n, f := range all {
		byPolicy[policies[n]] = f
	}
	return byPolicy
}

// TestConversations guards what prefix_affinity is for: 1.7 times as many requests as in
// turn, at the same p99 of TTFT, where conversations share the prompts of their tenants.
func TestConversations(t *testing.T) {
	for _, engines := range []int{4, 8} {
		f := compared(t, "conversations", engines, 2*time.Minute)
		if got, want := f["prefix_affinity"].requests, 1.7*f["round_robin"].requests; got < want {
			t.Errorf("%d engines: prefix_affinity serves %.2f requests a second, want at least %.2f", engines, got, want)
		}
		if a, b := f["prefix_affinity"].hits, f["round_robin"].hits; a < 2*b {
			t.Errorf("%d engines: of the prompts' tokens %.3f were cached, want at least twice the %.3f of round_robin", engines, a, b)
		}
	}
}

// TestBatch guards that affinity costs nothing where there is nothing to share.
func TestBatch(t *testing.T) {
	f := compared(t, "batch", 8, 2*time.Minute)
	if got, want := f["prefix_affinity"].requests, 0.97*f["least_load"].requests; got < want {
		t.Errorf("prefix_affinity serves %.2f requests a second, want at least %.2f", got, want)
	}
	if a, b := f["least_load"].requests, f["round_robin"].requests; a < 0.97*b {
		t.Errorf("least_load serves %.2f requests a second, want about the %.2f of round_robin", a, b)
	}
}

// TestUnequal guards that least_load knows slow boxes without being told.
func TestUnequal(t *testing.T) {
	for _, engines := range []int{4, 8} {
		f := compared(t, "unequal", engines, 2*time.Minute)
		turns := f["round_robin"]
		for _, policy := range []string{"least_load", "prefix_affinity"} {
			other := f[policy]
			if got, want := other.quantile(0.99), turns.quantile(0.99)*7/10; got > want {
				t.Errorf("%d engines: %s has a p99 of %v, want at most %v", engines, policy, got, want)
			}
		}
	}
}

// TestMixed guards that half of the traffic having nothing to share does not undo it.
func TestMixed(t *testing.T) {
	f := compared(t, "mixed", 8, 2*time.Minute)
	if got, want := f["prefix_affinity"].requests, 1.4*f["round_robin"].requests; got < want {
		t.Errorf("prefix_affinity serves %.2f requests a second, want at least %.2f", got, want)
	}
}

// TestSame guards that the same seed gives the same figures, and another one others.
func TestSame(t *testing.T) {
	for _, policy := range policies {
		run := func(seed uint64) string {
			f := setup{policy: policy, boxes: unequal(4), trace: mixed, rate: 3, length: 30 * time.Second, seed: seed}.run()
			return fmt.Sprint(f)
		}
		a, b, other := run(1), run(1), run(2)
		if a != b {
			t.Errorf("%s: two runs differ", policy)
		}
		if a == other {
			t.Errorf("%s: another seed makes no difference", policy)
		}
	}
}

// TestEngine guards the arithmetic of an engine, step by step.
func TestEngine(t *testing.T) {
	h := hardware{weights: 10 * time.Millisecond, token: 10 * time.Microsecond, context: time.Microsecond, kvBlocks: 1000, maxSeqs: 2, maxTokens: 2048}
	serve := func(h hardware, requests ...*request) (*simulation, *engine) {
		s := &simulation{setup: setup{length: time.Hour}}
		e := newEngine(h)
		s.engines = []*engine{e}
		for _, r := range requests {
			r.measured = true
			e.accept(s, r)
		}
		for len(s.events) > 0 {
			s.next()
		}
		return s, e
	}
	ask := func(id uint64, prompt, output int) *request {
		return &request{talk: &talk{id: id}, prompt: prompt, output: output}
	}
	f := func(name string, got, want time.Duration) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}

	one := ask(1, 500, 3)
	s, e := serve(h, one)
	f("short prompt: as long as reading the weights", one.ttft, 10*time.Millisecond)
	f("two more tokens, with their context", s.now, 30*time.Millisecond+(500+501)*time.Microsecond)
	if e.cache.held != 0 || e.cache.free.Len() != 502/16 {
		t.Errorf("after the end %d blocks are held and %d cached, want none and 31", e.cache.held, e.cache.free.Len())
	}

	long := ask(1, 3000, 1)
	serve(h, long)
	f("long prompt: two chunks", long.ttft, 2048*10*time.Microsecond+10*time.Millisecond+2048*time.Microsecond)

	a, b, c := ask(1, 100, 2), ask(2, 100, 2), ask(3, 100, 1)
	serve(h, a, b, c)
	f("the first begins alone", a.ttft, 10*time.Millisecond)
	f("the second with the first's second token", b.ttft, 20*time.Millisecond+100*time.Microsecond)
	f("the third has a place when the first is over", c.ttft, 30*time.Millisecond+200*time.Microsecond)

	first, again := ask(1, 160, 1), ask(1, 160, 1)
	_, e = serve(h, first, again)
	if again.ttft <= first.ttft || e.hits != 144 || e.prompts != 320 {
		t.Errorf("the same prompt again: %d of %d tokens cached, want 144 of 320", e.hits, e.prompts)
	}

	small := h
	small.kvBlocks = 21
	a, b = ask(1, 150, 40), ask(2, 150, 40)
	_, e = serve(small, a, b)
	if a.generated != 40 || b.generated != 40 || e.cache.held != 0 || e.cache.held+e.cache.free.Len() > 21 {
		t.Errorf("a cache too small for two: %d and %d tokens, %d blocks held, %d cached", a.generated, b.generated, e.cache.held, e.cache.free.Len())
	}
}

func TestCommand(t *testing.T) {
	var out strings.Builder
	if err := command([]string{"-traffic", "unequal", "-engines", "2", "-length", "20s", "-bound", "5s"}, &out); err != nil {
		t.Fatal(err)
	}
	for _, policy := range policies {
		if !strings.Contains(out.String(), policy) {
			t.Errorf("no row for %s in %s", policy, out.String())
		}
	}
	for _, args := range [][]string{{"-engines", "1"}, {"-engines", "65"}, {"-engines", "x"}, {"-traffic", "none"}, {"-bound", "0s"}} {
		if err := command(args, &out); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}
