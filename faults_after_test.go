package aigateway

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// brokenEvent is the event that ends a client's stream which broke for why.
func brokenEvent(why reason) string {
	return fmt.Sprintf("\n\ndata: {\"error\":{\"message\":%q,\"type\":\"server_error\",\"param\":null,\"code\":\"upstream_%s\"}}\n\n", brokenText(why), why)
}

// brokenChat is what a client gets of an answer that breaks when its first part is there.
type brokenChat struct {
	first, rest string
	err         error
	attempts    string
	late        time.Duration // from the break to the end
}

// chatUntil asks for a chat, reads n bytes of the answer, calls then, and reads on.
func (g *gateway) chatUntil(t *testing.T, stream bool, n int, then func()) brokenChat {
	t.Helper()
	res, err := client.Post(g.url+chatPath, "application/json", strings.NewReader(chatBody(stream)))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	first := make([]byte, n)
	if _, err := io.ReadFull(res.Body, first); err != nil || res.StatusCode != 200 {
		t.Fatalf("beginning of the answer: status %d %q, %v", res.StatusCode, first, err)
	}
	then()
	began := time.Now()
	rest, err := io.ReadAll(res.Body)
	return brokenChat{string(first), string(rest), err, res.Header.Get("X-Ai-Gateway-Attempts"), time.Since(began)}
}

// TestBreak guards that an answer which breaks after its first byte ends for the client
// as broken and at once: a stream with one event that says why, any other without a word.
// Nothing is tried again, and the instance has one failure more. Each instance of the
// fleet breaks, so that a second attempt would be seen.
func TestBreak(t *testing.T) {
	fin := func(*net.TCPConn) {}
	says := func(text string) func(*net.TCPConn) {
		return func(conn *net.TCPConn) { io.WriteString(conn, text) }
	}
	const half = `{"object":"chat.completion","choices":[`
	declaredStream := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n%s", len(chatStream), chatEvent)
	chunkedJSON := jsonHeader + "Transfer-Encoding: chunked\r\n\r\n" + chunked(half)
	for _, c := range []struct {
		name   string
		stream bool
		first  string // of the answer, as sent
		got    string // the same as the client gets it
		end    func(*net.TCPConn)
		why    reason
	}{
		{"stream, RST", true, streamHeader + chunked(chatEvent), chatEvent, reset, reasonReset},
		{"stream, FIN", true, streamHeader + chunked(chatEvent), chatEvent, fin, reasonReset},
		{"stream, FIN in an event", true, streamHeader + chunked(chatEvent), chatEvent, says(chunked(chatEvent)[:20]), reasonReset},
		{"stream, bad chunk", true, streamHeader + chunked(chatEvent), chatEvent, says("no number\r\n"), reasonMalformed},
		{"stream, shorter than declared", true, declaredStream, chatEvent, fin, reasonReset},
		{"JSON, RST", false, chunkedJSON, half, reset, reasonReset},
		{"JSON, FIN", false, chunkedJSON, half, fin, reasonReset},
		{"JSON, bad chunk", false, chunkedJSON, half, says("no number\r\n"), reasonMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			release := make(chan struct{})
			defer close(release)
			var fleet []*scripted
			for range 3 {
				fleet = append(fleet, startScripted(t, func(conn *net.TCPConn, _ *http.Request, _ []byte) bool {
					io.WriteString(conn, c.first)
					<-release
					c.end(conn)
					return false
				}))
			}
			inTime(t, func() string {
				g := startGateway(t, fleetOf(fleet[0].url, fleet[1].url, fleet[2].url))
				before := fleet[0].requests.Load() + fleet[1].requests.Load() + fleet[2].requests.Load()
				var late []time.Duration
				for range 9 {
					b := g.chatUntil(t, c.stream, len(c.got), func() { release <- struct{}{} })
					if b.first != c.got || b.err == nil || b.attempts != "1" {
						t.Errorf("got %q, then %v, after %s attempts; want %q, an abort, 1", b.first, b.err, b.attempts, c.got)
					}
					rest, told := strings.CutSuffix(b.rest, brokenEvent(c.why))
					if told != c.stream || !strings.HasPrefix(chatEvent, rest) {
						t.Errorf("got %q at the end, want an event for %q: %v", b.rest, c.why, c.stream)
					}
					late = append(late, b.late)
				}
				if marks := g.marks(); !slices.Equal(marks, []int{3, 3, 3}) {
					t.Errorf("got failures %v, want one for each of 9 requests", marks)
				}
				if asked := fleet[0].requests.Load() + fleet[1].requests.Load() + fleet[2].requests.Load() - before; asked != 9 {
					t.Errorf("instances got %d requests, want 9", asked)
				}
				if m := median(late); m > 100*time.Millisecond {
					return fmt.Sprintf("clients saw the end %v late, want at most 100 ms", m)
				}
				return ""
			})
		})
	}
}

// TestShorterThanDeclared guards that a plain answer which ends before its declared
// length is never taken for whole, by client or gateway.
func TestShorterThanDeclared(t *testing.T) {
	for _, size := range []int{0, 40, len(chatJSON) - 1} {
		short := func(conn *net.TCPConn, _ *http.Request, _ []byte) bool {
			fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n%s", jsonHeader, len(chatJSON), chatJSON[:size])
			return false
		}
		fleet := []*scripted{startScripted(t, short), startScripted(t, short), startScripted(t, short)}
		g := startGateway(t, fleetOf(fleet[0].url, fleet[1].url, fleet[2].url))
		for range 9 {
			if a := g.chat(false); !a.aborted || !strings.HasPrefix(chatJSON[:size], a.body) {
				t.Errorf("%d bytes: got %d %q, aborted %v, want an abort", size, a.status, a.body, a.aborted)
			}
		}
		asked := fleet[0].requests.Load() + fleet[1].requests.Load() + fleet[2].requests.Load()
		if marks := g.marks(); !slices.Equal(marks, []int{3, 3, 3}) || asked != 9 {
			t.Errorf("%d bytes: got failures %v in %d requests, want one for each of 9", size, marks, asked)
		}
	}
}

// TestStall guards that an answer which falls silent for timeouts.stall is ended then,
// as a broken one. It is a quarter of the row's here, with the same 0.2 s around it.
func TestStall(t *testing.T) {
	const limit = 500 * time.Millisecond
	silent := startScripted(t, func(conn *net.TCPConn, _ *http.Request, body []byte) bool {
		if wantsStream(body) {
			io.WriteString(conn, streamHeader+chunked(chatEvent))
		} else {
			io.WriteString(conn, jsonHeader+"Transfer-Encoding: chunked\r\n\r\n"+chunked(chatJSON[:40]))
		}
		untilClosed(conn)
		return false
	})
	g := startGateway(t, fleetWith(`"timeouts": {"stall": "500ms"}`, silent.url))
	asked := 0
	for _, c := range []struct {
		stream      bool
		first, rest string
	}{
		{true, chatEvent, brokenEvent(reasonStall)},
		{false, chatJSON[:40], ""},
	} {
		inTime(t, func() (late string) {
			b := g.chatUntil(t, c.stream, len(c.first), func() {})
			asked++
			if b.first != c.first || b.rest != c.rest || b.err == nil || b.attempts != "1" {
				t.Errorf("stream %v: got %q, then %q, then %v, want %q, %q and an abort", c.stream, b.first, b.rest, b.err, c.first, c.rest)
			}
			if v := g.state(0); v.failures != asked || silent.requests.Load() != int64(asked) {
				t.Errorf("stream %v: got %d failures in %d requests, want %d", c.stream, v.failures, silent.requests.Load(), asked)
			}
			// The client may have got the beginning late, after which it counts.
			if b.late < limit-100*time.Millisecond || b.late > limit+200*time.Millisecond {
				return fmt.Sprintf("stream %v: ended after %v of silence, want %v", c.stream, b.late, limit)
			}
			return ""
		})
	}
	eventually(t, "the silent connections to be closed", func() bool { return silent.connected() == 0 })
}

// connected is how many connections are open.
func (s *scripted) connected() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// TestSlowStream guards that a stream whose every gap is below timeouts.stall is never
// cut, how long it may last in all: three times as long here, with gaps of three quarters.
func TestSlowStream(t *testing.T) {
	const gap, limit, events = 1500 * time.Millisecond, 2 * time.Second, 4
	slow := startScripted(t, func(conn *net.TCPConn, _ *http.Request, _ []byte) bool {
		tick := time.NewTicker(gap)
		defer tick.Stop()
		io.WriteString(conn, streamHeader)
		for range events {
			io.WriteString(conn, chunked(chatEvent))
			<-tick.C
		}
		io.WriteString(conn, chunked(chatFinish+"data: [DONE]\n\n")+"0\r\n\r\n")
		return true
	})
	want := strings.Repeat(chatEvent, events) + chatFinish + "data: [DONE]\n\n"
	inTime(t, func() string {
		g := startGateway(t, fleetWith(fmt.Sprintf(`"timeouts": {"stall": %q, "first_token": %q}`, limit, limit), slow.url))
		var answers [10]answer
		var clients sync.WaitGroup
		for n := range answers {
			clients.Go(func() { answers[n] = g.chat(true) })
		}
		clients.Wait()
		for n, a := range answers {
			if a.aborted || a.body != want || a.took < events*gap { // the instance may have been late
				return fmt.Sprintf("stream %d: got %d bytes, aborted %v, in %v; want %d in %v", n, len(a.body), a.aborted, a.took, len(want), events*gap)
			}
		}
		if v := g.state(0); v.failures != 0 || v.results != 10 {
			t.Errorf("got %d failures in %d results, want none in 10", v.failures, v.results)
		}
		return ""
	})
}

// TestEncodedStream guards that a stream which the instance compresses, though it is
// asked not to, goes through as it is, each piece when it comes: the instance sends the
// next one when the client has the last. When it breaks, nothing is written into it.
func TestEncodedStream(t *testing.T) {
	for encoding, encode := range map[string]func(io.Writer) encoder{
		"gzip":    func(w io.Writer) encoder { return gzip.NewWriter(w) },
		"deflate": func(w io.Writer) encoder { e, _ := flate.NewWriter(w, 5); return e },
		"br":      func(w io.Writer) encoder { return scrambler{w} },
	} {
		t.Run(encoding, func(t *testing.T) {
			pieces := encoded(encode)
			turn := make(chan bool)
			defer close(turn)
			server := startWitness(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				w.Header().Set("Content-Encoding", encoding)
				for _, piece := range pieces {
					w.Write(piece)
					http.NewResponseController(w).Flush()
					if !<-turn {
						panic(http.ErrAbortHandler)
					}
				}
			})
			g := startGateway(t, fleetOf(server.URL+"/v1"))
			for _, whole := range []bool{true, false} {
				r, _ := http.NewRequest(http.MethodPost, g.url+chatPath, strings.NewReader(chatBody(true)))
				r.Header.Set("Accept-Encoding", "gzip, br")
				res, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				if got := res.Header.Get("Content-Encoding"); got != encoding {
					t.Errorf("got encoding %q", got)
				}
				for n, want := range pieces {
					got := make([]byte, len(want))
					if _, err := io.ReadFull(res.Body, got); err != nil || !bytes.Equal(got, want) {
						t.Fatalf("piece %d: got %q %v, want %q", n, got, err, want)
					}
					turn <- whole || n < len(pieces)-1
				}
				rest, err := io.ReadAll(res.Body)
				res.Body.Close()
				if len(rest) != 0 || (err == nil) != whole {
					t.Errorf("whole %v: got %q and %v at the end, want nothing more", whole, rest, err)
				}
			}
			if got := server.last(t).header.Get("Accept-Encoding"); got != "identity" {
				t.Errorf("instance was asked for %q, want identity", got)
			}
		})
	}
}

// encoder is a compressing writer.
type encoder interface {
	io.WriteCloser
	Flush() error
}

// scrambler stands for a compression that the gateway has no code for.
type scrambler struct{ io.Writer }

func (s scrambler) Write(p []byte) (int, error) {
	secret := bytes.Map(func(r rune) rune { return r ^ 1 }, p)
	return s.Writer.Write(secret)
}

func (scrambler) Flush() error { return nil }
func (scrambler) Close() error { return nil }

// encoded is chatStream in encoded pieces, one for each event.
func encoded(encode func(io.Writer) encoder) [][]byte {
	var out bytes.Buffer
	var pieces [][]byte
	w := encode(&out)
	events := strings.SplitAfter(strings.TrimSuffix(chatStream, "\n\n"), "\n\n")
	for n, event := range events {
		io.WriteString(w, event)
		w.Flush()
		if n == len(events)-1 {
			w.Close()
		}
		pieces = append(pieces, bytes.Clone(out.Bytes()))
		out.Reset()
	}
	return pieces
}

// TestSplitAnywhere guards that a stream reaches the client byte by byte as it was sent,
// wherever the network splits it: in the header, a chunk's size, a letter, a line end.
func TestSplitAnywhere(t *testing.T) {
	stream := strings.ReplaceAll(": größe\n\n"+chatEvent+"event: x\nid: 7\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"日本 😀 é\"}}]}\n\n"+
		chatFinish+"data: [DONE]\n\n", "\n", "\r\n")
	want := sha256.Sum256([]byte(stream))
	for segment := 1; segment <= 5; segment++ {
		for chunk := 1; chunk <= 5; chunk++ {
			var wire bytes.Buffer
			wire.WriteString(streamHeader)
			for piece := range slicesOf([]byte(stream), chunk) {
				wire.WriteString(chunked(string(piece)))
			}
			wire.WriteString("0\r\n\r\n")
			server := startScripted(t, func(conn *net.TCPConn, _ *http.Request, _ []byte) bool {
				for piece := range slicesOf(wire.Bytes(), segment) {
					conn.Write(piece) // a segment of its own: Go sets TCP_NODELAY
				}
				return true
			})
			g := startGateway(t, fleetOf(server.url))
			a := g.chat(true)
			if got := sha256.Sum256([]byte(a.body)); got != want || a.aborted || a.status != 200 {
				t.Errorf("segments of %d, chunks of %d bytes: got %d %q, aborted %v", segment, chunk, a.status, a.body, a.aborted)
			}
			if v := g.state(0); v.failures != 0 || v.results != 1 {
				t.Errorf("segments of %d, chunks of %d bytes: got %d failures in %d results", segment, chunk, v.failures, v.results)
			}
		}
	}
}
