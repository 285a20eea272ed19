package aigateway

import (
	"errors"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
)

// maxEarly bounds the answers 1xx that may come before an answer. They are passed on;
// net/http bounds only those that nobody sees.
const maxEarly = 100

var errEarly = errors.New("too many 1xx answers")

// earlyAnswers passes answers 1xx on, as long as the attempt lasts: the standard
// transport calls from a goroutine of its own.
type earlyAnswers struct {
	mu    sync.Mutex
	n     int  // so far; guarded by mu, as below
	ended bool // the answer has come, or never will
}

// early passes an answer 1xx to the client, or to the proxy if there is one.
func (a *attempt) early(proxy *httptrace.ClientTrace, status int, header textproto.MIMEHeader) error {
	e := &a.provisional
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.n++; e.n > maxEarly {
		return errEarly
	}
	if e.ended {
		return nil
	}
	if !a.exchange.direct.on {
		if proxy == nil || proxy.Got1xxResponse == nil {
			return nil
		}
		return proxy.Got1xxResponse(status, header)
	}
	w := a.exchange.writer
	h := w.Header()
	own := h.Clone()
	dropHopByHop(http.Header(header))
	addHeader(h, http.Header(header))
	w.WriteHeader(status)
	clear(h)
	addHeader(h, own)
	return nil
}

func (e *earlyAnswers) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
}
