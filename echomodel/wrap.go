package echomodel

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// wrapGzip has the answer encoded although nobody asked.
func wrapGzip(x *exchange) error {
	w := &gzipWriter{ResponseWriter: x.w, gz: gzip.NewWriter(x.w)}
	x.w = w
	x.closer = func() {
		_ = w.gz.Close() // the client may be gone; then the exchange has noticed
	}
	return nil
}

// gzipWriter encodes a body and flushes event by event.
type gzipWriter struct {
	http.ResponseWriter
	gz *gzip.Writer
}

func (w *gzipWriter) WriteHeader(status int) {
	w.Header().Del("Content-Length")
	w.Header().Set("Content-Encoding", "gzip")
	w.ResponseWriter.WriteHeader(status)
}

func (w *gzipWriter) Write(b []byte) (int, error) { return w.gz.Write(b) }

// FlushError is what http.ResponseController calls.
func (w *gzipWriter) FlushError() error {
	if err := w.gz.Flush(); err != nil {
		return err
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// defaultDrip is the gap of slow_drip when the script has no ITL.
const defaultDrip = 20 * time.Millisecond

// wrapDrip takes the connection and has the header sent byte by byte; the body, which ends with the connection,
// follows at its own pace. It watches the connection, as the server no longer does.
func wrapDrip(x *exchange) error {
	header := x.w.Header()
	conn, rw := x.hijack()
	ctx, cancel := context.WithCancel(x.ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		_, _ = io.Copy(io.Discard, rw) // ends when the client goes, or with closer
		cancel()
	}()
	x.ctx = ctx
	x.w = &dripWriter{x: x, conn: conn, header: header}
	x.closer = func() {
		conn.Close() //nolint:errcheck // the answer has been written or has failed
		<-watched
	}
	return nil
}

// dripWriter writes an HTTP/1.1 answer that ends with the connection, its header slowly.
type dripWriter struct {
	x      *exchange
	conn   net.Conn
	header http.Header
	err    error // of the header
}

func (w *dripWriter) Header() http.Header { return w.header }

func (w *dripWriter) WriteHeader(status int) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nConnection: close\r\n", status, http.StatusText(status))
	_ = w.header.Write(&b) // into memory
	b.WriteString("\r\n")
	gap := time.Duration(w.x.script.ITL)
	if gap == 0 {
		gap = defaultDrip
	}
	for i := range b.Bytes() {
		if w.err = w.x.wait(gap); w.err != nil {
			return
		}
		if _, w.err = w.conn.Write(b.Bytes()[i : i+1]); w.err != nil {
			return
		}
	}
}

func (w *dripWriter) Write(b []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	return w.conn.Write(b)
}

// FlushError has nothing to do; without it a stream would fail.
func (w *dripWriter) FlushError() error { return w.err }
