package balance

import "math"

const (
	// wait is what a token counts that a server has to work through before ours, against
	// one of the prompt that it has to compute for us: engines compute many requests
	// together. Between 0.05 and 0.5 it makes no difference in bench/sim.
	wait = 0.3
	// spread is how much more than the mean a server may have to do, and still be chosen for
	// a session or by its rank.
	spread = 1.5
	// slack is how many requests like this one are allowed on top: a fleet that has next to
	// nothing to do has no use for an even share of it.
	slack = 8
	// yield is how much more than the second the server has to do that ranks highest for a
	// session, before the second is chosen. For a prompt that is not known it is 1: neither
	// has anything of it.
	yield = 1.25
	// sample bounds the servers that the mean is taken of, and among which a key is ranked.
	sample = 64
	// guess is the share of a request of a known session that is taken to be cached.
	guess = 0.5
)

// Affinity returns the number of the server with which the prompt is computed soonest: that
// which has most of it in its cache, by what t knows, as long as that saves more than there
// is to wait for; compared are the servers that have some of it and one that
// [Set.LeastLoad] chooses. So a server is chosen for its cache as long as it has no more than
// the cached tokens divided by [wait] more to do than that one: a prompt that many ask for
// spreads to further servers, and is then known to be there too.
//
// A request that says to which session it belongs goes where the session was last, unless
// that server has much more to do than the mean. Where nothing is known of the session, or of the prompt no more than a short
// beginning that it has in common with others, it goes by rendezvous hashing of the session
// or of the first blocks, so that several gateways agree without a word; of the two servers
// that it names the second is chosen if that has less to do, of a session much less. -1 says that no server can
// be used.
func (s *Set) Affinity(t *Table, p *Prompt, a Ask, usable func(n int) bool) int {
	p.Cached = 0
	if len(p.blocks) == 0 && p.Session == 0 || len(s.servers) < 2 {
		return s.LeastLoad(a, usable)
	}
	key, lead := p.Session, 1.0
	var limit float64
	if key != 0 {
		lead, limit = yield, s.limit(a, usable)
		if m, known := t.look(key); known {
			if n := s.holder(m, a, limit, usable); n >= 0 {
				p.Cached = int(guess * float64(a.Bytes))
				return n
			}
		}
	} else {
		if known := p.known(t); known >= p.opens || known > 0 && p.blocks[known-1].end >= BlockSize {
			return s.soonest(p, known, a, usable)
		}
		limit = s.limit(a, usable)
		key = p.blocks[p.head-1].hash
	}
	if n := s.rendezvous(key, lead, a, limit, usable); n >= 0 {
		return n
	}
	return s.LeastLoad(a, usable)
}

// known looks up who has the prompt's blocks, and returns how many somebody has.
func (p *Prompt) known(t *Table) int {
	for p.found = 0; p.found < len(p.blocks); p.found++ {
		var ok bool
		if p.seen[p.found], ok = t.look(p.blocks[p.found].hash); !ok {
			break
		}
	}
	return p.found
}

// soonest returns the server that would be ready with the prompt soonest, of those that
// have some of its known blocks and one that is chosen by load.
func (s *Set) soonest(p *Prompt, known int, a Ask, usable func(n int) bool) int {
	best, least := s.LeastLoad(a, usable), math.Inf(1)
	if best >= 0 {
		least = wait*s.load(best, a, 0) + float64(a.Tokens(0))
	}
	for k := known - 1; k >= 0; k-- {
		if k < known-1 && p.seen[k] == p.seen[k+1] {
			continue
		}
		cached := int(p.blocks[k].end)
		tokens := float64(a.Tokens(cached))
		for _, mark := range p.seen[k] {
			n := s.find(mark)
			if n < 0 {
				continue
			}
			if time := wait*s.load(n, a, 0) + tokens; time < least && usable(n) {
				best, least, p.Cached = n, time, cached
			}
		}
	}
	return best
}

// limit is the load up to which a server is chosen for a session or by its rank.
func (s *Set) limit(a Ask, usable func(n int) bool) float64 {
	count, at := len(s.servers), 0
	if count > sample {
		at, count = int(s.random(uint64(count))), sample
	}
	load, weights, some := 0.0, 0, 0
	for range count {
		if usable(at) {
			load += a.load(s.servers[at].Load)
			weights += s.servers[at].Weight
			some++
		}
		if at++; at == len(s.servers) {
			at = 0
		}
	}
	if weights == 0 {
		return math.Inf(1)
	}
	return (spread*load + slack*float64(some)*float64(a.Tokens(0))) / float64(weights)
}

// holder returns which of the servers that made marks has the least to do, if it is no
// more than limit, or -1.
func (s *Set) holder(m marks, a Ask, limit float64, usable func(n int) bool) int {
	best := -1
	for _, mark := range m {
		n := s.find(mark)
		if n < 0 {
			continue
		}
		if load := s.load(n, a, 0); load <= limit && usable(n) {
			best, limit = n, load
		}
	}
	return best
}

// rendezvous returns the server that ranks highest for key among those that have no more
// to do than limit, or the second if the first has more than lead times as much to do, or
// -1. Of a large set it looks at a part, which the key chooses.
func (s *Set) rendezvous(key uint64, lead float64, a Ask, limit float64, usable func(n int) bool) int {
	count, at := len(s.servers), 0
	if count > 4*sample {
		at, count = int(key%uint64(count)), sample
	}
	first, second := -1, -1
	highest, next := math.Inf(-1), math.Inf(-1)
	for range count {
		if rank := s.rank(at, key); rank > next && s.load(at, a, 0) <= limit && usable(at) {
			if rank > highest {
				second, next = first, highest
				first, highest = at, rank
			} else {
				second, next = at, rank
			}
		}
		if at++; at == len(s.servers) {
			at = 0
		}
	}
	if tokens := a.Tokens(0); second >= 0 && s.load(first, a, tokens) > lead*s.load(second, a, tokens) {
		return second
	}
	return first
}
