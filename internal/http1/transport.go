// Package http1 is a client for plain HTTP/1.1 that writes a request and reads its
// answer in the caller's own goroutine.
//
// The standard transport runs two goroutines for each connection and hands every
// request and every answer from one to the other: about half of what a small
// request costs a proxy. This one leaves TLS, HTTP/2, upgrades and forward proxies to
// the standard transport, and takes bodies that are in memory only. Answers are
// parsed by net/http, so framing is judged as everywhere else.
package http1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
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
// request once more on another connection if one that was kept turns out to be
// closed before the first byte of an answer.
type Transport struct {
	// Dial opens a connection to a host:port of a "tcp" network. Required.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// MaxIdle and MaxIdlePerHost bound the connections that are kept without a
	// request, of all hosts and of each. 0 is no limit.
	MaxIdle, MaxIdlePerHost int
	// IdleTimeout is how long a connection is kept without a request. 0 is for ever.
	IdleTimeout time.Duration
	// MaxHead bounds an answer's status line and fields, in bytes. 0 is 1 MB.
	MaxHead int64
	// Early is called for each answer 1xx but 101, if it is not nil; its error ends
	// the exchange. Without it at most five are read past.
	Early func(req *http.Request, status int, header http.Header) error

	hosts  sync.Map // of *host, by address
	idle   atomic.Int64
	sweeps atomic.Bool // a sweep is due
	closed atomic.Bool
}

var (
	errNoParts  = errors.New("http1: body of the request is not in memory")
	errScheme   = errors.New("http1: scheme is not http")
	errClosed   = fmt.Errorf("http1: server closed the connection before it answered: %w", io.ErrUnexpectedEOF)
	errHead     = errors.New("http1: head of the answer is too large")
	errEarly    = errors.New("http1: too many 1xx answers")
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
	buf := heads.Get().(*[]byte)
	head, err := appendHead((*buf)[:0], req, parts)
	if err != nil {
		closeBody(body)
		return nil, err
	}
	w := &writing{body: body, parts: parts, buffer: buf, head: head}
	w.holders.Store(1)
	defer w.release()
	address := hostPort(req.URL.Host)
	for {
		c, err := t.connect(req.Context(), address)
		if err != nil {
			return nil, err
		}
		res, err := c.exchange(req, w)
		if err == nil {
			return res, nil
		}
		if cause := req.Context().Err(); cause != nil {
			return nil, cause
		}
		if !errors.Is(err, errClosed) || !c.kept {
			return nil, err
		}
	}
}

// partsOf returns what is to be sent of req's body.
func partsOf(req *http.Request) (io.Closer, [][]byte, error) {
	if req.URL.Scheme != "http" {
		closeBody(req.Body)
		return nil, nil, errScheme
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
	for i := len(host) - 1; i >= 0; i-- {
		switch c := host[i]; {
		case c == ':':
			return host
		case c < '0' || c > '9':
			return host + ":80"
		}
	}
	return host + ":80"
}

// connect returns a connection that was kept and is still open, or a new one.
func (t *Transport) connect(ctx context.Context, address string) (*conn, error) {
	h := t.host(address)
	for {
		c := h.take()
		if c == nil {
			break
		}
		t.idle.Add(-1)
		if (t.IdleTimeout <= 0 || time.Since(c.since) < t.IdleTimeout) && c.quiet() {
			c.kept = true
			return c, nil
		}
		c.Close() //nolint:errcheck // the server has closed it, or said what nobody asked for
	}
	nc, err := t.Dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return newConn(t, h, nc), nil
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
	if t.MaxHead > 0 {
		return t.MaxHead
	}
	return 1 << 20
}

// early passes an answer 1xx on. Count is which of the exchange it is.
func (t *Transport) early(req *http.Request, res *http.Response, count int) error {
	if res.StatusCode == http.StatusSwitchingProtocols {
		return errSwitched
	}
	if t.Early != nil {
		if err := t.Early(req, res.StatusCode, res.Header); err != nil {
			return fmt.Errorf("http1: answer %d: %w", res.StatusCode, err)
		}
		return nil
	}
	if count > 5 {
		return errEarly
	}
	return nil
}
