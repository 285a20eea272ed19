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
		"p50 ms", "p99 ms", "added p50 ms", "added p99 ms", "event p99 ms", "ITL p50 ms", "ITL p99 ms", "RSS MB", "KiB each", "others %",
	}}
	for _, s := range all {
		for _, e := range entrants(s) {
			direct := of(runs, s, entrant{candidate: candidate{name: "direct"}, instances: e.instances})
			t = append(t, s.row(e, of(runs, s, e), of(runs, s, e.reference()), direct))
		}
	}
	return t
}

// row shows what was measured of an entrant, next to its reference, and to no proxy
// where that was measured.
func (s scenario) row(e entrant, runs, ref, direct []measured) []string {
	cpu := stats.RatioOf(byRound(runs, s.cpu), byRound(ref, s.cpu))
	rate := stats.RatioOf(byRound(runs, s.rate), byRound(ref, s.rate))
	show := func(format string, figure func(load.Result) float64) string {
		return fmt.Sprintf(format, median(runs, figure))
	}
	delay, itl50, itl99, each, added50, added99 := "–", "–", "–", "–", "–", "–"
	if s.load.Order.Stream {
		delay = show("%.2f", func(r load.Result) float64 { return r.Delay.P99 })
		itl50 = show("%.2f", func(r load.Result) float64 { return r.ITL.P50 })
		itl99 = show("%.2f", func(r load.Result) float64 { return r.ITL.P99 })
	}
	if s.open && !e.direct {
		each = show("%.1f", func(r load.Result) float64 { return float64(r.PeakRSS-r.IdleRSS) / 1024 / float64(s.load.Connections) })
	}
	if len(direct) > 0 && !e.direct {
		added50 = fmt.Sprintf("%.3f", difference(runs, direct, func(r load.Result) float64 { return s.latency(r).P50 }))
		added99 = fmt.Sprintf("%.3f", difference(runs, direct, func(r load.Result) float64 { return s.latency(r).P99 }))
	}
	used, ratio, span := show("%.2f", s.cpu), fmt.Sprintf("%.3f", cpu.Median), fmt.Sprintf("%.2f–%.2f", cpu.Min, cpu.Max)
	memory := show("%.0f", func(r load.Result) float64 { return float64(r.PeakRSS) / 1e6 })
	if e.direct {
		used, ratio, span, memory = "–", "–", "–", "–"
	}
	return []string{
		s.name, e.label, used, s.unit(), ratio, span,
		show("%.0f", s.rate), fmt.Sprintf("%.3f", rate.Median),
		show("%.2f", func(r load.Result) float64 { return s.latency(r).P50 }),
		show("%.2f", func(r load.Result) float64 { return s.latency(r).P99 }), added50, added99, delay, itl50, itl99,
		memory, each,
		show("%.0f", func(r load.Result) float64 { return 100 * r.Others }),
	}
}

// difference is how much larger a figure is than another's in the same round, the
// median over the rounds.
func difference(runs, others []measured, figure func(load.Result) float64) float64 {
	base := byRound(others, figure)
	var all []float64
	for round, v := range byRound(runs, figure) {
		if b, ok := base[round]; ok {
			all = append(all, v-b)
		}
	}
	return stats.Median(all)
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
