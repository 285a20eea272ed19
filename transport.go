package aigateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/splice"
)

// transport makes one attempt: it readies the request for the exchange's current
// instance, sends it through the proxy's own transport, and counts how it ended.
type transport struct {
	inner http.RoundTripper
}

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	x := exchangeOf(r.Context())
	res, err := t.inner.RoundTrip(x.outgoing(r))
	if err != nil {
		if x.request.Context().Err() != nil {
			x.finish(outcomeCanceled)
			return nil, context.Canceled
		}
		x.finish(outcomeFailed)
		x.last = &attemptError{err}
		return nil, x.last
	}
	if res.StatusCode >= 500 {
		x.finish(outcomeFailed)
	} else {
		x.finish(outcomeOK)
	}
	return res, nil
}

// attemptError is returned for an attempt that brought no answer. It hides the
// cause from the proxy, which would retry some causes without asking
// [retryMatch].
type attemptError struct{ cause error }

func (e *attemptError) Error() string { return e.cause.Error() }

// Timeout reports whether the instance was too slow, which makes a 504 of it: the
// proxy asks whether the error is a [net.Error].
func (e *attemptError) Timeout() bool {
	timeout, ok := errors.AsType[net.Error](e.cause)
	return ok && timeout.Timeout()
}

// Temporary is there for [net.Error], which still has it.
func (e *attemptError) Temporary() bool { return false }

var _ net.Error = (*attemptError)(nil)

// outgoing returns r as the current instance shall see it. What r shares with
// other attempts is copied before it is changed.
func (x *exchange) outgoing(r *http.Request) *http.Request {
	i := x.current
	// The stock dialer reads the table of request variables from a goroutine that
	// can outlive the attempt, while later handlers write to it: it gets its own.
	vars, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	out := r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, maps.Clone(vars)))

	path, ownQuery := i.target(x.route)
	query := r.URL.RawQuery
	if i.upstreamModel != "" && x.ask.form == askQuery {
		query = withModel(query, i.upstreamModel)
	}
	if ownQuery != "" && query != "" {
		ownQuery += "&"
	}
	out.URL = &url.URL{Scheme: i.scheme, Host: i.host, Path: path, RawQuery: ownQuery + query}
	out.Host = i.host
	out.Header = x.header(r.Header)

	place, text := x.edit()
	if len(x.body.bytes) == 0 {
		return out // r has the body of an upgrade, or none
	}
	reader, length := x.body.reader(place, text)
	out.Body, out.ContentLength, out.TransferEncoding = reader, length, nil
	out.GetBody = func() (io.ReadCloser, error) {
		again, _ := x.body.reader(place, text)
		return again, nil
	}
	return out
}

// header returns the fields for the current instance.
func (x *exchange) header(from http.Header) http.Header {
	i, h := x.current, maps.Clone(from)
	// Whatever answers is passed on and recorded as it comes, so nothing may be
	// compressed on the way that no client asked this hop for.
	h["Accept-Encoding"] = identity
	// The body is here already; a second 100 Continue would confuse the client.
	delete(h, "Expect")
	delete(h, "Cookie")
	if i.authorization != "" {
		h["Authorization"] = []string{i.authorization}
		delete(h, "Api-Key")
		delete(h, "X-Api-Key")
		if x.route.dialect == anthropic {
			h["X-Api-Key"] = []string{i.key}
		}
	}
	if i.tier == fallback {
		// A cloud need not know who asked, nor through what.
		for _, name := range forwarded {
			delete(h, name)
		}
	}
	maps.Copy(h, i.headers)
	// An instance may close a kept connection while the request is on its way
	// there. This name, with no value to be sent, lets net/http replay the request
	// on a fresh connection if no byte of an answer had come.
	if _, given := h["X-Idempotency-Key"]; !given {
		h["X-Idempotency-Key"] = nil
	}
	return h
}

var (
	identity  = []string{"identity"}
	forwarded = []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"}
)

// edit returns the part of the body that changes for the current instance, and
// what takes its place.
func (x *exchange) edit() (splice.Value, []byte) {
	i := x.current
	if i.upstreamModel == "" {
		return splice.Value{}, nil
	}
	switch {
	case x.ask.form == askJSON && x.ask.place.Found():
		return x.ask.place, i.modelJSON
	case x.ask.form == askJSON:
		return insertMember(x.body.bytes, "model", i.modelJSON)
	case x.ask.form == askMultipart && x.ask.place.Found():
		return x.ask.place, []byte(i.upstreamModel)
	}
	return splice.Value{}, nil
}

// insertMember returns the edit that gives the JSON object in body a first
// member.
func insertMember(body []byte, name string, value json.RawMessage) (splice.Value, []byte) {
	start := bytes.IndexByte(body, '{') + 1
	text := append([]byte(`"`+name+`":`), value...)
	if bytes.IndexByte(body[start:], '"') >= 0 { // the object has members
		text = append(text, ',')
	}
	return splice.Value{Start: start, End: start}, text
}

// withModel replaces the model of a query string, if it has one.
func withModel(query, model string) string {
	values, err := url.ParseQuery(query)
	if err != nil || !values.Has("model") {
		return query
	}
	values.Set("model", model)
	return values.Encode()
}
