package aigateway

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

// learnt is what the gateway knows of an instance.
type learnt struct {
	phase         phase
	until, rest   int64
	why           reason
	inARow, run   int
	results, bad  int
	inFlight      int64
	rateFailures  int
	restReason    reason
	phaseHasBegun time.Duration
}

// learnt returns what is known of the n-th instance of the file.
func (g *gateway) learnt(n int) learnt {
	h := g.healthOf(n)
	rest, until := h.rest.Load(), h.until.Load()
	h.mu.Lock()
	defer h.mu.Unlock()
	results, bad := h.window.sum(clock(), 300*time.Second)
	_, rate := h.rate.sum(clock(), rateWindow)
	return learnt{
		phase(h.phase.Load()), until, rest, h.why, h.inARow, len(h.run), results, bad,
		g.store.snapshot().fleet.instances[n].state.inFlight.Load(), rate, h.restReason, h.since,
	}
}

// entries is a fleet's file with the instances given as they stand there.
func entries(list ...string) string { return `{"instances": [` + strings.Join(list, ", ") + `]}` }

// entry is one instance of model m with further members, each after a comma.
func entry(url, members string) string {
	return fmt.Sprintf(`{"url": %q, "model_name": "m"%s}`, url, members)
}

// TestStateStays guards rows F13 and F15: what the gateway has learnt of an instance
// outlives every change of the file that keeps its URL and model, and a reload of
// Caddy's configuration, while a request is under way on it.
func TestStateStays(t *testing.T) {
	slow, quick := startGated(t), startWitness(t, nil)
	a, b, c, d := slow.URL+"/v1", quick.URL+"/b/v1", quick.URL+"/c/v1", quick.URL+"/d/v1"
	plain := entries(entry(a, ""), entry(b, ""), entry(c, ""), entry(d, ""))
	g := startGateway(t, plain)
	order := map[string]int{a: 0, b: 1, c: 2, d: 3}

	// The first has a failure and a request under way, the second is ejected for the
	// third time, the fourth rests, and then the third comes back.
	for n := 1; n <= 2; n++ {
		g.put(n, func(h *health, now time.Duration) {
			h.inARow = 3
			h.out(reasonReset, now, time.Hour)
		})
	}
	g.put(3, func(h *health, now time.Duration) {
		h.restReason = reasonRateLimit
		h.rest.Store(int64(now + time.Hour))
	})
	answered := make(chan received, 1)
	go func() { answered <- g.sends(t, chatPath, chat("")) }()
	eventually(t, "a request under way", func() bool { return slow.count() == 1 })
	rules := &rules{threshold: 10, window: 300 * time.Second}
	g.healthOf(0).settle(result{verdict: failure(reasonStatus), ended: clock()}, rules)
	g.put(2, func(h *health, now time.Duration) {
		h.until.Store(int64(now + time.Hour))
		h.move(ramping, now)
	})

	known := make(map[string]learnt)
	for url, n := range order {
		known[url] = g.learnt(n)
	}
	if l := known[a]; l.inFlight != 1 || l.run != 1 || l.bad != 1 || l.rateFailures != 1 {
		t.Fatalf("before any change: got %+v, want one failure and one request under way", l)
	}
	check := func(what string, urls ...string) {
		t.Helper()
		for n, url := range urls {
			if got := g.learnt(n); got != known[url] {
				t.Errorf("%s: instance %d: got %+v, want %+v as before", what, n, got, known[url])
			}
		}
	}
	f := func(what, file string, urls ...string) {
		t.Helper()
		g.save(t, file)
		check(what, urls...)
	}
	f("weights", entries(entry(a, `, "weight": 7`), entry(b, `, "weight": 2`), entry(c, `, "weight": 0`), entry(d, `, "weight": 9`)), a, b, c, d)
	f("order", entries(entry(d, ""), entry(c, ""), entry(b, ""), entry(a, "")), d, c, b, a)
	f("comments", "// fleet\n"+strings.ReplaceAll(plain, "{", "{ /* here */ "), a, b, c, d)
	f("keys", entries(entry(a, `, "api_key": "k1"`), entry(b, `, "api_key": "k2"`), entry(c, `, "api_key": "k3"`), entry(d, `, "api_key": "k4"`)), a, b, c, d)
	f("headers", entries(entry(a, `, "headers": {"X-A": "1"}`), entry(b, `, "headers": {"X-B": "2"}`), entry(c, ""), entry(d, "")), a, b, c, d)
	f("other settings", entries(entry(a, `, "name": "n", "timeouts": {"stall": 9}, "max_concurrency": 5`), entry(b, `, "upstream_model": "x"`), entry(c, `, "engine": "vllm"`), entry(d, "")), a, b, c, d)
	f("forms of the URL", strings.ReplaceAll(strings.ReplaceAll(plain, "http://", "HTTP://"), `/v1"`, `/v1/"`), a, b, c, d)
	f("more instances", entries(entry(quick.URL+"/e/v1", ""), entry(a, ""), entry(b, ""), entry(c, ""), entry(d, "")), "", a, b, c, d)
	f("as at first", plain, a, b, c, d)
	writeFile(t, g.file, "{ broken")
	eventually(t, "the mistake to be seen", func() bool {
		g.store.mu.Lock()
		defer g.store.mu.Unlock()
		return g.store.trial != nil
	})
	check("broken file", a, b, c, d)
	f("mended file", plain+"\n", a, b, c, d)

	for range 3 {
		g.reload(t)
		check("reload", a, b, c, d)
	}
	slow.release <- http.StatusOK
	wantWhole(t, <-answered)
	g.wantIdle(t)

	// The scope of the promise: an instance that has left the file is forgotten.
	g.save(t, entries(entry(a, ""), entry(c, "")))
	g.save(t, plain)
	if got := g.learnt(0); got.results != 2 || got.bad != 1 {
		t.Errorf("an instance that stayed: got %+v, want its two results", got)
	}
	if got := g.learnt(1); got != (learnt{}) {
		t.Errorf("an instance that was out of the file: got %+v, want nothing known", got)
	}
}

// reload loads Caddy's configuration anew, with an option that makes it differ.
func (g *gateway) reload(t testing.TB) {
	t.Helper()
	loadCaddyfile(t, filepath.Join(filepath.Dir(g.file), "Caddyfile"),
		fmt.Sprintf("%s {\n\tai_gateway {\n\t\tmax_body %dMiB\n\t}\n}\n", g.url, 10+time.Now().UnixNano()%1000))
}

// TestKeyChange guards row F14: an instance that is out for its key is tried at
// once when the file gives it another one, and serves; a change of anything else
// does not bring it back.
func TestKeyChange(t *testing.T) {
	picky := startWitness(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer right" {
			w.WriteHeader(http.StatusUnauthorized)
		}
		io.WriteString(w, "{}")
	})
	other := startWitness(t, nil)
	fleet := func(key, members string) string {
		return entries(entry(picky.URL+"/v1", fmt.Sprintf(`, "api_key": %q%s`, key, members)), entry(other.URL+"/v1", ""))
	}
	g := startGateway(t, fleet("wrong", ""))
	several := func() {
		t.Helper()
		for range 6 {
			wantWhole(t, g.sends(t, "/v1/files", `{"model":"m"}`))
		}
	}
	several()
	if v := g.state(0); v.phase != ejected || v.why != reasonKey || picky.count() != 1 {
		t.Fatalf("got %+v after %d requests, want it out for its key after one", v, picky.count())
	}
	g.save(t, fleet("wrong", `, "weight": 3`))
	several()
	if picky.count() != 1 {
		t.Errorf("the same key was tried %d times more, want none", picky.count()-1)
	}
	g.save(t, fleet("right", ""))
	several()
	if v := g.state(0); v.phase != ramping || picky.count() < 2 {
		t.Errorf("got %+v after %d requests, want it back with the right key", v, picky.count())
	}
}

// TestSaveAtOnce guards that a change is not lost which is saved while the watch
// is still being set up.
func TestSaveAtOnce(t *testing.T) {
	var all []*store
	for n := range 20 {
		path := filepath.Join(t.TempDir(), fmt.Sprint(n, ".json5"))
		writeFile(t, path, entries(entry("http://127.0.0.1:1/v1", "")))
		s, err := newStore(path, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Destruct()
		writeFile(t, path, entries(entry("http://127.0.0.1:1/v1", ""), entry("http://127.0.0.1:2/v1", "")))
		all = append(all, s)
	}
	eventually(t, "the second content to be in force everywhere", func() bool {
		for _, s := range all {
			if len(s.snapshot().fleet.instances) != 2 {
				return false
			}
		}
		return true
	})
}
