package json5

import (
	"encoding/json"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// refusedOfficial lists the official cases we refuse although JSON5 accepts
// them. The README repeats the list.
var refusedOfficial = []string{}

// officialDir returns the folder of the official JSON5 cases, or "". They stand
// in shared/json5-tests beside the repository and are no part of it.
func officialDir(t testing.TB) string {
	t.Helper()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(wd, "..", "..", "..", "shared", "json5-tests")
	if _, err := os.Stat(dir); err != nil {
		return ""
	}
	return dir
}

// official calls f with each official case.
func official(t testing.TB, dir string, f func(name string, accept bool, src []byte)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		ext := filepath.Ext(path)
		if err != nil || !slices.Contains([]string{".json", ".json5", ".js", ".txt"}, ext) {
			return err
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		f(filepath.ToSlash(name), ext == ".json" || ext == ".json5", src)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOfficialCases(t *testing.T) {
	dir := officialDir(t)
	if dir == "" {
		t.Skip("official JSON5 cases are missing: want the folder shared/json5-tests beside the repository")
	}
	var refused []string
	count := 0
	official(t, dir, func(name string, accept bool, src []byte) {
		count++
		d, err := Parse(src)
		switch {
		case accept && err != nil:
			refused = append(refused, name)
		case !accept && err == nil:
			t.Errorf("%s: accepted, want an error", name)
		}
		if err == nil && filepath.Ext(name) == ".json" {
			sameAsJSON(t, d, src)
		}
	})
	if count < 100 {
		t.Errorf("found %d cases, want at least 100", count)
	}
	if !slices.Equal(refused, refusedOfficial) {
		t.Errorf("refused %q, want exactly %q", refused, refusedOfficial)
	}
}

// value turns a tree into what encoding/json decodes into any. As there, the
// last duplicate counts.
func value(d *Document, n *Node) any {
	switch n.kind {
	case bareValue: // below
	case object:
		m := make(map[string]any)
		for _, c := range n.items {
			m[c.name] = value(d, c)
		}
		return m
	case array:
		s := make([]any, 0, len(n.items))
		for _, c := range n.items {
			s = append(s, value(d, c))
		}
		return s
	case stringValue:
		return unquote(d.text(n))
	}
	switch text := string(d.text(n)); text {
	case "true", "false":
		return text == "true"
	case "null":
		return nil
	case "Infinity", "+Infinity":
		return math.Inf(1)
	case "-Infinity":
		return math.Inf(-1)
	default:
		num, ok := parseNumber(text)
		if !ok {
			return math.NaN()
		}
		return num.float()
	}
}

func sameAsJSON(t testing.TB, d *Document, src []byte) {
	t.Helper()
	var want any
	if json.Unmarshal(src, &want) != nil {
		return
	}
	if got := value(d, d.root); !reflect.DeepEqual(got, want) {
		t.Errorf("%q: got %v, want %v as encoding/json", src, got, want)
	}
}

func TestParseAccepts(t *testing.T) {
	f := func(src string, jwcc bool, want any) {
		t.Helper()
		d, err := Parse([]byte(src))
		if err != nil {
			t.Errorf("%q: %v", src, err)
			return
		}
		if got := value(d, d.root); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %v, want %v", src, got, want)
		}
		if d.JWCC() != jwcc {
			t.Errorf("%q: got JWCC %v, want %v", src, d.JWCC(), jwcc)
		}
	}
	type m = map[string]any

	// JWCC.
	f(`{"a": 1}`, true, m{"a": 1.0})
	f("\uFEFF{\"a\": 1}", true, m{"a": 1.0})
	f("{\r\n  // c\r\n  \"a\": [1, 2,], /* * see a/b */\r\n}\r\n", true, m{"a": []any{1.0, 2.0}})
	f(`{"ur\u006c": "\ud83d\ude00 \u00e9\/"}`, true, m{"url": "😀 é/"})
	f(`"\ud83d \ude00"`, true, "\uFFFD \uFFFD")
	f("\"a\u2028b\"", true, "a\u2028b")
	f("{\"a\": 1, \"a\": 2}", true, m{"a": 2.0})
	f("[1] // c\n", true, []any{1.0})

	// JSON5.
	f(`{a: 'x', $b_1: "it's", null: 'say "a"', Infinity: 1,}`, false, m{"a": "x", "$b_1": "it's", "null": `say "a"`, "Infinity": 1.0})
	f(`{größe: 1, 模型: 2, \u0061b: 3}`, false, m{"größe": 1.0, "模型": 2.0, "ab": 3.0})
	f(`{a/**/:/**/1/**/}`, false, m{"a": 1.0})
	f(`[0x10, 0XfF, -0x1, +1, .5, 5., -.5, -.05, +1.e2, 1E-2]`, false, []any{16.0, 255.0, -1.0, 1.0, .5, 5.0, -.5, -.05, 100.0, .01})
	f(`0xFFFFFFFFFFFFFFFFFF`, false, 4722366482869645213695.0)
	f(`[Infinity, -Infinity, +Infinity]`, false, []any{math.Inf(1), math.Inf(-1), math.Inf(1)})
	f(`"\x41\0\v\a\'\é\😀"`, false, "A\x00\va'é😀")
	f("'a\\\nb\\\r\nc\\\rd\\\u2028e\\\u2029f'", false, "abcdef")
	f("\"tab\there\"", false, "tab\there")
	f("// c\u2028 1 // c\u2029", false, 1.0)
	f("/* * see a/b */ [+1] /***/", false, []any{1.0})
	f("\u00A0\v\f\u3000\uFEFF[\u2028 1\u2029]", false, []any{1.0})
	f("[1] // c", false, []any{1.0})
	f("{ // c\r\"a\": 1\n}", false, m{"a": 1.0}) // hujson would take all up to LF as comment

	for _, src := range []string{"NaN", "+NaN", "[-NaN]"} {
		if _, err := Parse([]byte(src)); err != nil {
			t.Errorf("%q: %v", src, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	f := func(src, want string) {
		t.Helper()
		d, err := Parse([]byte(src))
		if err == nil {
			t.Errorf("%q: accepted, want error %q", src, want)
			return
		}
		if d != nil {
			t.Errorf("%q: got a document beside the error", src)
		}
		if got := err.Error(); got != want {
			t.Errorf("%q:\ngot  %s\nwant %s", src, got, want)
		}
	}
	// What the file holds.
	f("", "1:1: the file is empty, want a value")
	f("// only\n/* comments */\n", "1:1: the file is empty, want a value")
	f("\xff\xfe{\x00", "1:1: byte 0xff is not UTF-8, save the file as UTF-8")
	f("{\n  'é': '\xe9'}", "2:9: byte 0xe9 is not UTF-8, save the file as UTF-8")
	f("1 2", "1:3: want nothing after the value, got a number")
	f("{}}", `1:3: want nothing after the value, got "}"`)

	// Structure.
	f("{\"a\": 1\n  \"b\": 2}", `2:3: want "," or "}" after the value, got a string`)
	f("{a: {b: [1\n", "1:11: a.b: the file ends inside the array opened at 1:9")
	f("{a: [1, {b: 2],}", `1:14: a[1]: want "," or "}" after the value, got "]"; the object was opened at 1:9`)
	f("[1,,2]", `1:4: want a value or "]", got ","`)
	f("[,]", `1:2: want a value or "]", got ","`)
	f("{,}", `1:2: want a member name or "}", got ","`)
	f("{a: }", `1:5: want a value, got "}"`)
	f("{a}", `1:3: want ":" after the member name, got "}"`)
	f("{a = 1}", `1:4: want ":" after the member name, got "="`)
	f("{'a' 'b'}", `1:6: want ":" after the member name, got a string`)
	f("{[1]: 2}", `1:2: want a member name or "}", got "["`)
	f("{max-size: 1}", "1:2: this member name needs quotes")
	f("{10: 1}", "1:2: this member name needs quotes")
	f(`{\u002d: 1}`, "1:2: this member name needs quotes")

	// Words and numbers.
	f("{on: True}", "1:6: on: got a bare word, want a quoted string, a number, true, false or null")
	f("{url: http://host}", "1:7: url: got a bare word, want a quoted string, a number, true, false or null")
	f("{url: host name}", "1:7: url: got a bare word, want a quoted string, a number, true, false or null")
	for _, n := range []string{"010", "0x", "0xg", ".", ".e1", "+..5", "1e", "1e+", "1e5.3", "--1", "1_0", "+-1", "-"} {
		f("[1, "+n+"]", "1:5: [1]: not a valid number, and a string needs quotes")
	}
	f("[+ 1]", "1:2: [0]: not a valid number, and a string needs quotes")

	// Strings and comments.
	f("{a: 'x\n'}", "1:5: string is not closed on its line")
	f("{a: \"x", "1:5: string is not closed")
	f(`{a: "x\`, "1:5: string is not closed")
	f("{a: 1 /* c\n}", `1:7: comment is not closed, want "*/"`)
	f(`{dir: "C:\users"}`, `1:10: want four hexadecimal digits after \u, or \\ for a backslash`)
	f(`['\x4']`, `1:3: want two hexadecimal digits after \x, or \\ for a backslash`)
	f(`['\1']`, `1:3: octal escapes are not allowed, want \x or \\ for a backslash`)
	f(`['\01']`, `1:3: octal escapes are not allowed, want \x or \\ for a backslash`)

	// Line ends: CR, LF and CRLF count once, U+2028 does not.
	f("[1,\r2,\n3,\r\n'\u2028', x]", "4:6: [4]: got a bare word, want a quoted string, a number, true, false or null")
	f("\uFEFFx", "1:1: got a bare word, want a quoted string, a number, true, false or null")
}

func TestLimits(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	if _, err := Parse([]byte(nested(MaxDepth))); err != nil {
		t.Errorf("depth %d: %v", MaxDepth, err)
	}
	f := func(what, src, want string) {
		t.Helper()
		start := time.Now()
		_, err := Parse([]byte(src))
		t.Logf("%s: refused in %v", what, time.Since(start))
		if err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", what, err, want)
		}
	}
	f("depth 65", nested(65), "1:65: "+strings.Repeat("[0]", 63)+": nested too deep, want at most 64 levels")
	f("6 MB of [", strings.Repeat("[", 6e6), "1:65: "+strings.Repeat("[0]", 63)+": nested too deep, want at most 64 levels")
	f(`6 MB of {"a":`, strings.Repeat(`{"a":`, 1.2e6), "1:321: "+strings.Repeat("a.", 62)+"a: nested too deep, want at most 64 levels")
	f("size", strings.Repeat(" ", MaxSize+1), "1:1: file has 8388609 bytes, want at most 8388608")
	zeros := func(n int) string { return "[" + strings.Repeat("0,", n) + "]" }
	f("values", zeros(MaxValues), "1:1000000: too many values, want at most 500000")
	f("all of 8 MiB", zeros(MaxSize/2-1), "1:1000000: too many values, want at most 500000")
	for _, src := range []string{zeros(MaxValues - 1), strings.Repeat(" ", MaxSize-1) + "0"} {
		if _, err := Parse([]byte(src)); err != nil {
			t.Errorf("%.9q and so on: %v", src, err)
		}
	}
}

func TestAt(t *testing.T) {
	d := mustParse(t, "{\n  instances: [{url: 'a'},\n    {weight: 1, weight: 2}],\n}")
	f := func(want string, path ...any) {
		t.Helper()
		if got := d.Problem(d.At(path...), "x").Error(); got != want {
			t.Errorf("%v: got %s, want %s", path, got, want)
		}
	}
	f("2:21: instances[0].url: x", "instances", 0, "url")
	f("3:14: instances[1].weight: x", "instances", 1, "weight")
	f("3:5: instances[1]: x", "instances", 1, "url")
	f("2:14: instances: x", "instances", 2, "url")
	f("2:14: instances: x", "instances", -1)
	f("2:14: instances: x", "instances", "url")
	f("2:14: instances: x", "instances", 1.5)
	f("1:1: x", "fallback")
	f("1:1: x", 0)
	f("1:1: x")
	if got := d.Problem(nil, "%d left", 0).Error(); got != "1:1: 0 left" {
		t.Errorf("nil node: got %s, want the whole document", got)
	}
	if line, column := d.Position(d.At("instances", 1)); line != 3 || column != 5 {
		t.Errorf("got position %d:%d, want 3:5", line, column)
	}
}

func mustParse(t testing.TB, src string) *Document {
	t.Helper()
	d, err := Parse([]byte(src))
	if err != nil {
		t.Fatalf("%q: %v", src, err)
	}
	return d
}
