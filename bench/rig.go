//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/chat"
	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/load"
	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/proc"
)

const (
	chatPath = "/v1/chat/completions"
	loopback = "127.0.0.1:0" // with a port that is free
	// grace is how long a process may take to end.
	grace = 3 * time.Second
)

// rig is what every measurement needs: a folder for temporary files, the Caddy
// to measure, and this program, which is upstream and load generator too.
type rig struct {
	dir   string
	caddy string
	self  string
}

// newRig builds Caddy with the plugin, unless caddy names a program to use.
func newRig(ctx context.Context, caddy string) (*rig, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "ai-gateway-bench")
	if err != nil {
		return nil, err
	}
	r := &rig{dir: dir, caddy: caddy, self: self}
	if caddy == "" {
		r.caddy = filepath.Join(dir, "caddy")
		cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", r.caddy, "github.com/simpleaigateway/caddy-ai-gateway/cmd/caddy")
		var out []byte
		out, err = cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("building ./cmd/caddy: %w\n%s", err, out)
		}
	} else {
		r.caddy, err = filepath.Abs(caddy)
	}
	if err != nil {
		r.remove()
		return nil, err
	}
	return r, nil
}

// remove deletes the temporary files.
func (r *rig) remove() {
	if err := os.RemoveAll(r.dir); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
}

// startUpstream starts a mock upstream that listens on the given addresses, and
// returns them with the ports that were free.
func (r *rig) startUpstream(ctx context.Context, listen ...string) (*proc.Process, []string, error) {
	return r.startServer(ctx, "upstream", "-listen", strings.Join(listen, ","))
}

// startServer starts the command of that name, which prints its addresses first.
func (r *rig) startServer(ctx context.Context, name string, args ...string) (*proc.Process, []string, error) {
	dir, err := os.MkdirTemp(r.dir, name)
	if err != nil {
		return nil, nil, err
	}
	p, err := proc.Start(name, dir, filepath.Join(dir, "log"), slices.Concat([]string{r.self, name}, args)...)
	if err != nil {
		return nil, nil, err
	}
	var addresses []string
	err = p.Ready(ctx, 10*time.Second, func() error {
		line, _, ok := bytes.Cut(p.Log(), []byte("\n"))
		if !ok {
			return errors.New("no addresses yet")
		}
		return json.Unmarshal(line, &addresses)
	})
	if err != nil {
		p.Stop(grace)
		return nil, nil, err
	}
	return p, addresses, nil
}

// startProxy starts a candidate in front of the upstreams, waits until it has
// answered a request, and returns its address. A port that was free when it was
// chosen may be taken when the candidate wants it: then another one is.
func (r *rig) startProxy(ctx context.Context, c candidate, upstreams []string) (p *proc.Process, address string, err error) {
	for range 3 {
		if address, err = freeAddress(); err != nil {
			return nil, "", err
		}
		if p, err = r.startProxyAt(ctx, c, address, upstreams); err == nil {
			return p, address, nil
		}
		if !strings.Contains(err.Error(), "address already in use") {
			return nil, "", err
		}
	}
	return nil, "", err
}

func (r *rig) startProxyAt(ctx context.Context, c candidate, address string, upstreams []string) (*proc.Process, error) {
	dir, err := os.MkdirTemp(r.dir, c.name)
	if err != nil {
		return nil, err
	}
	command, err := c.command(r.caddy, dir, address, upstreams)
	if err != nil {
		return nil, err
	}
	p, err := proc.Start(c.name, dir, filepath.Join(dir, "log"), command...)
	if err != nil {
		return nil, err
	}
	if err := p.Ready(ctx, 20*time.Second, func() error { return ask(ctx, address) }); err != nil {
		p.Stop(grace)
		return nil, err
	}
	return p, nil
}

// appendTo opens a file for lines of JSON, each of which is one write.
func appendTo(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
}

// freeAddress returns a loopback address with a port that is free now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", loopback)
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// ask sends a small chat request, and returns an error unless it is answered.
func ask(ctx context.Context, address string) error {
	body := chat.NewRequest(1<<10, chat.Order{Tokens: 1}).Body
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+chatPath, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+load.Key)
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1000))
	if err == nil && (res.StatusCode != http.StatusOK || !bytes.Contains(answer, []byte(`"chat.completion"`))) {
		err = fmt.Errorf("got no chat completion but status %d: %q", res.StatusCode, answer)
	}
	return err
}

// load runs the load generator in a process of its own.
func (r *rig) load(ctx context.Context, s load.Spec) ([]load.Result, error) {
	var res []load.Result
	spec, err := json.Marshal(s)
	if err != nil {
		return res, err
	}
	cmd := exec.CommandContext(ctx, r.self, "load")
	cmd.Stdin = bytes.NewReader(spec)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return res, ctx.Err()
	}
	if err != nil {
		return res, fmt.Errorf("generating load: %w\n%s", err, &stderr)
	}
	if err := json.Unmarshal(out, &res); err != nil {
		return res, fmt.Errorf("reading the load generator's result %q: %w", out, err)
	}
	return res, nil
}
