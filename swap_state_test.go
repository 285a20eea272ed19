package aigateway

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

// TestRemovedWithStream guards row F12: an instance that is taken out of the file
// finishes its stream, and gets no new request from two seconds after on.
func TestRemovedWithStream(t *testing.T) {
	goOn := make(chan struct{})
	leaving := startWitness(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, chatEvent)
		http.NewResponseController(w).Flush()
		<-goOn
		io.WriteString(w, strings.TrimPrefix(chatStream, chatEvent))
	})
	staying := startGood(t)
	g := startGateway(t, fleetOf(leaving.URL+"/v1"))
	res, err := client.Post(g.url+chatPath, "application/json", strings.NewReader(chatBody(true)))
	must(t, err)
	defer res.Body.Close()
	first := make([]byte, len(chatEvent))
	_, err = io.ReadFull(res.Body, first)
	must(t, err)
	gone := g.store.snapshot().fleet.instances[0]

	writeFile(t, g.file, fleetOf(staying.url))
	began, own := time.Now(), watchOwn()
	eventually(t, "a request to go elsewhere", func() bool {
		return g.store.snapshot().fleet.instances[0].id != gone.id
	})
	if took := time.Since(began) - own.longest(); took > activeWithin {
		t.Errorf("got %v until the instance was out, want at most %v", took, activeWithin)
	}
	g.load().allOK(t)
	if n := leaving.count(); n != 1 || gone.state.inFlight.Load() != 1 {
		t.Errorf("got %d requests and %d in flight on the removed instance, want the one that streams", n, gone.state.inFlight.Load())
	}
	close(goOn)
	rest, err := io.ReadAll(res.Body)
	if got := string(first) + string(rest); err != nil || got != chatStream {
		t.Errorf("got %q and error %v, want the whole stream", got, err)
	}
	eventually(t, "its lease to be given back", func() bool { return gone.state.inFlight.Load() == 0 })
}

// TestTwins guards row F13 for entries that share URL and model, and are told apart
// by their keys: each keeps its history and its ID when others of them come, go or
// change their key, in any order.
func TestTwins(t *testing.T) {
	w := startWatched(t, weighted(1))
	version := 0
	swap := func(keys ...string) {
		t.Helper()
		var list []string
		for _, key := range keys {
			list = append(list, entry("http://127.0.0.1:1/v1", fmt.Sprintf(`, "api_key": "k%s", "name": %q`, key, key)))
		}
		version++
		writeFile(t, w.path, fmt.Sprintf(`{"record": {"enabled": false}, "error_threshold": %d, %s`, 100+version, strings.TrimPrefix(entries(list...), "{")))
		eventually(t, "the swap", func() bool { return w.snapshot().threshold == 100+version })
	}
	type being struct {
		id    string
		state *instanceState
	}
	of := func() map[string]being {
		all := make(map[string]being)
		ids := make(map[string]bool)
		for _, i := range w.snapshot().fleet.instances {
			all[i.name] = being{i.id, i.state}
			if ids[i.id] {
				t.Errorf("got ID %s twice", i.id)
			}
			ids[i.id] = true
		}
		return all
	}
	same := func(what string, was, is being) {
		t.Helper()
		if was != is {
			t.Errorf("%s: got %v, want %v as before", what, is, was)
		}
	}
	swap("a", "b", "c")
	first := of()
	if first["a"].state == first["b"].state {
		t.Fatal("got one state for two instances")
	}
	swap("a", "c")
	same("one of three goes: a", first["a"], of()["a"])
	same("one of three goes: c", first["c"], of()["c"])
	swap("c")
	same("two of three go", first["c"], of()["c"])
	swap("d")
	same("the only one changes its key", first["c"], of()["d"])
	swap("e", "d")
	same("another one comes", first["c"], of()["d"])
	second := of()["e"]
	if second.state == first["c"].state {
		t.Error("the other one got the state of the first")
	}
	swap("f", "d")
	same("the other one changes its key: it", second, of()["f"])
	same("the other one changes its key: the first", first["c"], of()["d"])
	swap("d", "f", "e") // a new one with a key that was another's
	same("e comes again: d", first["c"], of()["d"])
	same("e comes again: f", second, of()["f"])
	if e := of()["e"]; e.state == second.state || e.id == second.id {
		t.Error("the new one with the old key got the history of another")
	}
	swap("e")
	swap("e", "g")
	swap("g")
	g := of()["g"]
	swap("g", "a", "b", "c", "d")
	same("many come", g, of()["g"])
	if a := of()["a"]; a.state == first["a"].state {
		t.Error("got the history of an instance that had left the file")
	}
}

// TestTwinsOut guards that of two entries with one URL and model the one that stays
// stays ejected, and keeps its requests in flight.
func TestTwinsOut(t *testing.T) {
	m := startMoody(t)
	a, b := m.entry(`, "api_key": "k1"`), m.entry(`, "api_key": "k2"`)
	g := startGateway(t, entries(a, b))
	g.put(1, func(h *health, now time.Duration) {
		h.inARow = 3
		h.out(reasonReset, now, time.Hour)
	})
	g.store.snapshot().fleet.instances[1].state.inFlight.Add(1)
	known := g.learnt(1)
	g.save(t, entries(b))
	if got := g.learnt(0); got != known {
		t.Errorf("got %+v, want %+v as before", got, known)
	}
	g.store.snapshot().fleet.instances[0].state.inFlight.Add(-1)
}

// TestSwapKeepsTrial guards row F13 in the middle of things: a trial under way and a
// slow start are neither repeated nor ended by a change of weight, key, headers,
// limits or order.
func TestSwapKeepsTrial(t *testing.T) {
	trial, other := startGated(t), startGood(t)
	file := func(members string, turned bool) string {
		list := []string{entry(trial.URL+"/v1", members), entry(other.url, "")}
		if turned {
			list[0], list[1] = list[1], list[0]
		}
		return entries(list...)
	}
	g := startGateway(t, file("", false))
	g.put(0, func(h *health, now time.Duration) { h.out(reasonStatus, now, 0) })
	answered := make(chan answer, 1)
	eventually(t, "the trial to begin", func() bool {
		go func() {
			if a := g.chat(false); a.header.Get("X-Ai-Gateway-Upstream") != other.address+"/v1" {
				answered <- a
			}
		}()
		return trial.count() > 0
	})
	want := g.learnt(0)
	if want.phase != halfOpen || want.inFlight != 1 {
		t.Fatalf("got %+v, want a trial under way", want)
	}
	for n, text := range []string{
		file(`, "weight": 5`, false), file(`, "api_key": "k"`, false), file(`, "headers": {"X-A": "1"}`, true), file(`, "max_concurrency": 9`, true),
		file(`, "timeouts": {"total": 99}`, false),
	} {
		g.save(t, text)
		at := 0
		if strings.Index(text, trial.URL) > strings.Index(text, other.url) {
			at = 1
		}
		if got := g.learnt(at); got != want {
			t.Errorf("change %d: got %+v, want %+v as before", n, got, want)
		}
		for range 5 {
			g.chat(false)
		}
	}
	if n := trial.count(); n != 1 {
		t.Errorf("got %d requests on the instance on trial, want 1", n)
	}
	trial.release <- http.StatusOK
	<-answered
	eventually(t, "the trial to pass", func() bool { return g.phase(0) == ramping })
	until := g.learnt(0).until
	g.save(t, file(`, "weight": 7`, false))
	if got := g.learnt(0); got.phase != ramping || got.until != until {
		t.Errorf("got %+v, want the same slow start until %d", got, until)
	}
}

// TestMetricOfTwo guards that the metric is 0 as long as one of several files is bad,
// and that a store takes its bad file along when it ends.
func TestMetricOfTwo(t *testing.T) {
	const name = "caddy_ai_gateway_config_last_reload_successful"
	f := func(what string, want float64) {
		t.Helper()
		if got := gathered(t, name); got != want {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	path := t.TempDir() + "/config.json5"
	writeFile(t, path, weighted(1))
	s, err := newStore(path, zap.NewNop())
	must(t, err)
	events := logEvents(s)
	other := startWatched(t, weighted(1))
	f("both good", 1)
	must(t, os.Remove(path))
	events.wait(t, configRejected)
	writeFile(t, other.path, "{")
	other.events.wait(t, configRejected)
	f("both bad", 0)
	writeFile(t, other.path, weighted(2))
	other.events.wait(t, configApplied)
	f("one bad", 0)
	must(t, s.Destruct())
	f("the bad one has ended", 1)
}
