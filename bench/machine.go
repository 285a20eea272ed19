//go:build linux

package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"runtime"
	"strings"
)

// describeMachine returns a line that says on what, and with what, was measured.
func describeMachine(caddy string) (string, error) {
	cpuinfo, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", err
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "", err
	}
	build, err := buildinfo.ReadFile(caddy)
	if err != nil {
		return "", fmt.Errorf("reading the versions in %s: %w", caddy, err)
	}
	version := "unknown version"
	for _, m := range build.Deps {
		if m.Path == "github.com/caddyserver/caddy/v2" {
			version = m.Version
		}
	}
	return fmt.Sprintf("%d cores, %s, Linux %s, %s, Caddy %s",
		runtime.NumCPU(), cpuModel(string(cpuinfo)), strings.TrimSpace(string(kernel)), build.GoVersion, version), nil
}

// cpuModel finds "model name	: …" in /proc/cpuinfo, which not every
// architecture has.
func cpuModel(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH + " CPU of unknown model"
}
