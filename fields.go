package aigateway

import (
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/net/http/httpguts"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/http1"
)

// fields are the lines of a request's head, in no order but for those of one name. A
// list of so few costs less than a map, of which an attempt would need two. Names are
// in canonical form.
type fields []http1.Field

// fieldLists holds the lists of requests on their way.
var fieldLists = sync.Pool{New: func() any { f := make(fields, 0, 32); return &f }}

// release gives f back, which nobody may use any more.
func (f *fields) release() {
	clear(*f)
	*f = (*f)[:0]
	fieldLists.Put(f)
}

// fieldsOf returns the fields of h.
func fieldsOf(h http.Header) *fields {
	f := fieldLists.Get().(*fields)
	for name, values := range h {
		f.add(name, values...)
	}
	return f
}

func (f *fields) add(name string, values ...string) {
	for _, value := range values {
		*f = append(*f, http1.Field{Name: name, Value: value})
	}
}

// set makes value the only one of name.
func (f *fields) set(name string, values ...string) {
	f.remove(name)
	f.add(name, values...)
}

func (f *fields) remove(names ...string) {
	*f = slices.DeleteFunc(*f, func(line http1.Field) bool { return slices.Contains(names, line.Name) })
}

// values returns the values of name.
func (f fields) values(name string) (values []string) {
	for _, line := range f {
		if line.Name == name {
			values = append(values, line.Value)
		}
	}
	return values
}

// header returns f as the standard transport takes it.
func (f fields) header() http.Header {
	h := make(http.Header, len(f)+2)
	for _, line := range f {
		h[line.Name] = append(h[line.Name], line.Value)
	}
	if h["User-Agent"] == nil {
		h["User-Agent"] = []string{""} // none, rather than net/http's
	}
	// An instance may close a kept connection while the request is on its way
	// there. This name, with no value to be sent, lets net/http replay the request
	// on a fresh connection if no byte of an answer had come.
	if h["X-Idempotency-Key"] == nil {
		h["X-Idempotency-Key"] = nil
	}
	return h
}

// Get, Set and Keys make f a carrier for [propagation.TraceContext].
func (f *fields) Get(name string) string {
	return firstOf(f.values(textproto.CanonicalMIMEHeaderKey(name)))
}

func (f *fields) Set(name, value string) { f.set(textproto.CanonicalMIMEHeaderKey(name), value) }

func (f *fields) Keys() (names []string) {
	for _, line := range *f {
		names = append(names, line.Name)
	}
	return names
}

// forwarded returns the client's fields as they go on: without those of its
// connection, and with what Caddy's proxy tells about where the request is from.
func (x *exchange) forwarded() *fields {
	r := x.request
	f := fieldLists.Get().(*fields)
	connection := r.Header["Connection"]
	for name, values := range r.Header {
		if !slices.Contains(hopByHop, name) && (len(connection) == 0 || !httpguts.HeaderValuesContainsToken(connection, name)) {
			f.add(name, values...)
		}
	}
	if httpguts.HeaderValuesContainsToken(r.Header["Te"], "trailers") {
		f.add("Te", "trailers")
	}
	if r.TLS != nil && !r.TLS.HandshakeComplete {
		f.set("Early-Data", "1") // RFC 8470
	}
	f.add("Via", via(r.ProtoMajor, r.ProtoMinor))
	return f.tellOrigin(r)
}

// tellOrigin tells where r is from. What a client says of that itself goes on only from
// one whom Caddy trusts.
func (f *fields) tellOrigin(r *http.Request) *fields {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	if !trusted {
		f.remove("X-Forwarded-For")
	}
	client, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil && (!trusted || r.RemoteAddr != "@") { // @ is a Unix socket's client
		f.remove("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host")
		return f
	}
	prior := strings.Join(f.values("X-Forwarded-For"), ", ")
	client, _, _ = strings.Cut(client, "%")
	if prior != "" && client != "" {
		prior += ", "
	}
	if prior+client != "" {
		f.set("X-Forwarded-For", prior+client)
	}
	proto := "http"
	if r.TLS != nil {
		proto = "https"
	}
	if !trusted || lastOf(f.values("X-Forwarded-Proto")) == "" {
		f.set("X-Forwarded-Proto", proto)
	}
	if !trusted || lastOf(f.values("X-Forwarded-Host")) == "" {
		f.set("X-Forwarded-Host", r.Host)
	}
	return f
}

func lastOf(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// via is what Caddy says in the field Via of a message in a version of HTTP.
func via(major, minor int) string {
	if major == 1 && minor == 1 { // nearly all
		return "1.1 Caddy"
	}
	return strconv.Itoa(major) + "." + strconv.Itoa(minor) + " Caddy"
}
