//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/chat"
	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/load"
	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/proc"
)

const (
	// downtime is how long the killed instance is gone: less than the gateway
	// waits for its first trial, so that no trial fails.
	downtime = 2 * time.Second
	// shortest is the shortest run: the trial is due 5 s after the kill at the latest.
	shortest = 8 * time.Second
)

// fleetAddresses are those of the failover's upstreams. Each has a loopback
// address of its own: no connection to another one can take a dead one's port.
var fleetAddresses = []string{"127.0.0.2:0", "127.0.0.3:0", "127.0.0.4:0"}

// mixed is the failover's load, half of the connections each. An answer in one
// piece takes 100 ms, a stream 1 s; the ramp spreads streams over their whole
// length, so that some are at any point of theirs when the kill comes.
var mixed = []load.Spec{
	{Connections: 32, Bytes: 1 << 10, Order: chat.Order{Tokens: 10, Gap: 10 * time.Millisecond}, Ramp: 100 * time.Millisecond},
	{Connections: 32, Bytes: 1 << 10, Order: chat.Order{Tokens: 50, Gap: 20 * time.Millisecond, Stream: true}, Ramp: time.Second},
}

// failover kills one of three instances under load, starts it again, and prints
// what clients saw of it.
func failover(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("failover", flag.ContinueOnError)
	duration := fs.Duration("d", 10*time.Second, "time in which requests begin; the kill comes at a quarter of it")
	which := fs.String("c", "gateway", "the proxy in front, of "+names(candidates, candidateName))
	caddy := fs.String("caddy", "", "Caddy with the plugin to measure (default: build ./cmd/caddy)")
	lines := fs.String("json", "", "file to append the figures to, as a JSON object in a line")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *duration < shortest || fs.NArg() > 0 {
		return fmt.Errorf("got -d %v and arguments %q, want %v or more and none", *duration, fs.Args(), shortest)
	}
	picked, err := pick("candidate", *which, candidates, candidateName)
	if err != nil {
		return err
	}
	if len(picked) != 1 {
		return fmt.Errorf("got %d candidates, want one", len(picked))
	}
	var file *os.File
	if *lines != "" {
		if file, err = appendTo(*lines); err != nil {
			return err
		}
		defer file.Close() //nolint:errcheck // its one line is one write, checked there
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
	seen, err := r.failover(ctx, picked[0], *duration)
	if err != nil {
		return err
	}
	figures := seen.figures()
	figures.Candidate, figures.Seconds = picked[0].name, duration.Seconds()
	fmt.Printf("%s\n\n%s in front of %d instances, %v, one killed for %v.\n\n", machine, figures.Candidate, len(fleetAddresses), *duration, downtime)
	if err := figures.table().write(os.Stdout); err != nil {
		return err
	}
	if file != nil {
		if err := json.NewEncoder(file).Encode(figures); err != nil {
			return err
		}
	}
	return figures.fault()
}

// fleet is several upstreams, each a process of its own.
type fleet struct {
	processes []*proc.Process
	addresses []string
}

func (r *rig) startFleet(ctx context.Context, listen []string) (*fleet, error) {
	f := &fleet{}
	for _, l := range listen {
		p, addresses, err := r.startUpstream(ctx, l)
		if err != nil {
			f.stop()
			return nil, err
		}
		f.processes, f.addresses = append(f.processes, p), append(f.addresses, addresses...)
	}
	return f, nil
}

func (f *fleet) stop() {
	for _, p := range f.processes {
		p.Stop(grace)
	}
}

// failover starts fleet, proxy and load, and brings one instance down and up.
func (r *rig) failover(ctx context.Context, c candidate, d time.Duration) (*incident, error) {
	f, err := r.startFleet(ctx, fleetAddresses)
	if err != nil {
		return nil, err
	}
	defer f.stop()
	proxy, address, err := r.startProxy(ctx, c, f.addresses)
	if err != nil {
		return nil, err
	}
	defer proxy.Stop(grace)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	journal := r.loadMixed(ctx, address, d)
	seen := &incident{victim: f.addresses[0]}
	if err := pause(ctx, d/4); err != nil {
		return nil, err
	}
	seen.killed = time.Now().UnixNano()
	f.processes[0].Kill()
	seen.gone = time.Now().UnixNano()
	if err := pause(ctx, downtime); err != nil {
		return nil, err
	}
	seen.restarted = time.Now().UnixNano()
	if f.processes[0], _, err = r.startUpstream(ctx, seen.victim); err != nil {
		return nil, err
	}
	seen.journal, err = journal()
	return seen, err
}

// loadMixed begins the load and returns a function that waits for its end.
func (r *rig) loadMixed(ctx context.Context, address string, d time.Duration) func() ([]load.Entry, error) {
	specs := slices.Clone(mixed)
	for i := range specs {
		s := &specs[i]
		s.Targets, s.Path, s.Timeout = []load.Target{{Address: address}}, chatPath, 30*time.Second
		s.Slices, s.Slice, s.Journal = 1, d, true
	}
	return r.startLoads(ctx, specs)
}

// startLoads begins several loads at once and returns a function that waits for
// their ends.
func (r *rig) startLoads(ctx context.Context, specs []load.Spec) func() ([]load.Entry, error) {
	type part struct {
		results []load.Result
		err     error
	}
	parts := make(chan part, len(specs))
	for _, s := range specs {
		go func() {
			results, err := r.load(ctx, s)
			parts <- part{results, err}
		}()
	}
	return func() ([]load.Entry, error) {
		var journal []load.Entry
		var errs []error
		for range specs {
			p := <-parts
			errs = append(errs, p.err)
			for _, result := range p.results {
				journal = append(journal, result.Journal...)
			}
		}
		return journal, errors.Join(errs...)
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
