//go:build linux

// Command bench measures what the gateway costs against bare Caddy on this
// machine, what clients see of an instance's death, that reloads drop nothing, and
// that nothing is left behind by hours of load with every fault. It needs Go and Linux, nothing else.
//
//	go run ./bench                     the comparison, all scenarios
//	go run ./bench -s json,burst -rounds 3
//	go run ./bench failover
//	go run ./bench reload
//	go run ./bench soak
//
// See README.md for the scenarios and for what the figures mean.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// command is a subcommand. Its context ends on an interrupt; it then returns
// soon and leaves nothing running.
type command struct {
	name, about string
	run         func(ctx context.Context, args []string) error
}

// commands lists the subcommands, the default first. Those without a
// description are processes that the others start.
var commands = []command{
	{"compare", "CPU time, latency and memory against bare Caddy, then failover and reload (default)", compare},
	{"failover", "what clients see when an instance dies and comes back", failover},
	{"stall", "what clients see when the disk of the records stands still", stall},
	{"reload", "whether reloads and changes of config.json5 drop anything under load", reload},
	{"soak", "whether hours of load with every fault leave anything behind", soakRun},
	{"upstream", "", upstream},
	{"echo", "", echoInstances},
	{"load", "", generate},
}

func main() {
	name, args := commands[0].name, os.Args[1:]
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	for _, c := range commands {
		if c.name != name {
			continue
		}
		if err := c.run(ctx, args); err != nil && !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(os.Stderr, "bench %s: %v\n", name, err)
			stop()
			os.Exit(1)
		}
		return
	}
	fmt.Fprintf(os.Stderr, "unknown command %q, want one of:\n", name)
	for _, c := range commands {
		if c.about != "" {
			fmt.Fprintf(os.Stderr, "  %-10s %s\n", c.name, c.about)
		}
	}
	os.Exit(2)
}
