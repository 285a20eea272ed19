package aigateway

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/cespare/xxhash/v2"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/balance"
)

// rotation is the instances of one tier, in the form in which policies choose among them.
type rotation struct {
	all       []*instance  // of the tier, in the order of the file
	instances []*instance  // those of them that are not off
	set       *balance.Set // of instances, under the same numbers
}

func newRotation(members []*instance) *rotation {
	r := &rotation{all: members}
	var servers []balance.Server
	for _, i := range members {
		if !i.off() {
			r.instances = append(r.instances, i)
			servers = append(servers, i.server())
		}
	}
	r.set = balance.NewSet(servers)
	return r
}

// server is the instance as policies see it. Gateways that have it in their files as the
// same instance give it the same ID.
func (i *instance) server() balance.Server {
	return balance.Server{ID: xxhash.Sum64String(i.id), Weight: i.weight, Requests: &i.state.inFlight, Load: &i.state.load}
}

// at returns the instance of that number, nil for a negative one.
func (r *rotation) at(n int) *instance {
	if n < 0 {
		return nil
	}
	return r.instances[n]
}

// policy chooses one of a tier's instances that x can use now, or nil. It may
// be called for many requests at once.
type policy interface {
	pick(r *rotation, x *exchange) *instance
}

// roundRobin gives each instance its turns by weight.
type roundRobin struct{}

func (roundRobin) pick(r *rotation, x *exchange) *instance {
	return r.at(r.set.RoundRobin(func(n int) bool { return x.canUse(r.instances[n]) }))
}

// leastConnections picks the instance with the fewest requests in flight for its weight.
type leastConnections struct{}

func (leastConnections) pick(r *rotation, x *exchange) *instance {
	return r.at(r.set.LeastConnections(func(n int) bool { return x.canUse(r.instances[n]) }))
}

// leastLoad picks the instance with less to do for its weight, of two.
type leastLoad struct{}

func (leastLoad) pick(r *rotation, x *exchange) *instance {
	return r.at(r.set.LeastLoad(x.asks(), func(n int) bool { return x.canUse(r.instances[n]) }))
}

// prefixAffinity picks the instance that has most of the prompt in its cache, unless it
// has too much to do.
type prefixAffinity struct{}

func (prefixAffinity) pick(r *rotation, x *exchange) *instance {
	usable := func(n int) bool { return x.canUse(r.instances[n]) }
	if p := x.readPrompt(); p != nil {
		return r.at(r.set.Affinity(x.pool.state.table(), p, x.asks(), usable))
	}
	return r.at(r.set.LeastLoad(x.asks(), usable))
}

// caddyPolicy asks a selection policy module of Caddy's. It sees each usable
// instance once and knows nothing of weights.
type caddyPolicy struct {
	selector reverseproxy.Selector
}

func (p caddyPolicy) pick(r *rotation, x *exchange) *instance {
	usable := make(reverseproxy.UpstreamPool, 0, len(r.instances))
	for _, i := range r.instances {
		if x.canUse(i) {
			usable = append(usable, i.hashed)
		}
	}
	if len(usable) == 0 {
		return nil
	}
	chosen := p.selector.Select(usable, x.request, x.writer)
	for _, i := range r.instances {
		if i.hashed == chosen {
			return i
		}
	}
	x.declined = true
	return nil
}

// newPolicy turns the selection policy of the Caddyfile, or else the file's
// load_balancing_strategy, into a policy. Caddy's round_robin and least_conn
// become ours, which know weights.
func newPolicy(module reverseproxy.Selector, strategy string) policy {
	switch module.(type) {
	case nil:
	case *reverseproxy.RoundRobinSelection:
		strategy = strategyRoundRobin
	case *reverseproxy.LeastConnSelection:
		strategy = strategyLeastConnections
	case *LeastLoad:
		strategy = strategyLeastLoad
	case *PrefixAffinity:
		strategy = strategyPrefixAffinity
	default:
		return caddyPolicy{module}
	}
	switch strategy {
	case strategyLeastConnections:
		return leastConnections{}
	case strategyLeastLoad:
		return leastLoad{}
	case strategyPrefixAffinity:
		return prefixAffinity{}
	default:
		return roundRobin{}
	}
}

// chosen hands the proxy the instance that the exchange has chosen: choosing
// happens before the proxy runs and in [retryMatch], where an empty choice can
// end the request; inside the proxy's loop it would be tried again for ever.
type chosen struct{}

func (chosen) Select(_ reverseproxy.UpstreamPool, r *http.Request, _ http.ResponseWriter) *reverseproxy.Upstream {
	return exchangeOf(r.Context()).current.instance.upstream
}

// retryMatch is asked by the proxy after a failed attempt whether to make
// another one. It chooses that attempt's instance.
type retryMatch struct{}

func (retryMatch) MatchWithError(r *http.Request) (bool, error) {
	return exchangeOf(r.Context()).choose(), nil
}

var _ reverseproxy.Selector = chosen{}
