package echomodel

import (
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
)

// TestFaultOnHTTP2: without a connection to take, the stream is reset, and the next one on the connection is well.
func TestFaultOnHTTP2(t *testing.T) {
	g := newRig(t, Options{})
	ts := newHTTP2(t, g)
	for _, fault := range []string{"reset", "eof", "garbage", "reset_mid"} {
		resp, err := ts.Client().Post(ts.URL+"/v1/chat/completions", "application/json",
			strings.NewReader(faultRequest(`"`+fault+`","after":1`, `,"stream":true`)))
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "stream error") {
			t.Errorf("%s: got %v, want a stream error", fault, err)
		}
	}
	resp, err := ts.Client().Post(ts.URL+"/v1/chat/completions", "application/json", strings.NewReader(chatRequest("a", "")))
	if err != nil || resp.StatusCode != 200 || resp.ProtoMajor != 2 {
		t.Fatalf("got %v, %v", resp, err)
	}
	resp.Body.Close()
	if got := g.Stats().Connections; got != 1 {
		t.Errorf("%d connections, want 1", got)
	}
}

// TestResetThroughWrappers: Caddy wraps its connections and offers no way to what is inside; a reset must still be
// a reset, also under TLS.
func TestResetThroughWrappers(t *testing.T) {
	g := newRig(t, Options{})
	for _, secure := range []bool{false, true} {
		ts := httptest.NewUnstartedServer(g.http.Config.Handler)
		ts.Listener = wrappingListener{ts.Listener}
		httpClient := ts.Client
		if secure {
			ts.StartTLS()
		} else {
			ts.Start()
		}
		for _, fault := range []string{"reset", "reset_mid"} {
			resp, err := httpClient().Post(ts.URL+"/v1/chat/completions", "application/json",
				strings.NewReader(faultRequest(`"`+fault+`"`, "")))
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s, TLS %t: got %v, want a reset", fault, secure, err)
			}
		}
		ts.Close()
	}
}

type wrappingListener struct{ net.Listener }

func (l wrappingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &struct{ net.Conn }{struct{ net.Conn }{conn}}, nil
}

func newHTTP2(t *testing.T, g *rig) *httptest.Server {
	t.Helper()
	ts := httptest.NewUnstartedServer(g.http.Config.Handler)
	ts.EnableHTTP2 = true
	ts.StartTLS()
	t.Cleanup(ts.Close)
	return ts
}
