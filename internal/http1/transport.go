// Package http1 is a client for plain HTTP/1.1 that writes a request and reads its
// answer in the caller's own goroutine.
//
// The standard transport runs two goroutines for each connection and hands every
// request and every answer from one to the other: about half of what a small
// request costs a proxy. This one leaves TLS, HTTP/2, upgrades and forward proxies to
// the standard transport, and takes bodies that are in memory only. Answers are
// parsed by net/http, so framing is judged as everywhere else; chunks are taken apart
// here, with its judgement. Requests are written as net/http writes them, but that no
// User-Agent is added, that the body's parts decide on Content-Length, and that a Host
// or path which would need to be changed first is an error.
package http1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Body is the body of a request that is in memory.
type Body interface {
	io.ReadCloser
	// Parts returns the bytes to be sent, in pieces that are put together. They are
	// valid until Close.
	Parts() [][]byte
}

// Request is a request as [Transport.Do] takes it. Beyond the call nothing of it is used
// but the body and the life.
type Request struct {
	Method string
	URL    url.URL
	Host   string // for the field Host; empty for the URL's
	Fields []Field
	Body   Body // nil for none
	Close  bool // the connection serves no other request
	Life   Life
	// asked is the request that becomes part of the answer.
	asked *http.Request
}

// Field is a line of a request's head. Those names that mean something to a transport
// are in canonical form.
type Field struct{ Name, Value string }

// Life is the context of an exchange, to whose end a connection can be tied at less cost
// than with [context.AfterFunc].
type Life interface {
	context.Context
	// Cause is as [context.Cause].
	Cause() error
	// Tie makes the end close c, in place of what was tied before. If it is over, c
	// is closed at once.
	Tie(c io.Closer)
	// Untie takes that back. It reports false if the end has come first, or another
	// connection.
	Untie(c io.Closer) bool
}

// Transport keeps connections to servers alive and makes exchanges on them. It is
// safe for concurrent use.
//
// As the standard transport does for requests that may be repeated, it sends a
// request once more, on a new connection, if one that was kept breaks before the first
// byte of an answer.
type Transport struct {
	// Dial opens a connection to a host:port of a "tcp" network. Required.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// MaxIdle and MaxIdlePerHost bound the connections that are kept without a
	// request, of all hosts and of each; those beyond are closed. 0 is no limit, and
	// less keeps none.
	MaxIdle, MaxIdlePerHost int
	// IdleTimeout is how long a connection is kept without a request. 0 is for ever.
	IdleTimeout time.Duration
	// MaxHead bounds an answer's status line and fields, in bytes. 0 is 10 MB, as in
	// net/http.
	MaxHead int64
	// Early is called for each answer 1xx but 101, each of which may be as long as
	// MaxHead, if it is not nil; its error ends the exchange. Without it all that come
	// before an answer count as part of its head.
	Early func(life Life, status int, header http.Header) error

	hosts  sync.Map // of *host, by address
	idle   atomic.Int64
	sweeps atomic.Bool // a sweep is due
	closed atomic.Bool
}

var (
	errNoParts  = errors.New("http1: body of the request is not in memory")
	errURL      = errors.New("http1: URL has another scheme than http, or no host")
	errClosed   = fmt.Errorf("http1: server closed the connection before it answered: %w", io.ErrUnexpectedEOF)
	errHead     = errors.New("http1: head of the answer is too large")
	errUnasked  = errors.New("http1: server has closed the connection, or said what nobody asked for")
	errSwitched = errors.New("http1: server switched protocols unasked")
)

// RoundTrip is [Transport.Do] as [http.RoundTripper] asks for it. The request has no body
// or a [Body].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	r := Request{Method: firstOf(req.Method, http.MethodGet), Host: req.Host, Close: req.Close, Life: &plainLife{Context: req.Context()}, asked: req}
	if req.URL != nil {
		r.URL = *req.URL
	}
	if req.Body != nil && req.Body != http.NoBody {
		var ok bool
		if r.Body, ok = req.Body.(Body); !ok {
			req.Body.Close()
			return nil, errNoParts
		}
	}
	for name, values := range req.Header {
		if canonical := textproto.CanonicalMIMEHeaderKey(name); slices.Contains(special, canonical) {
			name = canonical
		}
		for _, value := range values {
			r.Fields = append(r.Fields, Field{name, value})
		}
	}
	return t.Do(&r)
}

// plainLife makes a [Life] of any context.
type plainLife struct {
	context.Context
	stop func() bool
}

func (l *plainLife) Cause() error { return context.Cause(l.Context) }

func (l *plainLife) Tie(c io.Closer) {
	l.stop = context.AfterFunc(l.Context, func() { c.Close() })
}

func (l *plainLife) Untie(io.Closer) bool { return l.stop() }

// Do makes one exchange. When its life ends, the connection is closed, before and
// after Do has returned; the error is then the cause of the end.
func (t *Transport) Do(req *Request) (*http.Response, error) {
	w := newWriting(req.Body)
	defer w.release()
	if req.URL.Scheme != "http" || req.URL.Host == "" {
		return nil, errURL
	}
	var err error
	if w.head, err = appendHead(w.head, req, w.parts); err != nil {
		return nil, err
	}
	if req.Life.Err() != nil {
		return nil, req.Life.Cause()
	}
	h := t.host(hostPort(req.URL.Host))
	for c := h.open(t); ; {
		if c == nil {
			nc, err := t.Dial(req.Life, "tcp", h.address)
			if err != nil {
				return nil, causeOr(req.Life, err)
			}
			c = newConn(t, h, nc)
		}
		res, err := c.exchange(req, w)
		switch {
		case err == nil:
			return res, nil
		case req.Life.Err() != nil || !c.kept || c.answered || errors.Is(err, os.ErrDeadlineExceeded):
			return nil, causeOr(req.Life, err)
		case errors.Is(err, errUnasked):
			c = h.open(t)
		default:
			c = nil
		}
	}
}

// causeOr returns why life has ended, or err if it has not: what is broken off ends in
// errors that say nothing.
func causeOr(life Life, err error) error {
	if life.Err() != nil {
		return life.Cause()
	}
	return err
}

// askedBy are the requests of answers to requests that were made without one: net/http
// reads an answer by the method.
var askedBy = map[string]*http.Request{
	http.MethodGet: {Method: http.MethodGet}, http.MethodPost: {Method: http.MethodPost}, http.MethodHead: {Method: http.MethodHead},
}

// answers returns the request that becomes part of the answer to r.
func (r *Request) answers() *http.Request {
	if r.asked == nil {
		r.asked = askedBy[r.Method]
	}
	if r.asked == nil {
		r.asked = &http.Request{Method: r.Method}
	}
	return r.asked
}

// hostPort completes a URL's host by http's port.
func hostPort(host string) string {
	if ascii, err := httpguts.PunycodeHostPort(host); err == nil {
		host = ascii
	}
	for i := len(host) - 1; i >= 0; i-- {
		switch c := host[i]; {
		case c == ':' && i < len(host)-1:
			return host
		case c == ':':
			return host + "80"
		case c < '0' || c > '9':
			return host + ":80"
		}
	}
	return host + ":80"
}

// CloseIdle closes the connections that are kept, and from now on keeps none.
func (t *Transport) CloseIdle() {
	t.closed.Store(true)
	t.hosts.Range(func(_, h any) bool {
		t.drop(h.(*host).removeOlder(time.Now().Add(time.Hour)))
		return true
	})
}

// maxHead returns the bound on heads.
func (t *Transport) maxHead() int64 {
	if t.MaxHead != 0 {
		return t.MaxHead
	}
	return 10 << 20
}
