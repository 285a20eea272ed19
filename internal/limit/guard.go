package limit

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Guard counts failures by where they come from: an IPv4 address, or the /64 of an IPv6
// address, which is the least that one customer is given. As long as nobody fails too
// often, asking it costs one atomic read. It is safe for concurrent use.
type Guard struct {
	Most   int           // failures within Window that are borne
	Window time.Duration // from the first failure on
	Places int           // that are remembered; beyond, one of them is forgotten

	blocked atomic.Int64 // places that have failed too often, as far as known

	mu     sync.Mutex
	places map[netip.Prefix]*record // guarded by mu
}

// record is what is known of one place.
type record struct {
	until    time.Duration // end of the window
	failures int
}

// Place returns the part of the network that an address is counted with.
func Place(address netip.Addr) netip.Prefix {
	address = address.Unmap().WithZone("")
	size := 32
	if address.Is6() {
		size = 64
	}
	place, _ := address.Prefix(size) // of an invalid address: the zero prefix
	return place
}

// Blocked returns how long nothing is to be heard from the place: 0 if it is welcome.
func (g *Guard) Blocked(now time.Duration, place netip.Prefix) time.Duration {
	if g.blocked.Load() == 0 {
		return 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.places[place]
	if r == nil || r.failures < g.Most {
		return 0
	}
	if r.until <= now {
		g.forget(place, r)
		return 0
	}
	return r.until - now
}

// Fail counts a failure, and reports whether it is the one at which the place is blocked.
func (g *Guard) Fail(now time.Duration, place netip.Prefix) (blocks bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.places[place]
	if r != nil && r.until <= now {
		g.forget(place, r)
		r = nil
	}
	if r == nil {
		g.room(now)
		r = &record{until: now + g.Window}
		if g.places == nil {
			g.places = make(map[netip.Prefix]*record)
		}
		g.places[place] = r
	}
	r.failures++
	if r.failures == g.Most {
		g.blocked.Add(1)
		return true
	}
	return false
}

// room makes room for one more place. The caller holds mu.
func (g *Guard) room(now time.Duration) {
	if len(g.places) < g.Places {
		return
	}
	for place, r := range g.places {
		if r.until <= now {
			g.forget(place, r)
		}
	}
	for place, r := range g.places { // in no order
		if len(g.places) < g.Places {
			return
		}
		g.forget(place, r)
	}
}

func (g *Guard) forget(place netip.Prefix, r *record) {
	if r.failures >= g.Most {
		g.blocked.Add(-1)
	}
	delete(g.places, place)
}

// Count returns how many places are remembered.
func (g *Guard) Count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.places)
}
