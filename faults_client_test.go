package aigateway

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// startFlood runs an instance that streams events of 4 KiB, as many as it can be
// rid of, at most count.
func startFlood(t testing.TB, count int) (w *witness, event string) {
	t.Helper()
	event = "data: " + chunkOf(strings.Repeat("x", 4<<10), "") + "\n\n"
	return startWitness(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		if r.URL.RawQuery == "" {
			io.WriteString(w, chatStream)
			return
		}
		for range count {
			if _, err := io.WriteString(w, event); err != nil {
				return
			}
		}
		io.WriteString(w, chatFinish+"data: [DONE]\n\n")
	}), event
}

// heap returns the bytes in use.
func heapBytes() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// asksFor sends a request for a flood on a connection that takes in little at a
// time, and reads the answer's header.
func (g *gateway) asksFor(t testing.TB) (*talk, *http.Response) {
	t.Helper()
	k := g.dial(t)
	k.SetReadBuffer(64 << 10)
	k.r = bufio.NewReaderSize(k, 16)
	k.send(g.posts(chatPath+"?flood", jsonType, chatBody(true)), false)
	res, err := http.ReadResponse(k.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return k, res
}

// TestSlowReaders guards row C4: clients that read a byte now and then cost at most
// 256 KiB of memory each and disturb nobody, and their slowness is no silence of
// the instance, which may last 300 ms here. Ten times a second stands for once.
func TestSlowReaders(t *testing.T) {
	const clients, events = 8, 6400 // of many more the kernel prunes the buffers, and sends again later than the deadline
	w, event := startFlood(t, events)
	g := startGateway(t, fleetWith(`"record": {"enabled": false}, "timeouts": {"stall": 0.3}`, w.URL+"/v1"))
	before := heapBytes()
	answers := make([]*http.Response, clients)
	for n := range answers {
		_, answers[n] = g.asksFor(t)
	}
	one := make([]byte, 1)
	for range 12 { // four times the deadline
		time.Sleep(100 * time.Millisecond) // the clients' own pace
		for n, res := range answers {
			if _, err := io.ReadFull(res.Body, one); err != nil {
				t.Fatalf("slow reader %d: %v", n, err)
			}
		}
		for range 10 {
			if r := g.sends(t, chatPath, chatBody(true)); r.body != chatStream {
				t.Errorf("another client got status %d, %q and error %v, want a whole stream", r.status, r.body, r.err)
			}
		}
	}
	grown := (heapBytes() - before) / clients
	t.Logf("%d KiB of heap for each slow reader", grown>>10)
	if grown > 256<<10 {
		t.Errorf("got %d KiB of heap for each slow reader, want at most 256", grown>>10)
	}
	rest, err := io.ReadAll(answers[0].Body)
	if want := events*len(event) + len(chatFinish+"data: [DONE]\n\n") - 12; err != nil || len(rest) != want {
		t.Errorf("a slow reader that hurries at last: got %d bytes and error %v, want %d", len(rest), err, want)
	}
	g.wantMarks(t, "slow readers", 0)
}

// TestReaderStops guards row C4 for a client that stops reading: it is cut, the
// instance is told and not blamed. Caddy's limit of 60 s is 0.6 s here.
func TestReaderStops(t *testing.T) {
	w, _ := startFlood(t, 6400)
	g := startServers(t, fleetOf(w.URL+"/v1"), "http", "timeouts {\n write_idle 600ms\n }", "")
	var res *http.Response
	inTime(t, func() (late string) {
		_, res = g.asksFor(t)
		began := time.Now()
		g.wantIdle(t)
		// The client may have got the header late, after which it counts.
		if took := time.Since(began); took < 500*time.Millisecond || took > 3*time.Second {
			return fmt.Sprintf("client was cut after %v, want about 0.6 s", took)
		}
		return ""
	})
	if n, err := io.Copy(io.Discard, res.Body); err == nil {
		t.Errorf("client got %d bytes and a clean end, want an aborted transfer", n)
	}
	g.wantMarks(t, "reader stops", 0)
	if v := g.state(0); v.phase != serving {
		t.Errorf("instance: got %+v, want it serving", v)
	}
}

// TestUploadStops guards row C5: a client that stops in the middle of its body gets
// a 408, and no instance hears of it. Caddy's limit of 60 s is 0.4 s here.
func TestUploadStops(t *testing.T) {
	s := startGood(t)
	g := startServers(t, fleetOf(s.url), "http", "timeouts {\n read_body_idle 400ms\n }", "")
	whole := g.posts(chatPath, jsonType, chat(`,"user":"`+strings.Repeat("x", 100_000)+`"`))
	for _, raw := range []string{
		whole[:len(whole)/2],
		"POST " + chatPath + " HTTP/1.1\r\nHost: " + g.address() + "\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n{\"model\":\"m\"",
	} {
		inTime(t, func() (late string) {
			began := time.Now()
			k := g.dial(t)
			k.send(raw, false)
			res, body := k.receive(t, "POST")
			if res.StatusCode != http.StatusRequestTimeout || !strings.Contains(body, "request_timeout") {
				t.Errorf("%s\ngot %d %s, want 408", excerpt(raw), res.StatusCode, body)
			}
			if took := time.Since(began); took > 2*time.Second {
				return fmt.Sprintf("%s\ngot the answer after %v, want it after 0.4 s", excerpt(raw), took)
			}
			return ""
		})
	}
	if s.conns.Load() != 0 {
		t.Errorf("instance got %d connections, want none", s.conns.Load())
	}
	g.wantIdle(t)
}

// TestExpectContinue guards row C14: a client that asks first is told to go on once
// path, size and encoding have passed, and not before.
func TestExpectContinue(t *testing.T) {
	w := startWitness(t, nil)
	g := startGateway(t, fleetOf(w.URL+"/v1"), "max_body 1KiB")
	head := func(path, headers string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: " + g.address() + "\r\nExpect: 100-continue\r\n" + jsonType + headers + "\r\n"
	}
	k := g.dial(t)
	k.send(head(chatPath, "Content-Length: 13\r\n"), false)
	if line, err := k.r.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("got %q %v, want 100", line, err)
	}
	if line, err := k.r.ReadString('\n'); err != nil || line != "\r\n" {
		t.Fatalf("got %q %v, want the end of the interim answer", line, err)
	}
	if w.count() != 0 {
		t.Error("the instance was asked before the body came")
	}
	k.send(`{"model":"m"}`, false)
	if res, body := k.receive(t, "POST"); res.StatusCode != 200 || w.last(t).header.Get("Expect") != "" {
		t.Errorf("got %d %s, instance got Expect %q", res.StatusCode, body, w.last(t).header.Get("Expect"))
	}
	for _, c := range []struct {
		path, headers string
		want          int
	}{
		{chatPath, "Content-Length: 1025\r\n", 413},
		{"/metrics", "Content-Length: 13\r\n", 404},
		{chatPath, "Content-Length: 13\r\nContent-Encoding: gzip\r\n", 415},
	} {
		k := g.dial(t)
		k.send(head(c.path, c.headers), false)
		if res, body := k.receive(t, "POST"); res.StatusCode != c.want {
			t.Errorf("%s: got %d %s, want %d at once", c.path, res.StatusCode, body, c.want)
		}
	}
}

// TestSlowHeaders guards row C19: a hundred clients that send their header byte by
// byte disturb nobody and are cut. Caddy's limit of 60 s is 0.6 s here.
func TestSlowHeaders(t *testing.T) {
	w := startWitness(t, nil)
	g := startServers(t, fleetOf(w.URL+"/v1"), "http", "timeouts {\n read_header 600ms\n }", "")
	inTime(t, func() (late string) {
		began, asked := time.Now(), w.count()
		var slow sync.WaitGroup
		cut := make([]time.Duration, 100)
		for n := range cut {
			k := g.dial(t)
			slow.Go(func() {
				drip := time.NewTicker(20 * time.Millisecond)
				defer drip.Stop()
				ended := make(chan struct{})
				go func() { io.Copy(io.Discard, k.r); close(ended) }()
				io.WriteString(k, "POST "+chatPath+" HTTP/1.1\r\nHost: "+g.address()+"\r\nX-Slow: ")
				for {
					select {
					case <-ended:
						cut[n] = time.Since(began)
						return
					case <-drip.C:
						io.WriteString(k, "x")
					}
				}
			})
		}
		worst := time.Duration(0)
		for range 100 {
			at := time.Now()
			wantWhole(t, g.sends(t, chatPath, chat("")))
			worst = max(worst, time.Since(at))
		}
		slow.Wait()
		t.Logf("slowest of 100 others: %v; cut after %v to %v", worst, slices.Min(cut), slices.Max(cut))
		if got := w.count() - asked; got != 100 {
			t.Errorf("instance got %d requests, want 100", got)
		}
		if worst > 500*time.Millisecond || slices.Max(cut) > 2*time.Second {
			return fmt.Sprintf("slowest of the others: %v, want at most 0.5 s; slow clients were cut after up to %v, want about 0.6 s", worst, slices.Max(cut))
		}
		return ""
	})
}

// TestUsageUntouched guards row C21: nobody adds a usage chunk to a stream whose
// client did not ask for one, and nobody takes it from one that did.
func TestUsageUntouched(t *testing.T) {
	a := startStandIn(t, "a")
	g := startGateway(t, fleetOf(a.url))
	for members, want := range map[string]bool{"": false, `,"stream_options":{"include_usage":true}`: true} {
		body := chat(`,"stream":true` + members)
		r := g.sends(t, chatPath, body)
		wantWhole(t, r)
		if got := strings.Contains(r.body, `"usage"`); got != want {
			t.Errorf("%s: got usage %v in %q, want %v", members, got, r.body, want)
		}
		if got := a.Stats().Last.BodyLength; got != len(body) {
			t.Errorf("%s: instance got %d bytes, want the %d sent", members, got, len(body))
		}
	}
}

// TestRequestIDs guards row C22: every answer of the API has an id of the gateway's
// own, and a client's own id reaches the instance only if it is safe.
func TestRequestIDs(t *testing.T) {
	w := startWitness(t, nil)
	g := startGateway(t, fleetOf(w.URL+"/v1"))
	seen := make(map[string]bool)
	own := func(what string, h http.Header) {
		t.Helper()
		id := strings.Join(h["X-Ai-Gateway-Request-Id"], "|")
		if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || seen[id] {
			t.Errorf("%s: got id %q, want 32 new hex digits", what, id)
		}
		seen[id] = true
	}
	f := func(headers, want string) {
		t.Helper()
		k := g.dial(t)
		defer k.end()
		k.send(g.posts(chatPath, jsonType+headers, chat("")), false)
		res, body := k.receive(t, "POST")
		if got := strings.Join(w.last(t).header["X-Request-Id"], "|"); res.StatusCode != 200 || got != want {
			t.Errorf("%.100q: got %d %s, instance got id %q, want %q", headers, res.StatusCode, body, got, want)
		}
		own(headers, res.Header)
	}
	f("", "")
	f("X-Request-Id: req_abc-123.4\r\n", "req_abc-123.4")
	f("X-Request-Id: req_abc-123.4\r\n", "req_abc-123.4") // twice the same is the client's business
	f("X-Request-Id: "+strings.Repeat("a", 128)+"\r\n", strings.Repeat("a", 128))
	f("X-Request-Id: "+strings.Repeat("a", 129)+"\r\n", "")
	f("X-Request-Id: "+strings.Repeat("a", 20_000)+"\r\n", "")
	f("X-Request-Id: a\r\nX-Request-Id: b\r\n", "")
	f("X-Request-Id: a b\r\n", "")
	f("X-Request-Id: a\r\n\tb\r\n", "")
	f("X-Request-Id: a\"b\r\n", "")
	f("X-Request-Id: a%0d%0aSet-Cookie:x\r\n", "")
	f("X-Request-Id: \xe2\x80\xae\r\n", "")
	f("X-Request-Id: \xff\r\n", "")
	f("X-Request-Id:\r\n", "")
	f("X-AI-Gateway-Request-Id: 00000000000000000000000000000000\r\n", "")

	for _, c := range []struct {
		path, body string
		want       int
	}{
		{chatPath, `{"model":"unknown"}`, 404}, {chatPath, `{`, 400}, {"/v1/messages", `[]`, 400}, {"/sleep", `{}`, 404},
	} {
		r := g.sends(t, c.path, c.body)
		own(c.path+" "+c.body, r.header)
		if r.status != c.want {
			t.Errorf("%s %s: got %d, want %d", c.path, c.body, r.status, c.want)
		}
	}
	w.Close()
	own("unreachable", g.sends(t, chatPath, chat("")).header)
	g.put(0, func(h *health, now time.Duration) { h.rest.Store(int64(now + time.Hour)) })
	own("nobody", g.sends(t, chatPath, chat("")).header)
}

// TestTrailers guards the end of row C13: a chunked request with trailers is taken,
// and the instance gets a length and no trailer.
func TestTrailers(t *testing.T) {
	w := startWitness(t, nil)
	g := startGateway(t, fleetOf(w.URL+"/v1"))
	k := g.dial(t)
	k.send("POST "+chatPath+" HTTP/1.1\r\nHost: "+g.address()+"\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"+
		"5\r\n{\"mod\r\n8\r\nel\":\"m\"}\r\n0\r\nX-Sum: 1\r\nAuthorization: Bearer late\r\n\r\n", false)
	res, body := k.receive(t, "POST")
	got := w.last(t)
	if res.StatusCode != 200 || got.body != `{"model":"m"}` || got.length != 13 || got.header.Get("X-Sum")+got.header.Get("Authorization") != "" {
		t.Errorf("got %d %s, instance got %d bytes %s with %v, want 13 bytes and no trailer", res.StatusCode, body, got.length, got.body, got.header)
	}
}
