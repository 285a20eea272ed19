//go:build linux

package main

import (
	"fmt"

	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/load"
	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/stats"
)

// measured is a round of one entrant: a line of the JSON file.
type measured struct {
	Scenario  string      `json:"scenario"`
	Round     int         `json:"round"`
	Candidate string      `json:"candidate"`
	Instances int         `json:"instances"`
	CPU       float64     `json:"cpu_us"` // of the proxy, per unit
	Unit      string      `json:"unit"`   // request or event
	Result    load.Result `json:"result"`
}

// summarize makes a row for every entrant of every scenario.
func summarize(all []scenario, entrants func(scenario) []entrant, runs []measured) table {
	t := table{{
		"scenario", "candidate", "CPU µs", "per", "× CPU", "min–max", "per s", "×",
		"p50 ms", "p99 ms", "event p99 ms", "RSS MB", "others %",
	}}
	for _, s := range all {
		for _, e := range entrants(s) {
			t = append(t, s.row(e, of(runs, s, e), of(runs, s, e.reference())))
		}
	}
	return t
}

// row shows what was measured of an entrant, next to its reference.
func (s scenario) row(e entrant, runs, ref []measured) []string {
	cpu := stats.RatioOf(byRound(runs, s.cpu), byRound(ref, s.cpu))
	rate := stats.RatioOf(byRound(runs, s.rate), byRound(ref, s.rate))
	show := func(format string, figure func(load.Result) float64) string {
		return fmt.Sprintf(format, median(runs, figure))
	}
	delay := "–"
	if s.load.Order.Stream {
		delay = show("%.2f", func(r load.Result) float64 { return r.Delay.P99 })
	}
	return []string{
		s.name, e.label,
		show("%.2f", s.cpu), s.unit(),
		fmt.Sprintf("%.3f", cpu.Median), fmt.Sprintf("%.2f–%.2f", cpu.Min, cpu.Max),
		show("%.0f", s.rate), fmt.Sprintf("%.3f", rate.Median),
		show("%.2f", func(r load.Result) float64 { return s.latency(r).P50 }),
		show("%.2f", func(r load.Result) float64 { return s.latency(r).P99 }), delay,
		show("%.0f", func(r load.Result) float64 { return float64(r.PeakRSS) / 1e6 }),
		show("%.0f", func(r load.Result) float64 { return 100 * r.Others }),
	}
}

// of returns the runs of an entrant in a scenario.
func of(runs []measured, s scenario, e entrant) []measured {
	var mine []measured
	for _, m := range runs {
		if m.Scenario == s.name && m.Candidate == e.name && m.Instances == e.instances {
			mine = append(mine, m)
		}
	}
	return mine
}

// byRound returns a figure by number of round.
func byRound(runs []measured, figure func(load.Result) float64) map[int]float64 {
	v := map[int]float64{}
	for _, m := range runs {
		v[m.Round] = figure(m.Result)
	}
	return v
}

// median returns the median of a figure over the rounds.
func median(runs []measured, figure func(load.Result) float64) float64 {
	var v []float64
	for _, m := range runs {
		v = append(v, figure(m.Result))
	}
	return stats.Median(v)
}
