package aigateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/sharegpt"
)

// The formats of an export.
const (
	formatMessages = "messages" // as sharegpt.AppendMessages writes it
	formatShareGPT = "sharegpt" // the lines as they are
)

// exportFolders are the folders by the names that an export has for them.
var exportFolders = map[string][]string{
	"main": {mainFolder}, "media": {mediaFolder}, "incomplete": {incompleteFolder},
	"completions": {completionsFolder}, "all": recordFolders,
}

// recordExport writes records as one JSONL file.
type recordExport struct {
	// Dir is the data_dir, Folder a key of exportFolders, Format one of the formats.
	Dir, Folder, Format string
	// Dedupe leaves out every record whose conversation another one goes on with.
	Dedupe bool
	// Progress, if not nil, is told how many bytes of the files have been read.
	Progress func(done, total int64)

	done, total int64
	buffer      []byte
}

// exported counts the lines of an export.
type exported struct {
	Written   int64
	Shorter   int64 // left out, for another record holds the conversation
	NoRecords int64 // left out, for they are none
}

func (e exported) String() string {
	text := fmt.Sprintf("%d records exported", e.Written)
	if e.Shorter > 0 {
		text += fmt.Sprintf(", %d left out that others hold", e.Shorter)
	}
	if e.NoRecords > 0 {
		text += fmt.Sprintf(", %d lines left out that are no records (see: records verify)", e.NoRecords)
	}
	return text
}

// writeFile writes the records to a file that is only seen when it is complete, and
// only by its owner: it replaces one of that name.
func (e *recordExport) writeFile(ctx context.Context, path string) (result exported, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.part") // mode 0600
	if err != nil {
		return result, fmt.Errorf("exporting records: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close() // it goes anyway
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	w := bufio.NewWriterSize(f, 256<<10)
	if result, err = e.write(ctx, w); err != nil {
		return result, err
	}
	for _, step := range []func() error{w.Flush, f.Sync, f.Close, func() error { return os.Rename(f.Name(), path) }} {
		if err = step(); err != nil {
			return result, fmt.Errorf("exporting records to %q: %w", path, err)
		}
	}
	return result, nil
}

// write writes the records to w, by hour, until ctx is done.
func (e *recordExport) write(ctx context.Context, w io.Writer) (result exported, err error) {
	folders, ok := exportFolders[e.Folder]
	if !ok {
		return result, fmt.Errorf("exporting records: got folder %q, want main, media, incomplete, completions or all", e.Folder)
	}
	if e.Format != formatMessages && e.Format != formatShareGPT {
		return result, fmt.Errorf("exporting records: got format %q, want %s or %s", e.Format, formatMessages, formatShareGPT)
	}
	files, err := findRecordFiles(e.Dir, folders)
	if err != nil {
		return result, err
	}
	e.done, e.total = 0, 0
	for i := range files {
		e.total += files[i].size
	}
	var known *conversations
	if e.Dedupe {
		e.total *= 2 // all files are read twice
		known = newConversations()
		err := e.each(ctx, files, func(line []byte) error {
			if e.convert(line) { // what is left out must not stand for others
				known.learn(line)
			}
			return nil
		})
		if err != nil {
			return result, err
		}
	}
	err = e.each(ctx, files, func(line []byte) error {
		var sum uint64
		if known != nil && line != nil {
			if sum = known.sum(line); known.holds(sum) {
				result.Shorter++
				return nil
			}
		}
		if !e.convert(line) {
			result.NoRecords++
			return nil
		}
		if known != nil {
			known.add(sum)
		}
		result.Written++
		e.buffer = append(e.buffer, '\n')
		_, err := w.Write(e.buffer)
		return err
	})
	return result, err
}

// convert puts what becomes of a line into the buffer, and reports false if nothing
// can.
func (e *recordExport) convert(line []byte) bool {
	e.buffer = append(e.buffer[:0], line...)
	if line == nil || e.Format == formatShareGPT {
		return line != nil
	}
	var err error
	e.buffer, err = sharegpt.AppendMessages(e.buffer[:0], line)
	return err == nil
}

// each gives every line of the files to use, nil for one that is no record.
func (e *recordExport) each(ctx context.Context, files []recordFile, use func(line []byte) error) error {
	for i := range files {
		r, err := files[i].open()
		if err != nil {
			return err
		}
		before := e.done
		for r.next() && err == nil {
			line := r.line
			if r.torn || !isRecord(line) {
				line = nil
			}
			if err = use(line); err == nil {
				err = ctx.Err()
			}
			e.done = before + r.disk.n
			if e.Progress != nil {
				e.Progress(e.done, e.total)
			}
		}
		if err = errors.Join(err, r.close()); err != nil {
			return fmt.Errorf("exporting records: %w", err)
		}
	}
	return nil
}

// isRecord reports whether a line is an object with a conversation.
func isRecord(line []byte) bool {
	return json.Valid(line) && rawjson.IsArray(memberOf(line, "conversations"))
}
