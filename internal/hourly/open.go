package hourly

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// maxIndex bounds the names of one hour, which a disk that fails for the whole hour
// would use up.
const maxIndex = 999

// errTaken says that a name is in use and the next one is to be tried.
var errTaken = errors.New("in use")

// opened is an hourly file that the process may append to: locked, for its owner
// alone, and ending in a line feed.
type opened struct {
	file  File
	path  string
	info  fs.FileInfo // to compare with what the path names later
	index int
}

// open opens the file of the series and the hour with the lowest free index from
// the one given. The error is an *Error.
func (p place) open(s Series, hour Hour, index int) (*opened, error) {
	dir, err := p.folder(s.Folder)
	if err != nil {
		return nil, errorOf("opening folder", filepath.Join(p.root, s.Folder), OpenFailed, err)
	}
	var taken error
	for ; index <= maxIndex; index++ {
		path := filepath.Join(dir, Name{hour, s.Suffix, index, s.Ext}.String())
		o, err := p.openPath(path)
		if errors.Is(err, errTaken) {
			taken = err
			continue
		}
		if err != nil {
			return nil, errorOf("opening", path, OpenFailed, err)
		}
		o.index = index
		return o, nil
	}
	if taken == nil {
		taken = errTaken
	}
	path := filepath.Join(dir, Name{hour, s.Suffix, maxIndex, s.Ext}.String())
	return nil, &Error{OpenFailed, "opening", path, fmt.Errorf("every name of the hour is %w", taken)}
}

// openPath opens one name. errTaken is wrapped when another writer has it or when
// its torn end cannot be mended, so that nothing can be glued to it.
func (p place) openPath(path string) (*opened, error) {
	// Between opening and locking, another process may have moved the file away or
	// packed it. Each round of that needs an act of someone else.
	for range 10 {
		f, err := p.openFile(path)
		if err != nil {
			return nil, err
		}
		o, err := p.take(f, path)
		if err == nil && o != nil {
			return o, nil
		}
		_ = f.Close() // nothing was written
		if err != nil {
			return nil, err
		}
	}
	return nil, errTaken
}

// openFile opens path for appending, or makes it. It never truncates.
func (p place) openFile(path string) (File, error) {
	for range 10 { // each round of it needs an act of someone else
		f, err := p.fs.OpenFile(path, os.O_RDWR|os.O_APPEND, fileMode)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		f, err = p.fs.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL, fileMode)
		if errors.Is(err, fs.ErrExist) {
			continue // another process was faster
		}
		if err != nil {
			return nil, err
		}
		if err := p.syncDir(filepath.Dir(path)); err != nil {
			_ = f.Close() // nothing was written
			return nil, err
		}
		return f, nil
	}
	return nil, errTaken
}

// take makes the open file ours. It returns nil without an error if the path names
// another file by now.
func (p place) take(f File, path string) (*opened, error) {
	switch err := f.Lock(); {
	case errors.Is(err, ErrLocked):
		return nil, fmt.Errorf("%w: %w", errTaken, err)
	case errors.Is(err, errors.ErrUnsupported):
		p.report(Event{Kind: Unlocked, Path: path})
	case err != nil:
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if now, err := p.fs.Lstat(path); err != nil || !p.fs.SameFile(now, info) {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		return nil, nil
	}
	if p.fs.Foreign(info) {
		return nil, errForeign
	}
	if info.Mode().Perm() != fileMode {
		err := p.tighten(path, info, func() (fs.FileInfo, error) {
			if err := f.Chmod(fileMode); err != nil {
				return nil, err
			}
			return f.Stat()
		})
		if err != nil {
			return nil, err
		}
	}
	if _, err := p.mend(f, path, info.Size()); err != nil {
		return nil, fmt.Errorf("%w: %w", errTaken, err)
	}
	return &opened{file: f, path: path, info: info}, nil
}
