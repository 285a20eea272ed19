package aigateway

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/hourly"
)

// moody is an instance that answers as it is told.
type moody struct {
	*witness
	status atomic.Int64
}

func startMoody(t testing.TB) *moody {
	t.Helper()
	m := new(moody)
	m.status.Store(http.StatusOK)
	m.witness = startWitness(t, func(w http.ResponseWriter, r *http.Request) {
		status := int(m.status.Load())
		w.Header().Set("Content-Type", "application/json")
		switch {
		case status == http.StatusUnauthorized && r.Header.Get("Authorization") == "Bearer sk-right":
			status = http.StatusOK
		case status == http.StatusTooManyRequests:
			w.Header().Set("Retry-After", "1")
		}
		w.WriteHeader(status)
		if status == http.StatusNotFound {
			io.WriteString(w, `{"error":{"message":"The model m does not exist.","type":"NotFoundError","code":404}}`)
			return
		}
		io.WriteString(w, chatJSON)
	})
	return m
}

func (m *moody) entry(members string) string { return entry(m.URL+"/v1", members) }

// asks sends so many chats, one after the other.
func (g *gateway) asks(t testing.TB, count int) {
	t.Helper()
	for range count {
		g.sends(t, chatPath, chat(`,"user":"prompt-text"`))
	}
}

// TestInstanceEvents guards that every turn of an instance is told, once, by the kind
// for its reason, with who it is, and that what it was out for is what ends.
func TestInstanceEvents(t *testing.T) {
	m, other := startMoody(t), startMoody(t)
	fleet := func(key string) string {
		return `{"error_threshold": 3, "instances": [` + m.entry(`, "name": "first", "api_key": "`+key+`"`) + ", " + other.entry("") + `]}`
	}
	g := startGateway(t, fleet("sk-wrong"))
	events := logEvents(g.store)
	id := g.store.snapshot().fleet.instances[0].id
	check := func(e event, cause string, least, most time.Duration) {
		t.Helper()
		if e.name != "first" || e.upstream != id || e.model != "m" || e.tier != "primary" || e.cause != cause ||
			e.wait < least || e.wait > most || time.Since(e.time) > time.Minute {
			t.Errorf("got %+v, want cause %q and a wait of %v to %v", e, cause, least, most)
		}
	}
	turns := func(status int, out, back eventKind, cause string, wait time.Duration) {
		t.Helper()
		m.status.Store(int64(status))
		g.asks(t, 8)
		check(events.wait(t, out), cause, wait/2, wait)
		g.makeDue(0)
		m.status.Store(http.StatusOK)
		g.asks(t, 4)
		check(events.wait(t, instanceTrial), "", 0, 0)
		check(events.wait(t, back), cause, 0, 0)
		g.put(0, func(h *health, now time.Duration) { h.move(serving, now) }) // no slow start
	}
	turns(500, instanceEjected, instanceBack, "status", firstEjection)
	turns(404, modelMissing, modelBack, "model", modelTrial)
	turns(401, keyRefused, keyAccepted, "key", keyTrial)

	// A rest begins and ends by itself. Many answers 429 are one.
	m.status.Store(http.StatusTooManyRequests)
	g.sendsMany(t, chatPath, chat(""), 20)
	check(events.wait(t, instanceResting), "rate_limit", 0, time.Second)
	m.status.Store(http.StatusOK)
	check(events.wait(t, instanceRested), "", 0, 0)
	const want = "instance_ejected instance_trial instance_back model_missing instance_trial model_back " +
		"key_refused instance_trial key_accepted instance_resting instance_rested"
	if got := events.kinds(); got != want {
		t.Errorf("got events\n%s, want\n%s", got, want)
	}
	for _, secret := range []string{"sk-", "prompt-text"} {
		if strings.Contains(events.text(), secret) {
			t.Errorf("got %q in the events: %s", secret, events.text())
		}
	}
}

// TestKeyEvents guards the alert of row F14: a refused key is told, and within five
// seconds after the file is right that it is accepted, also if the instance was out
// for something else in between.
func TestKeyEvents(t *testing.T) {
	m, other := startMoody(t), startMoody(t)
	fleet := func(key string) string {
		return entries(m.entry(fmt.Sprintf(`, "api_key": %q`, key)), other.entry(""))
	}
	m.status.Store(http.StatusUnauthorized)
	g := startGateway(t, fleet("sk-wrong"))
	events := logEvents(g.store)
	g.asks(t, 4)
	events.wait(t, keyRefused)
	m.status.Store(http.StatusInternalServerError)
	g.makeDue(0)
	g.asks(t, 4)
	eventually(t, "a trial that fails otherwise", func() bool { return g.state(0).why == reasonStatus })
	m.status.Store(http.StatusUnauthorized)
	fixed, own := time.Now(), watchOwn()
	g.save(t, fleet("sk-right"))
	g.makeDue(0)
	eventually(t, "the key to be accepted", func() bool {
		g.asks(t, 1)
		return strings.HasSuffix(events.kinds(), string(keyAccepted))
	})
	if took := time.Since(fixed) - own.longest(); took > 5*time.Second {
		t.Errorf("got %v until it was accepted, want at most 5 s", took)
	}
}

// TestPoolEvents guards that a pool's turns to the fallback and to nothing are told,
// and back.
func TestPoolEvents(t *testing.T) {
	m, cloud := startMoody(t), startMoody(t)
	g := startGateway(t, `{"error_threshold": 3, "instances": [`+m.entry("")+`], "fallback_instances": [`+cloud.entry(`, "api_key": "sk-wrong"`)+`]}`)
	events := logEvents(g.store)
	pools := func() string {
		var pools []string
		for kind := range strings.FieldsSeq(events.kinds()) {
			if strings.HasPrefix(kind, "pool") {
				pools = append(pools, kind)
			}
		}
		return strings.Join(pools, " ")
	}
	m.status.Store(500)
	g.asks(t, 4)
	if e := events.wait(t, poolOnFallback); e.model != "m" {
		t.Errorf("got %+v, want model m", e)
	}
	cloud.status.Store(401)
	g.asks(t, 2)
	events.wait(t, poolEmpty)
	cloud.status.Store(200)
	g.makeDue(1)
	g.asks(t, 2)
	events.wait(t, poolRefilled)
	m.status.Store(200)
	g.makeDue(0)
	g.asks(t, 2)
	events.wait(t, poolOffFallback)
	if got, want := pools(), "pool_on_fallback pool_empty pool_refilled pool_off_fallback"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestLastInstanceEvents guards that a pool is told to be empty when its last
// instance fails, though that one is never ejected, and to be refilled with its
// first good answer.
func TestLastInstanceEvents(t *testing.T) {
	m := startMoody(t)
	g := startGateway(t, `{"error_threshold": 3, "instances": [`+m.entry("")+`]}`)
	events := logEvents(g.store)
	m.status.Store(500)
	g.asks(t, 2)
	if g.healthOf(0).spared.Load() {
		t.Error("two failures: got the instance counted out, want it after three")
	}
	g.asks(t, 20)
	events.wait(t, poolEmpty)
	m.status.Store(200)
	g.asks(t, 2)
	events.wait(t, poolRefilled)
	if got, want := events.kinds(), "pool_empty pool_refilled"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestPoolEventsOfSwap guards that a pool which the file empties or fills is told of.
func TestPoolEventsOfSwap(t *testing.T) {
	w := startWatched(t, weighted(1))
	writeFile(t, w.path, weighted(0))
	w.events.wait(t, configApplied)
	w.events.wait(t, poolEmpty)
	writeFile(t, w.path, weighted(3))
	w.events.wait(t, poolRefilled)
}

// TestEventQueue guards that taking an event in never waits: of too many the oldest
// are dropped and counted.
func TestEventQueue(t *testing.T) {
	b := newBulletin()
	const over = 500
	for n := range eventQueue + over {
		b.emit(event{kind: instanceTrial, count: n}) // would never return if it waited
	}
	if got := b.dropped.Load(); got != over || len(b.queue) != eventQueue {
		t.Errorf("got %d dropped and %d queued, want %d and %d", got, len(b.queue), over, eventQueue)
	}
	for n := range eventQueue {
		if e := <-b.queue; e.count != n+over {
			t.Fatalf("got event %d at place %d, want %d: the newest stay, in order", e.count, n, n+over)
		}
	}
}

// TestSubscribe guards that every subscriber gets every event in order, until it
// cancels.
func TestSubscribe(t *testing.T) {
	w := startWatched(t, weighted(1))
	second := logEvents(w.store)
	var late atomic.Int64
	cancel := w.subscribe(func(event) { late.Add(1) })
	cancel()
	cancel() // twice is once
	var want []string
	for n := range 100 {
		kind := []eventKind{instanceEjected, instanceBack, poolEmpty}[n%3]
		want = append(want, string(kind))
		w.store.events.emit(event{kind: kind, upstream: fmt.Sprint(n / 3)})
	}
	for _, l := range []*eventLog{w.events, second} {
		eventually(t, "all events", func() bool { return strings.Count(l.kinds(), " ") >= 99 })
		if got := l.kinds(); got != strings.Join(want, " ") {
			t.Errorf("got %s", got)
		}
	}
	if late.Load() != 0 {
		t.Errorf("a subscriber that has canceled got %d events", late.Load())
	}
}

// TestLosses guards the events of a recorder: one when it begins to lose, one when
// it has lost nothing for 30 s, and the same for the disk by itself.
func TestLosses(t *testing.T) {
	r := stalledRecorder()
	r.drop(dropQueue, 7, nil) // before anybody looks
	var l losses
	start := time.Now()
	f := func(at time.Duration, want string) []event {
		t.Helper()
		events := l.look(r, start.Add(at))
		var kinds []string
		for _, e := range events {
			kinds = append(kinds, string(e.kind))
			if e.path != r.dir {
				t.Errorf("at %v: got path %q, want %q", at, e.path, r.dir)
			}
		}
		if got := strings.Join(kinds, " "); got != want {
			t.Errorf("at %v: got %q, want %q", at, got, want)
		}
		return events
	}
	f(0, "")
	f(time.Second, "")
	r.drop(dropQueue, 3, nil)
	r.drop(dropMemory, 2, nil)
	if e := f(2*time.Second, "recorder_dropping"); len(e) == 1 && (e[0].count != 5 || e[0].cause != "memory, queue_full") {
		t.Errorf("got %+v, want 5 lost for memory and queue_full", e[0])
	}
	r.drop(dropQueue, 4, nil)
	f(20*time.Second, "")
	f(49*time.Second, "")
	if e := f(50*time.Second, "recorder_recovered"); len(e) == 1 && e[0].count != 9 {
		t.Errorf("got %+v, want 9 lost in all", e[0])
	}
	f(51*time.Second, "")

	s := scribe{recorder: r}
	s.tell(hourly.Event{Kind: hourly.Failing, Path: r.dir, Err: &hourly.Error{Reason: hourly.DiskLow}})
	r.drop(string(hourly.DiskLow), 9, nil)
	f(60*time.Second, "disk_low")
	s.tell(hourly.Event{Kind: hourly.Resumed, Path: r.dir + "/x"}) // a file, not the disk
	f(200*time.Second, "")
	s.tell(hourly.Event{Kind: hourly.Resumed, Path: r.dir})
	f(201*time.Second, "disk_recovered")
	r.drop(dropQueue, 1, nil)
	f(202*time.Second, "recorder_dropping")
	r.low.Store(true)
	f(203*time.Second, "disk_low")
	last := l.look(nil, start.Add(204*time.Second)) // the file says: record nothing
	if len(last) != 2 || last[0].kind != diskRecovered || last[1].kind != recorderRecovered {
		t.Errorf("without a recorder: got %+v, want the end of both", last)
	}
}

// TestRecorderEvents guards that the losses of the recorder in force reach the
// subscribers.
func TestRecorderEvents(t *testing.T) {
	g := startGateway(t, fleetOf(startGood(t).url))
	events := logEvents(g.store)
	r := g.store.snapshot().recorder
	r.logger.Store(zap.NewNop())
	r.drop(dropMemory, 3, nil)
	if e := events.wait(t, recorderDropping); e.count != 3 || e.cause != dropMemory || e.path != r.dir {
		t.Errorf("got %+v, want 3 lost for want of memory in %s", e, r.dir)
	}
}

// TestEventsDocumented guards that both READMEs name every kind of event.
func TestEventsDocumented(t *testing.T) {
	source, err := os.ReadFile("event.go")
	must(t, err)
	kinds := regexp.MustCompile(`eventKind = "(\w+)"`).FindAllStringSubmatch(string(source), -1)
	if len(kinds) != 31 {
		t.Errorf("got %d kinds in event.go, want 31", len(kinds))
	}
	for _, name := range []string{"README.md", "README.zh.md"} {
		text, err := os.ReadFile(name)
		must(t, err)
		for _, kind := range kinds {
			if !strings.Contains(string(text), "`"+kind[1]+"`") {
				t.Errorf("%s does not name %s", name, kind[1])
			}
		}
	}
}

// TestHappyPathTellsNothing guards that requests that go well emit nothing.
func TestHappyPathTellsNothing(t *testing.T) {
	g := startGateway(t, fleetOf(startGood(t).url, startGood(t).url))
	events := logEvents(g.store)
	g.load().allOK(t)
	if got := events.kinds(); got != "" || len(g.store.events.queue) != 0 {
		t.Errorf("got %q, want no event", got)
	}
}
