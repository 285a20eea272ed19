package ledger

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Folder is a store of numbered files usage-N.log in a folder of its own, which only the
// owner may read. A file is lines of a checksum (CRC-32C of the rest, 8 hexadecimal
// digits) and a JSON object:
//
//	1a2b3c4d {"account":"team-a","model":"qwen3","day":20261129,"requests":1,"prompt_tokens":20,"completion_tokens":300,"cost_micros":12}
//
// The sum of all entries counts. A file may begin with {"replaces":N}: then it holds the
// sums of the files up to N, which are deleted when it is safe on the disk. Lines whose
// checksum is wrong, such as the last one when the power went, do not count. The first
// use begins a new file, so that nothing is ever appended to one that may be torn. One process at
// a time uses the folder. A Folder is used by one goroutine.
type Folder struct {
	dir     string
	lock    *os.File
	number  int // of the file that is written, 0 for none
	file    *os.File
	size    int64 // of what is known to be safe in it
	suspect bool  // there may be more in it
	Damaged int   // lines that did not count when it was loaded
}

// maxLog is the size from which a file is replaced by its sums.
const maxLog = 8 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// NewFolder returns the store in dir, which is made when it is used first.
func NewFolder(dir string) *Folder { return &Folder{dir: dir} }

// head is the first line of a file that replaces others.
type head struct {
	Replaces int `json:"replaces"`
}

// Load reads the files, and begins a new one with their sums.
func (f *Folder) Load() ([]Entry, error) {
	if err := f.take(); err != nil {
		return nil, err
	}
	f.Damaged = 0
	all, last, err := f.read()
	if err != nil {
		return nil, err
	}
	_ = f.replace(all, last) // Add tries again, and tells
	return all, nil
}

// take makes the folder and locks it.
func (f *Folder) take() error {
	if f.lock != nil {
		return nil
	}
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(f.dir, 0o700); err != nil { //nolint:gosec // it is a folder
		return err
	}
	lock, err := os.OpenFile(filepath.Join(f.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := lockFile(lock); err != nil {
		return errors.Join(err, lock.Close())
	}
	f.lock = lock
	return nil
}

// numbers returns those of the files, in order.
func (f *Folder) numbers() ([]int, error) {
	files, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, file := range files {
		text, ok := strings.CutPrefix(file.Name(), "usage-")
		number, err := strconv.Atoi(strings.TrimSuffix(text, ".log"))
		if ok && err == nil && file.Name() == filepath.Base(f.path(number)) {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

func (f *Folder) path(number int) string {
	return filepath.Join(f.dir, fmt.Sprintf("usage-%06d.log", number))
}

// read returns the sums of all files, and the number of the last.
func (f *Folder) read() (all []Entry, last int, err error) {
	numbers, err := f.numbers()
	if err != nil {
		return nil, 0, err
	}
	sum := make(sums)
	for _, number := range numbers {
		replaces, entries, err := f.readFile(number)
		if err != nil {
			return nil, 0, err
		}
		if replaces > 0 {
			clear(sum)
		}
		for _, e := range entries {
			sum.add(e)
		}
		last = number
	}
	return sum.entries(), last, nil
}

// readFile returns the lines of a file whose checksum is right.
func (f *Folder) readFile(number int) (replaces int, entries []Entry, err error) {
	file, err := os.Open(f.path(number))
	if err != nil {
		return 0, nil, err
	}
	defer file.Close() //nolint:errcheck // only read
	lines := bufio.NewReader(file)
	for first := true; ; first = false {
		line, err := lines.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, nil, err
		}
		text, ok := checked(line)
		var e Entry
		var h head
		switch {
		case len(line) == 0:
		case !ok:
			f.Damaged++
		case first && json.Unmarshal(text, &h) == nil && h.Replaces > 0:
			replaces = h.Replaces
		case json.Unmarshal(text, &e) != nil || e.Day == 0:
			f.Damaged++
		default:
			entries = append(entries, e)
		}
		if err != nil {
			return replaces, entries, nil
		}
	}
}

// checked returns what a line holds, if it is whole.
func checked(line []byte) (text []byte, ok bool) {
	sum, text, ok := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
	if !ok || !bytes.HasSuffix(line, []byte("\n")) || len(sum) != 8 {
		return nil, false
	}
	want, err := strconv.ParseUint(string(sum), 16, 32)
	return text, err == nil && crc32.Checksum(text, castagnoli) == uint32(want)
}

// appendLine appends the line of v.
func appendLine(to []byte, v any) []byte {
	text, err := json.Marshal(v)
	if err != nil { // structures of texts and numbers always encode
		panic(err)
	}
	return fmt.Appendf(to, "%08x %s\n", crc32.Checksum(text, castagnoli), text)
}

// replace begins a file with the sums of all files up to last, and deletes those.
func (f *Folder) replace(all []Entry, last int) error {
	text := appendLine(nil, head{max(last, 1)})
	today := DayOf(time.Now())
	sum := make(sums)
	for _, e := range all {
		var ok bool
		if e.Day, ok = e.Day.kept(today); ok {
			sum.add(e)
		}
	}
	for _, e := range sum.entries() {
		text = appendLine(text, e)
	}
	number := max(last, 1) + 1
	temporary := f.path(number) + ".new"
	if err := writeFile(temporary, text); err != nil {
		return errors.Join(err, ignoreMissing(os.Remove(temporary)))
	}
	if err := os.Rename(temporary, f.path(number)); err != nil {
		return errors.Join(err, ignoreMissing(os.Remove(temporary)))
	}
	if err := syncFolder(f.dir); err != nil {
		return err
	}
	file, err := os.OpenFile(f.path(number), os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if f.file != nil {
		_ = f.file.Close() // it has been synced
	}
	f.file, f.number, f.size, f.suspect = file, number, int64(len(text)), false
	numbers, err := f.numbers()
	if err != nil {
		return err
	}
	for _, old := range numbers {
		if old < number {
			if err := os.Remove(f.path(old)); err != nil { // it is replaced all the same
				return nil //nolint:nilerr // and will be deleted the next time
			}
		}
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// writeFile makes a file with text that is safe on the disk.
func writeFile(path string, text []byte) (err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = file.Write(text); err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// Add appends entries. After an error the file is cut to what was safe before, for
// nobody knows how much of them it has.
func (f *Folder) Add(entries []Entry) error {
	if err := f.whole(); err != nil {
		return err
	}
	var text []byte
	for _, e := range entries {
		text = appendLine(text, e)
	}
	f.suspect = true
	if _, err := f.file.Write(text); err != nil {
		return err
	}
	if err := f.file.Sync(); err != nil {
		return err
	}
	f.suspect = false
	f.size += int64(len(text))
	if f.size > maxLog {
		all, last, err := f.read()
		if err == nil {
			err = f.replace(all, last)
		}
		_ = err // the entries are safe, and the next Add tries again
	}
	return nil
}

// whole makes sure that the file is there and holds what is safe and nothing more.
func (f *Folder) whole() error {
	if f.file == nil {
		if err := f.take(); err != nil {
			return err
		}
		all, last, err := f.read()
		if err != nil {
			return err
		}
		return f.replace(all, last)
	}
	if !f.there() {
		if err := f.Close(); err != nil {
			return err
		}
		if err := f.whole(); err != nil {
			return err
		}
		return ErrForgotten
	}
	if !f.suspect {
		return nil
	}
	if err := f.file.Truncate(f.size); err != nil {
		return err
	}
	if err := f.file.Sync(); err != nil {
		return err
	}
	f.suspect = false
	return nil
}

// there reports whether the file that is written still has its name.
func (f *Folder) there() bool {
	named, err := os.Stat(f.path(f.number))
	if err != nil {
		return false
	}
	open, err := f.file.Stat()
	return err == nil && os.SameFile(named, open)
}

// Close gives the folder back.
func (f *Folder) Close() (err error) {
	if f.file != nil {
		err = f.file.Close()
		f.file = nil
	}
	if f.lock != nil {
		err = errors.Join(err, f.lock.Close())
		f.lock = nil
	}
	return err
}

var _ Store = (*Folder)(nil)
