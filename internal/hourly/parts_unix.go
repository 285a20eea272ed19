//go:build linux || darwin

package hourly

import (
	"errors"
	"io"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"
)

// maxVector is how many parts a call of writev(2) takes (IOV_MAX).
const maxVector = 1024

// WriteParts writes with one call of writev(2), unless there are very many parts or the
// file takes only some of the bytes: the next call then says why.
func (f hostFile) WriteParts(parts [][]byte) (written int, err error) {
	for len(parts) > 0 {
		if len(parts[0]) == 0 {
			parts = parts[1:]
			continue
		}
		n, err := unix.Writev(int(f.Fd()), parts[:min(len(parts), maxVector)])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err == nil && n <= 0:
			err = io.ErrShortWrite
			fallthrough
		case err != nil:
			return written, &fs.PathError{Op: "write", Path: f.Name(), Err: err}
		}
		written += n
		for len(parts) > 0 && n >= len(parts[0]) {
			n, parts = n-len(parts[0]), parts[1:]
		}
		if n > 0 {
			parts = slices.Clone(parts)
			parts[0] = parts[0][n:]
		}
	}
	return written, nil
}
