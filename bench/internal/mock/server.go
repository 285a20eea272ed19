// Package mock is an upstream that costs little: a model server on raw
// connections that answers chat completions as the request orders (package
// chat says how).
//
// Every token of a stream is a chunk and a write of its own, as model servers
// send them, whether there is a gap between tokens or not. The prompt is
// checked by returning its checksum as the answer's system_fingerprint. Any
// other path than that of chat completions is answered with 200 and an empty
// model list, so that probes are content.
package mock

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"
)

// Server listens on several addresses, which all answer alike.
type Server struct{ listeners []net.Listener }

// Listen takes the given addresses, host:port, where port 0 is one that is free.
func Listen(addresses ...string) (*Server, error) {
	s := &Server{}
	for i, address := range addresses {
		l, err := net.Listen("tcp", address)
		if err != nil {
			s.close()
			return nil, fmt.Errorf("listening on address %d of %d: %w", i+1, len(addresses), err)
		}
		s.listeners = append(s.listeners, l)
	}
	return s, nil
}

// Addresses returns the host:port of every listener.
func (s *Server) Addresses() []string {
	var all []string
	for _, l := range s.listeners {
		all = append(all, l.Addr().String())
	}
	return all
}

// Serve answers until ctx ends; connections then end with the process.
func (s *Server) Serve(ctx context.Context) {
	var wg sync.WaitGroup
	for _, l := range s.listeners {
		wg.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return // closed below
				}
				go (&conn{Conn: c, br: bufio.NewReaderSize(c, 16<<10)}).serve()
			}
		})
	}
	<-ctx.Done()
	s.close()
	wg.Wait()
}

func (s *Server) close() {
	for _, l := range s.listeners {
		_ = l.Close() // its accept loop ends all the same
	}
}

// conn is one connection and its buffers, used for one request after another.
type conn struct {
	net.Conn
	br    *bufio.Reader
	body  bytes.Buffer // of the request
	whole []byte       // body of an answer that is no stream
	out   []byte       // what is written at once
}
