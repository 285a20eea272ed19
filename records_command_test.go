package aigateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/spf13/cobra"

	"github.com/simpleaigateway/caddy-ai-gateway/echomodel"
)

// recordText returns a line of records without media. Turns are of human and model by
// turns.
func recordText(id, model, status string, turns ...string) string {
	text := func(s string) string {
		quoted, err := json.Marshal(s)
		if err != nil {
			panic(err)
		}
		return string(quoted)
	}
	var conversations []string
	for i, turn := range turns {
		conversations = append(conversations, fmt.Sprintf(`{"from":"%s","value":%s}`, []string{"human", "gpt"}[i%2], text(turn)))
	}
	return fmt.Sprintf(`{"id":"%s","conversations":[%s],"tools":"[]","model":%s,"created":1741145650,"finish_reason":"stop","meta":%s,"request":"","response":""}`,
		id, strings.Join(conversations, ","), text(model), text(`{"v":1,"status":"`+status+`"}`)) + "\n"
}

// writeRecords writes a file below dir, packed as its name says.
func writeRecords(t testing.TB, dir, name string, lines ...string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch filepath.Ext(name) {
	case ".gz":
		w = gzip.NewWriter(&out)
	case ".zst":
		if w, err = zstd.NewWriter(&out); err != nil {
			t.Fatal(err)
		}
	default:
		writeFile(t, path, strings.Join(lines, ""))
		return
	}
	io.WriteString(w, strings.Join(lines, ""))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, out.String())
}

// runCommand runs caddy ai-gateway with args and returns what it prints.
func runCommand(args ...string) (stdout, stderr string, err error) {
	cmd := &cobra.Command{Use: "ai-gateway", SilenceUsage: true} // as Caddy's own
	addCommands(cmd)
	var out, errs bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	err = cmd.Execute()
	return out.String(), errs.String(), err
}

// TestRecordsStats guards the counts by hour, status and model, over plain and packed
// files of all folders, and that files of others are left alone.
func TestRecordsStats(t *testing.T) {
	dir := t.TempDir()
	line := func(model, status string) string { return recordText("x", model, status, "q", "a") }
	size := len(line("m", "ok"))
	writeRecords(t, dir, "requests_responses/20260314_15.jsonl", line("m", "ok"), line("m", "ok"), "half a li")
	writeRecords(t, dir, "requests_responses/20260314_15-2.jsonl", line("n\x1b", "ok"))
	writeRecords(t, dir, "requests_responses/20260314_15.jsonl.bak", line("m", "ok"))
	writeRecords(t, dir, "requests_responses_compressed/20260314_03.jsonl.zst", line("m", "ok"))
	writeRecords(t, dir, "requests_responses_compressed/.20260314_04.jsonl.zst.half", line("m", "ok"))
	writeRecords(t, dir, "requests_responses_incomplete_compressed/20260314_03.jsonl.gz", line("m", "truncated"))
	writeRecords(t, dir, "other/20260314_03.jsonl", line("m", "ok"))
	out, _, err := runCommand("records", "stats", "--data-dir", dir)
	if err != nil {
		t.Fatal(err)
	}
	b := func(n, more int) int { return n*size + more }
	cut, named := len("truncated")-len("ok"), len(`n\u001b`)-len("m")
	want := fmt.Sprintf(`hour         ok  truncated  no_record  lines  bytes
20260314_03  1   1          0          2      %d
20260314_15  3   0          1          4      %d
total        4   1          1          6      %d

model    ok  truncated  no_record  lines  bytes
m        3   1          0          4      %d
"n\x1b"  1   0          0          1      %d
`, b(2, cut), b(3, named+9), b(5, cut+named+9), b(4, cut), b(1, named))
	if out != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
	out, _, err = runCommand("records", "stats", "--data-dir", dir, "--json")
	if err != nil {
		t.Fatal(err)
	}
	want = fmt.Sprintf(`{"files":4,"lines":6,"bytes":%d,"statuses":{"no_record":1,"ok":4,"truncated":1},"hours":{`+
		`"20260314_03":{"lines":2,"bytes":%d,"statuses":{"ok":1,"truncated":1}},"20260314_15":{"lines":4,"bytes":%d,"statuses":{"no_record":1,"ok":3}}},"models":{`+
		`"m":{"lines":4,"bytes":%d,"statuses":{"ok":3,"truncated":1}},"n\u001b":{"lines":1,"bytes":%d,"statuses":{"ok":1}}}}`+"\n",
		b(5, cut+named+9), b(2, cut), b(3, named+9), b(4, cut), b(1, named))
	if out != want {
		t.Errorf("got  %s\nwant %s", out, want)
	}
	if _, _, err := runCommand("records", "stats", "--data-dir", filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: got error %v, want that it does not exist", err)
	}
}

// TestRecordsGrowing guards that a line that the gateway is just writing is neither a
// problem nor a record, nor is any behind it.
func TestRecordsGrowing(t *testing.T) {
	dir := t.TempDir()
	record := recordText("a", "m", "ok", "q", "a")
	writeRecords(t, dir, "requests_responses/20260314_15.jsonl", record, record[:20])
	files, err := findRecordFiles(dir, recordFolders)
	if err != nil || len(files) != 1 {
		t.Fatalf("got %d files, error %v", len(files), err)
	}
	writeRecords(t, dir, "requests_responses/20260314_15.jsonl", record, record, record)
	r, err := files[0].open()
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for r.next() {
		lines++
	}
	if err := r.close(); err != nil || lines != 1 || r.torn {
		t.Errorf("got %d lines, error %v, torn %t, want 1", lines, err, r.torn)
	}
}

// TestRecordsExport guards both formats, the order by hour, packed files, the folders, and
// that lines that are no records are left out and counted.
func TestRecordsExport(t *testing.T) {
	dir := t.TempDir()
	late, early, cut := recordText("c", "m", "ok", "q3", "a3"), recordText("a", "m", "ok", "q1", "a1"), recordText("d", "m", "truncated", "q4", "a4")
	middle := recordText("b", "m", "ok", "q2", "<think>\nhm\n</think>\n\na2")
	writeRecords(t, dir, "requests_responses/20260314_15.jsonl", late, "{}\n", late[:20])
	writeRecords(t, dir, "requests_responses_compressed/20260314_03.jsonl.zst", early)
	writeRecords(t, dir, "requests_responses_compressed/20260314_04.jsonl.gz", middle)
	writeRecords(t, dir, "requests_responses_incomplete/20260314_05.jsonl", cut)
	f := func(folder, format, want, counts string) {
		t.Helper()
		out, stderr, err := runCommand("records", "export", "--data-dir", dir, "--folder", folder, "--format", format)
		if err != nil || out != want || stderr != counts+"\n" {
			t.Errorf("%s as %s: got %s%s, error %v, want %s%s", folder, format, out, stderr, err, want, counts)
		}
	}
	f("main", "sharegpt", early+middle+late, "3 records exported, 2 lines left out that are no records (see: records verify)")
	f("all", "sharegpt", early+middle+cut+late, "4 records exported, 2 lines left out that are no records (see: records verify)")
	f("incomplete", "messages", `{"messages":[{"role":"user","content":"q4"},{"role":"assistant","content":"a4"}]}`+"\n", "1 records exported")
	f("media", "messages", "", "0 records exported")
	f("main", "messages", `{"messages":[{"role":"user","content":"q1"},{"role":"assistant","content":"a1"}]}
{"messages":[{"role":"user","content":"q2"},{"role":"assistant","content":"a2","reasoning_content":"hm"}]}
{"messages":[{"role":"user","content":"q3"},{"role":"assistant","content":"a3"}]}
`, "3 records exported, 2 lines left out that are no records (see: records verify)")
	for _, args := range [][]string{{"--folder", "x"}, {"--format", "x"}, {"x"}} {
		if out, _, err := runCommand(append([]string{"records", "export", "--data-dir", dir}, args...)...); err == nil || out != "" {
			t.Errorf("%s: got %s, want an error", args, out)
		}
	}
}

// TestRecordsExportFile guards that an export has its name only when it is whole, and
// that nobody else may read it.
func TestRecordsExportFile(t *testing.T) {
	dir, to := t.TempDir(), t.TempDir()
	path := filepath.Join(to, "all.jsonl")
	record := recordText("a", "m", "ok", "q", "a")
	writeRecords(t, dir, "requests_responses/20260314_15.jsonl", record)
	if out, _, err := runCommand("records", "export", "--data-dir", dir, "--format", "sharegpt", "--to", path); err != nil || out != "" {
		t.Fatalf("got %s, error %v", out, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("got %v, error %v, want mode 0600", info, err)
	}
	// Neither a file that cannot be read nor an interrupt harms the one that is there.
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	e := recordExport{Dir: dir, Folder: "main", Format: formatMessages}
	if _, err := e.writeFile(canceled, path); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: got error %v", err)
	}
	writeFile(t, filepath.Join(dir, "requests_responses", "20260314_16.jsonl"), record)
	writeRecords(t, dir, "requests_responses_compressed/20260314_17.jsonl.zst")
	writeFile(t, filepath.Join(dir, "requests_responses_compressed", "20260314_17.jsonl.zst"), "no zstd")
	if _, err := e.writeFile(t.Context(), path); err == nil || !strings.Contains(err.Error(), "20260314_17") {
		t.Errorf("broken file: got error %v, want one that names it", err)
	}
	got, err := os.ReadFile(path)
	entries, _ := os.ReadDir(to)
	if err != nil || string(got) != record || len(entries) != 1 {
		t.Errorf("got %s, error %v, %d files, want %s in one", got, err, len(entries), record)
	}
}

// TestRecordsDedupe guards that of a conversation only the longest record is left, whatever
// the order, and that nothing else goes: other models, other turns, other pictures.
func TestRecordsDedupe(t *testing.T) {
	one := recordText("1", "m", "ok", "q1", "a1")
	two := recordText("2", "m", "ok", "q1", "a1", "q2", "a2")
	three := recordText("3", "m", "ok", "q1", "a1", "q2", "a2", "q3", "a3")
	again := recordText("4", "m", "ok", "q1", "a1", "q2", "a2", "q3", "a3")
	branch := recordText("5", "m", "ok", "q1", "a1", "q2", "other")
	other := recordText("6", "n", "ok", "q1", "a1")
	shifted := recordText("7", "m", "ok", "q1a", "1")
	thought := recordText("8", "m", "ok", "q1", "<think>\nhm\n</think>\n\na1")
	picture := func(id, url string, turns ...string) string {
		return strings.Replace(recordText(id, "m", "ok", turns...), `"response":""`, `"response":"","images":["`+url+`"]`, 1)
	}
	cat, dog, more := picture("p", "cat", "<image>\nq", "a"), picture("q", "dog", "<image>\nq", "a"), picture("r", "cat", "<image>\nq", "a", "q2", "a2")
	f := func(counts string, want []string, files ...[]string) {
		t.Helper()
		dir := t.TempDir()
		for i, lines := range files {
			writeRecords(t, dir, fmt.Sprintf("requests_responses_compressed/20260314_%02d.jsonl.zst", i), lines...)
		}
		out, stderr, err := runCommand("records", "export", "--data-dir", dir, "--dedupe", "--format", "sharegpt")
		if err != nil || out != strings.Join(want, "") || stderr != counts+"\n" {
			t.Errorf("got %s%s, error %v, want %s%s", out, stderr, err, strings.Join(want, ""), counts)
		}
	}
	f("1 records exported, 2 left out that others hold", []string{three}, []string{one, two, three})
	f("1 records exported, 2 left out that others hold", []string{three}, []string{three}, []string{two}, []string{one})
	f("1 records exported, 1 left out that others hold", []string{three}, []string{three, again})
	f("2 records exported, 1 left out that others hold", []string{two, branch}, []string{one, two}, []string{branch})
	f("4 records exported", []string{one, other, shifted, thought}, []string{one, other, shifted, thought})
	f("2 records exported, 1 left out that others hold", []string{dog, more}, []string{cat, dog, more})
	// A longer record that cannot be exported does not stand for a shorter one.
	dir := t.TempDir()
	writeRecords(t, dir, "requests_responses/20260314_03.jsonl", one, strings.Replace(two, `"human","value":"q2"`, `"user","value":"q2"`, 1))
	out, stderr, err := runCommand("records", "export", "--data-dir", dir, "--dedupe")
	if err != nil || strings.Count(out, "\n") != 1 || !strings.HasPrefix(stderr, "1 records exported, 1 lines left out that are no records") {
		t.Errorf("unknown role: got %s%s, error %v, want the shorter record", out, stderr, err)
	}
}

// TestRecordsProgress guards that what is done grows up to the total.
func TestRecordsProgress(t *testing.T) {
	dir := t.TempDir()
	writeRecords(t, dir, "requests_responses/20260314_15.jsonl", recordText("a", "m", "ok", "q", "a"), recordText("b", "m", "ok", "q", "b"))
	writeRecords(t, dir, "requests_responses_compressed/20260314_03.jsonl.zst", recordText("c", "m", "ok", "q", "c"))
	var last, total int64
	e := recordExport{Dir: dir, Folder: "main", Format: formatMessages, Dedupe: true, Progress: func(done, of int64) {
		if done < last {
			t.Errorf("got %d done after %d", done, last)
		}
		last, total = done, of
	}}
	if _, err := e.write(t.Context(), io.Discard); err != nil || last != total || total == 0 {
		t.Errorf("got %d of %d, error %v", last, total, err)
	}
	var line bytes.Buffer
	progressLine(&line)(1, 2)
	if got, want := line.String(), "\r\x1b[K 50% of 0.0 MB read"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestRecordsOfGateway runs the commands over what a real gateway has written: verify
// finds nothing, stats counts every record, and export takes every one.
func TestRecordsOfGateway(t *testing.T) {
	a := startStandIn(t, "a")
	g := startGateway(t, fleetOf(a.url))
	const total = 56 // every kind of mixed, streamed and not
	for n := range total {
		path, body := mixed(n)
		if status, text := g.post(t, path, body); status != 200 {
			t.Fatalf("%s %s: got status %d %s", path, body, status, text)
		}
	}
	a.plays(echomodel.Script{Fault: "eof_mid", After: 2})
	g.sends(t, "/v1/chat/completions", `{"model":"m","stream":true,"messages":[{"role":"user","content":"a b c d"}]}`)
	recorder := g.store.snapshot().recorder
	dir := filepath.Join(filepath.Dir(g.file), "data")
	lines := 0
	eventually(t, "all records on disk", func() bool {
		stats, err := readRecordStats(dir)
		if err != nil {
			return false // there is no folder before the first record
		}
		lines = int(stats.Lines)
		return recorder.report().Queued == 0 && lines == int(recorder.written.Load()) && stats.Statuses["truncated"] == 1 && lines > total && stats.Statuses[noRecord] == 0
	})
	out, _, err := runCommand("records", "verify", "--data-dir", dir)
	if err != nil || !strings.HasPrefix(out, fmt.Sprintf("%d lines in ", lines)) {
		t.Errorf("verify: got %s, error %v, want %d lines and no problem", out, err, lines)
	}
	stats, err := readRecordStats(dir)
	if err != nil || stats.Lines != int64(lines) || stats.Statuses["truncated"] != 1 || stats.Statuses["ok"]+stats.Statuses["length"] != int64(lines-1) {
		t.Errorf("stats: got %+v, error %v, want %d lines, one truncated", stats, err, lines)
	}
	out, stderr, err := runCommand("records", "export", "--data-dir", dir, "--folder", "all")
	if err != nil || strings.Count(out, "\n") != lines || stderr != fmt.Sprintf("%d records exported\n", lines) {
		t.Errorf("export: got %d lines, %s, error %v, want %d", strings.Count(out, "\n"), stderr, err, lines)
	}
	for line := range strings.Lines(out) {
		if !json.Valid([]byte(line)) || !strings.Contains(line, `"role":"assistant"`) {
			t.Errorf("export: got %s", line)
		}
	}
}
