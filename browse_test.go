package aigateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/page"
)

// browsedAt returns a line of records that ended so many seconds after 15:00.
func browsedAt(second int, model, status string, turns ...string) string {
	line := recordText(fmt.Sprintf("r%d", second), model, status, turns...)
	return strings.Replace(line, "1741145650", fmt.Sprint(1773500400+second), 1)
}

// browse runs one search below dir.
func browse(t testing.TB, dir string, f page.Filter, limit int, change ...func(*recordSearch)) *page.Recordings {
	t.Helper()
	s := &recordSearch{dir: dir, filter: f, limit: limit, most: maxBrowsedBytes, until: time.Now().Add(time.Minute), ctx: t.Context()}
	for _, c := range change {
		c(s)
	}
	r, err := s.run()
	must(t, err)
	return r
}

// browseAll follows a search to its end and returns the IDs, and how many answers it took.
func browseAll(t testing.TB, dir string, f page.Filter, limit int, change ...func(*recordSearch)) (ids []string, answers int) {
	t.Helper()
	for {
		r := browse(t, dir, f, limit, change...)
		if answers++; answers > 1000 {
			t.Fatalf("limit %d: the search never ends, it is at %s", limit, r.Before)
		}
		for _, e := range r.Exchanges {
			ids = append(ids, strings.TrimPrefix(e.ID, "r"))
			if _, places, ok := parsePlaces(e.At); !ok || len(places) != 1 {
				t.Errorf("%s: got place %q", e.ID, e.At)
				continue
			} else if c := readPlace(t, dir, places[0]); c == nil || c.ID != e.ID {
				t.Errorf("%s: at %s there is %+v", e.ID, e.At, c)
			}
		}
		if r.Before == "" {
			return ids, answers
		}
		f.Before = r.Before
	}
}

func readPlace(t testing.TB, dir string, p recordPlace) *page.Conversation {
	t.Helper()
	s := &recordSearch{dir: dir, most: maxBrowsedBytes, until: time.Now().Add(time.Minute), ctx: t.Context()}
	line, err := s.readRecord(p)
	must(t, err)
	return s.conversation(line)
}

// browsedFiles writes records of all kinds of files, and returns their IDs, the newest
// first.
func browsedFiles(t testing.TB, dir string) []string {
	t.Helper()
	at := func(second int, status string) string {
		return browsedAt(second, []string{"m", "n"}[second%2], status, fmt.Sprintf("Question %d", second), "<think>\nhm\n</think>\n\nAnswer")
	}
	// Three hours; in the middle one all kinds of files are mixed.
	writeRecords(t, dir, "requests_responses/20260314_17.jsonl", at(7201, "ok"), at(7202, "length"), "{\"half\": \"a li")
	writeRecords(t, dir, "requests_responses/20260314_16.jsonl", at(3601, "ok"), at(3605, "ok"), at(3609, "ok"))
	writeRecords(t, dir, "requests_responses/20260314_16-2.jsonl", at(3602, "ok"), "no record\n", "{}\n", at(3606, "ok"))
	writeRecords(t, dir, "requests_responses_media/20260314_16.audio+image.jsonl", at(3603, "ok"))
	writeRecords(t, dir, "requests_responses_incomplete_compressed/20260314_16.jsonl.zst", at(3604, "truncated"), at(3608, "error"), at(3611, "truncated"))
	writeRecords(t, dir, "requests_responses_completions_compressed/20260314_16.jsonl.gz", at(3607, "ok"), at(3610, "ok"))
	writeRecords(t, dir, "requests_responses_compressed/20260314_15.jsonl.gz", at(1, "ok"), at(2, "ok"), at(3, "ok"))
	// What is not of the recorder is left alone.
	writeRecords(t, dir, "requests_responses/20260314_16.jsonl.bak", at(9999, "ok"))
	writeRecords(t, dir, "requests_responses_compressed/.20260314_14.jsonl.zst.half", at(9998, "ok"))
	writeRecords(t, dir, "errors/20260314_14.jsonl", at(9997, "ok"))
	ids := []string{"7202", "7201"}
	for n := 3611; n > 3600; n-- {
		ids = append(ids, fmt.Sprint(n))
	}
	return append(ids, "3", "2", "1")
}

// TestBrowse guards that every page size gives all records once, the newest first, over
// plain and packed files of all folders; that each is found again at its place; and that
// filters leave out what they should.
func TestBrowse(t *testing.T) {
	dir := t.TempDir()
	want := browsedFiles(t, dir)
	for _, limit := range []int{1, 2, 3, 7, 16, 100} {
		if got, _ := browseAll(t, dir, page.Filter{}, limit); !slices.Equal(got, want) {
			t.Errorf("limit %d: got %s, want %s", limit, got, want)
		}
	}
	f := func(filter page.Filter, want ...string) {
		t.Helper()
		for _, limit := range []int{1, 2, 100} {
			if got, _ := browseAll(t, dir, filter, limit); !slices.Equal(got, want) {
				t.Errorf("%+v, limit %d: got %s, want %s", filter, limit, got, want)
			}
		}
	}
	f(page.Filter{Outcome: "truncated"}, "3611", "3604")
	f(page.Filter{Outcome: "length"}, "7202")
	f(page.Filter{Model: "n"}, "7201", "3611", "3609", "3607", "3605", "3603", "3601", "3", "1")
	f(page.Filter{Model: "n", Outcome: "truncated"}, "3611")
	f(page.Filter{Text: "qUESTION 3607"}, "3607")
	f(page.Filter{Text: "</THINK>\n\nans", Model: "n", Outcome: "error"})
	f(page.Filter{Text: "question 720"}, "7202", "7201")
	r := browse(t, dir, page.Filter{}, 100)
	if r.Skipped.NoRecords != 2 || r.Skipped.Long != 0 || len(r.Skipped.Files) != 0 || r.Bound != "" {
		t.Errorf("got %+v, want two lines that are no records", r)
	}
	if e := r.Exchanges[0]; e.Model != "m" || e.Status != "length" || e.Asked != "Question 7202" || e.Answered != "Answer" || e.Turns != 2 || !e.Time.Equal(time.Unix(1773507602, 0)) {
		t.Errorf("got %+v", e)
	}
	if r := browse(t, filepath.Join(dir, "none"), page.Filter{}, 5); len(r.Exchanges) != 0 || r.Before != "" {
		t.Errorf("no folder: got %+v, want nothing", r)
	}
}

// TestBrowsePackedMeanwhile guards that a search goes on where it was when an hour has
// been packed, or has grown, since.
func TestBrowsePackedMeanwhile(t *testing.T) {
	dir := t.TempDir()
	var lines []string
	for n := range 9 {
		lines = append(lines, browsedAt(n, "m", "ok", "q", "a"))
	}
	writeRecords(t, dir, "requests_responses/20260314_16.jsonl", lines...)
	first := browse(t, dir, page.Filter{}, 3)
	writeRecords(t, dir, "requests_responses/20260314_16.jsonl", append(lines, browsedAt(10, "m", "ok", "q", "a"))...)
	second := browse(t, dir, page.Filter{Before: first.Before}, 3)
	must(t, os.Remove(filepath.Join(dir, "requests_responses/20260314_16.jsonl")))
	writeRecords(t, dir, "requests_responses_compressed/20260314_16.jsonl.zst", lines...)
	third := browse(t, dir, page.Filter{Before: second.Before}, 3)
	var got []string
	for _, r := range []*page.Recordings{first, second, third} {
		for _, e := range r.Exchanges {
			got = append(got, e.ID)
		}
	}
	if want := "r8 r7 r6 r5 r4 r3 r2 r1 r0"; strings.Join(got, " ") != want || third.Before != "" {
		t.Errorf("got %s before %q, want %s and the end", got, third.Before, want)
	}
}

// TestBrowseBounds guards that a search that may read no more says how far it has come
// and goes on from there, to the end, and that nothing stands in its way for ever.
func TestBrowseBounds(t *testing.T) {
	dir := t.TempDir()
	want := browsedFiles(t, dir)
	few := func(most int64) func(*recordSearch) { return func(s *recordSearch) { s.most = most } }
	r := browse(t, dir, page.Filter{Text: "question 3601"}, 5, few(1500))
	if r.Bound != "bytes" || r.Reached != "20260314_16" || r.Before == "" || len(r.Exchanges) != 0 {
		t.Errorf("got %+v, want a search that has stopped in the hour of 16", r)
	}
	past := func(s *recordSearch) { s.until = time.Now().Add(-time.Second) }
	if r := browse(t, dir, page.Filter{}, 5, past); r.Bound != "time" || r.Reached != "20260314_17" || r.Before == "" {
		t.Errorf("got %+v, want a search that has stopped at once, for its time", r)
	}
	// What fits into one search is found, however many it takes.
	got, answers := browseAll(t, dir, page.Filter{}, 100, few(3300))
	if !slices.Equal(got, want) || answers < 2 {
		t.Errorf("3,300 bytes each: got %s in %d answers, want %s", got, answers, want)
	}
	// Where it is scarce some may come out of turn, but each comes.
	got, answers = browseAll(t, dir, page.Filter{}, 100, few(3000))
	slices.Sort(got)
	sorted := slices.Sorted(slices.Values(want))
	if !slices.Equal(got, sorted) || answers < 3 {
		t.Errorf("3,000 bytes each: got %s in %d answers, want %s", got, answers, sorted)
	}
	// A packed file that does not is passed over, by its name.
	r = browse(t, dir, page.Filter{Before: "20260314_15"}, 5, few(100))
	if r.Before != "" || len(r.Skipped.Files) != 1 || !strings.HasPrefix(r.Skipped.Files[0], "requests_responses/20260314_15.jsonl: it is packed") {
		t.Errorf("got %+v, want a file that is passed over", r)
	}
	// One that is broken too.
	writeRecords(t, dir, "requests_responses_compressed/20260314_14.jsonl.zst")
	writeFile(t, filepath.Join(dir, "requests_responses_compressed/20260314_14.jsonl.zst"), "no zstd")
	if r := browse(t, dir, page.Filter{Before: "20260314_14"}, 5); len(r.Skipped.Files) != 1 || strings.Contains(r.Skipped.Files[0], dir) {
		t.Errorf("got %+v, want a file that cannot be read, without the folder", r)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	s := &recordSearch{dir: dir, limit: 5, most: maxBrowsedBytes, until: time.Now().Add(time.Minute), ctx: canceled}
	if r, err := s.run(); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits: got %+v, error %v", r, err)
	}
}

// TestBrowseLong guards that a line beyond the bound is passed over and counted, in plain
// and packed files, and that values of 8 MiB are cut.
func TestBrowseLong(t *testing.T) {
	dir := t.TempDir()
	long := strings.Replace(browsedAt(2, "m", "ok", "LONG", "a"), "LONG", strings.Repeat("x", maxBrowsedLine), 1)
	big := strings.Repeat("täglich\u202e </script> ", 8<<20/20)
	whole := browsedAt(3, "m", "ok", "q", big)
	writeRecords(t, dir, "requests_responses/20260314_16.jsonl", browsedAt(1, "m", "ok", "q", "a"), long, whole)
	writeRecords(t, dir, "requests_responses_compressed/20260314_15.jsonl.gz", browsedAt(-9, "m", "ok", "q", "a"), long)
	r := browse(t, dir, page.Filter{}, 10)
	if len(r.Exchanges) != 3 || r.Skipped.Long != 2 {
		t.Fatalf("got %d exchanges, %+v, want 3 and two long lines", len(r.Exchanges), r.Skipped)
	}
	_, places, _ := parsePlaces(r.Exchanges[0].At)
	c := readPlace(t, dir, places[0])
	text, err := json.Marshal(c)
	must(t, err)
	if said := c.Said[1].Text; len(said.Text) > maxShownText || len(said.Text)+said.Left != len(big) || !strings.HasPrefix(big, said.Text) || len(text) > 1<<20 {
		t.Errorf("got %d bytes of a text and %d left, %d in all, want %d", len(said.Text), said.Left, len(text), len(big))
	}
	if got := len(r.Exchanges[0].Answered); got > maxShownName+3 {
		t.Errorf("the list has %d bytes of an answer", got)
	}
}

// TestBrowseConversation guards how turns are read: reasoning apart, calls by name, what
// is no call as text; and that all texts together have a bound.
func TestBrowseConversation(t *testing.T) {
	dir := t.TempDir()
	turns := `[{"from":"system","value":"S"},{"from":"human","value":"<think>\nnot mine\n</think>\n\nq"},` +
		`{"from":"function_call","value":"[{\"name\":\"f\",\"arguments\":{\"a\":1}},{\"name\":\"g\",\"arguments\":{}}]"},{"from":"observation","value":"[1]"},` +
		`{"from":"function_call","value":"no JSON"},{"from":"observation","value":""},{"from":"gpt","value":"<think>\nhm\n</think>\n\nfine"}]`
	line := strings.Replace(browsedAt(1, "m", "ok", "q", "a"), `[{"from":"human","value":"q"},{"from":"gpt","value":"a"}]`, turns, 1)
	line = strings.Replace(line, `"response":""`, `"response":"{\"role\":\"assistant\"}","images":["https://h/i.png"]`, 1)
	many := make([]string, 1001)
	for n := range many {
		many[n] = strings.Repeat("y", 5000)
	}
	many[0], many[1000] = "first", "last"
	writeRecords(t, dir, "requests_responses/20260314_16.jsonl", line, browsedAt(2, "m", "ok", many...))
	r := browse(t, dir, page.Filter{}, 10)
	read := func(n int) *page.Conversation {
		_, places, _ := parsePlaces(r.Exchanges[n].At)
		return readPlace(t, dir, places[0])
	}
	c := read(1)
	text, err := json.Marshal(c.Said)
	must(t, err)
	want := `[{"role":"system","text":{"text":"S"}},{"role":"human","text":{"text":"\u003cthink\u003e\nnot mine\n\u003c/think\u003e\n\nq"}},` +
		`{"role":"function_call","calls":[{"name":"f","arguments":{"text":"{\"a\":1}"}},{"name":"g","arguments":{"text":"{}"}}]},{"role":"observation","text":{"text":"[1]"}},` +
		`{"role":"function_call","text":{"text":"no JSON"}},{"role":"observation"},{"role":"gpt","reasoning":{"text":"hm"},"text":{"text":"fine"}}]`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if c.Response.Text != `{"role":"assistant"}` || c.Request.Text != "" || len(c.Media) != 1 || c.Asked != "<think>\nnot mine\n</think>\n\nq" || c.Answered != "fine" {
		t.Errorf("got %+v", c)
	}
	c = read(0)
	sum := 0
	for _, turn := range c.Said {
		sum += len(turn.Text.Text)
	}
	if len(c.Said) != maxShownTurns || c.Earlier != 1001-maxShownTurns || c.Said[0].Text.Text != "first" || sum > maxShownTexts || c.Turns != 1001 {
		t.Errorf("got %d turns of %d, %d left out, %d bytes", len(c.Said), c.Turns, c.Earlier, sum)
	}
}

// TestPlaces guards that a text that names places is read as it is written, and that no
// other text is read.
func TestPlaces(t *testing.T) {
	for _, good := range []string{"20260314_15", "20260314_15,main.jsonl@0", "20260314_15,main-2.jsonl@7,media.audio+image.jsonl@,incomplete.jsonl@8,completions.jsonl@9"} {
		hour, places, ok := parsePlaces(good)
		if got := formatPlaces(hour, places...); !ok || got != good {
			t.Errorf("got %q %t, want %q", got, ok, good)
		}
	}
	for _, bad := range []string{
		"", "x", "20260314", "20260314_24", "20260314_15-2", "20260314_15.image", "20260314_15,", "20260314_15,main.jsonl", "20260314_15,main.jsonl@-1", "20260314_15,main.jsonl@+1",
		"20260314_15,main.jsonl@01", "20260314_15,main.log@1", "20260314_15,x.jsonl@1", "20260314_15,main/../../x.jsonl@1", "20260314_15,main./x.jsonl@1", "20260314_15,main.jsonl.gz@1",
		"20260314_15,main.jsonl@1,main.jsonl@2", "20260314_15,main.jsonl@99999999999999999999", "20260314_15," + strings.Repeat("main.jsonl@1,", 400), "20260314_15,.jsonl@1",
	} {
		if hour, places, ok := parsePlaces(bad); ok {
			t.Errorf("%q is read as %v %v", bad, hour, places)
		}
	}
}

// FuzzPlaces guards that whatever is read as places is written as it was, and names
// nothing outside the folders.
func FuzzPlaces(f *testing.F) {
	f.Add("20260314_15,main-2.jsonl@7,media.image.jsonl@")
	f.Add("20260314_15")
	f.Fuzz(func(t *testing.T, text string) {
		hour, places, ok := parsePlaces(text)
		if !ok {
			return
		}
		if got := formatPlaces(hour, places...); got != text {
			t.Errorf("got %q, want %q", got, text)
		}
		for _, p := range places {
			if !slices.Contains(recordFolders, p.folder) || filepath.Base(p.name.String()) != p.name.String() {
				t.Errorf("%q names %s", text, p)
			}
		}
	})
}

// FuzzBrowsedLine guards that no line, whatever is in it, breaks a search, and that what
// is shown of it is JSON.
func FuzzBrowsedLine(f *testing.F) {
	f.Add([]byte(browsedAt(1, "m", "ok", "q", "<think>\nhm\n</think>\n\na")))
	f.Add([]byte(`{"conversations":[{"from":"gpt"},7,null],"meta":"{}","created":1}`))
	f.Add([]byte(`{"conversations":[`))
	f.Add([]byte(`{"conversations":["`))
	f.Fuzz(func(t *testing.T, line []byte) {
		s := &recordSearch{needle: []byte("a"), ctx: t.Context()}
		_ = s.match(line)
		s.needle = nil
		e, c := s.match(line), s.conversation(line)
		if (e == nil) != (c == nil) {
			t.Errorf("a list has %v, a conversation %v", e, c)
		}
		if _, err := json.Marshal(c); err != nil {
			t.Error(err)
		}
	})
}
