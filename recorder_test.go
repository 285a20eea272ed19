package aigateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/simpleaigateway/caddy-ai-gateway/echomodel"
)

// recordLine is what tests read of a record.
type recordLine struct {
	ID            string
	Conversations []struct{ From, Value string }
	Model         string
	FinishReason  string `json:"finish_reason"`
	Meta          string
	Request       string
}

// records returns the records below the gateway's data_dir by folder.
func (g *gateway) records(t testing.TB) map[string][]recordLine {
	t.Helper()
	all := make(map[string][]recordLine)
	files, err := filepath.Glob(filepath.Join(filepath.Dir(g.file), "data", "*", "*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if !strings.HasSuffix(line, "\n") {
				break // it is being written
			}
			var r recordLine
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("%s: line %.300q: %v", file, line, err)
			}
			folder := filepath.Base(filepath.Dir(file))
			all[folder] = append(all[folder], r)
		}
	}
	return all
}

// waitRecords waits for n records in folder.
func (g *gateway) waitRecords(t testing.TB, folder string, n int) []recordLine {
	t.Helper()
	var got []recordLine
	eventually(t, fmt.Sprintf("%d records in %s", n, folder), func() bool {
		got = g.records(t)[folder]
		return len(got) >= n
	})
	return got
}

// talk is a record's turns in one text.
func (r *recordLine) talk() string {
	var turns []string
	for _, turn := range r.Conversations {
		turns = append(turns, turn.From+": "+turn.Value)
	}
	return strings.Join(turns, " | ")
}

// TestRecords guards that every exchange becomes one record, whole answers in the
// main folder and broken ones apart, with the instance that answered; and that
// what is no conversation, or failed, is none.
func TestRecords(t *testing.T) {
	a := startStandIn(t, "a")
	dead := "http://" + freeAddress(t) + "/v1"
	g := startGateway(t, fleetOf(dead, a.url))
	ask := func(path, members string, header ...string) {
		t.Helper()
		body := fmt.Sprintf(`{"model":"m","messages":[{"role":"user","content":"good morning"}],"input":"good morning","max_tokens":9%s}`, members)
		r, err := http.NewRequest("POST", g.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		for _, line := range header {
			name, value, _ := strings.Cut(line, ": ")
			r.Header.Set(name, value)
		}
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body) // some break
		res.Body.Close()
	}
	for _, path := range []string{"/v1/chat/completions", "/v1/responses", "/v1/messages"} {
		ask(path, "")
		ask(path, `,"stream":true`)
	}
	ask("/v1/chat/completions", "", "X-AI-Gateway-Record: off")
	ask("/v1/embeddings", "")
	a.plays(echomodel.Script{Fault: "status", Status: 400})
	ask("/v1/chat/completions", "")
	a.plays(echomodel.Script{Fault: "eof_mid", After: 2})
	ask("/v1/chat/completions", `,"stream":true`)
	for _, r := range g.waitRecords(t, mainFolder, 6) {
		if r.talk() != "human: good morning | gpt: good morning" || !strings.Contains(r.Meta, `"status":"ok"`) || r.Model == "" {
			t.Errorf("got %s of %q, %s", r.talk(), r.Model, r.Meta)
		}
	}
	for _, r := range g.waitRecords(t, incompleteFolder, 1) {
		if r.talk() != "human: good morning | gpt: good " || !strings.Contains(r.Meta, `"status":"truncated"`) {
			t.Errorf("broken stream: got %s, %s", r.talk(), r.Meta)
		}
	}
	all := g.records(t)
	if len(all[mainFolder]) != 6 || len(all[incompleteFolder]) != 1 || len(all) != 2 {
		t.Errorf("got %d records, %d incomplete, in %d folders, want 6, 1 and 2", len(all[mainFolder]), len(all[incompleteFolder]), len(all))
	}
	if report := g.health(t).Recorder; report == nil || report.Written != 7 || len(report.Dropped) > 0 {
		t.Errorf("got report %+v, want 7 written", report)
	}
}

// TestRecordClientGone guards that what a client has got before it left is
// recorded, as incomplete.
func TestRecordClientGone(t *testing.T) {
	a := startStandIn(t, "a")
	a.plays(echomodel.Script{Fault: "hang_mid", After: 3})
	g := startGateway(t, fleetOf(a.url))
	res, err := client.Post(g.url+"/v1/chat/completions", "application/json",
		strings.NewReader(`{"model":"m","stream":true,"messages":[{"role":"user","content":"a b c d"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<10)
	if _, err := res.Body.Read(buf); err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	got := g.waitRecords(t, incompleteFolder, 1)[0]
	if !strings.HasPrefix(got.talk(), "human: a b c d | gpt: a") || !strings.Contains(got.Meta, `"status":"client_disconnect"`) {
		t.Errorf("got %s, %s", got.talk(), got.Meta)
	}
}

// TestRecordOff guards that nothing is written where recording is off.
func TestRecordOff(t *testing.T) {
	w := startWitness(t, nil)
	g := startGateway(t, fmt.Sprintf(`{"record": {"enabled": false}, "instances": [{"url": "%s/v1", "model_name": "m"}]}`, w.URL))
	g.post(t, "/v1/chat/completions", `{"model":"m","messages":[]}`)
	if g.store.snapshot().recorder != nil || g.health(t).Recorder != nil {
		t.Error("there is a recorder, want none")
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(g.file), "data")); !os.IsNotExist(err) {
		t.Errorf("data_dir: got %v, want that it does not exist", err)
	}
}
