//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/chat"
	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/load"
	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/stats"
)

// scenario is a kind of traffic.
type scenario struct {
	name  string
	title string
	// instances are the fleet sizes to measure, usually one. With several, each
	// candidate is compared with itself on a fleet of the first size.
	instances []int
	load      load.Spec
	// open says that the memory of each open stream is the figure; they are opened once.
	open bool
}

// unit is what a scenario counts.
func (s scenario) unit() string {
	if s.load.Order.Stream {
		return "event"
	}
	return "request"
}

// fit makes a scenario's load one that a proxy with so many open files can take: two
// for each connection, and some of its own. It reports whether that is less.
func (s *scenario) fit(files int) (less bool) {
	most := (files - 60) / 2
	if s.load.Connections <= most {
		return false
	}
	s.load.Connections = most
	return true
}

// count returns how many units a run counted.
func (s scenario) count(r load.Result) float64 {
	if s.load.Order.Stream {
		return float64(r.Events)
	}
	return float64(r.Requests)
}

// latency returns the wait that a scenario is about: for the first token of a
// stream, else for the answer.
func (s scenario) latency(r load.Result) stats.Quantiles {
	if s.load.Order.Stream {
		return r.TTFT
	}
	return r.Latency
}

// cpu returns the proxy's CPU time in µs per unit, 0 when there was none.
func (s scenario) cpu(r load.Result) float64 {
	if n := s.count(r); n > 0 {
		return 1e6 * r.CPU / n
	}
	return 0
}

// rate returns units per second.
func (s scenario) rate(r load.Result) float64 { return s.count(r) / r.Seconds }

// chatOrder is answered with about 1 KB.
var chatOrder = chat.Order{Tokens: 170}

func scenarioName(s scenario) string { return s.name }

var scenarios = []scenario{
	{
		name: "json", title: "1 KB chat, 1 KB answer in one piece, 64 connections",
		instances: []int{2},
		load:      load.Spec{Connections: 64, Bytes: 1 << 10, Order: chatOrder, Warm: time.Second, Slice: 100 * time.Millisecond},
	},
	{
		name: "burst", title: "64 streams of 200 tokens without delay",
		instances: []int{2},
		load:      load.Spec{Connections: 64, Bytes: 1 << 10, Order: chat.Order{Tokens: 200, Stream: true}, Warm: time.Second, Slice: 100 * time.Millisecond},
	},
	{
		// A slice is one stream of 3 s on every connection.
		name: "paced", title: "200 streams of 60 tokens, 50 ms apart (4,000 tokens/s)",
		instances: []int{2},
		load: load.Spec{
			Connections: 200, Bytes: 1 << 10, Order: chat.Order{Tokens: 60, Gap: 50 * time.Millisecond, Stream: true},
			Ramp: 500 * time.Millisecond, Warm: 500 * time.Millisecond, Slice: 500 * time.Millisecond, Together: true,
		},
	},
	{
		// As many as many teams have at once, in turn: together they would saturate two cores.
		name: "paced500", title: "500 streams of 60 tokens, 50 ms apart (10,000 tokens/s)",
		instances: []int{2},
		load: load.Spec{
			Connections: 500, Bytes: 1 << 10, Order: chat.Order{Tokens: 60, Gap: 50 * time.Millisecond, Stream: true},
			Ramp: 500 * time.Millisecond, Warm: 500 * time.Millisecond, Slice: 500 * time.Millisecond,
		},
	},
	{
		name: "single", title: "1 KB chat, 1 KB answer in one piece, one after the other",
		instances: []int{2},
		load:      load.Spec{Connections: 1, Bytes: 1 << 10, Order: chatOrder, Warm: 500 * time.Millisecond, Slice: 100 * time.Millisecond},
	},
	{
		name: "light", title: "400 streams a second of 10 tokens, 10 ms apart, at a constant rate",
		instances: []int{2},
		load: load.Spec{
			Connections: 200, Rate: 400, Bytes: 1 << 10, Order: chat.Order{Tokens: 10, Gap: 10 * time.Millisecond, Stream: true},
			Warm: 500 * time.Millisecond, Slice: 500 * time.Millisecond,
		},
	},
	{
		name: "prompt256k", title: "256 KB prompt, 2 KB answer in one piece, 16 connections",
		instances: []int{2},
		load:      load.Spec{Connections: 16, Bytes: 256 << 10, Order: chat.Order{Tokens: 390}, Warm: time.Second, Slice: 100 * time.Millisecond},
	},
	{
		name: "prompt4m", title: "4 MB prompt, 2 KB answer in one piece, 4 connections",
		instances: []int{2},
		load:      load.Spec{Connections: 4, Bytes: 4 << 20, Order: chat.Order{Tokens: 390}, Warm: time.Second, Slice: 200 * time.Millisecond},
	},
	open("open100", 100), open("open1k", 1000), open("open5k", 5000), open("open10k", 10_000),
	{
		name: "instances", title: "as json, 8 and 64 instances against 1",
		instances: []int{1, 8, 64},
		load:      load.Spec{Connections: 64, Bytes: 1 << 10, Order: chatOrder, Warm: time.Second, Slice: 100 * time.Millisecond},
	},
}

// open is the scenario of so many streams that are open at once, each slow.
func open(name string, streams int) scenario {
	return scenario{
		name: name, title: fmt.Sprintf("%d streams of 40 tokens, 500 ms apart", streams),
		instances: []int{2}, open: true,
		load: load.Spec{
			Connections: streams, Bytes: 1 << 10, Order: chat.Order{Tokens: 40, Gap: 500 * time.Millisecond, Stream: true},
			Ramp: max(500*time.Millisecond, time.Duration(streams)*time.Millisecond), Slice: 500 * time.Millisecond, Slices: 1,
		},
	}
}

// pick returns those of all that a comma-separated list names, in its order.
func pick[T any](kind, list string, all []T, name func(T) string) ([]T, error) {
	var picked []T
	var seen []string
	for want := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(all, func(v T) bool { return name(v) == want })
		if i < 0 {
			return nil, fmt.Errorf("unknown %s %q, want some of %s", kind, want, names(all, name))
		}
		if slices.Contains(seen, want) {
			return nil, fmt.Errorf("%s %q is named twice", kind, want)
		}
		seen = append(seen, want)
		picked = append(picked, all[i])
	}
	return picked, nil
}

func names[T any](all []T, name func(T) string) string {
	var s []string
	for _, v := range all {
		s = append(s, name(v))
	}
	return strings.Join(s, ",")
}
