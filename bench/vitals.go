//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/proc"
)

// subject is a proxy under observation.
type subject struct {
	proxy *proc.Process
	admin string // address of its admin endpoint
}

// vitals are what a process must not have more of after much has happened to it.
type vitals struct {
	Goroutines  int   `json:"goroutines"`
	Heap        int64 `json:"heap"` // bytes of live objects
	Descriptors int   `json:"descriptors"`
}

// growth is how much more of each there is than before, as a part of it.
func (v vitals) growth(before vitals) [3]float64 {
	part := func(now, before float64) float64 { return (now - before) / before }
	return [3]float64{
		part(float64(v.Goroutines), float64(before.Goroutines)), part(float64(v.Heap), float64(before.Heap)),
		part(float64(v.Descriptors), float64(before.Descriptors)),
	}
}

// flat is the largest growth that counts as none.
const flat = 0.05

// least returns the smaller of each, and v if there is no other one.
func (v vitals) least(other vitals) vitals {
	if other == (vitals{}) {
		return v
	}
	return vitals{min(v.Goroutines, other.Goroutines), min(v.Heap, other.Heap), min(v.Descriptors, other.Descriptors)}
}

// settle waits until the proxy is at rest: its vitals are as they were before, or
// change no more. Idle connections to instances last 4 s, and Caddy looks every
// half a second whether the servers of old configurations are done. It returns the
// least that it has seen of each: a proxy at rest asks its instances now and then how
// they are, and has some connections for a while.
func (r *subject) settle(ctx context.Context, before vitals) (least vitals, err error) {
	const shortest, longest = 10 * time.Second, 40 * time.Second
	var now vitals
	for began := time.Now(); ; {
		last := now
		if err := pause(ctx, 2*time.Second); err != nil {
			return least, err
		}
		if now, err = r.vitals(ctx); err != nil {
			return least, err
		}
		least = now.least(least)
		took := time.Since(began)
		rested := took > 2*shortest && now.Goroutines == last.Goroutines && now.Descriptors == last.Descriptors && now.growth(last)[1] > -0.01
		if before.Heap > 0 {
			growth := least.growth(before)
			rested = took > shortest && slices.Max(growth[:]) <= flat
		}
		if rested || took > longest {
			return least, nil
		}
	}
}

// vitals reads them from Caddy's admin endpoint and /proc, after two rounds of
// garbage collection: the first moves pooled objects aside, the second frees them.
func (r *subject) vitals(ctx context.Context) (v vitals, err error) {
	if err = r.profile(ctx, "heap?gc=1&debug=1", "# HeapAlloc = ", &v.Heap); err == nil {
		err = r.profile(ctx, "heap?gc=1&debug=1", "# HeapAlloc = ", &v.Heap)
	}
	if err == nil {
		err = r.profile(ctx, "goroutine?debug=1", "goroutine profile: total ", &v.Goroutines)
	}
	if err != nil {
		return v, err
	}
	files, err := os.ReadDir(filepath.Join("/proc", fmt.Sprint(r.proxy.PID()), "fd"))
	v.Descriptors = len(files)
	return v, err
}

// profile reads the number that follows text in a profile.
func (r *subject) profile(ctx context.Context, name, text string, number any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.admin+"/debug/pprof/"+name, nil)
	if err != nil {
		return err
	}
	res, err := fresh.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	_, rest, found := bytes.Cut(b, []byte(text))
	if !found {
		return fmt.Errorf("profile %s has no %q: %.200s", name, text, b)
	}
	_, err = fmt.Sscan(string(rest[:min(len(rest), 30)]), number)
	return err
}

// records returns how often each exchange is in the proxy's files of records.
func (r *reloading) records() (map[string]int, error) {
	files, err := filepath.Glob(filepath.Join(r.dir, "data", "*", "*.jsonl"))
	if err != nil {
		return nil, err
	}
	found := make(map[string]int)
	for _, file := range files {
		if err := readRecords(file, found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func readRecords(file string, found map[string]int) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: last line: %w", file, err)
		}
		var record struct{ ID string }
		if err := json.Unmarshal(line, &record); err != nil {
			return fmt.Errorf("%s: %.100q: %w", file, line, err)
		}
		id, _, _ := strings.Cut(record.ID, "-") // the rest counts its choices
		found[id]++
	}
}
