package aigateway

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// DNSConfig says how the names of instances with resolve are looked up.
type DNSConfig struct {
	// Interval is the time between two lookups of a name, give or take a tenth, in seconds
	// or as a duration, 1 to 3600. The default is 15.
	Interval Seconds `json:"interval"`

	// Timeout bounds a lookup, in seconds or as a duration, 0.1 to 60. The default is 5.
	Timeout Seconds `json:"timeout"`

	// Servers are the DNS servers to ask in turn, by IP address, and port if that is not 53.
	// The default are those of the system, with its hosts file.
	Servers []string `json:"servers"`
}

// defaultDNS looks often enough that a new replica, which has just taken minutes to load
// its model, waits seconds only; one that is gone is found out by its failures before.
var defaultDNS = DNSConfig{Interval: Seconds(15 * time.Second), Timeout: Seconds(5 * time.Second)}

// The values of resolve.
const (
	resolveA    = "a"
	resolveAAAA = "aaaa"
	resolveSRV  = "srv"
)

var recordTypes = []string{resolveA, resolveAAAA, resolveSRV}

// dns reports what is wrong with the group of that name.
func (c *checker) dns(cfg *DNSConfig) {
	if cfg.Interval < Seconds(time.Second) || cfg.Interval > Seconds(time.Hour) {
		c.report([]any{"dns", "interval"}, "got %v, outside of 1s to 1h", time.Duration(cfg.Interval))
	}
	if cfg.Timeout < Seconds(time.Second/10) || cfg.Timeout > Seconds(time.Minute) {
		c.report([]any{"dns", "timeout"}, "got %v, outside of 100ms to 1m", time.Duration(cfg.Timeout))
	}
	if len(cfg.Servers) > maxServers {
		c.report([]any{"dns", "servers"}, "got %d entries, want at most %d", len(cfg.Servers), maxServers)
	}
	for n, server := range cfg.Servers {
		if _, err := serverAddress(server); err != nil {
			c.report([]any{"dns", "servers", n}, "want an IP address, with a port if it is not 53, such as 127.0.0.1:8600 or [::1]:53")
		}
	}
}

// maxServers bounds dns.servers.
const maxServers = 16

// serverAddress reads an entry of dns.servers.
func serverAddress(text string) (netip.AddrPort, error) {
	if ip, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(ip, 53), nil
	}
	return netip.ParseAddrPort(text)
}

// resolve reports what resolve of an entry does not go together with. It must see the
// weight before the default is filled in.
func (c *checker) resolve(at func(...any) []any, entry *InstanceConfig) {
	if entry.Resolve == "" {
		return
	}
	c.oneOf(at("resolve"), entry.Resolve, recordTypes, "")
	u, err := url.Parse(entry.URL)
	if err != nil || !slices.Contains(recordTypes, entry.Resolve) {
		return // told, or to be told, by others
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		c.report(at("url"), "holds an address, and resolve asks to look up a name; want a name, or no resolve")
	}
	if entry.Resolve == resolveSRV {
		if u.Port() != "" {
			c.report(at("url"), "has a port, and that comes from the SRV records; want a url without one")
		}
		if entry.Weight != nil {
			c.report(at("weight"), "comes from the SRV records; want no weight here")
		}
	}
}

// dnsName is what is looked up for an entry.
type dnsName struct {
	kind string // of recordTypes
	host string // lower case, without a final dot
}

// dnsName returns what is to be looked up for a checked entry with resolve.
func (c *InstanceConfig) dnsName() dnsName {
	u, err := url.Parse(c.URL)
	if err != nil { // checked by Config.check
		panic(err)
	}
	return dnsName{c.Resolve, strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))}
}

// serviceHost returns the name of a server that host, a name of SRV records, stands for:
// without the labels of service and protocol, as RFC 6125 section 6.4 and RFC 4985
// compare certificates.
func serviceHost(host string) string {
	for strings.HasPrefix(host, "_") {
		_, rest, found := strings.Cut(host, ".")
		if !found {
			break
		}
		host = rest
	}
	return host
}
