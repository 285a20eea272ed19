//go:build linux

package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Process is a running program in a process group of its own. Whoever starts
// it stops it.
type Process struct {
	name string
	log  string // file with its standard output and error
	cmd  *exec.Cmd
	done chan struct{} // closed when it ended
	stop sync.Once
}

// Start runs argv with dir as working directory and home, its output going to
// the file log. Of the environment it sees only PATH, so that no setting of the
// caller's changes what is measured.
func Start(name, dir, log string, argv ...string) (*Process, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // the process writes to its own copy
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, f, f
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	// The kernel ends it when this process dies without having stopped it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p := &Process{name: name, log: log, cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(p.done)
	}()
	return p, nil
}

// PID returns its process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Ready waits until ready returns nil, and returns its last error, with the end
// of the log, when that takes longer than limit or the process ends.
func (p *Process) Ready(ctx context.Context, limit time.Duration, ready func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready: %w\n%s", p.name, err, p.Tail())
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return fmt.Errorf("%s not ready after %v: %w\n%s", p.name, limit, err, p.Tail())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Log returns what the process has written so far.
func (p *Process) Log() []byte {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return []byte(err.Error())
	}
	return b
}

// Tail returns the end of what the process has written.
func (p *Process) Tail() string {
	b := p.Log()
	return string(b[max(0, len(b)-2000):])
}

// Stop ends the process and its group: SIGTERM, and SIGKILL when it is still
// there after the grace period. It returns when the process has ended; further
// calls do nothing.
func (p *Process) Stop(grace time.Duration) {
	p.stop.Do(func() {
		p.signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(grace):
		}
		p.signal(syscall.SIGKILL) // also what it left behind in its group
		<-p.done
	})
}

// Kill ends the process and its group at once. It returns when the process has
// ended; after Stop or Kill it does nothing.
func (p *Process) Kill() {
	p.stop.Do(func() {
		p.signal(syscall.SIGKILL)
		<-p.done
	})
}

func (p *Process) signal(s syscall.Signal) {
	_ = syscall.Kill(-p.PID(), s) // fails only when the group is gone
}
