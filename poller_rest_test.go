package aigateway

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/balance"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/engine"
)

// TestSleeping guards row S13: an instance that says that it sleeps gets no requests, without
// a failure, an ejection or an alert, and gets them again as soon as it says that it is awake.
// While all sleep the answer is 503 with Retry-After, and at the latest when nobody says so
// any more they are asked again.
func TestSleeping(t *testing.T) {
	sleeper, other := startAskable(t, vllmAnswers("0", "0", "0")), startAskable(t, vllmAnswers("0", "0", "0"))
	g := startGateway(t, polled(strategyRoundRobin, entry(sleeper.URL+"/v1", ""), entry(other.URL+"/v1", "")))
	events := logEvents(g.store)
	g.asksEngines()
	rests := func(n int, want bool) {
		t.Helper()
		eventually(t, fmt.Sprintf("instance %d to rest: %v", n, want), func() bool {
			left, why := g.stateOf(n).health.resting(clock())
			return left > 0 == want && (why == reasonSleeping) == want
		})
	}
	chats := func(a *askable) int { return a.asked()["POST "+chatPath] }
	sleeps, wakes := says(200, `{"is_sleeping":true}`), says(200, `{"is_sleeping":false}`)
	eventually(t, "both to be known", func() bool { return g.stateOf(0).facts.Load() != nil && g.stateOf(1).facts.Load() != nil })

	sleeper.set("/is_sleeping", sleeps)
	rests(0, true)
	before := chats(sleeper)
	g.load().allOK(t)
	if n := chats(sleeper) - before; n != 0 {
		t.Errorf("the sleeping instance got %d requests, want none", n)
	}
	if e := events.wait(t, instanceResting); e.cause != "sleeping" {
		t.Errorf("got %+v, want a rest for sleeping", e)
	}
	sleeper.set("/is_sleeping", wakes)
	rests(0, false)
	if g.load().allOK(t); chats(sleeper) == before {
		t.Error("the instance that is awake got no request")
	}

	sleeper.set("/is_sleeping", sleeps)
	other.set("/is_sleeping", sleeps)
	rests(0, true)
	rests(1, true)
	if got := g.sends(t, chatPath, chat("")); got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" || !strings.Contains(got.body, "overloaded") {
		t.Errorf("while all sleep: got %d %v %s, want 503 with Retry-After", got.status, got.header, got.body)
	}
	// Nobody answers that question any more.
	sleeper.set("/is_sleeping", says(500, ""))
	other.set("/is_sleeping", says(500, ""))
	rests(0, false)
	rests(1, false)
	g.load().allOK(t)
	for n := range 2 {
		if v := g.state(n); v.phase != serving || v.failures != 0 {
			t.Errorf("instance %d: got %+v, want serving without a failure", n, v)
		}
	}
	if got := strings.ReplaceAll(strings.ReplaceAll(events.kinds(), "instance_resting", ""), "instance_rested", ""); strings.TrimSpace(got) != "" {
		t.Errorf("got events %s besides rests, want none", got)
	}
}

// TestLoadingPolled guards that an instance which says that it loads its model gets no
// requests, and that its models become known as soon as it has loaded it.
func TestLoadingPolled(t *testing.T) {
	loading := says(503, `{"error":{"message":"Loading model","type":"unavailable_error","code":503}}`)
	loader := startAskable(t, map[string]http.HandlerFunc{"/health": loading, "/v1/models": loading, "/props": loading})
	other := startAskable(t, nil)
	g := startGateway(t, polled(strategyLeastConnections, entry(loader.URL+"/v1", `, "engine": "llama.cpp"`), entry(other.URL+"/v1", "")))
	g.asksEngines()
	s := g.stateOf(0)
	eventually(t, "the instance to rest", func() bool {
		left, why := s.health.resting(clock())
		return left > 0 && why == reasonLoading
	})
	g.load().allOK(t)
	if n := loader.asked()["POST "+chatPath]; n != 0 {
		t.Errorf("the loading instance got %d requests, want none", n)
	}
	loader.set("/v1/models", says(200, `{"data":[{"id":"m","owned_by":"llamacpp"}]}`))
	loader.set("/props", says(200, `{"default_generation_settings":{"n_ctx":2048},"build_info":"b7000"}`))
	loader.set("/health", says(200, `{"status":"ok"}`))
	ready, own := time.Now(), watchOwn()
	eventually(t, "the instance to be asked again", func() bool {
		g.sends(t, chatPath, chat(""))
		return loader.asked()["POST "+chatPath] > 0
	})
	if took := time.Since(ready) - own.longest(); took > 2*time.Second {
		t.Errorf("it took %v, want the next poll", took)
	}
	eventually(t, "its context to be known", func() bool { return g.store.snapshot().fleet.instances[0].context("m") == 2048 })
}

// TestDoze guards which rests a poll begins and ends.
func TestDoze(t *testing.T) {
	const second = time.Second
	var load balance.Load
	h := &health{load: &load}
	wants := func(now, left time.Duration, why reason) {
		t.Helper()
		if gotLeft, got := h.resting(now); gotLeft != left || got != why {
			t.Errorf("at %v: got a rest of %v for %q, want %v for %q", now, gotLeft, got, left, why)
		}
	}
	h.wakes(second)
	wants(second, 0, reasonNone)
	h.dozes(reasonLoading, second, 5*second)
	wants(second, 5*second, reasonLoading)
	h.dozes(reasonSleeping, 2*second, 5*second)
	wants(2*second, 5*second, reasonSleeping)
	h.wakes(3 * second)
	wants(3*second, 0, reasonNone)

	limited := verdict{outcomeBusy, reasonRateLimit, rests, true}
	h.settle(result{verdict: limited, begun: 4 * second, ended: 4 * second, rest: 60 * second}, new(rules))
	h.dozes(reasonSleeping, 5*second, 5*second) // is over before
	wants(5*second, 59*second, reasonRateLimit)
	h.wakes(6 * second)
	wants(6*second, 58*second, reasonRateLimit)
	h.dozes(reasonSleeping, 62*second, 5*second)
	h.settle(result{verdict: limited, begun: 63 * second, ended: 63 * second, rest: 60 * second}, new(rules))
	h.wakes(64 * second)
	wants(64*second, 59*second, reasonRateLimit)
}

// TestPollsHarmNobody guards that whatever an instance answers to polls, or does not, counts
// against it nowhere: it serves, has no failure, and nobody is told. A poll that is answered
// well does not bring back an instance that is ejected.
func TestPollsHarmNobody(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"errors":    says(500, ""),
		"busy":      says(503, `{"error":"overloaded"}`),
		"limits":    says(429, ""),
		"no key":    says(401, ""),
		"web pages": says(200, "<html></html>"),
		"redirects": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"silence":   func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"too much":  func(w http.ResponseWriter, _ *http.Request) { io.CopyN(w, endless{}, 3*engine.MaxAnswer) },
		"broken":    func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			answers := make(map[string]http.HandlerFunc)
			for path := range vllmAnswers("", "", "") {
				answers[path] = answer
			}
			answers["/health"] = answer
			bad := startAskable(t, answers)
			g := startGateway(t, polled(strategyLeastLoad, entry(bad.URL+"/v1", `, "engine": "vllm"`), entry(bad.URL+"/2/v1", "")))
			events := logEvents(g.store)
			g.asksEngines()
			eventually(t, "some polls", func() bool { return bad.asked()["GET /v1/models"] > 0 && bad.asked()["GET /2/v1/models"] > 0 })
			g.load().allOK(t)
			eventually(t, "more polls", func() bool {
				n := 0
				for request, count := range bad.asked() {
					if strings.HasPrefix(request, "GET ") {
						n += count
					}
				}
				return n > 4
			})
			g.load().allOK(t)
			for n := range 2 {
				v, counts := g.state(n), &g.stateOf(n).counts
				counts.mu.Lock()
				others, ejections := len(counts.attempts), counts.ejections
				counts.mu.Unlock()
				if v.phase != serving || v.failures != 0 || v.wait != 0 || others != 0 || ejections != 0 {
					t.Errorf("got %+v, %d other outcomes, %d ejections, want serving and nothing counted", v, others, ejections)
				}
			}
			if got := events.kinds(); got != "" {
				t.Errorf("got events %s, want none", got)
			}
			if n := bad.asked()["GET /elsewhere"]; n > 0 {
				t.Errorf("a redirect was followed %d times", n)
			}
		})
	}
	t.Run("ejected", func(t *testing.T) {
		well := startAskable(t, vllmAnswers("0", "0", "0"))
		g := startGateway(t, polled(strategyLeastLoad, entry(well.URL+"/v1", ""), entry(well.URL+"/2/v1", "")))
		g.asksEngines()
		g.put(0, func(h *health, now time.Duration) { h.out(reasonStall, now, time.Hour) })
		looks := func() int { return well.asked()["GET /metrics"] }
		before := looks()
		eventually(t, "four polls", func() bool { return looks() >= before+4 })
		if v := g.state(0); v.phase != ejected || v.why != reasonStall || v.wait < 50*time.Minute {
			t.Errorf("got %+v, want it to be out for an hour", v)
		}
	})
}

// endless is a text without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for n := range p {
		p[n] = 'x'
	}
	return len(p), nil
}
