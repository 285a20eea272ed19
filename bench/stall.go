//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/load"
	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/stats"
)

// tolerated is how much longer requests may take while the disk stands still, at
// their 99th percentile.
const tolerated = 5 * time.Millisecond

// stall lets the disk of the records stand still under load, and prints what
// clients saw of it.
func stall(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("stall", flag.ContinueOnError)
	still := fs.Duration("for", 30*time.Second, "time for which the disk stands still; load begins a third of it before and ends as much later")
	caddy := fs.String("caddy", "", "Caddy with the plugin to measure (default: build ./cmd/caddy)")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *still < 3*time.Second || fs.NArg() > 0 {
		return fmt.Errorf("got -for %v and arguments %q, want 3s or more and none", *still, fs.Args())
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
	s, err := r.stall(ctx, *still)
	if err != nil {
		return err
	}
	fmt.Printf("%s\n\nRecording to a disk that stood still for %v (records written %d, dropped %v).\n\n", machine, *still, s.written, s.dropped)
	t := table{{"disk", "requests", "errors", "p50 ms", "p99 ms", "p99.9 ms"}}
	for _, p := range []struct {
		name string
		part stallPart
	}{{"as usual", s.usual}, {"stands still", s.still}} {
		t = append(t, []string{
			p.name, fmt.Sprint(p.part.requests), fmt.Sprint(p.part.errors),
			fmt.Sprintf("%.2f", p.part.latency.P50), fmt.Sprintf("%.2f", p.part.latency.P99), fmt.Sprintf("%.2f", p.part.latency.P999),
		})
	}
	if err := t.write(os.Stdout); err != nil {
		return err
	}
	return s.fault()
}

// stalled is what was seen of a disk that stood still.
type stalled struct {
	usual, still stallPart
	written      int64
	dropped      map[string]int64
	sent         int64
}

type stallPart struct {
	requests, errors int
	latency          stats.Quantiles
}

func (s *stalled) fault() error {
	lost := s.sent - s.written
	for _, n := range s.dropped {
		lost -= n
	}
	switch {
	case s.usual.errors+s.still.errors > 0:
		return fmt.Errorf("clients saw %d errors", s.usual.errors+s.still.errors)
	case s.still.latency.P99 > s.usual.latency.P99+ms(tolerated.Nanoseconds()):
		return fmt.Errorf("p99 rose by more than %v", tolerated)
	case lost != 0:
		return fmt.Errorf("%d exchanges are neither written nor counted as dropped", lost)
	}
	return nil
}

// stall runs the load with the records on a file system of its own, which it
// freezes.
func (r *rig) stall(ctx context.Context, still time.Duration) (*stalled, error) {
	disk, unmount, err := r.mount(ctx)
	if err != nil {
		return nil, err
	}
	defer unmount()
	f, err := r.startFleet(ctx, fleetAddresses)
	if err != nil {
		return nil, err
	}
	defer f.stop()
	c := candidate{name: "gateway", gateway: true, record: "true", data: filepath.Join(disk, "data")}
	proxy, address, err := r.startProxy(ctx, c, f.addresses)
	if err != nil {
		return nil, err
	}
	defer proxy.Stop(grace)
	around := still / 3
	journal := r.loadMixed(ctx, address, still+2*around)
	if err := pause(ctx, around); err != nil {
		return nil, err
	}
	frozen, err := freeze(disk)
	if err != nil {
		return nil, err
	}
	from := time.Now()
	err = pause(ctx, still)
	until := time.Now()
	if err := errors.Join(err, frozen()); err != nil {
		return nil, err
	}
	entries, err := journal()
	if err != nil {
		return nil, err
	}
	s := &stalled{sent: int64(len(entries)) + 1} // and the request that startProxy waits for
	s.usual.count(entries, func(e load.Entry) bool {
		return e.Ended < from.UnixNano() || e.Begun > until.Add(time.Second).UnixNano()
	})
	s.still.count(entries, func(e load.Entry) bool { return e.Begun > from.UnixNano() && e.Ended < until.UnixNano() })
	return s, s.recorded(ctx, address)
}

// count sums up the answers in one piece among the entries of a time.
func (p *stallPart) count(entries []load.Entry, within func(load.Entry) bool) {
	var h stats.Histogram
	for _, e := range entries {
		if !within(e) {
			continue
		}
		p.requests++
		if e.Error != "" {
			p.errors++
		} else if !e.Stream {
			h.Add(time.Duration(e.Ended - e.Begun))
		}
	}
	p.latency = h.Quantiles()
}

// recorded reads from the gateway what became of the exchanges, once all are
// written or dropped.
func (s *stalled) recorded(ctx context.Context, address string) error {
	for {
		var health struct {
			Recorder struct {
				Written int64            `json:"written"`
				Dropped map[string]int64 `json:"dropped"`
				Queued  int              `json:"queued"`
			} `json:"recorder"`
		}
		res, err := http.Get("http://" + address + "/health") //nolint:noctx // on loopback, at the run's end
		if err != nil {
			return err
		}
		text, err := io.ReadAll(res.Body)
		if err = errors.Join(err, res.Body.Close()); err != nil {
			return err
		}
		if err := json.Unmarshal(text, &health); err != nil {
			return err
		}
		before := s.written
		s.written, s.dropped = health.Recorder.Written, health.Recorder.Dropped
		if health.Recorder.Queued == 0 && s.written == before {
			return nil
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

// mount makes a small ext4 file system in a file, and returns where it is and what
// takes it away again. It needs root and loop devices.
func (r *rig) mount(ctx context.Context) (dir string, unmount func(), err error) {
	image, dir := filepath.Join(r.dir, "disk.img"), filepath.Join(r.dir, "disk")
	run := func(name string, args ...string) error {
		if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", name, err, out)
		}
		return nil
	}
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(image, nil, 0o600), os.Truncate(image, 512<<20)); err != nil {
		return "", nil, err
	}
	if err := run("mkfs.ext4", "-q", image); err != nil {
		return "", nil, err
	}
	if err := run("mount", "-o", "loop", image, dir); err != nil {
		return "", nil, fmt.Errorf("a disk that stands still needs root and loop devices: %w", err)
	}
	return dir, func() {
		if err := unix.Unmount(dir, 0); err != nil {
			fmt.Fprintln(os.Stderr, "bench: unmounting", dir, err)
		}
	}, nil
}

// freeze lets every write to the file system of dir wait until the function that
// it returns is called. That may be called once.
func freeze(dir string) (thaw func() error, err error) {
	const fiFreeze, fiThaw = 0xc0045877, 0xc0045878
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.IoctlSetInt(int(d.Fd()), fiFreeze, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("freezing %s: %w", dir, err), d.Close())
	}
	return func() error {
		return errors.Join(unix.IoctlSetInt(int(d.Fd()), fiThaw, 0), d.Close())
	}, nil
}
