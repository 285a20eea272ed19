package fairqueue

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// fleet simulates requests of flows that wait for places, on a clock of its own. Every
// client of a flow sends its next request as soon as it has the answer to the last one.
type fleet struct {
	queue   Queue[*request]
	places  int // free
	now     time.Duration
	pending ends
	random  *rand.Rand
	flows   []*traffic
}

// traffic is a flow and what becomes of it.
type traffic struct {
	Flow
	clients int
	served  int
	waits   []time.Duration
}

type request struct {
	of   *traffic
	came time.Duration
}

// end is the end of a request's answer.
type end struct {
	at time.Duration
	of *traffic
}

// ends has the next one at its top.
type ends []end

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i].at < e[j].at }
func (e ends) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *ends) Push(x any)        { *e = append(*e, x.(end)) }
func (e *ends) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	*e = (*e)[:last]
	return x
}

// simulate lets the flows share so many places for a time, whose first tenth does not
// count. Answers take 0.5 to 1.5 s.
func simulate(places int, length time.Duration, flows ...*traffic) {
	f := &fleet{places: places, random: rand.New(rand.NewPCG(1, 2)), flows: flows}
	for _, t := range flows {
		for range t.clients {
			f.arrive(t)
		}
	}
	for f.now < length {
		e := heap.Pop(&f.pending).(end)
		f.now = e.at
		if f.now < length/10 {
			for _, t := range flows {
				t.served, t.waits = 0, nil
			}
		}
		f.places++
		f.hand()
		f.arrive(e.of)
	}
}

func (f *fleet) arrive(t *traffic) {
	f.queue.Push(t.Flow, false, &request{t, f.now})
	f.hand()
}

// hand gives free places to those who wait.
func (f *fleet) hand() {
	for f.places > 0 {
		e, ok := f.queue.Serve(func(*request) Verdict { return Take })
		if !ok {
			return
		}
		f.places--
		r := e.Value
		r.of.served++
		r.of.waits = append(r.of.waits, f.now-r.came)
		heap.Push(&f.pending, end{f.now + time.Second/2 + time.Duration(f.random.Int64N(int64(time.Second))), r.of})
	}
}

func (t *traffic) p99() time.Duration {
	slices.Sort(t.waits)
	return t.waits[len(t.waits)*99/100]
}

// three are flows of weights 1, 1 and 2, of which the first sends so many times what the
// others do.
func three(times int) []*traffic {
	return []*traffic{
		{Flow: normal("flood", 1), clients: 40 * times},
		{Flow: normal("steady", 1), clients: 40},
		{Flow: normal("heavy", 2), clients: 80},
	}
}

// TestFairness guards that of three flows with weights 1, 1 and 2 each gets its share to
// 5 % although the first floods the queue a hundredfold; and that the waits of the others
// are those of a fleet that has their share of the places and nobody else's requests, and
// those without the flood: their 99th percentile is at most a tenth longer.
func TestFairness(t *testing.T) {
	const places, length = 16, 2000 * time.Second
	calm, flooded := three(1), three(100)
	simulate(places, length, calm...)
	simulate(places, length, flooded...)
	total := 0
	for _, f := range flooded {
		total += f.served
	}
	for n, f := range flooded {
		weight := f.Weight
		share, due := float64(f.served)/float64(total), float64(weight)/4
		if share < 0.95*due || share > 1.05*due {
			t.Errorf("%s: got %.4f of the places, want %.2f to 5 %%", f.Name, share, due)
		}
		if n == 0 {
			t.Logf("%-6s share %.4f of 1/4", f.Name, share)
			continue
		}
		alone := &traffic{Flow: f.Flow, clients: f.clients}
		simulate(places*weight/4, length, alone)
		t.Logf("%-6s share %.4f, p99 wait %v; alone on its share %v; without the flood %v", f.Name, share, f.p99(), alone.p99(), calm[n].p99())
		if least := min(alone.p99(), calm[n].p99()); f.p99() > least*11/10 {
			t.Errorf("%s: 99th percentile of the wait is %v, want at most a tenth more than %v", f.Name, f.p99(), least)
		}
	}
}

// TestFairnessIsolates guards that a flow which asks for little waits for little, however
// much the others ask for: for the next place at most, and its turn.
func TestFairnessIsolates(t *testing.T) {
	flows := []*traffic{{Flow: normal("flood", 1), clients: 4000}, {Flow: normal("light", 1), clients: 2}}
	simulate(16, 2000*time.Second, flows...)
	t.Logf("p99 wait of one with 2 clients beside one with 4,000: %v; of that %v", flows[1].p99(), flows[0].p99())
	if got := flows[1].p99(); got > 300*time.Millisecond {
		t.Errorf("got %v for one of 16 places that are held for a second, want the next few", got)
	}
}
