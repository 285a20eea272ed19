package hourly

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// Reason says in one word why a line was not written. The words are a closed set,
// fit for the label of a metric.
type Reason string

const (
	DiskFull   Reason = "disk_full"   // no space or no quota left (ENOSPC, EDQUOT)
	DiskLow    Reason = "disk_low"    // less space left than Options.MinFree
	FileLimit  Reason = "file_limit"  // the file may not grow (EFBIG, a limit on the process)
	ReadOnly   Reason = "read_only"   // the file system is mounted read-only (EROFS)
	OpenFailed Reason = "open_failed" // a file or folder cannot be opened, made or trusted
	IOError    Reason = "io_error"    // writing failed otherwise (EIO)
	SyncFailed Reason = "sync_failed" // the kernel could not say that it is on the disk
	Invalid    Reason = "invalid"     // what was handed over is not one line, or its series not a name
	Closed     Reason = "closed"      // the writer has been closed
)

// Reasons lists every reason.
func Reasons() []Reason {
	return []Reason{DiskFull, DiskLow, FileLimit, ReadOnly, OpenFailed, IOError, SyncFailed, Invalid, Closed}
}

// Error is why lines were not written. Its text names the file, never a line.
type Error struct {
	Reason Reason
	Op     string // what was done, such as "writing"
	Path   string
	Err    error
}

func (e *Error) Error() string { return fmt.Sprintf("%s %q: %v", e.Op, e.Path, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// errorOf returns the error of one act, with the reason that the system's answer
// gives, or else the reason given.
func errorOf(op, path string, otherwise Reason, err error) *Error {
	reason := otherwise
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		reason = DiskFull
	case errors.Is(err, syscall.EFBIG):
		reason = FileLimit
	case errors.Is(err, syscall.EROFS):
		reason = ReadOnly
	case errors.Is(err, syscall.EIO) && otherwise != SyncFailed:
		reason = IOError
	}
	// The file is named once: errors of package os name it too.
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		err = path.Err
	}
	return &Error{reason, op, path, err}
}

// Kind says what an [Event] tells.
type Kind string

const (
	// Lost: Lines lines that Append had taken are gone, for Err.
	Lost Kind = "lost"
	// Failing: from now on lines cannot be written, for Err. It is told once.
	Failing Kind = "failing"
	// Resumed: lines are written again.
	Resumed Kind = "resumed"
	// Unsynced: fsync failed, for Err; Lines lines may not survive a loss of power.
	Unsynced Kind = "unsynced"
	// Torn: the last Bytes bytes of a file were half a line, and stand in the
	// folder torn now. With Err they could not be moved there, and stay.
	Torn Kind = "torn"
	// Replaced: the file was removed, renamed or replaced by others; a new one is begun.
	Replaced Kind = "replaced"
	// Tightened: a file or folder was open to others and no longer is; with Err, the
	// file system keeps no modes.
	Tightened Kind = "tightened"
	// Unlocked: the file system has no locks; a second process would not be noticed.
	Unlocked Kind = "unlocked"
)

// Event is something that an operator should hear of.
type Event struct {
	Kind  Kind
	Path  string
	Lines int
	Bytes int64
	Err   *Error // nil where Kind does not mention it
}

// errNotLine is the cause of [Invalid] for what is not one line.
var errNotLine = errors.New("not one line that ends in a line feed")

// errNotSeries is the cause of [Invalid] for a series of bad names.
var errNotSeries = errors.New("not the names of a folder, a suffix and an extension")

// asError returns err as the *Error that it is or wraps.
func asError(err error) *Error {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e
	}
	return errorOf("opening", "", OpenFailed, err)
}
