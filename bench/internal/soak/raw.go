package soak

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// rawFaults are those of clients whose requests no library would send. Each has a
// connection of its own.
var rawFaults = []*fault{
	text("no JSON", "C7", `{"model":`+quoted(Model)+`,"messages":[}`, 400),
	text("nothing", "C7", ``, 400),
	text("null", "C7", `null`, 400),
	text("an array", "C7", `[{"model":`+quoted(Model)+`}]`, 400),
	text("too deep", "C8", `{"model":`+quoted(Model)+`,"messages":`+strings.Repeat("[", 100_000), 400),
	text("two models", "C9", `{"model":`+quoted(Model)+`,"mod\u0065l":"other","messages":[]}`, 400),
	text("model is a number", "C10", `{"model":7,"messages":[]}`, 400),
	text("unknown model", "C10", `{"model":"nobody/has\nit","messages":[]}`, 404),
	text("half a character as model", "C10", `{"model":"\ud800","messages":[]}`, 404),

	head("gzip request", "C15", `POST /v1/chat/completions`, "Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd", 415),
	head("form", "C12", `POST /v1/chat/completions`, "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 7\r\n\r\n--b--\r\n", 415),
	head("too large", "C6", `POST /v1/chat/completions`, "Content-Type: application/json\r\nContent-Length: 70000000\r\n\r\n{", 413),
	head("unknown path", "X6", `POST /v1/nothing`, "Content-Length: 0\r\n\r\n", 404),
	head("path with dots", "X6", `POST /v1/../metrics`, "Content-Length: 0\r\n\r\n", 404),
	head("path with two slashes", "X6", `POST /v1//chat/completions`, "Content-Length: 2\r\n\r\n{}", 404),
	head("engine's own path", "X6", `POST /v1/load_lora_adapter`, "Content-Length: 2\r\n\r\n{}", 404),
	head("wrong method", "C10", `DELETE /v1/models`, "Content-Length: 0\r\n\r\n", 405),
	head("two lengths", "C23", `POST /v1/chat/completions`, "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
	head("two hosts", "C23", `POST /v1/chat/completions`, "Host: other\r\nContent-Length: 2\r\n\r\n{}", 400),
	head("blank before a colon", "C23", `POST /v1/chat/completions`, "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
	head("unknown coding", "C23", `POST /v1/chat/completions`, "Transfer-Encoding: rot13\r\n\r\n{}", 501),
	head("bad chunk of a request", "C13", `POST /v1/chat/completions`, "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),

	{name: "no key", row: "X3", ends: []string{status(401)}, client: keyless("")},
	{name: "unknown key", row: "X3", ends: []string{status(401)}, client: keyless("Authorization: Bearer aig-" + strings.Repeat("7", 40) + "\r\n")},
	{name: "request in chunks", row: "C13", ends: []string{Whole}, client: chunked},
	{name: "HTTP/1.0", row: "C16", ends: []string{Whole}, client: old},
	{name: "expects 100", row: "C14", ends: []string{Whole}, client: expecting},
	{name: "two in a row", row: "C23", plain: true, ends: []string{Whole}, client: pipelined},
	{name: "WebSocket", row: "C18", ends: []string{Whole}, client: webSocket},
	{name: "stops uploading", row: "C5", ends: []string{Left}, client: leaveUpload},
	{name: "stops in the head", row: "C19", ends: []string{Left}, client: leaveHead},
}

func quoted(s string) string { return `"` + s + `"` }

// text is the fault of a body that is refused.
func text(name, row, body string, code int) *fault {
	return head(name, row, "POST /v1/chat/completions", fmt.Sprintf("Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body), code)
}

// head is the fault of a request that is refused by its head, or by rest, all behind
// its first fields.
func head(name, row, target, rest string, code int) *fault {
	return &fault{name: name, row: row, ends: []string{status(code)}, client: func(c *Client, _ *Plan, o *Outcome) {
		conn, err := c.dial(net.Dialer{})
		if err != nil {
			o.End = unanswered(err)
			return
		}
		defer conn.Close() //nolint:errcheck // whatever it says, it is not used again
		// An error of writing may hide an answer that has come already.
		_, _ = fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n%s", target, c.address, c.key, rest)
		o.read(conn.reader, nil)
	}}
}

// connection is one to the gateway.
type connection struct {
	net.Conn
	reader *bufio.Reader
}

func (c *Client) dial(d net.Dialer) (*connection, error) {
	d.Timeout = 10 * time.Second
	conn, err := d.Dial("tcp", c.address)
	if err != nil {
		return nil, err
	}
	return &connection{conn, bufio.NewReader(conn)}, conn.SetDeadline(time.Now().Add(time.Minute))
}

// read reads an answer; p is nil if none with 200 is due.
func (o *Outcome) read(r *bufio.Reader, p *Plan) {
	res, err := http.ReadResponse(r, nil)
	for err == nil && res.StatusCode < 200 {
		res, err = http.ReadResponse(r, nil)
	}
	if err != nil {
		o.End = unanswered(err)
		return
	}
	defer res.Body.Close()
	o.ID, o.Upstream = res.Header.Get("X-Ai-Gateway-Request-Id"), res.Header.Get("X-Ai-Gateway-Upstream")
	if res.StatusCode != http.StatusOK || p == nil {
		o.End = status(res.StatusCode)
		o.refusal(res.Body)
		return
	}
	var g reading
	stream := strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream")
	if stream {
		err = g.stream(res.Body, nil)
	} else {
		err = g.whole(res.Body)
	}
	o.Tokens, o.End = g.tokens, g.end(p, stream, err)
}

// keyless asks with the wrong key, or none, and from an address that no other
// request comes from: the gateway stops listening to those that guess.
func keyless(field string) func(c *Client, p *Plan, o *Outcome) {
	return func(c *Client, p *Plan, o *Outcome) {
		from := &net.TCPAddr{IP: net.IPv4(127, 77, byte(p.N>>8), byte(p.N))}
		conn, err := c.dial(net.Dialer{LocalAddr: from})
		if err != nil {
			o.End = unanswered(err)
			return
		}
		defer conn.Close() //nolint:errcheck // as above
		body := p.body()
		_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			p.api.path, c.address, field, len(body), body)
		o.read(conn.reader, nil)
	}
}

// raw sends the pieces, one write each, and reads the answer to p.
func (c *Client) raw(p *Plan, o *Outcome, pieces ...string) {
	conn, err := c.dial(net.Dialer{})
	if err != nil {
		o.End = unanswered(err)
		return
	}
	defer conn.Close() //nolint:errcheck // as above
	for _, piece := range pieces {
		if _, err := io.WriteString(conn, piece); err != nil {
			o.End = unanswered(err)
			return
		}
	}
	o.read(conn.reader, p)
}

// fields begins a request in raw form.
func (c *Client) fields(p *Plan, version string) string {
	return fmt.Sprintf("POST %s HTTP/%s\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n", p.api.path, version, c.address, c.key)
}

// chunked sends the body in chunks, with a trailer.
func chunked(c *Client, p *Plan, o *Outcome) {
	body := p.body()
	half := len(body) / 2
	c.raw(p, o, c.fields(p, "1.1")+"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n",
		fmt.Sprintf("%x\r\n%s\r\n", half, body[:half]), fmt.Sprintf("%x;ext=1\r\n%s\r\n", len(body)-half, body[half:]), "0\r\nX-Sum: 1\r\n\r\n")
}

// old speaks HTTP/1.0, where an answer ends with its connection: of one that is broken
// off the error event alone tells.
func old(c *Client, p *Plan, o *Outcome) {
	body := p.body()
	c.raw(p, o, fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", c.fields(p, "1.0"), len(body), body))
	if o.End == Told {
		o.End = Broken
	}
}

// expecting waits for 100 Continue before it sends the body.
func expecting(c *Client, p *Plan, o *Outcome) {
	conn, err := c.dial(net.Dialer{})
	if err != nil {
		o.End = unanswered(err)
		return
	}
	defer conn.Close() //nolint:errcheck // as above
	body := p.body()
	_, _ = fmt.Fprintf(conn, "%sExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", c.fields(p, "1.1"), len(body))
	res, err := http.ReadResponse(conn.reader, nil)
	if err != nil {
		o.End = unanswered(err)
		return
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusContinue {
		o.End = "instead of 100: " + status(res.StatusCode)
		return
	}
	_, _ = conn.Write(body)
	o.read(conn.reader, p)
}

// pipelined sends a second request before it reads the answer to the first. Only one
// of them has the mark of its number: the other asks for the models.
func pipelined(c *Client, p *Plan, o *Outcome) {
	conn, err := c.dial(net.Dialer{})
	if err != nil {
		o.End = unanswered(err)
		return
	}
	defer conn.Close() //nolint:errcheck // as above
	body := p.body()
	_, _ = fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n%sGET /v1/models HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n",
		c.fields(p, "1.1"), len(body), body, c.address, c.key)
	o.read(conn.reader, p)
	if o.End != Whole {
		return
	}
	var second Outcome
	second.read(conn.reader, nil)
	if second.End != status(http.StatusOK) && second.End != Nothing { // a reload may come between the two
		o.End = "the second of two in a row: " + second.End
	}
}

// webSocket says something to the echo model, which repeats it.
func webSocket(c *Client, _ *Plan, o *Outcome) {
	conn, err := c.dial(net.Dialer{})
	if err != nil {
		o.End = unanswered(err)
		return
	}
	defer conn.Close() //nolint:errcheck // as above
	_, _ = fmt.Fprintf(conn, "GET /v1/realtime?model=%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", Model, c.address, c.key)
	res, err := http.ReadResponse(conn.reader, nil)
	if err != nil {
		o.End = unanswered(err)
		return
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusSwitchingProtocols {
		o.End = status(res.StatusCode)
		return
	}
	const said = "hello"
	_, _ = io.WriteString(conn, "\x81\x85\x00\x00\x00\x00"+said) // a text of 5 bytes, with a mask of zeros
	heard := make([]byte, 2+len(said))
	if _, err := io.ReadFull(conn.reader, heard); err != nil {
		o.End = unanswered(err) // a reload ends it
		return
	}
	if o.End = Whole; string(heard) != "\x81\x05"+said {
		o.End = fmt.Sprintf("wrong: got %q, want %q in a frame", heard, said)
	}
}

// leaveUpload leaves with half of the body sent.
func leaveUpload(c *Client, p *Plan, o *Outcome) {
	body := p.body()
	c.leave(o, fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", c.fields(p, "1.1"), len(body), body[:len(body)/2]))
}

// leaveHead leaves with half of the head sent.
func leaveHead(c *Client, p *Plan, o *Outcome) { c.leave(o, c.fields(p, "1.1")) }

func (c *Client) leave(o *Outcome, sent string) {
	conn, err := c.dial(net.Dialer{})
	if err != nil {
		o.End = unanswered(err)
		return
	}
	_, _ = io.WriteString(conn, sent)
	time.Sleep(200 * time.Millisecond) // as a client does that has lost its way
	if err := conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		o.End = "leaving: " + err.Error()
		return
	}
	o.End = Left
}
