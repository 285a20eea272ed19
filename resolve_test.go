package aigateway

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// replicas starts n servers of model m on 127.0.0.1, 127.0.0.2 and so on, all at one port.
func startReplicas(t testing.TB, n int, secure bool, answer func(n int) http.HandlerFunc) (port string) {
	t.Helper()
	for k := range n {
		server := httptest.NewUnstartedServer(answer(k + 1))
		if k > 0 {
			server.Listener.Close()
			server.Listener = loopback(t, k+1, port)
		} else {
			_, port, _ = net.SplitHostPort(server.Listener.Addr().String())
		}
		if secure {
			server.EnableHTTP2 = true
			server.StartTLS()
		} else {
			server.Start()
		}
		t.Cleanup(server.Close)
	}
	return port
}

// refresh has all names of g looked up now, and waits until what came is in force.
func (g *gateway) refresh(t testing.TB) {
	t.Helper()
	s := g.store
	eventually(t, "lookups under way to end", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, known := range s.resolver.names {
			if known.busy {
				return false
			}
		}
		return true
	})
	s.mu.Lock()
	var done []func() bool
	for name, known := range s.resolver.names {
		before := known.counts
		known.due = 0
		done = append(done, func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.resolver.names[name] != known || known.counts != before
		})
	}
	s.resolver.ring()
	s.mu.Unlock()
	for _, ready := range done {
		eventually(t, "the lookup to end", ready)
	}
}

// upstreams returns the names of the instances in force, without what stands before @.
func (g *gateway) upstreams() (all []string) {
	for _, i := range g.store.snapshot().fleet.instances {
		_, address, _ := strings.Cut(i.name, "@")
		all = append(all, fmt.Sprintf("%s*%d", address, i.weight))
	}
	return all
}

func wantUpstreams(t testing.TB, g *gateway, want ...string) {
	t.Helper()
	if got := g.upstreams(); !slices.Equal(got, want) {
		t.Errorf("got instances %q, want %q", got, want)
	}
}

const askM = `{"model": "m", "messages": []}`

// TestResolveFollows guards that a name stands for one instance an address, that added
// addresses serve at once and removed ones drain, and that those that stay keep what is
// known of them.
func TestResolveFollows(t *testing.T) {
	var asked [4]atomic.Int64
	began, hold := make(chan int, 10), make(chan struct{})
	port := startReplicas(t, 3, false, func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			asked[n].Add(1)
			if r.Host != "models.test:"+r.Header.Get("X-Port") {
				t.Errorf("got Host %q, want that of the URL", r.Host)
			}
			body, _ := io.ReadAll(r.Body)
			if strings.Contains(string(body), "hold") {
				began <- n
				<-hold
			}
			io.WriteString(w, `{"from": `+fmt.Sprint(n)+`}`)
		}
	})
	names := startNameServer(t)
	names.set(t, "models.test", "A 127.0.0.1", "A 127.0.0.2")
	g := startGateway(t, names.resolving("a", "http://Models.Test:"+port+"/v1", `weight: 3, headers: {"X-Port": "`+port+`"}`))
	wantUpstreams(t, g, "127.0.0.1:"+port+"*3", "127.0.0.2:"+port+"*3")
	if name := g.store.snapshot().fleet.instances[1].name; name != "models.test:"+port+"/v1@127.0.0.2:"+port {
		t.Errorf("got name %q", name)
	}
	for range 4 {
		g.post(t, "/v1/chat/completions", askM)
	}
	if asked[1].Load() != 2 || asked[2].Load() != 2 {
		t.Errorf("got %d and %d requests, want 2 each", asked[1].Load(), asked[2].Load())
	}

	// Two requests stay under way while the second address makes place for a third.
	var under sync.WaitGroup
	for range 2 {
		under.Go(func() {
			if status, body := g.post(t, "/v1/chat/completions", `{"model": "m", "messages": [], "user": "hold"}`); status != 200 {
				t.Errorf("got %d %s of an address that has left", status, body)
			}
		})
	}
	<-began
	<-began
	first, gone := g.store.snapshot().fleet.instances[0], g.store.snapshot().fleet.instances[1]
	names.set(t, "models.test", "A 127.0.0.3", "A 127.0.0.1")
	g.refresh(t)
	wantUpstreams(t, g, "127.0.0.1:"+port+"*3", "127.0.0.3:"+port+"*3")
	if now := g.store.snapshot().fleet.instances[0]; now.id != first.id || now.state != first.state || now.state.inFlight.Load() != 1 {
		t.Error("the instance that stays has lost its state")
	}
	g.store.mu.Lock()
	if g.store.states[gone.id] != nil {
		t.Error("the state of an instance that has left is kept")
	}
	g.store.mu.Unlock()
	before := asked[2].Load()
	for range 6 {
		g.post(t, "/v1/chat/completions", askM)
	}
	if asked[2].Load() != before || asked[3].Load() == 0 {
		t.Errorf("got %d requests more for the address that has left, %d for the new one", asked[2].Load()-before, asked[3].Load())
	}
	close(hold)
	under.Wait()
	wantEvent(t, g, addressesChanged, "models.test", "1 instances added, 1 removed, 0 changed; 0 settings changed")
}

// wantEvent waits for an event of the kind about name, with that cause.
func wantEvent(t testing.TB, g *gateway, kind eventKind, name, cause string) {
	t.Helper()
	eventually(t, string(kind), func() bool {
		events, _, _ := g.store.history.since(0)
		return slices.ContainsFunc(events, func(e event) bool { return e.kind == kind && e.name == name && e.cause == cause })
	})
}

// countEvents returns how many events of the kind there have been.
func countEvents(g *gateway, kind eventKind) (n int) {
	events, _, _ := g.store.history.since(0)
	for _, e := range events {
		if e.kind == kind {
			n++
		}
	}
	return n
}

// TestResolveKeepsLast guards that the last addresses outlive failed lookups and empty
// answers, and who hears of it.
func TestResolveKeepsLast(t *testing.T) {
	port := startReplicas(t, 1, false, func(int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") }
	})
	names := startNameServer(t)
	names.set(t, "models.test", "A 127.0.0.1")
	g := startGateway(t, strings.Replace(names.resolving("a", "http://models.test:"+port+"/v1", ""), "{servers", "{timeout: 0.3, servers", 1))
	serves := func(after string) {
		t.Helper()
		wantUpstreams(t, g, "127.0.0.1:"+port+"*1")
		if status, body := g.post(t, "/v1/chat/completions", askM); status != 200 {
			t.Errorf("after %s: got %d %s", after, status, body)
		}
	}
	serves("the start")

	names.fail(dns.RcodeServerFailure)
	for n := range lookupFailures {
		if got := countEvents(g, dnsFailed); got != 0 {
			t.Errorf("got an event after %d failures, want it after %d", n, lookupFailures)
		}
		g.refresh(t)
	}
	wantEvent(t, g, dnsFailed, "models.test", "server misbehaving")
	serves("failures")
	g.refresh(t)
	names.fail(0)
	g.refresh(t)
	wantEvent(t, g, dnsRecovered, "models.test", "")

	names.set(t, "models.test") // NODATA
	g.refresh(t)
	wantEvent(t, g, dnsEmpty, "models.test", errNoAddress.Error())
	serves("an empty answer")
	names.fail(dns.RcodeNameError)
	g.refresh(t)
	serves("NXDOMAIN")
	names.fail(0)
	names.set(t, "models.test", "A 127.0.0.1")
	g.refresh(t)
	eventually(t, "a second recovery", func() bool { return countEvents(g, dnsRecovered) == 2 })
	if failed, empty, changed := countEvents(g, dnsFailed), countEvents(g, dnsEmpty), countEvents(g, addressesChanged); failed != 1 || empty != 1 || changed != 0 {
		t.Errorf("got %d failed, %d empty, %d changed, want 1, 1, 0", failed, empty, changed)
	}

	names.hush(true)
	for range lookupFailures {
		g.refresh(t)
	}
	wantEvent(t, g, dnsFailed, "models.test", "the DNS server does not answer in time")
	serves("silence")
	g.store.mu.Lock()
	counts := g.store.resolver.names[dnsName{"a", "models.test"}].counts
	g.store.mu.Unlock()
	if counts != [3]int64{3, 2, 2*lookupFailures + 1} {
		t.Errorf("got counts %v", counts)
	}
}

// TestResolveStartsWithout guards that a DNS that is down stops no start: the model is
// there, nobody serves it, the fallback takes over, and the name's servers serve as soon
// as it answers.
func TestResolveStartsWithout(t *testing.T) {
	port := startReplicas(t, 1, false, func(int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `"own"`) }
	})
	cloud := startWitness(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `"cloud"`) })
	names := startNameServer(t)
	names.hush(true)
	fleet := strings.Replace(names.resolving("a", "http://models.test:"+port, ""), "{servers", "{timeout: 0.5, servers", 1)
	began, own := time.Now(), watchOwn()
	g := startGateway(t, fleet)
	if took := time.Since(began) - own.longest(); took > 5*firstLookup {
		t.Errorf("the start took %v", took)
	}
	wantUpstreams(t, g)
	status, body := g.post(t, "/v1/chat/completions", askM)
	if status != 503 || !strings.Contains(body, "its name in the DNS") {
		t.Errorf("got %d %s, want 503 for want of an address", status, body)
	}
	if res, err := client.Get(g.url + "/v1/models"); err != nil {
		t.Error(err)
	} else if list := readAll(t, res.Body); !strings.Contains(list, `"m"`) {
		t.Errorf("got models %s, want m among them", list)
	}
	st := g.store.status()
	if len(st.Names) != 1 || st.Names[0].Name != "models.test" || st.Names[0].Error == "" || st.Names[0].Addresses != 0 || len(st.Models) != 1 || st.Models[0].State != "empty" {
		t.Errorf("got names %+v and models %+v", st.Names, st.Models)
	}
	g.save(t, strings.Replace(fleet, "instances:", `fallback_instances: [{url: "`+cloud.URL+`", model_name: "m"}], instances:`, 1))
	if status, body := g.post(t, "/v1/chat/completions", askM); status != 200 || body != `"cloud"` {
		t.Errorf("got %d %s, want the fallback's answer", status, body)
	}
	names.hush(false)
	names.set(t, "models.test", "A 127.0.0.1")
	g.refresh(t)
	if status, body := g.post(t, "/v1/chat/completions", askM); status != 200 || body != `"own"` {
		t.Errorf("got %d %s, want the answer of the name's server", status, body)
	}
	if st := g.store.status(); st.Names[0].Error != "" || st.Names[0].Addresses != 1 {
		t.Errorf("got names %+v", st.Names)
	}
}

// TestResolveBadSwap guards that a file that cannot be put in force takes no names from
// the one that is.
func TestResolveBadSwap(t *testing.T) {
	names := startNameServer(t)
	names.set(t, "models.test", "A 127.0.0.1")
	g := startGateway(t, names.resolving("a", "http://models.test:1", ""))
	g.store.mu.Lock()
	other, err := parseConfig([]byte(names.resolving("a", "http://others.test:1", "")), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	g.store.resolver.prepare(other, clock(), firstLookup) // and then something fails
	g.store.renew()
	g.store.mu.Unlock()
	wantUpstreams(t, g, "127.0.0.1:1*1")
	g.save(t, names.resolving("a", "http://others.test:1", ""))
	g.store.mu.Lock()
	defer g.store.mu.Unlock()
	if len(g.store.resolver.names) != 1 {
		t.Errorf("got %d names, want that of the file in force alone", len(g.store.resolver.names))
	}
}

// TestResolveChurn guards that no client notices addresses that come and go.
func TestResolveChurn(t *testing.T) {
	const clients, changes = 50, 40
	var asked [5]atomic.Int64
	port := startReplicas(t, 4, false, func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			asked[n].Add(1)
			w.Header().Set("Content-Type", "text/event-stream")
			for k := range 3 {
				fmt.Fprintf(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%d\"}}]}\n\n", k)
				w.(http.Flusher).Flush()
			}
			io.WriteString(w, "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
		}
	})
	names := startNameServer(t)
	names.set(t, "models.test", "A 127.0.0.1")
	g := startGateway(t, names.resolving("a", "http://models.test:"+port+"/v1", ""))
	var answers atomic.Int64
	stop := make(chan struct{})
	var under sync.WaitGroup
	for range clients {
		under.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				status, body := g.post(t, "/v1/chat/completions", `{"model": "m", "stream": true, "messages": []}`)
				if status != 200 || !strings.HasSuffix(body, "data: [DONE]\n\n") || strings.Count(body, "content") != 3 {
					t.Errorf("got %d %s", status, body)
					return
				}
				answers.Add(1)
			}
		})
	}
	for n := range changes {
		names.set(t, "models.test", fmt.Sprintf("A 127.0.0.%d", n%4+1), fmt.Sprintf("A 127.0.0.%d", (n+n/4+1)%4+1))
		g.refresh(t)
		seen := answers.Load()
		eventually(t, "answers between changes", func() bool { return answers.Load() > seen+clients })
	}
	close(stop)
	under.Wait()
	for n := 1; n <= 4; n++ {
		if asked[n].Load() == 0 {
			t.Errorf("address %d was asked nothing", n)
		}
	}
	if got := countEvents(g, addressesChanged); got < changes/2 {
		t.Errorf("got %d changes, want about %d", got, changes)
	}
	t.Logf("%d streams whole, by %v requests", answers.Load(), []int64{asked[1].Load(), asked[2].Load(), asked[3].Load(), asked[4].Load()})
}

// TestResolveTLS guards that each address has connections of its own under the name's
// certificate and Host, by HTTP/1.1 and HTTP/2, on both ways through the gateway.
func TestResolveTLS(t *testing.T) {
	for _, way := range []string{"", "verbose_logs"} {
		for version, protocol := range map[string]string{"1.1": "HTTP/1.1", "2": "HTTP/2.0"} {
			t.Run(version+way, func(t *testing.T) {
				var asked [3]atomic.Int64
				port := startReplicas(t, 2, true, func(n int) http.HandlerFunc {
					return func(w http.ResponseWriter, r *http.Request) {
						asked[n].Add(1)
						local := r.Context().Value(http.LocalAddrContextKey).(net.Addr).String()
						if r.TLS.ServerName != "example.com" || !strings.HasPrefix(r.Host, "example.com:") || r.Proto != protocol || !strings.HasPrefix(local, fmt.Sprintf("127.0.0.%d:", n)) {
							t.Errorf("got TLS name %q, Host %q, %s at %s", r.TLS.ServerName, r.Host, r.Proto, local)
						}
						io.WriteString(w, "{}")
					}
				})
				names := startNameServer(t)
				names.set(t, "example.com", "A 127.0.0.1", "A 127.0.0.2")
				options := []string{"transport http {\n tls_trust_pool file " + testAuthority(t) + "\n versions " + strings.ReplaceAll(version, "2", "1.1 2") + "\n}"}
				if way != "" && !theLongWay { // which all gateways go then
					options = append(options, way)
				}
				g := startGateway(t, names.resolving("a", "https://example.com:"+port+"/v1", ""), options...)
				var all sync.WaitGroup
				for range 10 {
					all.Go(func() {
						if status, body := g.post(t, "/v1/chat/completions", askM); status != 200 {
							t.Errorf("got %d %s", status, body)
						}
					})
				}
				all.Wait()
				if asked[1].Load() != 5 || asked[2].Load() != 5 {
					t.Errorf("got %d and %d requests, want 5 each", asked[1].Load(), asked[2].Load())
				}
			})
		}
	}
}

// TestResolveForwardProxy guards that a forward proxy gets the name, not an address.
func TestResolveForwardProxy(t *testing.T) {
	for url, want := range map[string]string{
		"http://models.test:81/v1": "http://models.test:81/v1/chat/completions", "https://models.test:444/v1": "models.test:444",
	} {
		proxy := startWitness(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodConnect {
				w.WriteHeader(http.StatusForbidden)
			}
		})
		names := startNameServer(t)
		names.set(t, "models.test", "A 127.0.0.1")
		g := startGateway(t, names.resolving("a", url, ""), "transport http {\nforward_proxy_url "+proxy.URL+"\n}")
		g.post(t, "/v1/chat/completions", askM)
		if got := proxy.last(t).uri; got != want {
			t.Errorf("%s: the proxy is asked for %s, want %s", url, got, want)
		}
	}
}

// testAuthority writes the certificate of the standard library's test servers to a file.
func testAuthority(t testing.TB) string {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	defer server.Close()
	file := filepath.Join(t.TempDir(), "authority.pem")
	writeFile(t, file, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	return file
}

// TestLookup compares what a name brings.
func TestLookup(t *testing.T) {
	names := startNameServer(t)
	l := newLookups(&DNSConfig{Timeout: defaultDNS.Timeout, Servers: []string{names.address}})
	f := func(kind string, want []dnsRecord, wantMore int, records ...string) {
		t.Helper()
		names.set(t, "x.test", records...)
		got, more, err := l.ask(context.Background(), dnsName{kind, "x.test"})
		if len(want) == 0 && !errors.Is(err, errNoAddress) {
			t.Errorf("%q by %s: got error %v, want %v", records, kind, err, errNoAddress)
		} else if len(want) > 0 && err != nil {
			t.Errorf("%q by %s: %v", records, kind, err)
		}
		if !slices.Equal(got, want) || more != wantMore {
			t.Errorf("%q by %s: got %v and %d more, want %v and %d", records, kind, got, more, want, wantMore)
		}
	}
	f("a", []dnsRecord{{host: "10.0.0.2"}, {host: "10.0.0.10"}}, 0, "A 10.0.0.10", "A 10.0.0.2", "A 10.0.0.2", "AAAA fd00::1")
	f("aaaa", []dnsRecord{{host: "fd00::1"}, {host: "fd00::2"}}, 0, "A 10.0.0.10", "AAAA fd00::2", "AAAA fd00::1")
	f("aaaa", nil, 0, "A 10.0.0.10")
	f("a", nil, 0)
	f("srv", nil, 0, "A 10.0.0.10")

	// Equal weights are no weights; others stand for those of instances, up to 1000.
	f("srv", []dnsRecord{{"a.test", 8000, 1}, {"a.test", 8001, 1}, {"b.test", 8000, 1}}, 0,
		"SRV 0 33 8000 b.test.", "SRV 0 33 8001 a.test.", "SRV 0 33 8000 A.test.")
	f("srv", []dnsRecord{{"a.test", 80, 1}, {"b.test", 80, 3}, {"c.test", 80, 1}}, 0, "SRV 0 0 80 c.test.", "SRV 0 3 80 b.test.", "SRV 0 1 80 a.test.")
	f("srv", []dnsRecord{{"a.test", 80, 1}, {"b.test", 80, 1000}, {"c.test", 80, 500}}, 0, "SRV 0 20 80 a.test.", "SRV 0 60000 80 b.test.", "SRV 0 30000 80 c.test.")
	// Of several priorities the lowest number.
	f("srv", []dnsRecord{{"b.test", 80, 1}}, 0, "SRV 20 1 80 a.test.", "SRV 10 9 80 b.test.", "SRV 30 1 80 c.test.")
	// A target of "." is none, RFC 2782.
	f("srv", nil, 0, "SRV 0 0 0 .")

	// More than fit in a packet come by TCP, and more than maxAddresses are cut off.
	var many []string
	var want []dnsRecord
	for n := range 300 {
		many = append(many, fmt.Sprintf("A 10.0.%d.%d", n/100, n%100))
		if n < maxAddresses {
			want = append(want, dnsRecord{host: fmt.Sprintf("10.0.%d.%d", n/100, n%100)})
		}
	}
	f("a", want, 300-maxAddresses, many...)

	names.fail(dns.RcodeNameError)
	f("a", nil, 0, "A 10.0.0.1")
	names.fail(dns.RcodeRefused)
	if _, _, err := l.ask(context.Background(), dnsName{"a", "x.test"}); err == nil || errors.Is(err, errNoAddress) {
		t.Errorf("got %v of a server that refuses", err)
	}
}

// TestLookupServers guards that servers are asked in turn, so that one that is down only
// costs time.
func TestLookupServers(t *testing.T) {
	names := startNameServer(t)
	names.set(t, "x.test", "A 10.0.0.1")
	dead := freeAddress(t)
	l := newLookups(&DNSConfig{Timeout: defaultDNS.Timeout, Servers: []string{dead, names.address}})
	for range 4 {
		if got, _, err := l.ask(context.Background(), dnsName{"a", "x.test"}); err != nil || len(got) != 1 {
			t.Errorf("got %v, %v", got, err)
		}
	}
}

// TestResolveMany guards that 300 addresses make 256 instances, by IPv4 and by SRV.
func TestResolveMany(t *testing.T) {
	names := startNameServer(t)
	var many []string
	for n := range 300 {
		many = append(many, fmt.Sprintf("SRV 0 1 80 host-%d.test.", n))
	}
	names.set(t, "_vllm._tcp.models.test", many...)
	g := startGateway(t, names.resolving("srv", "http://_vllm._tcp.models.test/v1", ""))
	if got := len(g.store.snapshot().fleet.instances); got != maxAddresses {
		t.Errorf("got %d instances, want %d", got, maxAddresses)
	}
	if st := g.store.status(); len(st.Names) != 1 || st.Names[0].Addresses != maxAddresses || st.Names[0].More != 300-maxAddresses {
		t.Errorf("got %+v", st.Names)
	}
}

// TestResolveSRV guards ports and weights of the records, and Host without the labels of
// the service.
func TestResolveSRV(t *testing.T) {
	var hosts sync.Map
	var urls []string
	var asked [2]atomic.Int64
	for n := range asked {
		s := startWitness(t, func(w http.ResponseWriter, r *http.Request) {
			asked[n].Add(1)
			hosts.Store(r.Host, true)
			io.WriteString(w, "{}")
		})
		_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
		urls = append(urls, port)
	}
	names := startNameServer(t)
	names.set(t, "_vllm._tcp.models.test", "SRV 1 3 "+urls[0]+" localhost.", "SRV 1 1 "+urls[1]+" localhost.", "SRV 2 1 1 localhost.")
	g := startGateway(t, names.resolving("srv", "http://_vllm._tcp.models.test/v1", `name: "gpu"`))
	for range 8 {
		if status, body := g.post(t, "/v1/chat/completions", askM); status != 200 {
			t.Fatalf("got %d %s", status, body)
		}
	}
	if asked[0].Load() != 6 || asked[1].Load() != 2 {
		t.Errorf("got %d and %d requests, want 6 and 2", asked[0].Load(), asked[1].Load())
	}
	for _, port := range urls {
		if _, ok := hosts.Load("models.test:" + port); !ok {
			t.Errorf("no request had Host models.test:%s", port)
		}
	}
	if name := g.store.snapshot().fleet.instances[0].name; !strings.HasPrefix(name, "gpu@localhost:") {
		t.Errorf("got name %s", name)
	}
	// All are found by the name of the entry, each by its own.
	all := g.store.snapshot().fleet.names()
	if got := lookUp(all, "gpu"); len(got) != 2 {
		t.Errorf("gpu: got %v, want both", got)
	}
	if got := lookUp(all, "gpu@localhost:"+urls[1]); len(got) != 1 {
		t.Errorf("got %v, want one", got)
	}
}

// TestResolveIPv6 guards that an IPv6 address is connected to.
func TestResolveIPv6(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") }))
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	names := startNameServer(t)
	names.set(t, "models.test", "AAAA ::1", "A 127.0.0.1")
	g := startGateway(t, names.resolving("aaaa", "http://models.test:"+port, ""))
	wantUpstreams(t, g, "[::1]:"+port+"*1")
	if status, body := g.post(t, "/v1/chat/completions", askM); status != 200 {
		t.Errorf("got %d %s", status, body)
	}
}

// TestResolveSchedule guards by a clock of its own when names are looked up.
func TestResolveSchedule(t *testing.T) {
	r := newResolver()
	r.cfg = DNSConfig{Interval: Seconds(10 * time.Second)}
	name := dnsName{"a", "x.test"}
	known := &resolution{due: 5 * time.Second}
	r.names[name] = known
	if got := r.next(2 * time.Second); got != 3*time.Second {
		t.Errorf("got %v until the lookup, want 3s", got)
	}
	if got := r.take(4999 * time.Millisecond); len(got) != 0 {
		t.Errorf("got %v before it is due", got)
	}
	if got := r.take(5 * time.Second); !slices.Equal(got, []dnsName{name}) {
		t.Errorf("got %v, want the name that is due", got)
	}
	if got := r.take(5 * time.Second); len(got) != 0 {
		t.Errorf("got %v while it is under way", got)
	}
	for range 100 {
		if got := r.pause(known); got < 1800*time.Millisecond || got > 2200*time.Millisecond {
			t.Fatalf("got a pause of %v for a name never answered, want %v give or take a tenth", got, lookupRetry)
		}
	}
	known.learn([]dnsRecord{{host: "10.0.0.1"}}, 0, nil)
	var least, most time.Duration = time.Hour, 0
	for range 1000 {
		got := r.pause(known)
		least, most = min(least, got), max(most, got)
	}
	if least < 9*time.Second || most > 11*time.Second || most-least < time.Second {
		t.Errorf("got pauses of %v to %v, want 9 to 11 s, spread", least, most)
	}
	known.learn(nil, 0, errNoAddress)
	if got := r.pause(known); got < 9*time.Second {
		t.Errorf("got a pause of %v after an empty answer, want the interval", got)
	}
}
