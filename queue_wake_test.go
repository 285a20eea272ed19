package aigateway

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// TestQueueWakes guards that whatever makes a place has it handed on to who waits, and
// that nobody waits on where there is nothing left to wait for.
func TestQueueWakes(t *testing.T) {
	full := `, "max_concurrency": 1`
	type rig struct {
		*gateway
		full, other *gated
	}
	// Two requests wait while the only place is taken; other has the rest of its members.
	f := func(name, other string, act func(t *testing.T, r *rig), status int, code string) {
		t.Run(name, func(t *testing.T) {
			r := &rig{full: startGated(t), other: startGated(t)}
			list := []string{entry(r.full.URL+"/v1", full)}
			if other != "" {
				list = append(list, entry(r.other.URL+"/v1", other))
			}
			r.gateway = startGateway(t, entries(list...))
			if other == full { // it is taken out of service
				r.store.takeOut(r.store.snapshot().fleet.instances[1], 0)
			}
			first := r.later(t, context.Background(), chat(""))
			eventually(t, "the first to be answered", func() bool { return r.full.count() == 1 })
			waiting := []<-chan received{r.later(t, context.Background(), chat("")), r.later(t, context.Background(), chat(""))}
			r.wantWaiting(t, 2)
			act(t, r)
			r.other.open()
			if status == http.StatusOK {
				eventually(t, "the other to be asked", func() bool { return r.other.count() == 2 })
			}
			for _, answer := range waiting {
				if got := <-answer; got.status != status || !strings.Contains(got.body, code) {
					t.Errorf("got %d %s, want %d %s", got.status, got.body, status, code)
				}
			}
			if r.full.count() != 1 {
				t.Errorf("the full one was asked %d times, want 1", r.full.count())
			}
			r.full.open()
			wantWhole(t, <-first)
			eventually(t, "nobody to wait", func() bool { return r.store.usher.waiting.Load() == 0 })
			r.wantIdle(t)
		})
	}
	second := func(r *rig) *instance { return r.store.snapshot().fleet.instances[1] }
	f("an instance is added", "", func(t *testing.T, r *rig) {
		r.save(t, entries(entry(r.full.URL+"/v1", full), entry(r.other.URL+"/v1", full)))
	}, 200, "")
	f("it drains no more, by the file", `, "drain": true, "max_concurrency": 1`, func(t *testing.T, r *rig) {
		r.save(t, entries(entry(r.full.URL+"/v1", full), entry(r.other.URL+"/v1", full)))
	}, 200, "")
	f("it gets a weight", `, "weight": 0`, func(t *testing.T, r *rig) {
		r.save(t, entries(entry(r.full.URL+"/v1", full), entry(r.other.URL+"/v1", "")))
	}, 200, "")
	f("it is restored", full, func(t *testing.T, r *rig) { r.store.restore(second(r)) }, 200, "")
	f("its trial is due", full, func(t *testing.T, r *rig) { r.store.takeOut(second(r), 50*time.Millisecond) }, 200, "")
	f("its rest is over", full, func(t *testing.T, r *rig) {
		h := &second(r).state.health
		h.settle(result{verdict: verdict{outcome: outcomeBusy, reason: reasonRateLimit, blame: rests}, ended: clock(), rest: 50 * time.Millisecond}, nil)
		r.store.restore(second(r))
	}, 200, "")
	f("a fallback is added", "", func(t *testing.T, r *rig) {
		r.save(t, fmt.Sprintf(`{"instances": [%s], "fallback_instances": [%s]}`, entry(r.full.URL+"/v1", full), entry(r.other.URL+"/v1", full)))
	}, 200, "")
	f("the model moves to others", "", func(t *testing.T, r *rig) {
		r.save(t, entries(strings.Replace(entry(r.other.URL+"/v1", full), `"m"`, `"*"`, 1)))
	}, 200, "")
	f("the model leaves the file", "", func(t *testing.T, r *rig) {
		r.save(t, entries(strings.Replace(entry(r.other.URL+"/v1", full), `"m"`, `"n"`, 1)))
	}, 404, "model_not_found")
	f("all drain", "", func(t *testing.T, r *rig) {
		r.save(t, entries(entry(r.full.URL+"/v1", `, "drain": true, "max_concurrency": 1`)))
	}, 503, "draining")
	f("the full one is out", "", func(t *testing.T, r *rig) { r.store.takeOut(r.store.snapshot().fleet.instances[0], 0) }, 503, "no_instance")
	f("the full one wants no requests", "", func(t *testing.T, r *rig) {
		h := r.healthOf(0)
		h.settle(result{verdict: verdict{outcome: outcomeBusy, reason: reasonRateLimit, blame: rests}, ended: clock(), rest: time.Hour}, nil)
	}, 429, "rate_limited")
	f("nobody waits any more", "", func(t *testing.T, r *rig) {
		r.save(t, strings.TrimSuffix(entries(entry(r.full.URL+"/v1", full)), "}")+`, "queue": {"max_waiting": 0}}`)
	}, 503, "no_instance")
}

// TestQueueMoreRoom guards that a higher max_concurrency takes effect for who waits, and
// that a lower one does not hand on places that are too many.
func TestQueueMoreRoom(t *testing.T) {
	s := startGated(t)
	g := startGateway(t, queued(s.URL+"/v1", 2, ""))
	var answers []<-chan received
	for range 10 {
		answers = append(answers, g.later(t, context.Background(), chat("")))
	}
	g.wantWaiting(t, 8)
	g.save(t, queued(s.URL+"/v1", 5, ""))
	g.wantWaiting(t, 5)
	g.save(t, queued(s.URL+"/v1", 1, ""))
	for range 4 {
		s.release <- http.StatusOK
	}
	eventually(t, "4 to end", func() bool { return g.store.snapshot().fleet.instances[0].state.inFlight.Load() == 1 })
	if g.waiting() != 5 || s.count() != 5 {
		t.Errorf("%d wait and %d were asked, want 5 and 5", g.waiting(), s.count())
	}
	s.release <- http.StatusOK
	g.wantWaiting(t, 4)
	g.save(t, queued(s.URL+"/v1", 0, ""))
	g.wantWaiting(t, 0)
	s.open()
	for _, answer := range answers {
		wantWhole(t, <-answer)
	}
	g.wantEmpty(t)
}

// TestQueueReload guards that a swap and a reload of Caddy's configuration leave those who
// wait in their places.
func TestQueueReload(t *testing.T) {
	s := startGated(t)
	file := func(weight int) string {
		return entries(entry(s.URL+"/v1", fmt.Sprintf(`, "max_concurrency": 1, "weight": %d`, weight)))
	}
	g := startAdmin(t, file(1))
	var answers []<-chan received
	for n := range 5 {
		answers = append(answers, g.later(t, context.Background(), chat(fmt.Sprintf(`,"user":"%d"`, n))))
		eventually(t, "it to be where it waits", func() bool { return s.count() == 1 && g.waiting() == n })
	}
	g.save(t, file(2))
	g.load(t, freeAddress(t))
	g.wantWaiting(t, 4)
	if got := g.status(t).Models[0].Waiting; got != 4 {
		t.Errorf("the status tells of %d waiting, want 4", got)
	}
	s.open()
	for _, answer := range answers {
		wantWhole(t, <-answer)
	}
	for n := range 5 {
		if want := fmt.Sprintf(`"user":"%d"`, n); !strings.Contains(s.seen[n].body, want) {
			t.Errorf("request %d was %s, want %s", n, s.seen[n].body, want)
		}
	}
	g.wantEmpty(t)
}

// freed is a policy that finds no place; just after its last look one comes free.
type freed struct{ instance *instance }

func (f freed) pick(r *rotation, x *exchange) *instance {
	if len(r.instances) == 0 && x.leeway > careful { // the fallback tier, for which the choice ends
		f.instance.state.inFlight.Store(0)
	}
	return nil
}

// TestQueueFreed guards that a place which comes free just after all have looked for one,
// while a newcomer lines up or those who wait are reviewed, goes to who came first.
func TestQueueFreed(t *testing.T) {
	s := bareStore(filepath.Join(t.TempDir(), "config.json5"))
	publishText(t, s, queued("http://127.0.0.1:1/v1", 1, ""))
	t.Cleanup(func() { must(t, s.letGo()) })
	p := s.snapshot().fleet.pool("m")
	i, q := p.tiers[primary].instances[0], &p.state.queue
	var all []*waiter
	wantAll := func(what string) {
		t.Helper()
		if q.order.Len() != len(all) || i.full() {
			t.Fatalf("after %s %d wait, full %v: want %d beside a place that is about to be handed on", what, q.order.Len(), i.full(), len(all))
		}
	}
	for range 3 {
		x, cancel := waitable(s)
		defer cancel()
		x.policy = freed{i}
		w := &waiter{x: x, queue: q, out: make(chan struct{})}
		i.state.inFlight.Store(1)
		if !q.enter(w) {
			t.Fatal("the file is another one")
		}
		all = append(all, w)
		wantAll("one came")
	}
	i.state.inFlight.Store(1)
	q.review(s.snapshot(), p)
	wantAll("a review")
	for n, w := range all {
		i.state.handOn()
		if w.entry.In() || w.end != queueServed || q.order.Len() != len(all)-1-n {
			t.Fatalf("number %d: ended by %d, %d wait: want it to be served next", n, w.end, q.order.Len())
		}
		i.state.inFlight.Store(0)
	}
}

// TestQueueDeclined guards that a request does not wait for places that a policy of
// Caddy's has declined, which nobody hands on.
func TestQueueDeclined(t *testing.T) {
	s := bareStore(filepath.Join(t.TempDir(), "config.json5"))
	publishText(t, s, queued("http://127.0.0.1:1/v1", 1, ""))
	t.Cleanup(func() { must(t, s.letGo()) })
	x, cancel := waitable(s)
	defer cancel()
	x.policy = caddyPolicy{decliner{}}
	if x.choose() || x.line.end != queueNone {
		t.Errorf("chosen %v, waited to the end %d: want neither", x.current != nil, x.line.end)
	}
	w := &waiter{x: x, queue: &x.pool.state.queue, out: make(chan struct{})}
	if w.queue.enter(w); w.end != queueMoot {
		t.Errorf("one who waits: got end %d, want to choose anew", w.end)
	}
}

// decliner is a policy of Caddy's kind that wants none.
type decliner struct{}

func (decliner) Select(reverseproxy.UpstreamPool, *http.Request, http.ResponseWriter) *reverseproxy.Upstream {
	return nil
}
