package aigateway

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestHealsAlone guards that a model all of whose instances are gone is served at once
// when one of them is back, whichever it is: nothing waits for an ejection to end, for
// there is nobody better to ask.
func TestHealsAlone(t *testing.T) {
	for healed := range 3 {
		t.Run(fmt.Sprint(healed), func(t *testing.T) {
			var urls, addresses []string
			for range 3 {
				addresses = append(addresses, freeAddress(t))
				urls = append(urls, "http://"+addresses[len(addresses)-1]+"/v1")
			}
			g := startGateway(t, fleetOf(urls...))
			for range 4 { // longer than any ejection needs
				if report := g.load(); report.status[503] != 300 {
					t.Fatalf("all are gone: got %v, want 300 times 503", report)
				}
			}
			out := 0
			for n := range urls {
				if g.state(n).phase == ejected {
					out++
				}
			}
			if out != 2 {
				t.Errorf("%d instances are ejected, want all but the last", out)
			}
			startAt(t, addresses[healed])
			began := time.Now()
			eventually(t, "requests to be served", func() bool { return g.loadOf(20, 1).ok == 20 })
			t.Logf("served %v after it healed", time.Since(began))
			g.load().allOK(t)
		})
	}
}

// startAt runs a good instance at address.
func startAt(t *testing.T, address string) *scripted {
	t.Helper()
	return serveScript(t, listenAt(t, address), goodScript)
}

// TestHealsBesideFallback guards that primaries which are all ejected while the fallback
// tier answers are used again within ten seconds after one heals.
func TestHealsBesideFallback(t *testing.T) {
	cloud, address := startGood(t), freeAddress(t)
	g := startGateway(t, fleetWith(fmt.Sprintf(`"fallback_instances": [{"url": %q, "model_name": "m"}]`, cloud.url),
		"http://"+address+"/v1", "http://"+freeAddress(t)+"/v1", "http://"+freeAddress(t)+"/v1"))
	g.load().allOK(t)
	for n := range 3 {
		if phase := g.state(n).phase; phase != ejected {
			t.Fatalf("primary %d is %v, want ejected", n, phase)
		}
	}
	healed := startAt(t, address)
	began, own := time.Now(), watchOwn()
	eventually(t, "the primary that healed to be asked", func() bool {
		g.loadOf(1, 1).allOK(t)
		return healed.requests.Load() > 0
	})
	if took := time.Since(began) - own.longest(); took > 10*time.Second {
		t.Errorf("the primary was asked %v after it healed, want at most 10 s", took)
	}
	g.load().allOK(t)
}

// TestOneHangs guards that a hundred requests which hang in one instance do not slow down
// those to the others: their 99th percentile grows by less than 100 ms. Of three loads
// the best one counts, and they are 20 requests wide, as the machine may be busy.
func TestOneHangs(t *testing.T) {
	const stuck = 100
	var hangs atomic.Bool
	bad := startScripted(t, func(conn *net.TCPConn, r *http.Request, body []byte) bool {
		if hangs.Load() {
			untilClosed(conn)
			return false
		}
		return goodScript(conn, r, body)
	})
	file := fmt.Sprintf(`{"instances": [{"url": %q, "model_name": "m", "max_concurrency": %d}, {"url": %q, "model_name": "m"}, {"url": %q, "model_name": "m"}]}`,
		bad.url, stuck, startGood(t).url, startGood(t).url)
	g := startGateway(t, file)
	before := g.percentile99(t)

	hangs.Store(true)
	state := g.store.snapshot().fleet.instances[0].state
	var clients sync.WaitGroup
	var done atomic.Int64
	for range 4 * stuck { // a third of them goes there
		clients.Go(func() {
			g.chat(false)
			done.Add(1)
		})
	}
	eventually(t, "a hundred requests to hang", func() bool { return state.inFlight.Load() == stuck && done.Load() == 3*stuck })
	inTime(t, func() (late string) {
		if after := g.percentile99(t); after > before+100*time.Millisecond {
			return fmt.Sprintf("99th percentile is %v, and was %v before", after, before)
		}
		return ""
	})
	if got := state.inFlight.Load(); got != stuck || done.Load() != 3*stuck {
		t.Errorf("%d requests hang, want %d until the end", got, stuck)
	}
	hangs.Store(false)
	bad.drop()
	clients.Wait()
}

// percentile99 returns how long the slowest hundredth of the chats takes at least, in
// the best of three loads.
func (g *gateway) percentile99(t *testing.T) time.Duration {
	t.Helper()
	best := time.Hour
	for range 3 {
		report := g.load()
		report.allOK(t)
		slices.Sort(report.took)
		best = min(best, report.took[len(report.took)*99/100])
	}
	return best
}

// TestStuckEngine guards that an instance whose engine is stuck is ejected by the
// deadline for the first token although its own check passes, and that only a token
// brings it back.
func TestStuckEngine(t *testing.T) {
	var stuck atomic.Bool
	stuck.Store(true)
	engine := startScripted(t, func(conn *net.TCPConn, r *http.Request, body []byte) bool {
		switch {
		case r.Method == http.MethodGet:
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		case stuck.Load():
			io.WriteString(conn, streamHeader+chunked(": waiting\n\n"))
			untilClosed(conn)
			return false
		default:
			return goodScript(conn, r, body)
		}
		return true
	})
	checkPasses := func() {
		t.Helper()
		res, err := client.Get("http://" + engine.address + "/health")
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("the instance's own check: %v %v", res, err)
		}
		res.Body.Close()
	}
	g := startGateway(t, fleetWith(`"error_threshold": 5, "timeouts": {"first_token": "100ms"}`, engine.url, startGood(t).url, startGood(t).url))
	streams := func() {
		t.Helper()
		for range 60 {
			if a := g.chat(true); !a.whole() {
				t.Errorf("got %d %q, aborted %v", a.status, a.body, a.aborted)
			}
		}
	}
	streams()
	if v := g.state(0); v.phase != ejected || v.why != reasonFirstToken || v.failures != 5 {
		t.Errorf("got %v for %q after %d failures, want ejected for first_token after 5", v.phase, v.why, v.failures)
	}
	checkPasses()
	streams()
	if v := g.state(0); v.phase != ejected || v.failures != 5 {
		t.Errorf("its check passes: got %v after %d failures, want ejected after 5", v.phase, v.failures)
	}
	g.trialDue(0)
	streams()
	if v := g.state(0); v.phase != ejected || v.failures != 6 {
		t.Errorf("after a trial: got %v after %d failures, want ejected after 6", v.phase, v.failures)
	}
	stuck.Store(false)
	g.trialDue(0)
	streams()
	if v := g.state(0); v.phase != ramping || v.failures != 6 {
		t.Errorf("after it woke up: got %v after %d failures, want ramping after 6", v.phase, v.failures)
	}
}

// TestDueFallback guards that a fallback instance which is out gets its trial also
// while the only primary instance fails on.
func TestDueFallback(t *testing.T) {
	m, cloud := startMoody(t), startMoody(t)
	g := startGateway(t, `{"error_threshold": 3, "instances": [`+m.entry("")+`], "fallback_instances": [`+cloud.entry(`, "api_key": "k"`)+`]}`)
	m.status.Store(http.StatusInternalServerError)
	g.asks(t, 4)
	cloud.status.Store(http.StatusUnauthorized)
	g.asks(t, 2)
	if g.phase(0) != ejected || g.phase(1) != ejected {
		t.Fatalf("got %v and %v, want both out", g.phase(0), g.phase(1))
	}
	cloud.status.Store(http.StatusOK)
	g.makeDue(1)
	for range 5 {
		wantWhole(t, g.sends(t, chatPath, chat("")))
	}
}
