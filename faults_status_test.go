package aigateway

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/echomodel"
)

// TestRateLimited guards row S1: after a 429 another instance answers, and the one
// rests for as long as it said, at most five minutes, without a mark.
func TestRateLimited(t *testing.T) {
	for _, c := range []struct {
		given    string
		min, max time.Duration
	}{
		{"7", 6 * time.Second, 7 * time.Second},
		{"1.5", 500 * time.Millisecond, 1500 * time.Millisecond},
		{"date:9s", 7 * time.Second, 9 * time.Second}, // a date has whole seconds
		{"ms:2500", 1500 * time.Millisecond, 2500 * time.Millisecond},
		{"86400", longestRest - time.Second, longestRest},
		{"date:24h", longestRest - time.Second, longestRest},
		{"", defaultRest - time.Second, defaultRest},
		{"soon", defaultRest - time.Second, defaultRest},
		{"-5", defaultRest - time.Second, defaultRest},
	} {
		t.Run(c.given, func(t *testing.T) {
			a, b := startStandIn(t, "a"), startStandIn(t, "b")
			a.plays(echomodel.Script{Fault: "status", Status: http.StatusTooManyRequests, RetryAfter: c.given})
			g := startGateway(t, fleetOf(a.url, b.url))
			wantWhole(t, g.sendsMany(t, chatPath, chat(""), 2)...)
			asked := a.Stats().Requests
			rest, why := g.healthOf(0).resting(clock())
			if asked == 0 || why != reasonRateLimit || rest < c.min || rest > c.max {
				t.Errorf("instance asked %d times rests %v for %q, want %v to %v for %q", asked, rest, why, c.min, c.max, reasonRateLimit)
			}
			wantWhole(t, g.sendsMany(t, chatPath, chat(`,"stream":true`), 20)...)
			if now := a.Stats().Requests; now != asked {
				t.Errorf("resting instance got %d requests more, want none", now-asked)
			}
			g.wantMarks(t, c.given, 0, 0)
		})
	}
}

// TestRestEnds guards the other half of row S1: when the time is over, the instance
// is asked again without a trial or slow start.
func TestRestEnds(t *testing.T) {
	a, b := startStandIn(t, "a"), startStandIn(t, "b")
	a.SetScript(echomodel.Script{Fault: "status", Status: http.StatusTooManyRequests, RetryAfter: "ms:200"}, 1)
	g := startGateway(t, fleetOf(a.url, b.url))
	began := time.Now()
	eventually(t, "the rested instance to answer", func() bool {
		wantWhole(t, g.sends(t, chatPath, chat("")))
		return a.Stats().Requests == 2
	})
	if took := time.Since(began); took < 200*time.Millisecond || g.phase(0) != serving {
		t.Errorf("instance is asked again after %v and is %v, want 200 ms or more and serving", took, g.phase(0))
	}
}

// TestAllRateLimited guards row S2: the client gets a 429 with the smallest
// Retry-After after at most three tries; while all rest, it gets one at once and
// nobody is asked.
func TestAllRateLimited(t *testing.T) {
	var all [5]*standIn
	var urls []string
	for n := range all {
		all[n] = startStandIn(t, strconv.Itoa(n))
		all[n].plays(echomodel.Script{Fault: "status", Status: http.StatusTooManyRequests, RetryAfter: strconv.Itoa(20 + n)})
		urls = append(urls, all[n].url)
	}
	g := startGateway(t, fleetOf(urls...))
	asked := func() (which []int) {
		for n, s := range all {
			if s.Stats().Requests > 0 {
				which = append(which, n)
			}
		}
		return which
	}
	r := g.sends(t, chatPath, chat(""))
	which := asked()
	if len(which) != 3 || r.status != 429 || r.header.Get("Retry-After") != strconv.Itoa(20+which[0]) || !strings.Contains(r.body, "echo_model fault") {
		t.Errorf("instances %v were asked, client got %d %s with Retry-After %q, want three and the first one's", which, r.status, r.body, r.header.Get("Retry-After"))
	}
	if r.header.Get("X-AI-Gateway-Attempts") != "3" || r.header.Get("X-Should-Retry") != "" {
		t.Errorf("got %v, want 3 attempts and the client free to retry", r.header)
	}
	if r = g.sends(t, chatPath, chat("")); r.status != 429 || len(asked()) != 5 {
		t.Errorf("instances %v were asked, client got %d, want the other two and 429", asked(), r.status)
	}
	const want = `{"error":{"code":"rate_limited","message":"every instance of the model wants no requests for a while","param":null,"type":"rate_limit_error"}}` + "\n"
	for range 3 {
		r = g.sends(t, chatPath, chat(`,"stream":true`))
		if r.status != 429 || r.body != want || r.header.Get("Retry-After") != "20" {
			t.Errorf("while all rest: got %d %s with Retry-After %q, want 429, 20 s and %s", r.status, r.body, r.header.Get("Retry-After"), want)
		}
	}
	for n, s := range all {
		if got := s.Stats().Requests; got != 1 {
			t.Errorf("instance %d was asked %d times, want once", n, got)
		}
	}
	g.wantMarks(t, "rate limits", 0, 0, 0, 0, 0)
}

// TestServerErrors guards rows S3, S4 and S6: another instance answers in place of
// one with a 5xx, and the fifth in a row ejects it. When nobody else is left, the
// client gets the instance's JSON error or the gateway's own, and is told not to
// multiply the attempts.
func TestServerErrors(t *testing.T) {
	const ours = `{"error":{"code":"upstream_error","message":"no instance of the model gave a valid answer","param":null,"type":"server_error"}}` + "\n"
	const page = "<html><body>Bad Gateway at 10.1.2.3</body></html>"
	const dead = `{"error":{"message":"EngineCore encountered an issue.","type":"InternalServerError","code":503}}`
	for _, c := range []struct {
		status     int
		body, want string
		then       int
	}{
		{500, `{"error":"x"}`, `{"error":"x"}`, 500},
		{502, page, ours, 502},
		{503, dead, dead, 503},
		{503, "upstream connect error", ours, 502},
		{504, page, ours, 502},
		{520, page, ours, 502},
	} {
		t.Run(fmt.Sprintf("%d %.9s", c.status, c.body), func(t *testing.T) {
			a, b := startStandIn(t, "a"), startStandIn(t, "b")
			a.plays(echomodel.Script{Fault: "status", Status: c.status, Body: c.body})
			g := startGateway(t, fleetWith(`"error_threshold": 5`, a.url, b.url))
			for range 30 {
				wantWhole(t, g.sends(t, chatPath, chat("")))
			}
			if n := a.Stats().Requests; n != 5 || g.phase(0) != ejected {
				t.Errorf("instance is %v after %d requests, want ejected after 5", g.phase(0), n)
			}
			g.wantMarks(t, "5xx", 5, 0)
			b.plays(echomodel.Script{Fault: "status", Status: c.status, Body: c.body})
			r := g.sends(t, chatPath, chat(""))
			if r.status != c.then || r.body != c.want || r.header.Get("X-Should-Retry") != "false" {
				t.Errorf("all fail: got %d %s, X-Should-Retry %q, want %d %s and false", r.status, r.body, r.header.Get("X-Should-Retry"), c.then, c.want)
			}
		})
	}
}

// TestLoading guards row S5: an instance that loads its model gets one look every
// two seconds, costs no client anything and no mark, and is back at most three
// seconds after it is ready.
func TestLoading(t *testing.T) {
	a, b := startStandIn(t, "a"), startStandIn(t, "b")
	a.plays(echomodel.Script{Fault: "loading"})
	g := startGateway(t, fleetOf(a.url, b.url))
	var looks []time.Time
	var ready time.Time
	own := watchOwn()
	eventually(t, "the instance to be back", func() bool {
		wantWhole(t, g.sendsMany(t, chatPath, chat(""), 2)...)
		if int(a.Stats().Requests) > len(looks) {
			looks = append(looks, time.Now())
		}
		if len(looks) == 3 && ready.IsZero() {
			a.ClearScript()
			ready = time.Now()
		}
		if v := g.state(0); ready.IsZero() && len(looks) > 0 && v.phase != halfOpen && (v.phase != ejected || v.why != reasonLoading || v.wait > loadingTrial) {
			t.Fatalf("while it loads: got %+v, want it left out for that", v)
		}
		return g.phase(0) == ramping
	})
	took := time.Since(ready)
	waited := own.longest()
	for n := range looks[2:] {
		if gap := looks[n+1].Sub(looks[n]); gap < 1900*time.Millisecond-waited || gap > 2500*time.Millisecond+waited {
			t.Errorf("look %d came %v after the one before, want 2 s; this process waited for %v at most", n+1, gap, waited)
		}
	}
	if took -= waited; took > 3*time.Second {
		t.Errorf("instance was back %v after it was ready, want at most 3 s", took)
	} else {
		t.Logf("back %v after it was ready", took)
	}
	g.wantMarks(t, "loading", 0, 0)
	a.plays(echomodel.Script{Fault: "loading"})
	b.plays(echomodel.Script{Fault: "loading"})
	if r := g.sends(t, chatPath, chat("")); r.status != 503 || !strings.Contains(r.body, "Loading model") || r.header.Get("X-Should-Retry") != "false" {
		t.Errorf("all load: got %d %s", r.status, r.body)
	}
}

// TestClientErrors guards rows S7 and S10: what an instance says of the client's
// own mistake goes to the client as it is, after one try, and is nobody's fault.
func TestClientErrors(t *testing.T) {
	a, b := startStandIn(t, "a"), startStandIn(t, "b")
	g := startGateway(t, fleetWith(`"error_threshold": 2`, a.url, b.url))
	asked := int64(0)
	for _, c := range []struct {
		status int
		body   string
	}{
		{400, `{"error":{"message":"This model's maximum context length is 4096 tokens.","type":"BadRequestError","code":400}}`},
		{400, "not even JSON, " + strings.Repeat("x", 100_000)},
		{401, `{"error":{"message":"the client's own key is wrong"}}`}, // the file has none
		{404, `{"error":{"message":"No such File object: file-abc"}}`},
		{404, `{"detail":"Not Found"}`},
		{409, `{}`},
		{413, `{"error":{"message":"payload too large"}}`},
		{422, `{"detail":[{"loc":["body","temperature"],"msg":"value is not a valid float"}]}`},
		{501, `{"error":"no such feature"}`},
	} {
		for _, s := range []*standIn{a, b} {
			s.plays(echomodel.Script{Fault: "status", Status: c.status, Body: c.body})
		}
		for _, members := range []string{"", `,"stream":true`} {
			r := g.sends(t, chatPath, chat(members))
			if r.status != c.status || r.body != c.body || r.err != nil || r.header.Get("X-AI-Gateway-Attempts") != "1" {
				t.Errorf("got %d %.200s after %s attempts, want %d %.200s after 1", r.status, r.body, r.header.Get("X-AI-Gateway-Attempts"), c.status, c.body)
			}
			asked++
		}
	}
	if n := a.Stats().Requests + b.Stats().Requests; n != asked {
		t.Errorf("instances were asked %d times for %d requests", n, asked)
	}
	g.wantMarks(t, "client errors", 0, 0)
	if g.phase(0) != serving || g.phase(1) != serving {
		t.Errorf("instances are %v and %v, want both serving", g.phase(0), g.phase(1))
	}
}

// TestRefusedKey guards row S8: a provider that refuses the gateway's own key is
// left out after one try, another key is tried, and no client ever sees what the
// provider said, or the key.
func TestRefusedKey(t *testing.T) {
	const key = "sk-canary-0123456789"
	for _, status := range []int{401, 403} {
		a, b := startStandIn(t, "a"), startStandIn(t, "b")
		script := echomodel.Script{Fault: "status", Status: status, Body: `{"error":{"message":"Incorrect API key provided: ` + key + `","code":"invalid_api_key"}}`}
		a.plays(script)
		g := startGateway(t, fmt.Sprintf(`{"instances": [
			{"url": %q, "model_name": "m", "api_key": %q}, {"url": %q, "model_name": "m", "headers": {"Authorization": "Bearer other"}}]}`, a.url, key, b.url))
		for range 10 {
			wantWhole(t, g.sends(t, chatPath, chat("")))
		}
		if v, n := g.state(0), a.Stats().Requests; v.phase != ejected || v.why != reasonKey || n != 1 {
			t.Errorf("status %d: got %+v after %d requests, want it left out for its key after one", status, v, n)
		}
		g.wantMarks(t, "key", 0, 0)
		b.plays(script)
		const want = `{"error":{"code":"upstream_refused","message":"the model's instances refuse the gateway's requests","param":null,"type":"server_error"}}` + "\n"
		for n := range 3 {
			r := g.sends(t, chatPath, chat(`,"stream":true`))
			if r.status != http.StatusBadGateway || r.body != want || strings.Contains(fmt.Sprint(r.header), key) {
				t.Errorf("status %d, request %d: got %d %s with %v, want 502 %s", status, n, r.status, r.body, r.header, want)
			}
		}
	}
}

// TestMissingModel guards row S9: an instance that does not have the model is left
// out of it, the next one answers, and the client gets a 404 only if all say so.
func TestMissingModel(t *testing.T) {
	missing := echomodel.Script{Fault: "status", Status: 404, Body: `{"object":"error","message":"The model ` + "`m`" + ` does not exist.","type":"NotFoundError","code":404}`}
	failing := echomodel.Script{Fault: "status", Status: 500, Body: `{"error":{"message":"failing"}}`}
	a, b := startStandIn(t, "a"), startStandIn(t, "b")
	a.plays(missing)
	fleet := fmt.Sprintf(`{"instances": [{"url": %q, "model_name": "m"}, {"url": %q, "model_name": "m"}, {"url": %q, "model_name": "other"}]}`, a.url, b.url, a.url)
	g := startGateway(t, fleet)
	for range 10 {
		wantWhole(t, g.sends(t, chatPath, chat("")))
	}
	if v, n := g.state(0), a.Stats().Requests; v.phase != ejected || v.why != reasonModel || n != 1 || g.phase(2) != serving {
		t.Errorf("got %+v after %d requests, want it left out of the model after one, and serving another one", v, n)
	}
	g.wantMarks(t, "missing", 0, 0, 0)

	// In either order an error of one that may have the model goes before.
	turns := g.store.snapshot().fleet.pools["m"].tiers[primary].set
	for range 4 {
		turns.RoundRobin(func(int) bool { return true })
		b.plays(failing)
		g.makeDue(0)
		if r := g.sends(t, chatPath, chat("")); r.status != 500 {
			t.Errorf("one lacks the model and one fails: got %d %s after %s attempts, want 500", r.status, r.body, r.header.Get("X-AI-Gateway-Attempts"))
		}
		b.plays(echomodel.Script{Fault: "reset"})
		g.makeDue(0)
		if r := g.sends(t, chatPath, chat("")); r.status != 502 {
			t.Errorf("one lacks the model and one resets: got %d %s after %s attempts, want 502", r.status, r.body, r.header.Get("X-AI-Gateway-Attempts"))
		}
	}
	b.plays(missing)
	for range 3 {
		if r := g.sends(t, chatPath, chat("")); r.status != 404 || r.body != missing.Body {
			t.Errorf("nobody has the model: got %d %s, want 404 %s", r.status, r.body, missing.Body)
		}
	}
}

// TestWorthlessAnswer guards row S11: a web page or nothing at all in place of an answer
// is another instance's turn and a failure; the client never sees it.
func TestWorthlessAnswer(t *testing.T) {
	silent := startWitness(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.URL.Query().Get("type"))
		http.NewResponseController(w).Flush() // an empty body of unknown length
	})
	for _, c := range []struct{ fault, query string }{
		{"html", ""}, {"empty", ""}, {"", "?type=application/json"}, {"", "?type=text/event-stream"},
	} {
		a, b := startStandIn(t, "a"), startStandIn(t, "b")
		a.plays(echomodel.Script{Fault: c.fault})
		url := a.url
		if c.fault == "" {
			url = silent.URL + "/v1"
		}
		for _, members := range []string{"", `,"stream":true`} {
			g := startGateway(t, fleetOf(url, b.url))
			wantWhole(t, g.sendsMany(t, chatPath+c.query, chat(members), 4)...)
			if marks := g.marks(); marks[0] == 0 || marks[1] != 0 {
				t.Errorf("%s%s: got %v failures counted, want some and none", c.fault, c.query, marks)
			}
			g.save(t, fleetOf(url))
			r := g.sends(t, chatPath+c.query, chat(members))
			if r.status != http.StatusBadGateway || !strings.Contains(r.body, `"code":"upstream_error"`) {
				t.Errorf("%s%s from all: got %d %q, want the gateway's own 502", c.fault, c.query, r.status, r.body)
			}
		}
	}
}

// TestPlainForStream guards row S12: plain JSON in place of a stream is an answer
// like another.
func TestPlainForStream(t *testing.T) {
	a := startStandIn(t, "a")
	a.plays(echomodel.Script{Fault: "wrong_type"})
	g := startGateway(t, fleetOf(a.url))
	for path, request := range streamRequests {
		r := g.sends(t, path, request+"}")
		wantWhole(t, r)
		if got := r.header.Get("Content-Type"); got != "application/json" || !strings.HasPrefix(r.body, "{") {
			t.Errorf("%s: got %s %q, want JSON", path, got, r.body)
		}
	}
	g.wantMarks(t, "plain", 0)
}
