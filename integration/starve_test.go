package integration

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
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
	f := func(name string, stopped, running time.Duration, times int) {
		t.Run(name, func(t *testing.T) {
			var got string
			for range 5 {
				w := watchOwn()
				got = starve(t, stopped, running, times)
				gap := w.longest()
				if got == "" {
					return
				}
				if gap < starvedDeadline/4 {
					t.Fatalf("%s, though this process never waited longer than %s", got, gap)
				}
				// The instances did say nothing for so long: the gateway is right to mark them.
				t.Logf("once more, for this process itself did not run for %s: %s", gap, got)
			}
			t.Fatal("this machine is too busy to tell: " + got)
		})
	}
	// A thirtieth of one processor for 12 s: each deadline passes in each stop.
	f("starved", 2900*time.Millisecond, 100*time.Millisecond, 4)
	// 10 minutes, scaled to 12 times a deadline.
	f("suspended", 12*time.Second, 0, 1)
}

// failures are the lines of the metrics that count attempts that failed.
func (g *gateway) failures(t *testing.T) (lines string) {
	t.Helper()
	for line := range strings.Lines(get(t, "http://"+g.admin+"/metrics")) {
		if strings.HasPrefix(line, "caddy_ai_gateway_attempts_total") && !strings.Contains(line, `outcome="ok"`) {
			lines += "\n" + strings.TrimSpace(line)
		}
	}
	return lines
}

const starvedDeadline = time.Second

// starve stops a gateway with streams under way and returns what was wrong then, or
// nothing.
func starve(t *testing.T, stopped, running time.Duration, times int) (wrong string) {
	const streams = 30
	g := start(t, "GOMAXPROCS=1")
	defer g.stop() // the end of the test tells how that went
	g.serves(t, `data_dir: "./data", timeouts: {connect: 1, first_token: 1, stall: 1},`, startInstances(t, 3)...)
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	var whole atomic.Int64
	var broken atomic.Pointer[error]
	for range streams {
		clients.Go(func() {
			for ctx.Err() == nil {
				// The gaps are a twenty-fifth of what may pass between two pieces.
				if err := wholeStream(g.posts("/v1/chat/completions", chatOf(true, 40), nil), 40); err != nil {
					broken.Store(&err)
					return
				}
				whole.Add(1)
			}
		})
	}
	defer clients.Wait()
	defer cancel()
	ended := func(n int64) func() bool {
		return func() bool { return whole.Load() >= n || broken.Load() != nil }
	}
	eventually(t, "streams to end", ended(streams))
	for range times {
		g.signal(t, syscall.SIGSTOP)
		time.Sleep(stopped) // the fault itself
		g.signal(t, syscall.SIGCONT)
		time.Sleep(running)
	}
	eventually(t, "streams to end afterwards", ended(whole.Load()+streams))
	if err := broken.Load(); err != nil {
		return fmt.Sprint("a stream: ", *err)
	}
	for n := range 3 {
		if i := g.instance(t, n); i.State != "serving" || i.Errors != 0 {
			return fmt.Sprintf("instance %d: got %+v, want it serving without failures; attempts:%s", n, i, g.failures(t))
		}
	}
	t.Logf("%d streams whole, no failure on 3 instances", whole.Load())
	return ""
}

// ownWatch measures for how long this process, of which the instances are a part, lets
// a peer wait for an answer of one byte: a timer would be on time where thousands of
// answers wait.
type ownWatch struct {
	conn net.Conn
	gap  chan time.Duration
}

func watchOwn() *ownWatch {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close() // has served
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		panic(err)
	}
	peer, err := l.Accept()
	if err != nil {
		panic(err)
	}
	go func() {
		defer peer.Close()
		io.Copy(peer, peer) // until the watch ends
	}()
	w := &ownWatch{conn, make(chan time.Duration)}
	go func() {
		var longest time.Duration
		for one := []byte{1}; ; time.Sleep(5 * time.Millisecond) { // the pace of the watch
			began := time.Now()
			_, err := conn.Write(one)
			if err == nil {
				_, err = io.ReadFull(conn, one)
			}
			if longest = max(longest, time.Since(began)); err != nil {
				w.gap <- longest
				return
			}
		}
	}()
	return w
}

// longest ends the watch.
func (w *ownWatch) longest() time.Duration {
	w.conn.Close()
	return <-w.gap
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
