//go:build !linux && !darwin && !freebsd

package hourly

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// host is the file system of a host without the calls that the package would
// like: links are looked for before opening, there are no locks, no owners, and
// the space left is not known.
type host struct{}

func (host) OpenFile(path string, flag int, mode fs.FileMode) (File, error) {
	for _, p := range []string{filepath.Dir(path), path} {
		info, err := os.Lstat(p)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		case info.Mode()&fs.ModeSymlink != 0:
			return nil, &fs.PathError{Op: "open", Path: p, Err: errSymlink}
		case p == path && !info.Mode().IsRegular():
			return nil, &fs.PathError{Op: "open", Path: p, Err: errNotFile}
		}
	}
	f, err := os.OpenFile(path, flag, mode)
	if err != nil {
		return nil, err
	}
	return hostFile{f}, nil
}

func (host) Mkdir(path string, mode fs.FileMode) error  { return os.Mkdir(path, mode) }
func (host) Chmod(path string, mode fs.FileMode) error  { return os.Chmod(path, mode) }
func (host) Lstat(path string) (fs.FileInfo, error)     { return os.Lstat(path) }
func (host) ReadDir(path string) ([]fs.DirEntry, error) { return os.ReadDir(path) }
func (host) Rename(from, to string) error               { return os.Rename(from, to) }
func (host) Remove(path string) error                   { return os.Remove(path) }
func (host) SyncDir(string) error                       { return errors.ErrUnsupported }
func (host) Free(string) (int64, error)                 { return 0, errors.ErrUnsupported }
func (host) SameFile(a, b fs.FileInfo) bool             { return os.SameFile(a, b) }
func (host) Foreign(fs.FileInfo) bool                   { return false }

// hostFile is a file of the host.
type hostFile struct{ *os.File }

func (f hostFile) SyncBeside() <-chan error { return beside(f.Sync) }

func (hostFile) Lock() error { return errors.ErrUnsupported }
