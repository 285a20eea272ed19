package balance

import (
	"math"
	"sync/atomic"
	"testing"
)

// setOf returns a set of servers of these weights, with nothing to do.
func setOf(weights ...int) *Set {
	servers := make([]Server, len(weights))
	for n, weight := range weights {
		servers[n] = Server{ID: mix(uint64(n)+1, 77), Weight: weight, Requests: new(atomic.Int64), Load: new(Load)}
	}
	return NewSet(servers)
}

func all(int) bool { return true }

// TestTurnsExact guards that any whole round gives each server exactly its
// weight, from wherever it begins.
func TestTurnsExact(t *testing.T) {
	for _, weights := range [][]int{{1}, {1, 1}, {1, 1, 10}, {5, 1, 1}, {2, 4, 6}, {3, 1}, {1000, 999, 1}, {7, 7, 7}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}} {
		r := setOf(weights...)
		turns := make(map[int]int)
		for range 3 * r.total {
			turns[r.next()]++
		}
		divisor := weights[0]
		for _, w := range weights {
			divisor = int(gcd(uint64(w), uint64(divisor)))
		}
		for n := range r.Len() {
			if got, want := turns[n], 3*weights[n]/divisor; got != want {
				t.Errorf("weights %v: server %d has %d turns in 3 rounds, want %d", weights, n, got, want)
			}
		}
	}
}

// TestTurnsSmooth guards that a heavy server does not take its turns in one
// go: the gaps of the light ones are about even.
func TestTurnsSmooth(t *testing.T) {
	r := setOf(1, 1, 10)
	light, longest := 0, 0
	for range 1200 {
		if r.next() == 2 {
			light++
			longest = max(longest, light)
		} else {
			light = 0
		}
	}
	if longest > 8 {
		t.Errorf("the server of weight 10 of 12 has %d turns in a row, want at most 8", longest)
	}
}

func TestTurnsEqual(t *testing.T) {
	r := setOf(3, 3, 3)
	r.turn.Store(0)
	for k := range 9 {
		if got := r.next(); got != k%3 {
			t.Fatalf("turn %d is not that of server %d", k, k%3)
		}
	}
}

// TestRoundRobinRest guards that those who are left keep their proportions where a round is
// too long to meet them.
func TestRoundRobinRest(t *testing.T) {
	s := setOf(3, 1, 996)
	turns := make(map[int]int)
	for range 4000 {
		turns[s.RoundRobin(func(n int) bool { return n < 2 })]++
	}
	if got := turns[0]; math.Abs(float64(got-3000)) > 200 || turns[0]+turns[1] != 4000 {
		t.Errorf("weights 3 and 1: got %d and %d turns of 4000, want about 3000", got, turns[1])
	}
	for _, s := range []*Set{s, setOf(1, 1), setOf()} {
		if got := s.RoundRobin(func(int) bool { return false }); got != -1 {
			t.Errorf("got %d where none can be used, want -1", got)
		}
	}
}
