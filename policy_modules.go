package aigateway

import (
	"math/rand/v2"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/cespare/xxhash/v2"
)

func init() {
	caddy.RegisterModule(LeastLoad{})
	caddy.RegisterModule(PrefixAffinity{})
}

// LeastLoad is the selection policy least_load. In ai_gateway it is what
// load_balancing_strategy: "least_load" of the fleet's file is. In a plain reverse_proxy,
// which knows neither tokens nor gauges, it takes of two random upstreams the one with fewer
// requests.
type LeastLoad struct{}

// CaddyModule returns the module's ID and constructor.
func (LeastLoad) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID: "http.reverse_proxy.selection_policies.least_load", New: func() caddy.Module { return new(LeastLoad) },
	}
}

// Select returns the upstream with fewer requests of two that are available, nil if none is.
func (LeastLoad) Select(pool reverseproxy.UpstreamPool, _ *http.Request, _ http.ResponseWriter) *reverseproxy.Upstream {
	var two [2]*reverseproxy.Upstream
	available := 0
	for _, u := range pool {
		if !u.Available() {
			continue
		}
		// Each of those so far is one of the two with the same probability.
		if available++; available <= len(two) {
			two[available-1] = u
		} else if n := rand.IntN(available); n < len(two) {
			two[n] = u
		}
	}
	if available > 1 && two[1].NumRequests() < two[0].NumRequests() {
		return two[1]
	}
	return two[0]
}

// UnmarshalCaddyfile reads the policy:
//
//	lb_policy least_load
func (*LeastLoad) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return onlyName(d) }

// PrefixAffinity is the selection policy prefix_affinity. In ai_gateway it is what
// load_balancing_strategy: "prefix_affinity" of the fleet's file is. In a plain
// reverse_proxy, which does not read prompts, it sends what belongs to one session, by the
// header X-Session-Id, X-Session-Affinity or X-Conversation-Id, to the same upstream, unless
// that has many more requests than the others; all else goes as with least_load.
type PrefixAffinity struct{}

// CaddyModule returns the module's ID and constructor.
func (PrefixAffinity) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID: "http.reverse_proxy.selection_policies.prefix_affinity", New: func() caddy.Module { return new(PrefixAffinity) },
	}
}

// Select returns the upstream of the request's session, nil if none is available.
func (PrefixAffinity) Select(pool reverseproxy.UpstreamPool, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	session := sessionOf(r)
	if session == "" {
		return LeastLoad{}.Select(pool, r, w)
	}
	available, requests := 0, 0
	for _, u := range pool {
		if u.Available() {
			available++
			requests += u.NumRequests()
		}
	}
	if available == 0 {
		return nil
	}
	// A quarter more than the mean, and two where there is little to do at all.
	most := (requests+1)*5/(4*available) + 2
	var best *reverseproxy.Upstream
	var highest uint64
	for _, u := range pool {
		if rank := xxhash.Sum64String(session + "\x00" + u.Dial); u.Available() && u.NumRequests() <= most && (best == nil || rank > highest) {
			best, highest = u, rank
		}
	}
	return best
}

// UnmarshalCaddyfile reads the policy:
//
//	lb_policy prefix_affinity
func (*PrefixAffinity) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return onlyName(d) }

// onlyName reads a policy that takes no options.
func onlyName(d *caddyfile.Dispenser) error {
	d.Next() // the policy's name
	name := d.Val()
	if args := d.RemainingArgs(); len(args) > 0 {
		return d.Errf("%s: got %d arguments, want none", name, len(args))
	}
	if d.NextBlock(0) {
		return d.Errf("%s: got option %q, want none", name, d.Val())
	}
	return nil
}

// Interface guards.
var (
	_ reverseproxy.Selector = (*LeastLoad)(nil)
	_ reverseproxy.Selector = (*PrefixAffinity)(nil)
	_ caddyfile.Unmarshaler = (*LeastLoad)(nil)
	_ caddyfile.Unmarshaler = (*PrefixAffinity)(nil)
)
