package aigateway

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// maxAddresses bounds the instances of one name, and so the values of metric labels: a
// name is the file's, but whoever runs its DNS decides what stands behind it.
const maxAddresses = 256

// dnsRecord is one server behind a name.
type dnsRecord struct {
	host   string // IP address, or the target of an SRV record
	port   uint16 // 0 for that of the URL
	weight int    // 0 for that of the entry
}

// errNoAddress is returned when the DNS answers that there is no server of a name.
var errNoAddress = errors.New("the name has no records of this type")

// lookups asks the DNS, that of the system or servers. It may be used from many
// goroutines.
//
// Caddy's own sources of upstreams are not used: they hold one lock of the process while
// a server is asked, so that a slow one stops all names; they leave out weights and
// priorities of SRV; they keep no addresses through a failure of A; and they ask servers
// of the configuration by UDP alone, where an answer of more than some 70 addresses
// does not fit in.
type lookups struct {
	resolver *net.Resolver
	timeout  time.Duration
}

func newLookups(cfg *DNSConfig) *lookups {
	l := &lookups{resolver: net.DefaultResolver, timeout: time.Duration(cfg.Timeout)}
	if len(cfg.Servers) == 0 {
		return l
	}
	servers := make([]string, len(cfg.Servers))
	for n, text := range cfg.Servers {
		server, err := serverAddress(text)
		if err != nil { // checked by Config.check
			panic(err)
		}
		servers[n] = server.String()
	}
	var turn atomic.Uint32
	l.resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		server := servers[int(turn.Add(1)-1)%len(servers)]
		return new(net.Dialer).DialContext(ctx, network, server)
	}}
	return l
}

// ask returns the servers of a name, sorted, and how many there are beyond
// [maxAddresses]. The error is [errNoAddress], or why nobody knows.
func (l *lookups) ask(ctx context.Context, name dnsName) (records []dnsRecord, more int, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	if name.kind == resolveSRV {
		records, err = l.services(ctx, name.host)
	} else {
		records, err = l.addresses(ctx, name)
	}
	if failed, ok := errors.AsType[*net.DNSError](err); ok && failed.IsNotFound || err == nil && len(records) == 0 {
		return nil, 0, errNoAddress
	}
	if err != nil {
		return nil, 0, err
	}
	slices.SortFunc(records, func(a, b dnsRecord) int {
		return cmp.Or(compareHosts(a.host, b.host), cmp.Compare(a.port, b.port), cmp.Compare(b.weight, a.weight))
	})
	records = slices.CompactFunc(records, func(a, b dnsRecord) bool { return a.host == b.host && a.port == b.port })
	if more = len(records) - maxAddresses; more > 0 {
		return records[:maxAddresses], more, nil
	}
	return records, 0, nil
}

// compareHosts orders addresses by their numbers, and before names.
func compareHosts(a, b string) int {
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	if errX == nil && errY == nil {
		return x.Compare(y)
	}
	return strings.Compare(a, b)
}

func (l *lookups) addresses(ctx context.Context, name dnsName) ([]dnsRecord, error) {
	network := "ip4"
	if name.kind == resolveAAAA {
		network = "ip6"
	}
	all, err := l.resolver.LookupNetIP(ctx, network, name.host)
	records := make([]dnsRecord, len(all))
	for n, address := range all {
		records[n].host = address.Unmap().String()
	}
	return records, err
}

// services returns the records of the lowest priority, with weights for instances. The
// order of RFC 2782 has a client turn to the next priority when it cannot reach this
// one; here that is what fallback_instances are for.
func (l *lookups) services(ctx context.Context, host string) ([]dnsRecord, error) {
	_, all, err := l.resolver.LookupSRV(ctx, "", "", host)
	all = slices.DeleteFunc(all, func(r *net.SRV) bool { return r.Target == "." || r.Target == "" || r.Port == 0 })
	if len(all) == 0 {
		return nil, err
	}
	first := slices.MinFunc(all, func(a, b *net.SRV) int { return cmp.Compare(a.Priority, b.Priority) }).Priority
	all = slices.DeleteFunc(all, func(r *net.SRV) bool { return r.Priority != first })
	same, highest := true, 0
	for _, r := range all {
		same, highest = same && r.Weight == all[0].Weight, max(highest, int(r.Weight))
	}
	records := make([]dnsRecord, len(all))
	for n, r := range all {
		records[n] = dnsRecord{strings.ToLower(strings.TrimSuffix(r.Target, ".")), r.Port, 1}
		if !same {
			records[n].weight = instanceWeight(int(r.Weight), highest)
		}
	}
	return records, nil // those that Go calls malformed are left out, which is its error
}

// instanceWeight returns the weight of an instance for that of its SRV record, of which
// the highest beside it is given. 0, a very small chance by RFC 2782, is 1.
func instanceWeight(weight, highest int) int {
	if highest > maxWeight {
		weight = weight * maxWeight / highest
	}
	return max(1, weight)
}

// address returns HOST:PORT, with the port of the URL unless the record has one.
func (r dnsRecord) address(port string) string {
	if r.port != 0 {
		port = strconv.Itoa(int(r.port))
	}
	return net.JoinHostPort(r.host, port)
}
