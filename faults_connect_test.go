package aigateway

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// TestConnectRefused guards that an instance nobody listens on costs no error, at
// most three dials before it is left out, one more for each trial, and next to no time.
func TestConnectRefused(t *testing.T) {
	var g *gateway
	inTime(t, func() (late string) {
		g = startGateway(t, fleetOf("http://"+freeAddress(t)+"/v1", startGood(t).url, startGood(t).url))
		report := g.loadOf(60, 1)
		report.allOK(t)
		if v := g.state(0); v.failures != 3 || v.phase != ejected || v.why != reasonConnect {
			t.Errorf("got %d dials, then %v for %q, want 3, ejected, connect", v.failures, v.phase, v.why)
		}
		var direct, replayed []time.Duration
		for _, a := range report.answers {
			if a.header.Get("X-Ai-Gateway-Attempts") == "1" {
				direct = append(direct, a.took)
			} else {
				replayed = append(replayed, a.took)
			}
		}
		if len(replayed) != 3 {
			t.Errorf("%d requests were replayed, want 3", len(replayed))
		}
		if median(replayed) > median(direct)+50*time.Millisecond {
			return fmt.Sprintf("those replayed took %v, others %v, want at most 50 ms more", median(replayed), median(direct))
		}
		return ""
	})
	for step := 1; step <= 3; step++ {
		g.trialDue(0)
		g.load().allOK(t)
		if v := g.state(0); v.failures != 3+step || v.phase != ejected {
			t.Errorf("after %d trials: got %d dials and %v, want %d and ejected", step, v.failures, v.phase, 3+step)
		}
	}
}

// TestConnectRefusedUnderLoad guards that under load too only the requests under way
// when an instance is left out have been there in vain.
func TestConnectRefusedUnderLoad(t *testing.T) {
	g := startGateway(t, fleetOf("http://"+freeAddress(t)+"/v1", startGood(t).url, startGood(t).url))
	g.load().allOK(t)
	if v := g.state(0); v.failures < 3 || v.failures > 3+20 || v.phase != ejected {
		t.Errorf("got %d dials and %v, want 3 to 23 and ejected", v.failures, v.phase)
	}
}

// trialDue ends the wait of an ejected instance, which lasts seconds by a constant.
func (g *gateway) trialDue(n int) {
	g.store.snapshot().fleet.instances[n].state.health.until.Store(int64(clock()))
}

func median(took []time.Duration) time.Duration {
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// TestConnectBlackHole guards that an instance whose host swallows what is sent to it
// costs no error, and delays only the requests that meet it before it is left out, by
// timeouts.connect each. That is a tenth of the default here.
func TestConnectBlackHole(t *testing.T) {
	const connect = 300 * time.Millisecond
	inTime(t, func() (late string) {
		g := startGateway(t, fleetWith(`"timeouts": {"connect": "300ms"}`, "http://"+blackHole(t)+"/v1", startGood(t).url, startGood(t).url))
		report := g.load()
		report.allOK(t)
		var delayed []time.Duration
		for _, a := range report.answers {
			if a.header.Get("X-Ai-Gateway-Attempts") != "1" {
				delayed = append(delayed, a.took)
			}
		}
		if len(delayed) < 3 || len(delayed) > 3+20 {
			t.Fatalf("%d requests were delayed, want 3 and those in flight, at most 23", len(delayed))
		}
		if v := g.state(0); v.phase != ejected || v.why != reasonConnect {
			t.Errorf("got %v for %q, want ejected for connect", v.phase, v.why)
		}
		m := median(delayed)
		if m < connect {
			t.Errorf("half of the requests were delayed by less than %v, want %v", m, connect)
		}
		if m > connect+200*time.Millisecond {
			return fmt.Sprintf("requests were delayed by %v to %v, half of them by %v; want %v to 200 ms more", delayed[0], delayed[len(delayed)-1], m, connect)
		}
		return ""
	})
}

// blackHole returns an address at which the system drops the SYN of every new
// connection: its queue of connections to accept is full.
func blackHole(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for range 8 {
		conn, err := net.DialTimeout("tcp", address, 100*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Skip("this system accepts connections past a full queue")
	return ""
}

// TestNameUnknown guards that an instance whose name is not known costs no error, and
// is back within ten seconds after it is, without a restart.
func TestNameUnknown(t *testing.T) {
	var known atomic.Bool
	named := startGood(t)
	_, port, _ := net.SplitHostPort(named.address)
	g := startGateway(t, fleetOf("http://model.test:"+port+"/v1", startGood(t).url, startGood(t).url),
		"transport http {\n resolvers udp/"+startDNS(t, "model.test.", &known)+"\n }")
	g.load().allOK(t)
	if v := g.state(0); v.phase != ejected || v.why != reasonResolve || named.conns.Load() != 0 {
		t.Errorf("got %v for %q and %d connections, want ejected for resolve and none", v.phase, v.why, named.conns.Load())
	}
	known.Store(true)
	began, own := time.Now(), watchOwn()
	eventually(t, "the instance to be back after its name is known", func() bool {
		g.loadOf(1, 1).allOK(t)
		return named.requests.Load() > 0
	})
	if took := time.Since(began) - own.longest(); took > 10*time.Second {
		t.Errorf("the instance was asked %v after its name is known, want at most 10 s", took)
	}
	g.load().allOK(t)
	if phase := g.state(0).phase; phase != ramping {
		t.Errorf("got %v, want ramping", phase)
	}
}

// startDNS runs a name server that knows name as 127.0.0.1 once known is true.
func startDNS(t *testing.T, name string, known *atomic.Bool) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			m.Header = dnsmessage.Header{ID: m.ID, Response: true, Authoritative: true, RecursionAvailable: true}
			m.Additionals = nil
			switch {
			case q.Name.String() != name || !known.Load():
				m.RCode = dnsmessage.RCodeNameError
			case q.Type == dnsmessage.TypeA:
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
					Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
				}}
			}
			if reply, err := m.Pack(); err == nil {
				conn.WriteTo(reply, from)
			}
		}
	}()
	return conn.LocalAddr().String()
}

// TestAllRefuse guards what a client is told when no instance can be reached: at once,
// as JSON, with the time to wait and the advice not to multiply the attempts.
func TestAllRefuse(t *testing.T) {
	dead := func() string { return "http://" + freeAddress(t) + "/v1" }
	var report *loadReport
	inTime(t, func() (late string) {
		g := startGateway(t, fleetOf(dead(), dead(), dead(), dead(), dead()))
		if report = g.load(); report.status[503] != 300 {
			t.Errorf("got %v, want 300 times 503", report)
		}
		if report.slowest() > time.Second {
			return fmt.Sprintf("got %v, want all within a second", report)
		}
		return ""
	})
	most := "0"
	for n, a := range report.answers {
		var body struct {
			Error struct{ Message, Type, Code string }
		}
		err := json.Unmarshal([]byte(a.body), &body)
		if err != nil || body.Error.Code != "upstream_unreachable" || body.Error.Type != "server_error" || body.Error.Message == "" {
			t.Fatalf("request %d: got %s, want a JSON error upstream_unreachable", n, a.body)
		}
		if a.header.Get("Retry-After") != "5" || a.header.Get("X-Should-Retry") != "false" {
			t.Fatalf("request %d: got Retry-After %q, X-Should-Retry %q", n, a.header.Get("Retry-After"), a.header.Get("X-Should-Retry"))
		}
		most = max(most, a.header.Get("X-Ai-Gateway-Attempts"))
	}
	if most != "3" {
		t.Errorf("got %s attempts for a request, want at most 3, and 3 as long as the budget lasts", most)
	}
}

// TestAllRefuseButFallback guards that the fallback tier answers every request of a
// model whose primaries are gone, also before they are left out, and says so.
func TestAllRefuseButFallback(t *testing.T) {
	dead := func() string { return "http://" + freeAddress(t) + "/v1" }
	cloud := startGood(t)
	g := startGateway(t, fleetWith(fmt.Sprintf(`"fallback_instances": [{"url": %q, "model_name": "m"}]`, cloud.url), dead(), dead(), dead()))
	report := g.load()
	report.allOK(t)
	for n, a := range report.answers {
		if a.header.Get("X-Ai-Gateway-Fallback") != "true" {
			t.Fatalf("request %d: answer is not marked as the fallback's", n)
		}
	}
	if got := cloud.requests.Load(); got != 300 {
		t.Errorf("fallback got %d requests, want 300", got)
	}
	for n := range 3 {
		if phase := g.state(n).phase; phase != ejected {
			t.Errorf("primary %d is %v, want ejected", n, phase)
		}
	}
}

// TestOutOfFiles guards that a gateway which can open no more files answers 503, blames
// no instance for it, and serves again once it can. It lowers the limit of a process
// of its own.
func TestOutOfFiles(t *testing.T) {
	const variable = "AI_GATEWAY_TEST_OUT_OF_FILES"
	if os.Getenv(variable) == "" {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOutOfFiles$", "-test.timeout=60s")
		child.Env = append(os.Environ(), variable+"=1")
		if out, err := child.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	g := startGateway(t, fleetOf(startGood(t).url, startGood(t).url, startGood(t).url))
	// The clients are connected before; the gateway is not connected to anybody.
	var clients []*http.Client
	for range 20 {
		c := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
		clients = append(clients, c)
		res, err := c.Get(g.url + "/health")
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, res.Body)
	}
	ask := func(c *http.Client) (int, string) {
		res, err := c.Post(g.url+chatPath, "application/json", strings.NewReader(chatBody(false)))
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, readAll(t, res.Body)
	}
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 3, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	for n := range 300 {
		if status, text := ask(clients[n%len(clients)]); status != 503 || !strings.Contains(text, `"gateway_resources"`) {
			t.Errorf("request %d without files: got %d %s, want 503 gateway_resources", n, status, text)
		}
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if marks := g.marks(); !slices.Equal(marks, []int{0, 0, 0}) {
		t.Errorf("got failures %v, want none", marks)
	}
	for n, c := range clients {
		if status, text := ask(c); status != 200 || text != chatJSON {
			t.Errorf("request %d with files again: got %d %s", n, status, text)
		}
	}
}
