package echomodel

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// patience bounds what a test waits for; a good run never comes near it.
const patience = 10 * time.Second

// rig is a Server behind a real socket.
type rig struct {
	*Server
	t     *testing.T
	http  *httptest.Server
	ended chan struct{} // one message for each request whose ServeHTTP has returned or panicked
}

func newRig(t *testing.T, opts Options) *rig {
	t.Helper()
	g := &rig{Server: New(opts), t: t, ended: make(chan struct{}, 1000)}
	g.http = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { g.ended <- struct{}{} }()
		g.ServeHTTP(w, r)
	}))
	g.http.Config.ErrorLog = nil
	t.Cleanup(func() {
		_ = g.Close()
		g.http.CloseClientConnections()
		g.http.Close()
	})
	return g
}

// waitEnded waits for the end of a request in the server.
func (g *rig) waitEnded() {
	g.t.Helper()
	select {
	case <-g.ended:
	case <-time.After(patience):
		g.t.Fatal("the request has not ended")
	}
}

// client follows no redirect, keeps no connection, and asks for no encoding.
var client = &http.Client{
	Transport: &http.Transport{
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 32 << 20,
	},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       patience,
}

// answer is what a client got; err is that of the exchange or of reading the body.
type answer struct {
	status int
	header http.Header
	body   string
	err    error
}

func (g *rig) do(method, path, body string) answer {
	g.t.Helper()
	req, err := http.NewRequest(method, g.http.URL+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	return send(req)
}

func send(req *http.Request) answer {
	resp, err := client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(b), err}
}

func (g *rig) post(path, body string) answer {
	g.t.Helper()
	return g.do(http.MethodPost, path, body)
}

// raw sends a request over a bare connection and returns all bytes that come back until it ends, and how it ended.
func (g *rig) raw(path, body string) (string, error) {
	g.t.Helper()
	conn := g.dial(path, body)
	defer conn.Close()
	b, err := io.ReadAll(conn)
	return string(b), err
}

func (g *rig) dial(path, body string) net.Conn {
	g.t.Helper()
	conn, err := net.Dial("tcp", g.http.Listener.Addr().String())
	if err != nil {
		g.t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		g.t.Fatal(err)
	}
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: echo\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
	if err != nil {
		g.t.Fatal(err)
	}
	return conn
}

// event is one of a stream.
type event struct{ name, data string }

func events(t *testing.T, stream string) (out []event) {
	t.Helper()
	if stream == "" {
		return nil
	}
	for block := range strings.SplitSeq(strings.TrimSuffix(stream, "\n\n"), "\n\n") {
		var e event
		sc := bufio.NewScanner(strings.NewReader(block))
		sc.Buffer(nil, 1<<24)
		for sc.Scan() {
			key, value, _ := strings.Cut(sc.Text(), ": ")
			switch key {
			case "event":
				e.name = value
			case "data":
				e.data = value
			case "":
			default:
				t.Fatalf("line %q in stream %q", sc.Text(), stream)
			}
		}
		out = append(out, e)
	}
	return out
}

// decode parses s into a T and fails the test on bytes that are no JSON.
func decode[T any](t *testing.T, s string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("parsing %q: %v", s, err)
	}
	return v
}

// chatRequest is a chat with extra members, such as `,"stream":true`.
func chatRequest(text, extra string) string {
	return `{"model":"m","messages":[{"role":"system","content":"be brief"},{"role":"user","content":` +
		string(appendString(nil, text)) + `}]` + extra + `}`
}
