package aigateway

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/sharegpt"
)

// noRecord is in the place of a status for a line that is no record.
const noRecord = "no_record"

// statusOrder is the order of the statuses in tables; others come behind.
var statusOrder = []string{
	string(sharegpt.OK), string(sharegpt.Length), string(sharegpt.ContentFilter),
	string(sharegpt.Failed), string(sharegpt.Truncated), string(sharegpt.ClientDisconnect),
}

// recordCount counts lines. Bytes are those of the lines with their line feeds, as
// they are when unpacked.
type recordCount struct {
	Lines    int64            `json:"lines"`
	Bytes    int64            `json:"bytes"`
	Statuses map[string]int64 `json:"statuses"`
}

func (c *recordCount) add(status string, size int) {
	if c.Statuses == nil {
		c.Statuses = make(map[string]int64)
	}
	c.Lines++
	c.Bytes += int64(size)
	c.Statuses[status]++
}

// recordStats are the counts of all records below a folder:
//
//	{"files":2,"lines":3,"bytes":2100,"statuses":{"ok":3},"hours":{"20260314_15":{…}},"models":{"m":{…}}}
//
// Hours are those of the files' names. A line that is no record counts with the
// status no_record and no model.
type recordStats struct {
	Files int `json:"files"`
	recordCount
	Hours  map[string]*recordCount `json:"hours"`
	Models map[string]*recordCount `json:"models"`
}

// readRecordStats counts what is below dir.
func readRecordStats(dir string) (*recordStats, error) {
	files, err := findRecordFiles(dir, recordFolders)
	if err != nil {
		return nil, err
	}
	s := &recordStats{
		Files: len(files), recordCount: recordCount{Statuses: map[string]int64{}},
		Hours: map[string]*recordCount{}, Models: map[string]*recordCount{},
	}
	for i := range files {
		if err := s.read(&files[i]); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *recordStats) read(f *recordFile) error {
	r, err := f.open()
	if err != nil {
		return err
	}
	for r.next() {
		size := len(r.line)
		if !r.torn {
			size++
		}
		model, status := statusOfLine(r.line)
		s.add(status, size)
		countIn(s.Hours, f.name.Hour.String()).add(status, size)
		if status != noRecord {
			countIn(s.Models, model).add(status, size)
		}
	}
	return r.close()
}

func countIn(counts map[string]*recordCount, name string) *recordCount {
	c := counts[name]
	if c == nil {
		c = new(recordCount)
		counts[name] = c
	}
	return c
}

// statusOfLine returns the model of a line and the status that its meta has.
func statusOfLine(line []byte) (model, status string) {
	if !json.Valid(line) {
		return "", noRecord
	}
	for m := rawjson.Object(line); m.Next(); {
		switch string(m.Key) {
		case "model":
			model = rawjson.Text(m.Value)
		case "meta":
			meta, _ := rawjson.AppendText(nil, m.Value)
			status = rawjson.Text(memberOf(meta, "status"))
		}
	}
	if status == "" {
		return "", noRecord
	}
	return model, status
}

// memberOf returns the value of an object's member, nil if there is none.
func memberOf(object []byte, name string) []byte {
	for m := rawjson.Object(object); m.Next(); {
		if string(m.Key) == name {
			return m.Value
		}
	}
	return nil
}

func (s *recordStats) writeJSON(w io.Writer) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// writeTable writes the counts as two tables, one by hour with the totals, one by
// model.
func (s *recordStats) writeTable(w io.Writer) error {
	statuses := slices.DeleteFunc(slices.Clone(statusOrder), func(name string) bool { return s.Statuses[name] == 0 })
	for _, name := range slices.Sorted(maps.Keys(s.Statuses)) {
		if !slices.Contains(statuses, name) {
			statuses = append(statuses, name)
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name string, c *recordCount) {
		fmt.Fprint(t, name)
		for _, status := range statuses {
			fmt.Fprintf(t, "\t%d", c.Statuses[status])
		}
		fmt.Fprintf(t, "\t%d\t%d\n", c.Lines, c.Bytes)
	}
	head := func(name string) {
		fmt.Fprint(t, name)
		for _, status := range statuses {
			fmt.Fprint(t, "\t", printable(status))
		}
		fmt.Fprint(t, "\tlines\tbytes\n")
	}
	head("hour")
	for _, hour := range slices.Sorted(maps.Keys(s.Hours)) {
		row(hour, s.Hours[hour])
	}
	row("total", &s.recordCount)
	fmt.Fprintln(t)
	head("model")
	for _, model := range slices.Sorted(maps.Keys(s.Models)) {
		row(printable(model), s.Models[model])
	}
	return t.Flush()
}

// printable returns a name as a table can show it: a model's name is a server's or
// a client's word and may hold anything.
func printable(name string) string {
	if name != "" && !strings.ContainsFunc(name, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return name
	}
	return strconv.Quote(name)
}
