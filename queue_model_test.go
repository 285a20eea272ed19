package aigateway

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.uber.org/zap"
	"pgregory.net/rapid"
)

// queueSteps is how many random steps [TestQueueModel] makes at least.
const queueSteps = 100_000

// TestQueueModel guards, after every one of 100,000 random steps, that no instance has more
// leases than it may, that each is somebody's, and that nobody waits beside a place, nor
// for nothing: requests come, leave, end well or badly and are tried again, instances
// are taken out, come back, rest and drain, and the file changes. Everything is as in the
// gateway, but that one goroutine does it all: the queue, the choice, health, the store.
func TestQueueModel(t *testing.T) {
	const runs = 200
	part := 1
	if raceDetector { // which one goroutine gives nothing to find
		part = 10
	}
	set(t, "rapid.checks", strconv.Itoa(runs))
	set(t, "rapid.steps", strconv.Itoa(2*queueSteps/runs/part))
	set(t, "rapid.nofailfile", "true") // the message has all steps
	seen := make(map[string]int)
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) { newQueueRun(t, dir, seen).run(t) })
	if t.Failed() {
		return
	}
	t.Log(seen)
	for event, least := range map[string]int{
		"steps": queueSteps, "chosen at once": 1000, "waited": 10_000, "served": 5000, "chose anew": 20, "no room": 100, "put out for another": 100, "left": 1000,
		"retries waited": 100, "ejected": 20, "trials": 20, "swaps": 500, "most waiting": 8, "spilled": 20,
	} {
		if seen[event] < least && part == 1 {
			t.Errorf("%s: seen %d times, want %d or the test proves little about it", event, seen[event], least)
		}
	}
}

// queueRun is one run of random steps.
type queueRun struct {
	store  *store
	file   string
	limits [4]int // max_concurrency
	spill  int    // seconds
	seen   map[string]int

	holds []*exchange // that have a lease
	waits map[*waiter]context.CancelFunc
	ends  map[*exchange]context.CancelFunc
	most  map[*instanceState]int64 // leases after the last step
}

func newQueueRun(t *rapid.T, dir string, seen map[string]int) *queueRun {
	r := &queueRun{
		file: filepath.Join(dir, "config.json5"), seen: seen, waits: make(map[*waiter]context.CancelFunc),
		ends: make(map[*exchange]context.CancelFunc), most: make(map[*instanceState]int64), limits: [4]int{1, 2, 2, 1},
	}
	r.spill = rapid.SampledFrom([]int{0, 0, 10, 3600}).Draw(t, "spill")
	r.store = bareStore(r.file)
	r.load(t)
	return r
}

// load puts a file with the limits in force.
func (r *queueRun) load(t *rapid.T) {
	one := func(n int) string {
		return fmt.Sprintf(`{url: "http://127.0.0.1:1/%d/v1", model_name: "m", max_concurrency: %d}`, n, r.limits[n])
	}
	text := fmt.Sprintf(`{instances: [%s, %s, %s], fallback_instances: [%s], record: {enabled: false}, error_threshold: 3,
		queue: {max_waiting: 8, max_wait: 30, spill_after: %d}}`, one(0), one(1), one(2), one(3), r.spill)
	publishText(t, r.store, text)
}

// bareStore is a store of which no goroutine runs.
func bareStore(file string) *store {
	s := &store{path: file, events: newBulletin(), usher: usher{bell: make(chan struct{}, 1)}}
	s.logger.Store(zap.NewNop())
	return s
}

// publishText puts text in force as what the store's file has.
func publishText(t interface{ Fatal(args ...any) }, s *store, text string) {
	dir := filepath.Dir(s.path)
	cfg, err := readConfig([]byte(text), dir).result(dir)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.publish(cfg); err != nil {
		t.Fatal(err)
	}
}

func (r *queueRun) run(t *rapid.T) {
	defer func() {
		if err := r.store.letGo(); err != nil {
			t.Error(err)
		}
	}()
	instance := func(t *rapid.T) *instance {
		all := r.store.snapshot().fleet.instances
		return all[rapid.IntRange(0, len(all)-1).Draw(t, "instance")]
	}
	holder := func(t *rapid.T) *exchange { return r.holds[rapid.IntRange(0, len(r.holds)-1).Draw(t, "which")] }
	t.Repeat(map[string]func(*rapid.T){
		"arrive":       r.arrive,
		"arrive again": r.arrive,
		"end": func(t *rapid.T) {
			if len(r.holds) > 0 {
				r.end(holder(t), whole)
			}
		},
		"fail": func(t *rapid.T) {
			if len(r.holds) > 0 {
				rest := verdict{outcomeBusy, reasonRateLimit, rests, true}
				x := holder(t)
				r.end(x, rapid.SampledFrom([]verdict{failure(reasonConnect), failure(reasonFirstToken), rest}).Draw(t, "verdict"))
				if len(x.tried) < 3 {
					r.choose(x, false)
				}
			}
		},
		"leave": func(t *rapid.T) {
			for w, cancel := range r.waits { // any
				cancel()
				w.queue.leave(w, queueLeft)
				break
			}
		},
		"take out": func(t *rapid.T) {
			r.store.takeOut(instance(t), time.Hour)
			r.seen["ejected"]++
		},
		"restore": func(t *rapid.T) { r.store.restore(instance(t)) },
		"trial due": func(t *rapid.T) {
			i := instance(t)
			if h := &i.state.health; phase(h.phase.Load()) == ejected {
				h.until.Store(int64(clock()))
				r.store.usherIn() // as its timer has it do
			}
		},
		"rest over": func(t *rapid.T) {
			i := instance(t)
			i.state.health.rest.Store(0)
			r.store.usherIn()
		},
		"drain":   func(t *rapid.T) { r.store.setDrain(instance(t).id, true) },
		"undrain": func(t *rapid.T) { r.store.setDrain(instance(t).id, false) },
		"swap": func(t *rapid.T) {
			r.limits[rapid.IntRange(0, 3).Draw(t, "n")] = rapid.IntRange(1, 4).Draw(t, "limit")
			r.load(t)
			r.seen["swaps"]++
		},
		"": r.check,
	})
}

// waitable returns a request for model m, as far as choosing and waiting need one, and
// what lets its client go.
func waitable(s *store) (*exchange, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	snap := s.snapshot()
	return &exchange{
		request: (&http.Request{Method: http.MethodPost}).WithContext(ctx), snap: snap, pool: snap.fleet.pool("m"), store: s,
		ejections: &s.ejections, ask: ask{model: "m"}, policy: newPolicy(nil, snap.strategy), events: logger{zap.NewNop(), s.events}, began: clock(),
	}, cancel
}

func (r *queueRun) arrive(t *rapid.T) {
	x, cancel := waitable(r.store)
	x.key = &clientKey{
		name: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "flow"), weight: rapid.IntRange(1, 2).Draw(t, "weight"),
		priority: rapid.SampledFrom([]priorityClass{background, normal, normal}).Draw(t, "class"),
	}
	r.ends[x] = cancel
	r.choose(x, x.pool.state.queue.waiting.Load() > 0)
}

// choose is [exchange.choose], but that it does not wait.
func (r *queueRun) choose(x *exchange, others bool) {
	for {
		x.now = clock()
		steps, late := x.steps()
		if !others {
			switch {
			case slices.ContainsFunc(steps[:late], x.chooseFrom):
				r.seen["chosen at once"]++
			case x.blocked():
				others = true
				continue
			case !slices.ContainsFunc(steps[late:], x.chooseFrom):
				r.forget(x)
				return
			}
			r.holds = append(r.holds, x)
			return
		}
		w := &waiter{x: x, out: make(chan struct{})}
		for {
			x.adopt(r.store.snapshot())
			w.queue = &x.pool.state.queue
			if w.queue.enter(w) {
				break
			}
		}
		r.waits[w] = r.ends[x]
		r.seen["waited"]++
		if len(x.tried) > 0 {
			r.seen["retries waited"]++
		}
		return
	}
}

func (r *queueRun) forget(x *exchange) {
	r.ends[x]()
	delete(r.ends, x)
}

// end ends the attempt of x.
func (r *queueRun) end(x *exchange, v verdict) {
	r.holds = slices.DeleteFunc(r.holds, func(o *exchange) bool { return o == x })
	if v == whole {
		x.current.begins(clock())
	}
	if v.blame == rests {
		x.current.rest = time.Minute
	}
	x.current.settle(v)
	x.end()
}

// follow does what the goroutines of the usher and of those who wait no more do.
func (r *queueRun) follow() {
	for again := true; again; {
		again = false
		select {
		case <-r.store.usher.bell:
			r.store.usherIn()
			again = true
		default:
		}
		for w := range r.waits {
			select {
			case <-w.out:
			default:
				continue
			}
			again = true
			delete(r.waits, w)
			switch w.end {
			case queueServed:
				r.seen["served"]++
				if w.x.line.spilled && w.instance.tier == fallback {
					r.seen["spilled"]++
				}
				if w.trial {
					r.seen["trials"]++
				}
				w.x.now = clock()
				w.x.begin(w.instance, w.trial)
				r.holds = append(r.holds, w.x)
			case queueMoot:
				r.seen["chose anew"]++
				r.choose(w.x, false)
			default:
				r.seen[map[queueEnd]string{queueFull: "no room", queueLeft: "left"}[w.end]]++
				if w.end == queueFull && w.entry != nil {
					r.seen["put out for another"]++
				}
				r.forget(w.x)
			}
		}
	}
}

// check follows the last step, and looks whether all is as it should be.
func (r *queueRun) check(t *rapid.T) {
	r.follow()
	r.seen["steps"]++
	r.seen["most waiting"] = max(r.seen["most waiting"], len(r.waits))
	snap := r.store.snapshot()
	p := snap.fleet.pool("m")
	held := make(map[*instanceState]int64)
	for _, x := range r.holds {
		held[x.current.instance.state]++
	}
	for _, i := range snap.fleet.instances {
		n := i.state.inFlight.Load()
		if n != held[i.state] {
			t.Fatalf("%s: %d leases are counted, %d are held", i.name, n, held[i.state])
		}
		if n > max(int64(i.maxConcurrency), r.most[i.state]) {
			t.Fatalf("%s: %d leases, and only %d before, of %d", i.name, n, r.most[i.state], i.maxConcurrency)
		}
		r.most[i.state] = n
	}
	q := &p.state.queue
	if n := len(r.waits); q.order.Len() != n || q.waiting.Load() != int64(n) || r.store.usher.waiting.Load() != int64(n) || n > 8 {
		t.Fatalf("%d wait, the queue has %d and counts %d, the store %d, want 8 at most", n, q.order.Len(), q.waiting.Load(), r.store.usher.waiting.Load())
	}
	for w := range r.waits {
		if w.x.snap != snap || w.x.pool != p {
			t.Fatal("one goes by an old file")
		}
		if !w.x.blocked() {
			t.Fatal("one waits for nothing")
		}
		for _, i := range snap.fleet.instances {
			if !i.off() && !i.full() && w.wants(i, clock()) {
				t.Fatalf("one waits beside a place of %s", i.name)
			}
		}
	}
}
