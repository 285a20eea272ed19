package aigateway

import (
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/balance"
)

// TestLyingGauges guards that what an engine says of its load, be it wrong, missing or no
// number, leaves no instance without requests by least_load, and breaks no choice of either
// policy. An engine with impossible values gets as many as without gauges.
func TestLyingGauges(t *testing.T) {
	const requests = 1500
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		least  int // requests of least_load to it, of 1,500 to two instances
		told   bool
	}{
		{"missing", says(200, "vllm:other{} 1\n"), requests / 4, false},
		{"not there", http.NotFound, requests / 4, false},
		{"NaN", says(200, vllmMetrics("NaN", "NaN", "NaN")), requests / 4, false},
		{"infinite", says(200, vllmMetrics("+Inf", "+Inf", "+Inf")), requests / 4, false},
		{"negative", says(200, vllmMetrics("-7", "-1e9", "-0.5")), requests / 4, false},
		{"beyond all engines", says(200, vllmMetrics("1e6", "1e300", "97")), requests / 4, false},
		{"nothing to do, ever", says(200, vllmMetrics("0", "0", "0")), requests / 4, true},
		{"a full cache, ever", says(200, vllmMetrics("0", "0", "1")), requests / 8, true},
		{"busy, ever", says(200, vllmMetrics("1000", "0", "1")), 3, true},
		{"the worst that can be", says(200, vllmMetrics("100000", "100000", "1")), 3, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, strategy := range []string{strategyLeastLoad, strategyPrefixAffinity} {
				answers := vllmAnswers("", "", "")
				answers["/metrics"] = c.answer
				liar, honest := startAskable(t, answers), startAskable(t, vllmAnswers("0", "0", "0"))
				g := startGateway(t, polled(strategy, entry(liar.URL+"/v1", ""), entry(honest.URL+"/v1", "")))
				g.asksEngines()
				eventually(t, "both to be asked twice", func() bool {
					_, _, told := g.stateOf(0).load.Observed()
					return told == c.told && liar.asked()["GET /v1/models"] > 0 && honest.asked()["GET /metrics"] > 1
				})
				g.loadOf(requests, 20).allOK(t)
				got := liar.asked()["POST "+chatPath]
				// By prefix_affinity one instance is as good as two: all ask the same.
				if strategy == strategyLeastLoad && (got < c.least || got > requests-requests/8) {
					t.Errorf("%s: got %d requests of %d, want at least %d", strategy, got, requests, c.least)
				}
				for _, i := range g.store.snapshot().fleet.instances {
					if tokens := i.state.load.Tokens(clock()); math.IsNaN(tokens) || math.IsInf(tokens, 0) || tokens < 0 {
						t.Errorf("%s: got %v tokens to do", strategy, tokens)
					}
				}
			}
		})
	}
}

// TestStaleGauges guards that gauges which come no more are believed less and less, until an
// instance is judged by the gateway's own counts alone.
func TestStaleGauges(t *testing.T) {
	a := startAskable(t, vllmAnswers("10", "5", "0.9"))
	g := startGateway(t, polled(strategyLeastLoad, entry(a.URL+"/v1", "")))
	g.asksEngines()
	l := &g.stateOf(0).load
	eventually(t, "gauges", func() bool { _, _, ok := l.Observed(); return ok })
	a.set("/metrics", says(500, ""))
	eventually(t, "no new gauges", func() bool {
		before, n := clock(), a.asked()["GET /metrics"]
		_, at, _ := l.Observed()
		return at < before-time.Second && n > 2
	})
	_, at, _ := l.Observed()
	last := math.Inf(1)
	for age := time.Duration(0); age < 8*balance.HalfLife; age += balance.HalfLife / 2 {
		tokens := l.Tokens(at + age)
		if tokens >= last && tokens != 0 {
			t.Errorf("after %v: got %v tokens, want less than the %v before", age, tokens, last)
		}
		last = tokens
	}
	if last != 0 || l.Own() != 0 {
		t.Errorf("at last: got %v tokens, want none", last)
	}
}
