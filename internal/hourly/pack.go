package hourly

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Compression is how files of past hours are packed.
type Compression string

const (
	None Compression = ""
	Zstd Compression = "zstd" // RFC 8878, names end in .zst
	Gzip Compression = "gzip" // RFC 1952, names end in .gz
)

// ext returns the extension that packed files get.
func (c Compression) ext() string {
	if c == Gzip {
		return ".gz"
	}
	return ".zst"
}

// A file that is being packed has the name of its product between these.
const (
	halfPrefix = "."
	halfSuffix = ".half"
)

// errDiffers says that a packed file does not hold what was packed.
var errDiffers = errors.New("what was packed reads back differently")

// packedName reads the name of a packed file.
func packedName(name string) (Name, bool) {
	for _, c := range []Compression{Zstd, Gzip} {
		if base, ok := strings.CutSuffix(name, c.ext()); ok {
			return ParseName(base)
		}
	}
	return Name{}, false
}

// pack moves one file, packed, to the sibling folder. The original goes when the
// copy has been read back from the disk and is the same; until then the copy has a
// name of its own. It reports false without an error if a writer has the file.
//
// A keeper that is killed between naming the copy and deleting the original leaves
// both: the next one finds them equal and deletes the original.
func (k *Keeper) pack(ctx context.Context, path string) (packed bool, e *Error) {
	f, info, e := k.take(path)
	if f == nil {
		return false, e
	}
	defer func() { _ = f.Close() }() // it is deleted or as it was
	size, err := k.mend(f, path, info.Size())
	if err != nil {
		return false, asError(err)
	}
	dir, err := k.folder(filepath.Base(filepath.Dir(path)) + CompressedSuffix)
	if err == nil && size > 0 { // an empty file is only deleted
		err = k.packTo(ctx, dir, filepath.Base(path), f, size)
	}
	if err == nil {
		err = k.fs.Remove(path)
	}
	if err != nil {
		return false, errorOf("packing", path, IOError, err)
	}
	return true, nil
}

// packTo packs the size bytes of f into a file in dir that is named after base.
func (k *Keeper) packTo(ctx context.Context, dir, base string, f File, size int64) error {
	want, err := digest(ctx, f, size)
	if err != nil {
		return err
	}
	final, there, err := k.free(ctx, dir, base, want)
	if err != nil || there {
		return err
	}
	half := filepath.Join(dir, halfPrefix+filepath.Base(final)+halfSuffix)
	k.sweep(half)
	out, err := k.fs.OpenFile(half, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	err = k.fill(ctx, out, f, size, want)
	if err == nil {
		err = k.fs.Rename(half, final)
	} else {
		err = errors.Join(err, k.fs.Remove(half))
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = k.syncDir(dir)
	}
	return err
}

// fill packs f into out, makes that durable and reads it back.
func (k *Keeper) fill(ctx context.Context, out, f File, size int64, want [sha256.Size]byte) error {
	if err := out.Chmod(fileMode); err != nil { // a umask may have narrowed it
		return err
	}
	if err := out.Lock(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	w, err := k.o.Compression.writer(out)
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, &reader{ctx, f, 0, size}); err != nil {
		return errors.Join(err, w.Close())
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	same, err := k.holds(ctx, out, k.o.Compression, want)
	if err == nil && !same {
		err = errDiffers
	}
	return err
}

// free returns the path of the first name in dir, after base, that nothing has. It
// reports there if a file of such a name already holds what is to be packed.
func (k *Keeper) free(ctx context.Context, dir, base string, want [sha256.Size]byte) (path string, there bool, err error) {
	n, ok := ParseName(base)
	if !ok {
		return "", false, fmt.Errorf("name %q is not that of an hourly file", base)
	}
	for ; n.Index <= maxIndex; n.Index++ {
		path = filepath.Join(dir, n.String()+k.o.Compression.ext())
		old, err := k.fs.OpenFile(path, os.O_RDONLY, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return path, false, nil
		}
		if err != nil {
			return "", false, err
		}
		// One that cannot be read is not what is to be packed.
		same, err := k.holds(ctx, old, k.o.Compression, want)
		_ = old.Close() // it was only read
		if ctx.Err() != nil {
			return "", false, ctx.Err()
		}
		if err == nil && same {
			return path, true, nil
		}
	}
	return "", false, fmt.Errorf("every name of the hour is %w", errTaken)
}

// holds reports whether the packed file unpacks to what has the digest.
func (k *Keeper) holds(ctx context.Context, f File, c Compression, want [sha256.Size]byte) (bool, error) {
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	r, err := c.reader(&reader{ctx, f, 0, info.Size()})
	if err != nil {
		return false, err
	}
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return false, errors.Join(err, r.Close())
	}
	return bytes.Equal(h.Sum(nil), want[:]), r.Close()
}

// digest returns the SHA-256 of the first size bytes of the file.
func digest(ctx context.Context, f File, size int64) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	if _, err := io.Copy(h, &reader{ctx, f, 0, size}); err != nil {
		return sum, err
	}
	h.Sum(sum[:0])
	return sum, nil
}

// writer packs what is written to it. It uses one core: the others serve.
func (c Compression) writer(w io.Writer) (io.WriteCloser, error) {
	switch c {
	case Zstd:
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	case Gzip:
		return gzip.NewWriter(w), nil
	default:
		return nil, fmt.Errorf("compression %q: want %q or %q", string(c), Zstd, Gzip)
	}
}

// reader unpacks what r holds.
func (c Compression) reader(r io.Reader) (io.ReadCloser, error) {
	switch c {
	case Zstd:
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(math.MaxInt64))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case Gzip:
		return gzip.NewReader(r)
	default:
		return nil, fmt.Errorf("compression %q: want %q or %q", string(c), Zstd, Gzip)
	}
}

// reader reads a file from its beginning until the context is done. A file that is
// shorter than it was said to be is an error.
type reader struct {
	ctx      context.Context
	f        File
	off, end int64
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if r.off >= r.end {
		return 0, io.EOF
	}
	n, err := r.f.ReadAt(p[:min(int64(len(p)), r.end-r.off)], r.off)
	r.off += int64(n)
	if errors.Is(err, io.EOF) && n == 0 {
		err = io.ErrUnexpectedEOF
	} else if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}
