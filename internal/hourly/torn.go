package hourly

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// tornFolder holds the half lines that were cut off, each in a file named after
// its folder, its file and its offset: requests_responses.20260314_15.jsonl.at4096.
const tornFolder = "torn"

// chunk is how much of a file is held at a time.
const chunk = 64 << 10

// Recover mends every file of ours in the folders: the half line at its end, which
// a killed process or a loss of power left, goes to the folder torn, and an
// [Event] says so. Files that a writer has open are left alone. Call it once before
// the first Append; a later hour's writer would never look into them.
//
// It returns how many files it mended. Errors are the joined *[Error] of the files
// that stay as they are.
func (w *Writer) Recover(folders ...string) (mended int, err error) {
	for _, folder := range folders {
		werr := w.walk(folder, func(name, path string, _ int64) {
			if _, ok := ParseName(name); !ok {
				return
			}
			did, rerr := w.recover(path)
			if did {
				mended++
			}
			if rerr != nil {
				err = errors.Join(err, rerr)
			}
		})
		err = join(err, werr)
	}
	return mended, err
}

// recover mends one file. Most files are whole: they cost one open and one read.
func (w *Writer) recover(path string) (mended bool, err error) {
	f, err := w.fs.OpenFile(path, os.O_RDWR|os.O_APPEND, fileMode)
	if err != nil {
		return false, errorOf("opening", path, OpenFailed, err)
	}
	defer func() {
		if cerr := f.Close(); cerr != nil && err == nil {
			err = errorOf("closing", path, IOError, cerr)
		}
	}()
	if err := f.Lock(); errors.Is(err, ErrLocked) {
		return false, nil
	}
	info, err := f.Stat()
	if err != nil {
		return false, errorOf("opening", path, OpenFailed, err)
	}
	size, err := w.mend(f, path, info.Size())
	if err != nil || size == info.Size() {
		return false, err
	}
	if err := f.Sync(); err != nil {
		return true, errorOf("syncing", path, SyncFailed, err)
	}
	return true, nil
}

// mend moves a half line at the end of the file, which is locked, out of it, and
// returns the size that the file has then. The error is an *Error.
func (p place) mend(f File, path string, size int64) (int64, error) {
	whole, err := wholeLines(f, size)
	if err != nil {
		return size, errorOf("reading", path, IOError, err)
	}
	if whole == size {
		return size, nil
	}
	e := Event{Kind: Torn, Path: path, Bytes: size - whole}
	// First the copy, then the cut: the words are in one of the two at every moment.
	if err := p.setAside(f, path, whole, size); err != nil {
		e.Err = errorOf("moving a torn line aside from", path, IOError, err)
	} else if err := f.Truncate(whole); err != nil {
		e.Err = errorOf("cutting a torn line off", path, IOError, err)
	}
	p.report(e)
	if e.Err != nil {
		return size, e.Err
	}
	return whole, nil
}

// wholeLines returns how many of the size bytes are lines that have their end.
func wholeLines(f File, size int64) (int64, error) {
	buf := make([]byte, 1)
	for end := size; end > 0; {
		n := min(end, int64(len(buf)))
		if _, err := f.ReadAt(buf[:n], end-n); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			return end - n + int64(i) + 1, nil
		}
		end -= n
		if len(buf) < chunk {
			buf = make([]byte, chunk)
		}
	}
	return 0, nil
}

// setAside copies the bytes from to end of the file to a new file in the folder torn.
func (p place) setAside(f File, path string, from, end int64) error {
	dir, err := p.folder(tornFolder)
	if err != nil {
		return err
	}
	base := fmt.Sprintf("%s.%s.at%d", filepath.Base(filepath.Dir(path)), filepath.Base(path), from)
	var out File
	aside := filepath.Join(dir, base)
	for i := 2; ; i++ {
		out, err = p.fs.OpenFile(aside, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
		if !errors.Is(err, fs.ErrExist) || i > maxIndex {
			break
		}
		aside = filepath.Join(dir, fmt.Sprintf("%s-%d", base, i))
	}
	if err != nil {
		return err
	}
	err = copyTo(out, f, from, end)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = p.syncDir(dir)
	}
	if err != nil {
		return errors.Join(err, p.fs.Remove(aside))
	}
	return nil
}

// copyTo writes the bytes from to end of f to out, durably and for its owner alone.
func copyTo(out, f File, from, end int64) error {
	if err := out.Chmod(fileMode); err != nil {
		return err
	}
	buf := make([]byte, min(chunk, end-from))
	for from < end {
		n := min(int64(len(buf)), end-from)
		if _, err := f.ReadAt(buf[:n], from); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if _, err := out.Write(buf[:n]); err != nil {
			return err
		}
		from += n
	}
	return out.Sync()
}

// tornHour returns the hour of a file in the folder torn; ok is false for names
// that are not ours.
func tornHour(name string) (hour Hour, ok bool) {
	folder, rest, ok := strings.Cut(name, ".")
	if !ok || !only(folder, "_", true) {
		return 0, false
	}
	at := strings.LastIndex(rest, ".at")
	if at < 0 || len(rest) == at+3 || strings.Trim(rest[at+3:], "0123456789-") != "" {
		return 0, false
	}
	n, ok := ParseName(rest[:at])
	return n.Hour, ok
}

// due reports whether after has passed since. A clock that went back by more than
// that makes everything due: waiting for it to catch up could take a year.
func due(since, now time.Time, after time.Duration) bool {
	d := now.Sub(since)
	return d >= after || d < -after
}
