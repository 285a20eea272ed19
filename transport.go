package aigateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/http1"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/splice"
)

// transport makes one attempt: it readies the request for the exchange's current
// instance, sends it through the proxy's own transport, and judges what comes back.
type transport struct {
	inner http.RoundTripper
	plain *http1.Transport // for HTTP without TLS, or nil
	// proxy returns the forward proxy of a request, nil for none. It is nil where there
	// never is one.
	proxy func(*http.Request) (*url.URL, error)
}

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	f := fieldsOf(r.Header)
	defer f.release()
	return t.send(exchangeOf(r.Context()), r, f)
}

// send makes the attempt of x that is under way. The fields f, which are changed, are
// what those of the client's request have become, and r is all else of it.
func (t transport) send(x *exchange, r *http.Request, f *fields) (*http.Response, error) {
	a := x.current
	a.plain = t.plain != nil && a.instance.scheme == "http" && !isUpgrade(r)
	a.start(r.Context())
	a.address(f)
	a.trace(r.Context(), f)
	changes := edits{}
	if len(x.body.bytes) > 0 {
		changes[0] = a.modelEdit()
		changes[1], a.asks = a.usageEdit()
	}
	x.own += clock() - x.working
	res, err := t.trip(a, r, *f, changes)
	if err == nil && a.asks && (res.StatusCode == http.StatusBadRequest || res.StatusCode == http.StatusUnprocessableEntity) {
		res, err = a.withdraw(res, func() (*http.Response, error) { return t.trip(a, r, *f, edits{changes[0]}) })
	}
	a.provisional.end()
	x.working = clock()
	if err == nil && res.StatusCode < 100 { // net/http passes it on, but panics where it is to be written
		res.Body.Close()
		err = errStatus
	}
	if err != nil {
		return nil, a.fail(err)
	}
	return a.receive(res)
}

// trip makes the attempt's request. What r shares with other attempts is copied before
// it is changed.
func (t transport) trip(a *attempt, r *http.Request, f fields, changes edits) (*http.Response, error) {
	if a.plain {
		out := http1.Request{Method: r.Method, URL: a.url(r.URL.RawQuery), Host: a.instance.host, Fields: f, Life: &a.life}
		if b := a.exchange.body; len(b.bytes) > 0 {
			out.Body, _ = b.reader(changes)
		}
		return t.plain.Do(&out)
	}
	return t.standard(a, r, f, changes)
}

// standard is trip by the proxy's own transport.
func (t transport) standard(a *attempt, r *http.Request, f fields, changes edits) (*http.Response, error) {
	out, url := r.WithContext(a.context(r.Context())), a.url(r.URL.RawQuery)
	out.URL, out.Host, out.Header, out.Close = &url, a.instance.host, f.header(), false
	if out.URL.Host != out.Host && t.proxy != nil {
		if by, err := t.proxy(out); err == nil && by != nil {
			out.URL.Host = out.Host // the proxy looks the name up itself
		}
	}
	if b := a.exchange.body; len(b.bytes) > 0 {
		b.fill(out, changes)
	} else if !isUpgrade(r) {
		out.Body, out.ContentLength = nil, 0
	}
	return t.inner.RoundTrip(out)
}

// plainOptions are the options of the stock transport that its dialler or [newPlain]
// sees to, or that mean nothing without TLS or to [http1.Transport].
var plainOptions = []string{
	"protocol", "network_proxy", "dial_timeout", "dial_fallback_delay", "resolver", "local_address", "read_timeout", "write_timeout", "tls",
	"read_buffer_size", "write_buffer_size", "max_response_header_size", "expect_continue_timeout", "keep_alive",
}

// isPlain reports whether [http1.Transport] does for instances without TLS what
// options ask of the stock transport.
func isPlain(options map[string]any) bool {
	if proxy, ok := options["network_proxy"].(map[string]any); !ok || proxy["from"] != "none" {
		return false
	}
	for name, value := range options {
		switch name {
		case "compression":
			if value != false {
				return false
			}
		case "versions":
			if versions, ok := value.([]any); !ok || !slices.Contains(versions, any("1.1")) || slices.Contains(versions, any("h2c")) {
				return false
			}
		default:
			if !slices.Contains(plainOptions, name) {
				return false
			}
		}
	}
	return true
}

// newPlain returns the transport for instances without TLS, which does what stock
// would do in the request's own goroutine, or nil if it cannot.
func newPlain(stock *http.Transport) *http1.Transport {
	if !http1.Available || stock.DisableKeepAlives {
		return nil
	}
	return &http1.Transport{
		Dial: stock.DialContext, MaxIdle: stock.MaxIdleConns, MaxIdlePerHost: stock.MaxIdleConnsPerHost, IdleTimeout: stock.IdleConnTimeout,
		MaxHead: stock.MaxResponseHeaderBytes,
		Early: func(l http1.Life, status int, header http.Header) error {
			return l.Value(attemptKey{}).(*attempt).early(httptrace.ContextClientTrace(l), status, textproto.MIMEHeader(header))
		},
	}
}

var errStatus = errors.New("status of the answer is below 100")

type exchangeKey struct{}

// exchangeOf returns the exchange that ctx was given by [Handler.ServeHTTP].
func exchangeOf(ctx context.Context) *exchange {
	return ctx.Value(exchangeKey{}).(*exchange)
}

// url returns the URL of the attempt's request, of which the client has sent query.
func (a *attempt) url(query string) url.URL {
	x, i := a.exchange, a.instance
	path, ownQuery := i.target(x.route)
	if name, _ := a.renames(); name != "" && x.ask.form == askQuery {
		query = withModel(query, name)
	}
	if ownQuery != "" && query != "" {
		ownQuery += "&"
	}
	return url.URL{Scheme: i.scheme, Host: i.dials, Path: path, RawQuery: ownQuery + query}
}

// address changes the fields to what the attempt's instance shall get.
func (a *attempt) address(f *fields) {
	x, i := a.exchange, a.instance
	f.remove(kept...)
	// Whatever answers is passed on and recorded as it comes, so nothing may be
	// compressed on the way that no client asked this hop for.
	f.add("Accept-Encoding", "identity")
	if i.authorization != "" {
		f.remove(credentials...)
		f.add("Authorization", i.authorization)
		if x.route.dialect == anthropic {
			f.add("X-Api-Key", i.key)
		}
	}
	if i.tier == fallback {
		// A cloud need not know who asked, nor through what.
		f.remove(forwarded...)
	}
	if id := f.values("X-Request-Id"); id != nil && (len(id) != 1 || !safeID(id[0])) {
		f.remove("X-Request-Id")
	}
	for name, values := range i.headers {
		f.set(name, values...)
	}
}

var (
	// kept are fields that no instance gets from a client. The body is here already; a
	// second 100 Continue would confuse the client.
	kept        = []string{"Accept-Encoding", "Expect", "Cookie"}
	credentials = []string{"Authorization", "Api-Key", "X-Api-Key"}
	forwarded   = []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"}
)

// renames returns the model's name at the attempt's instance, also as a JSON text, "" if the
// client's goes through.
func (a *attempt) renames() (name string, text []byte) {
	if i := a.instance; i.upstreamModel != "" {
		return i.upstreamModel, i.modelJSON
	}
	if name = a.exchange.length.instead; name != "" {
		text, _ = json.Marshal(name) // a string always encodes
	}
	return name, text
}

// modelEdit returns the edit that gives the body the model's name at the attempt's
// instance.
func (a *attempt) modelEdit() edit {
	x := a.exchange
	name, text := a.renames()
	if name == "" {
		return edit{}
	}
	switch {
	case x.ask.form == askJSON && x.ask.place.Found():
		return edit{x.ask.place, text}
	case x.ask.form == askJSON:
		return insertMember(x.body.bytes, splice.Value{End: len(x.body.bytes)}, "model", text)
	case x.ask.form == askMultipart && x.ask.place.Found():
		return edit{x.ask.place, []byte(name)}
	}
	return edit{}
}

// insertMember returns the edit that gives the JSON object at place in body a first
// member.
func insertMember(body []byte, place splice.Value, name string, value json.RawMessage) edit {
	object := place.Raw(body)
	start := bytes.IndexByte(object, '{') + 1
	text := append([]byte(`"`+name+`":`), value...)
	if bytes.IndexByte(object[start:], '"') >= 0 { // the object has members
		text = append(text, ',')
	}
	start += place.Start
	return edit{splice.Value{Start: start, End: start}, text}
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
