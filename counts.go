package aigateway

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/balance"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
)

// The ways in which a request ends beside the outcomes of its last attempt.
const (
	endRefused     = outcomeShutdown + 1 + iota // by the gateway: its body or model cannot be served
	endUnavailable                              // no instance could be asked
	ends                                        // how many there are
)

// endName is the word for how a request ended.
func endName(end outcome) string {
	switch end {
	case endRefused:
		return "refused"
	case endUnavailable:
		return "unavailable"
	default:
		return end.String()
	}
}

// modelState is what the gateway has learnt of a model. The store keeps it while the
// model stays in the file.
type modelState struct {
	budget retryBudget
	counts modelCounts
	queue  queue
	output balance.Mean // of the tokens of answers
	blocks atomic.Pointer[balance.Table]
}

// modelCounts is what is counted of the requests for one model. It may be used at
// once from many requests. It takes 6.1 KB.
type modelCounts struct {
	ended     [ends]atomic.Int64
	retries   atomic.Int64
	fallbacks atomic.Int64 // requests that a fallback instance was asked last for
	duration  [2]histogram // of requests that want no stream, and of those that do
	ttft      histogram
	itl       histogram
	tpot      histogram
	overhead  histogram
	wait      histogram    // of requests that have waited in the queue
	crowded   atomic.Int64 // of them, those that found no room or lost it
	late      atomic.Int64 // of them, those that waited for too long
}

// waited counts the end of a wait in the queue.
func (c *modelCounts) waited(wait time.Duration, end queueEnd) {
	c.wait.observe(wait)
	switch end {
	case queueFull:
		c.crowded.Add(1)
	case queueTimeout:
		c.late.Add(1)
	default:
	}
}

// unknownCounts are those of requests for no model of a file, or whose model cannot
// be read.
var unknownCounts modelCounts

// instanceCounts is what is counted of the attempts at one instance. Its methods may
// be called at once from many requests: each takes the lock for a moment.
type instanceCounts struct {
	mu        sync.Mutex
	whole     int64                // attempts that ended well; guarded by mu, as all below
	attempts  map[attemptEnd]int64 // all others; the keys are a closed set
	ejections int64
	tokens    openai.Usage // as answers tell them
	estimates openai.Usage // of streams that do not
	latency   *histogram   // until answers began; nil before the first attempt, as recent
	recent    *recent
}

// attemptEnd is how an attempt ended.
type attemptEnd struct {
	outcome outcome
	reason  reason
}

// errs reports whether the attempt ended in an error of the instance's, be it one for
// which the instance is not to blame.
func (e attemptEnd) errs() bool {
	switch e.outcome {
	case outcomeBusy, outcomeMisconfigured, outcomeFailed, outcomeTruncated:
		return true
	default:
		return false
	}
}

// ready makes what every instance that is asked needs. The caller holds mu.
func (c *instanceCounts) ready() {
	if c.recent == nil {
		c.attempts, c.latency, c.recent = make(map[attemptEnd]int64), new(histogram), new(recent)
	}
}

// settle counts the end of a, at now.
func (c *instanceCounts) settle(a *attempt, v verdict, now time.Duration) {
	end := attemptEnd{v.outcome, v.reason}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready()
	if end == (attemptEnd{}) {
		c.whole++
	} else {
		c.attempts[end]++
	}
	if a.answered > 0 {
		c.latency.observe(a.answered - a.begun)
	}
	told := int64(0)
	switch a.usage.source {
	case usageUnknown:
	case usageTold:
		told = a.usage.Completion
		c.tokens.Prompt += a.usage.Prompt
		c.tokens.Completion += told
	case usageEstimated:
		c.estimates.Prompt += a.usage.Prompt
		c.estimates.Completion += a.usage.Completion
	}
	c.recent.settle(end, told, now)
}

// begins counts that the first token of a stream has come after wait.
func (c *instanceCounts) begins(now, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready()
	c.recent.slot(now).ttft[class(wait)]++
}

// adds counts gaps between the chunks of a stream.
func (c *instanceCounts) adds(now time.Duration, gaps *spread) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready()
	itl := &c.recent.slot(now).itl
	for class, n := range gaps {
		itl[class] += n
	}
}

// ejected counts an ejection.
func (c *instanceCounts) ejected() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ejections++
}

// count counts the end of a for the metrics and statistics. Whoever else is to know of
// the tokens that an exchange has cost is told here.
func (a *attempt) count(v verdict, now time.Duration) {
	x := a.exchange
	x.ended, x.usage = now, a.usage
	a.instance.state.counts.settle(a, v, now)
	if a.usage.Completion > 0 {
		x.pool.state.output.Add(float64(a.usage.Completion))
	}
	if tokens := a.usage.Completion; tokens > 1 && x.ttft > 0 && a.usage.source == usageTold {
		x.pool.state.counts.tpot.observe((now - x.began - x.ttft) / time.Duration(tokens-1))
	}
}

// answers notes that the answer of a begins, at now.
func (a *attempt) answers(now time.Duration) {
	x := a.exchange
	a.answered = now
	x.home().state.counts.overhead.observe(x.own + now - x.working)
}

// finish ends the exchange and counts its request.
func (x *exchange) finish() {
	x.end()
	x.prompt.release()
	x.lease.end(x)
	if x.line.end == queueShutdown {
		dismissed.Add(-1)
	}
	if x.pool == nil || x.refused {
		unknownCounts.ended[endRefused].Add(1)
		return
	}
	c := &x.home().state.counts
	if len(x.tried) == 0 {
		x.ended = clock()
	} else {
		if n := len(x.tried) - 1; n > 0 {
			c.retries.Add(int64(n))
		}
		if x.tried[len(x.tried)-1].tier == fallback {
			c.fallbacks.Add(1)
		}
	}
	c.ended[x.outcome()].Add(1)
	stream := 0
	if x.ask.stream {
		stream = 1
	}
	c.duration[stream].observe(x.ended - x.began)
}

// outcome is how the request ended, or would if nothing more happened.
func (x *exchange) outcome() outcome {
	switch {
	case x.pool == nil, x.refused:
		return endRefused
	case len(x.tried) > 0:
		return x.last.outcome
	case x.line.end == queueLeft:
		return outcomeCanceled
	case x.line.end == queueShutdown:
		return outcomeShutdown
	default:
		return endUnavailable
	}
}
