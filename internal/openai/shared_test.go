package openai

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// transcripts is where answers of real servers stand, seen from here. They are not
// part of the project.
const transcripts = "../../../shared/streams"

// limit is far beyond any answer of the tests.
const limit = 8 << 20

// transcript is an entry of the transcripts' index.
type transcript struct {
	Name        string
	API         string
	File        string
	ContentType string `json:"content_type"`
	HTTP        int    `json:"status_http"`
	Expected    struct {
		Done    bool `json:"done_seen"`
		Error   map[string]any
		ID      string
		Model   string
		Choices []struct {
			Index     int
			Role      string
			Content   string
			Reasoning string
			Refusal   string
			Calls     []struct{ ID, Type, Name, Arguments string } `json:"tool_calls"`
			Function  *struct{ Name, Arguments string }            `json:"function_call"`
			Finish    string                                       `json:"finish_reason"`
		}
		Usage *struct {
			Prompt     int64 `json:"prompt_tokens"`
			Completion int64 `json:"completion_tokens"`
			Total      int64 `json:"total_tokens"`
		}
		UsageNote string `json:"usage_note"`
		RawFinish string `json:"finish_reason_raw"`
	}
	body []byte
}

// readTranscripts returns all entries with their bodies.
func readTranscripts(t testing.TB) []transcript {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(transcripts, "index.json"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the transcripts of real servers are not here: ", transcripts)
	}
	if err != nil {
		t.Fatal(err)
	}
	var index struct{ Entries []transcript }
	if err := json.Unmarshal(data, &index); err != nil {
		t.Fatal(err)
	}
	for i := range index.Entries {
		e := &index.Entries[i]
		if e.body, err = os.ReadFile(filepath.Join(transcripts, e.File)); err != nil {
			t.Fatal(err)
		}
	}
	return index.Entries
}

// dialects are the names of the dialects in the index.
var dialects = map[string]Dialect{"chat": Chat, "completions": Completions, "responses": Responses, "messages": Messages}

// readStream reads a stream in pieces of that size, in one if it is 0.
func readStream(d Dialect, body []byte, size int) Answer {
	r := NewReader(d, limit)
	if size == 0 {
		size = max(len(body), 1)
	}
	for p := body; len(p) > 0; p = p[min(size, len(p)):] {
		r.Write(p[:min(size, len(p))])
	}
	r.Close()
	return r.Answer()
}

// TestTranscripts reads the answers of real servers, whole and in pieces, and
// compares them with what the index expects. There are no exceptions.
func TestTranscripts(t *testing.T) {
	entries := readTranscripts(t)
	read := 0
	for _, e := range entries {
		d := dialects[e.API]
		if e.ContentType != "text/event-stream" {
			e.check(t, ReadBody(d, e.body, limit))
			read++
			continue
		}
		for _, size := range []int{0, 1, 7, 4096} {
			e.check(t, readStream(d, e.body, size))
			read++
		}
	}
	t.Logf("%d answers, %d readings", len(entries), read)
}

// check compares an answer with what the index expects.
func (e *transcript) check(t *testing.T, a Answer) {
	t.Helper()
	f := func(what string, got, want any) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %s: got %.300q, want %.300q", e.Name, what, fmt.Sprint(got), fmt.Sprint(want))
		}
	}
	want := e.Expected
	f("done", a.Done, want.Done)
	f("id", a.ID, want.ID)
	f("model", a.Model, want.Model)
	f("error", a.Err != nil, want.Error != nil)
	f("cut, garbled, too large", fmt.Sprint(a.Cut, a.Garbled, a.TooLarge), "false 0 false")
	if a.Err != nil && want.Error != nil {
		f("error message", a.Err.Message, want.Error["message"])
		for name, got := range map[string]string{"type": a.Err.Type, "code": a.Err.Code} {
			if want.Error[name] != nil {
				f("error "+name, got, fmt.Sprint(want.Error[name]))
			}
		}
	}
	if want.UsageNote == "" {
		f("usage", a.Usage != nil, want.Usage != nil)
		if a.Usage != nil && want.Usage != nil {
			f("usage", *a.Usage, Usage(*want.Usage))
		}
	}
	f("choices", len(a.Choices), len(want.Choices))
	if len(a.Choices) != len(want.Choices) {
		return
	}
	for i, w := range want.Choices {
		c := &a.Choices[i]
		f("index", c.Index, w.Index)
		f("role", c.Role, w.Role)
		f("content", c.Content, w.Content)
		f("reasoning", c.Reasoning, w.Reasoning)
		f("refusal", c.Refusal, w.Refusal)
		f("finish_reason", c.Finish, w.Finish)
		if want.RawFinish != "" {
			f("raw finish_reason", c.RawFinish, want.RawFinish)
		}
		f("whole", a.Whole(c) || a.Err != nil, true)
		f("calls", len(c.Calls), len(w.Calls))
		for j := range min(len(c.Calls), len(w.Calls)) {
			got, wantCall := c.Calls[j], Call(w.Calls[j])
			if a.Dialect == Messages { // their arguments are values, not texts
				f("arguments", decoded(got.Arguments), decoded(wantCall.Arguments))
				got.Arguments = wantCall.Arguments
			}
			f("call", got, wantCall)
		}
		f("function_call", c.FunctionCall != nil, w.Function != nil)
	}
}

func decoded(text string) any {
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return err
	}
	return v
}
