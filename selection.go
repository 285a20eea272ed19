package aigateway

import (
	"cmp"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// rotation is the order in which the instances of one tier take turns. Among
// any total turns in a row (total being the sum of the weights) each instance
// has exactly as many as its weight, and they are spread evenly: turn k falls on
// the point k·step mod total of a line on which each instance covers its weight.
// As step shares no factor with total every point is met once, and as it is
// near total/φ neighbouring turns lie far apart. A turn costs a binary search,
// takes no lock, and needs no memory beyond the weights, which an expanded list
// would. The order of what remains stays exact when instances are skipped.
type rotation struct {
	all       []*instance // of the tier, in the order of the file
	instances []*instance // those of them that are not off
	ends      []uint64    // ends[n] is the sum of the weights up to and with n
	total     uint64
	step      uint64
	turn      atomic.Uint64
}

func newRotation(members []*instance) *rotation {
	r := &rotation{all: members}
	var divisor uint64
	for _, i := range members {
		if !i.off() {
			r.instances = append(r.instances, i)
			divisor = gcd(uint64(i.weight), divisor)
		}
	}
	for _, i := range r.instances {
		r.total += uint64(i.weight) / divisor
		r.ends = append(r.ends, r.total)
	}
	r.step = 1
	if r.total > uint64(len(r.instances)) {
		r.step = max(1, uint64(math.Round(float64(r.total)/math.Phi)))
		for gcd(r.step, r.total) != 1 {
			r.step++
		}
	}
	// Many swaps in a row must not favour the first instance.
	r.turn.Store(uint64(rand.Uint32()))
	return r
}

// next returns whose turn it is. The rotation must not be empty.
func (r *rotation) next() *instance {
	k := r.turn.Add(1) - 1
	point := k % r.total * r.step % r.total
	if len(r.instances) == int(r.total) {
		return r.instances[point]
	}
	n, found := slices.BinarySearch(r.ends, point)
	if found { // ends are exclusive
		n++
	}
	return r.instances[n]
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// policy chooses one of a tier's instances that x can use now, or nil. It may
// be called for many requests at once.
type policy interface {
	pick(r *rotation, x *exchange) *instance
}

// roundRobin gives each instance its turns by weight.
type roundRobin struct{}

func (roundRobin) pick(r *rotation, x *exchange) *instance {
	if len(r.instances) == 0 {
		return nil
	}
	// Skipping whose turn cannot be used keeps the weights of the others exact.
	// One whole round meets everybody; the bound keeps that cheap when weights
	// are large, and the search behind it finds the few that are left.
	const bound = 128
	for range min(r.total, bound) {
		if i := r.next(); x.canUse(i) {
			return i
		}
	}
	if r.total <= bound {
		return nil
	}
	var usable []*instance
	for _, i := range r.instances {
		if x.canUse(i) {
			usable = append(usable, i)
		}
	}
	if len(usable) == 0 {
		return nil
	}
	rest := newRotation(usable)
	return rest.next()
}

// leastConnections picks the instance with the fewest requests in flight for
// its weight; those that are equal take turns. Of a large tier it looks at a part
// that wanders with the turns: a choice of 64 is as good as one of all, and its
// cost stays the same.
type leastConnections struct{}

func (leastConnections) pick(r *rotation, x *exchange) *instance {
	best := roundRobin{}.pick(r, x)
	if best == nil {
		return nil
	}
	const most = 64
	count, at := len(r.instances), 0
	if count > most {
		at = int(r.turn.Load() * most % uint64(count))
	}
	least := best.state.inFlight.Load()
	for range min(count, most) {
		if least == 0 {
			break
		}
		i := r.instances[at]
		if at++; at == count { // else the first instances would be looked at less
			at = 0
		}
		n := i.state.inFlight.Load()
		if cmp.Less(n*int64(best.weight), least*int64(i.weight)) && x.canUse(i) {
			best, least = i, n
		}
	}
	return best
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
	return nil
}

// newPolicy turns the selection policy of the Caddyfile, or else the file's
// load_balancing_strategy, into a policy. Caddy's round_robin and least_conn
// become ours, which know weights.
func newPolicy(module reverseproxy.Selector, strategy string) policy {
	switch module.(type) {
	case nil:
		if strategy == strategyLeastConnections {
			return leastConnections{}
		}
		return roundRobin{}
	case *reverseproxy.RoundRobinSelection:
		return roundRobin{}
	case *reverseproxy.LeastConnSelection:
		return leastConnections{}
	default:
		return caddyPolicy{module}
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
