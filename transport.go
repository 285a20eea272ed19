package aigateway

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/splice"
)

// transport makes one attempt: it readies the request for the exchange's current
// instance, sends it through the proxy's own transport, and judges what comes back.
type transport struct {
	inner http.RoundTripper
}

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	a := exchangeOf(r.Context()).current
	res, err := t.inner.RoundTrip(a.outgoing(r))
	if err != nil {
		return nil, a.fail(err)
	}
	return a.receive(res)
}

type exchangeKey struct{}

// exchangeOf returns the exchange that ctx was given by [Handler.ServeHTTP].
func exchangeOf(ctx context.Context) *exchange {
	return ctx.Value(exchangeKey{}).(*exchange)
}

// outgoing returns r as the attempt's instance shall see it. What r shares with
// other attempts is copied before it is changed.
func (a *attempt) outgoing(r *http.Request) *http.Request {
	x, i := a.exchange, a.instance
	out := r.WithContext(a.start(r.Context()))

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
	out.Header = a.header(r.Header)

	place, text := a.edit()
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

// header returns the fields for the attempt's instance.
func (a *attempt) header(from http.Header) http.Header {
	x, i, h := a.exchange, a.instance, maps.Clone(from)
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
	if id := h["X-Request-Id"]; id != nil && (len(id) != 1 || !safeID(id[0])) {
		delete(h, "X-Request-Id")
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

// edit returns the part of the body that changes for the attempt's instance, and
// what takes its place.
func (a *attempt) edit() (splice.Value, []byte) {
	x, i := a.exchange, a.instance
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
