package main

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/balance"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/splice"
)

// setup is what is simulated.
type setup struct {
	policy string
	boxes  []hardware
	trace  trace
	rate   float64       // first requests a second
	length time.Duration // of which the first third is not measured
	seed   uint64
	gauges bool // the policies get those of the engines; else they know the gateway's own requests alone
}

// pollTime is how often the policies get the gauges of an engine.
const pollTime = 2 * time.Second

// figures is what comes out.
type figures struct {
	rate     float64 // first requests, a second
	requests float64 // that were answered, a second
	tokens   float64 // of answers, a second
	ttft     []time.Duration
	hits     float64 // share of the prompts' tokens that engines had cached
	lost     int     // requests that had no first token when the simulation ended
}

func (f *figures) quantile(q float64) time.Duration {
	if len(f.ttft) == 0 {
		return 0
	}
	return f.ttft[int(q*float64(len(f.ttft)-1))]
}

// simulation is a gateway and its engines, in a time of its own.
type simulation struct {
	setup
	rng     *rand.Rand // of the times at which talks begin
	now     time.Duration
	events  events
	serial  uint64
	engines []*engine

	set    *balance.Set
	table  balance.Table
	prompt balance.Prompt
	output balance.Mean

	talks                 uint64
	asked, begun          int // of those that are measured
	answered, answerBytes int
	ttft                  []time.Duration
}

// run simulates.
func (u setup) run() figures {
	s := &simulation{setup: u, rng: rand.New(rand.NewPCG(u.seed, 1))}
	servers := make([]balance.Server, len(u.boxes))
	for n, h := range u.boxes {
		e := newEngine(h)
		s.engines = append(s.engines, e)
		servers[n] = balance.Server{ID: rand.New(rand.NewPCG(uint64(n), 7)).Uint64(), Weight: 1, Requests: &e.requests, Load: &e.load}
		if u.gauges {
			s.after(time.Duration(n)*pollTime/time.Duration(len(u.boxes)), func() { s.poll(e) })
		}
	}
	s.set = balance.NewSet(servers)
	s.set.Seed(rand.New(rand.NewPCG(u.seed, 2)))
	s.after(0, s.begin)
	for len(s.events) > 0 && s.events[0].at < u.length {
		s.next()
	}
	return s.figures()
}

// next lets the next event happen.
func (s *simulation) next() {
	e := heap.Pop(&s.events).(event)
	s.now = e.at
	e.do()
}

func (s *simulation) figures() figures {
	measured := s.length - s.length/3
	f := figures{
		rate: s.rate, requests: float64(s.answered) / measured.Seconds(), tokens: float64(s.answerBytes) / measured.Seconds(),
		ttft: s.ttft, lost: s.asked - s.begun,
	}
	slices.Sort(f.ttft)
	var prompts, hits int64
	for _, e := range s.engines {
		prompts, hits = prompts+e.prompts, hits+e.hits
	}
	f.hits = float64(hits) / float64(max(1, prompts))
	return f
}

// begin lets a new talk begin, and the next one after it.
func (s *simulation) begin() {
	s.talks++
	s.send(s.trace.talks(s.seed, s.talks).asks())
	s.after(time.Duration(s.rng.ExpFloat64()/s.rate*float64(time.Second)), s.begin)
}

// send is the gateway: it chooses an engine for a request.
func (s *simulation) send(r *request) {
	r.arrived = s.now
	if r.measured = s.now >= s.length/3 && s.now < s.length-s.length/20; r.measured {
		s.asked++
	}
	r.engine = s.choose(r)
	e := s.engines[r.engine]
	e.requests.Add(1)
	e.load.Begin(r.work)
	e.accept(s, r)
}

// choose asks the policy, of the gateway's own code.
func (s *simulation) choose(r *request) int {
	all := func(int) bool { return true }
	ask := balance.Ask{Now: s.now, Bytes: len(r.body), Output: s.output.Value(0)}
	r.work = ask.Tokens(0)
	switch s.policy {
	case "round_robin":
		return s.set.RoundRobin(all)
	case "least_connections":
		return s.set.LeastConnections(all)
	case "least_load":
		return s.set.LeastLoad(ask, all)
	default:
		s.prompt.Read(openai.Chat, "m", "", r.body, splice.Value{})
		n := s.set.Affinity(&s.table, &s.prompt, ask, all)
		s.table.Record(&s.prompt, s.set.Server(n))
		r.work = ask.Tokens(s.prompt.Cached)
		return n
	}
}

// begins notes the first token of a request.
func (s *simulation) begins(r *request) {
	r.ttft = s.now - r.arrived
	left := min(r.work, int64(s.output.Value(0)))
	s.engines[r.engine].load.End(r.work - left)
	r.work = left
	if r.measured {
		s.begun++
		s.ttft = append(s.ttft, r.ttft)
	}
}

// ends notes the end of an answer, after which the talk goes on.
func (s *simulation) ends(r *request) {
	e, t := s.engines[r.engine], r.talk
	e.requests.Add(-1)
	e.load.End(r.work)
	s.output.Add(float64(r.output))
	if s.now >= s.length/3 {
		s.answered++
		s.answerBytes += r.output
	}
	if t.turns <= 0 || t.tokens > maxTalk {
		return
	}
	t.says(t.rng, "assistant", r.output)
	t.says(t.rng, "user", length(t.rng, s.trace.question))
	s.after(time.Duration(t.rng.ExpFloat64()*float64(s.trace.think)), func() { s.send(t.asks()) })
}

// poll reads the gauges of an engine.
func (s *simulation) poll(e *engine) {
	e.load.Observe(e.gauges(), e.requests.Load(), s.now)
	s.after(pollTime, func() { s.poll(e) })
}

// event is something that happens. Those of the same time happen in the order in which
// they were planned.
type event struct {
	at     time.Duration
	serial uint64
	do     func()
}

func (s *simulation) after(span time.Duration, do func()) {
	s.serial++
	heap.Push(&s.events, event{s.now + span, s.serial, do})
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(a, b int) bool {
	return e[a].at < e[b].at || e[a].at == e[b].at && e[a].serial < e[b].serial
}
func (e events) Swap(a, b int) { e[a], e[b] = e[b], e[a] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}
