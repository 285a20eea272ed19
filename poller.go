package aigateway

import (
	"bytes"
	"container/heap"
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/engine"
)

const (
	// surveyTime is how often an instance is asked for its engine, version and models.
	surveyTime = 30 * time.Second
	// seldomTime is the same for a server that is none of the engines: it tells little.
	seldomTime = 5 * time.Minute
	// maxPolls is how many instances are asked at once.
	maxPolls = 16
	// pollGap is how much time there is on average between two polls, at least: a fleet of
	// thousands is asked in turn, and not every poll.interval.
	pollGap = 10 * time.Millisecond
	// longestSilence bounds how long an instance that does not answer is not asked.
	longestSilence = 10 * time.Second
)

// polling is how instances are asked what they say of themselves.
type polling struct {
	interval time.Duration // 0 for never
	timeout  time.Duration // of each question
}

// pollsEngines says whether stores ask instances at all. It is for tests of this package,
// whose instances count what they are asked; nothing changes it while stores run.
var pollsEngines = true

// poller asks the instances of a store's fleet how they are, and notes it in their states,
// which it shares with requests. What it learns makes an instance rest while it loads or
// sleeps, and lets policies know its load. It never counts for or against an instance's
// health: only requests do. It asks nothing as long as no configuration with an ai_gateway
// runs, whose TLS settings it needs. Its fields belong to the goroutine of [poller.run].
type poller struct {
	*store
	snap   *snapshot // that polls is up to date with
	gauges bool      // policies use them
	polls  map[*instanceState]*poll
	due    pollHeap // of those that are not under way
	places int      // for further polls under way
	ended  chan *poll

	ctx    context.Context // of all questions
	cancel context.CancelFunc
	asking sync.WaitGroup
}

// poll is what the poller knows of one instance.
type poll struct {
	*instance                // as it stood in the snapshot when it was last asked
	newest    *instance      // as it stands there now
	following []*instance    // models that a scout has discovered, when it was last asked
	followers []*instance    // the same now
	server    *engine.Server // of the goroutine that asks, while one does
	transport http.RoundTripper
	due       time.Duration // when it is asked next
	survey    time.Duration // when it is asked for its models next
	errors    int           // in a row
	place     int           // in the heap, -1 while it is being asked
	gone      bool          // not in the snapshot any more
	told      engine.State  // of the last look that told one
	body      bytes.Buffer  // of the answer that is being read
}

func newPoller(s *store) *poller {
	p := &poller{store: s, polls: make(map[*instanceState]*poll), places: maxPolls, ended: make(chan *poll)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// run polls until the store ends, and for as long as the last questions take to be given up.
func (p *poller) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer p.asking.Wait()
	defer p.cancel()
	for {
		select {
		case <-timer.C:
		case one := <-p.ended:
			p.places++
			p.schedule(one)
		case <-p.stop:
			return
		}
		timer.Reset(p.next(clock()))
	}
}

// next begins the polls that are due, and returns after how long to look again.
func (p *poller) next(now time.Duration) time.Duration {
	if snap := p.snapshot(); snap != p.snap {
		p.take(snap, now)
	}
	settings, transport := p.snap.polling, p.events.pollTransport()
	if settings.interval == 0 || transport == nil {
		return lookTime
	}
	if gauges := p.usesGauges(p.snap); gauges != p.gauges {
		p.gauges = gauges
		p.spread(now)
	}
	for p.places > 0 && len(p.due) > 0 && p.due[0].due <= now {
		one := heap.Pop(&p.due).(*poll)
		p.places--
		one.transport, one.instance, one.following = transport, one.newest, one.followers
		gauges := p.gauges && !one.off()
		p.asking.Go(func() {
			one.ask(p.ctx, p.store, settings, gauges)
			select {
			case p.ended <- one:
			case <-p.stop:
			}
		})
	}
	if p.places == 0 || len(p.due) == 0 {
		return lookTime
	}
	return min(max(p.due[0].due-now, time.Millisecond), lookTime)
}

// take makes the polls those of a new snapshot. What is known of an instance that stays is
// kept; new ones begin spread over an interval.
func (p *poller) take(snap *snapshot, now time.Duration) {
	was, before := p.snap, p.polls
	p.snap = snap
	p.polls = make(map[*instanceState]*poll, len(before))
	followers := make(map[*instanceState][]*instance)
	for _, i := range snap.fleet.everyone() {
		if i.scout != nil {
			followers[i.scout] = append(followers[i.scout], i)
		}
		if !i.polled() {
			continue
		}
		one := before[i.state]
		switch {
		case one == nil && i.scouts(): // its models are not there before it has told of them
			one = p.add(i, now)
		case one == nil:
			one = p.add(i, now+rand.N(max(1, snap.polling.interval)))
		case one.like(i):
			one.newest = i
		default: // another key, or another engine
			p.drop(one)
			one = p.add(i, now)
		}
		delete(before, i.state)
		p.polls[i.state] = one
	}
	for _, one := range before {
		p.drop(one)
	}
	for state, one := range p.polls {
		one.followers = slices.Clip(followers[state])
	}
	if was != nil && was.polling != snap.polling {
		p.spread(now)
	}
}

// add begins with i.
func (p *poller) add(i *instance, due time.Duration) *poll {
	one := &poll{instance: i, newest: i, due: due}
	one.server = engine.NewServer(engine.Name(i.engine), one.get)
	heap.Push(&p.due, one)
	return one
}

// spread lets those that are due later than in an interval be so at any time in it.
func (p *poller) spread(now time.Duration) {
	for _, one := range p.due {
		one.due = min(one.due, now+rand.N(max(1, p.snap.polling.interval)))
	}
	heap.Init(&p.due)
}

// drop ends a poll. If it is under way it ends for nobody.
func (p *poller) drop(one *poll) {
	one.gone = true
	if one.place >= 0 {
		heap.Remove(&p.due, one.place)
	}
}

// schedule says when one that has been asked is asked again.
func (p *poller) schedule(one *poll) {
	if one.gone {
		return
	}
	now := clock()
	interval := max(p.snap.polling.interval, time.Duration(len(p.polls))*pollGap)
	wait := interval
	if one.errors > 0 {
		wait = max(interval, min(interval<<min(one.errors-1, 8), longestSilence))
	} else if one.server.Silent(p.gauges && !one.newest.off()) {
		wait = max(interval, one.survey-now)
	}
	one.due = now + wait - wait/10 + rand.N(wait/5+1)
	heap.Push(&p.due, one)
}

// usesGauges reports whether the policy that chooses among instances looks at their gauges.
func (s *store) usesGauges(snap *snapshot) bool {
	module, _ := s.events.lbPolicy()
	switch newPolicy(module, snap.strategy).(type) {
	case leastLoad, prefixAffinity:
		return true
	}
	return false
}

// pollHeap has the polls by when they are due.
type pollHeap []*poll

func (h pollHeap) Len() int           { return len(h) }
func (h pollHeap) Less(a, b int) bool { return h[a].due < h[b].due }

func (h pollHeap) Swap(a, b int) {
	h[a], h[b] = h[b], h[a]
	h[a].place, h[b].place = a, b
}

// Push implements [heap.Interface].
func (h *pollHeap) Push(one any) {
	one.(*poll).place = len(*h)
	*h = append(*h, one.(*poll))
}

// Pop implements [heap.Interface].
func (h *pollHeap) Pop() any {
	last := len(*h) - 1
	one := (*h)[last]
	(*h)[last], *h = nil, (*h)[:last]
	one.place = -1
	return one
}
