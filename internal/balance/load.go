package balance

import (
	"math"
	"sync/atomic"
	"time"
)

// HalfLife is how long it takes until half of what gauges said is forgotten. Engines are
// asked every few seconds; one that no longer answers is judged by the gateway's own
// counts after half a minute.
const HalfLife = 5 * time.Second

const (
	// oldest is the age at which gauges count for nothing: less than a hundredth is left.
	oldest = 7 * HalfLife
	// mostRequests is more than any engine holds: a gauge above it is a mistake.
	mostRequests = 1e5
	// roomyKV is the use of a KV cache up to which an engine feels nothing of it.
	roomyKV = 0.8
	// fullKV is by how much a full KV cache lengthens what there is to do: vLLM then throws
	// running requests out and computes them anew.
	fullKV = 0.25
	// meanShare is the share of each new request in the mean.
	meanShare = 1.0 / 32
	// firstMean is the mean of tokens before there was a request.
	firstMean = 512
)

// Gauges is what an engine says of its load. A value that it does not tell is negative or
// NaN.
type Gauges struct {
	Running float64 // requests that are computed
	Waiting float64 // requests that wait inside of the engine
	KV      float64 // used share of the KV cache, 0 to 1
}

// reading is gauges, as far as they can be believed, and when they were read.
type reading struct {
	Gauges
	at   time.Duration
	own  int64 // requests of the gateway's own that were under way then
	says bool  // how many requests there are
}

// Load is what is known of how much a server has to do. Its zero value is one with nothing
// to do. It may be used at once from many requests, and takes no lock.
type Load struct {
	tokens atomic.Int64 // of the gateway's requests that are under way
	mean   Mean         // of the tokens of a request
	gauges atomic.Pointer[reading]
	epoch  atomic.Uint32 // how often the server has lost its cache
}

// Begin counts a request of so many tokens, which are given back by [Load.End].
func (l *Load) Begin(tokens int64) {
	l.tokens.Add(tokens)
	l.mean.Add(float64(tokens))
}

// End counts that so many tokens of a request are done: what it had to compute of its prompt
// when the answer begins, all that is left when it is over.
func (l *Load) End(tokens int64) { l.tokens.Add(-tokens) }

// Own returns the tokens of the gateway's requests that are under way.
func (l *Load) Own() int64 { return l.tokens.Load() }

// Observe takes what the engine said at a time, of the clock that [Load.Tokens] is asked
// by, when own requests of the gateway were under way there. Values that cannot be are
// passed over; if all are, what was said before stays, and goes on to age.
func (l *Load) Observe(g Gauges, own int64, at time.Duration) {
	r := &reading{Gauges: g, at: at, own: own}
	running, waiting, kv := count(&r.Running), count(&r.Waiting), true
	if !(g.KV >= 0 && g.KV <= 1.01) { // NaN is neither; some engines round up
		r.KV, kv = 0, false
	}
	r.says = running || waiting
	if r.says || kv {
		l.gauges.Store(r)
	}
}

// count makes a number of requests that cannot be none, and reports whether it can.
func count(n *float64) bool {
	if *n >= 0 && *n <= mostRequests {
		return true
	}
	*n = 0
	return false
}

// Observed returns what the engine said last and when, as far as it could be believed.
func (l *Load) Observed() (g Gauges, at time.Duration, ok bool) {
	r := l.gauges.Load()
	if r == nil {
		return Gauges{}, 0, false
	}
	return r.Gauges, r.at, true
}

// Forget says that the server has lost its cache.
func (l *Load) Forget() { l.epoch.Add(1) }

// Tokens estimates what the server has to do at now: the tokens of the gateway's own
// requests, those of requests that others have sent, and once more those of all that
// wait inside of the engine, for what waits comes before anything new; the whole longer
// the fuller the KV cache is. Of what the engine said less and less counts as it ages.
func (l *Load) Tokens(now time.Duration) float64 {
	tokens := float64(l.tokens.Load())
	r := l.gauges.Load()
	if r == nil || now-r.at >= oldest {
		return tokens
	}
	trust := fresh(now - r.at)
	if r.says {
		others := max(0, r.Running+r.Waiting-float64(r.own))
		tokens += trust * (others + r.Waiting) * l.mean.Value(firstMean)
	}
	if r.KV > roomyKV {
		pressure := (min(r.KV, 1) - roomyKV) / (1 - roomyKV)
		tokens *= 1 + trust*fullKV*pressure*pressure
	}
	return tokens
}

// fresh is how much of gauges of that age counts, from 1 to 0: a half after each [HalfLife],
// and between those in proportion, which is several times as cheap as a power.
func fresh(age time.Duration) float64 {
	if age <= 0 {
		return 1
	}
	halves := age / HalfLife
	return (1 - float64(age%HalfLife)/float64(2*HalfLife)) / float64(int64(1)<<halves)
}

// Mean is a mean in which what came last counts most. Its zero value has seen nothing. It
// may be used at once from many goroutines; of two values at the same moment one may be
// lost.
type Mean struct{ bits atomic.Uint64 }

// Add takes one value, which must be 0 or more.
func (m *Mean) Add(value float64) {
	mean := math.Float64frombits(m.bits.Load())
	if mean == 0 {
		mean = value
	}
	m.bits.Store(math.Float64bits(mean + meanShare*(value-mean)))
}

// Value returns the mean, or otherwise as long as there is none.
func (m *Mean) Value(otherwise float64) float64 {
	if bits := m.bits.Load(); bits != 0 {
		return math.Float64frombits(bits)
	}
	return otherwise
}
