package aigateway

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// checker judges record files as training tools would; it stands beside the
// repository.
const checkerFile = "../shared/check_sharegpt.py"

// mixed returns the path and the body of the nth of many different requests.
func mixed(n int) (path, body string) {
	path = []string{"/v1/chat/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages"}[n%4]
	stream := n/4%2 == 0
	content := fmt.Sprintf(`"request %d \u2028 with \"quotes\", <image> and a line\n"`, n)
	extra := ""
	switch n % 7 {
	case 1:
		content = `[{"type":"text","text":"what is this?"},{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}]`
		if path != "/v1/chat/completions" {
			content = `"no image"`
		}
	case 2:
		extra = `,"echo":{"reasoning":3}`
	case 3:
		if path == "/v1/chat/completions" {
			content, extra = `"use the tool"`, `,"tools":[{"type":"function","function":{"name":"look","parameters":{"type":"object","properties":{}}}}]`
		}
	case 4:
		if path == "/v1/chat/completions" {
			extra = `,"n":2`
		}
	case 5:
		extra = `,"max_tokens":2`
	}
	return path, fmt.Sprintf(`{"model":"m","stream":%t,"max_tokens":50,"messages":[{"role":"user","content":%s}],"input":%s%s}`, stream, content, content, strings.Replace(extra, `,"max_tokens":2`, "", 1))
}

// TestRecordsLoad guards that at full speed every exchange is recorded, none
// dropped, with an id of its own, and that trainers take every line as it is.
func TestRecordsLoad(t *testing.T) {
	total := 20_000
	if raceDetector || testing.Short() {
		total = 2_000
	}
	a, b := startStandIn(t, "a"), startStandIn(t, "b")
	g := startGateway(t, fleetOf(a.url, b.url))
	var next, choices atomic.Int64
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for n := int(next.Add(1)); n <= total; n = int(next.Add(1)) {
				path, body := mixed(n)
				res, err := client.Post(g.url+path, "application/json", strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				text, err := io.ReadAll(res.Body)
				res.Body.Close()
				if err != nil || res.StatusCode != http.StatusOK {
					t.Errorf("%s %s: got status %d %.200s %v", path, body, res.StatusCode, text, err)
					return
				}
				choices.Add(1)
				if strings.Contains(body, `"n":2`) {
					choices.Add(1)
				}
			}
		})
	}
	wg.Wait()
	recorder := g.store.snapshot().recorder
	eventually(t, "all records", func() bool { return recorder.report().Queued == 0 && recorder.written.Load() >= choices.Load() })
	if report := recorder.report(); report.Written != choices.Load() || len(report.Dropped) > 0 {
		t.Errorf("got %+v, want %d written and none dropped", report, choices.Load())
	}
	ids, lines := make(map[string]bool), 0
	eventually(t, "all records on disk", func() bool {
		clear(ids)
		lines = 0
		for _, records := range g.records(t) {
			for _, r := range records {
				ids[r.ID] = true
				lines++
			}
		}
		return lines == int(choices.Load())
	})
	if len(ids) != lines {
		t.Errorf("got %d ids for %d records", len(ids), lines)
	}
	t.Logf("%d exchanges, %d records", total, lines)
	checkRecords(t, filepath.Join(filepath.Dir(g.file), "data"))
}

// checkRecords lets the checker judge every folder below dir.
func checkRecords(t *testing.T, dir string) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if _, missing := os.Stat(checkerFile); err != nil || missing != nil {
		t.Logf("the files are not judged: python3 %v, checker %v", err, missing)
		return
	}
	for _, folder := range recordFolders {
		files, err := filepath.Glob(filepath.Join(dir, folder, "*.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == 0 {
			continue
		}
		out, err := exec.Command(python, append([]string{checkerFile, "--schema"}, files...)...).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", folder, err, out)
		}
	}
}
