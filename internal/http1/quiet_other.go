//go:build !unix

package http1

// Available is false: here a socket cannot be looked at, and what a server says
// unasked would be taken for the answer to the next request.
const Available = false

// peek never finds a connection quiet.
func (c *conn) peek(uintptr) { c.pending = true }

// talks is for sockets that can be looked at.
func (c *conn) talks([]byte) (int, error) { return 0, errUnasked }

// converse is never called.
func (c *conn) converse(uintptr) bool { return true }

type poll struct{}
