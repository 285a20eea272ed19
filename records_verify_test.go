package aigateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/sharegpt"
)

// TestRecordsVerify changes one thing at a time in a good line; verify says where and
// what is wrong, and never quotes the record.
func TestRecordsVerify(t *testing.T) {
	const mainFile, mediaFile = "requests_responses/20260314_15.jsonl", "requests_responses_media/20260314_15.image.jsonl"
	plain := recordText("a", "m", "ok", "SECRET q", "SECRET a")
	picture := strings.Replace(strings.Replace(plain, "SECRET q", `<image>\nSECRET q`, 1), `"response":""`, `"response":"","images":["http://SECRET"]`, 1)
	call := strings.Replace(plain, `{"from":"gpt","value":"SECRET a"}`, `{"from":"function_call","value":"[{\"name\":\"f\",\"arguments\":{}}]"}`, 1)
	f := func(file, line, old, changed, want string) {
		t.Helper()
		bad := strings.Replace(line, old, changed, 1)
		if old != "" && bad == line {
			t.Fatalf("%s: line %q has no %q", want, line, old)
		}
		dir := t.TempDir()
		writeRecords(t, dir, file, strings.Replace(line, `"id":"a"`, `"id":"first"`, 1), bad)
		var out bytes.Buffer
		problems, err := verifyRecords(&out, dir)
		text := out.String()
		if want != "" {
			want = fmt.Sprintf("%s:2: %s\n", filepath.Join(dir, file), want)
		}
		want += fmt.Sprintf("2 lines in 1 files, %d problems\n", strings.Count(want, "\n"))
		if err != nil || text != want || problems != strings.Count(want, "\n")-1 {
			t.Errorf("%q for %q: got %d problems, error %v\n%s\nwant\n%s", changed, old, problems, err, text, want)
		}
		if strings.Contains(text, "SECRET") {
			t.Errorf("%q for %q: problems quote the record: %s", changed, old, text)
		}
	}
	f(mainFile, plain, "", "", "")
	f(mainFile, call, "", "", "")
	f(mediaFile, picture, "", "", "")
	f(mainFile, plain, plain, "\n", "the line is empty")
	f(mainFile, plain, "SECRET q", "\xff", "the line is not UTF-8")
	f(mainFile, plain, "}\n", "\n", "the line is no JSON, want an object")
	f(mainFile, plain, "}\n", "}", "the last line has no line feed, it may be half written")
	f(mainFile, plain, plain, "[\"SECRET\"]\n", "the line is no JSON object")
	f(mainFile, plain, "}\n", "}\r\n", "the line has a carriage return")
	f(mainFile, plain, "SECRET q", `\ud83d`, "a text has half of a surrogate pair")
	f(mainFile, plain, "SECRET q", `\ud83d\u0041`, "a text has half of a surrogate pair")
	f(mainFile, plain, "SECRET q", `\ude00\ud83d`, "a text has half of a surrogate pair")
	f(mainFile, plain, "SECRET q", `\ud83d\ude00\\ud83d`, "")
	f(mainFile, plain, `"tools":"[]",`, ``, "column 3 is not tools")
	f(mainFile, plain, `"tools":"[]",`, `"tools":"[]","tools":"[]",`, "column 4 is not model")
	f(mainFile, plain, `"request":"","response":""`, `"response":"","request":""`, "column 8 is not request")
	f(mainFile, plain, `,"response":""`, ``, "there is no column response")
	f(mainFile, plain, `"response":""`, `"response":"","SECRET":1`, "there is a column behind response")
	f(mainFile, plain, `"response":""`, `"response":"","images":["http://SECRET"]`, "there is a column behind response")
	f(mainFile, plain, `"a"`, `"first"`, "id is not unique")
	f(mainFile, plain, `"a"`, `""`, "id is empty")
	f(mainFile, plain, `"a"`, `1`, "id is no text")
	f(mainFile, plain, `"[]"`, `[]`, "tools is no text")
	f(mainFile, plain, `"[]"`, `"{}"`, "tools holds no JSON array")
	f(mainFile, plain, `"[]"`, `""`, "tools holds no JSON array")
	f(mainFile, plain, `"m"`, `null`, "model is no text")
	f(mainFile, plain, `1741145650`, `1741145650.5`, "created is no whole number of 64 bits")
	f(mainFile, plain, `1741145650`, `"2026-03-14"`, "created is no whole number of 64 bits")
	f(mainFile, plain, `"stop"`, `null`, "finish_reason is no text")
	f(mainFile, plain, `"{\"v\":1,`, `"{SECRET`, "meta holds no JSON object")
	f(mainFile, plain, `\"status\":\"ok\"`, `\"status\":null`, "meta has no status")
	f(mainFile, plain, `\"ok\"`, `\"truncated\"`, "meta's status is not ok or length, want such in requests_responses_incomplete only")
	f("requests_responses_incomplete/20260314_15.jsonl", plain, `\"ok\"`, `\"truncated\"`, "")
	f(mainFile, plain, `"request":""`, `"request":"SECRET"`, "request is neither empty nor JSON")
	f(mainFile, plain, `"response":""`, `"response":"{"`, "response is neither empty nor JSON")
	turns := plain[strings.Index(plain, "[") : strings.Index(plain, "]")+1]
	f(mainFile, plain, turns, `"SECRET"`, "conversations is no list")
	f(mainFile, plain, turns, `[]`, "conversations is empty")
	f(mainFile, plain, turns, `[{"from":"system","value":"SECRET"}]`, "conversations has a system turn only")
	f(mainFile, plain, turns, `["SECRET"]`, "turn 0 is no object")
	f(mainFile, plain, `{"from":"gpt"`, `{"name":"SECRET","from":"gpt"`, "turn 1 has other members than from and value")
	f(mainFile, plain, `"SECRET a"}`, `"SECRET a","loss":1}`, "turn 1 has other members than from and value")
	f(mainFile, plain, `{"from":"human","value":"SECRET q"}`, `{"value":"SECRET q","from":"human"}`, "turn 0 has other members than from and value")
	f(mainFile, plain, `"SECRET a"`, `null`, "turn 1: from or value is no text")
	f(mainFile, plain, `"gpt"`, `"SECRET"`, "turn 1: from is not system, human, gpt, function_call or observation")
	f(mainFile, plain, `"gpt"`, `"system"`, "turn 1 is from system, want gpt or function_call")
	f(mainFile, plain, `"gpt"`, `"human"`, "turn 1 is from human, want gpt or function_call")
	f(mainFile, plain, `"human"`, `"gpt"`, "turn 0 is from gpt, want human or observation")
	f(mainFile, plain, `,{"from":"gpt","value":"SECRET a"}`, ``, "the last turn is not the model's, want gpt or function_call")
	const noCall = "turn 1 is no call, want a JSON object with name and arguments, or a list of such"
	f(mainFile, plain, `"gpt"`, `"function_call"`, noCall)
	f(mainFile, call, `[{\"name\":\"f\",\"arguments\":{}}]`, `[]`, noCall)
	f(mainFile, call, `\"name\"`, `\"SECRET\"`, noCall)
	f(mainFile, call, `\"arguments\"`, `\"SECRET\"`, noCall)
	f(mediaFile, picture, `["http://SECRET"]`, `"http://SECRET"`, "images is no list")
	f(mediaFile, picture, `["http://SECRET"]`, `[]`, "images is empty")
	f(mediaFile, picture, `["http://SECRET"]`, `[1]`, "images: item 0 is no text")
	f(mediaFile, picture, `<image>`, `<image><image>`, "images has 1 items, want 2 as there are placeholders <image>")
	f(mediaFile, picture, `"images"`, `"audios"`, "column 10 is not images")
}

// TestRecordsVerifyFiles guards that a file that cannot be read is a problem, not the
// end of the check, that a kind of media that the file's name lacks is found, and that the
// command ends with an error after it has said all.
func TestRecordsVerifyFiles(t *testing.T) {
	dir := t.TempDir()
	writeRecords(t, dir, "requests_responses_compressed/20260314_01.jsonl.zst", recordText("a", "m", "ok", "q", "a"))
	out, stderr, err := runCommand("records", "verify", "--data-dir", dir)
	if err != nil || out != "1 lines in 1 files, 0 problems\n" || stderr != "" {
		t.Errorf("good file: got %s%s, error %v", out, stderr, err)
	}
	broken := filepath.Join(dir, "requests_responses_compressed", "20260314_02.jsonl.gz")
	writeRecords(t, dir, "requests_responses_compressed/20260314_02.jsonl.gz", recordText("b", "m", "ok", "q", "a"))
	whole, err := os.ReadFile(broken)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, broken, string(whole[:len(whole)-4]))
	writeRecords(t, dir, "requests_responses_media/20260314_03.video+image.jsonl")
	writeRecords(t, dir, "requests_responses/20260314_04.jsonl", recordText("a", "m", "ok", "q", "a"))
	out, stderr, err = runCommand("records", "verify", "--data-dir", dir)
	want := fmt.Sprintf(`%[1]s:1: reading %[1]q: unexpected EOF
%s:1: the file's name has no sorted kinds of media, want such as .audio+image
%s:1: id is not unique
3 lines in 4 files, 3 problems
`, broken, filepath.Join(dir, "requests_responses_media", "20260314_03.video+image.jsonl"), filepath.Join(dir, "requests_responses", "20260314_04.jsonl"))
	if !errors.Is(err, errProblems) || out != want || stderr != "" {
		t.Errorf("got %s%s, error %v, want %s", out, stderr, err, want)
	}
}

// FuzzRecordsVerify guards that no line makes verify, dedupe or stats panic, that a problem
// is told in one line, and that a line without problems can be counted and exported.
func FuzzRecordsVerify(f *testing.F) {
	good := recordText("a", "m", "ok", "q", "a")
	f.Add(strings.TrimSpace(good))
	f.Add(strings.Replace(good, `"gpt","value":"a"`, `"function_call","value":"{\"name\":\"f\",\"arguments\":1}"`, 1))
	f.Add(strings.Replace(good, "q", `\ud83d\ude00\\ud83d`, 1))
	f.Add(strings.Replace(good, "q", `\ud83d`, 1))
	f.Add(`{"id":"\`)
	f.Fuzz(func(t *testing.T, line string) {
		var out bytes.Buffer
		v := recordVerifier{
			w: &out, seed: maphash.MakeSeed(), ids: make(map[uint64]struct{}), number: 1,
			file: &recordFile{path: "x", folder: mainFolder}, columns: recordColumns[:],
		}
		v.line([]byte(line))
		if got := strings.Count(out.String(), "\n"); got != v.problems {
			t.Errorf("got %d lines for %d problems: %s", got, v.problems, out.String())
		}
		newConversations().learn([]byte(line))
		_, status := statusOfLine([]byte(line))
		if v.problems > 0 {
			return
		}
		messages, err := sharegpt.AppendMessages(nil, []byte(line))
		if err != nil || !json.Valid(messages) || status != "ok" && status != "length" {
			t.Errorf("%q has no problem, but got %s, error %v, status %s", line, messages, err, status)
		}
	})
}
