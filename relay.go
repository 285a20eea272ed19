package aigateway

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
)

// maxHeld bounds what is held back of a stream before the model begins, in bytes.
// A stream that has said more without content goes on its way.
const maxHeld = 64 << 10

// relay is the body of an answer on its way to the client. It follows a stream's
// events, holds it back until the model begins, and ends it visibly if it breaks.
// It belongs to the request's goroutine.
type relay struct {
	attempt *attempt
	inner   io.ReadCloser
	stream  *openai.Stream // nil if the answer is no stream, or cannot be read
	held    *[]byte        // buffer of what has been read and not given yet
	rest    []byte         // the part of it to be given next
	end     verdict        // if nothing goes wrong
	failed  error          // to be returned once rest is given
	pace    *pace          // of a stream that the client gets, or nil
	tail    *[]byte        // the end of a plain answer, for its usage, or nil
	cutter  openai.Cutter  // in use if the attempt asks for the usage
}

func (a *attempt) newRelay(res *http.Response) *relay {
	a.relay = relay{attempt: a, inner: res.Body, end: whole}
	a.exchange.meter = meter{}
	return &a.relay
}

// hold reads the beginning of a stream until the model begins. Till then nothing
// has been sent, and with an error another instance can be asked.
func (rl *relay) hold() error {
	a := rl.attempt
	rl.stream = openai.NewStream(a.exchange.route.stream, a.exchange.severalChoices())
	rl.held = pieceBuffers.Get().(*[]byte)
	buf, n := *rl.held, 0
	for {
		m, err := rl.read(buf[n:])
		a.exchange.working = clock()
		if m > 0 {
			rl.stream.Write(buf[n : n+m])
			n += m
		}
		if errors.Is(err, io.EOF) {
			rl.stream.Close()
		}
		rl.rest = buf[:n]
		if rl.stream.Begun() {
			rl.failed = err
			return nil
		}
		if status, failed := rl.stream.Failed(); failed {
			if v := judgeStreamError(status); v.elsewhere && a.exchange.another() {
				return rl.drop(v)
			}
			rl.failed = err
			return nil // nobody tells the client better
		}
		switch {
		case rl.stream.Ended():
			rl.failed = err
			return nil
		case errors.Is(err, io.EOF):
			return rl.drop(failure(reasonBadAnswer))
		case err != nil:
			return rl.drop(judgeError(err, a.ctx))
		case n >= maxHeld:
			return nil
		case n == len(buf):
			larger := make([]byte, 2*len(buf))
			copy(larger, buf)
			buf = larger
			*rl.held = buf
		}
	}
}

// peek reads the first piece of an answer of unknown length: one that is empty,
// or breaks at once, need not be the client's.
func (rl *relay) peek() error {
	rl.held = pieceBuffers.Get().(*[]byte)
	n, err := rl.read(*rl.held)
	rl.attempt.exchange.working = clock()
	rl.keepTail((*rl.held)[:n])
	switch rl.rest = (*rl.held)[:n]; {
	case n == 0 && errors.Is(err, io.EOF) && rl.attempt.exchange.ask.form == askJSON:
		return rl.drop(failure(reasonBadAnswer))
	case n == 0 && err != nil && !errors.Is(err, io.EOF):
		return rl.drop(judgeError(err, rl.attempt.ctx))
	}
	rl.failed = err
	return nil
}

// drop gives the answer up before anything of it has been sent.
func (rl *relay) drop(v verdict) error {
	a := rl.attempt
	rl.Close() //nolint:errcheck // nothing of it is wanted
	if a.clientGone() {
		a.settle(canceled)
		return a.exchange.request.Context().Err()
	}
	a.settle(v)
	return &attemptError{v}
}

// commit begins to give the answer to the client.
func (rl *relay) commit() {
	a := rl.attempt
	now := clock()
	a.begins(now)
	if x := a.exchange; x.ask.stream {
		x.pool.pulse.begins(now-x.began, x.snap.slowFirstToken)
	}
	a.exchange.meter.begun = true
	a.watch.begin(now, reasonStall, a.instance.deadlines.stall)
	if rl.stream != nil && rl.stream.Begun() {
		a.instance.state.slow().begins(len(a.exchange.body.bytes), now-a.begun, now)
		rl.pace = paces.Get().(*pace)
	}
	rl.rest = rl.given(rl.rest, rl.failed != nil)
	if rl.stream != nil && rl.stream.Ended() {
		rl.finish()
	}
}

// finish gives the instance a moment to end a stream that is whole.
func (rl *relay) finish() {
	rl.attempt.watch.begin(clock(), errDone.why, doneGrace)
}

// read reads from the instance, under watch.
func (rl *relay) read(p []byte) (int, error) {
	waiting, now := &rl.attempt.watch.waiting, clock()
	waiting.Store(int64(now))
	if rl.pace != nil {
		rl.step(now)
	}
	n, err := rl.inner.Read(p)
	waiting.Store(0)
	return n, err
}

func (rl *relay) Read(p []byte) (int, error) {
	for {
		if len(rl.rest) > 0 {
			n := copy(p, rl.rest)
			rl.rest = rl.rest[n:]
			return n, nil
		}
		if rl.failed != nil {
			return rl.close(p, rl.failed)
		}
		rl.unhold()
		n, err := rl.read(p)
		rl.failed = err
		rl.keepTail(p[:n])
		if n > 0 && rl.stream != nil {
			ended := rl.stream.Ended()
			rl.stream.Write(p[:n])
			if !ended && rl.stream.Ended() {
				rl.finish()
			}
		}
		given := rl.given(p[:n], err != nil)
		if n > 0 && rl.pace != nil {
			rl.pace.gets(given)
		}
		if m := copy(p, given); m > 0 || n == 0 && err == nil {
			rl.rest = given[m:]
			return m, nil
		}
	}
}

// given returns what the client gets of a piece of the answer, which may be its last.
// It lasts until the next read.
func (rl *relay) given(piece []byte, last bool) []byte {
	if rl.stream == nil {
		return piece
	}
	if bytes.Contains(piece, errorMark) {
		piece = rl.attempt.masked(piece)
	}
	if !rl.attempt.asks {
		return piece
	}
	given := rl.cutter.Cut(piece)
	if last {
		given = append(slices.Clip(given), rl.cutter.Close()...)
	}
	return given
}

// close settles the attempt at the answer's end, good or bad, and answers the
// proxy's Read. A stream that broke gets its error event first.
func (rl *relay) close(p []byte, err error) (int, error) {
	a := rl.attempt
	if a.settled {
		return 0, err
	}
	v := rl.judge(err)
	if rl.pace != nil && rl.pace.last == 0 { // all of it came at once
		rl.step(clock())
	}
	rl.readUsage()
	a.settle(v)
	switch {
	case v.outcome == outcomeCanceled:
		return 0, errBroken
	case rl.unheard():
		rl.failed = errBroken
		return 0, errBroken
	case v.outcome != outcomeTruncated && v.outcome != outcomeShutdown:
		rl.failed = io.EOF
		return 0, io.EOF
	}
	rl.failed = errBroken
	if rl.stream == nil {
		return 0, errBroken
	}
	if _, failed := rl.stream.Failed(); failed {
		return 0, errBroken // the instance has told the client itself
	}
	rl.rest = a.exchange.route.stream.ErrorEvent(brokenCode(v.reason), brokenText(v.reason), rl.stream.Sequence())
	return rl.Read(p)
}

// judge decides how an answer ended of which the client has a part.
func (rl *relay) judge(err error) verdict {
	a := rl.attempt
	if a.clientGone() {
		return canceled
	}
	if rl.stream == nil {
		if errors.Is(err, io.EOF) {
			return rl.end
		}
		return judgeError(err, a.ctx).broken()
	}
	if errors.Is(err, io.EOF) {
		rl.stream.Close()
	}
	status, failed := rl.stream.Failed()
	switch {
	case failed && errors.Is(err, io.EOF):
		v := judgeStreamError(status)
		v.elsewhere = false
		return v
	case rl.stream.Ended() || passed(a.ctx) == reasonStall && rl.stream.Whole():
		return rl.end
	case !errors.Is(err, io.EOF):
		return judgeError(err, a.ctx).broken()
	case !rl.stream.Whole():
		return failure(reasonCut).broken()
	}
	return rl.end
}

// Close is called by the proxy when it needs no more.
func (rl *relay) Close() error {
	if a := rl.attempt; rl.stream != nil && !a.settled && a.answered > 0 { // the client has left
		rl.readUsage()
	}
	rl.unhold()
	rl.endPace()
	if rl.tail != nil {
		*rl.tail = (*rl.tail)[:0]
		tails.Put(rl.tail)
		rl.tail = nil
	}
	if rl.stream != nil {
		rl.stream.Free()
		rl.stream = nil
	}
	return rl.inner.Close()
}

// unhold gives the buffer back of which all has been given.
func (rl *relay) unhold() {
	if rl.held == nil {
		return
	}
	if len(*rl.held) == pieceSize {
		pieceBuffers.Put(rl.held)
	}
	rl.held, rl.rest = nil, nil
}
