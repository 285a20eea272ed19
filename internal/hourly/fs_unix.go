//go:build linux || darwin || freebsd

package hourly

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// host is the file system of the host.
type host struct{}

func (host) OpenFile(path string, flag int, mode fs.FileMode) (File, error) {
	fd, err := openAt(path, flag, mode)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errNotFile}
	}
	if err != nil {
		_ = f.Close() // the first error says more
		return nil, err
	}
	return hostFile{f}, nil
}

// openAt opens a file in its directory, following no link in either step. A pipe
// under that name does not make it wait.
func openAt(path string, flag int, mode fs.FileMode) (int, error) {
	dir, err := openDir(filepath.Dir(path))
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(dir) }() // it was only read
	for {
		fd, err := unix.Openat(dir, filepath.Base(path), flag|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, uint32(mode.Perm()))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ELOOP), errors.Is(err, unix.EMLINK): // EMLINK is FreeBSD's word for it
			return -1, errSymlink
		case errors.Is(err, unix.ENXIO): // a pipe nobody reads, or a socket
			return -1, errNotFile
		case err != nil:
			return -1, err
		}
		// Of a regular file the flag means nothing, but a lock or a network file
		// system might hear it.
		if err := unix.SetNonblock(fd, false); err != nil {
			_ = unix.Close(fd) // the first error says more
			return -1, err
		}
		return fd, nil
	}
}

// openDir opens a directory that is no symbolic link.
func openDir(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.EMLINK):
			if info, lerr := os.Lstat(path); lerr == nil && info.Mode()&fs.ModeSymlink != 0 {
				return -1, fmt.Errorf("directory %w", errSymlink)
			}
		}
		return fd, err
	}
}

func (host) Mkdir(path string, mode fs.FileMode) error { return os.Mkdir(path, mode) }

func (host) Chmod(path string, mode fs.FileMode) error {
	fd, err := openDir(path)
	if err != nil {
		return &fs.PathError{Op: "chmod", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(fd) }() // it was only read
	if err := unix.Fchmod(fd, uint32(mode.Perm())); err != nil {
		return &fs.PathError{Op: "chmod", Path: path, Err: err}
	}
	return nil
}

func (host) Lstat(path string) (fs.FileInfo, error)     { return os.Lstat(path) }
func (host) ReadDir(path string) ([]fs.DirEntry, error) { return os.ReadDir(path) }
func (host) Rename(from, to string) error               { return os.Rename(from, to) }
func (host) Remove(path string) error                   { return os.Remove(path) }
func (host) SameFile(a, b fs.FileInfo) bool             { return os.SameFile(a, b) }

func (host) SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }() // it was only read
	// Some network file systems refuse to sync a directory.
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}

func (host) Free(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:unconvert // the types differ between systems
}

func (host) Foreign(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) != os.Geteuid()
}

// hostFile is a file of the host.
type hostFile struct{ *os.File }

// Sync makes what was written durable. Nobody reads it again soon, so its pages go
// back to the kernel at once: new ones cost several times as much, and other files'
// stay.
func (f hostFile) Sync() error {
	if err := f.File.Sync(); err != nil {
		return err
	}
	forget(f.File)
	return nil
}

func (f hostFile) SyncBeside() <-chan error { return beside(f.Sync) }

func (f hostFile) Lock() error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EWOULDBLOCK):
			return ErrLocked
		case errors.Is(err, unix.ENOLCK), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
			return errors.ErrUnsupported
		}
		return err
	}
}
