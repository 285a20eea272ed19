package aigateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// flows are keys by which the gateway tells requests apart, with their members.
var flows = []struct{ name, members string }{
	{"first", ""},
	{"second", ""},
	{"third", ""},
	{"fourth", ""},
	{"flood", ""},
	{"steady", ""},
	{"heavy", `, "weight": 2`},
	{"light", ""},
	{"background", `, "priority": "background"`},
	{"normal", ""},
	{"interactive", `, "priority": "interactive"`},
	{"patient", `, "spill": false`},
}

// withFlows adds them to a fleet's file.
func withFlows(fleet string) string {
	keys := make([]string, len(flows))
	for n, f := range flows {
		keys[n] = keyEntry(f.name, n, f.members)
	}
	return `{"keys": [` + strings.Join(keys, ", ") + `], ` + strings.TrimPrefix(fleet, "{")
}

// flow returns the header of a request of a flow.
func flow(name string) []string {
	n := slices.IndexFunc(flows, func(f struct{ name, members string }) bool { return f.name == name })
	return []string{"X-Flow", name, "Authorization", "Bearer " + testKey(n)}
}

// names returns whose requests the instance was asked, in order.
func (w *witness) names() (all []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.seen {
		all = append(all, r.header.Get("X-Flow"))
	}
	return all
}

// held runs a gateway whose only place is taken by a request of flow "first".
func startHeld(t *testing.T, members string) (*gateway, *gated) {
	t.Helper()
	s := startGated(t)
	s.hurried.Store(true) // in the end all leave, of whom one may just have got a place
	g := startGateway(t, withFlows(queued(s.URL+"/v1", 1, members)))
	g.later(t, context.Background(), chat(""), flow("first")...)
	eventually(t, "the first to be answered", func() bool { return s.count() == 1 })
	return g, s
}

// TestQueueShares guards that places go to flows by their weights and in the order in
// which each flow's requests came, through the gateway: of three with weights 1, 1 and 2
// one has a hundred times as much waiting as it can get.
func TestQueueShares(t *testing.T) {
	const places = 40
	g, s := startHeld(t, `"max_waiting": 5000`)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	send := func(name string, n int) {
		before := g.waiting()
		for k := range n {
			g.later(t, ctx, chat(fmt.Sprintf(`,"user":"%d"`, k)), flow(name)...)
			if n < 100 {
				g.wantWaiting(t, before+k+1) // in this order
			}
		}
		g.wantWaiting(t, before+n)
	}
	send("flood", 1000)
	send("steady", 20)
	send("heavy", 40)
	for range places {
		s.release <- http.StatusOK
	}
	eventually(t, "so many to be asked", func() bool { return s.count() == places+1 })
	got := make(map[string]int)
	for _, name := range s.names()[1:] {
		got[name]++
	}
	if got["flood"] != 10 || got["steady"] != 10 || got["heavy"] != 20 {
		t.Errorf("got %v of %d places, want 10, 10 and 20", got, places)
	}
	next := map[string]int{}
	s.mu.Lock()
	for _, r := range s.seen[1:] {
		name := r.header.Get("X-Flow")
		if name != "flood" && !strings.Contains(r.body, fmt.Sprintf(`"user":"%d"`, next[name])) {
			t.Errorf("%s: got %s, want its number %d", name, r.body, next[name])
		}
		next[name]++
	}
	s.mu.Unlock()
	cancel()
	s.open()
	g.wantEmpty(t)
}

// TestQueueFlood guards row X17 for the queue: a client that floods it loses its own
// requests, while those of the others find room, and wait no longer than without it: for
// their turn.
func TestQueueFlood(t *testing.T) {
	g, s := startHeld(t, `"max_waiting": 20`)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var flood []<-chan received
	for range 50 {
		flood = append(flood, g.later(t, ctx, chat(""), flow("flood")...))
	}
	g.wantWaiting(t, 20)
	var light []<-chan received
	for range 3 {
		light = append(light, g.later(t, ctx, chat(""), flow("light")...))
	}
	refused := 0
	for refused < 33 {
		for _, answer := range flood {
			select {
			case r := <-answer:
				if r.status != http.StatusServiceUnavailable || !strings.Contains(r.body, "queue_full") {
					t.Fatalf("got %d %s, want 503 queue_full", r.status, r.body)
				}
				refused++
			default:
			}
		}
		time.Sleep(time.Millisecond)
	}
	g.wantWaiting(t, 20)
	for range 7 {
		s.release <- http.StatusOK
	}
	for _, answer := range light {
		wantWhole(t, <-answer)
	}
	if got := s.names()[1:7]; strings.Count(strings.Join(got, " "), "light") != 3 {
		t.Errorf("the first six places went to %v, want every other one to light", got)
	}
	cancel()
	s.open()
	g.wantEmpty(t)
}

// TestQueueClasses guards that a request of a class above is served before those that
// came earlier, finds room where there is none, and leaves one place of ten to them.
func TestQueueClasses(t *testing.T) {
	g, s := startHeld(t, `"max_waiting": 40`)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	send := func(class string, n int) (answers []<-chan received) {
		for range n {
			answers = append(answers, g.later(t, ctx, chat(""), flow(class)...))
		}
		return answers
	}
	low := send("background", 40)
	g.wantWaiting(t, 40)
	send("interactive", 20)
	refused := 0
	eventually(t, "20 of background to go", func() bool {
		for _, answer := range low {
			select {
			case r := <-answer:
				if !strings.Contains(r.body, "queue_full") {
					t.Errorf("got %d %s, want queue_full", r.status, r.body)
				}
				refused++
			default:
			}
		}
		return refused == 20
	})
	g.wantWaiting(t, 40)
	for range 21 {
		s.release <- http.StatusOK
	}
	eventually(t, "the places to be handed on", func() bool { return s.count() == 22 })
	got := s.names()[1:21]
	if i := slices.Index(got, "background"); i != 9 || strings.Count(strings.Join(got, " "), "background") != 2 {
		t.Errorf("places went to %v, want every tenth to background", got)
	}
	cancel()
	s.open()
	g.wantEmpty(t)
}

// TestQueueRetry guards that a request whose instance has failed is served before those
// that have come later, when all others are full.
func TestQueueRetry(t *testing.T) {
	bad, good := startGated(t), startGated(t)
	g := startGateway(t, withFlows(entries(entry(bad.URL+"/v1", `, "max_concurrency": 1`), entry(good.URL+"/v1", `, "max_concurrency": 1`))))
	ctx := context.Background()
	answers := []<-chan received{g.later(t, ctx, chat(""), flow("first")...), g.later(t, ctx, chat(""), flow("second")...)}
	eventually(t, "both to be busy", func() bool { return bad.count() == 1 && good.count() == 1 })
	answers = append(answers, g.later(t, ctx, chat(""), flow("third")...), g.later(t, ctx, chat(""), flow("fourth")...))
	g.wantWaiting(t, 2)
	failed := bad.last(t).header.Get("X-Flow")
	bad.release <- http.StatusInternalServerError // its place goes to one that waits, and its request waits
	eventually(t, "the place to be handed on", func() bool { return bad.count() == 2 })
	g.wantWaiting(t, 2)
	good.release <- http.StatusOK
	eventually(t, "the other place to be handed on", func() bool { return good.count() == 2 })
	if got := good.last(t).header.Get("X-Flow"); got != failed {
		t.Errorf("the place went to %s, want %s, which had failed", got, failed)
	}
	good.open()
	bad.open()
	for _, answer := range answers {
		wantWhole(t, <-answer)
	}
	g.wantEmpty(t)
}

// TestQueueSpillByKey guards that a key that may not cause costs waits where others go to the
// fallback tier.
func TestQueueSpillByKey(t *testing.T) {
	own, cloud := startGated(t), startWitness(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, chatJSON) })
	g := startGateway(t, withFlows(fmt.Sprintf(`{"instances": [%s], "fallback_instances": [%s]}`, entry(own.URL+"/v1", `, "max_concurrency": 1`), entry(cloud.URL+"/v1", ""))))
	first := g.later(t, context.Background(), chat(""), flow("first")...)
	eventually(t, "the first to be answered", func() bool { return own.count() == 1 })
	patient := g.later(t, context.Background(), chat(""), flow("patient")...)
	g.wantWaiting(t, 1)
	// Nobody goes past who waits, so this one waits too until it is known where it may go.
	other := g.later(t, context.Background(), chat(""), flow("second")...)
	wantWhole(t, <-other)
	if names := cloud.names(); !slices.Equal(names, []string{"second"}) {
		t.Errorf("the fallback was asked by %v, want second alone", names)
	}
	own.open()
	wantWhole(t, <-first)
	wantWhole(t, <-patient)
	g.wantEmpty(t)
}

// TestQueueSpill guards when a full private fleet costs money: at once by default, or
// after a wait that is long, or looks like it, or never.
func TestQueueSpill(t *testing.T) {
	f := func(name, members string, check func(t *testing.T, g *gateway, own *gated, cloud *witness)) {
		t.Run(name, func(t *testing.T) {
			own, cloud := startGated(t), startWitness(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, chatJSON) })
			g := startGateway(t, fmt.Sprintf(`{"instances": [%s], "fallback_instances": [%s], "queue": {%s}}`,
				entry(own.URL+"/v1", `, "max_concurrency": 1`), entry(cloud.URL+"/v1", ""), members))
			first := g.later(t, context.Background(), chat(""))
			eventually(t, "the first to be answered", func() bool { return own.count() == 1 })
			check(t, g, own, cloud)
			own.open()
			wantWhole(t, <-first)
			g.wantEmpty(t)
		})
	}
	f("default", "", func(t *testing.T, g *gateway, own *gated, cloud *witness) {
		wantWhole(t, g.sends(t, chatPath, chat("")))
		if cloud.count() != 1 {
			t.Errorf("the fallback was asked %d times, want 1", cloud.count())
		}
	})
	f("after a wait", `"spill_after": "200ms"`, func(t *testing.T, g *gateway, own *gated, cloud *witness) {
		began := time.Now()
		wantWhole(t, g.sends(t, chatPath, chat("")))
		if took := time.Since(began); took < 200*time.Millisecond || cloud.count() != 1 {
			t.Errorf("the fallback was asked %d times after %v, want once after 200 ms", cloud.count(), took)
		}
	})
	f("a private one is free before", `"spill_after": 20`, func(t *testing.T, g *gateway, own *gated, cloud *witness) {
		second := g.later(t, context.Background(), chat(""))
		g.wantWaiting(t, 1)
		own.release <- http.StatusOK
		eventually(t, "the place to be handed on", func() bool { return own.count() == 2 })
		own.open()
		wantWhole(t, <-second)
		if cloud.count() != 0 {
			t.Errorf("the fallback was asked %d times, want 0", cloud.count())
		}
	})
	f("it looks long", `"spill_after": 20`, func(t *testing.T, g *gateway, own *gated, cloud *witness) {
		q := &g.store.snapshot().fleet.pool("m").state.queue
		q.mu.Lock()
		q.rate.Waits(clock(), true) // for a quarter of an hour, in which nobody was served
		q.rate.Waits(clock()+15*time.Minute, false)
		q.mu.Unlock()
		began := time.Now()
		wantWhole(t, g.sends(t, chatPath, chat("")))
		if took := time.Since(began); took > 10*time.Second || cloud.count() != 1 {
			t.Errorf("the fallback was asked %d times after %v, want once at once", cloud.count(), took)
		}
	})
	f("no room", `"spill_after": 20, "max_waiting": 1`, func(t *testing.T, g *gateway, own *gated, cloud *witness) {
		second := g.later(t, context.Background(), chat(""))
		g.wantWaiting(t, 1)
		wantWhole(t, g.sends(t, chatPath, chat("")))
		if cloud.count() != 1 || g.waiting() != 1 {
			t.Errorf("the fallback was asked %d times and %d wait, want 1 and 1", cloud.count(), g.waiting())
		}
		own.open()
		wantWhole(t, <-second)
	})
	f("never", `"spill_after": "1h", "max_wait": "300ms", "max_waiting": 1`, func(t *testing.T, g *gateway, own *gated, cloud *witness) {
		second := g.later(t, context.Background(), chat(""))
		g.wantWaiting(t, 1)
		if r := g.sends(t, chatPath, chat("")); !strings.Contains(r.body, "queue_full") {
			t.Errorf("got %d %s, want queue_full", r.status, r.body)
		}
		if r := <-second; !strings.Contains(r.body, "queue_timeout") || cloud.count() != 0 {
			t.Errorf("got %d %s, the fallback was asked %d times, want queue_timeout and 0", r.status, r.body, cloud.count())
		}
	})
	f("all own are out", `"spill_after": 20`, func(t *testing.T, g *gateway, own *gated, cloud *witness) {
		second := g.later(t, context.Background(), chat(""))
		g.wantWaiting(t, 1)
		g.store.takeOut(g.store.snapshot().fleet.instances[0], time.Hour)
		wantWhole(t, <-second)
		wantWhole(t, g.sends(t, chatPath, chat("")))
		if cloud.count() != 2 {
			t.Errorf("the fallback was asked %d times, want 2", cloud.count())
		}
	})
}

// TestQueueShared guards that an instance of several models hands its places on to the
// requests for each of them.
func TestQueueShared(t *testing.T) {
	var now, most atomic.Int64
	s := startBusy(t, time.Millisecond, &now, &most)
	g := startGateway(t, fmt.Sprintf(`{"instances": [{"url": %q, "model_name": "a", "max_concurrency": 1}, {"url": %q, "model_name": "b", "max_concurrency": 1}],
		"fallback_instances": [{"url": %q, "model_name": "*", "max_concurrency": 2}]}`, s.URL+"/a/v1", s.URL+"/b/v1", s.URL+"/any/v1"))
	var clients sync.WaitGroup
	for n := range 30 {
		clients.Go(func() {
			for range 10 {
				body := strings.Replace(chat(""), `"m"`, `"`+string(rune('a'+n%3))+`"`, 1) // c is for "*" alone
				wantWhole(t, g.sends(t, chatPath, body))
			}
		})
	}
	clients.Wait()
	if got := most.Load(); got != 4 {
		t.Errorf("at most %d at once, want 4", got)
	}
	g.wantIdle(t)
	if n := g.store.usher.waiting.Load(); n != 0 {
		t.Errorf("%d wait, want nobody", n)
	}
}
