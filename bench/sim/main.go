// Command sim simulates what the gateway's policies make of a fleet of vLLM-like engines:
// with their code, and engines, traffic and time that are made up. The same seed gives the
// same figures on every machine.
//
//	go run ./bench/sim                                all traffic, 8 engines
//	go run ./bench/sim -traffic conversations -engines 4,16,64
//
// For each traffic it looks for the highest rate at which a policy keeps the 99th percentile
// of the times to the first token within a bound, and shows what comes out at that rate. With
// boxes of two kinds it shows what all policies make of one rate, two thirds of the highest
// that least_load keeps the bound at.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

var policies = []string{"round_robin", "least_connections", "least_load", "prefix_affinity"}

// scenario is a fleet and its traffic.
type scenario struct {
	name  string
	trace trace
	boxes func(engines int) []hardware
	same  bool // all policies get one rate, that of share
}

var scenarios = []scenario{
	{"conversations", conversations, equal, false},
	{"batch", batch, equal, false},
	{"mixed", mixed, equal, false},
	{"unequal", batch, unequal, true},
}

func equal(engines int) []hardware {
	boxes := make([]hardware, engines)
	for n := range boxes {
		boxes[n] = a100
	}
	return boxes
}

// unequal is a fleet in which every other box is slower.
func unequal(engines int) []hardware {
	boxes := equal(engines)
	for n := 1; n < engines; n += 2 {
		boxes[n] = a10
	}
	return boxes
}

// share is the part of what least_load can do that all policies get where the same is asked
// of them: a fleet is seldom loaded to its limit for long.
const share = 2.0 / 3

func main() {
	if err := command(os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "sim:", err)
		os.Exit(1)
	}
}

func command(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("sim", flag.ContinueOnError)
	traffic := flags.String("traffic", "", "only this traffic: conversations, batch, mixed or unequal")
	engines := flags.String("engines", "8", "numbers of engines, 2 to 64, separated by commas")
	bound := flags.Duration("bound", time.Second, "bound of the 99th percentile of the times to the first token")
	length := flags.Duration("length", 4*time.Minute, "simulated time, of which the first third is not measured")
	seed := flags.Uint64("seed", 1, "seed of all that is random")
	gauges := flags.Bool("gauges", false, "let the policies know the engines' gauges, which the gateway does not read yet")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *bound <= 0 || *length < 10*time.Second {
		return errors.New("want a bound above 0 and a length of 10s and more")
	}
	known := false
	for _, sc := range scenarios {
		if *traffic != "" && *traffic != sc.name {
			continue
		}
		known = true
		for text := range strings.SplitSeq(*engines, ",") {
			count, err := strconv.Atoi(text)
			if err != nil || count < 2 || count > 64 {
				return fmt.Errorf("engines: got %q, want a number from 2 to 64", text)
			}
			fmt.Fprintf(out, "\n%s, %d engines, p99 of TTFT at most %v\n", sc.name, count, *bound)
			show(out, sc.compare(setup{boxes: sc.boxes(count), length: *length, seed: *seed, gauges: *gauges}, *bound))
		}
	}
	if !known {
		return fmt.Errorf("traffic: got %q, want conversations, batch, mixed or unequal", *traffic)
	}
	return nil
}

// compare simulates all policies.
func (sc *scenario) compare(u setup, bound time.Duration) []figures {
	u.trace = sc.trace
	if sc.same {
		u.policy = "least_load"
		u.rate = share * u.highest(bound).rate
	}
	all := make([]figures, len(policies))
	for n, policy := range policies {
		if u.policy = policy; sc.same {
			all[n] = u.run()
		} else {
			all[n] = u.highest(bound)
		}
	}
	return all
}

// show writes a table with a row for each policy.
func show(out io.Writer, all []figures) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "policy\trequests/s\t× first\ttokens/s\tTTFT p50\tp99\tcache hits\t")
	for n, f := range all {
		fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%.0f\t%v\t%v\t%.1f %%\t\n", policies[n], f.requests, f.requests/all[0].requests, f.tokens,
			f.quantile(0.5).Round(time.Millisecond), f.quantile(0.99).Round(time.Millisecond), 100*f.hits)
	}
	_ = w.Flush() // as the rest of what is written there, nobody waits for it
}
