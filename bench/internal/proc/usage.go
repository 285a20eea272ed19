//go:build linux

// Package proc starts processes, stops them for sure, and reads from /proc what
// they and the machine used. Linux only.
package proc

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc/PID/stat and /proc/stat: USER_HZ is 100 on
// every platform of Go.
const tick = 10 * time.Millisecond

// CPU returns the CPU time, user and system, that a process and its living
// descendants have used.
//
// It sums up the threads' schedstat, which counts nanoseconds; /proc/PID/stat
// counts 10 ms and serves where the kernel has no schedstat. Threads that ended
// are missing from the former: Go's runtime keeps its threads.
func CPU(pid int) (time.Duration, error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	threads, err := filepath.Glob(filepath.Join(dir, "task", "*"))
	if err != nil || len(threads) == 0 {
		return 0, fmt.Errorf("reading CPU time of process %d: no such process", pid)
	}
	var sum time.Duration
	for _, t := range threads {
		b, err := os.ReadFile(filepath.Join(t, "schedstat"))
		if err != nil {
			return statCPU(dir)
		}
		ran, err := parseSchedstat(b)
		if err != nil {
			return 0, err
		}
		sum += ran
	}
	for _, child := range children(threads) {
		if d, err := CPU(child); err == nil { // else it has just ended
			sum += d
		}
	}
	return sum, nil
}

// children lists the children of all threads of a process.
func children(threads []string) []int {
	var pids []int
	for _, t := range threads {
		b, err := os.ReadFile(filepath.Join(t, "children"))
		if err != nil {
			continue // the kernel was built without it: no descendants
		}
		for f := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func statCPU(dir string) (time.Duration, error) {
	b, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return 0, err
	}
	return parseStat(b)
}

// parseSchedstat reads the time on a CPU out of "12345678 4321 99", the time in
// nanoseconds that a thread ran, the time that it waited, and how often it ran.
func parseSchedstat(b []byte) (time.Duration, error) {
	f := strings.Fields(string(b))
	if len(f) != 3 {
		return 0, fmt.Errorf("parsing schedstat %q: got %d fields, want 3", b, len(f))
	}
	n, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parsing schedstat %q: %w", b, err)
	}
	return time.Duration(n), nil
}

// parseStat reads utime and stime, fields 14 and 15, out of /proc/PID/stat. The
// name, field 2, stands in parentheses and may hold blanks and parentheses.
func parseStat(b []byte) (time.Duration, error) {
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 13 {
		return 0, fmt.Errorf("parsing stat %q: got %d fields after the name, want 13 or more", b, len(f))
	}
	var sum time.Duration
	for _, s := range f[11:13] {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("parsing stat %q: %w", b, err)
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// RSS returns the memory in bytes that a process and its living descendants have
// resident now, and the most that each has had, added up.
func RSS(pid int) (now, peak int64, err error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	b, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return 0, 0, err
	}
	if now, err = parseStatus(b, "VmRSS"); err != nil {
		return 0, 0, err
	}
	if peak, err = parseStatus(b, "VmHWM"); err != nil {
		return 0, 0, err
	}
	threads, err := filepath.Glob(filepath.Join(dir, "task", "*"))
	for _, child := range children(threads) {
		if n, most, err := RSS(child); err == nil { // else it has just ended
			now, peak = now+n, peak+most
		}
	}
	return now, peak, err
}

// parseStatus reads a size out of /proc/PID/status, "VmHWM:\t   12345 kB".
func parseStatus(b []byte, name string) (int64, error) {
	for line := range strings.Lines(string(b)) {
		value, ok := strings.CutPrefix(line, name+":")
		if !ok {
			continue
		}
		kib, ok := strings.CutSuffix(strings.TrimSpace(value), " kB")
		n, err := strconv.ParseInt(kib, 10, 64)
		if !ok || err != nil {
			return 0, fmt.Errorf("parsing status: got %q, want a number of kB", line)
		}
		return n << 10, nil
	}
	return 0, fmt.Errorf("parsing status: no line %s", name)
}

// Machine is the CPU time that all cores together spent since boot.
type Machine struct{ Busy, Idle, Stolen time.Duration }

// ReadMachine reads /proc/stat.
func ReadMachine() (Machine, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return Machine{}, err
	}
	return parseMachine(b)
}

// parseMachine reads the first line of /proc/stat: "cpu", then user, nice,
// system, idle, iowait, irq, softirq and steal.
func parseMachine(b []byte) (Machine, error) {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	f := strings.Fields(string(line))
	if len(f) < 9 || f[0] != "cpu" {
		return Machine{}, fmt.Errorf("parsing /proc/stat: got %q, want cpu and 8 or more numbers", line)
	}
	var v [8]time.Duration
	for i := range v {
		n, err := strconv.ParseInt(f[i+1], 10, 64)
		if err != nil {
			return Machine{}, fmt.Errorf("parsing /proc/stat: %w", err)
		}
		v[i] = time.Duration(n) * tick
	}
	return Machine{Busy: v[0] + v[1] + v[2] + v[5] + v[6], Idle: v[3] + v[4], Stolen: v[7]}, nil
}
