package echomodel

import (
	"container/list"
	"context"
	"fmt"
	"hash/maphash"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// VLLM acts out what of vLLM decides how well a fleet is balanced: a prefix cache, one prompt computed after the other,
// a bound of the requests at once with a queue before it, and GET /metrics with vLLM's names. Prompts are the messages,
// input or prompt of a request; a token is four of their bytes, as they stand in the body.
type VLLM struct {
	// Seqs is how many requests are answered at once; further ones wait, first come, first served. Default 256.
	Seqs int `json:"seqs,omitempty"`

	// Cache is the size of the KV cache in tokens. What was asked for longest ago goes first. Default 100,000.
	Cache int `json:"cache,omitempty"`

	// Prefill is how long a thousand tokens take that are not cached. Prompts are computed one after the other, before
	// TTFT. Default 0.
	Prefill caddy.Duration `json:"prefill,omitempty"`
}

const (
	defaultSeqs  = 256
	defaultCache = 100_000
	// blockTokens and blockBytes are the size of what is cached or not, as vLLM's blocks.
	blockTokens = 16
	blockBytes  = 4 * blockTokens
)

// check says what is wrong with it.
func (v *VLLM) check() error {
	switch {
	case v == nil:
	case v.Seqs < 0 || v.Seqs > maxTokens:
		return fmt.Errorf("vllm: seqs: %d: want 0 to %d", v.Seqs, maxTokens)
	case v.Cache < 0 || v.Cache > maxSize:
		return fmt.Errorf("vllm: cache: %d: want 0 to %d", v.Cache, maxSize)
	case v.Prefill < 0:
		return fmt.Errorf("vllm: prefill: %s: want 0 or more", time.Duration(v.Prefill))
	}
	return nil
}

// vllm is the state of an acted engine.
type vllm struct {
	seqs, blocks int
	prefill      time.Duration // of a block
	seed         maphash.Seed

	mu            sync.Mutex
	running       int             // guarded by mu, as all below
	held          int             // blocks of those that run
	waiting       []chan struct{} // closed when it is the request's turn
	free          time.Time       // when the prompts that are being computed are done
	known         map[uint64]*list.Element
	order         *list.List // of hashes, the one asked for last first
	queries, hits int64      // tokens
}

// newVLLM returns the state for v, nil for none.
func newVLLM(v *VLLM) *vllm {
	if v == nil {
		return nil
	}
	e := &vllm{seqs: v.Seqs, blocks: v.Cache / blockTokens, seed: maphash.MakeSeed(), known: make(map[uint64]*list.Element), order: list.New()}
	if e.seqs == 0 {
		e.seqs = defaultSeqs
	}
	if v.Cache == 0 {
		e.blocks = defaultCache / blockTokens
	}
	e.prefill = time.Duration(v.Prefill) * blockTokens / 1000
	return e
}

// enter waits until the request's prompt has been computed. The caller calls leave unless there is an error.
func (e *vllm) enter(x *exchange) (leave func(), err error) {
	if err := e.queue(x.ctx, x.s.closed); err != nil {
		return nil, err
	}
	blocks, wait := e.compute(x.req.messages, x.req.input, x.req.prompt)
	leave = func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.held -= blocks
		e.next()
	}
	if err := x.wait(wait); err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

// queue waits for one of the places.
func (e *vllm) queue(ctx, closed context.Context) error {
	e.mu.Lock()
	if e.running < e.seqs {
		e.running++
		e.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	e.waiting = append(e.waiting, turn)
	e.mu.Unlock()
	err := errGone
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	case <-closed.Done():
		err = errClosed
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for n, other := range e.waiting {
		if other == turn {
			e.waiting = append(e.waiting[:n], e.waiting[n+1:]...)
			return err
		}
	}
	e.next() // its turn came in the same moment
	return err
}

// next gives the place of a request that is over to the first that waits. The caller holds mu.
func (e *vllm) next() {
	if len(e.waiting) == 0 {
		e.running--
		return
	}
	close(e.waiting[0])
	e.waiting = e.waiting[1:]
}

// compute takes the blocks of a prompt into the cache. It returns how many there are, and how long it takes until those
// that were not there have been computed, after all that came before.
func (e *vllm) compute(parts ...[]byte) (blocks int, wait time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var hash uint64
	missing, broken := 0, false
	for _, part := range parts {
		for ; len(part) >= blockBytes; part = part[blockBytes:] {
			hash = maphash.Comparable(e.seed, [2]uint64{hash, maphash.Bytes(e.seed, part[:blockBytes])})
			blocks++
			place, known := e.known[hash]
			if broken = broken || !known; broken { // what comes after a gap is of no use
				missing++
			}
			if known {
				e.order.MoveToFront(place)
			} else {
				e.known[hash] = e.order.PushFront(hash)
			}
		}
	}
	for e.order.Len() > e.blocks {
		delete(e.known, e.order.Remove(e.order.Back()).(uint64))
	}
	e.held += blocks
	e.queries += int64(blocks) * blockTokens
	e.hits += int64(blocks-missing) * blockTokens
	now := time.Now()
	if e.free.Before(now) {
		e.free = now
	}
	e.free = e.free.Add(time.Duration(missing) * e.prefill)
	return blocks, e.free.Sub(now)
}

// serveMetrics answers with vLLM's metrics, as far as they are acted out.
func serveMetrics(x *exchange) error {
	e := x.s.vllm
	if e == nil {
		return serveAdmin(x)
	}
	e.mu.Lock()
	running, waiting, queries, hits := e.running, len(e.waiting), e.queries, e.hits
	usage := min(1, float64(e.held)/float64(max(1, e.blocks)))
	e.mu.Unlock()
	model := x.s.models[0]
	b := x.buf
	for _, m := range []struct {
		name, kind, help string
		value            any
	}{
		{"num_requests_running", "gauge", "Number of requests in model execution batches.", float64(running)},
		{"num_requests_waiting", "gauge", "Number of requests waiting to be processed.", float64(waiting)},
		{"kv_cache_usage_perc", "gauge", "KV-cache usage. 1 means 100 percent usage.", usage},
		{"prefix_cache_queries_total", "counter", "Prefix cache queries, in terms of number of queried tokens.", float64(queries)},
		{"prefix_cache_hits_total", "counter", "Prefix cache hits, in terms of number of cached tokens.", float64(hits)},
	} {
		b = fmt.Appendf(b, "# HELP vllm:%s %s\n# TYPE vllm:%s %s\nvllm:%s{engine=\"0\",model_name=%q} %v\n", m.name, m.help, m.name, m.kind, m.name, model, m.value)
	}
	x.buf = b
	return x.write(http.StatusOK, "text/plain; version=0.0.4; charset=utf-8", b)
}
