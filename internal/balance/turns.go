package balance

import "cmp"

// next returns whose turn it is. Among any total turns in a row (total being the sum of
// the weights) each server has exactly as many as its weight, and they are spread evenly:
// turn k falls on the point k·step mod total of a line on which each server covers its
// weight. As step shares no factor with total every point is met once, and as it is near
// total/φ neighbouring turns lie far apart. A turn costs a binary search, takes no lock,
// and needs no memory beyond the weights, which an expanded list would. The order of what
// remains stays exact when servers are skipped. The set must not be empty.
func (s *Set) next() int {
	k := s.turn.Add(1) - 1
	return s.owner(k % s.total * s.step % s.total)
}

// RoundRobin gives each server its turns by weight. It returns the number of the server
// whose turn it is, or -1 if none can be used.
func (s *Set) RoundRobin(usable func(n int) bool) int {
	// Skipping whose turn cannot be used keeps the weights of the others exact. One whole
	// round meets everybody; the bound keeps that cheap when weights are large, and the
	// search behind it finds the few that are left.
	const bound = 128
	for range min(s.total, bound) {
		if n := s.next(); usable(n) {
			return n
		}
	}
	if s.total <= bound {
		return -1
	}
	// Among those any point is as good as another.
	var weights uint64
	for n := range s.servers {
		if usable(n) {
			weights += uint64(s.servers[n].Weight)
		}
	}
	if weights == 0 {
		return -1
	}
	point := s.random(weights)
	for n := range s.servers {
		if weight := uint64(s.servers[n].Weight); !usable(n) {
			continue
		} else if point < weight {
			return n
		} else {
			point -= weight
		}
	}
	return -1 // what could be used has changed meanwhile
}

// LeastConnections returns the number of the server with the fewest requests under way for
// its weight; those that are equal take turns. Of a large set it looks at a part that
// wanders with the turns: a choice of 64 is as good as one of all, and its cost stays the
// same. It returns -1 if none can be used.
func (s *Set) LeastConnections(usable func(n int) bool) int {
	best := s.RoundRobin(usable)
	if best < 0 {
		return -1
	}
	const most = 64
	count, at := len(s.servers), 0
	if count > most {
		at = int(s.turn.Load() * most % uint64(count))
	}
	least := s.servers[best].Requests.Load()
	for range min(count, most) {
		if least == 0 {
			break
		}
		n := at
		if at++; at == count { // else the first servers would be looked at less
			at = 0
		}
		requests := s.servers[n].Requests.Load()
		if cmp.Less(requests*int64(s.servers[best].Weight), least*int64(s.servers[n].Weight)) && usable(n) {
			best, least = n, requests
		}
	}
	return best
}
