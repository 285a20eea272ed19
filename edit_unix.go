//go:build linux || darwin || freebsd

package aigateway

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lockFolder takes the folder for this process alone, among those that ask for it so, and
// waits for others at most half a minute. The lock leaves no file behind, and ends with the
// process. Where the file system knows no locks there is none.
func lockFolder(path string) (unlock func(), err error) {
	d, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	const patience, pause = 30 * time.Second, 5 * time.Millisecond
	for waited := time.Duration(0); ; waited += pause {
		err = unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			break
		}
		if waited >= patience {
			err = fmt.Errorf("another edit holds the lock of %s", path)
			break
		}
		time.Sleep(pause)
	}
	unlocked := errors.Is(err, unix.EBADF) || errors.Is(err, unix.ENOLCK) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP)
	if err != nil && !unlocked {
		return nil, errors.Join(err, d.Close())
	}
	return func() { _ = d.Close() }, nil // gives the lock back; nothing was written
}

// keepOwner gives f the owner and group of the file that info is of.
func keepOwner(f *os.File, info fs.FileInfo) error {
	now, err := f.Stat()
	if err != nil {
		return err
	}
	want, got := info.Sys().(*syscall.Stat_t), now.Sys().(*syscall.Stat_t) // so on these systems
	if want.Uid == got.Uid && want.Gid == got.Gid {
		return nil
	}
	return f.Chown(int(want.Uid), int(want.Gid))
}

// syncFolder makes the names in a folder durable.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }() // only read
	// Some network file systems refuse to sync a folder.
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}
