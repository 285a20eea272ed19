package http1_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/http1"
)

// captured is a connection that notes what is written, and is answered at once.
type captured struct {
	net.Conn
	text bytes.Buffer
	from *strings.Reader
}

func (c *captured) Write(p []byte) (int, error) { return c.text.Write(p) }
func (c *captured) Read(p []byte) (int, error)  { return c.from.Read(p) }
func (c *captured) Close() error                { return nil }

// written returns what http1 sends for a request, or its error.
func written(t testing.TB, r *http.Request) (string, error) {
	c := &captured{from: strings.NewReader(answerOK)}
	tr := &http1.Transport{Dial: func(context.Context, string, string) (net.Conn, error) { return c, nil }}
	res, err := tr.RoundTrip(r)
	if err != nil {
		return "", err
	}
	res.Body.Close()
	if body, ok := r.Body.(*memory); ok { // which may still be on its way
		eventually(t, "the body to be closed", func() bool { return body.closed.Load() == 1 })
	}
	return c.text.String(), nil
}

// compareHead fails the test unless http1 sends what net/http sends for a request, to
// a server that reads it as net/http does. Which requests net/http sends and http1
// does not is in [TestRefused].
func compareHead(t testing.TB, method, url, host string, header http.Header, parts ...string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil || r.URL.Scheme != "http" || r.URL.Host == "" {
		return
	}
	body := strings.Join(parts, "")
	r.Host, r.Header = host, header
	their := r.Clone(t.Context())
	if body != "" {
		r.Body = newMemory(parts...)
		their.Body, their.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	}
	if _, given := their.Header["User-Agent"]; !given {
		their.Header.Set("User-Agent", "") // none, as http1
	}
	got, err := written(t, r)
	if err != nil {
		if strings.HasPrefix(err.Error(), "http1: ") || strings.HasPrefix(err.Error(), "idna: ") {
			return
		}
		t.Fatal(err)
	}
	var want bytes.Buffer
	if err := their.Write(&want); err != nil {
		t.Errorf("http1 sends %q, net/http does not: %v", got, err)
		return
	}
	gotRequest, gotBody, problem := parsed(got)
	wantRequest, wantBody, wantProblem := parsed(want.String())
	if problem != wantProblem || gotBody != wantBody || !reflect.DeepEqual(gotRequest, wantRequest) {
		t.Errorf("got %.300q %s\nwant %.300q %s", got, problem, want.String(), wantProblem)
	}
}

// parsed reads one request, which must be all there is.
func parsed(text string) (r *http.Request, body, problem string) {
	br := bufio.NewReader(strings.NewReader(text))
	r, err := http.ReadRequest(br)
	if err != nil {
		return nil, "", err.Error()
	}
	all, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, "", err.Error()
	}
	rest, _ := io.ReadAll(br)
	r.Body = nil
	return r, string(all), string(rest)
}

// TestHead guards what is sent for a request.
func TestHead(t *testing.T) {
	f := func(method, url, host string, fields ...string) {
		t.Helper()
		for _, parts := range [][]string{nil, {"body"}, {"a", "", "b"}, {strings.Repeat("x", 40_000)}} {
			header := make(http.Header)
			for i := 0; i < len(fields); i += 2 {
				header[fields[i]] = append(header[fields[i]], fields[i+1])
			}
			compareHead(t, method, url, host, header, parts...)
		}
	}
	f("GET", "http://host", "")
	f("", "http://host/path?query", "other:8080")
	f("POST", "http://host/a%2Fb/ü?x=%20&y=ü", "")
	f("PUT", "http://[::1]:80/", "", "User-Agent", "x", "User-Agent", "y", "A", "1", "A", " 2\t")
	f("PATCH", "http://[fe80::1%25eth0]:80/", "", "User-Agent", "", "Nothing", "")
	f("DELETE", "http://bücher.example/", "bücher.example:7", "lower-case", "x")
	f("OPTIONS", "http://host/?", "", "Connection", "close", "Te", "trailers")
	f("GET", "http://host", "", "Host", "evil", "Content-Length", "9", "Transfer-Encoding", "chunked", "Trailer", "A")
	got, err := written(t, &http.Request{
		URL: mustRequest(t, "http://host/").URL, Body: newMemory("body"),
		Header: http.Header{"host": {"evil"}, "content-length": {"9"}, "transfer-encoding": {"chunked"}, "trailer": {"A"}, "X-Nil": nil},
	})
	if want := "GET / HTTP/1.1\r\nHost: host\r\nContent-Length: 4\r\n\r\nbody"; got != want || err != nil {
		t.Errorf("got %q %v, want %q", got, err, want)
	}
}

func mustRequest(t testing.TB, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// FuzzHead compares requests with net/http's, and guards that whatever stands in them
// one request is sent, no more.
func FuzzHead(f *testing.F) {
	f.Add("GET", "http://host/path?query", "", "Name", "value", "")
	f.Add("POST", "http://[fe80::1%25a]:80/%0d%0a", "a\r\nb", "Content-Length", "3", "body")
	f.Add("PUT", "http://bücher.example?a b", "bücher", "transfer-encoding", "chunked\r\n", "0\r\n\r\n")
	f.Fuzz(func(t *testing.T, method, url, host, name, value, body string) {
		if canonical := http.CanonicalHeaderKey(name); canonical == "Connection" || canonical != name && len(name) < 18 {
			name = "X-" + name // TestHead has those that frame
		}
		compareHead(t, method, url, host, http.Header{name: {value}}, body)
	})
}
