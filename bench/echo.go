//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/soak"
	"github.com/simpleaigateway/caddy-ai-gateway/echomodel"
)

// shortIdle is how long some instances keep an idle connection: less than the gateway
// does, so that it meets connections that close as it uses them.
const shortIdle = time.Second

// echoInstances is the process of the soak's instances. It prints their addresses as a
// line of JSON and answers until it is stopped.
func echoInstances(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("echo", flag.ContinueOnError)
	listen := fs.String("listen", loopback, "comma-separated addresses to listen on, each an instance")
	var actor soak.Actor
	fs.BoolVar(&actor.Calm, "calm", false, "act out no faults but those of all instances")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var servers []*http.Server
	var addresses []string
	var serving sync.WaitGroup
	defer serving.Wait()
	for n, address := range strings.Split(*listen, ",") {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return errors.Join(err, closeAll(servers))
		}
		s := &http.Server{
			Handler:           actor.Instance(n, echomodel.New(echomodel.Options{Models: []string{soak.Model}})),
			ReadHeaderTimeout: time.Minute, IdleTimeout: 2 * time.Minute, // which is else as long as the other
			ErrorLog: log.New(io.Discard, "", 0),
		}
		if n%2 == 1 {
			s.IdleTimeout = shortIdle
		}
		servers, addresses = append(servers, s), append(addresses, l.Addr().String())
		serving.Go(func() {
			_ = s.Serve(l) // ends when the server is closed
		})
	}
	if err := json.NewEncoder(os.Stdout).Encode(addresses); err != nil {
		return errors.Join(err, closeAll(servers))
	}
	<-ctx.Done()
	return closeAll(servers)
}

func closeAll(servers []*http.Server) error {
	var errs []error
	for _, s := range servers {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}
