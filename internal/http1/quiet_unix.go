//go:build unix

package http1

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

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

// talks begins the exchange and reads the beginning of its answer into p.
func (c *conn) talks(p []byte) (int, error) {
	t := &c.talk
	t.into, t.n, t.err = p, 0, nil
	err := c.raw.Read(t.step)
	if err == nil {
		err = t.err
	}
	t.into, t.request = nil, nil
	return t.n, err
}

// converse is called when there may be something to read, until it returns true.
func (c *conn) converse(fd uintptr) bool {
	t := &c.talk
	n, err := unix.Read(int(fd), t.into)
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Read(int(fd), t.into)
	}
	asked := t.request == nil
	switch {
	case errors.Is(err, unix.EAGAIN) && asked:
		return false
	case errors.Is(err, unix.EAGAIN):
		w := t.request
		t.request = nil
		if err = w.ahead(c.Conn); err == nil || isReset(err) { // it may have answered before
			return false
		}
		t.err = err
	case !asked:
		t.err = errUnasked
	case err != nil:
		t.err = os.NewSyscallError("read", err)
	case n == 0:
		t.err = io.EOF
	default:
		t.n = n
	}
	return true
}

type poll = [1]unix.PollFd
