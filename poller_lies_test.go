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
	const few, many = 300, 1500
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		least  float64 // share of the requests that least_load gives it, of two instances
		told   bool
	}{
		{"missing", says(200, "vllm:other{} 1\n"), 1. / 4, false},
		{"not there", http.NotFound, 1. / 4, false},
		{"NaN", says(200, vllmMetrics("NaN", "NaN", "NaN")), 1. / 4, false},
		{"infinite", says(200, vllmMetrics("+Inf", "+Inf", "+Inf")), 1. / 4, false},
		{"negative", says(200, vllmMetrics("-7", "-1e9", "-0.5")), 1. / 4, false},
		{"beyond all engines", says(200, vllmMetrics("1e6", "1e300", "97")), 1. / 4, false},
		{"nothing to do, ever", says(200, vllmMetrics("0", "0", "0")), 1. / 4, true},
		{"a full cache, ever", says(200, vllmMetrics("0", "0", "1")), 1. / 8, true},
		{"busy, ever", says(200, vllmMetrics("1000", "0", "1")), 3. / many, true},
		{"the worst that can be", says(200, vllmMetrics("100000", "100000", "1")), 3. / many, true},
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
				requests := few
				if strategy == strategyLeastLoad && c.least < 1./few {
					requests = many
				}
				g.loadOf(requests, 20).allOK(t)
				got := float64(liar.asked()["POST "+chatPath]) / float64(requests)
				// By prefix_affinity one instance is as good as two: all ask the same.
				if strategy == strategyLeastLoad && (got < c.least || got > 7./8) {
					t.Errorf("%s: got %.2f %% of %d requests, want at least %.2f", strategy, 100*got, requests, 100*c.least)
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
