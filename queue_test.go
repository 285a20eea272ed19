package aigateway

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// queued is a fleet's file with one instance that takes so many requests at once, and
// with members of queue.
func queued(url string, places int, members string) string {
	return fmt.Sprintf(`{"instances": [{"url": %q, "model_name": "m", "max_concurrency": %d}], "queue": {%s}}`, url, places, members)
}

// waiting returns how many requests for model m wait.
func (g *gateway) waiting() int {
	return int(g.store.snapshot().fleet.pool("m").state.queue.waiting.Load())
}

// wantWaiting waits until so many requests wait.
func (g *gateway) wantWaiting(t testing.TB, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d requests to wait", n), func() bool { return g.waiting() == n })
}

// wantEmpty checks that nobody waits, and that no lease is held.
func (g *gateway) wantEmpty(t testing.TB) {
	t.Helper()
	g.wantWaiting(t, 0)
	g.wantIdle(t)
	eventually(t, "the store's count to be 0", func() bool { return g.store.usher.waiting.Load() == 0 })
	q := &g.store.snapshot().fleet.pool("m").state.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.order.Len() != 0 {
		t.Errorf("the queue has %d entries, want none", q.order.Len())
	}
}

// later sends a chat and hands its answer on. The header is the client's.
func (g *gateway) later(t testing.TB, ctx context.Context, body string, header ...string) <-chan received {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url+chatPath, strings.NewReader(body))
	must(t, err)
	for n := 0; n < len(header); n += 2 {
		r.Header.Set(header[n], header[n+1])
	}
	answer := make(chan received, 1)
	go func() {
		res, err := client.Do(r)
		if err != nil {
			answer <- received{err: err}
			return
		}
		answer <- receivedOf(res)
	}()
	return answer
}

// busyServer is an instance that counts what it has at once. Answers take a moment.
type busyServer struct {
	*witness
	now, most *atomic.Int64 // may be shared with others
}

func startBusy(t testing.TB, takes time.Duration, now, most *atomic.Int64) *busyServer {
	t.Helper()
	s := &busyServer{now: now, most: most}
	s.witness = startWitness(t, func(w http.ResponseWriter, _ *http.Request) {
		n := now.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		time.Sleep(takes)
		now.Add(-1)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, chatJSON)
	})
	return s
}

// TestQueue guards that requests which find all instances full wait and are served, and
// that an instance never has more than it may: 64 clients at once for four places.
func TestQueue(t *testing.T) {
	for _, strategy := range strategies {
		t.Run(strategy, func(t *testing.T) {
			var now, most atomic.Int64
			servers := []*busyServer{startBusy(t, 2*time.Millisecond, &now, &most), startBusy(t, 2*time.Millisecond, &now, &most)}
			g := startGateway(t, fmt.Sprintf(`{"load_balancing_strategy": %q, "instances": [%s, %s]}`, strategy,
				entry(servers[0].URL+"/v1", `, "max_concurrency": 2`), entry(servers[1].URL+"/v1", `, "max_concurrency": 2`)))
			report := g.loadOf(64*10, 64)
			if plain := report.ok + report.wrong; plain != 64*10 { // streams get plain answers here
				t.Errorf("got %v, want all 640 answered", report)
			}
			if got := most.Load(); got != 4 {
				t.Errorf("at most %d at once, want 4", got)
			}
			for n, s := range servers {
				if s.count() < 100 {
					t.Errorf("instance %d got %d of 640 requests", n, s.count())
				}
			}
			g.wantEmpty(t)
		})
	}
}

// TestQueuePolicy guards that a policy of Caddy's chooses for those who wait as well.
func TestQueuePolicy(t *testing.T) {
	var now, most atomic.Int64
	s := startBusy(t, time.Millisecond, &now, &most)
	g := startGateway(t, queued(s.URL+"/v1", 3, ""), "lb_policy cookie")
	if report := g.loadOf(200, 20); report.ok+report.wrong != 200 || most.Load() != 3 {
		t.Errorf("got %v, at most %d at once, want all 200 and 3", report, most.Load())
	}
	g.wantEmpty(t)
}

// TestQueueLeave guards row C1: a client that leaves while it waits is out of the queue
// at once, is nobody's failure, and no instance hears of it.
func TestQueueLeave(t *testing.T) {
	s := startGated(t)
	g := startGateway(t, queued(s.URL+"/v1", 1, ""))
	first := g.later(t, context.Background(), chat(""))
	eventually(t, "the first to be answered", func() bool { return s.count() == 1 })
	left := int64(0)
	inTime(t, func() (late string) {
		var took []time.Duration
		for range 20 {
			ctx, cancel := context.WithCancel(context.Background())
			answer := g.later(t, ctx, chat(""))
			g.wantWaiting(t, 1)
			began := time.Now()
			cancel()
			g.wantWaiting(t, 0)
			took = append(took, time.Since(began))
			<-answer
			left++
		}
		slices.Sort(took)
		t.Logf("out of the queue after %v, at most %v", took[len(took)/2], took[len(took)-1])
		if median := took[len(took)/2]; median > 100*time.Millisecond {
			return fmt.Sprintf("out of the queue after %v, want 100 ms at most", median)
		}
		return ""
	})
	s.open()
	wantWhole(t, <-first)
	wantWhole(t, g.sends(t, chatPath, chat("")))
	if s.count() != 2 {
		t.Errorf("the instance was asked %d times, want 2", s.count())
	}
	c := &g.store.snapshot().fleet.pool("m").state.counts
	if canceled, unavailable := c.ended[outcomeCanceled].Load(), c.ended[endUnavailable].Load(); canceled != left || unavailable != 0 {
		t.Errorf("counted %d canceled and %d unavailable, want %d and 0", canceled, unavailable, left)
	}
	g.wantMarks(t, "after clients left", 0)
	g.wantEmpty(t)
}

// TestQueueStorm guards that clients which leave in crowds, while places are handed on,
// take nothing with them: every lease is given back, nobody waits on, and those who
// stayed are served.
func TestQueueStorm(t *testing.T) {
	var now, most atomic.Int64
	s := startBusy(t, time.Millisecond, &now, &most)
	s.hurried.Store(true)
	g := startGateway(t, queued(s.URL+"/v1", 4, `"max_waiting": 1000`))
	goroutines := runtime.NumGoroutine()
	var clients sync.WaitGroup
	var stayed atomic.Int64
	for n := range 60 {
		clients.Go(func() {
			for k := range 20 {
				ctx, cancel := context.WithCancel(context.Background())
				answer := g.later(t, ctx, chat(""))
				if (n+k)%3 > 0 { // after a time between none and that of a place
					time.AfterFunc(time.Duration((n*20+k)%40)*time.Millisecond/2, cancel)
				}
				if r := <-answer; r.status == http.StatusOK {
					stayed.Add(1)
				} else if r.err == nil {
					t.Errorf("got %d %s", r.status, r.body)
				}
				cancel()
			}
		})
	}
	clients.Wait()
	g.wantEmpty(t)
	if got := stayed.Load(); got < 400 || got == 1200 {
		t.Errorf("%d of 1,200 were served, want all 400 who stayed, and not all who left", got)
	}
	g.wantMarks(t, "after the storm", 0)
	client.CloseIdleConnections()
	eventually(t, "the goroutines to end", func() bool { return runtime.NumGoroutine() <= goroutines+10 })
}

// TestQueueThousand guards that a thousand requests that wait are all served, and leave
// neither a goroutine nor memory behind; and that while they wait nothing is looked at.
func TestQueueThousand(t *testing.T) {
	const many = 1000
	s := startGated(t)
	g := startGateway(t, queued(s.URL+"/v1", 4, `"max_waiting": 1000, "max_wait": 0`))
	measure := func() (goroutines, heap int) {
		client.CloseIdleConnections()
		eventually(t, "connections to end", func() bool { return runtime.NumGoroutine() < 100 })
		runtime.GC() // what is pooled survives one
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return runtime.NumGoroutine(), int(m.HeapAlloc)
	}
	wave := func() {
		var answers []<-chan received
		for range many + 4 {
			answers = append(answers, g.later(t, context.Background(), chat("")))
		}
		g.wantWaiting(t, many)
		for range many + 4 {
			s.release <- http.StatusOK
		}
		for _, answer := range answers {
			wantWhole(t, <-answer)
		}
		g.wantEmpty(t)
		s.mu.Lock()
		s.seen = nil
		s.mu.Unlock()
	}
	wave() // what is made once is made now
	before, heap := measure()
	first, least := before, math.MaxInt
	for range 3 { // what leaks does so in each wave, and what else happens to be alive does not
		wave()
		after, now := measure()
		t.Logf("goroutines %d -> %d, heap %.1f -> %.1f MiB", before, after, float64(heap)/(1<<20), float64(now)/(1<<20))
		least = min(least, now-heap)
		before, heap = after, now
	}
	if before > first+5 || least > 512<<10 {
		t.Errorf("goroutines %d -> %d, heap grew by at least %d bytes in each wave, want no growth", first, before, least)
	}
}

// TestQueueRefuses guards the answers to those who find no room or wait too long: 503 in
// the form of the API, and when to come again.
func TestQueueRefuses(t *testing.T) {
	s := startGated(t)
	g := startGateway(t, queued(s.URL+"/v1", 1, `"max_waiting": 1, "max_wait": "300ms"`))
	first := g.later(t, context.Background(), chat(""))
	eventually(t, "the first to be answered", func() bool { return s.count() == 1 })
	second := g.later(t, context.Background(), chat(""))
	g.wantWaiting(t, 1)
	check := func(what string, r received, parts ...string) {
		t.Helper()
		seconds := r.header.Get("Retry-After")
		if r.status != http.StatusServiceUnavailable || seconds != "1" {
			t.Errorf("%s: got %d %s, Retry-After %q, want 503 and 1", what, r.status, r.body, seconds)
		}
		for _, part := range parts {
			if !strings.Contains(r.body, part) {
				t.Errorf("%s: got %s, want %s in it", what, r.body, part)
			}
		}
	}
	check("no room", g.sends(t, chatPath, chat("")), `"code":"queue_full"`, `"type":"server_error"`)
	check("no room, in Anthropic's form", g.sends(t, "/v1/messages", chat("")), `"type":"overloaded_error"`, "too many requests wait")
	check("too long", <-second, `"code":"queue_timeout"`, `"type":"server_error"`)
	s.open()
	wantWhole(t, <-first)
	g.wantEmpty(t)
	c := &g.store.snapshot().fleet.pool("m").state.counts
	if full, late, ended := c.crowded.Load(), c.late.Load(), c.ended[endUnavailable].Load(); full != 2 || late != 1 || ended != 3 {
		t.Errorf("counted %d without room, %d too late, %d unavailable, want 2, 1 and 3", full, late, ended)
	}
}

// TestQueueRetryAfter guards that Retry-After is when it would be the client's turn, as
// far as the queue's pace tells, within bounds.
func TestQueueRetryAfter(t *testing.T) {
	g := startGateway(t, queued("http://"+freeAddress(t)+"/v1", 1, ""))
	q := &g.store.snapshot().fleet.pool("m").state.queue
	now := clock()
	f := func(want time.Duration) {
		t.Helper()
		if got := q.again(openFlow, now); got < want*9/10 || got > want*11/10 {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	f(time.Second)
	q.rate.Waits(now, true)
	for range 100 {
		now += 4 * time.Second
		q.rate.Count(now)
	}
	f(4 * time.Second)
	for range 4 {
		q.order.Push(openFlow, false, nil)
	}
	f(20 * time.Second)
	for range 40 {
		q.order.Push(openFlow, false, nil)
	}
	f(time.Minute)
}

// TestQueueTotal guards that timeouts.total bounds waiting too, and the time that a
// request has left when it is served.
func TestQueueTotal(t *testing.T) {
	s := startGated(t)
	g := startGateway(t, fmt.Sprintf(`{"timeouts": {"total": "500ms"}, "instances": [{"url": %q, "model_name": "m", "max_concurrency": 1, "timeouts": {"total": "1h"}},
		{"url": %q, "model_name": "n", "max_concurrency": 1}]}`, s.URL+"/v1", s.URL+"/n/v1"))
	other := strings.Replace(chat(""), `"m"`, `"n"`, 1)
	first := g.later(t, context.Background(), chat(""))
	eventually(t, "the first to be answered", func() bool { return s.count() == 1 })
	second := g.later(t, context.Background(), chat("")) // may wait for longer
	g.wantWaiting(t, 1)
	began := time.Now()
	third, fourth := g.later(t, context.Background(), other), g.later(t, context.Background(), other)
	for _, r := range []received{<-third, <-fourth} { // one by its deadline with the instance, one by that of waiting
		if r.status != http.StatusGatewayTimeout && !strings.Contains(r.body, "queue_timeout") {
			t.Errorf("got %d %s, want it ended by timeouts.total", r.status, r.body)
		}
	}
	if took := time.Since(began); took < 400*time.Millisecond || took > 5*time.Second {
		t.Errorf("ended after %v, want timeouts.total of 500 ms", took)
	}
	if g.waiting() != 1 {
		t.Errorf("%d wait for the other model, want 1", g.waiting())
	}
	s.open()
	wantWhole(t, <-first, <-second)
}

// TestQueueKeepalive guards that a client which waits for a stream hears comments, and
// that the deadline for the first token does not run while it waits.
func TestQueueKeepalive(t *testing.T) {
	release := make(chan struct{})
	slow := startScripted(t, func(conn *net.TCPConn, r *http.Request, body []byte) bool {
		<-release
		return goodScript(conn, r, body)
	})
	g := startGateway(t, fmt.Sprintf(`{"stream_keepalive": 1, "timeouts": {"first_token": "200ms"}, "instances": [%s, %s]}`,
		entry(slow.url, `, "max_concurrency": 1, "timeouts": {"first_token": "1h"}`), entry(slow.url+"/two/v1", `, "max_concurrency": 1, "timeouts": {"first_token": "1h"}`)))
	var held []<-chan received
	for range 2 {
		held = append(held, g.later(t, context.Background(), chatBody(true)))
	}
	eventually(t, "both to be busy", func() bool { return slow.requests.Load() == 2 })
	res, err := client.Post(g.url+chatPath, "application/json", strings.NewReader(chatBody(true)))
	must(t, err) // the header came with the first comment
	if g.waiting() != 1 {
		t.Errorf("%d wait, want 1", g.waiting())
	}
	close(release)
	text := readAll(t, res.Body)
	if !strings.HasPrefix(text, ": keepalive\n\n") || !strings.HasSuffix(text, chatStream) {
		t.Errorf("got %q, want a comment and the stream", text)
	}
	for _, answer := range held {
		<-answer
	}
	g.wantMarks(t, "after waiting for longer than first_token", 0, 0)
	g.wantEmpty(t)
}
