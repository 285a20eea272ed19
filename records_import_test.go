package aigateway

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// TestRecordsImport guards that what was exported comes back as it was, with new ids and
// in files that verify finds nothing wrong with, and that lines without an answer are told.
func TestRecordsImport(t *testing.T) {
	export := func(dir string) string {
		t.Helper()
		out, _, err := runCommand("records", "export", "--data-dir", dir, "--folder", "all")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	dir, again := t.TempDir(), t.TempDir()
	tools := strings.NewReplacer(`{"from":"gpt","value":"a3"}`, `{"from":"function_call","value":"{\"name\":\"f\",\"arguments\":{\"x\":1}}"}`, `"tools":"[]"`,
		`"tools":"[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"\",\"parameters\":{\"type\":\"object\",\"properties\":{}}}}]"`)
	writeRecords(t, dir, "requests_responses/20260314_03.jsonl", recordText("1", "m", "ok", "q1", "a1", "q2", "<think>\nhm\n</think>\n\na2"),
		tools.Replace(recordText("2", "m", "ok", "q3", "a3")))
	writeRecords(t, dir, "requests_responses_media/20260314_03.image.jsonl",
		strings.Replace(recordText("3", "m", "ok", "<image>\nq4", "a4"), `"response":""`, `"response":"","images":["http://x/a.png"]`, 1))
	want := export(dir)
	from := filepath.Join(dir, "all.jsonl")
	writeFile(t, from, want)
	if _, stderr, err := runCommand("records", "import", "--data-dir", again, "--from", from, "--model", "m"); err != nil || stderr != "3 records imported, 0 lines left out\n" {
		t.Fatalf("import: got %s, error %v", stderr, err)
	}
	if got := export(again); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if out, _, err := runCommand("records", "verify", "--data-dir", again); err != nil || out != "3 lines in 2 files, 0 problems\n" {
		t.Errorf("verify: got %s, error %v", out, err)
	}
	if stats, err := readRecordStats(again); err != nil || stats.Models["m"] == nil || stats.Models["m"].Statuses["ok"] != 3 {
		t.Errorf("stats: got %+v, error %v, want 3 records of m, ok", stats, err)
	}
	writeFile(t, from, `{"messages":[{"role":"user","content":"SECRET"}]}
SECRET
{}
{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":""}]}
{"model":"n","messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}
`)
	_, stderr, err := runCommand("records", "import", "--data-dir", again, "--from", from)
	const told = `line 1: got no messages that end with an assistant's, want such
line 2: got no JSON, want an object
line 3: got no messages that end with an assistant's, want such
line 4: got an answer that says nothing, want a text or a call
1 records imported, 4 lines left out
`
	if !errors.Is(err, errProblems) || stderr != told {
		t.Errorf("bad lines: got %s, error %v, want %s", stderr, err, told)
	}
}
