//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/proc"
	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/soak"
)

// soaking is a run of the soak command.
type soaking struct {
	duration time.Duration
	requests int
	seed     uint64
	rate     float64 // of requests with a fault
	every    time.Duration

	fleet  *soakFleet
	client *soak.Client
	out    *os.File // of JSON lines; nil for none
	graph  string   // file of the graph; "" for none

	mu      sync.Mutex
	began   time.Time // of the measured time
	samples []sample  // guarded by mu, as all below
	tally   soakTally
	errs    []error // of writing to out
}

const (
	// most is how many requests may be under way; more are begun later than they are due.
	most = 1000
	// missesTold bounds the misses that are written down one by one.
	missesTold = 200
)

// soakRun loads a gateway for a long time with every fault that an instance or a client
// can come up with, and says what it left behind.
func soakRun(ctx context.Context, args []string) (err error) {
	fs := flag.NewFlagSet("soak", flag.ContinueOnError)
	var s soaking
	fs.DurationVar(&s.duration, "d", time.Hour, "measured time, in which the requests begin evenly; a fifth of both comes before, as a warm-up")
	fs.IntVar(&s.requests, "n", 1_000_000, "requests in the measured time")
	fs.Uint64Var(&s.seed, "seed", 1, "of all that is left to chance: the same seed makes the same requests")
	fs.Float64Var(&s.rate, "faults", 0.05, "part of the requests that carry a fault, 0 to 1; each fault comes as often as any other")
	fs.DurationVar(&s.every, "every", 5*time.Second, "time between two samples of heap, memory, goroutines and descriptors")
	caddy := fs.String("caddy", "", "Caddy with the plugin to measure (default: build ./cmd/caddy)")
	lines := fs.String("json", "", "file to append samples, misses and the summary to, one JSON object per line")
	fs.StringVar(&s.graph, "graph", "", "file to write a graph of the samples to, as SVG")
	list := fs.Bool("list", false, "only print the faults, with their rows of docs/faults.md")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *list {
		for _, name := range soak.Names() {
			fmt.Println(name)
		}
		return nil
	}
	if s.duration < 5*time.Second || s.requests < 100 || s.rate < 0 || s.rate > 1 || s.every < time.Second || fs.NArg() > 0 {
		return fmt.Errorf("got -d %v, -n %d, -faults %v, -every %v and arguments %q, want 5s, 100, 0 to 1, 1s or more and none",
			s.duration, s.requests, s.rate, s.every, fs.Args())
	}
	if *lines != "" {
		if s.out, err = appendTo(*lines); err != nil {
			return err
		}
		defer s.out.Close() //nolint:errcheck // every line is one write, checked there
	}
	r, err := newRig(ctx, *caddy)
	if err != nil {
		return err
	}
	defer r.remove()
	machine, err := describeMachine(r.caddy)
	if err != nil {
		return err
	}
	figures, err := s.run(ctx, r)
	if err != nil {
		return err
	}
	fmt.Printf("%s\n\n%d requests in %v, %.1f %% of them with one of %d faults, seed %d.\n\n",
		machine, s.requests, s.duration, 100*s.rate, len(soak.Names()), s.seed)
	if err := figures.table().write(os.Stdout); err != nil {
		return err
	}
	s.write(struct {
		Kind    string `json:"kind"`
		Machine string `json:"machine"`
		soakFigures
	}{"summary", machine, figures})
	if s.graph != "" {
		if err := os.WriteFile(s.graph, soakGraph(s.samples), 0o600); err != nil {
			return err
		}
	}
	return errors.Join(append(s.errs, figures.fault())...)
}

// run warms the gateway up, measures it, and reads what it has recorded.
func (s *soaking) run(ctx context.Context, r *rig) (figures soakFigures, err error) {
	if s.fleet, err = r.startSoakFleet(ctx); err != nil {
		return figures, err
	}
	defer s.fleet.stop()
	s.client = soak.NewClient(s.fleet.address, soakKey, most)
	defer s.client.Close()
	warm := s.requests / 5
	s.tally.records = make([]uint8, warm+s.requests)

	fmt.Fprintln(os.Stderr, "warming up")
	if err := s.phase(ctx, 0, warm, s.duration/5); err != nil {
		return figures, err
	}
	before, err := s.rest(ctx, vitals{})
	if err != nil {
		return figures, err
	}
	s.mu.Lock()
	s.samples, s.began = nil, time.Now()
	s.mu.Unlock()
	fmt.Fprintln(os.Stderr, "measuring")
	if err := s.phase(ctx, warm, s.requests, s.duration); err != nil {
		return figures, err
	}
	after, err := s.rest(ctx, before)
	if err != nil {
		return figures, err
	}
	records, err := s.fleet.end(ctx, &s.tally)
	if err != nil {
		return figures, err
	}
	return s.figures(before, after, records), nil
}

// rest lets the gateway come to rest and returns its vitals.
func (s *soaking) rest(ctx context.Context, before vitals) (vitals, error) {
	s.client.Close()
	return s.fleet.settle(ctx, before)
}

// phase sends n requests from number first on, evenly over d, under changes and
// kills, and returns when all have ended.
func (s *soaking) phase(ctx context.Context, first, n int, d time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, 3)
	go func() { errs <- s.fleet.change(ctx, d) }()
	go func() { errs <- s.fleet.strike(ctx, d) }()
	go func() { errs <- evenly(ctx, max(1, int(d/s.every)), d, func(int) error { return s.sample(ctx) }) }()
	places := make(chan struct{}, most)
	var under sync.WaitGroup
	err := evenly(ctx, n, d, func(i int) error {
		places <- struct{}{}
		under.Go(func() {
			s.request(ctx, first+i)
			<-places
		})
		return nil
	})
	err = errors.Join(err, <-errs, <-errs, <-errs)
	under.Wait()
	return err
}

// request makes the n-th request and counts its end.
func (s *soaking) request(ctx context.Context, n int) {
	p := soak.NewPlan(s.seed, n, s.rate)
	ended := s.fleet.wearies(p)
	o := s.client.Do(ctx, p)
	ended()
	if ctx.Err() != nil {
		return // interrupted
	}
	missed := p.Missed(&o)
	switch {
	case missed == "":
	case o.End == soak.Broken && s.fleet.struck(&o):
		missed = ""
	case o.Refused() && s.fleet.weary(&o):
		o.End, missed = o.End+", as all rested", ""
	}
	s.mu.Lock()
	told := s.tally.count(p, &o, missed)
	s.mu.Unlock()
	if told {
		s.write(map[string]any{
			"kind": "miss", "n": n, "request": p.Kind(), "fault": p.Fault(), "miss": missed, "refusal": o.Refusal, "upstream": o.Upstream, "attempts": o.Attempts, "id": o.ID,
			"seconds": o.Ended.Sub(o.Begun).Seconds(), "at": o.Begun, "weary": s.fleet.weary(&o),
		})
		fmt.Fprintf(os.Stderr, "  miss: request %d, %s, %q: %s %s\n", n, p.Kind(), p.Fault(), missed, o.Refusal)
	}
}

// write appends v to the file of lines.
func (s *soaking) write(v any) {
	if s.out == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := json.NewEncoder(s.out).Encode(v); err != nil {
		s.errs = append(s.errs, err)
	}
}

// sample notes what the gateway has of everything, and tells it.
func (s *soaking) sample(ctx context.Context) error {
	var v vitals
	err := s.fleet.proxy.Ready(ctx, 5*time.Second, func() (err error) { // a reload may close the connection
		v, err = s.fleet.vitals(ctx)
		return err
	})
	if err != nil {
		return err
	}
	rss, _, err := proc.RSS(s.fleet.proxy.PID())
	if err != nil {
		return err
	}
	s.mu.Lock()
	measured := sample{Kind: "sample", vitals: v, RSS: rss, Requests: s.tally.requests}
	if !s.began.IsZero() {
		measured.Seconds = time.Since(s.began).Seconds()
	}
	s.samples = append(s.samples, measured)
	warming := s.began.IsZero()
	s.mu.Unlock()
	if !warming {
		s.write(measured)
	}
	return nil
}
