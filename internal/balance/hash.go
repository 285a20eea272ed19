package balance

import (
	"math"
	"math/bits"
)

// mix joins two hashes.
func mix(a, b uint64) uint64 {
	high, low := bits.Mul64(a^0x9e3779b97f4a7c15, b^0xd6e8feb86659fd93)
	return high ^ low
}

// rank is where a server stands for a key among all others: who has the highest is the
// key's own. It is the score of weighted rendezvous hashing: each server is first for its
// share of all keys, and when one goes or comes no other keys move. Gateways that know
// the same servers agree on it without a word.
func (s *Set) rank(n int, key uint64) float64 {
	server := &s.servers[n]
	h := mix(mix(key, server.ID), server.ID)
	unit := (float64(h>>11) + 0.5) / (1 << 53) // above 0, below 1
	if s.even {
		return unit
	}
	return -float64(server.Weight) / math.Log(unit)
}
