package engine

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
)

// Gauges is what a server says of its load. What it does not tell, or cannot be, is NaN.
type Gauges struct {
	Running float64 // requests that are computed
	Waiting float64 // requests that wait inside of the server
	KV      float64 // used share of the KV cache, 0 to 1
	Queries float64 // tokens of prompts since the server began
	Hits    float64 // those of them that were in the prefix cache
}

var noGauges = Gauges{math.NaN(), math.NaN(), math.NaN(), math.NaN(), math.NaN()}

// mostRequests is more than any server holds: a gauge above it is a mistake.
const mostRequests = 100_000

// readVLLM reads vLLM's metrics, each of which comes once for each engine of a server with
// data parallelism.
func readVLLM(a Answer, l *Look) {
	var running, waiting, kv, oldKV, queries, hits, oldQueries, oldHits, awake, asleep sum
	scan(a.Body, "vllm:", metrics{
		"num_requests_running":           running.requests,
		"num_requests_waiting":           waiting.requests,
		"kv_cache_usage_perc":            kv.share,
		"gpu_cache_usage_perc":           oldKV.share, // before 0.10
		"prefix_cache_queries_total":     queries.count,
		"prefix_cache_hits_total":        hits.count,
		"gpu_prefix_cache_queries_total": oldQueries.count, // before 0.10
		"gpu_prefix_cache_hits_total":    oldHits.count,
		"engine_sleep_state": func(value float64, labels []byte) {
			if label(labels, "sleep_state") == "awake" {
				awake.count(value, labels)
			} else {
				asleep.count(value, labels)
			}
		},
	})
	l.Gauges = Gauges{
		Running: running.total(), Waiting: waiting.total(), KV: kv.or(&oldKV).mean(),
		Queries: queries.or(&oldQueries).total(), Hits: hits.or(&oldHits).total(),
	}
	switch {
	case awake.value > 0:
		l.State = Ready
	case awake.n > 0 && asleep.value > 0:
		l.State = Sleeping
	}
}

// readSGLang reads SGLang's metrics.
func readSGLang(a Answer, l *Look) {
	var running, waiting, kv sum
	scan(a.Body, "sglang:", metrics{
		"num_running_reqs": first(running.requests),
		"num_queue_reqs":   first(waiting.requests),
		"token_usage":      first(kv.share),
	})
	l.Gauges.Running, l.Gauges.Waiting, l.Gauges.KV = running.total(), waiting.total(), kv.mean()
}

// first passes over what is said of other ranks, which repeat the first one, and of a
// priority, whose requests are in the total.
func first(take func(float64, []byte)) func(float64, []byte) {
	return func(value float64, labels []byte) {
		if !other(label(labels, "tp_rank")) && !other(label(labels, "pp_rank")) && label(labels, "priority") == "" {
			take(value, labels)
		}
	}
}

// other reports whether a rank is one, and not the first.
func other(rank string) bool { return rank != "" && rank != "0" }

// readLlamaCpp reads the metrics of llama.cpp's server.
func readLlamaCpp(a Answer, l *Look) {
	var running, waiting, kv sum
	scan(a.Body, "llamacpp:", metrics{
		"requests_processing":  running.requests,
		"requests_deferred":    waiting.requests,
		"kv_cache_usage_ratio": kv.share, // before b5710
	})
	l.Gauges.Running, l.Gauges.Waiting, l.Gauges.KV = running.total(), waiting.total(), kv.mean()
}

// readSlots reads the list of llama.cpp's slots, which knows nothing of what waits for one.
func readSlots(a Answer, l *Look) {
	var slots []struct {
		Processing *bool `json:"is_processing"`
		State      *int  `json:"state"` // before b3988: 1 while it computes
	}
	if json.Unmarshal(a.Body, &slots) != nil {
		return
	}
	var running sum
	for _, s := range slots {
		switch {
		case s.Processing != nil && *s.Processing, s.Processing == nil && s.State != nil && *s.State == 1:
			running.requests(1, nil)
		case s.Processing != nil, s.State != nil:
			running.requests(0, nil)
		}
	}
	l.Gauges.Running = running.total()
}

// readTGI reads TGI's metrics.
func readTGI(a Answer, l *Look) {
	var running, waiting sum
	scan(a.Body, "tgi_", metrics{"batch_current_size": running.requests, "queue_size": waiting.requests})
	l.Gauges.Running, l.Gauges.Waiting = running.total(), waiting.total()
}

// sum adds up what can be of a metric's values.
type sum struct {
	value float64
	n     int
}

// requests adds a number of requests.
func (s *sum) requests(value float64, _ []byte) { s.add(value, mostRequests) }

// share adds a share, 0 to 1. Some engines round up.
func (s *sum) share(value float64, _ []byte) { s.add(value, 1.01) }

// count adds a count of anything.
func (s *sum) count(value float64, _ []byte) { s.add(value, math.MaxInt64) }

func (s *sum) add(value, most float64) {
	if value >= 0 && value <= most { // NaN is neither
		s.value += value
		s.n++
	}
}

// or returns s, or other if s has seen nothing.
func (s *sum) or(other *sum) *sum {
	if s.n == 0 {
		return other
	}
	return s
}

// total returns the sum, NaN if there was nothing to add.
func (s *sum) total() float64 {
	if s.n == 0 {
		return math.NaN()
	}
	return s.value
}

func (s *sum) mean() float64 { return s.total() / float64(s.n) }

// metrics says what to do with the samples of a name.
type metrics map[string]func(value float64, labels []byte)

// scan hands on the samples of a text in Prometheus' format whose name, without prefix, is
// one of names. Lines that it does not understand are passed over, and so is a last one
// without its end. Most of an engine's metrics are histograms of no use here: a scan
// passes over them at a hundredth of what it costs to parse all with a library.
func scan(text []byte, prefix string, names metrics) {
	for {
		end := bytes.IndexByte(text, '\n')
		if end < 0 {
			return
		}
		line := text[:end]
		text = text[end+1:]
		if !bytes.HasPrefix(line, []byte(prefix)) {
			continue
		}
		line = line[len(prefix):]
		length := 0
		for length < len(line) && line[length] > ' ' && line[length] != '{' {
			length++
		}
		take := names[string(line[:length])]
		if line = line[length:]; take == nil {
			continue
		}
		var labels []byte
		if len(line) > 0 && line[0] == '{' {
			labels, line = cutLabels(line[1:])
		}
		fields := bytes.Fields(line) // the value, and perhaps a time
		if len(fields) == 0 {
			continue
		}
		if value, err := strconv.ParseFloat(string(fields[0]), 64); err == nil {
			take(value, labels)
		}
	}
}

// cutLabels cuts text at the brace that ends the labels: one that is in no quotes. Rest is nil
// if there is none.
func cutLabels(text []byte) (labels, rest []byte) {
	quoted := false
	for n := 0; n < len(text); n++ {
		switch text[n] {
		case '\\':
			n++
		case '"':
			quoted = !quoted
		case '}':
			if !quoted {
				return text[:n], text[n+1:]
			}
		}
	}
	return nil, nil
}

// label returns the value of a label as it is written, "" if there is none. Values with
// quotes in them are not looked for.
func label(labels []byte, name string) string {
	for len(labels) > 0 {
		key, rest, found := bytes.Cut(labels, []byte(`="`))
		value, rest, closed := bytes.Cut(rest, []byte(`"`))
		if !found || !closed {
			return ""
		}
		if string(bytes.Trim(key, ", ")) == name {
			return string(value)
		}
		labels = rest
	}
	return ""
}
