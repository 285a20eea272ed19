package aigateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// descriptors returns how many this process has open, or 0 where nobody tells.
func descriptors() int {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(open)
}

// leavers is an instance whose answers never end, and notes when each client's
// connection is closed.
type leavers struct {
	*witness
	arrived []chan struct{} // closed when the request of that number is here
	gone    []chan time.Time
}

// startLeavers waits for count requests, whose query is their number. Those of an
// odd one get the beginning of a stream.
func startLeavers(t testing.TB, count int) *leavers {
	l := &leavers{arrived: make([]chan struct{}, count), gone: make([]chan time.Time, count)}
	for n := range count {
		l.arrived[n], l.gone[n] = make(chan struct{}), make(chan time.Time, 1)
	}
	l.witness = startWitness(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		if n%2 == 1 {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, chatEvent)
			http.NewResponseController(w).Flush()
		}
		close(l.arrived[n])
		<-r.Context().Done()
		l.gone[n] <- time.Now()
	})
	return l
}

// leave sends request n and goes away: before the first byte, or, if n is odd,
// after the first event. It returns when.
func (l *leavers) leave(t testing.TB, g *gateway, n int) time.Time {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, "POST", fmt.Sprintf("%s%s?n=%d", g.url, chatPath, n), strings.NewReader(chatBody(true)))
	if n%2 == 0 {
		var left time.Time
		go func() {
			<-l.arrived[n]
			left = time.Now()
			cancel()
		}()
		res, err := client.Do(r)
		if err == nil {
			res.Body.Close()
			t.Errorf("request %d: got an answer before its first byte", n)
		}
		return left
	}
	res, err := client.Do(r)
	if err != nil {
		t.Errorf("request %d: %v", n, err)
		return time.Time{}
	}
	defer res.Body.Close()
	event := make([]byte, len(chatEvent))
	if _, err := io.ReadFull(res.Body, event); err != nil || string(event) != chatEvent {
		t.Errorf("request %d: got %q and error %v, want the first event", n, event, err)
	}
	left := time.Now()
	cancel()
	return left
}

// TestClientsLeave guards rows C2 and C3: of 1,000 clients half leave before the
// first byte and half in the middle of a stream. Each time the instance sees its
// connection closed within 200 ms; nobody is blamed, and nothing is left behind.
func TestClientsLeave(t *testing.T) {
	const count, atOnce = 1000, 50
	l := startLeavers(t, count)
	g := startGateway(t, fleetOf(l.URL+"/a/v1", l.URL+"/b/v1", l.URL+"/c/v1"))
	client.CloseIdleConnections()
	goroutines, files := runtime.NumGoroutine(), descriptors()

	took := make([]time.Duration, count)
	next := make(chan int)
	var clients sync.WaitGroup
	for range atOnce {
		clients.Go(func() {
			for n := range next {
				left := l.leave(t, g, n)
				select {
				case at := <-l.gone[n]:
					took[n] = at.Sub(left)
				case <-time.After(10 * time.Second):
					t.Errorf("request %d: the instance is not told for 10 s", n)
				}
			}
		})
	}
	for n := range count {
		next <- n
	}
	close(next)
	clients.Wait()

	slices.Sort(took)
	t.Logf("instances were told after %v in the median, %v at the 99th percentile, %v at worst", took[count/2], took[count*99/100], took[count-1])
	if took[count/2] > 200*time.Millisecond {
		t.Errorf("instances were told after %v in the median, want at most 200 ms", took[count/2])
	}
	g.wantIdle(t)
	g.wantMarks(t, "clients left", 0, 0, 0)
	for n := range 3 {
		if v := g.state(n); v.phase != serving || v.results != 0 {
			t.Errorf("instance %d: got %+v, want it serving without a result", n, v)
		}
	}
	if l.count() != count {
		t.Errorf("instances got %d requests, want %d: none is sent twice", l.count(), count)
	}
	client.CloseIdleConnections()
	eventually(t, "goroutines and descriptors to be as before", func() bool {
		return runtime.NumGoroutine() <= goroutines+5 && descriptors() <= files+5
	})
	t.Logf("goroutines: %d before, %d after; descriptors: %d before, %d after", goroutines, runtime.NumGoroutine(), files, descriptors())
}
