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

// aftermath is what is left of many reloads and swaps.
type aftermath struct {
	journal       []load.Entry
	recorded      bool
	known         map[string]int // exchanges recorded before, by the request's ID
	records       map[string]int // and afterwards
	before, after vitals
	swapped       []time.Duration // from saving to in force, where that shows
	reloaded      []time.Duration // how long Caddy took
	logged        int             // errors in the log
}

// aftermathFigures sum it up: the JSON line of the reload command.
type aftermathFigures struct {
	Requests int    `json:"requests"`
	Streams  int    `json:"streams"` // of these, with 100 tokens
	OK       int    `json:"ok"`
	Errors   int    `json:"errors"`  // clients' errors: no answer, or another status than 200
	Broken   int    `json:"broken"`  // streams and answers that broke, ended early, or with an error event
	Altered  int    `json:"altered"` // with a byte that should not be there
	Replayed int    `json:"replayed"`
	Sample   string `json:"sample"` // of these

	Recorded bool `json:"recorded"`
	Records  int  `json:"records"` // lines
	Lost     int  `json:"lost"`    // answers without a record
	Doubled  int  `json:"doubled"` // records of one answer beyond the first
	Strange  int  `json:"strange"` // records of answers that no client got

	Before vitals `json:"before"`
	After  vitals `json:"after"`

	Swap   stats.Quantiles `json:"swap"`
	Reload stats.Quantiles `json:"reload"`
	Wait   stats.Quantiles `json:"wait"` // of short requests, from when they were due to the answer's beginning
	Logged int             `json:"logged"`
}

func (a *aftermath) figures() aftermathFigures {
	f := aftermathFigures{Requests: len(a.journal), Recorded: a.recorded, Before: a.before, After: a.after, Logged: a.logged}
	var wait stats.Histogram
	seen := make(map[string]bool, len(a.journal))
	for _, e := range a.journal {
		f.count(e)
		seen[e.ID] = true
		if e.Stream && e.Ended-e.Head > int64(5*time.Second) {
			f.Streams++
		} else if e.Head > 0 {
			wait.Add(time.Duration(e.Head - e.Begun))
		}
		if a.recorded && e.Error == "" {
			n := a.records[e.ID]
			f.Lost += max(0, 1-n)
			f.Doubled += max(0, n-1)
		}
	}
	for id, n := range a.records {
		if n -= a.known[id]; n > 0 {
			f.Records += n
			if !seen[id] {
				f.Strange++
			}
		}
	}
	f.Wait, f.Swap, f.Reload = wait.Quantiles(), quantiles(a.swapped), quantiles(a.reloaded)
	return f
}

func quantiles(all []time.Duration) stats.Quantiles {
	var h stats.Histogram
	for _, d := range all {
		h.Add(d)
	}
	return h.Quantiles()
}

// count sorts the end of one request.
func (f *aftermathFigures) count(e load.Entry) {
	f.Replayed += e.Replayed
	switch {
	case e.Error == "":
		f.OK++
		return
	case e.Head == 0 || e.Status != 200:
		f.Errors++
	case strings.HasPrefix(e.Error, chat.ErrWrong.Error()):
		f.Altered++
	default:
		f.Broken++
	}
	f.Sample = e.Error
}

// fault returns an error when a promise is broken.
func (f aftermathFigures) fault() error {
	growth := f.After.growth(f.Before)
	switch {
	case f.Requests == 0 || f.Streams == 0:
		return fmt.Errorf("got %d requests and %d long streams, want some", f.Requests, f.Streams)
	case f.Errors > 0:
		return fmt.Errorf("%d client errors, such as %s", f.Errors, f.Sample)
	case f.Broken+f.Altered > 0:
		return fmt.Errorf("%d answers broke and %d were altered, such as by %s", f.Broken, f.Altered, f.Sample)
	case f.Recorded && f.Lost+f.Doubled+f.Strange > 0:
		return fmt.Errorf("of %d answers %d are not recorded, %d are twice, and %d records are of no answer", f.OK, f.Lost, f.Doubled, f.Strange)
	case slices.Max(growth[:]) > flat:
		return fmt.Errorf("the process has grown: %+v before, %+v after", f.Before, f.After)
	}
	return nil
}

func (f aftermathFigures) table() table {
	t := table{{"figure", "", "value"}}
	add := func(name, unit, format string, values ...any) {
		t = append(t, []string{name, unit, fmt.Sprintf(format, values...)})
	}
	add("requests", "", "%d", f.Requests)
	add("of these long streams", "", "%d", f.Streams)
	add("answered in full", "", "%d", f.OK)
	add("client errors", "", "%d", f.Errors)
	add("answers lost on the way", "", "%d", f.Broken)
	add("answers altered", "", "%d", f.Altered)
	add("sent again: closed as they came", "", "%d", f.Replayed)
	if f.Recorded {
		add("records", "", "%d", f.Records)
		add("records lost", "", "%d", f.Lost)
		add("records doubled", "", "%d", f.Doubled)
		add("records of no answer", "", "%d", f.Strange)
	}
	growth := f.After.growth(f.Before)
	add("goroutines before, after", fmt.Sprintf("%+.1f %%", 100*growth[0]), "%d, %d", f.Before.Goroutines, f.After.Goroutines)
	add("heap before, after", fmt.Sprintf("KB, %+.1f %%", 100*growth[1]), "%d, %d", f.Before.Heap/1000, f.After.Heap/1000)
	add("descriptors before, after", fmt.Sprintf("%+.1f %%", 100*growth[2]), "%d, %d", f.Before.Descriptors, f.After.Descriptors)
	if f.Swap.Count > 0 {
		add("swap in force after", "p50 ms", "%.1f", f.Swap.P50)
		add("", "p99 ms", "%.1f", f.Swap.P99)
	}
	add("reload takes", "p50 ms", "%.1f", f.Reload.P50)
	add("", "p99 ms", "%.1f", f.Reload.P99)
	add("short requests: answer begins after", "p50 ms", "%.1f", f.Wait.P50)
	add("", "p99 ms", "%.1f", f.Wait.P99)
	add("errors in the log", "", "%d", f.Logged)
	return t
}
