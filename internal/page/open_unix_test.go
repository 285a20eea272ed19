//go:build unix

package page

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestViewers is not a test but the process that BenchmarkOpenPages starts: it keeps
// pages open, as browsers do, until its input ends.
func TestViewers(t *testing.T) {
	url, count, ok := strings.Cut(os.Getenv("PAGE_VIEWERS"), " ")
	if !ok {
		t.Skip("skipped: it is for BenchmarkOpenPages")
	}
	n, err := strconv.Atoi(count)
	if err != nil {
		t.Fatal(err)
	}
	var opened sync.WaitGroup
	for range n {
		opened.Add(1)
		go func() {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
			if err != nil {
				panic(err)
			}
			r.Header.Set("Accept-Encoding", "gzip")
			answer, err := http.DefaultTransport.RoundTrip(r)
			if err != nil || answer.StatusCode != http.StatusOK {
				panic(fmt.Sprint("opening the feed: ", err, answer))
			}
			var head [64]byte
			if _, err := io.ReadFull(answer.Body, head[:]); err != nil {
				panic(err)
			}
			opened.Done()
			_, _ = io.Copy(io.Discard, answer.Body) // until the end
		}()
	}
	opened.Wait()
	fmt.Println("opened")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// BenchmarkOpenPages is what open pages cost a process that serves 50 instances of 20
// models, all of which change every second: its processor time, in percent of a core,
// over real sockets to another process. An operation is a second: run it with
// -benchtime 20x.
func BenchmarkOpenPages(b *testing.B) {
	for _, viewers := range []int{0, 1, 100} {
		b.Run(fmt.Sprintf("%dpages", viewers), func(b *testing.B) {
			s := large(20, 50)
			p := Handler(s.take, Options{})
			defer p.Close()
			server := httptest.NewServer(p)
			defer server.Close()
			cmd := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^TestViewers$", "-test.v")
			cmd.Env = append(os.Environ(), fmt.Sprintf("PAGE_VIEWERS=%s/feed %d", server.URL, viewers))
			in, err := cmd.StdinPipe()
			if err != nil {
				b.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				b.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			said := make([]byte, 0, 256)
			for !strings.Contains(string(said), "opened") {
				n, err := out.Read(said[len(said):cap(said)])
				if err != nil {
					b.Fatalf("the viewers said %s, then: %v", said, err)
				}
				said = said[:len(said)+n]
			}
			second := time.NewTicker(time.Second)
			defer second.Stop()
			before, began := processorTime(b), time.Now()
			for b.Loop() {
				<-second.C
				s.tick()
			}
			b.ReportMetric(100*(processorTime(b)-before).Seconds()/time.Since(began).Seconds(), "%core")
			b.ReportMetric(0, "ns/op")
			_ = in.Close()
			if err := cmd.Process.Kill(); err != nil {
				b.Fatal(err)
			}
			_ = cmd.Wait() // it has been killed
		})
	}
}

// processorTime returns that of this process, without its children.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
