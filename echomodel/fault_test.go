package echomodel

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"syscall"
	"testing"
	"time"
)

// faultChecks show for each fault what a client sees, one or several ways.
var faultChecks = map[string]func(t *testing.T, g *rig){
	"none": func(t *testing.T, g *rig) {
		g.SetScript(Script{Fault: "reset"}, 0)
		if a := g.chat(`"none"`, ""); a.err != nil || a.status != http.StatusOK {
			t.Errorf("got %+v", a)
		}
	},
	"status":            checkStatus,
	"loading":           checkLoading,
	"redirect":          checkRedirect,
	"html":              checkHTML,
	"empty":             checkEmpty,
	"hang":              checkHang,
	"headers_then_hang": checkHeadersThenHang,
	"reset":             func(t *testing.T, g *rig) { checkRaw(t, g, "reset", "", syscall.ECONNRESET) },
	"eof":               func(t *testing.T, g *rig) { checkRaw(t, g, "eof", "", nil) },
	"garbage":           func(t *testing.T, g *rig) { checkMalformed(t, g, "garbage", "malformed HTTP") },
	"bad_length":        func(t *testing.T, g *rig) { checkMalformed(t, g, "bad_length", "twelve") },
	"two_lengths":       func(t *testing.T, g *rig) { checkMalformed(t, g, "two_lengths", "Content-Length") },
	"big_header":        checkBigHeader,
	"early_hints":       checkEarlyHints,
	"wrong_type": func(t *testing.T, g *rig) {
		a := g.chat(`"wrong_type"`, `,"stream":true`)
		if got := a.header.Get("Content-Type"); got != "application/json" || readChat(t, a.body, false)[0].text != "a b c" {
			t.Errorf("Content-Type %q, body %s", got, a.body)
		}
	},
	"gzip":        checkGzip,
	"slow_drip":   checkSlowDrip,
	"sleep":       checkSleep,
	"reset_mid":   func(t *testing.T, g *rig) { checkCut(t, g, "reset_mid", syscall.ECONNRESET) },
	"eof_mid":     func(t *testing.T, g *rig) { checkCut(t, g, "eof_mid", io.ErrUnexpectedEOF) },
	"truncate":    func(t *testing.T, g *rig) { checkCut(t, g, "truncate", io.ErrUnexpectedEOF); checkTruncate(t, g) },
	"hang_mid":    checkHangMid,
	"bad_chunk":   checkBadChunk,
	"error_event": checkErrorEvent,
	"no_done":     checkNoDone,
	"after_done":  checkAfterDone,
}

func TestFaults(t *testing.T) {
	for _, name := range FaultNames() {
		t.Run(name, func(t *testing.T) {
			check, ok := faultChecks[name]
			if !ok {
				t.Fatal("no check")
			}
			g := newRig(t, Options{})
			check(t, g)
			g.ClearScript()
			if a := g.chat(`"none"`, `,"stream":true`); a.err != nil || !strings.HasSuffix(a.body, "[DONE]\n\n") {
				t.Errorf("the request after it: got %+v", a)
			}
			if got := g.Stats().ByFault[name]; got == 0 && name != "none" {
				t.Error("fault not counted")
			}
		})
	}
}

// faultRequest is a chat with the fault, which may bring more members of echo with it: `"status","status":503`.
func faultRequest(fault, extra string) string {
	return chatRequest("a b c", extra+`,"echo":{"fault":`+fault+`}`)
}

func (g *rig) chat(fault, extra string) answer {
	g.t.Helper()
	return g.post("/v1/chat/completions", faultRequest(fault, extra))
}

func checkStatus(t *testing.T, g *rig) {
	for _, c := range []struct {
		members, path string
		status        int
		header, value string
		body          string
	}{
		{
			``, "/v1/chat/completions", 500, "", "",
			`{"error":{"message":"echo_model fault: status 500","type":"InternalServerError","param":null,"code":500}}`,
		},
		{
			`,"status":503,"retry_after":"2"`, "/v1/chat/completions", 503, "Retry-After", "2",
			`{"error":{"message":"echo_model fault: status 503","type":"Service Unavailable","param":null,"code":503}}`,
		},
		{
			`,"status":429,"retry_after":"ms:1500"`, "/v1/messages", 429, "Retry-After-Ms", "1500",
			`{"type":"error","error":{"type":"rate_limit_error","message":"echo_model fault: status 429"}}`,
		},
		{`,"status":400,"retry_after":"soon","body":"too long"`, "/v1/chat/completions", 400, "Retry-After", "soon", "too long"},
		{`,"status":422,"body":{"a":[1]}`, "/v1/chat/completions", 422, "", "", `{"a":[1]}`},
	} {
		a := g.post(c.path, faultRequest(`"status"`+c.members, ""))
		if a.status != c.status || a.body != c.body || a.header.Get(c.header) != c.value {
			t.Errorf("%s: got %+v", c.members, a)
		}
	}
	a := g.chat(`"status","retry_after":"date:60s"`, "")
	at, err := http.ParseTime(a.header.Get("Retry-After"))
	if in := time.Until(at); err != nil || in < 50*time.Second || in > 61*time.Second {
		t.Errorf("Retry-After %q: %v", a.header.Get("Retry-After"), err)
	}
}

func checkLoading(t *testing.T, g *rig) {
	if a := g.chat(`"loading"`, ""); a.status != 503 || !strings.Contains(a.body, "Loading model") {
		t.Errorf("got %+v", a)
	}
	if a := g.do("GET", "/health", ""); a.status != 200 {
		t.Errorf("health by one request's script: got %+v", a)
	}
	g.SetScript(Script{Fault: "loading"}, 1)
	for range 2 { // asking takes nothing off the count
		if a := g.do("GET", "/health", ""); a.status != 503 {
			t.Errorf("health: got %+v", a)
		}
	}
}

func checkRedirect(t *testing.T, g *rig) {
	a := g.chat(`"redirect","location":"http://127.0.0.2/x"`, "")
	if a.status != 307 || a.header.Get("Location") != "http://127.0.0.2/x" {
		t.Errorf("got %+v", a)
	}
	if a := g.chat(`"redirect","status":302`, ""); a.status != 302 || !strings.Contains(a.header.Get("Location"), "169.254") {
		t.Errorf("got %+v", a)
	}
}

func checkHTML(t *testing.T, g *rig) {
	a := g.chat(`"html"`, "")
	if a.status != 200 || !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") || !strings.Contains(a.body, "<form") {
		t.Errorf("got %+v", a)
	}
}

func checkEmpty(t *testing.T, g *rig) {
	for extra, want := range map[string]string{"": "application/json", `,"stream":true`: "text/event-stream; charset=utf-8"} {
		a := g.chat(`"empty"`, extra)
		if a.status != 200 || a.body != "" || a.err != nil || a.header.Get("Content-Type") != want {
			t.Errorf("got %+v, want %s", a, want)
		}
	}
}

// checkHang: not a byte until the client goes, which the server sees at once.
func checkHang(t *testing.T, g *rig) {
	conn := g.dial("/v1/chat/completions", faultRequest(`"hang"`, ""))
	expectSilence(t, conn)
	conn.Close()
	g.waitEnded()
	if got := g.Stats().Canceled; got != 1 {
		t.Errorf("canceled %d, want 1", got)
	}
}

// expectSilence shows that nothing comes for a while; waiting is all that can show it.
func expectSilence(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	n, err := conn.Read(make([]byte, 1))
	var timeout net.Error
	if n != 0 || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("read %d bytes, %v; want silence", n, err)
	}
}

// readUntil reads until what has come ends with the text.
func readUntil(t *testing.T, conn net.Conn, end string) string {
	t.Helper()
	var got []byte
	b := make([]byte, 1)
	for !bytes.HasSuffix(got, []byte(end)) {
		if _, err := conn.Read(b); err != nil {
			t.Fatalf("got %q, then %v, before %q", got, err, end)
		}
		got = append(got, b...)
	}
	return string(got)
}

func checkHeadersThenHang(t *testing.T, g *rig) {
	conn := g.dial("/v1/chat/completions", faultRequest(`"headers_then_hang"`, `,"stream":true`))
	defer conn.Close()
	if got := readUntil(t, conn, "\r\n\r\n"); !strings.Contains(got, "200 OK") || !strings.Contains(got, "text/event-stream") {
		t.Errorf("header %q", got)
	}
	expectSilence(t, conn)
	conn.Close()
	g.waitEnded()
}

// checkRaw: these bytes, then this end (nil is FIN), for a plain answer and a stream.
func checkRaw(t *testing.T, g *rig, fault, want string, end error) {
	t.Helper()
	for _, extra := range []string{"", `,"stream":true`} {
		if got, err := g.raw("/v1/chat/completions", faultRequest(`"`+fault+`"`, extra)); got != want || !errors.Is(err, end) {
			t.Errorf("got %q, %v; want %q, %v", got, err, want, end)
		}
	}
}

// checkMalformed: Go's client refuses the answer for the reason given.
func checkMalformed(t *testing.T, g *rig, fault, reason string) {
	t.Helper()
	if a := g.chat(`"`+fault+`"`, ""); a.err == nil || !strings.Contains(a.err.Error(), reason) {
		t.Errorf("got %+v, want an error with %q", a, reason)
	}
}

func checkBigHeader(t *testing.T, g *rig) {
	a := g.chat(`"big_header"`, "")
	if a.err != nil || len(a.header.Get("X-Big")) != 12<<20 || readChat(t, a.body, false)[0].text != "a b c" {
		t.Errorf("%d bytes, %v", len(a.header.Get("X-Big")), a.err)
	}
	if a := g.chat(`"big_header","size":100`, ""); len(a.header.Get("X-Big")) != 100 {
		t.Errorf("%d bytes, want 100", len(a.header.Get("X-Big")))
	}
}

func checkEarlyHints(t *testing.T, g *rig) {
	seen := map[int]int{}
	req, err := http.NewRequest("POST", g.http.URL+"/v1/chat/completions",
		strings.NewReader(faultRequest(`"early_hints","size":7`, "")))
	if err != nil {
		t.Fatal(err)
	}
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
		seen[code]++
		return nil
	}}
	a := send(req.WithContext(httptrace.WithClientTrace(t.Context(), trace)))
	if a.status != 200 || seen[102] != 4 || seen[103] != 3 {
		t.Errorf("got %+v after %v", a, seen)
	}
	got, err := g.raw("/v1/chat/completions", faultRequest(`"early_hints"`, ""))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(got, "HTTP/1.1 10"); n != 10_000 {
		t.Errorf("%d answers 1xx, want 10000", n)
	}
}

func checkGzip(t *testing.T, g *rig) {
	for _, extra := range []string{"", `,"stream":true`} {
		a := g.chat(`"gzip"`, extra)
		if a.header.Get("Content-Encoding") != "gzip" {
			t.Fatalf("got %+v", a)
		}
		gz, err := gzip.NewReader(strings.NewReader(a.body))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(gz)
		if err != nil || readChat(t, string(b), extra != "")[0].text != "a b c" {
			t.Errorf("got %s, %v", b, err)
		}
	}
}

func checkSlowDrip(t *testing.T, g *rig) {
	for _, extra := range []string{"", `,"stream":true`} {
		start := time.Now()
		a := g.chat(`"slow_drip","itl":"100us"`, extra)
		if a.err != nil || a.status != 200 || readChat(t, a.body, extra != "")[0].text != "a b c" {
			t.Errorf("got %+v", a)
		}
		if took := time.Since(start); took < 100*100*time.Microsecond { // the header has more than 100 bytes
			t.Errorf("header after %v", took)
		}
	}
	g.waitEnded()
	g.waitEnded()
	conn := g.dial("/v1/chat/completions", faultRequest(`"slow_drip","itl":"1m"`, ""))
	conn.Close()
	g.waitEnded() // although the server does not watch the connection any more
	if got := g.Stats().Canceled; got != 1 {
		t.Errorf("canceled %d, want 1", got)
	}
}

func checkSleep(t *testing.T, g *rig) {
	if a := g.do("GET", "/is_sleeping", ""); a.body != `{"is_sleeping":false}` {
		t.Errorf("got %+v", a)
	}
	g.SetScript(Script{Fault: "sleep"}, 0)
	if a := g.do("GET", "/is_sleeping", ""); a.body != `{"is_sleeping":true}` {
		t.Errorf("got %+v", a)
	}
	if a := g.post("/v1/chat/completions", chatRequest("a", "")); a.status != 200 {
		t.Errorf("got %+v", a)
	}
}
