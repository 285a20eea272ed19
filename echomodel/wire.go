package echomodel

import (
	"bufio"
	"net"
	"net/http"
	"reflect"
)

// This file has the faults that break HTTP itself. They take the connection from the server; HTTP/2 and HTTP/3 have
// none to give, so there each of them is a reset of the request's stream.

func failReset(x *exchange) error { return x.reset() }

func failEOF(x *exchange) error { return x.hangUp() }

func failGarbage(x *exchange) error {
	return x.raw("\x16\x03\x01 this is no HTTP at all\r\nbut a line or two\r\n\r\n")
}

func failBadLength(x *exchange) error {
	return x.raw("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: twelve\r\n\r\n{\"a\":\"bcdef\"}")
}

func failTwoLengths(x *exchange) error {
	return x.raw("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nContent-Length: 12\r\n\r\n{}{\"a\":\"bcd\"}")
}

// breakChunk writes a chunk whose size is no number.
func breakChunk(x *exchange) error { return x.raw("zz\r\nno chunk\r\n") }

// hijack takes the connection. What has been written before must have been flushed.
func (x *exchange) hijack() (net.Conn, *bufio.ReadWriter) {
	conn, rw, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // on HTTP/2 and HTTP/3: RST_STREAM, RESET_STREAM
	}
	return conn, rw
}

// raw writes s on the connection and closes it.
func (x *exchange) raw(s string) error {
	conn, _ := x.hijack()
	defer conn.Close() //nolint:errcheck // closing is the fault
	if _, err := conn.Write([]byte(s)); err != nil {
		return errGone
	}
	return errCut
}

// hangUp closes the connection with FIN.
func (x *exchange) hangUp() error {
	conn, _ := x.hijack()
	conn.Close() //nolint:errcheck // closing is the fault
	return errCut
}

// reset closes the connection with RST, under TLS without a closing alert.
func (x *exchange) reset() error {
	conn, _ := x.hijack()
	for inner := conn; inner != nil; inner = unwrap(inner) {
		conn = inner
	}
	if c, ok := conn.(interface{ SetLinger(sec int) error }); ok { // *net.TCPConn
		_ = c.SetLinger(0) // fails only on a connection that is gone already
	}
	conn.Close() //nolint:errcheck // closing is the fault
	return errCut
}

// unwrap returns the connection inside conn, or nil. Caddy wraps those it takes, and once more those it hands out
// while it keeps an access log (modules/caddyhttp/http2listener.go, responsewriter.go), in structs with an embedded
// net.Conn and no method to get at it; hence the reflection.
func unwrap(conn net.Conn) net.Conn {
	if c, ok := conn.(interface{ NetConn() net.Conn }); ok { // *tls.Conn
		return c.NetConn()
	}
	v := reflect.Indirect(reflect.ValueOf(conn))
	if v.Kind() != reflect.Struct {
		return nil
	}
	field, ok := v.Type().FieldByName("Conn")
	if !ok || !field.Anonymous || len(field.Index) > 1 {
		return nil
	}
	inner, _ := reflect.TypeAssert[net.Conn](v.Field(field.Index[0]))
	return inner
}
