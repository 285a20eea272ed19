//go:build linux

package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/load"
	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/mock"
)

// upstream is the mock upstream's process. It prints its addresses as a line of
// JSON and answers until it is stopped.
func upstream(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("upstream", flag.ContinueOnError)
	listen := fs.String("listen", loopback, "comma-separated addresses to listen on")
	if err := fs.Parse(args); err != nil {
		return err
	}
	s, err := mock.Listen(strings.Split(*listen, ",")...)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(s.Addresses()); err != nil {
		return err
	}
	s.Serve(ctx)
	return nil
}

// generate is the load generator's process: a load.Spec on standard input, a
// []load.Result on standard output.
func generate(ctx context.Context, _ []string) error {
	var spec load.Spec
	if err := json.NewDecoder(os.Stdin).Decode(&spec); err != nil {
		return fmt.Errorf("reading what to send: %w", err)
	}
	res, err := load.Run(ctx, spec)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(res)
}
