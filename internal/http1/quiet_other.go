//go:build !unix

package http1

// peek is for systems where a socket cannot be looked at: what an old connection
// has to say shows when it is used.
func (c *conn) peek(uintptr) { c.pending = false }

type poll struct{}
