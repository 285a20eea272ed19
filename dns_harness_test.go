package aigateway

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// nameServer is a DNS server on loopback, by UDP and TCP, whose records a test sets. A
// name without records does not exist.
type nameServer struct {
	address string

	mu      sync.Mutex
	records map[string][]dns.RR // by name and type
	known   map[string]bool     // names that exist, if only without records
	code    int                 // of every answer, if not 0
	silent  bool                // nothing is answered
}

func startNameServer(t testing.TB) *nameServer {
	t.Helper()
	n := &nameServer{records: make(map[string][]dns.RR), known: make(map[string]bool)}
	var packets net.PacketConn
	var streams net.Listener
	for {
		var err error
		if packets, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		n.address = packets.LocalAddr().String()
		if streams, err = net.Listen("tcp", n.address); err == nil {
			break
		}
		packets.Close() // the port is another program's by TCP
	}
	for _, server := range []*dns.Server{{PacketConn: packets, Handler: n}, {Listener: streams, Handler: n}} {
		var running sync.WaitGroup
		ready := make(chan struct{})
		server.NotifyStartedFunc = func() { close(ready) }
		running.Go(func() {
			if err := server.ActivateAndServe(); err != nil {
				t.Errorf("name server: %v", err)
			}
		})
		<-ready
		t.Cleanup(func() {
			if err := server.Shutdown(); err != nil {
				t.Errorf("name server: %v", err)
			}
			running.Wait()
		})
	}
	return n
}

func questionKey(name string, kind uint16) string {
	return strings.ToLower(dns.Fqdn(name)) + " " + dns.TypeToString[kind]
}

// set has name answered with records of a zone file's form, such as "A 127.0.0.1".
func (n *nameServer) set(t testing.TB, name string, records ...string) {
	t.Helper()
	all := make(map[string][]dns.RR)
	for _, text := range records {
		rr, err := dns.NewRR(dns.Fqdn(name) + " 5 IN " + text)
		if err != nil {
			t.Fatal(err)
		}
		key := questionKey(name, rr.Header().Rrtype)
		all[key] = append(all[key], rr)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV} {
		delete(n.records, questionKey(name, kind))
		if key := questionKey(name, kind); all[key] != nil {
			n.records[key] = all[key]
		}
	}
	n.known[strings.ToLower(dns.Fqdn(name))] = true
}

// fail has every question answered with a code, 0 for none.
func (n *nameServer) fail(code int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.code = code
}

// hush has the server answer nothing.
func (n *nameServer) hush(silent bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.silent = silent
}

func (n *nameServer) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.silent {
		return
	}
	m := new(dns.Msg)
	m.SetReply(q)
	m.Rcode = n.code
	if n.code == 0 {
		name := strings.ToLower(q.Question[0].Name)
		if m.Answer = n.records[questionKey(name, q.Question[0].Qtype)]; !n.known[name] {
			m.Rcode = dns.RcodeNameError
		}
	}
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		size := dns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
			m.SetEdns0(1232, false)
		}
		m.Truncate(size) // Go then asks again by TCP
	}
	_ = w.WriteMsg(m) // who asked may have gone
}

// resolving returns a fleet's file of one entry of model m, to be looked up by kind at n,
// with more members.
func (n *nameServer) resolving(kind, url, members string) string {
	return fmt.Sprintf(`{dns: {servers: [%q]}, instances: [{url: %q, model_name: "m", resolve: %q, %s}]}`, n.address, url, kind, members)
}

// loopback listens on the n-th address of loopback, so that one name can have several
// servers at one port.
func loopback(t testing.TB, n int, port string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.%d:%s", n, port))
	if err != nil {
		t.Skipf("this machine has one address on loopback only: %v", err)
	}
	return l
}
