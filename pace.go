package aigateway

import (
	"sync"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
)

const (
	// leastGap is how far two pieces of a stream must lie apart to be two: below it
	// they are chunks that were sent together, or a mark behind the last one.
	leastGap = 100 * time.Microsecond
	// fullPace is how many gaps are gathered before they are counted, which costs more
	// than to gather them.
	fullPace = 256
)

// pace follows how fast a stream's chunks reach the client. It costs no reading of
// the clock: what was read last has been given to the client when the next read
// begins, of which the watch over stalls notes the time. It belongs to the request's
// goroutine.
type pace struct {
	last    time.Duration // when the client had got the last piece; 0 before the first
	partial bool          // that was no whole chunk
	gaps    spread
	count   int // of gaps
	sum     time.Duration
}

var paces = sync.Pool{New: func() any { return new(pace) }}

// gets takes the piece of the stream that the client is about to get, which may be
// nothing.
func (p *pace) gets(piece []byte) {
	p.partial = len(piece) == 0 || piece[len(piece)-1] != '\n' || piece[0] == ':' // a comment has no content
}

// next takes the time at which the client had got a piece that was not the first. It
// reports whether gaps are to be counted.
func (p *pace) next(now time.Duration) (full bool) {
	gap := now - p.last
	if gap < leastGap || p.partial {
		return false
	}
	p.last = now
	p.gaps[class(gap)]++
	p.sum += gap
	p.count++
	return p.count == fullPace
}

// flush counts the gaps.
func (p *pace) flush(a *attempt) {
	if p.count == 0 {
		return
	}
	a.exchange.pool.state.counts.itl.add(&p.gaps, p.sum)
	a.instance.state.counts.adds(p.last, &p.gaps)
	p.gaps, p.count, p.sum = spread{}, 0, 0
}

// step takes the time at which all that was read has been given to the client.
func (rl *relay) step(now time.Duration) {
	p, a := rl.pace, rl.attempt
	if p.last > 0 {
		if p.next(now) {
			p.flush(a)
		}
		return
	}
	x := a.exchange
	p.last = now
	x.ttft = now - x.began
	x.home().state.counts.ttft.observe(x.ttft)
	a.instance.state.counts.begins(now, now-a.begun)
}

// tails holds buffers for the ends of plain answers.
var tails = sync.Pool{New: func() any { b := make([]byte, 0, 2*openai.UsageTail); return &b }}

// keepTail keeps the end of a plain answer.
func (rl *relay) keepTail(p []byte) {
	if rl.tail == nil {
		return
	}
	rl.attempt.exchange.meter.bytes += int64(len(p))
	t := *rl.tail
	p = p[max(0, len(p)-openai.UsageTail):]
	if len(t)+len(p) > cap(t) {
		t = t[:copy(t, t[len(t)-(openai.UsageTail-len(p)):])]
	}
	*rl.tail = append(t, p...)
}

// readUsage finds the usage of an answer that has ended, or of as much of a stream as
// has come.
func (rl *relay) readUsage() {
	a, told := rl.attempt, false
	switch {
	case rl.stream != nil:
		a.usage.Usage, told = rl.stream.Usage()
	case rl.tail != nil:
		a.usage.Usage, told = openai.FindUsage(*rl.tail)
	}
	switch {
	case told:
		a.usage.source = usageTold
	case rl.pace != nil && a.exchange.route.stream != openai.Other:
		a.usage = a.exchange.estimate(rl.stream.Pieces())
	}
}

// endPace counts what has been gathered, once no more is read.
func (rl *relay) endPace() {
	if rl.pace != nil {
		rl.pace.flush(rl.attempt)
		*rl.pace = pace{}
		paces.Put(rl.pace)
		rl.pace = nil
	}
}
