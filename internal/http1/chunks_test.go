package http1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// pieces is a connection from which a text comes in pieces of these sizes, over and over.
type pieces struct {
	net.Conn
	text  string
	sizes []byte
	n     int
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.text == "" {
		return 0, io.EOF
	}
	size := len(p.text)
	if len(p.sizes) > 0 {
		size = int(p.sizes[p.n%len(p.sizes)]) + 1
		p.n++
	}
	n := copy(b, p.text[:min(size, len(p.text))])
	p.text = p.text[n:]
	return n, nil
}

// unchunked is what a reader makes of a body in chunks.
type unchunked struct {
	data    string
	broken  bool
	trailer http.Header
	more    bool // something stands behind it
}

// unchunk reads a body of which the first bytes came with the head, into a buffer of a
// size.
func unchunk(text string, early int, sizes []byte, size int) (u unchunked) {
	early = min(early, len(text))
	source := &pieces{text: text[early:], sizes: sizes}
	c := &conn{Conn: source, reader: bufio.NewReaderSize(strings.NewReader(text[:early]), 4<<10)}
	_, _ = c.reader.Peek(1)
	body := chunks{conn: c, trailer: &u.trailer}
	var data []byte
	for buffer := make([]byte, size); ; {
		n, err := body.Read(buffer)
		data = append(data, buffer[:n]...)
		if err != nil {
			u.data, u.broken = string(data), !errors.Is(err, io.EOF)
			u.more = !u.broken && (c.unasked || c.reader.Buffered() > 0 || source.text != "")
			return u
		}
	}
}

// standard is what net/http makes of it.
func standard(text string) (u unchunked) {
	source := strings.NewReader("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + text)
	r := bufio.NewReaderSize(source, 4<<10)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		panic(err)
	}
	data, err := io.ReadAll(res.Body)
	u.data, u.broken, u.trailer = string(data), err != nil, res.Trailer
	u.more = !u.broken && r.Buffered()+source.Len() > 0
	return u
}

// hugeSize finds sizes beyond all memory, which net/http counts with a wrong sign.
var hugeSize = regexp.MustCompile(`[0-9a-fA-F]{15}`)

func checkChunks(t interface{ Fatalf(string, ...any) }, text string, early int, sizes []byte, size int) {
	if hugeSize.MatchString(text) {
		return
	}
	got, want := unchunk(text, early, sizes, size), standard(text)
	if got.data != want.data || got.broken != want.broken || got.more != want.more || !maps.EqualFunc(got.trailer, want.trailer, func(a, b []string) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
		t.Fatalf("%q, %d bytes early, pieces of %v, buffer of %d:\ngot  %+v,\nwant %+v", text, early, sizes, size, got, want)
	}
}

// TestChunks guards that bodies in chunks, good and bad ones, are what net/http makes of
// them.
func TestChunks(t *testing.T) {
	parts := []string{
		"5\r\nhello\r\n", "1\r\nx\r\n", "00a;name=\"v\"\r\n0123456789\r\n", "3 \t\r\nabc\r\n", "1f\r\n" + strings.Repeat("d", 31) + "\r\n", "2BC\r\n" + strings.Repeat("e", 700) + "\r\n",
		"0\r\n\r\n", "0\r\n", "0\r\n\n\r\n\r\n", "0\r\nX-Sum: 1\r\nY: 2\r\n\r\n", "0\r\nbad\r\n\r\n", "\r\n", "HTTP/1.1 200 OK\r\n", "5\nhello\n", "5\r\nhello", "5\r\nhelloX\r", "g\r\n", "-1\r\n", "5 ;a\r\nhello\r\n",
		"1;" + strings.Repeat("x", 4100) + "\r\na\r\n", "1;" + strings.Repeat("x", 2000) + "\r\na\r\n", "1;" + strings.Repeat("x", 4091) + "\r\na\r\n", "5\r\r\n", "\n", "0\r\nX: " + strings.Repeat("y", 4100) + "\r\n\r\n",
	}
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(rapid.SampledFrom(parts), 0, 14).Draw(t, "parts"), "")
		text = text[:len(text)-rapid.IntRange(0, min(len(text), 8)).Draw(t, "cut")]
		checkChunks(t, text, rapid.IntRange(0, 4096).Draw(t, "early"), rapid.SliceOf(rapid.Byte()).Draw(t, "sizes"), rapid.SampledFrom([]int{1, 2, 7, 64, 4096, 32 << 10}).Draw(t, "buffer"))
	})
}

func FuzzChunks(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\n\r\n"), 3, []byte{1, 7}, 4096)
	f.Add([]byte("a;x=y\r\n0123456789\r\n0\r\nX: 1\r\n\r\nmore"), 0, []byte{}, 5)
	f.Add([]byte("1\r\nx\n"), 100, []byte{0}, 1)
	f.Fuzz(func(t *testing.T, text []byte, early int, sizes []byte, size int) {
		checkChunks(t, string(text), max(0, early%4096), sizes, 1+max(0, size%5000))
	})
}

// BenchmarkChunks compares the reading of 200 events that came at once with net/http's.
func BenchmarkChunks(b *testing.B) {
	event := "data: {\"choices\":[{\"delta\":{\"content\":\" word\"}}]," + strings.Repeat("x", 230) + "}\n\n"
	text := strings.Repeat(fmt.Sprintf("%x\r\n%s\r\n", len(event), event), 200) + "0\r\n\r\n"
	buffer := make([]byte, 32<<10)
	read := func(b *testing.B, next func() io.Reader) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			for r := next(); ; {
				if _, err := r.Read(buffer); err == io.EOF {
					break
				} else if err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	b.Run("own", func(b *testing.B) {
		empty := bufio.NewReaderSize(bytes.NewReader(nil), 4<<10)
		read(b, func() io.Reader { return &chunks{conn: &conn{Conn: &pieces{text: text}, reader: empty}} })
	})
	b.Run("net-http", func(b *testing.B) {
		r := bufio.NewReaderSize(nil, 4<<10)
		read(b, func() io.Reader {
			r.Reset(io.MultiReader(strings.NewReader("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), &pieces{text: text}))
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				b.Fatal(err)
			}
			return res.Body
		})
	})
}
