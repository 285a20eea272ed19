package aigateway

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
)

// goesDirect reports whether nothing is asked of the proxy that [Handler.direct]
// leaves out, for itself or for its transport.
func goesDirect(p *reverseproxy.Handler) bool {
	stock, ok := p.Transport.(*reverseproxy.HTTPTransport)
	return ok && stock.ProxyProtocol == "" && p.Headers == nil && p.Rewrite == nil && len(p.HandleResponse) == 0 && p.ResponseBuffers == 0 && p.FlushInterval == 0 &&
		len(p.TrustedProxies) == 0 && p.ProxyStatusName == "" && p.StreamBufferSize == 0 && !p.VerboseLogs
}

// direct makes attempts until one brings an answer, as the proxy does, and gives
// that to the client. The proxy's way costs twice as much: it writes every request
// into a log line that nobody has asked for, and copies each header three times.
func (h *Handler) direct(w http.ResponseWriter, x *exchange) error {
	began := time.Now()
	x.direct.on = true
	for {
		f := x.forwarded()
		res, err := h.transport.send(x, x.request, f)
		f.release()
		if c := h.logger.Check(zap.DebugLevel, "attempt"); c != nil {
			c.Write(zap.String("request_id", x.id), zap.Int("attempt", len(x.tried)), zap.Duration("after", time.Since(began)), zap.Error(err))
		}
		if err == nil {
			x.direct.header, x.direct.status, x.direct.latency = res.Header, res.StatusCode, time.Since(began)
			x.answer(w, res)
			return nil
		}
		chosen := x.request.Context().Err() == nil && x.choose()
		if !chosen && x.request.Context().Err() != nil {
			x.last = canceled
			w.WriteHeader(statusClientClosed)
			return nil
		}
		if !chosen {
			return err
		}
	}
}

// statusClientClosed is nginx's status for the access log of a request whose
// client has left.
const statusClientClosed = 499

// hopByHop are the fields that are for one connection only, RFC 9110 section 7.6.1.
var hopByHop = []string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Alt-Svc",
}

func dropHopByHop(h http.Header) {
	for _, list := range h["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			delete(h, textproto.CanonicalMIMEHeaderKey(textproto.TrimString(name)))
		}
	}
	for _, name := range hopByHop {
		delete(h, name)
	}
}

func addHeader(to, from http.Header) {
	for name, values := range from {
		if had := to[name]; had != nil {
			values = append(slices.Clip(had), values...)
		}
		to[name] = values
	}
}

// answer gives the client an instance's answer. One that breaks aborts the client's
// connection, once all of it has been sent that there is.
func (x *exchange) answer(w http.ResponseWriter, res *http.Response) {
	dropHopByHop(res.Header)
	h := w.Header()
	delete(h, "Server")
	x.headerValues[5] = via(res.ProtoMajor, res.ProtoMinor)
	if had := h["Via"]; had != nil {
		h["Via"] = append(slices.Clip(had), x.headerValues[5])
	} else {
		h["Via"] = x.headerValues[5:6:6]
	}
	addHeader(h, res.Header)
	announced := len(res.Trailer)
	for name := range res.Trailer {
		h.Add("Trailer", name)
	}
	w.WriteHeader(res.StatusCode)
	flush := http.NewResponseController(w).Flush
	err := x.copy(w, res, flush)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		flush() //nolint:errcheck // the client is to be cut off anyway
		panic(http.ErrAbortHandler)
	}
	if len(res.Trailer) > 0 {
		flush() //nolint:errcheck // makes the answer a chunked one, if the client is still there
	}
	for name, values := range res.Trailer {
		if len(res.Trailer) != announced {
			name = http.TrailerPrefix + name
		}
		h[name] = append(h[name], values...)
	}
}

// copyBuffers holds the buffers of answers on their way, pieceBuffers those of streams
// whose pieces are short: many of these wait at a time.
var (
	copyBuffers  = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}
	pieceBuffers = sync.Pool{New: func() any { b := make([]byte, pieceSize); return &b }}
)

// pieceSize is how much is read of a stream at a time, unless more of it waits.
const pieceSize = 4 << 10

// copy copies the body of an answer, and flushes every piece of one whose end is
// not known.
func (x *exchange) copy(w http.ResponseWriter, res *http.Response, flush func() error) error {
	unknown := res.ContentLength < 0
	pool := &copyBuffers
	if unknown {
		pool = &pieceBuffers
	}
	buffer := pool.Get().(*[]byte)
	defer func() { pool.Put(buffer) }()
	for pending := false; ; {
		n, err := res.Body.Read(*buffer)
		if n > 0 {
			if _, werr := w.Write((*buffer)[:n]); werr != nil {
				return werr
			}
			pending = unknown
		}
		if pending && err != io.EOF && (err != nil || !nearsEnd(res.Body)) { // at its end net/http flushes
			if werr := flush(); werr != nil && !errors.Is(werr, http.ErrNotSupported) {
				return werr
			}
			pending = false
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		// A piece that filled the buffer is shorter by the framing of its chunks.
		if large := n >= pieceSize*3/4; unknown && large != (pool == &copyBuffers) {
			pool.Put(buffer)
			if pool = &pieceBuffers; large {
				pool = &copyBuffers
			}
			buffer = pool.Get().(*[]byte)
		}
	}
}

// nearsEnd reports whether the end of an answer has come and all before it has been given.
func nearsEnd(body io.ReadCloser) bool {
	rl, ok := body.(*relay)
	return ok && errors.Is(rl.failed, io.EOF) && len(rl.rest) == 0
}

// directPlaceholders are the proxy's placeholders of a request that did not go
// through it. They are worked out when somebody asks.
type directPlaceholders struct {
	on      bool // the request does not go through the proxy
	header  http.Header
	status  int
	latency time.Duration
}

func (p *directPlaceholders) get(x *exchange, key string) (any, bool) {
	name, ok := strings.CutPrefix(key, "http.reverse_proxy.")
	tried := x.tried
	if !ok || !p.on || len(tried) == 0 {
		return nil, false
	}
	address := tried[len(tried)-1].upstream.Dial
	host, port, _ := net.SplitHostPort(address)
	switch name {
	case "upstream.address", "upstream.hostport":
		return address, true
	case "upstream.host":
		return host, true
	case "upstream.port":
		return port, true
	case "upstream.latency":
		return p.latency, p.status != 0
	case "upstream.latency_ms":
		return p.latency.Seconds() * 1e3, p.status != 0
	case "status_code":
		return p.status, p.status != 0
	case "status_text":
		return strconv.Itoa(p.status) + " " + http.StatusText(p.status), p.status != 0
	case "retries":
		return len(tried) - 1, true
	case "duration":
		return clock() - x.began, true
	case "duration_ms":
		return (clock() - x.began).Seconds() * 1e3, true
	}
	field, ok := strings.CutPrefix(name, "header.")
	if values := p.header[textproto.CanonicalMIMEHeaderKey(field)]; ok && values != nil {
		return strings.Join(values, ","), true
	}
	return nil, false
}
