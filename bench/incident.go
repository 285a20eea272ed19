//go:build linux

package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/chat"
	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/load"
	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/stats"
)

// incident is what clients saw of an instance's death and return. Times are in
// nanoseconds since 1970.
type incident struct {
	victim       string // host:port
	killed, gone int64  // when the signal was sent, and when the process had ended
	restarted    int64
	journal      []load.Entry
}

// incidentFigures sum an incident up: the JSON line of the failover command.
type incidentFigures struct {
	Candidate string  `json:"candidate"`
	Seconds   float64 `json:"seconds"`

	Requests     int `json:"requests"`
	OK           int `json:"ok"`
	BeforeCommit int `json:"errors_before_commit"` // no answer, or an error status
	Broken       int `json:"broken_answers"`       // in one piece, and not whole
	Wrong        int `json:"wrong"`                // answers with a byte that should not be there

	Committed    int `json:"committed_streams"`     // under way on the victim at the kill
	Finished     int `json:"finished_streams"`      // of these: whole all the same
	WithEvent    int `json:"streams_with_event"`    // of all: broken, ended by the error event
	WithoutEvent int `json:"streams_without_event"` // of all: broken, aborted without it
	LookedWhole  int `json:"streams_looked_whole"`  // of all: broken, with a clean end

	Attempts     float64 `json:"attempts"` // per request that was answered
	MostAttempts int     `json:"most_attempts"`
	Retried      int     `json:"retried"` // requests with more than one

	Out    float64         `json:"out_ms"`  // from the kill to the beginning of the last request that met the dead instance
	Back   *float64        `json:"back_ms"` // from the restart to the instance's first answer; nil: none in time
	Added  stats.Quantiles `json:"added_ms"`
	Before stats.Quantiles `json:"added_before_ms"`
}

// of reports whether the victim gave the answer of e.
func (i *incident) of(e load.Entry) bool {
	host, _, _ := strings.Cut(e.Upstream, "/")
	return host == i.victim
}

func (i *incident) figures() incidentFigures {
	f := incidentFigures{Requests: len(i.journal)}
	answered, attempts := 0, 0
	for _, e := range i.journal {
		f.count(e)
		if e.Stream && i.of(e) && e.Begun < i.gone && e.Ended > i.killed {
			f.Committed++
			if e.Error == "" {
				f.Finished++
			}
		}
		if e.Attempts > 0 {
			answered++
			attempts += e.Attempts
			f.MostAttempts = max(f.MostAttempts, e.Attempts)
		}
		if e.Attempts > 1 {
			f.Retried++
			if e.Begun > i.killed && e.Begun < i.restarted {
				f.Out = max(f.Out, ms(e.Begun-i.killed))
			}
		}
		if back := ms(e.Head - i.restarted); i.of(e) && e.Head > i.restarted && e.Error == "" && (f.Back == nil || back < *f.Back) {
			f.Back = &back
		}
	}
	if answered > 0 {
		f.Attempts = float64(attempts) / float64(answered)
	}
	f.Added, f.Before = i.added()
	return f
}

// count sorts the end of one request.
func (f *incidentFigures) count(e load.Entry) {
	switch {
	case e.Error == "":
		f.OK++
	case e.Head == 0 || e.Status != 200:
		f.BeforeCommit++
	case strings.HasPrefix(e.Error, chat.ErrWrong.Error()):
		f.Wrong++
	case !e.Stream:
		f.Broken++
	case e.Error == chat.ErrEvent.Error():
		f.WithEvent++
	case e.Error == chat.ErrShort.Error():
		f.LookedWhole++
	default:
		f.WithoutEvent++
	}
}

// added returns how much longer than usual clients waited for an answer to begin:
// those that waited at some moment of the second after the kill, and for comparison
// those that were answered before it. Usual is the median before the kill, of
// streams and of answers in one piece apart.
func (i *incident) added() (after, before stats.Quantiles) {
	usual := map[bool]*stats.Histogram{false: {}, true: {}}
	wait := func(e load.Entry) time.Duration { return time.Duration(e.Head - e.Begun) }
	for _, e := range i.journal {
		if e.Head != 0 && e.Head < i.killed {
			usual[e.Stream].Add(wait(e))
		}
	}
	median := map[bool]time.Duration{false: usual[false].Quantile(0.5), true: usual[true].Quantile(0.5)}
	var late, normal stats.Histogram
	for _, e := range i.journal {
		switch {
		case e.Head == 0:
		case e.Head < i.killed:
			normal.Add(wait(e) - median[e.Stream])
		case e.Begun < i.killed+int64(time.Second):
			late.Add(wait(e) - median[e.Stream])
		}
	}
	return late.Quantiles(), normal.Quantiles()
}

func ms(ns int64) float64 { return float64(ns) / 1e6 }

// fault returns an error when clients saw more of the incident than they must.
func (f incidentFigures) fault() error {
	mild := f.WithEvent - (f.Committed - f.Finished) // broken on others than the victim
	switch {
	case f.Requests == 0:
		return fmt.Errorf("no request was made")
	case f.BeforeCommit > 0:
		return fmt.Errorf("%d client errors before commit", f.BeforeCommit)
	case f.WithoutEvent+f.LookedWhole > 0:
		return fmt.Errorf("%d broken streams without the error event, %d of them with a clean end", f.WithoutEvent+f.LookedWhole, f.LookedWhole)
	case f.Wrong+f.Broken > 0 || mild > 0:
		return fmt.Errorf("%d wrong answers, %d broken answers in one piece, %d streams broken on other instances", f.Wrong, f.Broken, max(0, mild))
	}
	return nil
}

func (f incidentFigures) table() table {
	t := table{{"figure", "", "value"}}
	add := func(name, unit, format string, values ...any) {
		t = append(t, []string{name, unit, fmt.Sprintf(format, values...)})
	}
	add("requests", "", "%d", f.Requests)
	add("answered in full", "", "%d", f.OK)
	add("client errors before commit", "", "%d", f.BeforeCommit)
	add("streams under way on the killed instance", "", "%d", f.Committed)
	add("streams broken, with the error event", "", "%d", f.WithEvent)
	add("streams broken, aborted without it", "", "%d", f.WithoutEvent)
	add("streams broken that looked whole", "", "%d", f.LookedWhole)
	add("other answers broken or wrong", "", "%d", f.Broken+f.Wrong)
	add("attempts per request", "mean", "%.4f", f.Attempts)
	add("", "most", "%d", f.MostAttempts)
	add("requests tried again", "", "%d", f.Retried)
	add("out of rotation after", "ms", "%.1f", f.Out)
	if f.Back == nil {
		add("serves again after the restart", "ms", "–")
	} else {
		add("serves again after the restart", "ms", "%.0f", *f.Back)
	}
	add("latency added in the second after the kill", "p50 ms", "%.1f", f.Added.P50)
	add("", "p99 ms", "%.1f", f.Added.P99)
	add("the same before the kill", "p50 ms", "%.1f", f.Before.P50)
	add("", "p99 ms", "%.1f", f.Before.P99)
	return t
}
