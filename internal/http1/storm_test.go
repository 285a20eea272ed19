package http1_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// whimsical answers each request with its own number and the sum of its body, or does
// something else: closes, resets, delays, answers early, answers twice, breaks off.
type whimsical struct {
	t       testing.TB
	answers atomic.Int64
}

func (w *whimsical) serve(_ int, c *net.TCPConn, br *bufio.Reader) {
	for {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		number := r.Header.Get("Number")
		say := func(status int, more, body string) {
			fmt.Fprintf(c, "HTTP/1.1 %d X\r\nNumber: %s\r\n%sContent-Length: %d\r\n\r\n%s", status, number, more, len(body), body)
			w.answers.Add(1)
		}
		whim := rand.IntN(24)
		if whim == 0 {
			say(413, "", "early")
			if rand.IntN(2) == 0 {
				return
			}
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client has given up
		}
		if got, want := sum(string(body)), r.Header.Get("Sum"); got != want {
			w.t.Errorf("request %s: body of %d bytes has sum %s, want %s", number, len(body), got, want)
		}
		if n := br.Buffered(); n > 0 && whim != 0 {
			text, _ := br.Peek(n)
			w.t.Errorf("request %s: %q comes before the answer has gone out", number, text[:min(n, 80)])
		}
		switch whim {
		case 0: // has been answered
		case 1:
			return
		case 2:
			reset(c)
			return
		case 3:
			time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
			say(200, "", number)
		case 4:
			say(200, "Connection: close\r\n", number)
			return
		case 5:
			say(200, "", number)
			return
		case 6:
			const answer = "HTTP/1.1 200 X\r\nNumber: %s\r\nContent-Length: %d\r\n\r\n%s"
			fmt.Fprintf(c, answer+answer, number, len(number), number, "nobody's", len("unasked"), "unasked")
		case 7:
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nNumber: %s\r\nContent-Length: 900\r\n\r\n%s", number, number)
			return
		case 8:
			fmt.Fprintf(c, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nNumber: %s\r\nTransfer-Encoding: chunked\r\n\r\n", number)
			for i := range len(number) {
				fmt.Fprintf(c, "1\r\n%c\r\n", number[i])
			}
			io.WriteString(c, "0\r\n\r\n")
		case 9:
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nNumber: %s\r\nContent-Length: %d\r\n\r\n%s", number, len(number)+100_000, number)
			io.WriteString(c, strings.Repeat(" ", 100_000)) // of which the client reads no more
		default:
			say(200, "", number)
		}
	}
}

// TestStorm guards under load that no answer reaches another request, that no
// connection serves two exchanges at once, that each body is closed once and not sent
// after, and that nothing is left behind, whatever server and client do.
func TestStorm(t *testing.T) {
	noLeaks(t)
	w := &whimsical{t: t}
	s := serve(t, w.serve)
	tr := newTransport(t)
	tr.MaxIdlePerHost, tr.IdleTimeout = 48, 20*time.Millisecond
	var whole, canceled, broken, next atomic.Int64
	bodies := make(chan *memory, 64*60)
	var clients sync.WaitGroup
	for range 64 {
		clients.Go(func() {
			for range 60 {
				number := fmt.Sprintf("n%d", next.Add(1))
				body, err := storm(t, tr, s.url, number)
				switch bodies <- body; {
				case err == nil:
					whole.Add(1)
				case errors.Is(err, context.Canceled):
					canceled.Add(1)
				default:
					broken.Add(1)
				}
			}
		})
	}
	clients.Wait()
	close(bodies)
	for body := range bodies {
		eventually(t, "each body to be closed", func() bool { return body.closed.Load() > 0 })
		if got := body.closed.Load(); got != 1 {
			t.Errorf("body is closed %d times, want once", got)
		}
	}
	t.Logf("%d whole, %d canceled, %d broken; %d answers on %d connections", whole.Load(), canceled.Load(), broken.Load(), w.answers.Load(), s.conns.Load())
	if whole.Load() < 2500 || canceled.Load() == 0 || broken.Load() == 0 {
		t.Error("that was no storm")
	}
	if s.conns.Load() > 2500 {
		t.Errorf("%d connections, want most requests to go out on kept ones", s.conns.Load())
	}
}

var largest = large(300_000)

// storm makes one exchange of any size and patience.
func storm(t testing.TB, tr http.RoundTripper, url, number string) (*memory, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	text := number + largest[:[]int{0, 500, 15_000, 33_000, 300_000}[rand.IntN(5)]]
	body := newMemory(text[:2], text[2:])
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		t.Error(err)
		return body, err
	}
	r.Body, r.Header = body, http.Header{"Number": {number}, "Sum": {sum(text)}}
	if rand.IntN(20) == 0 {
		time.AfterFunc(time.Duration(rand.IntN(2000))*time.Microsecond, cancel)
	}
	res, err := tr.RoundTrip(r)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("request %s hangs", number)
		}
		return body, err
	}
	defer res.Body.Close()
	if got := res.Header.Get("Number"); got != number {
		t.Errorf("request %s got the answer to %q", number, got)
	}
	got := make([]byte, len(number)) // reading no more leaves some answers unread
	if _, err := io.ReadFull(res.Body, got); err == nil && res.StatusCode == 200 && string(got) != number {
		t.Errorf("request %s got %q", number, got)
	}
	if res.ContentLength > 50_000 {
		return body, nil
	}
	_, err = io.Copy(io.Discard, res.Body)
	return body, err
}
