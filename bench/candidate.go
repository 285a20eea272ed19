//go:build linux

package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/chat"
	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/load"
)

// candidate is a proxy to measure: the gateway, or bare Caddy.
type candidate struct {
	name    string
	gateway bool // ai_gateway, else reverse_proxy
	flush   bool // reverse_proxy with flush_interval -1; ai_gateway needs none
	// record is the value of record.enabled in config.json5, "" to leave the
	// member out.
	record string
	data   string // of record, "" for a folder beside the configuration
	keys   bool   // the gateway asks for a key, among 1,000 that it knows
	direct bool   // no proxy at all
	// program is what is not this project's Caddy, and has to be installed.
	program string
}

func candidateName(c candidate) string { return c.name }

var candidates = []candidate{
	{name: "caddy"},
	{name: "caddy-again"}, // the same once more: its ratio shows the noise
	{name: "gateway", gateway: true},
	{name: "gateway-record", gateway: true, record: "true"},
	{name: "gateway-norecord", gateway: true, record: "false"},
	{name: "gateway-keys", gateway: true, record: "true", keys: true},
	{name: "direct", direct: true},
	{name: "nginx", program: "nginx"},
	{name: "haproxy", program: "haproxy"},
}

// usualCandidates are those that are measured if none are named: other proxies only
// where they are installed.
func usualCandidates() string {
	var usual []string
	for _, c := range candidates {
		if c.name == "caddy-again" || c.name == "gateway" {
			continue
		}
		if c.program != "" {
			if _, err := findProgram(c.program); err != nil {
				fmt.Fprintf(os.Stderr, "%s is not installed, and not measured\n", c.program)
				continue
			}
		}
		usual = append(usual, c.name)
	}
	return strings.Join(usual, ",")
}

// findProgram also looks where other users than root do not.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		if _, serr := os.Stat("/usr/sbin/" + name); serr == nil {
			return "/usr/sbin/" + name, nil
		}
	}
	return path, err
}

// The configurations of both differ in the handler only.
const (
	caddyfile = `{
	admin off
	persist_config off
	auto_https off
	log default {
		level ERROR
	}
}

http://%s {
	bind 127.0.0.1
	%s {
%s		transport http {
			keepalive_idle_conns 20000
			keepalive_idle_conns_per_host 10000
		}
	}
}
`
	roundRobin = "\t\tlb_policy round_robin\n"
	flushing   = "\t\tflush_interval -1\n"
)

// command writes the candidate's configuration files into dir, and returns what to
// run.
func (c candidate) command(caddy, dir, address string, upstreams []string) ([]string, error) {
	if c.program == "" {
		file, err := c.configure(dir, address, upstreams)
		return []string{caddy, "run", "--config", file, "--adapter", "caddyfile"}, err
	}
	program, err := findProgram(c.program)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, c.program+".conf")
	if c.program == "nginx" {
		return []string{program, "-p", dir, "-e", "stderr", "-c", file}, os.WriteFile(file, nginxConfig(address, upstreams), 0o600)
	}
	return []string{program, "-db", "-f", file}, os.WriteFile(file, haproxyConfig(address, upstreams), 0o600)
}

// configure writes the candidate's configuration files into dir, and returns
// the path of the Caddyfile.
func (c candidate) configure(dir, address string, upstreams []string) (string, error) {
	handler, options := "reverse_proxy "+strings.Join(upstreams, " "), roundRobin
	if c.flush {
		options += flushing
	}
	if c.gateway {
		if err := os.WriteFile(filepath.Join(dir, "config.json5"), c.config(dir, upstreams), 0o600); err != nil {
			return "", err
		}
		// Relative: an argument that begins with a slash is a path matcher.
		handler, options = "ai_gateway config.json5", ""
	}
	path := filepath.Join(dir, "Caddyfile")
	return path, os.WriteFile(path, fmt.Appendf(nil, caddyfile, address, handler, options), 0o600)
}

// config returns the gateway's config.json5.
func (c candidate) config(dir string, upstreams []string) []byte {
	b := []byte("{\n\t\"instances\": [\n")
	for _, u := range upstreams {
		b = fmt.Appendf(b, "\t\t{\"url\": \"http://%s/v1\", \"api_key\": \"empty\", \"model_name\": %q, \"weight\": 1},\n", u, chat.Model)
	}
	b = append(b, "\t],\n"...)
	if c.record != "" {
		data := c.data
		if data == "" {
			data = filepath.Join(dir, "data")
		}
		b = fmt.Appendf(b, "\t\"data_dir\": %s,\n\t\"record\": {\"enabled\": %s},\n", strconv.Quote(data), c.record)
	}
	if c.keys {
		b = append(b, "\t\"keys\": [\n"...)
		for n := range 1000 {
			key := fmt.Sprintf("unused-key-of-nobody-%d", n)
			if n == 500 {
				key = load.Key
			}
			b = fmt.Appendf(b, "\t\t{\"name\": \"client-%d\", \"hash\": \"sha256:%x\"},\n", n, sha256.Sum256([]byte(key)))
		}
		b = append(b, "\t],\n"...)
	}
	return append(b, "}\n"...)
}
