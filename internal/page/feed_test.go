package page

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// viewer is a feed that is read as a browser reads it.
type viewer struct {
	t     *testing.T
	lines *bufio.Reader
	close func()
}

// watch opens a feed of a real server.
func watch(t *testing.T, url string, header ...string) *viewer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept-Encoding", "identity")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("got status %d and header %v", answer.StatusCode, answer.Header)
	}
	body := io.Reader(answer.Body)
	if answer.Header.Get("Content-Encoding") == "gzip" {
		if body, err = gzip.NewReader(answer.Body); err != nil {
			t.Fatal(err)
		}
	}
	return &viewer{t, bufio.NewReaderSize(body, 1<<20), func() { cancel(); answer.Body.Close() }}
}

// next returns the next event and its pieces.
func (v *viewer) next() (string, map[string]string) {
	v.t.Helper()
	event := ""
	for {
		line, err := v.lines.ReadString('\n')
		if err != nil {
			v.t.Fatalf("reading the feed: %v", err)
		}
		if name, ok := strings.CutPrefix(line, "event: "); ok {
			event = strings.TrimSpace(name)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			pieces := make(map[string]string)
			if err := json.Unmarshal([]byte(data), &pieces); err != nil {
				v.t.Fatalf("data %.100q: %v", data, err)
			}
			return event, pieces
		}
	}
}

func TestFeed(t *testing.T) {
	for _, coding := range []string{"identity", "gzip"} {
		t.Run(coding, func(t *testing.T) {
			s := newSample()
			p := newPage(t, s.take, Options{Base: "/ui/"})
			server := httptest.NewServer(p)
			defer server.Close()
			english := watch(t, server.URL+"/ui/feed", "Accept-Encoding", coding)
			chinese := watch(t, server.URL+"/ui/feed?lang=zh", "Accept-Encoding", coding)
			for v, want := range map[*viewer]string{english: "Serving, with problems", chinese: "可以服务，但有问题"} {
				event, pieces := v.next()
				if event != "pieces" || len(pieces) != 1 || !strings.Contains(pieces["main"], want) {
					t.Fatalf("first: got event %q with %v", event, slices.Collect(maps.Keys(pieces)))
				}
			}
			s.set("h200-a", func(in *Instance) { in.State, in.Reason = Ejected, "cut" })
			for v, want := range map[*viewer]string{english: "answer cut off", chinese: "回答被截断"} {
				_, pieces := v.next()
				id := "i-" + key("deepseek-v3.2", key("h200-a", "10.20.1.21:30000/v1"))
				if !strings.Contains(pieces[id], want) {
					t.Errorf("the row of the instance is %q, want %q in it", pieces[id], want)
				}
				if got, want := slices.Sorted(maps.Keys(pieces)), []string{id, "m-" + key("deepseek-v3.2"), "verdict"}; !slices.Equal(got, want) {
					t.Errorf("got pieces %v, want %v", got, want)
				}
			}
			p.Close()
			for _, v := range []*viewer{english, chinese} {
				if rest, err := io.ReadAll(v.lines); err != nil || strings.TrimSpace(string(rest)) != "" {
					t.Errorf("after Close: got %q and error %v, want a whole end", rest, err)
				}
			}
			if w := get(t, p, "/ui/feed"); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
				t.Errorf("a feed after Close: got status %d and header %v", w.Code, w.Header())
			}
			if w := get(t, p, "/ui/"); w.Code != http.StatusOK {
				t.Errorf("the page after Close: got status %d", w.Code)
			}
		})
	}
}

// TestFeedReload: a page of another version of the program is told to load itself anew.
func TestFeedReload(t *testing.T) {
	p := newPage(t, newSample().take, Options{})
	if got, want := get(t, p, "/feed?assets=000000000000").Body.String(), "event: reload\ndata: null\n\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// sink is a viewer's side that can be held up.
type sink struct {
	header http.Header
	mu     sync.Mutex
	got    []string
	gate   chan struct{} // if not nil, each write takes one
}

func newSink(gate chan struct{}) *sink           { return &sink{header: make(http.Header), gate: gate} }
func (s *sink) Header() http.Header              { return s.header }
func (s *sink) WriteHeader(int)                  {}
func (s *sink) Flush()                           {}
func (s *sink) SetWriteDeadline(time.Time) error { return nil }
func (s *sink) messages() []string               { s.mu.Lock(); defer s.mu.Unlock(); return slices.Clone(s.got) }

func (s *sink) follow(ctx context.Context, p *Page) {
	p.ServeHTTP(s, httptest.NewRequestWithContext(ctx, http.MethodGet, "/feed", nil))
}

func (s *sink) Write(b []byte) (int, error) {
	if s.gate != nil {
		<-s.gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, string(b))
	return len(b), nil
}

// TestFeedProducer: the gateway is asked once a second for all viewers together, and
// not at all without any.
func TestFeedProducer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		s := newSample()
		p := Handler(func() *Status { asked.Add(1); s.tick(); return s.take() }, Options{})
		time.Sleep(time.Minute)
		if n := asked.Load(); n != 0 {
			t.Errorf("asked %d times without a viewer", n)
		}
		for range 2 { // it starts again
			asked.Store(0)
			ctx, cancel := context.WithCancel(t.Context())
			sinks := make([]*sink, 100)
			for i := range sinks {
				sinks[i] = newSink(nil)
				go sinks[i].follow(ctx, p)
			}
			time.Sleep(10*time.Second + time.Millisecond)
			if n := asked.Load(); n != 11 {
				t.Errorf("100 viewers for 10 s: asked %d times, want 11", n)
			}
			for i, v := range sinks {
				if n := len(v.messages()); n != 11 {
					t.Errorf("viewer %d got %d messages, want 11", i, n)
				}
			}
			cancel()
			synctest.Wait()
			time.Sleep(time.Minute)
			if n := asked.Load(); n != 11 {
				t.Errorf("asked %d times after the last viewer has gone", n-11)
			}
		}
		p.Close()
	})
}

func TestFeedHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSample()
		p := Handler(s.take, Options{})
		v := newSink(nil)
		go v.follow(t.Context(), p)
		time.Sleep(45500 * time.Millisecond)
		if got := v.messages(); len(got) != 4 || got[1] != ":\n\n" || got[3] != ":\n\n" {
			t.Errorf("45 s without a change: got %d messages, want the first and three heartbeats", len(got))
		}
		s.set("gpu-01", func(in *Instance) { in.InFlight++ })
		time.Sleep(10 * time.Second)
		if got := v.messages(); len(got) != 5 || !strings.HasPrefix(got[4], "event: pieces\n") {
			t.Errorf("after a change: got %d messages, want one more", len(got)-4)
		}
		time.Sleep(5 * time.Second) // 60.5 s: a heartbeat would be due, had there been no change
		if n := len(v.messages()); n != 5 {
			t.Errorf("a heartbeat came %d messages after a change", n-5)
		}
		p.Close()
	})
}

// TestFeedSlowViewer: who cannot keep up is sent the newest, and holds up nobody.
func TestFeedSlowViewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSample()
		p := Handler(s.take, Options{})
		gate := make(chan struct{})
		slow, fast := newSink(gate), newSink(nil)
		go slow.follow(t.Context(), p)
		go fast.follow(t.Context(), p)
		time.Sleep(time.Millisecond)
		gate <- struct{}{} // the first message
		for i := range 20 {
			s.set("gpu-01", func(in *Instance) { in.InFlight = int64(1000 + i) })
			time.Sleep(time.Second)
		}
		gate <- struct{}{} // that of the first change, which it was busy with
		gate <- struct{}{}
		synctest.Wait()
		if got := fast.messages(); len(got) != 21 {
			t.Errorf("the fast viewer got %d messages, want 21", len(got))
		}
		got := slow.messages()
		if len(got) != 3 || !strings.Contains(got[2], `{"main":`) || !strings.Contains(got[2], "1,019") || strings.Contains(got[2], "1,018") {
			t.Errorf("the slow viewer got %d messages, want the first, one change, and the newest as a whole", len(got))
		}
		s.set("gpu-01", func(in *Instance) { in.InFlight = 2000 })
		time.Sleep(time.Second)
		gate <- struct{}{}
		synctest.Wait()
		if got := slow.messages(); len(got) != 4 || strings.Contains(got[3], `"main"`) || !strings.Contains(got[3], "2,000") {
			t.Error("the slow viewer does not get changes again once it has caught up")
		}
		close(gate)
		p.Close()
	})
}

// pipes is a listener of connections in memory, on which nothing is buffered.
type pipes chan net.Conn

func (l pipes) Close() error   { return nil }
func (l pipes) Addr() net.Addr { return &net.TCPAddr{} }
func (l pipes) Accept() (net.Conn, error) {
	if c, ok := <-l; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

// TestFeedStuckViewer: one that reads nothing is given up after feedPatience, and
// Close waits for feedGrace at most.
func TestFeedStuckViewer(t *testing.T) {
	f := func(name string, end func(p *Page), want time.Duration) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int64
				s := newSample()
				p := Handler(func() *Status { asked.Add(1); return s.take() }, Options{})
				listener := make(pipes, 1)
				server := &http.Server{Handler: p}
				go server.Serve(listener)
				ours, theirs := net.Pipe()
				listener <- theirs
				if _, err := io.WriteString(ours, "GET /feed HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // the answer's first byte is not read
				began := time.Now()
				end(p)
				if took := time.Since(began); took > want {
					t.Errorf("took %v, want %v at most", took, want)
				}
				before := asked.Load()
				time.Sleep(10 * time.Second)
				if n := asked.Load(); n != before {
					t.Errorf("the gateway is asked %d times more", n-before)
				}
				ours.Close()
				close(listener)
				server.Close()
				p.Close()
			})
		})
	}
	f("patience", func(*Page) { time.Sleep(feedPatience + 2*feedGrace) }, feedPatience+2*feedGrace)
	f("close", func(p *Page) { time.Sleep(5 * time.Second); p.Close() }, 5*time.Second+2*feedGrace)
}

// TestFeedKeepsConnections: after a feed has ended its connection serves other
// requests, with no deadline left over.
func TestFeedKeepsConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := Handler(newSample().take, Options{})
		listener := make(pipes)
		server := &http.Server{Handler: p}
		go server.Serve(listener)
		connections := 0
		client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			connections++
			ours, theirs := net.Pipe()
			listener <- theirs
			return ours, nil
		}}}
		for _, path := range []string{"/feed?assets=old", "/", "/feed?assets=old", "/"} {
			answer, err := client.Get("http://page" + path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, answer.Body); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			answer.Body.Close()
			time.Sleep(2 * feedPatience)
		}
		if connections != 1 {
			t.Errorf("got %d connections, want 1", connections)
		}
		client.CloseIdleConnections()
		close(listener)
		server.Close()
		p.Close()
	})
}

// TestFeedManyViewers: 100 viewers over real sockets come, see a change, and leave
// nothing behind.
func TestFeedManyViewers(t *testing.T) {
	before := runtime.NumGoroutine()
	s := newSample()
	p := Handler(s.take, Options{})
	server := httptest.NewServer(p)
	viewers := make([]*viewer, 100)
	for i := range viewers {
		viewers[i] = watch(t, server.URL+"/feed", "Accept-Encoding", []string{"gzip", "identity"}[i%2])
	}
	for _, v := range viewers {
		v.next()
	}
	s.set("gpu-01", func(in *Instance) { in.InFlight = 4711 })
	for i, v := range viewers {
		if _, pieces := v.next(); !strings.Contains(strings.Join(slices.Collect(maps.Values(pieces)), ""), "4,711") {
			t.Errorf("viewer %d does not see the change", i)
		}
	}
	for _, v := range viewers[:50] {
		v.close()
	}
	p.Close()
	for _, v := range viewers[50:] {
		v.close()
	}
	server.Close()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	deadline := time.Now().Add(20 * time.Second)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	if after := runtime.NumGoroutine(); after > before {
		stacks := make([]byte, 1<<16)
		t.Errorf("%d goroutines are left\n%s", after-before, stacks[:runtime.Stack(stacks, true)])
	}
}

// BenchmarkFeed is one second's work of the feed while all instances have changed:
// look, render, and write to all viewers.
func BenchmarkFeed(b *testing.B) {
	for _, c := range []struct {
		name                       string
		models, instances, viewers int
	}{
		{"50instances/1viewer", 20, 50, 1},
		{"50instances/100viewers", 20, 50, 100},
		{"1000instances/100viewers", 20, 1000, 100},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := large(c.models, c.instances)
			p := Handler(s.take, Options{})
			defer p.Close()
			// The viewers are counted in, but the looks are the benchmark's.
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			p.feed.mu.Lock()
			p.feed.stop = cancel
			p.feed.mu.Unlock()
			all := make([]*counter, c.viewers)
			for i := range all {
				all[i] = &counter{header: make(http.Header), wrote: make(chan int, 1)}
				r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/feed", nil)
				r.Header.Set("Accept-Encoding", "gzip")
				go p.ServeHTTP(all[i], r)
				<-all[i].wrote // the head
			}
			round := func() (bytes int) {
				s.tick()
				p.feed.look(ctx)
				for _, v := range all {
					bytes = <-v.wrote
				}
				return bytes
			}
			round()
			b.ReportAllocs()
			bytes := 0
			for b.Loop() {
				bytes += round()
			}
			b.ReportMetric(float64(bytes)/float64(b.N), "B/viewer")
		})
	}
}

// counter tells of each write.
type counter struct {
	header http.Header
	wrote  chan int
}

func (c *counter) Header() http.Header         { return c.header }
func (c *counter) WriteHeader(int)             {}
func (c *counter) Flush()                      {}
func (c *counter) Write(b []byte) (int, error) { c.wrote <- len(b); return len(b), nil }
