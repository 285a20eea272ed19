package openai

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// streamsDir holds recorded answers of real model servers beside the repository.
const streamsDir = "../../../shared/streams"

// judged is one recorded stream, and what it amounts to.
type judged struct {
	Name        string `json:"name"`
	API         string `json:"api"`
	File        string `json:"file"`
	ContentType string `json:"content_type"`
	Expected    struct {
		Status  string          `json:"status"`
		Done    bool            `json:"done_seen"`
		Error   json.RawMessage `json:"error"`
		Choices []struct {
			Finish *string `json:"finish_reason"`
		} `json:"choices"`
	} `json:"expected"`

	text    string
	dialect Dialect
}

func loadTranscripts(t *testing.T) []judged {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(streamsDir, "index.json"))
	if os.IsNotExist(err) {
		t.Skipf("recorded streams are not here: %v", err)
	}
	var index struct {
		Entries []judged `json:"entries"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		t.Fatal(err)
	}
	dialects := map[string]Dialect{"chat": Chat, "completions": Completions, "responses": Responses, "messages": Messages}
	var streams []judged
	for _, e := range index.Entries {
		if e.ContentType != "text/event-stream" {
			continue
		}
		body, err := os.ReadFile(filepath.Join(streamsDir, e.File))
		if err != nil {
			t.Fatal(err)
		}
		e.text, e.dialect = string(body), dialects[e.API]
		streams = append(streams, e)
	}
	if len(streams) == 0 {
		t.Fatal("no stream among the recordings")
	}
	return streams
}

// TestTranscriptsJudged guards that every recorded stream is judged as its index
// says, in any pieces: no good answer of a real server may count against it, and
// every error in one must.
func TestTranscriptsJudged(t *testing.T) {
	statuses := map[string]int{"c35_openrouter_error_mid": 400, "c45_groq_tool_failed": 400, "r08_openai_error": 429}
	streams := loadTranscripts(t)
	for _, e := range streams {
		good := e.Expected.Status != "error" && e.Expected.Status != "truncated" && e.Expected.Status != "empty"
		for _, several := range []bool{false, true} {
			if !several && len(e.Expected.Choices) > 1 {
				continue
			}
			for _, size := range sizes {
				got := follow(NewStream(e.dialect, several), e.text, size)
				if good && (!got.begun || !got.whole || got.failed) {
					t.Errorf("%s, several %v, in pieces of %d: got %+v, want begun, whole, not failed", e.Name, several, size, got)
				}
				if failed := string(e.Expected.Error) != "null"; got.failed != failed || got.status != statuses[e.Name] {
					t.Errorf("%s, several %v, in pieces of %d: got %+v, want failed %v with status %d", e.Name, several, size, got, failed, statuses[e.Name])
				}
				if chats := e.dialect == Chat || e.dialect == Completions; chats && got.ended != e.Expected.Done {
					t.Errorf("%s, several %v, in pieces of %d: got %+v, want ended %v", e.Name, several, size, got, e.Expected.Done)
				}
			}
		}
	}
	t.Logf("%d streams", len(streams))
}

// TestTranscriptsCut guards that no recorded stream passes for whole that was cut
// before its last finish, or before the mark that stands for it.
func TestTranscriptsCut(t *testing.T) {
	cuts := 0
	for _, e := range loadTranscripts(t) {
		several := len(e.Expected.Choices) > 1
		end := lastFinish(t, e)
		for cut := 0; cut < end; {
			s := NewStream(e.dialect, several)
			if got := follow(s, e.text[:cut], 1<<20); got.whole || got.ended || got.failed && string(e.Expected.Error) == "null" {
				t.Fatalf("%s, cut at %d before the finish at %d: got %+v, want neither whole nor failed", e.Name, cut, end, got)
			}
			cuts++
			// The ends of events, then every place that is near the finish.
			if next := strings.Index(e.text[cut:], "\n\n"); next >= 0 && cut+next+2 < end {
				cut += next + 2
			} else {
				cut = max(cut+1, end-200)
			}
		}
	}
	t.Logf("%d cuts", cuts)
}

// lastFinish returns where the stream becomes whole: the end of the line that
// holds the last finish of a choice that has no finish before, or the end mark.
func lastFinish(t *testing.T, e judged) int {
	t.Helper()
	open := max(1, len(e.Expected.Choices))
	finished := make(map[int]bool)
	at := 0
	for line := range strings.Lines(e.text) {
		payload, isData := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "data:")
		at += len(line)
		if !isData {
			continue
		}
		var event struct {
			Type    string `json:"type"`
			Choices []struct {
				Index  int     `json:"index"`
				Finish *string `json:"finish_reason"`
			} `json:"choices"`
		}
		if strings.TrimSpace(payload) == "[DONE]" && (e.dialect == Chat || e.dialect == Completions) {
			return at - len(line) + len("data:[DONE]") - 1
		}
		if json.Unmarshal([]byte(payload), &event) != nil {
			continue
		}
		for _, c := range event.Choices {
			if c.Finish != nil && *c.Finish != "" {
				finished[c.Index] = true
			}
		}
		switch {
		case len(finished) == open, event.Type == "response.completed", event.Type == "response.incomplete", event.Type == "message_stop":
			return at - len(line) + strings.LastIndex(strings.TrimRight(line, "\r\n"), "}")
		case event.Type == "response.failed", strings.HasPrefix(strings.TrimSpace(payload), `{"error"`):
			return at - len(line)
		}
	}
	if string(e.Expected.Error) == "null" {
		t.Fatalf("%s: no end found", e.Name)
	}
	return at
}
