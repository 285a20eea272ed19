package aigateway

import (
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
)

// desc describes a metric of the gateway.
func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, name), help, labels, nil)
}

// Every label is of the file or of a closed set.
var (
	requestsDesc  = desc("requests_total", "Requests by how they ended.", "model", "outcome")
	retriesDesc   = desc("retries_total", "Attempts at requests beyond the first.", "model")
	fallbacksDesc = desc("fallback_requests_total", "Requests that a fallback instance was asked last for.", "model")
	durationDesc  = desc("request_duration_seconds", "Time from a whole request to the end of its answer.", "model", "stream")
	ttftDesc      = desc("time_to_first_token_seconds", "Time from a whole request for a stream until the client had the first content.", "model")
	itlDesc       = desc("inter_token_latency_seconds", "Time between two chunks of a stream, as the client gets them.", "model")
	tpotDesc      = desc("time_per_output_token_seconds", "Time of a stream behind its first content for each further token of its usage.", "model")
	overheadDesc  = desc("overhead_seconds", "Time that the gateway took itself until an answer began.", "model")
	waitingDesc   = desc("queue_waiting", "Requests that wait for an instance to have a place.", "model")
	waitDesc      = desc("queue_wait_seconds", "Time that requests waited, be it in vain.", "model")
	refusedDesc   = desc("queue_refused_total", "Requests that waited in vain, or could not.", "model", "reason")

	infoDesc     = desc("upstream_info", "Instances of the file; always 1.", "upstream", "name", "model", "tier")
	stateDesc    = desc("upstream_state", "Whether the instance is in the state.", "upstream", "state")
	inFlightDesc = desc("upstream_requests_in_flight", "Attempts under way.", "upstream")
	attemptsDesc = desc("attempts_total", "Attempts by how they ended, and why.", "upstream", "model", "outcome", "reason")
	latencyDesc  = desc("upstream_latency_seconds", "Time from an attempt's beginning until its answer began: with a stream's first content, or a plain answer's header.", "upstream")
	ejectedDesc  = desc("ejections_total", "Times that the instance was left out.", "upstream")
	tokensDesc   = desc("tokens_total", "Tokens, as answers tell them.", "upstream", "model", "type")
	guessesDesc  = desc("tokens_estimated_total", "Tokens of streams that do not tell them, estimated: one for each chunk, and for 4 bytes of the request.", "upstream", "model", "type")

	dnsLookupsDesc   = desc("dns_lookups_total", "Lookups of names that instances are found by, by how they ended.", "name", "type", "outcome")
	dnsAddressesDesc = desc("dns_addresses", "Servers behind a name that are in use.", "name", "type")

	writtenDesc = desc("records_written_total", "Records handed to their files.")
	droppedDesc = desc("records_dropped_total", "Exchanges or records that are not in the files.", "reason")
	queueDesc   = desc("record_queue_length", "Exchanges that wait to be recorded.")
	freeDesc    = desc("record_disk_free_bytes", "Space left where records are written, when the last one was.")
)

// The buckets, in doublings of 1/64 ms.
var (
	longBuckets     = buckets{8, 26} // 4 ms to 1,048.576 s
	gapBuckets      = buckets{6, 19} // 1 ms to 8.192 s
	overheadBuckets = buckets{1, 14} // 1/32 ms to 256 ms
)

// fleetCollector shows what models, instances and recorders count themselves. A
// series comes and goes with what it is about, and counting needs no look-up of it.
type fleetCollector struct {
	_ byte // so that a pointer to it is unlike any other
}

// Describe sends the description of every metric.
func (*fleetCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		requestsDesc, retriesDesc, fallbacksDesc, durationDesc, ttftDesc, itlDesc, tpotDesc, overheadDesc,
		waitingDesc, waitDesc, refusedDesc,
		infoDesc, stateDesc, inFlightDesc, attemptsDesc, latencyDesc, ejectedDesc, tokensDesc, guessesDesc,
		dnsLookupsDesc, dnsAddressesDesc,
		writtenDesc, droppedDesc, queueDesc, freeDesc,
	} {
		ch <- d
	}
}

// Collect sends the present values. What two files have in common is added up.
func (*fleetCollector) Collect(ch chan<- prometheus.Metric) {
	models := make(map[string]*modelCounts)
	waiting := make(map[string]int64)
	instances := make(map[string]*instanceNumbers)
	stores.Range(func(_, v any) bool {
		fleet := v.(*store).snapshot().fleet
		for _, p := range fleet.all() {
			addModel(models, p.model, &p.state.counts)
			waiting[p.model] += p.state.queue.waiting.Load()
		}
		for _, i := range fleet.instances {
			if n := instances[i.id]; n != nil {
				n.add(i)
			} else {
				instances[i.id] = newNumbers(i)
			}
		}
		return true
	})
	collectNames(ch)
	for model, c := range models {
		c.collect(ch, model)
		ch <- prometheus.MustNewConstMetric(waitingDesc, prometheus.GaugeValue, float64(waiting[model]), label(model))
	}
	refused := unknownCounts.ended[endRefused].Load()
	ch <- prometheus.MustNewConstMetric(requestsDesc, prometheus.CounterValue, float64(refused), otherModel, endName(endRefused))
	for _, n := range instances {
		n.collect(ch)
	}
	collectRecorders(ch)
}

// collectNames sends the numbers of the names that are looked up. Of one that stands in
// several files, the most addresses are told.
func collectNames(ch chan<- prometheus.Metric) {
	type numbers struct {
		counts    [3]int64
		addresses int
	}
	all := make(map[dnsName]numbers)
	stores.Range(func(_, v any) bool {
		s := v.(*store)
		s.mu.Lock()
		defer s.mu.Unlock()
		for name, known := range s.resolver.names {
			n := all[name]
			for end, count := range known.counts {
				n.counts[end] += count
			}
			n.addresses = max(n.addresses, len(known.records))
			all[name] = n
		}
		return true
	})
	for name, n := range all {
		for end, count := range n.counts {
			ch <- prometheus.MustNewConstMetric(dnsLookupsDesc, prometheus.CounterValue, float64(count), label(name.host), name.kind, lookupEnd(end).String())
		}
		ch <- prometheus.MustNewConstMetric(dnsAddressesDesc, prometheus.GaugeValue, float64(n.addresses), label(name.host), name.kind)
	}
}

// addModel adds the counts of a model to those of other files.
func addModel(models map[string]*modelCounts, model string, c *modelCounts) {
	if known := models[model]; known != nil {
		sum := new(modelCounts)
		sum.merge(known)
		sum.merge(c)
		c = sum
	}
	models[model] = c
}

func (c *modelCounts) merge(other *modelCounts) {
	for end := range c.ended {
		c.ended[end].Add(other.ended[end].Load())
	}
	c.retries.Add(other.retries.Load())
	c.fallbacks.Add(other.fallbacks.Load())
	for n := range c.duration {
		c.duration[n].merge(&other.duration[n])
	}
	c.ttft.merge(&other.ttft)
	c.itl.merge(&other.itl)
	c.tpot.merge(&other.tpot)
	c.overhead.merge(&other.overhead)
	c.wait.merge(&other.wait)
	c.crowded.Add(other.crowded.Load())
	c.late.Add(other.late.Load())
}

// label makes a name of the file fit for a label: what comes from an environment
// variable may be no UTF-8, at which Prometheus' library panics.
func label(name string) string { return strings.ToValidUTF8(name, "\uFFFD") }

func (c *modelCounts) collect(ch chan<- prometheus.Metric, model string) {
	model = label(model)
	counter := func(d *prometheus.Desc, n int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	for end := range c.ended {
		if outcome(end) != endRefused { // those have no model
			counter(requestsDesc, c.ended[end].Load(), model, endName(outcome(end)))
		}
	}
	counter(retriesDesc, c.retries.Load(), model)
	counter(fallbacksDesc, c.fallbacks.Load(), model)
	ch <- c.duration[0].metric(durationDesc, longBuckets, model, "false")
	ch <- c.duration[1].metric(durationDesc, longBuckets, model, "true")
	ch <- c.ttft.metric(ttftDesc, longBuckets, model)
	ch <- c.itl.metric(itlDesc, gapBuckets, model)
	ch <- c.tpot.metric(tpotDesc, gapBuckets, model)
	ch <- c.overhead.metric(overheadDesc, overheadBuckets, model)
	ch <- c.wait.metric(waitDesc, longBuckets, model)
	counter(refusedDesc, c.crowded.Load(), model, "full")
	counter(refusedDesc, c.late.Load(), model, "timeout")
}

// instanceNumbers are the counts of an instance at one moment, or of several files'
// instances with the same ID.
type instanceNumbers struct {
	*instance // the first of them
	attempts  map[attemptEnd]int64
	ejections int64
	inFlight  int64
	tokens    openai.Usage
	estimates openai.Usage
	latency   histogram
}

func newNumbers(i *instance) *instanceNumbers {
	n := &instanceNumbers{instance: i, attempts: make(map[attemptEnd]int64)}
	n.add(i)
	return n
}

func (n *instanceNumbers) add(i *instance) {
	n.inFlight += i.state.inFlight.Load()
	c := &i.state.counts
	c.mu.Lock()
	defer c.mu.Unlock()
	n.attempts[attemptEnd{}] += c.whole
	for end, count := range c.attempts {
		n.attempts[end] += count
	}
	n.ejections += c.ejections
	n.tokens.Prompt += c.tokens.Prompt
	n.tokens.Completion += c.tokens.Completion
	n.estimates.Prompt += c.estimates.Prompt
	n.estimates.Completion += c.estimates.Completion
	if c.latency != nil {
		n.latency.merge(c.latency)
	}
}

func (n *instanceNumbers) collect(ch chan<- prometheus.Metric) {
	number := func(d *prometheus.Desc, t prometheus.ValueType, value int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, float64(value), append([]string{n.id}, labels...)...)
	}
	model := label(n.model)
	number(infoDesc, prometheus.GaugeValue, 1, label(n.name), model, n.tier.String())
	standing := n.standing(n.state.health.view(clock(), rateWindow))
	for _, state := range states {
		var in int64
		if state == standing {
			in = 1
		}
		number(stateDesc, prometheus.GaugeValue, in, state)
	}
	number(inFlightDesc, prometheus.GaugeValue, n.inFlight)
	for end, count := range n.attempts {
		number(attemptsDesc, prometheus.CounterValue, count, model, end.outcome.String(), string(end.reason))
	}
	ch <- n.latency.metric(latencyDesc, longBuckets, n.id)
	number(ejectedDesc, prometheus.CounterValue, n.ejections)
	number(tokensDesc, prometheus.CounterValue, n.tokens.Prompt, model, "prompt")
	number(tokensDesc, prometheus.CounterValue, n.tokens.Completion, model, "completion")
	number(guessesDesc, prometheus.CounterValue, n.estimates.Prompt, model, "prompt")
	number(guessesDesc, prometheus.CounterValue, n.estimates.Completion, model, "completion")
}

// collectRecorders sends the numbers of all recorders together, and of the disk that
// has the least space left.
func collectRecorders(ch chan<- prometheus.Metric) {
	var written, queued, free int64 = 0, 0, -1
	dropped := make(map[string]int64)
	for _, reason := range dropReasons() {
		dropped[reason] = 0
	}
	recorders.Range(func(_, v any) bool {
		r := v.(*recorder)
		written += r.given.Load()
		report := r.report()
		queued += int64(report.Queued)
		for reason, n := range report.Dropped {
			dropped[reason] += n
		}
		if left := r.free.Load(); left >= 0 && (free < 0 || left < free) {
			free = left
		}
		return true
	})
	ch <- prometheus.MustNewConstMetric(writtenDesc, prometheus.CounterValue, float64(written))
	for _, reason := range slices.Sorted(maps.Keys(dropped)) {
		ch <- prometheus.MustNewConstMetric(droppedDesc, prometheus.CounterValue, float64(dropped[reason]), reason)
	}
	ch <- prometheus.MustNewConstMetric(queueDesc, prometheus.GaugeValue, float64(queued))
	if free >= 0 {
		ch <- prometheus.MustNewConstMetric(freeDesc, prometheus.GaugeValue, float64(free))
	}
}

var _ prometheus.Collector = (*fleetCollector)(nil)
