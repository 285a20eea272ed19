//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/load"
)

// comparison is the run of the compare command.
type comparison struct {
	*rig
	scenarios  []scenario
	candidates []candidate
	rounds     int
	duration   time.Duration
	usage      bool
	json       io.Writer // of runs as lines; nil for none
	runs       []measured
	faults     int64    // answers that were wrong or failed
	less       []string // scenarios with less load than meant, and why
}

// entrant is a candidate in front of a fleet.
type entrant struct {
	candidate
	label     string
	instances int
	ref       *entrant // that it is compared with, nil for itself
}

func (e entrant) reference() entrant {
	if e.ref != nil {
		return *e.ref
	}
	return e
}

// compare measures the candidates, fresh processes in a new random order each
// round, and prints a table of medians.
func compare(ctx context.Context, args []string) (err error) {
	fs := flag.NewFlagSet("compare", flag.ContinueOnError)
	only := fs.String("s", names(scenarios, scenarioName), "comma-separated scenarios")
	which := fs.String("c", "", "comma-separated candidates, the reference first, of "+names(candidates, candidateName)+
		" (default: all but caddy-again and gateway, of nginx and haproxy those that are installed)")
	also := fs.String("also", "failover,reload", "of failover, reload, stall and soak those to run afterwards, by their defaults; none if -s or -c is given")
	rounds := fs.Int("rounds", 5, "rounds of each scenario")
	duration := fs.Duration("d", 4*time.Second, "measured time of each candidate in each round")
	flush := fs.Bool("flush", false, "give bare Caddy flush_interval -1")
	usage := fs.Bool("usage", true, "ask for the usage event in streams")
	caddy := fs.String("caddy", "", "Caddy with the plugin to measure (default: build ./cmd/caddy)")
	lines := fs.String("json", "", "file to append every run to, a JSON object per line")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *rounds < 1 || *duration < 100*time.Millisecond || fs.NArg() > 0 {
		return fmt.Errorf("got -rounds %d, -d %v and arguments %q, want 1 or more, 100ms or more and none", *rounds, *duration, fs.Args())
	}
	c := &comparison{rounds: *rounds, duration: *duration, usage: *usage}
	if c.scenarios, err = pick("scenario", *only, scenarios, scenarioName); err != nil {
		return err
	}
	all := *only == names(scenarios, scenarioName) && *which == ""
	if *which == "" {
		*which = usualCandidates()
	}
	if c.candidates, err = pick("candidate", *which, candidates, candidateName); err != nil {
		return err
	}
	if c.candidates[0].direct {
		return errors.New("the candidate direct cannot be the reference: it has no proxy whose CPU time could be compared")
	}
	files, err := raiseLimit()
	if err != nil {
		return err
	}
	for i := range c.scenarios {
		if s := &c.scenarios[i]; s.fit(files) {
			c.less = append(c.less, fmt.Sprintf("%s has %d streams: the limit of open files is %d (ulimit -n)", s.name, s.load.Connections, files))
		}
	}
	for _, why := range c.less {
		fmt.Fprintln(os.Stderr, why)
	}
	for i := range c.candidates {
		c.candidates[i].flush = *flush
	}
	if *lines != "" {
		f, err := appendTo(*lines)
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // every line is one write, checked there
		c.json = f
	}
	if c.rig, err = newRig(ctx, *caddy); err != nil {
		return err
	}
	defer c.remove()
	err = c.run(ctx)
	if !all || *also == "" {
		return err
	}
	errs := []error{err}
	for name := range strings.SplitSeq(*also, ",") {
		errs = append(errs, c.command(ctx, name, *lines))
	}
	return errors.Join(errs...)
}

// command runs another command with the Caddy that is built already.
func (c *comparison) command(ctx context.Context, name, lines string) error {
	args := []string{"-caddy", c.caddy}
	if lines != "" {
		args = append(args, "-json", lines)
	}
	run := map[string]func(context.Context, []string) error{"failover": failover, "reload": reload, "stall": stall, "soak": soakRun}[name]
	if run == nil {
		return fmt.Errorf("-also: unknown command %q, want some of failover,reload,stall,soak", name)
	}
	fmt.Printf("\n## %s\n\n", name)
	fmt.Fprintf(os.Stderr, "%s\n", name)
	if err := run(ctx, args); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// raiseLimit lets this process and those that it starts open 10,000 streams, each of
// which takes a proxy two descriptors, and returns how many each may have.
func raiseLimit() (files int, err error) {
	const want = 1 << 16
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("reading the limit of open files: %w", err)
	}
	raised := syscall.Rlimit{Cur: max(limit.Max, want), Max: max(limit.Max, want)} // above Max: for root alone
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil {
		return int(raised.Cur), nil
	}
	// Explicitly, so that what is started here gets it too: the Go runtime gives others
	// back the limit that it has raised by itself.
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("raising the limit of open files to %d: %w", limit.Max, err)
	}
	return int(limit.Cur), nil
}

func (c *comparison) run(ctx context.Context) error {
	machine, err := describeMachine(c.caddy)
	if err != nil {
		return err
	}
	for _, s := range c.scenarios {
		fmt.Fprintf(os.Stderr, "%s: %s\n", s.name, s.title)
		if err := c.scenario(ctx, s); err != nil {
			return fmt.Errorf("scenario %s: %w", s.name, err)
		}
	}
	fmt.Printf("%s\n\nMedians of %d rounds of %v.\n\n", machine, c.rounds, c.duration)
	if err := summarize(c.scenarios, c.entrants, c.runs).write(os.Stdout); err != nil {
		return err
	}
	for _, why := range c.less {
		fmt.Printf("\n%s\n", why)
	}
	if c.faults > 0 {
		fmt.Printf("\n%d answers were wrong or failed: the figures are void.\n", c.faults)
		return fmt.Errorf("%d answers were wrong or failed", c.faults)
	}
	return nil
}

// entrants lists who takes part in a scenario: all candidates on a fleet of the
// same size, compared with the first; or, when the scenario is about fleets,
// each on fleets of several sizes, compared with itself on the first.
func (c *comparison) entrants(s scenario) []entrant {
	var all []entrant
	for _, cand := range c.candidates {
		if cand.direct && len(s.instances) > 1 {
			continue // it knows one upstream only
		}
		for i, n := range s.instances {
			e := entrant{candidate: cand, label: cand.name, instances: n}
			if len(s.instances) > 1 {
				e.label = fmt.Sprintf("%s-%d", cand.name, n)
			}
			switch {
			case i > 0:
				e.ref = &entrant{candidate: cand, instances: s.instances[0]}
			case len(s.instances) == 1:
				e.ref = &entrant{candidate: c.candidates[0], instances: n}
			}
			all = append(all, e)
		}
	}
	return all
}

func (c *comparison) scenario(ctx context.Context, s scenario) error {
	upstream, addresses, err := c.startUpstream(ctx, slices.Repeat([]string{loopback}, slices.Max(s.instances))...)
	if err != nil {
		return err
	}
	defer upstream.Stop(grace)
	s.load.Timeout, s.load.Path, s.load.Upstream = 30*time.Second, chatPath, upstream.PID()
	// A request that begins at the end of a slice makes it longer.
	turn := s.load.Slice + time.Duration(s.load.Order.Tokens)*s.load.Order.Gap
	if !s.open {
		s.load.Slices = max(2, int((c.duration+turn/2)/turn))
	}
	s.load.Order.Usage = c.usage && s.load.Order.Stream
	for round := 1; round <= c.rounds; round++ {
		order := c.entrants(s)
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		parts := [][]entrant{order}
		if s.open { // each alone: thousands of idle connections of others would cost it time
			parts = slices.Collect(slices.Chunk(order, 1))
		}
		for _, part := range parts {
			if err := c.round(ctx, s, round, part, addresses); err != nil {
				return err
			}
		}
	}
	return nil
}

// round starts a fresh process for every entrant, and lets the load generator load them
// in turn.
func (c *comparison) round(ctx context.Context, s scenario, round int, order []entrant, upstreams []string) error {
	for _, e := range order {
		if e.direct {
			s.load.Targets = append(s.load.Targets, load.Target{Address: upstreams[0]})
			continue
		}
		proxy, address, err := c.startProxy(ctx, e.candidate, upstreams[:e.instances])
		if err != nil {
			return err
		}
		defer proxy.Stop(grace)
		s.load.Targets = append(s.load.Targets, load.Target{Address: address, PID: proxy.PID()})
	}
	results, err := c.load(ctx, s.load)
	if err != nil {
		return err
	}
	for i, e := range order {
		m := measured{
			Scenario: s.name, Round: round, Candidate: e.name, Instances: e.instances,
			CPU: s.cpu(results[i]), Unit: s.unit(), Result: results[i],
		}
		fmt.Fprintf(os.Stderr, "  round %d  %-18s %8.2f CPU-µs/%s  %8.0f/s  others %2.0f %%\n",
			round, e.label, m.CPU, m.Unit, s.rate(m.Result), 100*m.Result.Others)
		if err := c.keep(m); err != nil {
			return err
		}
	}
	return nil
}

// keep adds a run to the others, writes it down, and tells what went wrong.
func (c *comparison) keep(m measured) error {
	c.runs = append(c.runs, m)
	for _, what := range slices.Sorted(maps.Keys(m.Result.Errors)) {
		fmt.Fprintf(os.Stderr, "  round %d  %s: %d errors: %s\n", m.Round, m.Candidate, m.Result.Errors[what], what)
		c.faults += int64(m.Result.Errors[what])
	}
	if m.Result.Wrong > 0 {
		fmt.Fprintf(os.Stderr, "  round %d  %s: %d answers wrong, such as: %s\n", m.Round, m.Candidate, m.Result.Wrong, m.Result.Sample)
		c.faults += m.Result.Wrong
	}
	if c.json == nil {
		return nil
	}
	return json.NewEncoder(c.json).Encode(m)
}
