package integration

import (
	"context"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/echomodel"
)

// TestStarved guards rows L6 and T3: deadlines that pass while the gateway itself does
// not run mark no healthy instance and cost no stream. The process is stopped and
// continued by signals, as the scheduler does to one whose quota is used up, so that
// the instances and the clients, which are this process, go on.
func TestStarved(t *testing.T) {
	const deadlines = `data_dir: "./data", timeouts: {connect: 1, first_token: 1, stall: 1},`
	f := func(name string, streams int, stopped, running time.Duration, times int) {
		t.Run(name, func(t *testing.T) {
			g := start(t, "GOMAXPROCS=1")
			g.serves(t, deadlines, startInstances(t, 3)...)
			ctx, cancel := context.WithCancel(t.Context())
			var clients sync.WaitGroup
			var whole atomic.Int64
			for range streams {
				clients.Go(func() {
					for ctx.Err() == nil {
						// The gaps are a twenty-fifth of what may pass between two pieces.
						if err := wholeStream(g.posts("/v1/chat/completions", chatOf(true, 40), nil), 40); err != nil {
							t.Error(err)
							return
						}
						whole.Add(1)
					}
				})
			}
			eventually(t, "streams to end", func() bool { return whole.Load() >= int64(streams) })
			for range times {
				g.signal(t, syscall.SIGSTOP)
				time.Sleep(stopped) // the fault itself
				g.signal(t, syscall.SIGCONT)
				time.Sleep(running)
			}
			before := whole.Load()
			eventually(t, "streams to end afterwards", func() bool { return whole.Load() >= before+int64(streams) })
			for n := range 3 {
				if i := g.instance(t, n); i.State != "serving" || i.Errors != 0 {
					t.Errorf("instance %d: got %+v, want it serving without failures", n, i)
				}
			}
			cancel()
			clients.Wait()
			t.Logf("%d streams whole, no failure on 3 instances", whole.Load())
		})
	}
	// A thirtieth of one processor for 12 s: each deadline passes in each stop.
	f("starved", 30, 2900*time.Millisecond, 100*time.Millisecond, 4)
	// 10 minutes, scaled to 12 times a deadline.
	f("suspended", 30, 12*time.Second, 0, 1)
}

// TestStarvedDead guards the scope of the rule: an instance that says nothing is marked
// by a gateway that is short of time too, if later.
func TestStarvedDead(t *testing.T) {
	g := start(t, "GOMAXPROCS=1")
	urls := startInstances(t, 1)
	silent := echomodel.Script{Fault: "hang"}
	urls = append(urls, startInstance(t, "silent", silent))
	g.serves(t, `data_dir: "./data", error_threshold: 3, timeouts: {connect: 0.5, first_token: 0.5, stall: 0.5},`, urls...)
	done := make(chan struct{})
	var clients sync.WaitGroup
	clients.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				if err := wholeStream(g.posts("/v1/chat/completions", chatOf(true, 3), nil), 3); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for range 3 {
		g.signal(t, syscall.SIGSTOP)
		time.Sleep(1450 * time.Millisecond) // the fault itself
		g.signal(t, syscall.SIGCONT)
		time.Sleep(50 * time.Millisecond)
	}
	eventually(t, "the silent one to be out", func() bool { return g.instance(t, 1).State == "ejected" })
	if i := g.instance(t, 0); i.State != "serving" || i.Errors != 0 {
		t.Errorf("the healthy one: got %+v, want it serving without failures", i)
	}
	close(done)
	clients.Wait()
}

func (g *gateway) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := g.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}
