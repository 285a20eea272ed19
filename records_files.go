package aigateway

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/hourly"
)

// maxRecordLine is the longest line that is read, in bytes. A request and its answer of
// the recorder's largest size, given twice and escaped twice, stay below.
const maxRecordLine = 256 << 20

var errLongLine = fmt.Errorf("got a line of more than %d bytes", maxRecordLine)

// recordFile is an hourly file of records.
type recordFile struct {
	path   string
	folder string // one of recordFolders, also for a packed file
	name   hourly.Name
	packed string // .zst, .gz or empty
	size   int64  // on the disk when it was found; what is added later is not read
}

// findRecordFiles returns the files of the folders below dir, packed ones included,
// by hour. Files with names that are not the recorder's are left alone.
func findRecordFiles(dir string, folders []string) ([]recordFile, error) {
	if _, err := os.ReadDir(dir); err != nil {
		return nil, fmt.Errorf("reading records: %w", err)
	}
	var files []recordFile
	for _, folder := range folders {
		for _, sibling := range []string{folder, folder + hourly.CompressedSuffix} {
			entries, err := os.ReadDir(filepath.Join(dir, sibling))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("reading records: %w", err)
			}
			for _, entry := range entries {
				f := recordFile{path: filepath.Join(dir, sibling, entry.Name()), folder: folder}
				base := entry.Name()
				if sibling != folder {
					f.packed = filepath.Ext(base)
					base = strings.TrimSuffix(base, f.packed)
				}
				var ok bool
				if f.name, ok = hourly.ParseName(base); !ok || f.name.Ext != ".jsonl" || entry.IsDir() {
					continue
				}
				if f.packed != "" && f.packed != ".zst" && f.packed != ".gz" {
					continue
				}
				info, err := os.Stat(f.path)
				if err != nil {
					return nil, f.failed(err)
				}
				f.size = info.Size()
				files = append(files, f)
			}
		}
	}
	slices.SortStableFunc(files, func(a, b recordFile) int { return cmp.Compare(a.name.Hour, b.name.Hour) })
	return files, nil
}

// failed says what went wrong with the file.
func (f *recordFile) failed(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading %q: it has been packed or deleted meanwhile, run the command again", f.path)
	}
	return fmt.Errorf("reading %q: %w", f.path, err)
}

// countingReader counts what is read of r.
type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// recordReader reads a file line by line:
//
//	for r.next() { use(r.line) }
//	err := r.close()
type recordReader struct {
	file   *recordFile
	on     *os.File
	disk   countingReader
	reader *bufio.Reader
	unpack func()
	err    error

	// line is a line without its line feed, valid until the next one. Torn says
	// that it had none: it is the last one, half written.
	line   []byte
	number int // of the line, from 1
	torn   bool
}

func (f *recordFile) open() (*recordReader, error) {
	on, err := os.Open(f.path)
	if err != nil {
		return nil, f.failed(err)
	}
	r := &recordReader{file: f, on: on, unpack: func() {}}
	r.disk.r = io.LimitReader(on, f.size)
	var plain io.Reader = &r.disk
	switch f.packed {
	case ".zst":
		var z *zstd.Decoder
		if z, err = zstd.NewReader(plain, zstd.WithDecoderConcurrency(1)); err == nil {
			plain, r.unpack = z, z.Close
		}
	case ".gz":
		plain, err = gzip.NewReader(plain)
	}
	if err != nil {
		_ = on.Close() // only read
		return nil, f.failed(err)
	}
	r.reader = bufio.NewReaderSize(plain, 64<<10)
	return r, nil
}

func (r *recordReader) next() bool {
	r.line = r.line[:0]
	for {
		piece, err := r.reader.ReadSlice('\n')
		if len(r.line)+len(piece) > maxRecordLine {
			r.number++
			r.err = errLongLine
			return false
		}
		r.line = append(r.line, piece...)
		switch {
		case err == nil:
			r.line = r.line[:len(r.line)-1]
			r.number++
			return true
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			if r.torn = len(r.line) > 0 && !r.growing(); r.torn {
				r.number++
			}
			return r.torn
		default:
			r.err = err
			return false
		}
	}
}

// growing reports whether the file has grown since it was found: its last line was half
// there because the gateway was just writing it.
func (r *recordReader) growing() bool {
	if r.on == nil || r.file.packed != "" {
		return false
	}
	info, err := r.on.Stat()
	return err == nil && info.Size() > r.file.size
}

// close closes the file and returns what ended the reading early.
func (r *recordReader) close() error {
	r.unpack()
	_ = r.on.Close() // only read
	if r.err != nil {
		return r.file.failed(r.err)
	}
	return nil
}
