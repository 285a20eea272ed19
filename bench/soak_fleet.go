//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/proc"
	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/soak"
)

// soakKey is the clients' key.
var soakKey = "aig-" + strings.Repeat("5", 40)

// soakInstances is how many instances share a process, next to which one that is
// killed again and again and a fallback instance have processes of their own. There
// are so many that faults leave some of them at any time.
const soakInstances = 8

// soakContext is the context of all instances: the echo models say that theirs is short,
// as engines do, but take prompts of any length.
const soakContext = 10_000_000

// soakFleet is a gateway with its instances.
type soakFleet struct {
	*rig
	subject
	dir      string // of the gateway
	address  string // of the gateway
	acting   *proc.Process
	fallback *proc.Process
	victim   *proc.Process // replaced by strike alone
	private  []string      // addresses, the victim's last
	spare    string        // address of the fallback instance
	swaps    int           // that have been made
	reloads  int

	mu      sync.Mutex
	strikes []strike // guarded by mu, as below
	rests   []*rest
}

// strike is a time in which the victim was killed or dead.
type strike struct{ from, to time.Time }

// rest is a time in which a request may make every instance that is left rest.
type rest struct{ from, to time.Time }

func (r *rig) startSoakFleet(ctx context.Context) (f *soakFleet, err error) {
	f = &soakFleet{rig: r}
	defer func() {
		if err != nil {
			f.stop()
		}
	}()
	var addresses []string
	if f.acting, f.private, err = r.startServer(ctx, "echo", "-listen", strings.Repeat(loopback+",", soakInstances-1)+loopback); err != nil {
		return f, err
	}
	// An address of its own: no connection to another one can take its port while it is dead.
	if f.victim, addresses, err = r.startServer(ctx, "echo", "-calm", "-listen", fleetAddresses[0]); err != nil {
		return f, err
	}
	f.private = append(f.private, addresses...)
	if f.fallback, addresses, err = r.startServer(ctx, "echo", "-calm", "-listen", loopback); err != nil {
		return f, err
	}
	f.spare = addresses[0]
	return f, f.start(ctx)
}

// start starts the gateway.
func (f *soakFleet) start(ctx context.Context) (err error) {
	if f.dir, err = os.MkdirTemp(f.rig.dir, "soak"); err != nil {
		return err
	}
	if f.address, err = freeAddress(); err != nil {
		return err
	}
	if f.admin, err = freeAddress(); err != nil {
		return err
	}
	if err := f.swap(); err != nil {
		return err
	}
	file := filepath.Join(f.dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(f.caddyfile()), 0o600); err != nil {
		return err
	}
	f.proxy, err = proc.Start("soak", f.dir, filepath.Join(f.dir, "log"), f.caddy, "run", "--config", file, "--adapter", "caddyfile")
	if err != nil {
		return err
	}
	return f.proxy.Ready(ctx, 20*time.Second, func() error {
		return f.get(ctx, "http://"+f.address+"/readyz", io.Discard)
	})
}

// get copies an answer to w.
func (f *soakFleet) get(ctx context.Context, url string, w io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := fresh.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d", url, res.StatusCode)
	}
	_, err = io.Copy(w, res.Body)
	return err
}

// stop ends all processes, the gateway first.
func (f *soakFleet) stop() {
	for _, p := range []*proc.Process{f.proxy, f.acting, f.victim, f.fallback} {
		if p != nil {
			p.Stop(grace)
		}
	}
}

// caddyfile is the next configuration of Caddy's.
func (f *soakFleet) caddyfile() string {
	return fmt.Sprintf("{\n\tadmin %s\n\tpersist_config off\n\tauto_https off\n\tgrace_period %ds\n\tmetrics\n\tservers {\n\t\tprotocols h1 h2c\n\t}\n\tlog default {\n\t\tlevel ERROR\n\t}\n}\n\n"+
		"http://%s {\n\tbind 127.0.0.1\n\tai_gateway {\n\t\tconfig %s\n\t\tmax_body %dMiB\n\t}\n}\n",
		f.admin, 60+f.reloads%2, f.address, filepath.Join(f.dir, "config.json5"), 32+f.reloads%2)
}

// swap writes the next content of config.json5: other weights, another order, an
// instance less, other settings, or another comment, in turn.
func (f *soakFleet) swap() error {
	n := f.swaps
	f.swaps++
	var b strings.Builder
	fmt.Fprintf(&b, "// %d\n{\n\tinstances: [\n", n)
	for i := range f.private {
		weight := 1
		switch n % 5 {
		case 1:
			weight = 1 + (n/5+i)%4
		case 2:
			i = len(f.private) - 1 - i
		case 3:
			if i == 3 {
				continue
			}
		}
		fmt.Fprintf(&b, "\t\t{url: \"http://%s/v1\", model_name: %q, api_key: \"sk-soak-%d\", weight: %d, context_length: %d},\n", f.private[i], soak.Model, i, weight, soakContext)
	}
	// One that never answers: nothing listens there, its name is unknown, or it speaks no TLS.
	ill := [...]string{"http://127.0.0.3:9", "http://soak.invalid", "https://" + f.private[0]}[n/5%3]
	fmt.Fprintf(&b, "\t\t{url: \"%s/v1\", model_name: %q, api_key: \"sk-soak-ill\", context_length: %d},\n", ill, soak.Model, soakContext)
	fmt.Fprintf(&b, "\t],\n\tfallback_instances: [{url: \"http://%s/v1\", model_name: %q, api_key: \"sk-soak-spare\", context_length: %d}],\n", f.spare, soak.Model, soakContext)
	fmt.Fprintf(&b, "\tkeys: [{name: \"soak\", hash: \"sha256:%x\", status: true}],\n", sha256.Sum256([]byte(soakKey)))
	fmt.Fprintf(&b, "\tdata_dir: %q,\n\trecord: {endpoints: [\"chat\", \"responses\", \"messages\", \"completions\"]},\n", filepath.Join(f.dir, "data"))
	// A request may meet its fault, the victim and the one that never answers.
	b.WriteString("\ttimeouts: {first_token: 3, stall: 3},\n\tretries: {attempts: 5},\n")
	if n%5 == 4 {
		fmt.Fprintf(&b, "\terror_window: %d,\n\tload_balancing_strategy: \"least_connections\",\n", 300+n%7)
	}
	b.WriteString("}\n")
	file := filepath.Join(f.dir, "config.json5")
	if err := os.WriteFile(file+".new", []byte(b.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// change swaps config.json5 every 3 s of d, and reloads Caddy every 20 s, twice at
// least.
func (f *soakFleet) change(ctx context.Context, d time.Duration) error {
	swaps := int(d / (3 * time.Second))
	reloads := max(2, int(d/(20*time.Second)))
	errs := make(chan error, 2)
	go func() { errs <- evenly(ctx, swaps, d, func(int) error { return f.swap() }) }()
	go func() { errs <- evenly(ctx, reloads, d, func(int) error { return f.reload(ctx) }) }()
	return errors.Join(<-errs, <-errs)
}

func (f *soakFleet) reload(ctx context.Context) error {
	f.reloads++
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+f.admin+"/load", strings.NewReader(f.caddyfile()))
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
		return fmt.Errorf("reload %d: status %d\n%s", f.reloads, res.StatusCode, f.proxy.Tail())
	}
	return nil
}

// strike kills the victim every 30 s of d, once at least, and starts it again.
func (f *soakFleet) strike(ctx context.Context, d time.Duration) error {
	times := max(1, int(d/(30*time.Second)))
	return evenly(ctx, times, d, func(int) error {
		if err := pause(ctx, d/time.Duration(4*times)); err != nil {
			return err
		}
		f.mu.Lock()
		n := len(f.strikes)
		f.strikes = append(f.strikes, strike{from: time.Now()})
		f.mu.Unlock()
		f.victim.Kill()
		if err := pause(ctx, downtime); err != nil {
			return err
		}
		address := f.private[len(f.private)-1]
		p, _, err := f.startServer(ctx, "echo", "-calm", "-listen", address)
		if err != nil {
			return err
		}
		f.victim = p
		f.mu.Lock()
		f.strikes[n].to = time.Now()
		f.mu.Unlock()
		return nil
	})
}

// struck reports whether the victim was answering the request when it was killed.
func (f *soakFleet) struck(o *soak.Outcome) bool {
	host, _, _ := strings.Cut(o.Upstream, "/")
	if host != f.private[len(f.private)-1] {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.strikes {
		if o.Ended.After(s.from) && (s.to.IsZero() || o.Begun.Before(s.to)) {
			return true
		}
	}
	return false
}

// wearies notes the time in which p, if it is such a request, may make every instance
// rest that is left. The time ends with a call of what it returns.
func (f *soakFleet) wearies(p *soak.Plan) (ended func()) {
	if !p.Wearies() {
		return func() {}
	}
	r := &rest{from: time.Now()}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rests = append(f.rests, r)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		r.to = time.Now().Add(restGrace)
	}
}

// restGrace is how long an instance may go on resting when its client has the answer.
const restGrace = 50 * time.Millisecond

// weary reports whether every instance may have rested while the request was under way,
// so that there was nobody to help it.
func (f *soakFleet) weary(o *soak.Outcome) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.rests, func(r *rest) bool {
		return o.Ended.After(r.from) && (r.to.IsZero() || o.Begun.Before(r.to))
	})
}

// soakRecords is what the gateway says of its records, and what is in the files.
type soakRecords struct {
	written, dropped int     // by the metrics
	lines            int     // in the files
	found            []uint8 // records of each request
	strange          int     // records of no request
	verify           string  // what records verify says, "" if it is content
	errors           int     // in the gateway's log
	panics           int
	sample           string // of them
}

// end waits until everything is recorded, stops the gateway and reads the records.
func (f *soakFleet) end(ctx context.Context, t *soakTally) (*soakRecords, error) {
	r := &soakRecords{found: make([]uint8, len(t.records))}
	for range 20 { // in the recorder's own time
		queued, err := f.counters(ctx, r)
		if err != nil {
			return nil, err
		}
		if queued == 0 && r.written >= t.expected() {
			break
		}
		if err := pause(ctx, 250*time.Millisecond); err != nil {
			return nil, err
		}
	}
	f.proxy.Stop(30 * time.Second)
	log := f.proxy.Log()
	r.errors, r.panics = bytes.Count(log, []byte(`"level":"error"`)), bytes.Count(log, []byte("panic"))
	for line := range bytes.Lines(log) {
		if bytes.Contains(line, []byte(`"level":"error"`)) {
			r.sample = string(line[:min(len(line), 300)])
			break
		}
	}
	files, err := filepath.Glob(filepath.Join(f.dir, "data", "*", "*.jsonl"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if err := r.read(file); err != nil {
			return nil, err
		}
	}
	out, err := exec.CommandContext(ctx, f.caddy, "ai-gateway", "records", "verify", "--data-dir", filepath.Join(f.dir, "data")).CombinedOutput()
	if err != nil {
		r.verify = fmt.Sprintf("%v: %.1000s", err, out)
	}
	return r, nil
}

// counters reads the recorder's metrics, and returns how many exchanges wait for it.
func (f *soakFleet) counters(ctx context.Context, r *soakRecords) (queued int, err error) {
	var b bytes.Buffer
	if err := f.get(ctx, "http://"+f.admin+"/metrics", &b); err != nil {
		return 0, err
	}
	r.written, r.dropped = 0, 0
	for line := range strings.Lines(b.String()) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		name, _, _ = strings.Cut(name, "{")
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue // a comment
		}
		switch name {
		case "caddy_ai_gateway_records_written_total":
			r.written += int(number)
		case "caddy_ai_gateway_records_dropped_total":
			r.dropped += int(number)
		case "caddy_ai_gateway_record_queue_length":
			queued += int(number)
		}
	}
	return queued, nil
}

// read counts the records of a file.
func (r *soakRecords) read(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	lines := bufio.NewReaderSize(f, 1<<20)
	for {
		line, err := lines.ReadSlice('\n')
		head := string(line[:min(len(line), 1000)])
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = lines.ReadSlice('\n')
		}
		if errors.Is(err, io.EOF) && head == "" {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: last line: %w", file, err)
		}
		r.lines++
		_, rest, _ := strings.Cut(head, `"value":"`+soak.Mark)
		number, _, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(number)
		if err != nil || n >= len(r.found) {
			r.strange++
			continue
		}
		r.found[n]++
	}
}
