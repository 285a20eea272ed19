package aigateway

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
)

// rotationOf returns a rotation over instances of these weights, and the
// instances.
func rotationOf(weights ...int) (*rotation, []*instance) {
	var members []*instance
	for _, w := range weights {
		members = append(members, &instance{weight: w, state: new(instanceState)})
	}
	return newRotation(members), members
}

// TestRoundRobinSkips guards that the others keep their weights when an instance
// cannot be used.
func TestRoundRobinSkips(t *testing.T) {
	for _, weights := range [][]int{{1, 1, 10}, {3, 1, 996}} {
		r, members := rotationOf(weights...)
		x := &exchange{tried: []*instance{members[2]}}
		turns := make(map[*instance]int)
		for range 4000 {
			turns[roundRobin{}.pick(r, x)]++
		}
		want := 4000 * weights[0] / (weights[0] + weights[1])
		if got := turns[members[0]]; math.Abs(float64(got-want)) > 200 || turns[members[2]] > 0 {
			t.Errorf("weights %v without the last: got %d turns, want about %d", weights, got, want)
		}
	}
	r, members := rotationOf(1, 1000)
	if got := (roundRobin{}).pick(r, &exchange{tried: members}); got != nil {
		t.Error("picked an instance that cannot be used")
	}
	empty, _ := rotationOf(0)
	if got := (roundRobin{}).pick(empty, new(exchange)); got != nil {
		t.Error("picked an instance of weight 0")
	}
}

func TestLeastConnections(t *testing.T) {
	r, members := rotationOf(1, 2, 4)
	for range 70 {
		(leastConnections{}).pick(r, new(exchange)).state.inFlight.Add(1)
	}
	for n, want := range []int64{10, 20, 40} {
		if got := members[n].state.inFlight.Load(); got != want {
			t.Errorf("weight %d: %d of 70 requests in flight, want %d", members[n].weight, got, want)
		}
	}
	members[1].state.inFlight.Store(0)
	for range 19 {
		if got := (leastConnections{}).pick(r, new(exchange)); got != members[1] {
			t.Fatal("did not pick the idle instance")
		}
		members[1].state.inFlight.Add(1)
	}
}

// TestWeights guards the promise of weights through the whole gateway: exact over
// whole rounds, and exact among those left when one is taken out of the file,
// with requests in flight and without one error.
func TestWeights(t *testing.T) {
	var servers []*witness
	var hold atomic.Bool
	release := make(chan struct{})
	for range 3 {
		servers = append(servers, startWitness(t, func(w http.ResponseWriter, r *http.Request) {
			if hold.Load() {
				<-release
			}
			io.WriteString(w, "ok")
		}))
	}
	entry := func(n, weight int) string {
		return fmt.Sprintf(`{"url": "%s/v1", "model_name": "m", "weight": %d},`, servers[n].URL, weight)
	}
	g := startGateway(t, `{"instances": [`+entry(0, 1)+entry(1, 1)+entry(2, 10)+`]}`)
	send := func(n int, wg *sync.WaitGroup) {
		for range n {
			wg.Go(func() {
				if status, body := g.post(t, "/v1/chat/completions", `{"model":"m"}`); status != 200 || body != "ok" {
					t.Errorf("got status %d %s", status, body)
				}
			})
		}
	}
	round := func(want ...int) {
		t.Helper()
		var before []int
		for _, s := range servers {
			before = append(before, s.count())
		}
		var wg sync.WaitGroup
		for range 24 {
			send(50, &wg)
			wg.Wait()
		}
		for n, s := range servers {
			if got := s.count() - before[n]; got != want[n] {
				t.Errorf("instance %d: %d of 1200 requests, want %d", n, got, want[n])
			}
		}
	}
	round(100, 100, 1000)

	hold.Store(true)
	var inFlight sync.WaitGroup
	asked := servers[0].count() + servers[1].count() + servers[2].count()
	send(50, &inFlight)
	eventually(t, "50 requests in flight", func() bool {
		return servers[0].count()+servers[1].count()+servers[2].count() == asked+50
	})
	g.save(t, `{"instances": [`+entry(1, 1)+entry(2, 10)+`]}`)
	hold.Store(false)
	close(release)
	inFlight.Wait()
	removed := servers[0].count()
	// 1199 is no multiple of 11: the first round of 1200 leaves one over.
	var wg sync.WaitGroup
	before1, before2 := servers[1].count(), servers[2].count()
	for range 22 {
		send(50, &wg)
		wg.Wait()
	}
	if got1, got2 := servers[1].count()-before1, servers[2].count()-before2; got1 != 100 || got2 != 1000 || servers[0].count() != removed {
		t.Errorf("after the removal: %d and %d of 1100 requests, want 100 and 1000; the removed one got %d", got1, got2, servers[0].count()-removed)
	}
	eventually(t, "no request in flight", func() bool {
		for _, i := range g.store.snapshot().fleet.instances {
			if i.state.inFlight.Load() != 0 {
				return false
			}
		}
		return true
	})
}

// TestSharedServer guards that two endpoints of one host and port are told apart,
// also by Caddy's policies.
func TestSharedServer(t *testing.T) {
	entered, release := make(chan string, 10), make(chan struct{})
	server := startWitness(t, func(w http.ResponseWriter, r *http.Request) {
		entered <- r.URL.Path
		<-release
	})
	g := startGateway(t, fleetOf(server.URL+"/a/v1", server.URL+"/b/v1"), "lb_policy round_robin")
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { g.post(t, "/v1/completions", `{"model":"m"}`) })
	}
	got := make(map[string]int64)
	for range 3 {
		got[strings.TrimSuffix(<-entered, "/v1/completions")]++
	}
	for _, i := range g.store.snapshot().fleet.instances {
		want := got[strings.TrimSuffix(i.base, "/v1")]
		if n := i.state.inFlight.Load(); n != want || n == 0 || n == 3 || i.upstream.NumRequests() != int(want) {
			t.Errorf("instance %s: %d in flight here and %d at Caddy's, want %d", i.base, n, i.upstream.NumRequests(), want)
		}
	}
	close(release)
	wg.Wait()
}

// TestMaxConcurrency guards that an instance never has more requests than it may, and that
// the others are refused where none may wait.
func TestMaxConcurrency(t *testing.T) {
	var now, most atomic.Int64
	release := make(chan struct{})
	server := startWitness(t, func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		<-release
		now.Add(-1)
		io.WriteString(w, "{}")
	})
	g := startGateway(t, fmt.Sprintf(`{"instances": [{"url": "%s/v1", "model_name": "m", "max_concurrency": 3}], "queue": {"max_waiting": 0}}`, server.URL))
	var busy, served atomic.Int64
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			status, body := g.post(t, "/v1/completions", `{"model":"m"}`)
			switch {
			case status == 200:
				served.Add(1)
			case status == 503 && strings.Contains(body, "every instance of the model is busy or switched off"):
				busy.Add(1)
			default:
				t.Errorf("got status %d %s", status, body)
			}
		})
	}
	eventually(t, "47 refusals", func() bool { return busy.Load() == 47 && now.Load() == 3 })
	close(release)
	wg.Wait()
	if served.Load() != 3 || most.Load() != 3 {
		t.Errorf("%d served, at most %d at once, want 3 and 3", served.Load(), most.Load())
	}
}

// TestCaddyPolicies guards that selection policies of Caddy's work by name.
func TestCaddyPolicies(t *testing.T) {
	var servers []*witness
	var urls []string
	for range 4 {
		s := startWitness(t, nil)
		servers, urls = append(servers, s), append(urls, s.URL+"/v1")
	}
	urls[1] = servers[0].URL + "/other/v1" // two endpoints of one server have two hashes
	f := func(policy string, header string, check func(uris map[string]int) bool) {
		t.Run(policy, func(t *testing.T) {
			g := startGateway(t, fleetOf(urls...), "lb_policy "+policy)
			for _, s := range servers {
				s.mu.Lock()
				s.seen = nil
				s.mu.Unlock()
			}
			for n := range 40 {
				r, _ := http.NewRequest("POST", g.url+"/v1/completions", strings.NewReader(`{"model":"m"}`))
				r.Header.Set("X-Session", strings.ReplaceAll(header, "N", fmt.Sprint(n)))
				res, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				if text := readAll(t, res.Body); res.StatusCode != 200 {
					t.Fatalf("status %d %s", res.StatusCode, text)
				}
			}
			uris := make(map[string]int)
			for n, s := range servers {
				s.mu.Lock()
				for _, seen := range s.seen {
					uris[fmt.Sprint(n, seen.uri)]++
				}
				s.mu.Unlock()
			}
			if !check(uris) {
				t.Errorf("40 requests went to %v", uris)
			}
		})
	}
	f("round_robin", "", func(m map[string]int) bool { return len(m) == 4 && m["0/v1/completions"] == 10 })
	f("least_conn", "", func(m map[string]int) bool { return len(m) == 4 && m["0/other/v1/completions"] == 10 })
	f("first", "", func(m map[string]int) bool { return m["0/v1/completions"] == 40 })
	f("random", "", func(m map[string]int) bool { return len(m) == 4 })
	f("random_choose 2", "", func(m map[string]int) bool { return len(m) > 1 })
	f("ip_hash", "", func(m map[string]int) bool { return len(m) == 1 })
	f("header X-Session", "same", func(m map[string]int) bool { return len(m) == 1 })
	f("header X-Session", "N", func(m map[string]int) bool { return len(m) == 4 })
	f("cookie lb", "", func(m map[string]int) bool { return len(m) > 1 })
}

// TestUpstreamSource guards that a plain reverse_proxy follows the file.
func TestUpstreamSource(t *testing.T) {
	a, b := startWitness(t, nil), startWitness(t, nil)
	dir := t.TempDir()
	file := filepath.Join(dir, "config.json5")
	writeFile(t, file, fleetOf(a.URL+"/v1"))
	address := freeAddress(t)
	loadCaddyfile(t, filepath.Join(dir, "Caddyfile"), "http://"+address+" {\n\treverse_proxy {\n\t\tdynamic ai_gateway {\n\t\t\tmodel m\n\t\t}\n\t}\n}\n")
	g := &gateway{url: "http://" + address, file: file}
	var err error
	if g.store, err = acquireStore(file, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := releaseStore(g.store); err != nil {
			t.Error(err)
		}
	}()
	if status, _ := g.post(t, "/any", "x"); status != 200 || a.count() != 1 {
		t.Errorf("status %d, first instance asked %d times", status, a.count())
	}
	g.save(t, fleetOf(b.URL+"/v1"))
	if status, _ := g.post(t, "/any", "x"); status != 200 || b.count() != 1 {
		t.Errorf("status %d, second instance asked %d times", status, b.count())
	}
}

func BenchmarkPick(b *testing.B) {
	for _, n := range []int{2, 64, 10_000} {
		weights := make([]int, n)
		for i := range weights {
			weights[i] = 1 + i%7
		}
		r, _ := rotationOf(weights...)
		for name, p := range map[string]policy{"round_robin": roundRobin{}, "least_connections": leastConnections{}} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				x := new(exchange)
				for b.Loop() {
					i := p.pick(r, x)
					i.state.inFlight.Add(1)
				}
			})
		}
	}
}

// TestLeastConnectionsLarge guards that in a tier of which only a part is looked at
// for each choice, all instances still fill evenly, wherever they stand in the file.
func TestLeastConnectionsLarge(t *testing.T) {
	for _, count := range []int{64, 65, 100, 1000} {
		r, members := rotationOf(slices.Repeat([]int{1}, count)...)
		const each = 20
		for range each * count {
			(leastConnections{}).pick(r, new(exchange)).state.inFlight.Add(1)
		}
		least, most := int64(math.MaxInt64), int64(0)
		for _, i := range members {
			n := i.state.inFlight.Load()
			least, most = min(least, n), max(most, n)
		}
		if slack := int64(2); least < each-slack || most > each+slack {
			t.Errorf("%d instances: got %d to %d requests each, want %d ± %d", count, least, most, each, slack)
		}
		// An idle one among busy ones is found before the part has gone round.
		idle := members[0]
		idle.state.inFlight.Store(0)
		picks := 0
		for (leastConnections{}).pick(r, new(exchange)) != idle {
			picks++
		}
		if most := count/64 + 1; picks > most {
			t.Errorf("%d instances: the first, idle, was found after %d choices, want %d at most", count, picks, most)
		}
	}
}
