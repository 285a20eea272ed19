package aigateway

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// throughPlain reports whether a request is under way in [http1.Transport].
func throughPlain() bool {
	stacks := make([]byte, 4<<20)
	return strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "internal/http1.(*Transport).Do")
}

// sorted is an instance that notes through which transport it is asked, and on which
// connections.
type sorted struct {
	*witness
	plain atomic.Bool
	conns sync.Map // by the client's address
}

func startSorted(t testing.TB) *sorted {
	s := new(sorted)
	s.witness = startWitness(t, func(w http.ResponseWriter, r *http.Request) {
		s.plain.Store(throughPlain())
		s.conns.Store(r.RemoteAddr, nil)
		io.WriteString(w, "{}")
	})
	return s
}

// asked sends three requests, one after the other, and fails the test unless they go
// through the plain transport, or do not, on so many connections.
func (s *sorted) asked(t *testing.T, g *gateway, plain bool, conns int) {
	t.Helper()
	for range 3 {
		if status, text := g.post(t, chatPath, chatBody(false)); status != 200 || text != "{}" {
			t.Errorf("got %d %s, want 200", status, text)
		}
		if got := s.plain.Load(); got != plain {
			t.Errorf("plain transport is used: got %v, want %v", got, plain)
		}
	}
	got := 0
	for range s.conns.Range {
		got++
	}
	if got != conns {
		t.Errorf("instance got %d connections, want %d", got, conns)
	}
}

// TestPlain guards that instances without TLS are asked through http1 with the default
// options and those that it serves, and through the stock transport with all others.
func TestPlain(t *testing.T) {
	if theLongWay {
		t.Skip("skipped: all go through the standard transport here")
	}
	f := func(want bool, lines ...string) {
		t.Helper()
		t.Run(strings.Join(lines, ";"), func(t *testing.T) {
			s := startSorted(t)
			s.asked(t, startGateway(t, fleetOf(s.URL+"/v1"), lines...), want, 1)
		})
	}
	option := func(want bool, line string) {
		t.Helper()
		f(want, "transport http {\n"+line+"\n}")
	}
	f(true)
	f(true, "header_up X-Team t", "flush_interval -1")
	for _, line := range []string{
		"dial_timeout 5s", "dial_fallback_delay 1s", "local_address 127.0.0.1", "resolvers 127.0.0.1", "read_timeout 5s", "write_timeout 5s", "read_buffer 8KiB",
		"write_buffer 8KiB", "max_response_header 8KiB", "expect_continue_timeout 1s", "compression off", "versions 1.1", "versions 1.1 2", "keepalive 7s",
		"keepalive_interval 7s", "keepalive_idle_conns 7", "keepalive_idle_conns_per_host 7", "tls_insecure_skip_verify",
	} {
		option(true, line)
	}
	for _, line := range []string{"max_conns_per_host 7", "response_header_timeout 5s", "versions 2", "network_proxy none\nmax_conns_per_host 7"} {
		option(false, line)
	}
	f(false, "proxy_environment")
}

// TestStatusBelow100 guards, for both transports, that an answer of no valid status is
// an instance's failure: passed on, it would make the server panic.
func TestStatusBelow100(t *testing.T) {
	s := startScripted(t, func(c *net.TCPConn, _ *http.Request, _ []byte) bool {
		io.WriteString(c, "HTTP/1.1 099 What\r\nContent-Length: 2\r\n\r\n{}")
		return true
	})
	for name, line := range map[string]string{"plain": "", "stock": "transport http {\nmax_conns_per_host 7\n}"} {
		t.Run(name, func(t *testing.T) {
			g := startGateway(t, fleetOf(s.url), line)
			if a := g.chat(false); a.status != http.StatusBadGateway || a.aborted || g.marks()[0] != 1 {
				t.Errorf("got %d %s, aborted %v, marks %v; want 502 and one mark", a.status, a.body, a.aborted, g.marks())
			}
		})
	}
}

// TestPlainJSON guards the same for options that a Caddyfile does not have, or writes
// otherwise.
func TestPlainJSON(t *testing.T) {
	f := func(options string, want bool) {
		t.Helper()
		if _, got, err := new(Handler).transportDefaults(json.RawMessage(options)); got != want || err != nil {
			t.Errorf("%s: got %v %v, want %v", options, got, err, want)
		}
	}
	f(`{"protocol":"http"}`, true)
	f(`{"protocol":"http","network_proxy":{"from":"none"}}`, true)
	f(`{"protocol":"http","network_proxy":{"from":"url","url":"http://proxy"}}`, false)
	f(`{"protocol":"http","forward_proxy_url":"http://proxy"}`, false)
	f(`{"protocol":"http","compression":true}`, false)
	f(`{"protocol":"http","Compression":true}`, false)
	f(`{"protocol":"http","versions":[]}`, false)
	f(`{"protocol":"http","versions":["h2c","1.1"]}`, false)
	f(`{"protocol":"http","versions":["3"]}`, false)
	f(`{"protocol":"http","proxy_protocol":"v1"}`, false)
	f(`{"protocol":"http","what":"is to come"}`, false)
	f(`{"protocol":"fastcgi"}`, false)
}

// TestStockKeepaliveOff guards that each request has its own connection if the Caddyfile
// says so.
func TestStockKeepaliveOff(t *testing.T) {
	s := startSorted(t)
	s.asked(t, startGateway(t, fleetOf(s.URL+"/v1"), "transport http {\nkeepalive off\n}"), false, 3)
}

// TestStockH2C guards that instances are asked in HTTP/2 without TLS if the Caddyfile
// says so.
func TestStockH2C(t *testing.T) {
	var proto, plain atomic.Value
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proto.Store(r.Proto)
		plain.Store(throughPlain())
		io.WriteString(w, "{}")
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	g := startGateway(t, fleetOf(s.URL+"/v1"), "transport http {\nversions h2c\n}")
	if status, text := g.post(t, chatPath, chatBody(false)); status != 200 || proto.Load() != "HTTP/2.0" || plain.Load() != false {
		t.Errorf("got %d %s, asked in %v, plain %v; want 200 in HTTP/2.0", status, text, proto.Load(), plain.Load())
	}
}

// TestStockMaxConns guards that no more requests are in an instance at once than the
// Caddyfile allows connections.
func TestStockMaxConns(t *testing.T) {
	var now, most, asked atomic.Int64
	two := make(chan struct{})
	w := startWitness(t, func(w http.ResponseWriter, _ *http.Request) {
		for n, seen := now.Add(1), most.Load(); n > seen && !most.CompareAndSwap(seen, n); seen = most.Load() {
		}
		if asked.Add(1) == 2 {
			close(two)
		}
		<-two
		now.Add(-1)
		io.WriteString(w, "{}")
	})
	g := startGateway(t, fleetOf(w.URL+"/v1"), "transport http {\nmax_conns_per_host 2\n}")
	var clients sync.WaitGroup
	for range 10 {
		clients.Go(func() { g.chat(false) })
	}
	clients.Wait()
	if most.Load() != 2 || asked.Load() != 10 {
		t.Errorf("%d of %d requests were there at once, want 2 of 10", most.Load(), asked.Load())
	}
}

// TestStockProxyProtocol guards that an instance learns the client's address before the
// request, on connections that no other client's requests go over.
func TestStockProxyProtocol(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	lines := make(chan string, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				br := bufio.NewReader(c)
				line, _ := br.ReadString('\n')
				if r, err := http.ReadRequest(br); err == nil {
					io.Copy(io.Discard, r.Body)
					lines <- line
					io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
				}
			}()
		}
	}()
	g := startGateway(t, fleetOf("http://"+l.Addr().String()+"/v1"), "transport http {\nproxy_protocol v1\n}")
	if status, text := g.post(t, chatPath, chatBody(false)); status != 200 {
		t.Fatalf("got %d %s, want 200", status, text)
	}
	if line := <-lines; !strings.HasPrefix(line, "PROXY TCP4 127.0.0.1 ") {
		t.Errorf("instance got %q, want a PROXY line", line)
	}
}

// TestStockForwardProxy guards that instances are reached through a forward proxy if the
// Caddyfile names one.
func TestStockForwardProxy(t *testing.T) {
	s := startSorted(t)
	g := startGateway(t, fleetOf("http://model.invalid/v1"), fmt.Sprintf("transport http {\nforward_proxy_url %s\n}", s.URL))
	s.asked(t, g, false, 1)
	if got := s.last(t).uri; got != "http://model.invalid"+chatPath {
		t.Errorf("proxy is asked for %s, want http://model.invalid%s", got, chatPath)
	}
}
