package sharegpt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
)

// shared holds answers of real servers, and the program that judges records as
// trainers do. They are not part of the project.
const shared = "../../../shared"

// transcript is an entry of the transcripts' index.
type transcript struct {
	Name, API, File string
	Request         string
	ContentType     string `json:"content_type"`
	HTTP            int    `json:"status_http"`
	Expected        struct {
		Status  string
		Choices []struct {
			Index         int
			Status, Route string
			Record        *struct {
				Conversations          []turnText
				Tools                  string
				Flags                  []string
				Images, Audios, Videos []string
			}
		}
	}
	body, request []byte
}

type turnText struct{ From, Value string }

// line is a record as a reader sees it.
type line struct {
	ID                     string
	Conversations          []turnText
	Tools, Model           string
	Created                int64
	Finish                 string `json:"finish_reason"`
	Meta                   string
	Request, Response      string
	Images, Audios, Videos []string
}

// readLine decodes a record, strictly.
func readLine(t *testing.T, text []byte) (l line, meta map[string]any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		t.Fatalf("line %.300s: %v", text, err)
	}
	if err := json.Unmarshal([]byte(l.Meta), &meta); err != nil {
		t.Fatalf("meta %s: %v", l.Meta, err)
	}
	if bytes.Count(text, []byte("\n")) != 1 || text[len(text)-1] != '\n' {
		t.Fatalf("got line %.300q, want one line feed at its end", text)
	}
	return l, meta
}

func readTranscripts(t testing.TB) []transcript {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(shared, "streams", "index.json"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the transcripts of real servers are not here: ", shared)
	}
	if err != nil {
		t.Fatal(err)
	}
	var index struct{ Entries []transcript }
	if err := json.Unmarshal(data, &index); err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(shared, "streams", name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for i := range index.Entries {
		e := &index.Entries[i]
		e.body = read(e.File)
		e.request = []byte(map[string]string{ // where the request is not known
			"responses":   `{"model":"m","input":"Hello"}`,
			"completions": `{"model":"m","prompt":["Hello","Hello","Hello","Hello"]}`,
		}[e.API])
		if len(e.request) == 0 {
			e.request = []byte(`{"model":"m","messages":[{"role":"user","content":"Hello"}]}`)
		}
		if e.Request != "" {
			e.request = read(e.Request)
		}
	}
	return index.Entries
}

var dialects = map[string]openai.Dialect{
	"chat": openai.Chat, "completions": openai.Completions, "responses": openai.Responses, "messages": openai.Messages,
}

// answer reads the entry's answer in pieces of that size, whole if it is 0.
func (e *transcript) answer(size int) *openai.Answer {
	const limit = 8 << 20
	d := dialects[e.API]
	if e.ContentType != "text/event-stream" {
		a := openai.ReadBodyInPlace(d, e.body, limit)
		return &a
	}
	r := openai.NewReader(d, limit)
	if size == 0 {
		size = len(e.body)
	}
	for p := e.body; len(p) > 0; p = p[min(size, len(p)):] {
		r.Write(p[:min(size, len(p))])
	}
	r.Close()
	a := r.Answer()
	return &a
}

// exchange returns the entry as an exchange.
func (e *transcript) exchange(size int) *Exchange {
	return &Exchange{
		ID: e.Name, Created: 1741145650, Instance: "gpu-a", Key: "k3", HTTP: e.HTTP, TTFT: 95, Latency: 812,
		Request: e.request, Answer: e.answer(size),
	}
}

// routes are the index's words for the folders.
var routes = map[string]Folder{"main": Main, "media": Media, "incomplete": Incomplete, "other": Completions, "skip": None}

// all records every endpoint.
var all = Options{Endpoints: []string{"chat", "completions", "responses", "messages"}}

// exceptions are the flags of records where the index is wrong.
var exceptions = map[string][]string{
	// The request's history has a reasoning item, with its text in content, beside a
	// call. The index takes no notice of it, though it does where the same item is the
	// answer (r04_deepseek_tool) and where the history of another dialect has it
	// (p24_claude_thinking_tool_2). Without the flag the text would be lost unnoticed.
	"r05_deepseek_text": {"reasoning_with_tool_call"},
}

// TestTranscripts projects the answers of real servers, read whole and in pieces,
// and compares status, folder and record with what the index expects, but for the
// exceptions.
func TestTranscripts(t *testing.T) {
	p := NewProjector(all)
	compared := 0
	for _, e := range readTranscripts(t) {
		var whole []byte
		for _, size := range []int{0, 1, 7, 4096} {
			x := e.exchange(size)
			lines, records, err := p.Append(nil, x, nil)
			if err != nil {
				t.Fatalf("%s: %v", e.Name, err)
			}
			if size > 0 {
				if !bytes.Equal(lines, whole) {
					t.Errorf("%s in pieces of %d: got other lines than of the whole", e.Name, size)
				}
				continue
			}
			whole = lines
			compared += e.check(t, x, records)
		}
	}
	t.Logf("%d records compared with the expected ones", compared)
}

// check compares records with what the index expects and returns how many there
// were to compare.
func (e *transcript) check(t *testing.T, x *Exchange, records []Record) (compared int) {
	t.Helper()
	f := func(what string, got, want any) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %s: got %.600q, want %.600q", e.Name, what, fmt.Sprint(got), fmt.Sprint(want))
		}
	}
	want := e.Expected.Choices
	f("records", len(records), len(want))
	if len(want) == 0 {
		f("status", string(StatusOf(x, nil)), e.Expected.Status)
	}
	for i := range min(len(records), len(want)) {
		r, w := records[i], want[i]
		f("status", string(r.Status), w.Status)
		f("folder", r.Folder, routes[w.Route])
		if i == 0 {
			f("status", string(r.Status), e.Expected.Status)
		}
		if r.Folder == None {
			f("line", len(r.Line), 0)
			continue
		}
		l, meta := readLine(t, r.Line)
		f("id", l.ID, fmt.Sprintf("%s-%d", e.Name, w.Index))
		f("status in meta", meta["status"], w.Status)
		if w.Record == nil {
			continue
		}
		compared++
		f("conversations", l.Conversations, w.Record.Conversations)
		f("tools", l.Tools, w.Record.Tools)
		f("images", l.Images, w.Record.Images)
		f("audios", l.Audios, w.Record.Audios)
		f("videos", l.Videos, w.Record.Videos)
		if flags, ok := exceptions[e.Name]; ok {
			w.Record.Flags = flags
		}
		f("flags", fmt.Sprint(meta["flags"]), fmt.Sprint(w.Record.Flags))
		f("request and response", l.Request != "" && l.Response != "", len(w.Record.Flags) > 0)
	}
	return compared
}

// TestChecker has the lines of all transcripts judged as trainers do, in the files
// that they belong to, with each form of request and response.
func TestChecker(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3 to run the checker")
	}
	entries := readTranscripts(t)
	for _, raw := range []RecordRaw{Lossy, Always, Never} {
		files := map[string][]byte{}
		p := NewProjector(Options{RecordRaw: raw, Endpoints: all.Endpoints})
		lines := 0
		for _, e := range entries {
			_, records, err := p.Append(nil, e.exchange(0), nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range records {
				if r.Folder != None {
					name := strings.TrimSuffix(r.Folder.String()+"."+r.Suffix, ".") + ".jsonl"
					files[name] = append(files[name], r.Line...)
					lines++
				}
			}
		}
		check(t, python, files)
		t.Logf("record_raw %d: %d lines in %d files", raw, lines, len(files))
	}
}

// check has the checker judge each file on its own.
func check(t *testing.T, python string, files map[string][]byte) {
	t.Helper()
	for name, data := range files {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(python, filepath.Join(shared, "check_sharegpt.py"), "--schema", path).CombinedOutput()
		if err != nil {
			t.Errorf("checking %s: %v\n%s", name, err, out)
		}
	}
}
