//go:build unix

package http1

import "golang.org/x/sys/unix"

// peek looks, without waiting, whether a connection has anything to read: its end,
// or an answer that nobody has asked for.
func (c *conn) peek(fd uintptr) {
	c.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	n, err := unix.Poll(c.poll[:], 0)
	c.pending = n > 0 || err != nil && err != unix.EINTR
}

type poll = [1]unix.PollFd
