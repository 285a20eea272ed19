package aigateway

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestAdminDrain guards that a drain by hand loses no request, outlives changes of the
// file and a reload of Caddy's configuration, and that the file's own stays in force.
func TestAdminDrain(t *testing.T) {
	slow, other := startGated(t), startWitness(t, nil)
	file := func(members string) string {
		return entries(entry(slow.URL+"/v1", `, "name": "slow"`+members), entry(other.URL+"/v1", ""))
	}
	g := startAdmin(t, file(""))
	answered := make(chan []received, 1)
	go func() { answered <- g.sendsMany(t, chatPath, chat(""), 100) }()
	eventually(t, "50 requests in flight", func() bool { return slow.count() == 50 && other.count() == 50 })
	check := func(what string, got memberStatus, state, by string) {
		t.Helper()
		if string(got.State) != state || got.By != by || got.Name != "slow" {
			t.Errorf("%s: got %+v, want %s by %q", what, got, state, by)
		}
	}
	loaded := g.status(t).Config.Loaded
	got := g.steer(t, "slow", "drain")
	check("drained", got, "draining", "api")
	if got.InFlight != 50 || !g.status(t).Config.Loaded.Equal(loaded) {
		t.Errorf("got %d in flight and a file loaded at %v, want 50 and %v", got.InFlight, g.status(t).Config.Loaded, loaded)
	}
	check("drained again, by its url", g.steer(t, slow.URL+"/v1", "drain"), "draining", "api")
	wantWhole(t, g.sendsMany(t, chatPath, chat(""), 50)...)
	g.save(t, file(`, "weight": 3`))
	check("after a swap", g.steer(t, "slow", "drain"), "draining", "api")
	g.load(t, freeAddress(t))
	wantWhole(t, g.sendsMany(t, chatPath, chat(""), 50)...)
	if slow.count() != 50 || other.count() != 150 {
		t.Errorf("while it drains: %d and %d requests, want 50 and 150", slow.count(), other.count())
	}
	slow.open()
	wantWhole(t, <-answered...)
	g.save(t, file(`, "drain": true`))
	check("by both", g.steer(t, "slow", "drain"), "draining", "both")
	check("not by hand", g.steer(t, "slow", "undrain"), "draining", "file")
	g.save(t, file(""))
	check("back", g.steer(t, "slow", "undrain"), "serving", "")
	g.steer(t, "slow", "drain")
	check("restored", g.steer(t, "slow", "restore"), "serving", "")
	wantWhole(t, g.sendsMany(t, chatPath, chat(""), 20)...)
	if slow.count() != 60 {
		t.Errorf("back: got %d requests, want 60", slow.count())
	}
	var kinds []string
	for _, e := range slices.Backward(g.status(t).Events) {
		if strings.Contains(e.Kind, "drain") {
			kinds = append(kinds, e.Kind+" "+e.Reason)
		}
	}
	const want = "instance_draining api, instance_undrained , instance_draining api, instance_undrained "
	if got := strings.Join(kinds, ", "); got != want {
		t.Errorf("events: got %s, want %s", got, want)
	}
}

// TestAdminEject guards that an instance ejected by hand gets no request, not even
// where all others fail, until it is restored, or until its time is over and a trial
// passes; and that this outlives a reload.
func TestAdminEject(t *testing.T) {
	out, other := startMoody(t), startMoody(t)
	g := startAdmin(t, entries(out.entry(`, "name": "out"`), other.entry("")))
	got := g.steer(t, "out", "eject")
	if got.State != "ejected" || got.By != "api" || got.Reason != string(reasonManual) || got.WaitSeconds != 0 {
		t.Errorf("got %+v, want it ejected by hand", got)
	}
	g.load(t, freeAddress(t))
	g.save(t, entries(out.entry(`, "name": "out", "api_key": "sk-new"`), other.entry("")))
	other.status.Store(500)
	for range 5 {
		if r := g.sends(t, chatPath, chat("")); r.status != 500 {
			t.Errorf("got %d %s, want the other's 500", r.status, r.body)
		}
	}
	if out.count() != 0 {
		t.Errorf("the ejected instance got %d requests", out.count())
	}
	other.status.Store(200)
	if got := g.steer(t, "out", "restore"); got.State != "ramping" || got.WaitSeconds < 29 || got.By != "" {
		t.Errorf("restored: got %+v, want slow start", got)
	}
	if got := g.steer(t, "out", "eject?for=10m"); got.State != "ejected" || got.WaitSeconds < 599 || got.WaitSeconds > 600 {
		t.Errorf("for 10m: got %+v", got)
	}
	before := out.count()
	wantWhole(t, g.sendsMany(t, chatPath, chat(""), 10)...)
	if out.count() != before {
		t.Errorf("the ejected instance got %d requests", out.count()-before)
	}
	g.makeDue(0)
	wantWhole(t, g.sendsMany(t, chatPath, chat(""), 10)...)
	if out.count() == before || g.phase(0) != ramping {
		t.Errorf("due: got %d requests and phase %v, want a trial that brings it back", out.count()-before, g.phase(0))
	}
}

// TestAdminAtOnce guards that deciding about an instance from many sides at once, while
// requests, swaps and listeners come and go, loses no request and no count.
func TestAdminAtOnce(t *testing.T) {
	first, second := startGood(t), startGood(t)
	file := func(weight int) string {
		return entries(entry(first.url, fmt.Sprintf(`, "name": "first", "weight": %d`, weight)), entry(second.url, `, "name": "second"`))
	}
	g := startAdmin(t, file(1))
	var steering sync.WaitGroup
	for _, decision := range []string{"drain", "undrain", "eject", "restore", "eject?for=1h"} {
		steering.Go(func() {
			for range 20 {
				g.steer(t, "first", decision)
				g.status(t)
			}
		})
	}
	steering.Go(func() {
		for n := range 5 {
			g.listen(t, "0").body.Close()
			writeFile(t, g.file, file(n+2))
			var r reloadAnswer
			g.good(t, "POST", "/reload", &r)
			g.good(t, "GET", "/explain?model=m", new(explanation))
		}
	})
	wantWhole(t, g.sendsMany(t, chatPath, chat(""), 200)...)
	steering.Wait()
	if got := g.steer(t, "first", "restore"); got.State != "ramping" && got.State != "serving" {
		t.Errorf("restored: got %+v", got)
	}
	g.wantIdle(t)
	wantWhole(t, g.sendsMany(t, chatPath, chat(""), 50)...)
}
