package http1_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// BenchmarkExchange makes posts with answers of 1 KB over loopback, of several sizes,
// through http1 and through net/http. The server is as cheap as can be, and the same
// for both.
func BenchmarkExchange(b *testing.B) {
	answer := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\nDate: Mon, 23 Nov 2026 17:26:27 GMT\r\n\r\n" + strings.Repeat("a", 1000)
	s := serve(b, func(_ int, c *net.TCPConn, br *bufio.Reader) {
		for {
			length := 0
			for {
				line, err := br.ReadSlice('\n')
				if err != nil {
					return
				}
				if digits, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
					for _, digit := range digits[:len(digits)-2] {
						length = 10*length + int(digit-'0')
					}
				}
				if len(line) == 2 {
					break
				}
			}
			br.Discard(length)
			io.WriteString(c, answer)
		}
	})
	stock := &http.Transport{MaxIdleConnsPerHost: 100, DisableCompression: true}
	b.Cleanup(stock.CloseIdleConnections)
	plain := newTransport(b)
	address, err := url.Parse(s.url)
	if err != nil {
		b.Fatal(err)
	}
	for _, size := range []int{1000, 32_000, 256_000} {
		for _, rt := range []http.RoundTripper{plain, stock} {
			b.Run(fmt.Sprintf("%dKB/%T", size/1000, rt), func(b *testing.B) {
				text, p := []byte(strings.Repeat("x", size)), make([]byte, 4096)
				before := s.conns.Load()
				b.ReportAllocs()
				for b.Loop() {
					exchangeOnce(b, rt, address, text, p)
				}
				if got := s.conns.Load() - before; got > 2 {
					b.Errorf("%d connections, want one", got)
				}
			})
		}
	}
}

// exchangeOnce makes a post and reads its answer into p.
func exchangeOnce(b *testing.B, rt http.RoundTripper, url *url.URL, text, p []byte) {
	r := &http.Request{
		Method: http.MethodPost, URL: url, Host: url.Host, Body: plainBody{bytes.NewReader(text), [][]byte{text}}, ContentLength: int64(len(text)),
		Header: http.Header{"Content-Type": {"application/json"}, "Accept": {"*/*"}, "User-Agent": {"x"}, "Authorization": {"Bearer x"}},
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	res, err := rt.RoundTrip(r.WithContext(ctx))
	if err != nil {
		b.Error(err)
		return
	}
	for err == nil {
		_, err = res.Body.Read(p)
	}
	res.Body.Close()
}

// plainBody is a body that can be used again.
type plainBody struct {
	io.Reader
	parts [][]byte
}

func (b plainBody) Parts() [][]byte { return b.parts }
func (b plainBody) Close() error    { return nil }
