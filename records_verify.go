package aigateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
)

// recordColumns are the columns of every record, in their order. Behind them come
// those of its media.
var recordColumns = [...]string{"id", "conversations", "tools", "model", "created", "finish_reason", "meta", "request", "response"}

// mediaColumns are the columns of media, in their order, with the kind's name and
// its placeholder in texts.
var mediaColumns = [...]struct{ name, kind, tag string }{
	{"images", "image", "<image>"}, {"audios", "audio", "<audio>"}, {"videos", "video", "<video>"},
}

// verifyRecords checks every line below dir and writes what is wrong to w, a line for
// each problem:
//
//	data/requests_responses/20260314_15.jsonl:7: turn 3 is from human, want gpt or function_call
//
// and a last line with the counts. No problem tells a text of the record. It returns how
// many there are, and an error only if dir or w fail.
func verifyRecords(w io.Writer, dir string) (problems int, err error) {
	files, err := findRecordFiles(dir, recordFolders)
	if err != nil {
		return 0, err
	}
	v := recordVerifier{w: w, seed: maphash.MakeSeed(), ids: make(map[uint64]struct{})}
	for i := range files {
		v.verify(&files[i])
	}
	if v.err == nil {
		_, v.err = fmt.Fprintf(w, "%d lines in %d files, %d problems\n", v.lines, len(files), v.problems)
	}
	return v.problems, v.err
}

// recordVerifier checks lines. Of ids it keeps hashes of 64 bits.
type recordVerifier struct {
	w        io.Writer
	err      error // of writing
	lines    int
	problems int
	seed     maphash.Seed
	ids      map[uint64]struct{}

	file    *recordFile
	number  int
	columns []string // of each line of the file
	tags    [len(mediaColumns)]int
	text    []byte
}

// problem tells what is wrong with the line.
func (v *recordVerifier) problem(format string, args ...any) {
	v.problems++
	if v.err == nil {
		_, v.err = fmt.Fprintf(v.w, "%s:%d: %s\n", v.file.path, v.number, fmt.Sprintf(format, args...))
	}
}

func (v *recordVerifier) verify(f *recordFile) {
	v.file, v.number = f, 1
	v.columns = recordColumns[:]
	if f.folder == mediaFolder {
		kinds := strings.Split(strings.TrimPrefix(f.name.Suffix, "."), "+")
		for _, c := range mediaColumns {
			if slices.Contains(kinds, c.kind) {
				v.columns = append(slices.Clip(v.columns), c.name)
			}
		}
		if len(v.columns) != len(recordColumns)+len(kinds) || !slices.IsSorted(kinds) {
			v.problem("the file's name has no sorted kinds of media, want such as .audio+image")
		}
	}
	r, err := f.open()
	if err != nil {
		v.problem("%v", err)
		return
	}
	for r.next() {
		v.lines++
		v.number = r.number
		if r.torn {
			v.problem("the last line has no line feed, it may be half written")
			continue
		}
		v.line(r.line)
	}
	v.number = max(1, r.number)
	if err := r.close(); err != nil {
		v.problem("%v", err)
	}
}

// line checks one line: first what any reader of JSON stumbles on, then its columns.
func (v *recordVerifier) line(line []byte) {
	switch {
	case len(line) == 0:
		v.problem("the line is empty")
		return
	case !utf8.Valid(line):
		v.problem("the line is not UTF-8")
		return
	case !json.Valid(line):
		v.problem("the line is no JSON, want an object")
		return
	case !rawjson.IsObject(line):
		v.problem("the line is no JSON object")
		return
	}
	if bytes.IndexByte(line, '\r') >= 0 {
		v.problem("the line has a carriage return")
	}
	if loneSurrogate(line) {
		v.problem("a text has half of a surrogate pair")
	}
	n := 0
	for m := rawjson.Object(line); m.Next(); n++ {
		if n == len(v.columns) {
			v.problem("there is a column behind %s", v.columns[n-1])
			return
		}
		if string(m.Key) != v.columns[n] {
			v.problem("column %d is not %s", n+1, v.columns[n])
			return
		}
		v.column(v.columns[n], m.Value)
	}
	if n < len(v.columns) {
		v.problem("there is no column %s", v.columns[n])
	}
}

// loneSurrogate reports whether a string in line has half of a surrogate pair as an
// escape, which Arrow refuses.
func loneSurrogate(line []byte) bool {
	unit := func(s []byte) uint64 { // of a \u escape that s begins with, else 0
		if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
			return 0
		}
		n, err := strconv.ParseUint(string(s[2:6]), 16, 16)
		if err != nil {
			return 0
		}
		return n
	}
	for {
		i := bytes.IndexByte(line, '\\')
		if i < 0 || i+1 == len(line) {
			return false
		}
		line = line[i:]
		size := 2
		if u := unit(line); u>>11 == 0xd800>>11 {
			if u >= 0xdc00 || unit(line[6:])>>10 != 0xdc00>>10 {
				return true
			}
			size = 12
		}
		line = line[size:]
	}
}
