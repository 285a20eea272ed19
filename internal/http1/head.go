package http1

import (
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// special are the fields that appendHead looks at.
var special = []string{"Connection", "Host", "Content-Length", "Transfer-Encoding", "Trailer", "User-Agent"}

// appendHead appends req's line and fields to b. What frames the message comes from
// parts alone.
func appendHead(b []byte, req *Request, parts [][]byte) ([]byte, error) {
	host, err := httpguts.PunycodeHostPort(firstOf(req.Host, req.URL.Host))
	if err != nil {
		return nil, fmt.Errorf("http1: host: %w", err)
	}
	if !httpguts.ValidHostHeader(host) {
		return nil, fmt.Errorf("http1: invalid header field value for Host")
	}
	host = withoutZone(host)
	method, uri := req.Method, req.URL.RequestURI()
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
	if req.Close && !slices.ContainsFunc(req.Fields, closes) {
		b = append(b, "Connection: close\r\n"...)
	}
	named := false // the client has been
	for _, f := range req.Fields {
		switch f.Name {
		case "Host", "Content-Length", "Transfer-Encoding", "Trailer":
			continue
		case "User-Agent": // an empty one says that none is to be sent
			if named || f.Value == "" {
				named = true
				continue
			}
			named = true
		}
		if !httpguts.ValidHeaderFieldName(f.Name) {
			return nil, fmt.Errorf("http1: invalid header field name %q", f.Name)
		}
		if !httpguts.ValidHeaderFieldValue(f.Value) {
			return nil, fmt.Errorf("http1: invalid header field value for %q", f.Name)
		}
		b = append(append(append(append(b, f.Name...), ": "...), textproto.TrimString(f.Value)...), "\r\n"...)
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

// closes reports whether a field says that the connection serves no other request.
func closes(f Field) bool {
	return f.Name == "Connection" && httpguts.HeaderValuesContainsToken([]string{f.Value}, "close")
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
