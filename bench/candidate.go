//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/chat"
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
}

func candidateName(c candidate) string { return c.name }

var candidates = []candidate{
	{name: "caddy"},
	{name: "caddy-again"}, // the same once more: its ratio shows the noise
	{name: "gateway", gateway: true},
	{name: "gateway-record", gateway: true, record: "true"},
	{name: "gateway-norecord", gateway: true, record: "false"},
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
	return append(b, "}\n"...)
}
