package aigateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// reported returns what /health says of the n-th instance of the file.
func (g *gateway) reported(t testing.TB, n int) instanceReport {
	t.Helper()
	res, err := client.Get(g.url + "/health")
	if err != nil {
		t.Fatal(err)
	}
	var report healthReport
	if err := json.Unmarshal([]byte(readAll(t, res.Body)), &report); err != nil {
		t.Fatal(err)
	}
	return report.Instances[g.store.snapshot().fleet.instances[n].id]
}

// TestDrain guards that an instance which drains loses none of 50 requests in flight,
// gets no further one, and is back with what is known of it when it drains no more.
func TestDrain(t *testing.T) {
	slow, other := startGated(t), startWitness(t, nil)
	file := func(members string) string {
		return entries(entry(slow.URL+"/v1", members), entry(other.URL+"/v1", ""))
	}
	g := startGateway(t, file(""))
	answered := make(chan []received, 1)
	go func() { answered <- g.sendsMany(t, chatPath, chat(""), 100) }()
	eventually(t, "50 requests in flight", func() bool { return slow.count() == 50 && other.count() == 50 })
	g.healthOf(0).settle(result{verdict: failure(reasonStatus), ended: clock()}, &rules{threshold: 10, window: 300 * time.Second})
	before := g.learnt(0)

	g.save(t, file(`, "drain": true`))
	wantWhole(t, g.sendsMany(t, chatPath, chat(""), 200)...)
	if slow.count() != 50 || other.count() != 250 {
		t.Errorf("while it drains: %d and %d requests, want 50 and 250", slow.count(), other.count())
	}
	if got := g.reported(t, 0); got.State != "draining" || got.ActiveConnections != 50 || got.RecentErrors != 1 || got.Weight != 1 {
		t.Errorf("/health: got %+v, want draining with 50 requests and one error", got)
	}
	if got := g.reported(t, 1).State; got != "serving" {
		t.Errorf("/health: the other is %s, want serving", got)
	}
	if got := g.learnt(0); got != before {
		t.Errorf("known of it: got %+v, want %+v as before", got, before)
	}
	slow.open()
	wantWhole(t, <-answered...)
	eventually(t, "its end", func() bool { return g.reported(t, 0).ActiveConnections == 0 })

	g.save(t, file(""))
	if got := g.reported(t, 0); got.State != "serving" || got.RecentErrors != 1 {
		t.Errorf("back: got %+v, want serving with one error", got)
	}
	wantWhole(t, g.sendsMany(t, chatPath, chat(""), 100)...)
	if slow.count() != 100 || other.count() != 300 {
		t.Errorf("back: %d and %d requests, want 100 and 300", slow.count(), other.count())
	}
}

// TestDrainEjected guards that draining neither ends nor hides an ejection.
func TestDrainEjected(t *testing.T) {
	a, b := startWitness(t, nil), startWitness(t, nil)
	file := func(members string) string { return entries(entry(a.URL+"/v1", members), entry(b.URL+"/v1", "")) }
	g := startGateway(t, file(""))
	g.put(0, func(h *health, now time.Duration) { h.out(reasonReset, now, time.Hour) })
	before := g.learnt(0)
	g.save(t, file(`, "drain": true`))
	if got := g.reported(t, 0); got.State != "draining" || got.Reason != reasonReset || got.Wait < 3500 {
		t.Errorf("got %+v, want draining, and why it was ejected", got)
	}
	g.save(t, file(`, "drain": false`))
	if got := g.learnt(0); got != before || g.reported(t, 0).State != "ejected" {
		t.Errorf("got %+v, want %+v as before", got, before)
	}
}

// TestDrainTiers guards that instances which drain count neither as usable nor as
// ejected: the fallback answers for them, they are not among all that are tried anyway,
// and a pool of them has an error of its own.
func TestDrainTiers(t *testing.T) {
	own, cloud := startWitness(t, nil), startWitness(t, nil)
	dead := "http://" + freeAddress(t) + "/v1"
	const drains = `, "drain": true`
	file := func(primaries, fallbacks string) string {
		return fmt.Sprintf(`{"instances": [%s], "fallback_instances": [%s]}`, primaries, fallbacks)
	}
	g := startGateway(t, file(entry(own.URL+"/v1", drains), entry(cloud.URL+"/v1", "")))
	f := func(what, fleet string, status int, code, retryAfter string, wantCloud int) {
		t.Helper()
		if fleet != "" {
			g.save(t, fleet)
		}
		before := cloud.count()
		r := g.sends(t, chatPath, chat(""))
		if r.status != status || code != "" && !strings.Contains(r.body, `"code":"`+code+`"`) || r.header.Get("Retry-After") != retryAfter {
			t.Errorf("%s: got %d %s, Retry-After %q, want %d %s, %q", what, r.status, r.body, r.header.Get("Retry-After"), status, code, retryAfter)
		}
		if got := cloud.count() - before; got != wantCloud || own.count() > 0 {
			t.Errorf("%s: the fallback was asked %d times, the one that drains %d, want %d and 0", what, got, own.count(), wantCloud)
		}
	}
	f("only primaries drain", "", 200, "", "", 1)
	f("all drain", file(entry(own.URL+"/v1", drains), entry(cloud.URL+"/v1", drains)), 503, "draining", "30", 0)
	if r := g.sends(t, "/v1/messages", chat("")); r.status != 503 || !strings.Contains(r.body, `"type":"overloaded_error"`) {
		t.Errorf("in Anthropic's form: got %d %s", r.status, r.body)
	}
	f("no fallback", entries(entry(own.URL+"/v1", drains)), 503, "draining", "30", 0)
	f("beside weight 0", entries(entry(own.URL+"/v1", drains), entry(cloud.URL+"/v1", `, "weight": 0`)), 503, "draining", "30", 0)
	f("weight 0 alone", entries(entry(cloud.URL+"/v1", `, "weight": 0`)), 503, "no_instance", "1", 0)
	f("the other is dead", entries(entry(own.URL+"/v1", drains), entry(dead, "")), 503, "upstream_unreachable", "5", 0)
	g.put(1, func(h *health, now time.Duration) { h.out(reasonConnect, now, time.Hour) })
	f("the other is ejected", "", 503, "upstream_unreachable", "5", 0)
	if i := g.store.snapshot().fleet.pools["m"]; i.usable() != [2]int{0, 0} || !i.pressed() {
		t.Errorf("got %v usable, want none", i.usable())
	}
	f("a fallback drains", file(entry(dead, ""), entry(cloud.URL+"/v1", drains)), 503, "upstream_unreachable", "5", 0)
}

// TestDrainRetry guards that a request from before the draining is not sent to the
// instance that drains when its first one fails.
func TestDrainRetry(t *testing.T) {
	var asked atomic.Int64
	fails := make(chan struct{})
	bad := func() *witness {
		return startWitness(t, func(w http.ResponseWriter, _ *http.Request) {
			if asked.Add(1) == 1 {
				<-fails
				w.WriteHeader(500)
				return
			}
			io.WriteString(w, "{}")
		})
	}
	servers := []*witness{bad(), bad()}
	file := func(drain int) string {
		var list []string
		for n, s := range servers {
			list = append(list, entry(s.URL+"/v1", fmt.Sprintf(`, "drain": %v`, n == drain)))
		}
		return entries(list...)
	}
	g := startGateway(t, file(-1))
	answered := make(chan received, 1)
	go func() { answered <- g.sends(t, chatPath, chat("")) }()
	eventually(t, "the first attempt", func() bool { return asked.Load() == 1 })
	other := 0
	if servers[0].count() == 1 {
		other = 1
	}
	g.save(t, file(other))
	close(fails)
	if r := <-answered; r.status != 502 || servers[other].count() != 0 {
		t.Errorf("got %d %s, the one that drains was asked %d times, want 502 and 0", r.status, r.body, servers[other].count())
	}
}

// TestDrainSource guards that the source of upstreams leaves out what drains.
func TestDrainSource(t *testing.T) {
	g := startGateway(t, `{"instances": [{"url": "http://a:1/v1", "model_name": "m", "drain": true}, {"url": "http://b:1/v1", "model_name": "m"}],
		"fallback_instances": [{"url": "http://c:1/v1", "model_name": "m"}]}`)
	f := func(want string) {
		t.Helper()
		got, err := (&Upstreams{store: g.store}).GetUpstreams(nil)
		if err != nil || len(got) != 1 || got[0].Dial != want {
			t.Errorf("got %v, %v, want %s", got, err, want)
		}
	}
	f("b:1")
	g.save(t, `{"instances": [{"url": "http://a:1/v1", "model_name": "m", "drain": true}],
		"fallback_instances": [{"url": "http://c:1/v1", "model_name": "m"}]}`)
	f("c:1")
}
