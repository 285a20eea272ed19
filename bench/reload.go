//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/chat"
	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/load"
	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/proc"
)

// reloading is a run of the reload command.
type reloading struct {
	*rig
	candidate      candidate
	duration       time.Duration
	swaps, reloads int
	rate, streams  int

	dir       string // of the proxy
	upstreams []string
	address   string // of the proxy
	subject
}

// reload swaps config.json5 and reloads Caddy's configuration under load, and prints
// whether anything got lost.
func reload(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("reload", flag.ContinueOnError)
	var r reloading
	fs.DurationVar(&r.duration, "d", 60*time.Second, "time in which requests begin, and in which all changes are made")
	fs.IntVar(&r.swaps, "swaps", 500, "changes of config.json5")
	fs.IntVar(&r.reloads, "reloads", 50, "reloads of Caddy's configuration, by the admin endpoint")
	fs.IntVar(&r.rate, "rate", 500, "short requests per second, half of them streams")
	fs.IntVar(&r.streams, "streams", 200, "long streams at a time, of 10 s each")
	which := fs.String("c", "gateway-record", "the proxy in front, of "+names(candidates, candidateName))
	caddy := fs.String("caddy", "", "Caddy with the plugin to measure (default: build ./cmd/caddy)")
	lines := fs.String("json", "", "file to append the figures to, as a JSON object in a line")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if r.duration < time.Second || r.swaps < 0 || r.reloads < 1 || r.rate < 2 || r.streams < 1 || fs.NArg() > 0 {
		return fmt.Errorf("got -d %v, -swaps %d, -reloads %d, -rate %d, -streams %d and arguments %q, want 1s, 0, 1, 2, 1 or more and none",
			r.duration, r.swaps, r.reloads, r.rate, r.streams, fs.Args())
	}
	picked, err := pick("candidate", *which, candidates, candidateName)
	if err != nil {
		return err
	}
	if len(picked) != 1 {
		return fmt.Errorf("got %d candidates, want one", len(picked))
	}
	if r.candidate = picked[0]; !r.candidate.gateway {
		r.swaps = 0 // it has no such file
	}
	var file *os.File
	if *lines != "" {
		if file, err = appendTo(*lines); err != nil {
			return err
		}
		defer file.Close() //nolint:errcheck // its one line is one write, checked there
	}
	if r.rig, err = newRig(ctx, *caddy); err != nil {
		return err
	}
	defer r.remove()
	machine, err := describeMachine(r.caddy)
	if err != nil {
		return err
	}
	after, err := r.run(ctx)
	if err != nil {
		return err
	}
	figures := after.figures()
	fmt.Printf("%s\n\n%s, %v: %d swaps and %d reloads under %d requests/s and %d long streams.\n\n",
		machine, r.candidate.name, r.duration, r.swaps, r.reloads, r.rate, r.streams)
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

// run starts instances and proxy, warms the proxy up with a tenth of everything, and
// then does what is to be measured.
func (r *reloading) run(ctx context.Context) (*aftermath, error) {
	upstream, addresses, err := r.startUpstream(ctx, loopback, loopback, loopback)
	if err != nil {
		return nil, err
	}
	defer upstream.Stop(grace)
	r.upstreams = addresses
	if err := r.start(ctx); err != nil {
		return nil, err
	}
	defer r.proxy.Stop(grace)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	fmt.Fprintln(os.Stderr, "warming up")
	part := 10
	warm := &aftermath{recorded: r.candidate.record == "true"}
	if err := r.upheaval(ctx, warm, r.duration/time.Duration(part), r.swaps/part, max(1, r.reloads/part)); err != nil {
		return nil, err
	}
	after := &aftermath{recorded: warm.recorded}
	if after.before, err = r.settle(ctx, vitals{}); err != nil {
		return nil, err
	}
	if after.known, err = r.records(); err != nil {
		return nil, err
	}
	fmt.Fprintln(os.Stderr, "measuring")
	if err := r.upheaval(ctx, after, r.duration, r.swaps, r.reloads); err != nil {
		return nil, err
	}
	if after.after, err = r.settle(ctx, after.before); err != nil {
		return nil, err
	}
	if after.records, err = r.records(); err != nil {
		return nil, err
	}
	after.logged = strings.Count(string(r.proxy.Log()), `"level":"error"`)
	return after, nil
}

// start starts the proxy with an admin endpoint.
func (r *reloading) start(ctx context.Context) (err error) {
	if r.dir, err = os.MkdirTemp(r.rig.dir, r.candidate.name); err != nil {
		return err
	}
	if r.address, err = freeAddress(); err != nil {
		return err
	}
	if r.admin, err = freeAddress(); err != nil {
		return err
	}
	if err := r.swap(0); err != nil {
		return err
	}
	file := filepath.Join(r.dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(r.caddyfile(0)), 0o600); err != nil {
		return err
	}
	r.proxy, err = proc.Start(r.candidate.name, r.dir, filepath.Join(r.dir, "log"), r.caddy, "run", "--config", file, "--adapter", "caddyfile")
	if err != nil {
		return err
	}
	if err := r.proxy.Ready(ctx, 20*time.Second, func() error { return ask(ctx, r.address) }); err != nil {
		r.proxy.Stop(grace)
		return err
	}
	return nil
}

// caddyfile is the n-th configuration of Caddy's. Each differs from the one before,
// so that Caddy does not take it for the same, and says its number in every answer.
func (r *reloading) caddyfile(n int) string {
	handler := "reverse_proxy " + strings.Join(r.upstreams, " ") + " {\n\t\tlb_policy round_robin\n\t}"
	if r.candidate.gateway {
		handler = fmt.Sprintf("ai_gateway {\n\t\tconfig %s\n\t\tmax_body %dMiB\n\t}", filepath.Join(r.dir, "config.json5"), 32+n%2)
	}
	return fmt.Sprintf("{\n\tadmin %s\n\tpersist_config off\n\tauto_https off\n\tgrace_period %ds\n\tlog default {\n\t\tlevel ERROR\n\t}\n}\n\n"+
		"http://%s {\n\tbind 127.0.0.1\n\theader X-Reload %d\n\t%s\n}\n", r.admin, 60+n%2, r.address, n, handler)
}

// swap writes the n-th content of config.json5: other weights, another order, one
// instance less, other settings, or another comment, in turn.
func (r *reloading) swap(n int) error {
	if !r.candidate.gateway {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "// %d\n{\n\tinstances: [\n", n)
	for i := range r.upstreams {
		weight := 1
		switch n % 5 {
		case 0:
			weight = 1 + (n/5+i)%4
		case 1:
			i = len(r.upstreams) - 1 - i
		case 2:
			if i == 1 {
				continue
			}
		}
		fmt.Fprintf(&b, "\t\t{url: \"http://%s/v1\", model_name: %q, weight: %d},\n", r.upstreams[i], chat.Model, weight)
	}
	fmt.Fprintf(&b, "\t],\n\tdata_dir: %q,\n\trecord: {enabled: %s},\n", filepath.Join(r.dir, "data"), or(r.candidate.record, "true"))
	if n%5 == 3 {
		fmt.Fprintf(&b, "\terror_window: %d,\n\tload_balancing_strategy: \"least_connections\",\n\ttimeouts: {stall: %d},\n", 300+n%7, 100+n%9)
	}
	b.WriteString("}\n")
	file := filepath.Join(r.dir, "config.json5")
	if err := os.WriteFile(file+".new", []byte(b.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

func or(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// upheaval makes the changes, evenly over d, under load, and returns when every
// answer has ended.
func (r *reloading) upheaval(ctx context.Context, a *aftermath, d time.Duration, swaps, reloads int) error {
	journal := r.loads(ctx, d)
	errs := make(chan error, 2)
	go func() {
		errs <- evenly(ctx, swaps, d, func(n int) error {
			began := time.Now()
			if err := r.swap(n + 1); err != nil {
				return err
			}
			return r.inForce(ctx, a, n+1, began)
		})
	}()
	go func() {
		errs <- evenly(ctx, reloads, d, func(n int) error { return r.renew(ctx, a, n+1) })
	}()
	err := errors.Join(<-errs, <-errs)
	entries, lerr := journal()
	a.journal = entries
	return errors.Join(err, lerr)
}

// evenly calls f n times, at equal distances over d.
func evenly(ctx context.Context, n int, d time.Duration, f func(n int) error) error {
	start := time.Now()
	for i := range n {
		if err := pause(ctx, time.Until(start.Add(d*time.Duration(i)/time.Duration(n)))); err != nil {
			return err
		}
		if err := f(i); err != nil {
			return err
		}
	}
	return nil
}

// inForce waits until the n-th content of config.json5 shows in /health, for those
// that show there, and counts it.
func (r *reloading) inForce(ctx context.Context, a *aftermath, n int, began time.Time) error {
	want := map[int]int{2: len(r.upstreams) - 1, 3: len(r.upstreams)}[n%5]
	if want == 0 {
		return nil
	}
	for {
		var health struct{ Instances map[string]any }
		err := r.get(ctx, "http://"+r.address+"/health", &health)
		if err == nil && len(health.Instances) == want {
			a.swapped = append(a.swapped, time.Since(began))
			return nil
		}
		if time.Since(began) > 10*time.Second {
			return errors.Join(fmt.Errorf("change %d of config.json5 is not in force after 10 s: got %d instances, want %d", n, len(health.Instances), want), err)
		}
		if err := pause(ctx, 2*time.Millisecond); err != nil {
			return err
		}
	}
}

// renew gives Caddy its n-th configuration and makes sure that it answers by it.
func (r *reloading) renew(ctx context.Context, a *aftermath, n int) error {
	began := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+r.admin+"/load", strings.NewReader(r.caddyfile(n)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "text/caddyfile")
	res, err := fresh.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("reload %d: status %d\n%s", n, res.StatusCode, r.proxy.Tail())
	}
	a.reloaded = append(a.reloaded, time.Since(began))
	// The server of the configuration before may take a connection more, and
	// close it when a request comes.
	return r.proxy.Ready(ctx, time.Second, func() error { return r.answersBy(ctx, n) })
}

// answersBy returns an error unless the proxy answers by its n-th configuration.
func (r *reloading) answersBy(ctx context.Context, n int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.address+"/v1/models", nil)
	if err != nil {
		return err
	}
	res, err := fresh.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if got, want := res.Header.Get("X-Reload"), fmt.Sprint(n); got != want {
		return fmt.Errorf("configuration %s is not in force: got an answer by %s", want, got)
	}
	return nil
}

// fresh opens a connection for each request, which then meets the newest
// configuration.
var fresh = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// get reads JSON into v.
func (r *reloading) get(ctx context.Context, url string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := fresh.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return json.NewDecoder(res.Body).Decode(v)
}

// loads begins the load and returns a function that waits for its end.
func (r *reloading) loads(ctx context.Context, d time.Duration) func() ([]load.Entry, error) {
	specs := []load.Spec{
		{Connections: 100, Rate: r.rate / 2, Order: chat.Order{Tokens: 10, Gap: 10 * time.Millisecond}},
		{Connections: 100, Rate: r.rate - r.rate/2, Order: chat.Order{Tokens: 10, Gap: 10 * time.Millisecond, Stream: true}},
		{Connections: r.streams, Order: chat.Order{Tokens: 100, Gap: 100 * time.Millisecond, Stream: true}, Ramp: min(d, 10*time.Second)},
	}
	for i := range specs {
		s := &specs[i]
		s.Targets, s.Path, s.Bytes, s.Timeout = []load.Target{{Address: r.address}}, chatPath, 1<<10, 60*time.Second
		s.Slices, s.Slice, s.Journal, s.Replay = 1, d, true, true
	}
	return r.startLoads(ctx, specs)
}
