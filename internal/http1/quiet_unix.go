//go:build unix

package http1

import "golang.org/x/sys/unix"

// Available tells that connections can be kept on this system.
const Available = true

// peek looks, without waiting, whether a connection has anything to read: its end,
// or an answer that nobody has asked for.
func (c *conn) peek(fd uintptr) {
	c.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	n, err := unix.Poll(c.poll[:], 0)
	for err == unix.EINTR { // of the runtime's own signals
		n, err = unix.Poll(c.poll[:], 0)
	}
	c.pending = n != 0 || err != nil
}

type poll = [1]unix.PollFd
