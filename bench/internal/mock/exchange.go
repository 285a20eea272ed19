package mock

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http/httputil"
	"strconv"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/bench/internal/chat"
)

// Heads of answers, with the members that vLLM's server sends.
const (
	wholeHead  = "HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\nserver: uvicorn\r\ncontent-type: application/json\r\ncontent-length: "
	streamHead = "HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
	modelList  = `{"object":"list","data":[{"id":"` + chat.Model + `","object":"model","created":1700000000,"owned_by":"bench"}]}`
)

// errHead is returned when a request is not HTTP/1.1 as proxies write it.
var errHead = errors.New("malformed request head")

// serve answers requests until the peer goes away.
func (c *conn) serve() {
	defer c.Close() //nolint:errcheck // the peer went, or talks nonsense
	var a chat.Answer
	for {
		isChat, err := c.readRequest()
		if err != nil {
			return
		}
		if !isChat {
			err = c.writeWhole("200 OK", []byte(modelList))
		} else if o, perr := chat.Parse(c.body.Bytes(), &a); perr != nil {
			err = c.writeWhole("400 Bad Request", fmt.Appendf(nil, `{"error":{"message":%q}}`, perr))
		} else if o.Stream {
			err = c.stream(&a, o)
		} else {
			time.Sleep(o.Gap * time.Duration(o.Tokens))
			c.out = append(c.out[:0], wholeHead...)
			c.whole = a.AppendWhole(c.whole[:0])
			c.out = strconv.AppendInt(c.out, int64(len(c.whole)), 10)
			c.out = append(append(c.out, "\r\n\r\n"...), c.whole...)
			_, err = c.Write(c.out)
		}
		if err != nil {
			return
		}
	}
}

// readRequest reads a request, its body into c.body, and reports whether it
// asks for a chat completion.
func (c *conn) readRequest() (isChat bool, err error) {
	length, chunked := int64(0), false
	line, err := c.br.ReadSlice('\n')
	if err != nil {
		return false, err
	}
	isChat = bytes.HasPrefix(line, []byte("POST ")) && bytes.Contains(line, []byte("/chat/completions "))
	for {
		line, err = c.br.ReadSlice('\n')
		if err != nil {
			return false, err
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			break
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case !ok:
			return false, errHead
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.ParseInt(string(value), 10, 64); err != nil {
				return false, errHead
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = true
		}
	}
	c.body.Reset()
	if chunked {
		return isChat, c.readChunked()
	}
	c.body.Grow(int(length) + bytes.MinRead)
	_, err = io.CopyN(&c.body, c.br, length)
	return isChat, err
}

func (c *conn) readChunked() error {
	if _, err := c.body.ReadFrom(httputil.NewChunkedReader(c.br)); err != nil {
		return err
	}
	for { // the reader leaves the trailer section, which ends with an empty line
		line, err := c.br.ReadSlice('\n')
		if err != nil || len(bytes.TrimRight(line, "\r\n")) == 0 {
			return err
		}
	}
}

func (c *conn) writeWhole(status string, body []byte) error {
	c.out = fmt.Appendf(c.out[:0], "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
	_, err := c.Write(c.out)
	return err
}

// stream writes head and events. Tokens are due at fixed times from the start
// on: a slow reader does not slow a model down.
func (c *conn) stream(a *chat.Answer, o chat.Order) error {
	if _, err := io.WriteString(c.Conn, streamHead); err != nil {
		return err
	}
	start := time.Now()
	for i := range a.Events() {
		if n, ok := a.Token(i); ok && n > 0 && o.Gap > 0 {
			time.Sleep(time.Until(start.Add(time.Duration(n) * o.Gap)))
		}
		c.out = appendChunk(c.out[:0], a, i, time.Now().UnixNano())
		if i == a.Events()-1 {
			c.out = append(c.out, "0\r\n\r\n"...)
		}
		if _, err := c.Write(c.out); err != nil {
			return err
		}
	}
	return nil
}

// appendChunk appends event i as an HTTP chunk. The chunk's size has leading
// zeros, so that it can be written before the event is.
func appendChunk(dst []byte, a *chat.Answer, i int, now int64) []byte {
	const hex = "0123456789abcdef"
	at := len(dst)
	dst = append(dst, "0000\r\n"...)
	dst = a.AppendEvent(dst, i, now)
	size := len(dst) - at - 6
	for d := range 4 {
		dst[at+d] = hex[size>>(12-4*d)&15]
	}
	return append(dst, "\r\n"...)
}
