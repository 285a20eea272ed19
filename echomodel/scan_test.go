package echomodel

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
)

func TestCheckText(t *testing.T) {
	for text, good := range map[string]bool{
		``: true, `abc`: true, `\"\\\/\b\f\n\r\t`: true, `\u00e9\uD800`: true, "\xff": true,
		"a\nb": false, `\x`: false, `\`: false, `\u12`: false, `\u12g4`: false, "\x00": false,
	} {
		if err := checkText([]byte(text)); (err == nil) != good {
			t.Errorf("checkText(%q): got %v, want good %t", text, err, good)
		}
	}
}

func TestTokens(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
	}{
		{``, nil},
		{`one`, []string{`one`}},
		{`one two  three `, []string{`one `, `two  `, `three `}},
		{`  one two`, []string{`  one `, `two`}},
		{`a\nb\t\tc`, []string{`a\n`, `b\t\t`, `c`}},
		{`\\n \"x\" `, []string{`\\n `, `\"x\" `}}, // a backslash and an n are no blank
		{`   `, []string{`   `}},
	} {
		text := []byte(c.text)
		n, length := countTokens(text, 100)
		if n != len(c.want) || length != len(c.text) {
			t.Errorf("countTokens(%q): got %d, %d, want %d, %d", c.text, n, length, len(c.want), len(c.text))
		}
		for i, want := range c.want {
			k := tokenLength(text)
			if got := string(text[:k]); got != want {
				t.Errorf("token %d of %q: got %q, want %q", i, c.text, got, want)
			}
			text = text[k:]
		}
	}
}

// FuzzMembers compares with encoding/json: what that accepts is accepted, with the same members and the last of equal
// ones; no input panics or yields a value that is not within it.
func FuzzMembers(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` { "a" : 1 , "b" : [ true , null , { "c" : "\"" } ] } `, `{"a":1,"a":2}`, `{"\u0061":-1.5e+3}`,
		`{"a":"\\"}`, `{"a":"\\\""}`, `{"a"`, `{"a":`, `{"a":1,}`, `{,}`, `[]`, `{"a":tru}`, `{"a":"x`, `{"a\":1}`, "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got := map[string]string{}
		err := members(raw, func(key, value []byte) error {
			got[string(key)] = string(value)
			if len(value) == 0 || !bytes.Contains(raw, value) {
				t.Errorf("value %q of %q", value, raw)
			}
			return nil
		})
		var syntax *syntaxError
		if err != nil && !errors.As(err, &syntax) {
			t.Errorf("error %v is no syntaxError", err)
		}
		var want map[string]json.RawMessage
		if json.Unmarshal(raw, &want) != nil || want == nil || bytes.Count(raw, []byte("[")) > 100 || bytes.Count(raw, []byte("{")) > 100 {
			return
		}
		if err != nil {
			t.Fatalf("%q: refused with %v", raw, err)
		}
		for key, value := range want {
			if bytes.ContainsRune([]byte(key), '\uFFFD') {
				return // encoding/json replaces what is not UTF-8; here keys stay as they are
			}
			if got[key] != string(value) {
				t.Errorf("%q: member %q: got %q, want %q", raw, key, got[key], value)
			}
		}
	})
}

// FuzzEcho sends any text through a chat: it must come back, in a valid answer, whole and cut in tokens.
func FuzzEcho(f *testing.F) {
	for _, seed := range []string{"", "a b", "a\nb\\n\t\"", "\u2028 é \U0001F600", " \r\n ", `\`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		quoted := appendString(nil, s)
		var want string
		if err := json.Unmarshal(quoted, &want); err != nil {
			t.Fatal(err)
		}
		text, _ := textOf(quoted)
		if err := checkText(text); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		var got string
		for rest := text; len(rest) > 0; {
			n := tokenLength(rest)
			if n == 0 {
				t.Fatalf("no token at %q of %q", rest, text)
			}
			got += goString(rest[:n]) // each token is valid on its own
			rest = rest[n:]
		}
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
