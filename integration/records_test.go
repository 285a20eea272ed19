package integration

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// TestRecordsCommand guards that the built binary counts, checks and exports what its
// gateway has recorded, while that runs.
func TestRecordsCommand(t *testing.T) {
	g := start(t)
	res, err := http.Post(g.url+"/v1/chat/completions", "application/json",
		strings.NewReader(`{"model":"echo","messages":[{"role":"user","content":"good morning"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("got status %d", res.StatusCode)
	}
	data := filepath.Join(g.dir, "data")
	eventually(t, "the record on disk", func() bool {
		files, _ := filepath.Glob(filepath.Join(data, "requests_responses", "*.jsonl"))
		return len(files) > 0 && strings.HasSuffix(read(t, files[0]), "\n")
	})
	out, _ := run(t, g.dir, nil, "ai-gateway", "records", "stats", "--json") // ./data is the default
	if !strings.Contains(out, `"lines":1,`) || !strings.Contains(out, `"statuses":{"ok":1}`) {
		t.Errorf("stats: got %s, want one line, ok", out)
	}
	if out, _ = run(t, g.dir, nil, "ai-gateway", "records", "verify", "--data-dir", data); out != "1 lines in 1 files, 0 problems\n" {
		t.Errorf("verify: got %s", out)
	}
	to := filepath.Join(g.dir, "train.jsonl")
	run(t, g.dir, nil, "ai-gateway", "records", "export", "--dedupe", "--to", to)
	want := `{"messages":[{"role":"user","content":"good morning"},{"role":"assistant","content":"good morning"}]}` + "\n"
	if got := read(t, to); got != want {
		t.Errorf("export: got %s, want %s", got, want)
	}
	// What is wrong ends the command with status 1.
	write(t, filepath.Join(data, "requests_responses", "20200101_00.jsonl"), "{}\n")
	cmd := command(t, g.dir, nil, "ai-gateway", "records", "verify")
	text, err := cmd.CombinedOutput()
	got := string(text)
	if cmd.ProcessState.ExitCode() != 1 || !strings.HasSuffix(got, ":1: there is no column id\n2 lines in 2 files, 1 problems\n") {
		t.Errorf("verify of a broken line: got %s, error %v, want status 1", got, err)
	}
}
