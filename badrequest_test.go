package aigateway

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// wire is a gateway that answers for every host name, over an instance that
// should be asked nothing, and is spoken to byte by byte.
type wire struct {
	address string
	*witness
}

// startWire runs a gateway with the models a, b and, of the fallback tier, c.
func startWire(t testing.TB, options ...string) *wire {
	t.Helper()
	w := &wire{address: freeAddress(t), witness: startWitness(t, nil)}
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "config.json5"), fmt.Sprintf(`{
		instances: [{url: '%[1]s/v1', model_name: 'a'}, {url: '%[1]s/v1', model_name: 'b'}],
		fallback_instances: [{url: '%[1]s/v1', model_name: 'c'}],
	}`, w.URL))
	_, port, _ := strings.Cut(w.address, ":")
	loadCaddyfile(t, filepath.Join(dir, "Caddyfile"),
		fmt.Sprintf("http://:%s {\n\tbind 127.0.0.1\n\tai_gateway {\n\t\t%s\n\t}\n}\n", port, strings.Join(options, "\n\t\t")))
	return w
}

// talk is one connection to the gateway. What is sent goes out beside the
// reading, for the gateway may answer before it has taken all.
type talk struct {
	*net.TCPConn
	r       *bufio.Reader
	sending sync.WaitGroup
}

func (w *wire) dial(t testing.TB) *talk {
	t.Helper()
	c, err := net.Dial("tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	k := &talk{TCPConn: c.(*net.TCPConn), r: bufio.NewReader(c)}
	t.Cleanup(k.end)
	return k
}

func (k *talk) send(raw string, closeAfter bool) {
	k.sending.Go(func() {
		io.WriteString(k, raw) // the gateway may have closed already, which its answer tells
		if closeAfter {
			k.CloseWrite()
		}
	})
}

func (k *talk) end() {
	k.Close()
	k.sending.Wait()
}

// receive returns the next answer, to a request of that method.
func (k *talk) receive(t testing.TB, method string) (*http.Response, string) {
	t.Helper()
	res, err := http.ReadResponse(k.r, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("reading the gateway's answer: %v", err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("reading the gateway's answer with status %d: %v", res.StatusCode, err)
	}
	return res, string(body)
}

// refusal is an answer of the gateway's own to a client's mistake.
type refusal struct {
	status               int
	code, param, message string
}

// text returns the body that r has in the API of path, written without the
// code under test.
func (r refusal) text(path string) string {
	quoted := func(s string) string {
		if s == "" {
			return "null"
		}
		text, _ := json.Marshal(s) // a string always encodes
		return string(text)
	}
	if strings.HasPrefix(path, "/v1/messages") {
		kind := map[int]string{404: "not_found_error", 413: "request_too_large"}[r.status]
		if kind == "" {
			kind = "invalid_request_error"
		}
		return fmt.Sprintf(`{"error":{"message":%s,"type":"%s"},"type":"error"}`+"\n", quoted(r.message), kind)
	}
	return fmt.Sprintf(`{"error":{"code":%s,"message":%s,"param":%s,"type":"invalid_request_error"}}`+"\n",
		quoted(r.code), quoted(r.message), quoted(r.param))
}

// refuses sends raw, a whole request, and checks that the answer is want and
// that no instance heard of it.
func (w *wire) refuses(t testing.TB, raw string, want refusal) {
	t.Helper()
	w.refusesTalk(t, raw, false, want)
}

func (w *wire) refusesTalk(t testing.TB, raw string, closeAfter bool, want refusal) {
	t.Helper()
	k := w.dial(t)
	defer k.end()
	k.send(raw, closeAfter)
	method, rest, _ := strings.Cut(raw, " ")
	path, _, _ := strings.Cut(rest, " ")
	res, body := k.receive(t, method)
	if res.StatusCode != want.status || method != http.MethodHead && body != want.text(path) {
		t.Errorf("%s\ngot  %d %s\nwant %d %s", excerpt(raw), res.StatusCode, strings.TrimSpace(body), want.status, strings.TrimSpace(want.text(path)))
	} else if got := res.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("%s\ngot Content-Type %q, want application/json", excerpt(raw), got)
	}
	w.wasNotAsked(t, raw)
}

// wasNotAsked checks that no request has reached the instance since it was
// last called.
func (w *wire) wasNotAsked(t testing.TB, raw string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.seen) > 0 {
		t.Errorf("%s\nthe instance was asked %s %s with body %s", excerpt(raw), w.seen[0].method, w.seen[0].uri, quote(w.seen[0].body))
		w.seen = nil
	}
}

// excerpt shows both ends of a request.
func excerpt(raw string) string {
	if len(raw) > 300 {
		raw = raw[:200] + " … " + raw[len(raw)-100:]
	}
	return strconv.Quote(raw)
}

// stillServes checks that a right request reaches the instance.
func (w *wire) stillServes(t testing.TB) {
	t.Helper()
	w.wasNotAsked(t, "all of the above")
	k := w.dial(t)
	defer k.end()
	k.send(post("/v1/chat/completions", "", `{"model":"a"}`), false)
	if res, body := k.receive(t, "POST"); res.StatusCode != 200 || w.count() != 1 {
		t.Errorf("a right request: got %d %s, instance asked %d times", res.StatusCode, body, w.count())
	}
}

// post returns a request with a body. Headers are whole lines with their ends.
func post(target, headers, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: gateway\r\n%sContent-Length: %d\r\n\r\n%s", target, headers, len(body), body)
}

const jsonType = "Content-Type: application/json\r\n"
