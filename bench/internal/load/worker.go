//go:build linux

package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/chat"
	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/stats"
)

// worker is one connection to one target.
type worker struct {
	*tally
	run     *run
	address string
	request []byte // head and body, ready to be sent
	body    []byte // the part of request that is the body
	answer  chat.Answer
	stream  chat.Stream
	got     bytes.Buffer
	buf     []byte // unread bytes of a stream
	scratch []byte
	client  *client // nil when not connected
}

// tally is what a worker saw.
type tally struct {
	requests, events     int64
	latency, ttft, delay stats.Histogram
	itl                  stats.Histogram
	last                 time.Time // when the token before came
	errors               map[string]int
	wrong                int64
	sample               string // of what was wrong
	entry                Entry  // of the request under way
	journal              []Entry
}

// Key is the clients' key, for gateways that ask for one.
const Key = "bench-key-of-every-client"

func newTally() *tally { return &tally{errors: map[string]int{}} }

func newWorker(r *run, address string) *worker {
	w := &worker{tally: newTally(), run: r, address: address, buf: make([]byte, 0, 16<<10)}
	w.request = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nAccept: application/json\r\nContent-Type: application/json\r\n"+
		"Authorization: Bearer %s\r\nUser-Agent: bench\r\nContent-Length: %d\r\n\r\n", r.spec.Path, address, Key, len(r.request.Body))
	head := len(w.request)
	w.request = append(w.request, r.request.Body...)
	w.body = w.request[head:]
	return w
}

func (w *worker) disconnect() {
	if w.client != nil {
		_ = w.client.Close() // whatever it says, it is not used again
		w.client = nil
	}
}

// maxReplays is how often the libraries of clients send a request once more.
const maxReplays = 2

// connect opens a connection for a request that was due at start.
func (w *worker) connect(start time.Time) (err error) {
	if w.client, err = dial(w.address, w.run.spec.Timeout); err == nil {
		err = w.client.SetDeadline(start.Add(w.run.spec.Timeout))
	}
	return err
}

// loop sends one request after another, one at least, until it is time to stop.
func (w *worker) loop(ctx context.Context, stop time.Time) {
	for {
		w.once(time.Now())
		if time.Now().After(stop) || ctx.Err() != nil {
			return
		}
	}
}

// once sends a request that was due at start.
func (w *worker) once(start time.Time) {
	w.entry = Entry{Begun: start.UnixNano(), Stream: w.run.spec.Order.Stream}
	err := w.exchange(start)
	now := time.Now()
	switch {
	case err == nil:
		w.requests++
		w.latency.Add(now.Sub(start))
	case errors.Is(err, chat.ErrWrong):
		w.wrong++
		w.sample = err.Error()
	default:
		w.errors[cause(err)]++
	}
	if w.run.spec.Journal {
		w.note(now, err)
	}
	if err != nil {
		w.disconnect()
		time.Sleep(10 * time.Millisecond) // keeps errors from spinning
	}
}

// note writes the request under way down.
func (w *worker) note(now time.Time, err error) {
	w.entry.Ended = now.UnixNano()
	if err != nil {
		w.entry.Error = cause(err)
	}
	w.journal = append(w.journal, w.entry)
}

// cause names an error so that the same causes count as one.
func cause(err error) string {
	var (
		timeout net.Error
		op      *net.OpError
	)
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timed out"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed early"
	case errors.As(err, &op):
		return op.Err.Error() // without the addresses, which differ each time
	}
	return err.Error()
}

// exchange sends one request, due at start, and verifies its answer.
func (w *worker) exchange(start time.Time) error {
	spec := w.run.spec
	if w.client != nil && spec.Replay && w.client.over() {
		w.disconnect()
	}
	if w.client == nil {
		if err := w.connect(start); err != nil {
			return err
		}
	}
	seed := w.run.seed.Add(1)
	w.run.request.SetSeed(w.body, seed)
	w.answer.Reset(seed, []byte(chat.Model), w.run.request.Fingerprint, spec.Order)
	if err := w.client.SetDeadline(start.Add(spec.Timeout)); err != nil {
		return err
	}
	r, err := w.client.do(w.request)
	for spec.Replay && w.entry.Replayed < maxReplays && errors.Is(err, errNothing) {
		w.entry.Replayed++
		w.disconnect()
		if err = w.connect(start); err == nil {
			r, err = w.client.do(w.request)
		}
	}
	if err != nil {
		return err
	}
	w.entry.Head = time.Now().UnixNano()
	w.entry.Status, w.entry.Upstream, w.entry.Attempts, w.entry.ID = r.status, r.upstream, r.attempts, r.id
	switch {
	case r.status != 200:
		return fmt.Errorf("status %d", r.status)
	case r.sse != spec.Order.Stream:
		return fmt.Errorf("%w: content type", chat.ErrWrong)
	case r.sse:
		err = w.readStream(r.body, start)
	default:
		w.got.Reset()
		if _, err = w.got.ReadFrom(r.body); err == nil {
			w.scratch, err = chat.CheckWhole(&w.answer, w.got.Bytes(), w.scratch)
		}
	}
	if r.close {
		w.disconnect()
	}
	return err
}

// readStream verifies a stream as it arrives.
func (w *worker) readStream(body io.Reader, start time.Time) error {
	w.stream.Reset(&w.answer)
	w.buf = w.buf[:0]
	for {
		n, err := body.Read(w.buf[len(w.buf):cap(w.buf)])
		w.buf = w.buf[:len(w.buf)+n]
		used, verr := w.takeEvents(start, time.Now())
		w.buf = w.buf[:copy(w.buf, w.buf[used:])]
		switch {
		case verr != nil:
			return verr
		case err == io.EOF:
			return w.stream.End(w.buf)
		case err != nil:
			if eerr := w.stream.End(w.buf); errors.Is(eerr, chat.ErrEvent) {
				return eerr // it said so before it broke
			}
			return err
		}
	}
}

// takeEvents verifies the events that have arrived in whole, and returns the
// number of bytes that they took.
func (w *worker) takeEvents(start, now time.Time) (used int, err error) {
	for {
		e, err := w.stream.Next(w.buf[used:])
		if err != nil || e.Size == 0 {
			return used, err
		}
		used += e.Size
		w.events++
		if e.First {
			w.ttft.Add(now.Sub(start))
		} else if e.Token {
			w.itl.Add(now.Sub(w.last))
		}
		if e.Token {
			w.last = now
		}
		if e.Sent > 0 {
			w.delay.Add(time.Duration(now.UnixNano() - e.Sent))
		}
	}
}
