package splice

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

var names = []string{"model", "stream"}

func TestScanFinds(t *testing.T) {
	f := func(body, model, stream string) {
		t.Helper()
		var found [2]Value
		if err := Scan([]byte(body), 256, names, found[:]); err != nil {
			t.Fatalf("Scan(%s): %v", body, err)
		}
		for i, want := range []string{model, stream} {
			got := ""
			if found[i].Found() {
				got = string(found[i].Raw([]byte(body)))
			}
			if got != want {
				t.Errorf("Scan(%s): %s is %q, want %q", body, names[i], got, want)
			}
		}
	}
	f(`{}`, "", "")
	f(`{"model":"m","stream":true}`, `"m"`, "true")
	f(" {\r\n\t\"stream\" : false , \"model\" : \"m\" }\n", `"m"`, "false")
	f(`{"a":{"model":"x"},"model":"y","b":[{"model":"z"}]}`, `"y"`, "")
	f(`{"model":{"a":[1,2]},"stream":[{}]}`, `{"a":[1,2]}`, `[{}]`)
	f(`{"mod\u0065l":"m"}`, `"m"`, "")
	f(`{"Model":"m","models":1,"mode":2}`, "", "")
	f(`{"model":-0.5e+400,"stream":null}`, "-0.5e+400", "null")
	f(`{"a":"\"model\":\"x\"","model":"y"}`, `"y"`, "")
	f(`{"a":1,"a":2,"model":"y"}`, `"y"`, "")
	f("{\"a\":\"\xff\xfe\\ud800\",\"model\":\"\u00e9\"}", "\"\u00e9\"", "")
	f("{\"a\":\"\n\x00\",\"model\":\"y\"}", `"y"`, "")
	f(`{"a":"\x\\","model":"y"}`, `"y"`, "")
	f(`{"n":9007199254740993,"model":"twelve chars!"}`, `"twelve chars!"`, "")
}

func TestScanRefuses(t *testing.T) {
	f := func(body, want string) {
		t.Helper()
		var found [2]Value
		err := Scan([]byte(body), 4, names, found[:])
		if err == nil || err.Error() != want {
			t.Errorf("Scan(%q): got error %v, want %s", body, err, want)
		}
	}
	f("", "got nothing, want a JSON object at byte 0")
	f(" \n", "got nothing, want a JSON object at byte 2")
	f("null", "got null, want a JSON object at byte 0")
	f("[1]", "got an array, want a JSON object at byte 0")
	f(`"x"`, "got a string, want a JSON object at byte 0")
	f("12", "got a number, want a JSON object at byte 0")
	f("true", "got a boolean, want a JSON object at byte 0")
	f("NaN", "got 'N', want a JSON object at byte 0")
	f("model=x", "got 'm', want a JSON object at byte 0")
	f("\xef\xbb\xbf{}", "got byte 0xef, want a JSON object at byte 0")
	f("{", "text ends too early at byte 1")
	f(`{"a"`, "text ends too early, want ':' at byte 4")
	f(`{"a":`, "text ends too early at byte 5")
	f(`{"a":1`, "text ends too early at byte 6")
	f(`{"a":1,}`, "got '}', want a member name in double quotes at byte 7")
	f(`{"a":1}}`, "got '}', want nothing after the object at byte 7")
	f(`{"a":1} {"b":2}`, "got '{', want nothing after the object at byte 8")
	f(`{"a":[1,]}`, "got ']', want a value at byte 8")
	f(`{"a":[1}`, "got '}', want ',' or ']' at byte 7")
	f(`{"a":1]`, "got ']', want ',' or '}' at byte 6")
	f(`{a:1}`, "got 'a', want a member name in double quotes at byte 1")
	f(`{'a':1}`, "got '\\'', want a member name in double quotes at byte 1")
	f(`{"a" 1}`, "got '1', want ':' at byte 5")
	f(`{"a":NaN}`, "got 'N', want a value at byte 5")
	f(`{"a":-}`, "invalid number at byte 5")
	f(`{"a":01}`, "invalid number at byte 5")
	f(`{"a":1.}`, "invalid number at byte 5")
	f(`{"a":1e}`, "invalid number at byte 5")
	f(`{"a":+1}`, "got '+', want a value at byte 5")
	f(`{"a":tru}`, "got 't', want a value at byte 5")
	f(`{"a":"x}`, "string has no end at byte 5")
	f(`{"a":"\"}`, "string has no end at byte 5")
	f(`{"a":"\\\"}`, "string has no end at byte 5")
	f(`{"a":[[[[1]]]]}`, "nested deeper than 4 at byte 8")
	f(`{"a":{"b":{"c":{}}}}`+"\x00", "got byte 0x00, want nothing after the object at byte 20")
	f(`{"model":"a","model":"b"}`, `member "model" is given twice, again at byte 13`)
	f(`{"model":"a","\u006dodel":"b"}`, `member "model" is given twice, again at byte 13`)
	f(`{"stream":{},"stream":1}`, `member "stream" is given twice, again at byte 13`)
}

// TestScanDeep guards that depth costs no stack: 64 MB of brackets are refused
// by the limit, not by the runtime.
func TestScanDeep(t *testing.T) {
	for _, unit := range []string{"[", `{"a":`} {
		body := append([]byte(`{"a":`), bytes.Repeat([]byte(unit), 64<<20/len(unit))...)
		var found [2]Value
		err := Scan(body, 256, names, found[:])
		if err == nil || !strings.HasPrefix(err.Error(), "nested deeper than 256") {
			t.Errorf("Scan of deep %q: got %v, want a depth error", unit, err)
		}
	}
}

func TestText(t *testing.T) {
	f := func(body, want string, ok bool) {
		t.Helper()
		var found [2]Value
		if err := Scan([]byte(body), 256, names, found[:]); err != nil {
			t.Fatal(err)
		}
		got, isText := found[0].Text([]byte(body))
		if got != want || isText != ok {
			t.Errorf("Text of %s: got %q %v, want %q %v", body, got, isText, want, ok)
		}
	}
	f(`{"model":"a/b"}`, "a/b", true)
	f(`{"model":"\u00e9\ud83d\ude00\n"}`, "é😀\n", true)
	f("{\"model\":\"\xff\"}", "\ufffd", true)
	f(`{"model":""}`, "", true)
	f(`{"model":1}`, "", false)
	f(`{"model":"\x"}`, "", false)
	f("{\"model\":\"a\nb\"}", "", false)
	f(`{}`, "", false)
}

func FuzzScan(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"model":"m","stream":true,"a":[{"model":1}]}`, `{"mod\u0065l":"x"}`, `[`, `{"a":"\ud800"}`,
		`{"model":1,"model":2}`, `{"a":-0.1e+5, "b":null}`, "{\"a\":\"\x00\"}", `{"model":{"a":"}"}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var found [2]Value
		err := Scan(body, 256, names, found[:])
		if _, duplicate := errors.AsType[*DuplicateError](err); duplicate {
			return // encoding/json takes the last one
		}
		if e, bad := errors.AsType[*Error](err); bad {
			if e.Offset < 0 || e.Offset > len(body) {
				t.Fatalf("offset %d outside of %q", e.Offset, body)
			}
			if strings.HasPrefix(e.Msg, "nested deeper") {
				return
			}
		}
		// encoding/json agrees on what an object is, and on its members.
		var want map[string]json.RawMessage
		jsonErr := json.Unmarshal(body, &want)
		object := jsonErr == nil && want != nil
		unjudged := bytes.ContainsFunc(body, func(r rune) bool { return r < 0x20 || r == '\\' })
		if object != (err == nil) && !(err == nil && unjudged) {
			t.Fatalf("Scan(%q): got %v, encoding/json says %v", body, err, jsonErr)
		}
		if err != nil || !object {
			return
		}
		for i, name := range names {
			raw, present := want[name]
			if present != found[i].Found() {
				t.Fatalf("Scan(%q): %s found %v, want %v", body, name, found[i].Found(), present)
			}
			if present && !bytes.Equal(found[i].Raw(body), bytes.TrimSpace(raw)) {
				t.Fatalf("Scan(%q): %s is %q, want %q", body, name, found[i].Raw(body), raw)
			}
		}
	})
}

func BenchmarkScan(b *testing.B) {
	words := strings.Repeat(`The quick brown fox jumps over the \"lazy\" dog, then rests for a while.\n`, 3600)
	body := []byte(`{"model":"m","messages":[{"role":"user","content":"` + words + `"}],"stream":true}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		var found [2]Value
		if err := Scan(body, 256, names, found[:]); err != nil {
			b.Fatal(err)
		}
	}
}
