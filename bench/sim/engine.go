package main

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/balance"
)

// engine is one vLLM-like server: continuous batching, first come, first served.
type engine struct {
	hardware
	requests atomic.Int64
	load     balance.Load
	cache    *cache
	waiting  []*request
	running  []*request
	steps    bool // one is under way

	prompts, hits int64 // tokens
}

// newEngine returns an engine with nothing to do.
func newEngine(h hardware) *engine { return &engine{hardware: h, cache: newCache(h.kvBlocks)} }

// gauges is what the engine's metrics would say.
func (e *engine) gauges() balance.Gauges {
	return balance.Gauges{
		Running: float64(len(e.running)), Waiting: float64(len(e.waiting)), KV: float64(e.cache.held) / float64(e.cache.size),
	}
}

// accept takes a request, and begins to work if the engine was idle.
func (e *engine) accept(s *simulation, r *request) {
	e.waiting = append(e.waiting, r)
	if !e.steps {
		e.step(s)
	}
}

// step computes the next tokens: first one of each request whose prompt has been computed,
// or more of the prompt, then prompts of those that wait, as long as there is room.
func (e *engine) step(s *simulation) {
	budget, context := e.maxTokens, 0
	preempted := false
	for n := 0; n < len(e.running) && budget > 0; n++ {
		r := e.running[n]
		r.chunk = min(r.prompt+r.generated-r.computed, budget)
		for !e.reserve(r, r.computed+r.chunk) {
			last := e.running[len(e.running)-1]
			e.running = e.running[:len(e.running)-1]
			e.preempt(last)
			preempted = true
			if last == r {
				break
			}
		}
		if n < len(e.running) {
			budget -= r.chunk
			context += r.computed
		}
	}
	for !preempted && len(e.waiting) > 0 && len(e.running) < e.maxSeqs && budget > 0 {
		r := e.waiting[0]
		e.match(r)
		r.chunk = min(r.prompt+r.generated-r.computed, budget)
		if !e.reserve(r, r.computed+r.chunk) {
			e.release(r)
			break
		}
		if r.generated == 0 {
			e.prompts += int64(r.prompt)
			e.hits += int64(r.computed)
		}
		e.waiting = e.waiting[1:]
		e.running = append(e.running, r)
		budget -= r.chunk
		context += r.computed
	}
	if e.steps = len(e.running) > 0; !e.steps {
		return
	}
	tokens := e.maxTokens - budget
	span := max(e.weights, time.Duration(tokens)*e.token) + time.Duration(context)*e.context
	s.after(span, func() { e.stepped(s) })
}

// stepped ends a step.
func (e *engine) stepped(s *simulation) {
	e.running = slices.DeleteFunc(e.running, func(r *request) bool {
		r.computed += r.chunk
		r.chunk = 0
		for ; r.filled < r.computed/blockTokens; r.filled++ {
			e.cache.fill(r.blocks[r.filled], r.blockID(r.filled))
		}
		if r.computed < r.prompt+r.generated {
			return false
		}
		if r.generated++; r.generated == 1 {
			s.begins(r)
		}
		if r.generated < r.output {
			return false
		}
		e.release(r)
		s.ends(r)
		return true
	})
	e.step(s)
}

// match finds what the cache has of a request that waits, but for its last token, without
// which there would be nothing to compute.
func (e *engine) match(r *request) {
	for n := range (r.prompt + r.generated - 1) / blockTokens {
		b := e.cache.find(r.blockID(n))
		if b == nil {
			break
		}
		r.blocks = append(r.blocks, b)
	}
	r.computed = len(r.blocks) * blockTokens
	r.filled = len(r.blocks)
}

// reserve takes the blocks that so many tokens need.
func (e *engine) reserve(r *request, tokens int) bool {
	more := (tokens+blockTokens-1)/blockTokens - len(r.blocks)
	if more > e.cache.room() {
		return false
	}
	for range more {
		r.blocks = append(r.blocks, e.cache.take())
	}
	return true
}

// release gives up all that the cache has of a request.
func (e *engine) release(r *request) {
	e.cache.drop(r.blocks)
	r.blocks, r.computed, r.filled = r.blocks[:0], 0, 0
}

// preempt throws out a request for want of room. It will be computed anew.
func (e *engine) preempt(r *request) {
	e.release(r)
	r.chunk = 0
	e.waiting = slices.Insert(e.waiting, 0, r)
}
