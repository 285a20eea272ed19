package hourly

import (
	"errors"
	"io/fs"
	"path/filepath"
)

// FS is what the package needs of a file system. [OS] is the real one; tests put
// one below that fails. All paths are those of the host.
type FS interface {
	// OpenFile opens a regular file as package os does, with the O_ flags of package
	// os, and never waits. It fails if path, or the directory that it is in, is a
	// symbolic link.
	OpenFile(path string, flag int, mode fs.FileMode) (File, error)
	Mkdir(path string, mode fs.FileMode) error
	// Chmod changes the mode of a directory. It fails if path is a symbolic link.
	Chmod(path string, mode fs.FileMode) error
	Lstat(path string) (fs.FileInfo, error)
	ReadDir(path string) ([]fs.DirEntry, error)
	Rename(from, to string) error
	Remove(path string) error
	// SyncDir makes the names in a directory durable.
	SyncDir(path string) error
	// Free returns how many bytes the process may still write there, or an error
	// that is errors.ErrUnsupported.
	Free(path string) (int64, error)
	// SameFile reports whether two infos of this file system describe one file.
	SameFile(a, b fs.FileInfo) bool
	// Foreign reports whether the file belongs to another user than the process.
	Foreign(fs.FileInfo) bool
}

// File is an open file of an [FS].
type File interface {
	Write(p []byte) (int, error)
	// WriteParts writes the parts one behind the other as Write writes one text. It
	// leaves them as they are.
	WriteParts(parts [][]byte) (int, error)
	ReadAt(p []byte, off int64) (int, error)
	Truncate(size int64) error
	// Sync makes what was written durable.
	Sync() error
	// SyncBeside is Sync for who has other things to do, such as to write more: it returns
	// at once, and hands the result over later. What is written meanwhile may be durable
	// then, or not.
	SyncBeside() <-chan error
	// StartSync lets the disk begin with Sync, and waits for nothing.
	StartSync()
	Chmod(mode fs.FileMode) error
	Stat() (fs.FileInfo, error)
	// Lock takes the file for this opening of it alone and never waits: its error is
	// ErrLocked if another has it, errors.ErrUnsupported if there are no locks. Close
	// gives it back.
	Lock() error
	Close() error
}

// beside calls sync in a goroutine of its own.
func beside(sync func() error) <-chan error {
	done := make(chan error, 1) // nobody may be left to take it
	go func() { done <- sync() }()
	return done
}

// ErrLocked is returned by [File.Lock] when another opening of the file, in this
// process or another, holds its lock.
var ErrLocked = errors.New("locked by another writer")

// OS is the file system of the host.
var OS FS = host{}

const (
	fileMode fs.FileMode = 0o600
	dirMode  fs.FileMode = 0o700
)

var (
	errSymlink = errors.New("is a symbolic link, which is never followed")
	errNotDir  = errors.New("is not a directory")
	errNotFile = errors.New("is not a regular file")
	errForeign = errors.New("belongs to another user")
	errNoModes = errors.New("the file system keeps no modes")
)

// place is a root directory on a file system, and whom to tell about it. Writer and
// Keeper share its ways.
type place struct {
	fs     FS
	root   string
	report func(Event)
}

func newPlace(f FS, root string, report func(Event)) place {
	if f == nil {
		f = OS
	}
	if report == nil {
		report = func(Event) {}
	}
	return place{f, root, report}
}

// folder returns the path of a folder below the root, which it makes if it is
// missing and tightens if it is open to others.
func (p place) folder(name string) (string, error) {
	if err := p.makeRoot(p.root); err != nil {
		return "", err
	}
	path := filepath.Join(p.root, name)
	info, err := p.fs.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = p.makeDir(path); err == nil {
			info, err = p.fs.Lstat(path)
		}
	}
	switch {
	case err != nil:
		return "", err
	case info.Mode()&fs.ModeSymlink != 0:
		return "", &fs.PathError{Op: "open", Path: path, Err: errSymlink}
	case !info.IsDir():
		return "", &fs.PathError{Op: "open", Path: path, Err: errNotDir}
	case p.fs.Foreign(info):
		return "", &fs.PathError{Op: "open", Path: path, Err: errForeign}
	case info.Mode().Perm() != dirMode:
		return path, p.tighten(path, info, func() (fs.FileInfo, error) {
			if err := p.fs.Chmod(path, dirMode); err != nil {
				return nil, err
			}
			return p.fs.Lstat(path)
		})
	}
	return path, nil
}

// makeRoot makes a missing root with its missing parents. One that exists is left
// as it is, also if it is a symbolic link: it is the operator's choice and may hold
// more than our folders.
func (p place) makeRoot(path string) error {
	_, err := p.fs.Lstat(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if parent := filepath.Dir(path); parent != path {
		if err := p.makeRoot(parent); err != nil {
			return err
		}
	}
	return p.makeDir(path)
}

// makeDir makes one directory, whose name is durable when it returns.
func (p place) makeDir(path string) error {
	err := p.fs.Mkdir(path, dirMode)
	if err == nil {
		err = p.fs.Chmod(path, dirMode) // a umask may have narrowed it
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return p.syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory durable where the file system can.
func (p place) syncDir(path string) error {
	if err := p.fs.SyncDir(path); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// tighten closes a file or directory to others by chmod, which returns what is so
// afterwards. A mode that was too narrow, from a umask, is widened without a word.
func (p place) tighten(path string, was fs.FileInfo, chmod func() (fs.FileInfo, error)) error {
	info, err := chmod()
	if err != nil {
		return err
	}
	if was.Mode().Perm()&0o077 == 0 {
		return nil
	}
	e := Event{Kind: Tightened, Path: path}
	if info.Mode().Perm()&0o077 != 0 {
		e.Err = errorOf("tightening", path, OpenFailed, errNoModes)
	}
	p.report(e)
	return nil
}

// walk calls yield for every regular file of a folder, which may be missing.
func (p place) walk(folder string, yield func(name, path string, size int64)) *Error {
	dir := filepath.Join(p.root, folder)
	info, err := p.fs.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && info.Mode()&fs.ModeSymlink != 0:
		err = errSymlink
	case err == nil && !info.IsDir():
		err = errNotDir
	}
	var entries []fs.DirEntry
	if err == nil {
		entries, err = p.fs.ReadDir(dir)
	}
	if err != nil {
		return errorOf("listing", dir, OpenFailed, err)
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		// A file that has gone meanwhile is no error.
		if info, err := p.fs.Lstat(path); err == nil && info.Mode().IsRegular() {
			yield(entry.Name(), path, info.Size())
		}
	}
	return nil
}
