package http1

import (
	"fmt"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"
)

// heads holds the buffers in which requests are put together.
var heads = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// maxPooled bounds the buffers that are kept, in bytes.
const maxPooled = 64 << 10

// appendHead appends req's line and fields to b. What frames the message comes from
// parts alone.
func appendHead(b []byte, req *http.Request, parts [][]byte) ([]byte, error) {
	host, err := httpguts.PunycodeHostPort(firstOf(req.Host, req.URL.Host))
	if err != nil {
		return nil, fmt.Errorf("http1: host: %w", err)
	}
	if !httpguts.ValidHostHeader(host) {
		return nil, fmt.Errorf("http1: invalid header field value for Host")
	}
	host = withoutZone(host)
	method, uri := firstOf(req.Method, http.MethodGet), req.URL.RequestURI()
	if !httpguts.ValidHeaderFieldName(method) || method == http.MethodConnect {
		return nil, fmt.Errorf("http1: invalid method %q", method)
	}
	for i := range len(uri) {
		if uri[i] <= ' ' || uri[i] == 0x7f {
			return nil, fmt.Errorf("http1: invalid header field value for the request's path")
		}
	}
	b = append(append(append(append(b, method...), ' '), uri...), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, host...), "\r\n"...)
	if req.Close && !httpguts.HeaderValuesContainsToken(req.Header["Connection"], "close") {
		b = append(b, "Connection: close\r\n"...)
	}
	for name, values := range req.Header {
		switch textproto.CanonicalMIMEHeaderKey(name) {
		case "Host", "Content-Length", "Transfer-Encoding", "Trailer":
			continue
		case "User-Agent": // an empty one says that none is to be sent
			values = values[:min(1, len(values))]
			if len(values) == 0 || values[0] == "" {
				continue
			}
		}
		if len(values) > 0 && !httpguts.ValidHeaderFieldName(name) {
			return nil, fmt.Errorf("http1: invalid header field name %q", name)
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return nil, fmt.Errorf("http1: invalid header field value for %q", name)
			}
			b = append(append(append(append(b, name...), ": "...), textproto.TrimString(value)...), "\r\n"...)
		}
	}
	length := 0
	for _, part := range parts {
		length += len(part)
	}
	if length > 0 || method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch {
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), int64(length), 10), "\r\n"...)
	}
	return append(b, "\r\n"...), nil
}

// withoutZone returns host without the zone of an IPv6 address, which means something
// on this machine only (RFC 6874).
func withoutZone(host string) string {
	end := strings.LastIndexByte(host, ']')
	if start := strings.LastIndexByte(host[:max(end, 0)], '%'); start >= 0 && host[0] == '[' {
		return host[:start] + host[end:]
	}
	return host
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
