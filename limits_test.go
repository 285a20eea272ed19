package aigateway

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/ledger"
)

// chatUsing is a chat's answer with this usage.
func chatUsing(prompt, completion int) string {
	return strings.TrimSuffix(chatJSON, "}") + fmt.Sprintf(`,"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}`, prompt, completion, prompt+completion)
}

// unruly is a gateway whose file is swapped and whose Caddy is reloaded all the time.
type unruly struct {
	*gateway
	stop, swapped chan struct{}
	swaps         atomic.Int64
}

// startUnruly runs one over a file of these members.
func startUnruly(t *testing.T, members, url string) *unruly {
	t.Helper()
	dir, address := t.TempDir(), freeAddress(t)
	u := &unruly{&gateway{url: "http://" + address, file: filepath.Join(dir, "config.json5")}, make(chan struct{}), make(chan struct{}), atomic.Int64{}}
	file := func(n int) string {
		return fleetWith(fmt.Sprintf(`"error_threshold": %d, "record": {"enabled": false}, %s`, 10+n%50, members), url)
	}
	site := func(n int) string {
		return fmt.Sprintf("http://%s {\n\tai_gateway {\n\t\tmax_body %dMiB\n\t}\n}\n", address, 10+n%50)
	}
	writeFile(t, u.file, file(0))
	caddyfile := filepath.Join(dir, "Caddyfile")
	loadCaddyfile(t, caddyfile, site(0))
	var err error
	u.store, err = acquireStore(u.file, zap.NewNop())
	must(t, err)
	t.Cleanup(func() { must(t, releaseStore(u.store)) })
	go func() {
		defer close(u.swapped)
		for n := 1; ; n++ {
			select {
			case <-u.stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
			writeFile(t, u.file, file(n))
			if u.swaps.Store(int64(n)); n%4 != 0 {
				continue
			}
			cfg, err := adapt(caddyfile, "{\n\tadmin off\n\tpersist_config off\n\tauto_https off\n\tgrace_period 10s\n\tlog {\n\t\tlevel PANIC\n\t}\n}\n"+site(n))
			if err == nil {
				err = caddy.Load(cfg, true)
			}
			if err != nil {
				t.Errorf("reload %d: %v", n, err)
			}
		}
	}()
	return u
}

// calm ends the swaps.
func (u *unruly) calm(t testing.TB) {
	t.Helper()
	eventually(t, "some swaps", func() bool { return u.swaps.Load() >= 4 })
	close(u.stop)
	<-u.swapped
	wantSettled(t, strings.TrimPrefix(u.url, "http://"))
}

// flood sends body by 200 clients at once until so many have been refused.
func (u *unruly) flood(t testing.TB, body string, enough int64) {
	var refused atomic.Int64
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			for refused.Load() < enough {
				if got := u.send(t, "POST", chatPath, body, bearer(1)); got.status == http.StatusTooManyRequests {
					refused.Add(1)
				}
			}
		})
	}
	all.Wait()
}

// TestLimitsExact guards that 200 clients of a key at once get through what its limits
// allow, never more and at most 1 % less, while the file is swapped and Caddy reloaded all
// the time. What gets through is counted by the instance.
func TestLimitsExact(t *testing.T) {
	rate := func(t *testing.T, member string, limit, each float64, body string) {
		var first atomic.Int64 // when the instance was asked first
		w := startWitness(t, func(w http.ResponseWriter, _ *http.Request) {
			first.CompareAndSwap(0, int64(clock()))
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, chatUsing(10, 40))
		})
		u := startUnruly(t, fmt.Sprintf(`"keys": [%s]`, keyEntry("k", 1, fmt.Sprintf(`, %q: %.0f`, member, limit))), w.URL+"/v1")
		began := clock()
		u.flood(t, body, 400)
		u.calm(t)
		// What the last of them have given back is used up one by one.
		eventually(t, "the limit to be reached", func() bool {
			got := u.send(t, "POST", chatPath, body, bearer(1))
			if got.status != http.StatusOK && got.status != http.StatusTooManyRequests {
				t.Logf("got %d %s, error %v", got.status, got.body, got.err)
			}
			return got.status == http.StatusTooManyRequests
		})
		ended := clock()
		most, least := limit*(1+(ended-began).Minutes()), limit*(1+(ended-time.Duration(first.Load())).Minutes())
		used := float64(w.count()) * each
		t.Logf("%.0f used of %.0f to %.0f, %.2f %% less, %d swaps", used, least, most, 100*(1-used/least), u.swaps.Load())
		if used > most || used < .99*least-2*each {
			t.Errorf("got %.0f used, want %.0f to %.0f, and at most 1 %% less", used, least, most)
		}
	}
	t.Run("requests", func(t *testing.T) { rate(t, "requests_per_minute", 600, 1, chatBody(false)) })
	t.Run("tokens", func(t *testing.T) {
		rate(t, "tokens_per_minute", 30_000, 50, strings.TrimSuffix(chatBody(false), "}")+`,"max_tokens":70}`)
	})
	t.Run("concurrency", func(t *testing.T) {
		const slots = 37
		w := startGated(t)
		u := startUnruly(t, fmt.Sprintf(`"keys": [%s]`, keyEntry("k", 1, fmt.Sprintf(`, "max_concurrency": %d`, slots))), w.URL+"/v1")
		for round := 1; round <= 3; round++ {
			var refused, passed, left atomic.Int64
			var enough atomic.Bool
			var all sync.WaitGroup
			for range 200 {
				all.Go(func() {
					for !enough.Load() {
						switch u.send(t, "POST", chatPath, chatBody(false), bearer(1)).status {
						case http.StatusTooManyRequests:
							refused.Add(1)
						case http.StatusOK:
							passed.Add(1)
							return
						}
					}
					left.Add(1)
				})
			}
			eventually(t, "all places to be taken", func() bool { return w.count() >= slots*round && refused.Load() > 400 })
			enough.Store(true)
			eventually(t, "the others to give up", func() bool { return left.Load() == 200-slots })
			if w.count() != slots*round {
				t.Errorf("round %d: got %d requests on the instance, want %d", round, w.count(), slots*round)
			}
			for range slots {
				w.release <- http.StatusOK
			}
			all.Wait()
			if passed.Load() != slots {
				t.Errorf("round %d: got %d answers, want %d", round, passed.Load(), slots)
			}
			eventually(t, "another reload", func() bool { return u.swaps.Load() >= int64(4*round) })
			eventually(t, "all places to be free", func() bool {
				s := u.store.snapshot().keys.all[0].state
				s.mu.Lock()
				defer s.mu.Unlock()
				return s.inFlight == 0
			})
		}
		u.calm(t)
	})
}

// TestKeyLimits guards row X17: a key at its limit gets 429 in the API's form, with what is
// left and when to come again, and a key beside it notices nothing.
func TestKeyLimits(t *testing.T) {
	w := startWitness(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, chatUsing(10, 40))
	})
	g := startGateway(t, strings.TrimSuffix(fleetFor([]string{
		keyEntry("requests", 1, `, "requests_per_minute": 2`), keyEntry("tokens", 2, `, "tokens_per_minute": 200`), keyEntry("other", 3, `, "requests_per_minute": 100`),
		keyEntry("daily", 4, `, "budgets": {"daily_tokens": 100}`), keyEntry("monthly", 5, `, "budgets": {"monthly_cost": 0.001}`), keyEntry("both", 6, `, "requests_per_minute": 1, "tokens_per_minute": 1000`),
	}, w.URL+"/v1"), "}")+`, "prices": {"*": {"prompt": 1, "completion": 10}}}`)
	send := func(key int, maxTokens int) received {
		t.Helper()
		body := strings.TrimSuffix(chatBody(false), "}") + fmt.Sprintf(`,"max_tokens":%d}`, maxTokens)
		return g.send(t, "POST", chatPath, body, bearer(key))
	}
	f := func(got received, want string, headers ...string) {
		t.Helper()
		var found []string
		for _, name := range []string{"Limit-Requests", "Remaining-Requests", "Limit-Tokens", "Remaining-Tokens"} {
			if v := got.header.Get("X-Ratelimit-" + name); v != "" {
				found = append(found, name+" "+v)
			}
		}
		if got.status != 429 || errorOf(t, got.body) != want || !slices.Equal(found, headers) {
			t.Errorf("got %d %s %q, want 429 %s %q", got.status, got.body, found, want, headers)
		}
		for _, name := range []string{"Requests", "Tokens"} {
			if got.header.Get("X-Ratelimit-Limit-"+name) == "" {
				continue
			}
			if d, err := time.ParseDuration(got.header.Get("X-Ratelimit-Reset-" + name)); err != nil || d > time.Minute {
				t.Errorf("reset of %s: got %q", name, got.header.Get("X-Ratelimit-Reset-"+name))
			}
		}
	}
	for range 2 {
		wantStatus(t, send(1, 10), 200)
	}
	got := send(1, 10)
	f(got, "rate_limit_error rate_limit_exceeded", "Limit-Requests 2", "Remaining-Requests 0")
	if wait, _ := strconv.Atoi(got.header.Get("Retry-After")); wait < 28 || wait > 30 {
		t.Errorf("got Retry-After %q, want about 30", got.header.Get("Retry-After"))
	}
	if got := g.send(t, "POST", "/v1/messages", `{"model":"m","max_tokens":1,"messages":[]}`, "x-api-key: "+testKey(1)); got.status != 429 || !strings.Contains(got.body, `"rate_limit_error"`) || !strings.Contains(got.body, `"type":"error"`) {
		t.Errorf("messages: got %d %s", got.status, got.body)
	}

	// 50 are used of each reservation of more.
	for range 3 {
		wantStatus(t, send(2, 60), 200)
	}
	f(send(2, 60), "rate_limit_error rate_limit_exceeded", "Limit-Tokens 200", "Remaining-Tokens 50")
	got = send(2, 500)
	f(got, "rate_limit_error request_too_large", "Limit-Tokens 200", "Remaining-Tokens 50")
	if got.header.Get("Retry-After") != "" || got.header.Get("X-Should-Retry") != "false" {
		t.Errorf("a request that can never pass: got %v", got.header)
	}

	wantStatus(t, send(4, 70), 200)
	got = send(4, 70)
	f(got, "insufficient_quota insufficient_quota")
	if wait, _ := strconv.Atoi(got.header.Get("Retry-After")); wait < 1 || wait > 86400 || got.header.Get("X-Should-Retry") != "false" || !strings.Contains(got.body, "today: tokens") {
		t.Errorf("got %v %s", got.header, got.body)
	}
	wantStatus(t, send(5, 70), 200) // 10 + 400 millionths of 1,000
	wantStatus(t, send(5, 50), 200)
	f(send(5, 50), "insufficient_quota insufficient_quota")
	wantStatus(t, send(6, 50), 200)
	f(send(6, 50), "rate_limit_error rate_limit_exceeded", "Limit-Requests 1", "Remaining-Requests 0", "Limit-Tokens 1000", "Remaining-Tokens 950")
	for range 50 {
		wantStatus(t, send(3, 10), 200)
	}
}

// TestKeyBesideFlood guards row X17: the requests of one key are not slowed down by another
// that asks ten times as much as it may.
func TestKeyBesideFlood(t *testing.T) {
	w := startWitness(t, func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(20 * time.Millisecond)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, chatUsing(1, 1))
	})
	g := startGateway(t, fleetFor([]string{keyEntry("greedy", 1, `, "max_concurrency": 4`), keyEntry("calm", 2, "")}, w.URL+"/v1"))
	took := func() time.Duration {
		var all []time.Duration
		for range 50 {
			began := time.Now()
			wantStatus(t, g.send(t, "POST", chatPath, chatBody(false), bearer(2)), 200)
			all = append(all, time.Since(began))
		}
		return median(all)
	}
	// Clients of this process share its processors, so that the flood is compared to one that
	// is refused before anybody looks at a key.
	flooded := func(path string, status int) time.Duration {
		stop := make(chan struct{})
		var flood sync.WaitGroup
		var refused atomic.Int64
		for range 40 {
			flood.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(5 * time.Millisecond):
					}
					if got := g.send(t, "POST", path, chatBody(false), bearer(1)); got.status == status {
						refused.Add(1)
					}
				}
			})
		}
		eventually(t, "the other to be refused", func() bool { return refused.Load() > 50 })
		half := took()
		close(stop)
		flood.Wait()
		return half
	}
	inTime(t, func() (late string) {
		other, beside := flooded("/sleep", 404), flooded(chatPath, 429)
		t.Logf("median %v beside other requests, %v beside those of a key at its limit", other, beside)
		if beside > 2*other {
			return fmt.Sprintf("got a median of %v beside a key at its limit, %v beside other requests", beside, other)
		}
		return ""
	})
}

// TestLeases guards that whatever becomes of a request, what it held of its key's limits
// comes back once, and what it has used is counted.
func TestLeases(t *testing.T) {
	stuck := make(chan struct{})
	w := startWitness(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("X-Case") {
		case "usage":
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, chatUsing(10, 40))
		case "silent": // no usage
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, chatStream)
		case "refused":
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(400)
			io.WriteString(w, `{"error":{"message":"no","type":"invalid_request_error"}}`)
		case "fails":
			w.WriteHeader(500)
		case "breaks":
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, chatEvent+chatEvent)
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "stuck":
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, chatEvent)
			http.NewResponseController(w).Flush()
			<-stuck
		}
	})
	defer close(stuck)
	g := startGateway(t, fleetFor([]string{keyEntry("k", 1, `, "max_concurrency": 1, "tokens_per_minute": 100000, "budgets": {"daily_tokens": 1000000}`)}, w.URL+"/v1"))
	k := g.store.snapshot().keys.all[0]
	used := func() ledger.Usage {
		_, month := k.counter().Sums(time.Now())
		return month["m"]
	}
	idle := func() bool {
		k.state.mu.Lock()
		defer k.state.mu.Unlock()
		return k.state.inFlight == 0 && k.counter().States(time.Now(), &k.budget)[0].Reserved == 0
	}
	prompt := int64((len(chatBody(true)) + bytesPerToken - 1) / bytesPerToken)
	f := func(name string, stream bool, want ledger.Usage) {
		t.Helper()
		before := used()
		r, err := http.NewRequest("POST", g.url+chatPath, strings.NewReader(chatBody(stream)))
		must(t, err)
		r.Header = http.Header{"Authorization": {"Bearer " + testKey(1)}, "X-Case": {name}, "Content-Type": {"application/json"}}
		res, err := client.Do(r)
		must(t, err)
		if name == "stuck" {
			_, err = io.ReadFull(res.Body, make([]byte, len(chatEvent)))
			must(t, err)
		} else {
			_, _ = io.ReadAll(res.Body) // some of them break
		}
		res.Body.Close()
		eventually(t, name+" to give back its lease", idle)
		want.Prompt, want.Completion = want.Prompt+before.Prompt, want.Completion+before.Completion
		want.Requests += before.Requests
		if got := used(); got != want {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
	f("usage", false, ledger.Usage{Requests: 1, Prompt: 10, Completion: 40})
	f("refused", false, ledger.Usage{Requests: 1})
	f("fails", true, ledger.Usage{Requests: 1})
	f("silent", true, ledger.Usage{Requests: 1, Prompt: prompt, Completion: 2})
	f("breaks", true, ledger.Usage{Requests: 1, Prompt: prompt, Completion: 2})
	f("stuck", true, ledger.Usage{Requests: 1, Prompt: prompt, Completion: 1})
	k.state.mu.Lock()
	left := k.state.tokens.Left(clock(), k.tokens)
	k.state.mu.Unlock()
	if total := used(); left < 100_000-total.Tokens() || left > 100_000 {
		t.Errorf("got %d tokens left after %+v, want what was not used", left, total)
	}
}

// TestEstimate guards how many tokens a request is taken to use.
func TestEstimate(t *testing.T) {
	f := func(path, body string, want estimate) {
		t.Helper()
		r, err := http.NewRequest("POST", path, strings.NewReader(body))
		must(t, err)
		r.Header.Set("Content-Type", "application/json")
		rt := newRoute(r, nil)
		asked, b, apiErr := readAsk(r, 1<<30)
		if apiErr != nil {
			t.Fatal(apiErr)
		}
		x := &exchange{route: rt, ask: asked, body: b}
		if want.prompt == 0 {
			want.prompt = int64((len(body) + 3) / 4)
		}
		if got := x.forecast(); got != want {
			t.Errorf("%s %.80s: got %+v, want %+v", path, body, got, want)
		}
	}
	text := `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("word ", 800) + `"}]`
	f(chatPath, text+`}`, estimate{0, supposedTokens, false})
	f(chatPath, text+`,"max_tokens":7}`, estimate{0, 7, true})
	f(chatPath, text+`,"max_completion_tokens":70,"max_tokens":7}`, estimate{0, 70, true})
	f(chatPath, text+`,"max_tokens":7,"n":3}`, estimate{0, 21, true})
	f(chatPath, text+`,"n":3}`, estimate{0, 3 * supposedTokens, false})
	f(chatPath, text+`,"max_tokens":null}`, estimate{0, supposedTokens, false})
	f(chatPath, text+`,"max_tokens":-5}`, estimate{0, supposedTokens, false})
	f(chatPath, text+`,"max_tokens":99999999999}`, estimate{0, supposedTokens, false})
	f("/v1/responses", `{"model":"m","input":"hi","max_output_tokens":9}`, estimate{0, 9, true})
	f("/v1/embeddings", `{"model":"m","input":"hi","max_tokens":9}`, estimate{0, 0, false})
	image := `{"model":"m","max_tokens":1,"messages":[{"content":[{"image_url":{"url":"data:image/png;base64,` + strings.Repeat("A", 1<<20) + `"}}]}]}`
	f(chatPath, image, estimate{int64(len(image)-1<<20+3)/4 + imageTokens, 1, true})
}

// TestBudgetsKept guards that budgets outlive the process's gateway, keys that change, and
// folders that cannot be written to, and that people are told.
func TestBudgetsKept(t *testing.T) {
	w := startWitness(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, chatUsing(10, 40))
	})
	dir := t.TempDir()
	path := filepath.Join(dir, "config.json5")
	file := func(n, budget int) string {
		return fleetFor([]string{keyEntry("k", n, fmt.Sprintf(`, "budgets": {"daily_tokens": %d}`, budget))}, w.URL+"/v1")
	}
	writeFile(t, path, file(1, 115))
	body := strings.TrimSuffix(chatBody(false), "}") + `,"max_tokens":40}`
	run := func(name string, do func(g *gateway, events *eventLog)) {
		t.Run(name, func(t *testing.T) {
			address := freeAddress(t)
			loadCaddyfile(t, filepath.Join(dir, "Caddyfile"), "http://"+address+" {\n\tai_gateway\n}\n")
			s, err := acquireStore(path, zap.NewNop())
			must(t, err)
			defer func() { must(t, releaseStore(s)) }()
			do(&gateway{url: "http://" + address, file: path, store: s}, logEvents(s))
		})
	}
	run("first", func(g *gateway, events *eventLog) {
		wantStatus(t, g.send(t, "POST", chatPath, body, bearer(1)), 200)
		wantStatus(t, g.send(t, "POST", chatPath, body, bearer(1)), 200)
		wantStatus(t, g.send(t, "POST", chatPath, body, bearer(1)), 429)
		if e := events.wait(t, budgetOver); e.key != "k" || e.cause != "daily_tokens: 100 of 115" {
			t.Errorf("got %+v", e)
		}
	})
	run("restarted", func(g *gateway, events *eventLog) {
		wantStatus(t, g.send(t, "POST", chatPath, body, bearer(1)), 429)
		g.save(t, file(2, 170))
		wantStatus(t, g.send(t, "POST", chatPath, body, bearer(2)), 200)
		wantStatus(t, g.send(t, "POST", chatPath, body, bearer(2)), 429)
		if e := events.wait(t, budgetOver); e.key != "k" || e.cause != "daily_tokens: 150 of 170" {
			t.Errorf("got %+v", e)
		}
		g.save(t, file(2, 1000))
		events.wait(t, budgetRenewed)
		wantStatus(t, g.send(t, "POST", chatPath, body, bearer(2)), 200)
	})
	usage := filepath.Join(dir, "data", usageFolder)
	must(t, os.RemoveAll(usage))
	writeFile(t, usage, "no folder")
	run("no folder", func(g *gateway, events *eventLog) {
		wantStatus(t, g.send(t, "POST", chatPath, body, bearer(2)), 200)
		if e := events.wait(t, usageUnkept); e.path != usage || gathered(t, "caddy_ai_gateway_usage_store_failing") != 1 {
			t.Errorf("got %+v", e)
		}
		must(t, os.Remove(usage))
		events.wait(t, usageKept)
	})
	run("again", func(g *gateway, _ *eventLog) {
		if got := g.store.snapshot().keys.all[0].counter().States(time.Now(), &ledger.Budget{DailyTokens: 1})[0].Used; got != 50 {
			t.Errorf("got %d used, want 50", got)
		}
	})
}
