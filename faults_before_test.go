package aigateway

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestNoAnswer guards that an instance which breaks the connection, or answers with what
// is no HTTP, costs no error: each time another instance takes the request, and each
// time counts as a failure, until ten have left the instance out.
func TestNoAnswer(t *testing.T) {
	says := func(text string) script {
		return func(conn *net.TCPConn, _ *http.Request, _ []byte) bool {
			io.WriteString(conn, text)
			return false
		}
	}
	for _, c := range []struct {
		name   string
		answer script
		want   reason
	}{
		{"RST", func(conn *net.TCPConn, _ *http.Request, _ []byte) bool { reset(conn); return false }, reasonReset},
		{"FIN", says(""), reasonReset},
		{"FIN in the header", says("HTTP/1.1 200 OK\r\nContent-Type: text/"), reasonReset},
		{"length no number", says(jsonHeader + "Content-Length: twelve\r\n\r\n" + chatJSON), reasonMalformed},
		{"length negative", says(jsonHeader + "Content-Length: -1\r\n\r\n" + chatJSON), reasonMalformed},
		{"two lengths", says(jsonHeader + "Content-Length: 12\r\nContent-Length: 13\r\n\r\n" + chatJSON), reasonMalformed},
		{"garbage", says("\x00\x01\x02\xff\xfe\r\n\r\n\r\n"), reasonMalformed},
		{"HTTP/0.9", says("<html>It works!</html>\r\n"), reasonMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad := startScripted(t, c.answer)
			g := startGateway(t, fleetOf(bad.url, startGood(t).url, startGood(t).url))
			report := g.load()
			report.allOK(t)
			v := g.state(0)
			if v.phase != ejected || v.why != c.want {
				t.Errorf("got %v for %q, want ejected for %q", v.phase, v.why, c.want)
			}
			if asked := int(bad.requests.Load()); v.failures != asked || bad.conns.Load() != bad.requests.Load() || asked < 10 || asked > 10+20 {
				t.Errorf("got %d failures in %d requests, want as many, 10 and those in flight", v.failures, asked)
			}
			if marks := g.marks(); marks[1] != 0 || marks[2] != 0 {
				t.Errorf("got failures %v, want none of the good ones", marks)
			}
		})
	}
}

// TestFirstToken guards that a stream moves on when an instance has not begun by
// timeouts.first_token, whether it says nothing at all, is not done with its header, or
// sends comments, roles and empty deltas; and that the deadline is for each attempt.
// It is a quarter of the row's here, with the same 0.2 s around it.
func TestFirstToken(t *testing.T) {
	const limit = 500 * time.Millisecond
	drip := func(text string) script {
		return func(conn *net.TCPConn, _ *http.Request, _ []byte) bool {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for n := range 1000 {
				<-tick.C
				if _, err := io.WriteString(conn, text[n%len(text):][:1]); err != nil {
					break
				}
			}
			return false
		}
	}
	role := chunked("data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n")
	for _, c := range []struct {
		name   string
		answer script
	}{
		{"silence", func(conn *net.TCPConn, _ *http.Request, _ []byte) bool { untilClosed(conn); return false }},
		{"header byte by byte", drip(streamHeader[:len(streamHeader)-2] + "X-Pad: " + strings.Repeat("x", 900))},
		{"comments", func(conn *net.TCPConn, r *http.Request, body []byte) bool {
			io.WriteString(conn, streamHeader+role)
			return drip(chunked(":\n\n"))(conn, r, body)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inTime(t, func() (late string) {
				stalled := []*scripted{startScripted(t, c.answer), startScripted(t, c.answer)}
				g := startGateway(t, fleetWith(`"timeouts": {"first_token": "500ms"}`, stalled[0].url, stalled[1].url, startGood(t).url))
				answers := make([]answer, 6)
				var clients sync.WaitGroup
				for n := range answers {
					clients.Go(func() { answers[n] = g.chat(true) })
				}
				clients.Wait()
				failures := 0
				for n, a := range answers {
					attempts, _ := strconv.Atoi(a.header.Get("X-Ai-Gateway-Attempts"))
					least := time.Duration(attempts-1) * limit
					if !a.whole() || a.took < least {
						t.Errorf("request %d: got %d after %d attempts and %v", n, a.status, attempts, a.took)
					}
					if a.took > least+200*time.Millisecond*time.Duration(attempts) {
						late = fmt.Sprintf("request %d took %v for %d attempts", n, a.took, attempts)
					}
					failures += attempts - 1
				}
				marks := g.marks()
				if failures < 6 || marks[0]+marks[1] != failures || marks[2] != 0 {
					t.Errorf("got failures %v, want %d at the first two", marks, failures)
				}
				if got := int(stalled[0].requests.Load() + stalled[1].requests.Load()); got != failures {
					t.Errorf("stalled instances got %d requests, want %d", got, failures)
				}
				return late
			})
		})
	}
}

// TestFirstTokenOfLast guards that a slow answer is better than none: where no other
// instance is left, a request is bounded by timeouts.total alone, and then gets a 504.
func TestFirstTokenOfLast(t *testing.T) {
	silence := func(conn *net.TCPConn, _ *http.Request, _ []byte) bool { untilClosed(conn); return false }
	var urls []string
	for range 3 {
		urls = append(urls, startScripted(t, silence).url)
	}
	inTime(t, func() (late string) {
		g := startGateway(t, fleetWith(`"timeouts": {"first_token": 0.2, "total": 1}`, urls...))
		a := g.chat(true)
		if a.status != 504 || !strings.Contains(a.body, `"upstream_timeout"`) || a.header.Get("X-Should-Retry") != "false" {
			t.Errorf("got %d %s, want 504 upstream_timeout", a.status, a.body)
		}
		attempts, marks := a.header.Get("X-Ai-Gateway-Attempts"), g.marks()
		if a.took < time.Second {
			t.Errorf("got the answer after %v, want 1 s", a.took)
		}
		if attempts != "3" || !slices.Equal(marks, []int{1, 1, 1}) || a.took > 1200*time.Millisecond { // a late attempt leaves no time for the next
			return fmt.Sprintf("got the answer after %s attempts and %v, with failures %v, want 3 and 1 s, and one each", attempts, a.took, marks)
		}
		return ""
	})
}

// TestFirstTokenOtherBack guards that a stream which has not begun in time, while no other
// instance could take it, moves on as soon as one can: not only one that could have when
// the request came.
func TestFirstTokenOtherBack(t *testing.T) {
	const rest = 700 * time.Millisecond
	inTime(t, func() (late string) {
		silent := startScripted(t, func(conn *net.TCPConn, _ *http.Request, _ []byte) bool { untilClosed(conn); return false })
		g := startGateway(t, fleetWith(`"timeouts": {"first_token": 0.2}`, silent.url, startGood(t).url))
		g.healthOf(1).rest.Store(int64(clock() + rest))
		a := g.chat(true)
		if attempts := a.header.Get("X-Ai-Gateway-Attempts"); !a.whole() || attempts != "2" || a.took < rest-50*time.Millisecond {
			t.Errorf("got %d %s after %s attempts and %v, want it whole after 2, and not before the rest is over", a.status, a.body, attempts, a.took)
		}
		if a.took > rest+250*time.Millisecond {
			return fmt.Sprintf("got the answer after %v, want %v and a quarter of first_token", a.took, rest)
		}
		return ""
	})
}

// TestHugeHeader guards that an answer's header which does not end, or thousands of
// answers before the answer, cost neither time nor memory; and that fifty pass.
func TestHugeHeader(t *testing.T) {
	long := strings.Repeat("x", 12<<20)
	early := "HTTP/1.1 102 Processing\r\nX-Step: " + long[:200] + "\r\n\r\n"
	end := fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(chatJSON), chatJSON)
	for _, c := range []struct {
		name, text string
		want       int
	}{
		{"12 MB in one field", jsonHeader + "X-Long: " + long + "\r\n" + end, 502},
		{"12 MB in fields", jsonHeader + strings.Repeat("X-Field: "+long[:100]+"\r\n", 12<<20/111) + end, 502},
		{"10,000 times 102", strings.Repeat(early, 10_000) + jsonHeader + end, 502},
		{"50 times 102", strings.Repeat(early, 50) + jsonHeader + end, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			sent := []byte(c.text)
			bad := startScripted(t, func(conn *net.TCPConn, _ *http.Request, _ []byte) bool {
				conn.Write(sent)
				return false
			})
			g := startGateway(t, fleetOf(bad.url))
			inTime(t, func() (late string) {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				a := g.chat(false)
				runtime.ReadMemStats(&after)
				if a.status != c.want || a.whole() != (c.want == 200) {
					t.Errorf("got %d %.100s, want %d", a.status, a.body, c.want)
				}
				// All that was allocated is more than the heap has grown by.
				if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
					t.Errorf("allocated %d bytes, want at most 4 MiB", grown)
				}
				if a.took > 500*time.Millisecond {
					return fmt.Sprintf("it took %v, want 0.5 s at most", a.took)
				}
				return ""
			})
		})
	}
}

// TestRedirect guards that an instance cannot send the gateway, its key or its clients
// anywhere: every redirect is a 502 that does not say where to.
func TestRedirect(t *testing.T) {
	target := startGood(t)
	statuses := []int{300, 301, 302, 303, 305, 307, 308}
	var next atomic.Int64
	redirect := func(conn *net.TCPConn, _ *http.Request, _ []byte) bool {
		status := statuses[int(next.Add(1))%len(statuses)]
		fmt.Fprintf(conn, "HTTP/1.1 %d Moved\r\nLocation: %s/chat/completions\r\nContent-Length: 0\r\n\r\n", status, target.url)
		return true
	}
	var urls []string
	for range 3 {
		urls = append(urls, startScripted(t, redirect).url)
	}
	g := startGateway(t, strings.ReplaceAll(fleetOf(urls...), `"model_name"`, `"api_key": "secret-key", "model_name"`))
	report := g.load()
	if report.status[502] != 300 {
		t.Errorf("got %v, want 300 times 502", report)
	}
	for n, a := range report.answers {
		if a.header.Get("Location") != "" || strings.Contains(a.body, target.address) {
			t.Fatalf("request %d: the client is told of %s: %v %s", n, target.address, a.header, a.body)
		}
	}
	out := 0
	for n := range urls {
		if v := g.state(n); v.phase == ejected && v.why == reasonRedirect {
			out++
		}
	}
	if out != 2 {
		t.Errorf("%d instances are ejected for their redirects, want all but the last", out)
	}
	if got := target.conns.Load(); got != 0 {
		t.Errorf("target got %d connections, want none", got)
	}
}
