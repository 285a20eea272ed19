//go:build linux

// Package load is the load generator: closed loops, or a constant rate, over
// keep-alive connections that verify every byte of every answer.
//
// It loads several proxies in turn, in short slices, AB BA AB …: what
// disturbs the machine for longer than a slice thus meets all of them alike.
// A slice ends when every request begun in it is answered, so that each
// request's cost falls to the proxy that served it.
package load

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/chat"
	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/proc"
	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/stats"
)

// Target is a proxy under test.
type Target struct {
	Address string `json:"address"` // host:port
	PID     int    `json:"pid"`     // whose CPU time and memory to read; 0: none
}

// Spec is what to send, and for how long. Durations are in nanoseconds.
type Spec struct {
	Targets     []Target      `json:"targets"`
	Path        string        `json:"path"`
	Connections int           `json:"connections"` // to each target
	Bytes       int           `json:"bytes"`       // size of a request's body
	Order       chat.Order    `json:"order"`
	Warm        time.Duration `json:"warm"`     // first slice of each target, not measured
	Slice       time.Duration `json:"slice"`    // in which requests begin; each connection sends one at least
	Slices      int           `json:"slices"`   // measured, of each target
	Ramp        time.Duration `json:"ramp"`     // from the first to the last connection's start in a slice
	Together    bool          `json:"together"` // load all targets at once instead of in turn
	Timeout     time.Duration `json:"timeout"`  // of one request
	Upstream    int           `json:"upstream"` // process of the upstream; 0: none
	Journal     bool          `json:"journal"`  // write down every request
	// Rate is how many requests begin in a second, all connections together, however
	// long their answers take. A connection that is free takes the next one; time
	// counts from when it was due. 0 is a closed loop of each connection.
	Rate int `json:"rate"`
	// Replay does as the libraries of clients do: it does not use a connection that
	// the server has closed meanwhile, and sends a request once more, twice at most,
	// if its connection is closed before a byte of the answer.
	Replay bool `json:"replay"`
}

// Result is what happened to a target in the measured time.
type Result struct {
	Seconds  float64         `json:"seconds"`  // of its slices
	Requests int64           `json:"requests"` // answered in full and right
	Events   int64           `json:"events"`   // of these and of broken streams
	Latency  stats.Quantiles `json:"latency_ms"`
	TTFT     stats.Quantiles `json:"ttft_ms"`        // from sending to the first token
	Delay    stats.Quantiles `json:"event_delay_ms"` // from the upstream's write to arrival
	ITL      stats.Quantiles `json:"itl_ms"`         // from one token's arrival to the next
	Errors   map[string]int  `json:"errors,omitempty"`
	Wrong    int64           `json:"wrong,omitempty"`  // answers with a byte that should not be there
	Sample   string          `json:"sample,omitempty"` // of a wrong answer
	Journal  []Entry         `json:"journal,omitempty"`

	// CPU is the proxy's from the first slice of any target to the last: what
	// a proxy does after an answer has gone out belongs to its cost.
	CPU     float64 `json:"cpu_s"`
	PeakRSS int64   `json:"peak_rss"` // bytes, since the proxy's start
	IdleRSS int64   `json:"idle_rss"` // bytes, before the first request
	// Others is the share of the machine, 0 to 1, that was taken by what is
	// no part of the measurement. It is the same for all targets.
	Others float64 `json:"others"`
}

// Entry is one request in a journal. Times are in nanoseconds since 1970.
type Entry struct {
	Begun    int64  `json:"begun"`
	Head     int64  `json:"head"` // when the answer began; 0: it never did
	Ended    int64  `json:"ended"`
	Status   int    `json:"status"`
	Upstream string `json:"upstream"` // instance and attempts, as the gateway tells them
	Attempts int    `json:"attempts"`
	ID       string `json:"id"` // of the request, likewise
	Stream   bool   `json:"stream"`
	Replayed int    `json:"replayed"` // times; see Spec.Replay
	Error    string `json:"error"`    // empty: answered in full and right
}

// run is what the workers of all targets share.
type run struct {
	spec    Spec
	request *chat.Request
	seed    atomic.Uint32
	workers [][]*worker // by target
}

// Run loads the targets and returns their results in the same order. When ctx
// ends, requests under way are still waited for, for Spec.Timeout at most.
func Run(ctx context.Context, s Spec) ([]Result, error) {
	r := &run{spec: s, request: chat.NewRequest(s.Bytes, s.Order)}
	// Another range of seeds each time: nothing of an earlier run fits.
	r.seed.Store(chat.FirstSeed + uint32(time.Now().UnixMicro()%500_000_000))
	for i := range s.Targets {
		r.workers = append(r.workers, make([]*worker, s.Connections))
		for j := range s.Connections {
			r.workers[i][j] = newWorker(r, s.Targets[i].Address)
			defer r.workers[i][j].disconnect()
		}
	}
	idle := make([]int64, len(s.Targets))
	for i, t := range s.Targets {
		if t.PID > 0 {
			var err error
			if idle[i], _, err = proc.RSS(t.PID); err != nil {
				return nil, err
			}
		}
	}
	if s.Warm > 0 {
		for _, workers := range r.workers {
			r.slice(ctx, workers, s.Warm)
			for _, w := range workers {
				w.tally = newTally()
			}
		}
	}
	before, err := snap(s)
	if err != nil {
		return nil, err
	}
	seconds := r.turns(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	after, err := snap(s)
	if err != nil {
		return nil, err
	}
	results := make([]Result, len(s.Targets))
	for i, t := range s.Targets {
		results[i] = sum(r.workers[i])
		results[i].Seconds = seconds[i].Seconds()
		results[i].CPU = (after.proxies[i] - before.proxies[i]).Seconds()
		results[i].Others, results[i].IdleRSS = after.others(before), idle[i]
		if t.PID > 0 {
			if _, results[i].PeakRSS, err = proc.RSS(t.PID); err != nil {
				return nil, err
			}
		}
	}
	return results, nil
}

// turns runs the measured slices and returns how long those of each target
// took.
func (r *run) turns(ctx context.Context) []time.Duration {
	took := make([]time.Duration, len(r.workers))
	order := make([]int, len(r.workers))
	for i := range order {
		order[i] = i
	}
	for range r.spec.Slices {
		var wg sync.WaitGroup
		for _, i := range order {
			wg.Go(func() { took[i] += r.slice(ctx, r.workers[i], r.spec.Slice) })
			if !r.spec.Together {
				wg.Wait()
			}
		}
		wg.Wait()
		slices.Reverse(order)
	}
	return took
}

// slice lets workers begin requests for d, waits for the answers, and returns
// how long it all took.
func (r *run) slice(ctx context.Context, workers []*worker, d time.Duration) time.Duration {
	start := time.Now()
	var wg sync.WaitGroup
	due := make(chan time.Time)
	for i, w := range workers {
		wg.Go(func() {
			if r.spec.Rate > 0 {
				for at := range due {
					w.once(at)
				}
				return
			}
			time.Sleep(r.spec.Ramp * time.Duration(i) / time.Duration(len(workers)))
			w.loop(ctx, start.Add(d))
		})
	}
	if r.spec.Rate > 0 {
		gap := time.Second / time.Duration(r.spec.Rate)
		for at := start; at.Before(start.Add(d)) && ctx.Err() == nil; at = at.Add(gap) {
			time.Sleep(time.Until(at))
			due <- at
		}
	}
	close(due)
	wg.Wait()
	return time.Since(start)
}

// snapshot is what had been used up to a moment.
type snapshot struct {
	proxies []time.Duration
	ours    time.Duration // all processes of the measurement together
	machine proc.Machine
}

func snap(s Spec) (snapshot, error) {
	var now snapshot
	for _, t := range append(slices.Clone(s.Targets), Target{PID: s.Upstream}, Target{PID: os.Getpid()}) {
		var cpu time.Duration
		if t.PID > 0 {
			var err error
			if cpu, err = proc.CPU(t.PID); err != nil {
				return now, err
			}
		}
		now.proxies = append(now.proxies, cpu)
		now.ours += cpu
	}
	var err error
	if now.machine, err = proc.ReadMachine(); err != nil {
		return now, fmt.Errorf("reading the machine's CPU time: %w", err)
	}
	return now, nil
}

// others returns the share of the machine that others took since before.
func (now snapshot) others(before snapshot) float64 {
	used := now.machine.Busy + now.machine.Stolen - before.machine.Busy - before.machine.Stolen
	all := used + now.machine.Idle - before.machine.Idle
	if all <= 0 {
		return 0
	}
	return max(0, float64(used-(now.ours-before.ours))/float64(all))
}

// sum adds up what the workers of a target saw.
func sum(workers []*worker) Result {
	res := Result{Errors: map[string]int{}}
	var latency, ttft, delay, itl stats.Histogram
	for _, w := range workers {
		res.Requests += w.requests
		res.Events += w.events
		latency.Merge(&w.latency)
		ttft.Merge(&w.ttft)
		delay.Merge(&w.delay)
		itl.Merge(&w.itl)
		res.Journal = append(res.Journal, w.journal...)
		for what, n := range w.errors {
			res.Errors[what] += n
		}
		if res.Wrong += w.wrong; w.sample != "" {
			res.Sample = w.sample
		}
	}
	res.Latency, res.TTFT, res.Delay, res.ITL = latency.Quantiles(), ttft.Quantiles(), delay.Quantiles(), itl.Quantiles()
	return res
}
