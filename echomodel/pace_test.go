package echomodel

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// TestPace shows by a clock of its own when what goes out.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Script: Script{TTFT: caddy.Duration(time.Second), ITL: caddy.Duration(100 * time.Millisecond)}})
		ask := func(extra string) *clocked {
			w := &clocked{start: time.Now(), ResponseRecorder: httptest.NewRecorder()}
			r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(chatRequest("a b c", extra)))
			s.ServeHTTP(w, r)
			return w
		}
		// The header goes before the wait, role and first token after it; finish and [DONE] follow the last token.
		got := fmt.Sprint(ask(`,"stream":true`).at)
		if want := "[0s 1s 1s 1.1s 1.2s 1.2s]"; got != want {
			t.Errorf("stream: got %s, want %s", got, want)
		}
		got = fmt.Sprint(ask("").at)
		if want := "[1.2s]"; got != want {
			t.Errorf("plain: got %s, want %s", got, want)
		}
		got = fmt.Sprint(ask(`,"stream":true,"n":2,"echo":{"ttft":0,"itl":"2s","tokens":2}`).at)
		if want := "[0s 0s 0s 2s 2s 2s]"; got != want {
			t.Errorf("two choices: got %s, want %s", got, want)
		}
	})
}

// clocked notes when it is written to.
type clocked struct {
	*httptest.ResponseRecorder
	start time.Time
	at    []time.Duration
}

func (w *clocked) Write(b []byte) (int, error) {
	w.at = append(w.at, time.Since(w.start))
	return w.ResponseRecorder.Write(b)
}

// TestClientGone: a client that goes in mid-stream, before the first token or before a plain answer ends the work at
// once, long before the answer would have.
func TestClientGone(t *testing.T) {
	for name, c := range map[string]struct{ extra, until string }{
		"mid-stream": {`,"stream":true,"echo":{"tokens":1000000,"itl":"1m"}`, `"w1 "`},
		"no gaps":    {`,"stream":true,"echo":{"tokens":1000000}`, `"w1 "`},
		"first wait": {`,"stream":true,"echo":{"ttft":"1h"}`, "\r\n\r\n"},
		"plain":      {`,"echo":{"ttft":"1h"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, Options{})
			conn := g.dial("/v1/chat/completions", chatRequest("a", c.extra))
			readUntil(t, conn, c.until)
			conn.Close()
			g.waitEnded()
			if got := g.Stats(); got.Canceled != 1 || got.InFlight != 0 {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// TestClose: what hangs ends visibly broken.
func TestClose(t *testing.T) {
	g := newRig(t, Options{})
	conn := g.dial("/v1/chat/completions", faultRequest(`"hang_mid"`, `,"stream":true`))
	defer conn.Close()
	readUntil(t, conn, "\r\n\r\n")
	_ = g.Close()
	if rest, err := io.ReadAll(conn); len(rest) != 0 || err != nil {
		t.Errorf("got %q, %v, want the connection closed without a last chunk", rest, err)
	}
}
