package json5

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tailscale/hujson"
	titanous "github.com/titanous/json5"
)

// FuzzParse checks that no text makes Parse or Decode panic, that mistakes lie
// inside the file, that secrets stay hidden, and that the verdicts agree with
// encoding/json and both libraries where they are right.
func FuzzParse(f *testing.F) {
	for _, src := range []string{
		"", "{}", "null", "\uFEFF{a: 'b'}\r\n", `{"weight": 1, "weight": "x", wieght: 1.5}`,
		`{name: 'a\x41\u0041\ud83d\ude00\v\0\é\` + "\n" + `', on: true, /* c */ tags: ['a', null,], // d` + "\r\u2028",
		`{weight: 0x1F, tiny: -128, port: +65535, mask: 18446744073709551615, ratio: .5e-3, half: Infinity, long: 1.}`,
		`{headers: {'x-a': "b"}, instances: [{ur\u006c: "http://a:b@c/", api_key: "k", weight: NaN}], pools: {größe: {size: 1}}}`,
		`{wait: '1m', later: 2, limit: [[[[]]]]}`, `[{"a": [1, 2}]`, `{api_key: 'hunter2 x}`, "{a: 1 /* b", "\xff",
		`{api_key: "@@secret@@", on: 1}`, `{on: True, headers: {a: '@@secret@@'}`, `[//` + "\r1]",
	} {
		f.Add([]byte(src))
	}
	if dir := officialDir(f); dir != "" {
		official(f, dir, func(_ string, _ bool, src []byte) { f.Add(src) })
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		d, err := Parse(src)
		if e, ok := errors.AsType[*Error](err); ok {
			checkError(t, src, e)
		} else if err != nil {
			t.Fatalf("got %T, want *Error", err)
		}
		if json.Valid(src) && utf8.Valid(src) && err != nil && !strings.Contains(err.Error(), "nested too deep") {
			t.Errorf("%q is JSON, got %v", src, err)
		}
		if err != nil {
			if _, err := hujson.Parse(src); err == nil && utf8.Valid(src) && !strings.Contains(string(src), "\r") && depth(src) <= MaxDepth {
				t.Errorf("%q is JWCC, got an error", src)
			}
			return
		}
		checkTree(t, d, d.root)
		sameAsJSON(t, d, src)
		checkPlain(t, src)
		var v sample
		errs, _ := errors.AsType[Errors](d.Decode(&v, Options{}))
		for _, e := range errs {
			checkError(t, src, e)
		}
	})
}

// depth is at least the depth of the text.
func depth(src []byte) int {
	return strings.Count(string(src), "[") + strings.Count(string(src), "{")
}

func checkError(t *testing.T, src []byte, e *Error) {
	t.Helper()
	lines := 1
	for i := range src {
		if endsLine(src, i) {
			lines++
		}
	}
	if e.Line < 1 || e.Line > lines || e.Column < 1 || e.Column > utf8.RuneCount(src)+1 {
		t.Errorf("%q: %v lies outside of %d lines", src, e, lines)
	}
	if n := utf8.RuneCountInString(e.Text); e.caret < 0 || e.caret > n || n > shownWidth+2 {
		t.Errorf("%q: caret %d in a text of %d characters", src, e.caret, n)
	}
	if strings.Contains(e.Error(), "\n") || strings.Count(e.Detail(), "\n") > 2 {
		t.Errorf("%q: too many lines: %s", src, e.Detail())
	}
	if strings.Contains(e.Detail(), "@@secret@@") && strings.Contains(string(src), `api_key: "@@secret@@"`) {
		t.Errorf("%q: secret shown: %s", src, e.Detail())
	}
}

// checkTree checks that nodes lie in their parents, in order.
func checkTree(t *testing.T, d *Document, n *Node) {
	t.Helper()
	if n.start >= n.end || n.end > len(d.src) {
		t.Fatalf("%q: node at %d to %d", d.src, n.start, n.end)
	}
	end := n.start
	for i, c := range n.items {
		if c.start <= end || c.end >= n.end || c.parent != n || c.index != i || n.kind == object && (c.keyStart < end || c.keyStart >= c.start) {
			t.Fatalf("%q: item %d at %d to %d in node at %d to %d", d.src, i, c.start, c.end, n.start, n.end)
		}
		end = c.end
		checkTree(t, d, c)
	}
}

// checkPlain checks that the second library accepts what the scan does, so
// that it never stands in the way of a file that hujson takes.
func checkPlain(t *testing.T, src []byte) {
	t.Helper()
	s := newScanner(&Document{src: trimBOM(src), secret: secretNames, marks: []mark{{1, 1}}})
	s.most = MaxValues
	if err := s.scan(); err != nil {
		t.Fatalf("%q: scanned before, now %v", src, err)
	}
	plain := strings.ReplaceAll(string(s.plain), "\x00", " ")
	if err := titanous.Unmarshal([]byte(plain), new(anyValue)); err != nil {
		t.Errorf("%q: as %q: %v", src, plain, err)
	}
}
