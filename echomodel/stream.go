package echomodel

import (
	"net/http"
	"strconv"
	"time"
)

// This file writes event streams. A dialect appends an event to x.buf and calls event; flush sends what is there. So
// every dialect can be cut after any event, and a token costs one Write and one Flush.

// open sends the header and waits for the first token. With a wait the header goes out at once, as vLLM's does.
func (x *exchange) open() error {
	x.w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	x.w.WriteHeader(http.StatusOK)
	x.flusher = http.NewResponseController(x.w)
	if x.script.TTFT > 0 {
		if err := x.flush(); err != nil {
			return err
		}
	}
	return x.wait(time.Duration(x.script.TTFT))
}

// event ends the event appended last, unless the fault breaks the stream before it.
func (x *exchange) event() error {
	if x.events == x.script.After && x.fault.cut != nil && (!x.fault.atEnd || x.events > 0) {
		x.buf = x.buf[:x.whole]
		return x.cut()
	}
	x.events++
	x.whole = len(x.buf)
	return nil
}

// token ends the event appended last and sends it.
func (x *exchange) token() error {
	if err := x.event(); err != nil {
		return err
	}
	return x.flush()
}

// gap waits between two tokens; it is called before each one, and first says that none has gone out yet.
func (x *exchange) gap(first bool) error {
	if first {
		return nil // the wait was TTFT
	}
	return x.wait(time.Duration(x.script.ITL))
}

// flush sends what is in x.buf, and the header if there is nothing.
func (x *exchange) flush() error {
	_, err := x.w.Write(x.buf)
	x.buf, x.whole = x.buf[:0], 0
	if err == nil {
		err = x.flusher.Flush()
	}
	if err != nil {
		return errGone
	}
	return nil
}

// last ends the stream's terminal event ([DONE] or its like) and with it the stream. The fault no_done takes the
// event away; a break that no event came late enough for comes here.
func (x *exchange) last() error {
	if x.fault.noTerminal {
		x.buf = x.buf[:x.whole]
	} else if err := x.event(); err != nil {
		return err
	}
	if x.fault.cut != nil {
		return x.cut()
	}
	if err := x.flush(); err != nil {
		return err
	}
	if x.fault.tail != nil {
		return x.fault.tail(x)
	}
	return nil
}

// cut sends the whole events and breaks the stream as the fault says.
func (x *exchange) cut() error {
	if err := x.flush(); err != nil {
		return err
	}
	return x.fault.cut(x)
}

// cutWhole breaks a plain answer at its half.
func (x *exchange) cutWhole(b []byte) error {
	h := x.w.Header()
	h.Set("Content-Type", "application/json")
	if x.fault.declares {
		h.Set("Content-Length", strconv.Itoa(len(b)))
	}
	x.w.WriteHeader(http.StatusOK)
	x.flusher = http.NewResponseController(x.w)
	x.buf = append(x.buf[:0], b[:len(b)/2]...)
	return x.cut()
}

// done appends the [DONE] of the OpenAI dialects and ends the stream.
func (x *exchange) done() error {
	x.buf = append(x.buf, "data: [DONE]\n\n"...)
	return x.last()
}
