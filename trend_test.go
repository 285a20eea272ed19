package aigateway

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// TestTrends guards when people hear that a model fails or is slow too often: from 20 in
// five minutes on, over swaps, and until it is over, or 5 minutes old.
func TestTrends(t *testing.T) {
	measured := func(rate string) string {
		return `{"record": {"enabled": false}, "alert_cooldown": 0, "alerts": {"group_wait": 0, "group_interval": 1, "error_rate": ` + rate + `, "slow_first_token": 2}, ` +
			`"instances": [` + first + `, ` + third + `]}`
	}
	w := startWatched(t, measured("0.5"))
	tr, now := new(trends), time.Now()
	look := func() {
		now = now.Add(trendStep)
		tr.look(w.snapshot(), now)
	}
	settle := func(v verdict, n int) {
		for range n {
			w.snapshot().fleet.pools["m"].pulse.settled(v)
		}
	}
	begin := func(took time.Duration, n int) {
		for range n {
			w.snapshot().fleet.pools["m"].pulse.begins(took, w.snapshot().slowFirstToken)
		}
	}
	for _, v := range []verdict{canceled, {blame: rests}, {blame: leaves}} {
		settle(v, 100)
	}
	settle(failure(reasonReset), 9)
	settle(whole, 10)
	begin(3*time.Second, 19)
	look()
	w.wantFiring(t, "19 each")
	if len(tr.models) != 1 {
		t.Errorf("got trends of %d models, want none of the one without requests", len(tr.models))
	}

	settle(failure(reasonReset), 1)
	begin(time.Second, 1)
	tr.look(w.snapshot(), now.Add(time.Second)) // too early
	w.wantFiring(t, "before the next look")
	look()
	const slow = "slow_first_token [m] 19 of 20 streams began after more than 2s, in 5m0s"
	w.wantFiring(t, "20 each", "error_rate [m] 10 of 20 attempts failed in 5m0s", slow)

	writeFile(t, w.path, measured("0.6"))
	w.events.wait(t, configApplied)
	look()
	w.wantFiring(t, "a higher rate", slow)
	settle(failure(reasonReset), 10)
	begin(time.Second, 360)
	look()
	w.wantFiring(t, "the counts of before a swap and after", "error_rate [m] 20 of 30 attempts failed in 5m0s")
	for range trendSteps {
		look()
	}
	w.wantFiring(t, "after five minutes without requests")
	if got := tr.models["m"].sum; got != (counts{}) {
		t.Errorf("after five minutes: got %+v, want nothing", got)
	}
}

// TestPulse guards what requests count as.
func TestPulse(t *testing.T) {
	m, other := startMoody(t), startMoody(t)
	g := startGateway(t, `{"alerts": {"slow_first_token": "1ns"}, "error_threshold": 99, "instances": [`+m.entry("")+`, `+other.entry("")+`]}`)
	pulse := func() counts { return g.store.snapshot().fleet.pools["m"].pulse.counts() }
	g.asks(t, 10)
	if got, want := pulse(), (counts{attempts: 10}); got != want {
		t.Errorf("10 plain answers: got %+v, want %+v", got, want)
	}
	before := m.count()
	m.status.Store(http.StatusInternalServerError)
	g.asks(t, 10)
	failed := int64(m.count() - before)
	if got, want := pulse(), (counts{attempts: 20 + failed, failures: failed}); got != want || failed == 0 {
		t.Errorf("10 more, after %d failures: got %+v, want %+v", failed, got, want)
	}
	s := startStandIn(t, "m")
	writeFile(t, g.file, fmt.Sprintf(`{"alerts": {"slow_first_token": "1ns"}, "instances": [{"url": %q, "model_name": "m"}]}`, s.url))
	events := logEvents(g.store)
	events.wait(t, configApplied)
	g.sends(t, chatPath, chat(`,"stream":true`))
	if got, want := pulse(), (counts{attempts: 1, begun: 1, slow: 1}); got != want {
		t.Errorf("a stream: got %+v, want %+v", got, want)
	}
}
