package aigateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

const mebibyte = 1 << 20

// TestBadSizes guards that a body over max_body is refused before it is read,
// or where it passes the limit.
func TestBadSizes(t *testing.T) {
	w := startWire(t)
	head := func(path, headers string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: gateway\r\n" + jsonType + headers + "\r\n"
	}
	tooLarge := func(got string) refusal {
		return refusal{413, "request_too_large", "", "request body is too large: got " + got + ", want at most 33554432 bytes"}
	}
	// Not one byte of these bodies is ever sent.
	for _, path := range []string{"/v1/chat/completions", "/v1/messages", "/v1/files", "/tokenize"} {
		w.refuses(t, head(path, "Content-Length: 34603008\r\n"), tooLarge("34603008 bytes"))
	}
	w.refuses(t, head("/v1/chat/completions", "Content-Length: 33554433\r\n"), tooLarge("33554433 bytes"))
	w.refuses(t, head("/v1/chat/completions", "Content-Length: 9223372036854775807\r\n"), tooLarge("9223372036854775807 bytes"))
	// Nor is a client asked to send a body that will be refused.
	w.refuses(t, head("/v1/chat/completions", "Content-Length: 34603008\r\nExpect: 100-continue\r\n"), tooLarge("34603008 bytes"))
	w.refuses(t, head("/metrics", "Content-Length: 34603008\r\nExpect: 100-continue\r\n"), notForwarded(`"/metrics"`))
	w.refuses(t, head("/v1/files", "Content-Length: 100\r\nContent-Encoding: gzip\r\nExpect: 100-continue\r\n"),
		refusal{415, "unsupported_content_encoding", "", `got a request body with Content-Encoding "gzip", want it without`})

	// In chunks, where the length shows only at the limit.
	chunk := fmt.Sprintf("%x\r\n%s\r\n", mebibyte, strings.Repeat(" ", mebibyte))
	for _, path := range []string{"/v1/chat/completions", "/v1/messages"} {
		w.refuses(t, head(path, "Transfer-Encoding: chunked\r\n")+strings.Repeat(chunk, 33)+"0\r\n\r\n", tooLarge("more"))
	}
	w.refuses(t, head("/v1/files", "Transfer-Encoding: chunked\r\n")+fmt.Sprintf("%x\r\n%s", 33*mebibyte, strings.Repeat(" ", 33*mebibyte)), tooLarge("more"))
	w.stillServes(t)
}

// TestBadMaxBody guards the bound of max_body to the byte.
func TestBadMaxBody(t *testing.T) {
	w := startWire(t, "max_body 100")
	body := func(length int) string { return `{"model":"d"` + strings.Repeat(" ", length-13) + `}` }
	chunked := func(body string) string {
		return fmt.Sprintf("POST /v1/files HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	}
	unknown := refusal{404, "model_not_found", "model", `the model "d" does not exist; available: a, b, c`}
	w.refuses(t, post("/v1/files", "", body(100)), unknown)
	w.refuses(t, chunked(body(100)), unknown)
	w.refuses(t, post("/v1/files", "", body(101)), refusal{413, "request_too_large", "", "request body is too large: got 101 bytes, want at most 100 bytes"})
	w.refuses(t, chunked(body(101)), refusal{413, "request_too_large", "", "request body is too large: got more, want at most 100 bytes"})
	w.stillServes(t)
}

// greedy is a body without end that fills whatever it is given, and counts.
type greedy struct{ n int64 }

func (g *greedy) Read(p []byte) (int, error) {
	g.n += int64(len(p))
	return len(p), nil
}

func (g *greedy) Close() error { return nil }

// TestBadBodyIsNotReadOn guards that little is read past the limit, however
// fast a client sends.
func TestBadBodyIsNotReadOn(t *testing.T) {
	for _, limit := range []int64{1, 100, 4096, 5000, mebibyte, defaultMaxBody, defaultMaxBody + 1} {
		g := new(greedy)
		b, err := readBody(&http.Request{Body: g, ContentLength: -1}, limit)
		if !errors.Is(err, errBodyTooLarge) || b != nil {
			t.Errorf("limit %d: got %v, want errBodyTooLarge", limit, err)
		}
		if past := g.n - limit; past > mebibyte {
			t.Errorf("limit %d: read %d bytes past it, want at most %d", limit, past, mebibyte)
		}
	}
}

// TestBadUploads guards that a body which ends too early is an error of its own,
// and nothing that an instance has to guess about.
func TestBadUploads(t *testing.T) {
	w := startWire(t)
	f := func(path, headers, sent string, want refusal) {
		t.Helper()
		w.refusesTalk(t, "POST "+path+" HTTP/1.1\r\nHost: gateway\r\n"+headers+"\r\n"+sent, true, want)
	}
	ended := refusal{400, "incomplete_body", "", "request body ended before its declared length"}
	unreadable := refusal{400, "unreadable_body", "", "request body could not be read"}
	const body = `{"model":"a","messages":[]}`
	for _, path := range []string{"/v1/chat/completions", "/v1/messages"} {
		f(path, "Content-Length: 54\r\n", body, ended)
		f(path, "Content-Length: 28\r\n", body, ended)
		f(path, "Content-Length: 1\r\n", "", ended)
		f(path, "Content-Length: 33554432\r\n", body, ended)
		f(path, "Content-Length: 1048576\r\n", strings.Repeat(" ", mebibyte/2), ended)
		f(path, "Transfer-Encoding: chunked\r\n", "36\r\n"+body, ended)
		f(path, "Transfer-Encoding: chunked\r\n", "1b\r\n"+body+"\r\n", ended)
		f(path, "Transfer-Encoding: chunked\r\n", "1b\r\n"+body, ended)
		f(path, "Transfer-Encoding: chunked\r\n", "", ended)
		f(path, "Transfer-Encoding: chunked\r\n", "xyz\r\n"+body+"\r\n0\r\n\r\n", unreadable)
		f(path, "Transfer-Encoding: chunked\r\n", "-1\r\n"+body+"\r\n0\r\n\r\n", unreadable)
		f(path, "Transfer-Encoding: chunked\r\n", "1a\r\n"+body+"\r\n0\r\n\r\n", unreadable)
		f(path, "Transfer-Encoding: chunked\r\n", "ffffffffffffffffff\r\n"+body, unreadable)
	}
	w.stillServes(t)
}

// TestBadFraming guards what net/http refuses before the gateway sees it: a
// request that two servers could divide differently.
func TestBadFraming(t *testing.T) {
	w := startWire(t)
	f := func(raw string, status int, want string) {
		t.Helper()
		k := w.dial(t)
		defer k.end()
		k.send(raw, false)
		// The connection ends with the answer: what follows could be a smuggled
		// request. It may end with a reset, for not all was read.
		text, err := io.ReadAll(k.r)
		if err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("%s\nconnection stays open: %v", excerpt(raw), err)
		}
		head, body, _ := strings.Cut(string(text), "\r\n\r\n")
		if !strings.HasPrefix(head, fmt.Sprintf("HTTP/1.1 %d ", status)) || body != want {
			t.Errorf("%s\ngot  %q\nwant %d %q", excerpt(raw), text, status, want)
		}
		w.wasNotAsked(t, raw)
	}
	head := func(headers string) string {
		return "POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\n" + headers + "\r\n" + `{"model":"a"}`
	}
	line := func(target string) string {
		return strings.Replace(head("Content-Length: 13\r\n"), "/v1/chat/completions", target, 1)
	}
	const bad, unsupported = "400 Bad Request", "Unsupported transfer encoding"
	f(head("Content-Length: 13\r\nContent-Length: 14\r\n"), 400, bad)
	f(head("Content-Length: 13, 13\r\n"), 400, bad)
	f(head("Content-Length: -1\r\n"), 400, bad)
	f(head("Content-Length: +13\r\n"), 400, bad)
	f(head("Content-Length: 0xd\r\n"), 400, bad)
	f(head("Content-Length: 9223372036854775808\r\n"), 400, bad)
	f(head("Content-Length:\r\n"), 400, bad)
	f(head("Content-Length : 13\r\n"), 400, bad+": invalid header name")
	f(head("Host: other\r\nContent-Length: 13\r\n"), 400, bad)
	f(strings.Replace(head("Content-Length: 13\r\n"), "Host: gateway\r\n", "", 1), 400, bad+": missing required Host header")
	f(strings.Replace(head("Content-Length: 13\r\n"), "Host: gateway", "Host: a b", 1), 400, bad+": malformed Host header")
	f(head("Transfer-Encoding : chunked\r\n"), 400, bad+": invalid header name")
	f(head("Transfer-Encoding: gzip, chunked\r\n"), 501, unsupported)
	f(head("Transfer-Encoding: identity\r\n"), 501, unsupported)
	f(head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 501, unsupported)
	f(head("X: a\rContent-Length: 13\r\n"), 400, bad)
	f(head("X: a\x00b\r\nContent-Length: 13\r\n"), 400, bad)
	f(head(" X: a\r\nContent-Length: 13\r\n"), 400, bad+": malformed Host header")
	f(head(": a\r\nContent-Length: 13\r\n"), 400, bad)
	f(head("X\r\nContent-Length: 13\r\n"), 400, bad)
	f(head("X-Request-Id: "+strings.Repeat("x", 2*mebibyte)+"\r\n"), 431, "431 Request Header Fields Too Large")
	f(line("%2Fv1/chat/completions"), 400, bad)
	f(line("v1/chat/completions"), 400, bad)
	f(line("/v1/chat/\tcompletions"), 400, bad)
	f(line("/v1/chat/\x00completions"), 400, bad)
	f(line("/v1/chat/\x7fcompletions"), 400, bad)
	f(line("/v1/chat/%zz"), 400, bad)
	f(line("/v1/chat/%2"), 400, bad)
	f(line("/v1/chat completions"), 400, bad)
	f(line(""), 400, bad)
	f("PO ST / HTTP/1.1\r\nHost: gateway\r\n\r\n", 400, bad)
	f("POST /v1/chat/completions\r\n\r\n", 400, bad)
	f("POST /v1/chat/completions HTTP/9.9\r\nHost: gateway\r\n\r\n", 505, "505 HTTP Version Not Supported: unsupported protocol version")
	f("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, bad)
	w.stillServes(t)
}

// TestBadPipelines guards that a request is one request: what stands behind it
// is read on its own.
func TestBadPipelines(t *testing.T) {
	w := startWire(t)
	k := w.dial(t)
	unknown := post("/v1/chat/completions", jsonType, `{"model":"d"}`)
	chunkWins := "POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nContent-Length: 13\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n"
	k.send(unknown+"GET /metrics HTTP/1.1\r\nHost: gateway\r\n\r\n"+unknown+chunkWins+"GET /v1/../sleep HTTP/1.1\r\nHost: gateway\r\n\r\n", false)
	for n, want := range []refusal{
		{404, "model_not_found", "model", `the model "d" does not exist; available: a, b, c`},
		notForwarded(`"/metrics"`),
		{404, "model_not_found", "model", `the model "d" does not exist; available: a, b, c`},
		{400, "invalid_json", "", "invalid JSON body: got an array, want a JSON object at byte 0"},
		notForwarded(`"/v1/../sleep"`),
	} {
		if res, body := k.receive(t, "POST"); res.StatusCode != want.status || body != want.text("") {
			t.Errorf("answer %d: got %d %s, want %d %s", n, res.StatusCode, body, want.status, want.text(""))
		}
	}
	w.stillServes(t)
}

// TestBadUpgrades guards that asking for an upgrade is no way around reading the
// body: its model, its size, its form.
func TestBadUpgrades(t *testing.T) {
	w := startWire(t)
	unknown := refusal{404, "model_not_found", "model", `the model "d" does not exist; available: a, b, c`}
	for _, headers := range []string{
		"Connection: Upgrade\r\n",
		"Connection: keep-alive, upgrade\r\nUpgrade: websocket\r\n",
		"Connection: Upgrade\r\nUpgrade: h2c\r\n",
	} {
		for _, path := range []string{"/v1/chat/completions?model=a", "/v1/realtime?model=a"} {
			w.refuses(t, post(path, jsonType+headers, `{"model":"d"}`), unknown)
			w.refuses(t, strings.Replace(post(path, jsonType+headers, `{"model":"d"}`), "POST", "GET", 1), unknown)
			w.refuses(t, post(path, jsonType+headers, `{`), refusal{400, "invalid_json", "", "invalid JSON body: text ends too early at byte 1"})
			w.refuses(t, "POST "+path+" HTTP/1.1\r\nHost: gateway\r\n"+jsonType+headers+"Content-Length: 34603008\r\n\r\n",
				refusal{413, "request_too_large", "", "request body is too large: got 34603008 bytes, want at most 33554432 bytes"})
		}
	}
	w.refuses(t, "GET /v1/realtime HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		refusal{400, "missing_model", "model", `model is missing, and the gateway serves more than one; available: a, b, c`})
	w.refuses(t, "GET /v1/realtime?model=d HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", unknown)
	w.refuses(t, "GET /sleep?model=a HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", notForwarded(`"/sleep"`))
	w.stillServes(t)
}
