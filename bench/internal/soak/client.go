package soak

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Client sends requests to a gateway. It may be used at once from many workers.
type Client struct {
	address string
	key     string
	http    *http.Client
	two     *http.Client // speaks HTTP/2
}

// NewClient returns a client of the gateway at host:port, for so many requests at once.
func NewClient(address, key string, workers int) *Client {
	var two http.Protocols
	two.SetUnencryptedHTTP2(true)
	return &Client{address: address, key: key, http: newHTTP(workers, nil), two: newHTTP(workers, &two)}
}

func newHTTP(workers int, protocols *http.Protocols) *http.Client {
	return &http.Client{
		// An answer that has not ended by then never will.
		Timeout: 2 * time.Minute,
		Transport: &http.Transport{
			MaxIdleConnsPerHost: workers, DisableCompression: true, IdleConnTimeout: 30 * time.Second, Protocols: protocols,
			// A request of 4 MB must not wait in small pieces.
			WriteBufferSize: 64 << 10,
		},
	}
}

// http2 is the client that speaks HTTP/2.
func (c *Client) http2() *Client { return &Client{address: c.address, key: c.key, http: c.two} }

// Close ends the client's idle connections.
func (c *Client) Close() {
	c.http.CloseIdleConnections()
	c.two.CloseIdleConnections()
}

// Outcome is how a request ended.
type Outcome struct {
	Begun, Ended time.Time
	End          string
	Acted        bool   // an instance acted its fault out, as far as the answer tells
	Tokens       int    // that the client got
	Upstream     string // that answered, as the gateway tells
	ID           string // of the request, likewise
	Refusal      string // the beginning of an error answer
	Attempts     string // as the gateway counts them
	Replayed     int    // times that it was sent again; see Do
}

// replayPause lets the other connections that a reload has closed be noticed as well.
// The official libraries wait for half a second.
const replayPause = 100 * time.Millisecond

// Do sends the request and reads its answer. As the official libraries do, it sends
// it again, twice at most, when its connection ended without a byte of an answer:
// Caddy closes kept connections at a reload.
func (c *Client) Do(ctx context.Context, p *Plan) Outcome {
	o := Outcome{Begun: time.Now()}
	for {
		if p.fault != nil && p.fault.client != nil {
			p.fault.client(c, p, &o)
		} else {
			c.ask(ctx, p, &o, nil)
		}
		again := strings.HasPrefix(o.End, Nothing) && !p.mayEnd(Nothing) && o.Replayed < 2
		if !again {
			o.Ended = time.Now()
			return o
		}
		o.Replayed++
		select {
		case <-time.After(replayPause):
		case <-ctx.Done():
		}
	}
}

// mayEnd reports whether the plan's fault can end so.
func (p *Plan) mayEnd(end string) bool { return p.fault.allows(end, true) }

// Missed says what is wrong with an outcome, "" if nothing is.
func (p *Plan) Missed(o *Outcome) string {
	if p.fault.allows(o.End, o.Acted) {
		return ""
	}
	return "got " + o.End + ", want " + p.fault.want(o.Acted)
}

// errLeave ends the reading of an answer whose client leaves.
var errLeave = errors.New("the client leaves")

// ask makes one ordinary request. Each is called after each token of a stream.
func (c *Client) ask(ctx context.Context, p *Plan, o *Outcome, each func(tokens int) error) {
	body := p.body()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.address+p.api.path, bytes.NewReader(body))
	if err != nil {
		o.End = err.Error()
		return
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+c.key)
	for name, value := range p.orders() {
		r.Header.Set(name, value)
	}
	res, err := c.http.Do(r)
	if err != nil {
		o.End = unanswered(err)
		return
	}
	defer res.Body.Close()
	o.Acted = res.Header.Get(actedField) != ""
	o.Upstream, o.ID = res.Header.Get("X-Ai-Gateway-Upstream"), res.Header.Get("X-Ai-Gateway-Request-Id")
	o.Attempts = res.Header.Get("X-Ai-Gateway-Attempts")
	if res.StatusCode != http.StatusOK {
		o.End = status(res.StatusCode)
		o.refusal(res.Body)
		return
	}
	var answer io.Reader = res.Body
	if res.Header.Get("Content-Encoding") == "gzip" {
		if answer, err = gzip.NewReader(res.Body); err != nil {
			o.End = "wrong: " + err.Error()
			return
		}
	}
	var g reading
	stream := strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream")
	if stream {
		err = g.stream(answer, each)
	} else {
		err = g.whole(answer)
	}
	o.Tokens = g.tokens
	if errors.Is(err, errLeave) || ctx.Err() != nil {
		o.End = Left
		return
	}
	o.End = g.end(p, stream, err)
}

// refusal reads an error answer. How it ends is nobody's concern.
func (o *Outcome) refusal(body io.Reader) {
	b, _ := io.ReadAll(io.LimitReader(body, 1<<20))
	o.Refusal = string(b[:min(len(b), 300)])
}

// unanswered is the end of a request that no answer came to.
func unanswered(err error) string {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return Left
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, net.ErrClosed), strings.Contains(err.Error(), "server closed idle connection"):
		return Nothing
	}
	return "no answer: " + err.Error()
}

// Refused reports whether the gateway has told the client of an error before anything of
// a model's answer, as it does where it can ask no instance, or no other one.
func (o *Outcome) Refused() bool {
	return o.Tokens == 0 && (o.End == Told || slices.Contains([]string{status(429), status(500), status(502), status(503), status(504)}, o.End))
}

// Records is how many records the request must have: one, if the client got any of a
// model's answer.
func (o *Outcome) Records() int {
	if o.Tokens > 0 {
		return 1
	}
	return 0
}
