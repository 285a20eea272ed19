// Package http1 is a client for plain HTTP/1.1 that writes a request and reads its
// answer in the caller's own goroutine.
//
// The standard transport runs two goroutines for each connection and hands every
// request and every answer from one to the other: about half of what a small
// request costs a proxy. This one leaves TLS, HTTP/2, upgrades and forward proxies to
// the standard transport, and takes bodies that are in memory only. Answers are
// parsed by net/http, so framing is judged as everywhere else. Requests are written
// as net/http writes them, but that no User-Agent is added, that the body's parts
// decide on Content-Length, and that a Host or path which would need to be changed
// first is an error.
package http1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
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
	Early func(req *http.Request, status int, header http.Header) error

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
	errSwitched = errors.New("http1: server switched protocols unasked")
)

// RoundTrip makes one exchange, as [http.RoundTripper] asks for. The request has
// no body or a [Body]. When its context ends, the connection is closed, before and
// after RoundTrip has returned; the error is then that of the context.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	body, parts, err := partsOf(req)
	if err != nil {
		return nil, err
	}
	w := &writing{body: body, parts: parts, buffer: heads.Get().(*[]byte)}
	w.holders.Store(1)
	defer w.release()
	if w.head, err = appendHead((*w.buffer)[:0], req, parts); err != nil {
		return nil, err
	}
	ctx, h := req.Context(), t.host(hostPort(req.URL.Host))
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for c := h.open(t); ; c = nil {
		if c == nil {
			nc, err := t.Dial(ctx, "tcp", h.address)
			if err != nil {
				return nil, causeOr(ctx, err)
			}
			c = newConn(t, h, nc)
		}
		res, err := c.exchange(req, w)
		if err == nil {
			return res, nil
		}
		if ctx.Err() != nil || !c.kept || c.answered || errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, causeOr(ctx, err)
		}
	}
}

// causeOr returns why ctx has ended, or err if it has not: what is broken off ends in
// errors that say nothing.
func causeOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// partsOf returns what is to be sent of req's body.
func partsOf(req *http.Request) (io.Closer, [][]byte, error) {
	if req.URL == nil || req.URL.Scheme != "http" || req.URL.Host == "" {
		closeBody(req.Body)
		return nil, nil, errURL
	}
	if req.Body == nil || req.Body == http.NoBody {
		return nil, nil, nil
	}
	body, ok := req.Body.(Body)
	if !ok {
		closeBody(req.Body)
		return nil, nil, errNoParts
	}
	return body, body.Parts(), nil
}

func closeBody(body io.Closer) {
	if body != nil {
		body.Close()
	}
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
