package hourly

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

// CompressedSuffix makes the name of the sibling folder that packed files go to: a
// trainer that reads a folder wants all its files to be of one type.
const CompressedSuffix = "_compressed"

// KeeperOptions say what a [Keeper] does with the files of past hours.
type KeeperOptions struct {
	// Root and Location are as in Options.
	Root     string
	Location *time.Location
	// Folders are the folders of the series. No other is looked into, but for their
	// siblings of packed files and the folder of torn lines.
	Folders []string
	// Compression packs the files of past hours; None leaves them as they are.
	Compression Compression
	// MaxAge deletes a file when its hour ended longer ago than that; 0 means never.
	MaxAge time.Duration
	// MaxBytes deletes the oldest files of past hours until all files together, those
	// that are being written included, have no more bytes; 0 means never.
	MaxBytes int64
	// Report is told of torn lines that are cut off before packing; nil means nobody is.
	Report func(Event)
	// FS is the file system; nil means OS.
	FS FS
}

// Keeper packs and deletes hourly files. It touches a file only if its name is
// [ParseName]'s, or that of a packed or torn one, if it is a regular file, if its
// hour ended more than 10 minutes ago, and if no writer has it locked. It may run
// beside writers, in another goroutine or process, and beside other keepers. Create
// one with [NewKeeper]; its methods may be called by one goroutine at a time.
type Keeper struct {
	place
	o KeeperOptions
}

// NewKeeper returns a keeper. It touches nothing before Keep.
func NewKeeper(o KeeperOptions) *Keeper {
	if o.Location == nil {
		o.Location = time.Local
	}
	return &Keeper{newPlace(o.FS, o.Root, o.Report), o}
}

// Kept is what one [Keeper.Keep] has done and left.
type Kept struct {
	Packed  int   // files packed
	Deleted int   // files deleted for their age or for the space
	Files   int   // files there are
	Bytes   int64 // bytes that they have
}

// past is a file that the keeper knows.
type past struct {
	path   string
	hour   Hour
	size   int64
	plain  bool // neither packed nor torn: a writer could want it
	closed bool // its hour has ended
}

// Keep packs and deletes what is due at the time now. It goes on with the next file
// when one fails, and returns the joined errors, each an *[Error]; the file that
// failed is as it was. It ends early, with the context's error, when that is done.
func (k *Keeper) Keep(ctx context.Context, now time.Time) (kept Kept, err error) {
	var files []past
	if k.o.Compression != None {
		files, err = k.list(now)
		for _, f := range files {
			if ctx.Err() != nil {
				return kept, errors.Join(err, ctx.Err())
			}
			if !f.plain || !f.closed || k.expired(f, now) {
				continue
			}
			packed, perr := k.pack(ctx, f.path)
			if packed {
				kept.Packed++
			}
			err = join(err, perr)
		}
	}
	files, lerr := k.list(now)
	if k.o.Compression == None { // else it has been said
		err = lerr
	}
	// Old ones first, and of one hour the packed ones, which are no newer.
	slices.SortStableFunc(files, func(a, b past) int {
		return cmp.Or(cmp.Compare(a.hour, b.hour), strings.Compare(a.path, b.path))
	})
	for _, f := range files {
		kept.Bytes += f.size
	}
	kept.Files = len(files)
	for _, f := range files {
		over := k.o.MaxBytes > 0 && kept.Bytes > k.o.MaxBytes
		if !f.closed || !over && !k.expired(f, now) {
			continue
		}
		deleted, derr := k.remove(f)
		if deleted {
			kept.Deleted++
			kept.Files--
			kept.Bytes -= f.size
		}
		err = join(err, derr)
	}
	return kept, err
}

// join joins errors of which the second may be nil.
func join(err error, more *Error) error {
	if more == nil {
		return err
	}
	return errors.Join(err, more)
}

// expired reports whether the file's hour ended longer ago than MaxAge. The longer
// of two hours of one name counts.
func (k *Keeper) expired(f past, now time.Time) bool {
	return k.o.MaxAge > 0 && now.Sub(f.hour.Start(k.o.Location)) > min(k.o.MaxAge, math.MaxInt64-2*time.Hour)+2*time.Hour
}

// list returns the files that are ours, and removes what a keeper that was killed
// has left half done.
func (k *Keeper) list(now time.Time) (files []past, err error) {
	// Hours are compared by name: one that the clock shows twice has not ended
	// before its second end.
	ended := min(HourOf(now, k.o.Location), HourOf(now.Add(-lateness), k.o.Location))
	for _, folder := range append(slices.Clone(k.o.Folders), tornFolder) {
		err = join(err, k.walk(folder, func(name, path string, size int64) {
			n, ok := ParseName(name)
			if folder == tornFolder {
				n.Hour, ok = tornHour(name)
			}
			if ok {
				files = append(files, past{path, n.Hour, size, folder != tornFolder, n.Hour < ended})
			}
		}))
		if folder == tornFolder {
			continue
		}
		err = join(err, k.walk(folder+CompressedSuffix, func(name, path string, size int64) {
			if strings.HasPrefix(name, halfPrefix) && strings.HasSuffix(name, halfSuffix) {
				k.sweep(path)
				return
			}
			if n, ok := packedName(name); ok {
				files = append(files, past{path: path, hour: n.Hour, size: size, closed: n.Hour < ended})
			}
		}))
	}
	return files, err
}

// take opens and locks a file of a past hour. The file is nil, without an error, if
// a writer or another keeper has it or if it has gone.
func (k *Keeper) take(path string) (File, fs.FileInfo, *Error) {
	f, err := k.fs.OpenFile(path, os.O_RDWR|os.O_APPEND, fileMode)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, errorOf("opening", path, OpenFailed, err)
	}
	err = f.Lock()
	if errors.Is(err, errors.ErrUnsupported) {
		err = nil // the hour has ended: that must do
	}
	var info, now fs.FileInfo
	if err == nil {
		info, err = f.Stat()
	}
	if err == nil {
		now, err = k.fs.Lstat(path)
	}
	if err == nil && k.fs.SameFile(info, now) {
		return f, info, nil
	}
	_ = f.Close() // nothing was written
	if err == nil || errors.Is(err, ErrLocked) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	return nil, nil, errorOf("locking", path, OpenFailed, err)
}

// remove deletes a file that nobody has open.
func (k *Keeper) remove(p past) (deleted bool, e *Error) {
	f, _, e := k.take(p.path)
	if f == nil {
		return false, e
	}
	defer func() { _ = f.Close() }() // nothing was written
	if err := k.fs.Remove(p.path); err != nil {
		return false, errorOf("deleting", p.path, IOError, err)
	}
	return true, nil
}

// sweep deletes a half packed file unless a keeper is at it. If that fails, the
// next keeper tries again.
func (k *Keeper) sweep(path string) {
	f, _, _ := k.take(path)
	if f == nil {
		return
	}
	_ = k.fs.Remove(path)
	_ = f.Close() // nothing was written
}
