// Package balance chooses among servers of one model by how much they have to do and by
// what they have in their caches. It knows nothing of HTTP; the gateway and the simulation
// in bench/sim use the same code.
//
//	set := balance.NewSet(servers)
//	n := set.LeastLoad(ask, usable)              // the less loaded of two
//
//	prompt.Read(openai.Chat, model, body, longest) // cut into blocks and hash
//	n = set.Affinity(table, &prompt, ask, usable) // who has most of it in its cache
//	table.Record(&prompt, set.Server(n))           // once it has been sent there
//
// Loads are in tokens: of a prompt, about a quarter of its bytes.
package balance

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"
)

// Server is one that can be chosen. It is immutable but for its load.
type Server struct {
	ID       uint64        // the same in all gateways, and of no other server
	Weight   int           // above 0
	Requests *atomic.Int64 // under way
	Load     *Load
}

// mark says in a [Table] which server it is: 24 bits of its ID and 8 of the number of
// times that it has lost its cache, so that what it had before counts no more.
func (s *Server) mark() uint32 { return uint32(s.ID>>40)<<8 | s.Load.epoch.Load()&0xff }

// Ask is what a choice is made for.
type Ask struct {
	Now    time.Duration
	Bytes  int     // of the request's body
	Output float64 // tokens that are expected in answer
}

// bytesPerToken is what a token of a prompt has on average, in English and in code.
const bytesPerToken = 4

// Tokens is the work that a request means to a server that has cached so many of its bytes.
func (a Ask) Tokens(cached int) int64 {
	return int64(max(0, a.Bytes-cached)/bytesPerToken) + int64(a.Output)
}

// Set is the servers of which one is chosen. It is immutable but for whose turn it is, and
// may be used at once for many requests.
type Set struct {
	servers []Server
	ends    []uint64 // ends[n] is the sum of the weights up to and with n
	total   uint64
	even    bool   // all weights are the same
	step    uint64 // see [Set.next]
	turn    atomic.Uint64
	byMark  map[uint32]int32
	random  func(below uint64) uint64
}

// NewSet returns the set of servers, which it keeps.
func NewSet(servers []Server) *Set {
	s := &Set{servers: servers, step: 1, ends: make([]uint64, len(servers)), byMark: make(map[uint32]int32, len(servers)), random: rand.Uint64N}
	var divisor uint64
	for n := range servers {
		divisor = gcd(uint64(servers[n].Weight), divisor)
		s.byMark[uint32(servers[n].ID>>40)] = int32(n)
	}
	for n := range servers {
		s.total += uint64(servers[n].Weight) / divisor
		s.ends[n] = s.total
	}
	s.even = s.total == uint64(len(servers))
	if !s.even {
		s.step = max(1, uint64(math.Round(float64(s.total)/math.Phi)))
		for gcd(s.step, s.total) != 1 {
			s.step++
		}
	}
	// Many new sets in a row must not favour the first server.
	s.turn.Store(uint64(rand.Uint32()))
	return s
}

// Seed makes the set choose the same every time. It may then be used for one request at a
// time only.
func (s *Set) Seed(source *rand.Rand) {
	s.random = source.Uint64N
	s.turn.Store(0)
}

// Clone returns a copy, in which others can take their turns.
func (s *Set) Clone() *Set {
	c := &Set{servers: s.servers, ends: s.ends, total: s.total, even: s.even, step: s.step, byMark: s.byMark, random: s.random}
	c.turn.Store(s.turn.Load())
	return c
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// Len returns how many servers there are.
func (s *Set) Len() int { return len(s.servers) }

// Server returns the server of that number.
func (s *Set) Server(n int) *Server { return &s.servers[n] }

// find returns the number of the server that made the mark, or -1.
func (s *Set) find(mark uint32) int {
	n, ok := s.byMark[mark>>8]
	if mark == 0 || !ok || s.servers[n].mark() != mark {
		return -1
	}
	return int(n)
}

// load is how much server n would have to do with so many tokens more, for its weight.
func (s *Set) load(n int, a Ask, tokens int64) float64 {
	server := &s.servers[n]
	return (a.load(server.Load) + float64(tokens)) / float64(server.Weight)
}

// load is what there is to do by l, as the choice sees it.
func (a Ask) load(l *Load) float64 {
	if a.blind() {
		return float64(l.Own())
	}
	return l.Tokens(a.Now)
}

// blind reports whether the choice goes by the gateway's own counts alone. One in 64 does, so
// that a server whose gauges are wrong, but could be true, is not left without requests for
// ever. Which ones these are is as good as random, by the nanosecond.
func (a Ask) blind() bool { return uint64(a.Now)*0x9e3779b97f4a7c15>>58 == 63 }

// owner returns the server that a point below total belongs to.
func (s *Set) owner(point uint64) int {
	if s.even {
		return int(point)
	}
	n, found := slices.BinarySearch(s.ends, point)
	if found { // ends are exclusive
		n++
	}
	return n
}
