package echomodel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// This file reads JSON without building trees: a prompt of 256 KB is walked by the speed of bytes.IndexByte, and the
// texts found are parts of the body, still escaped, so that they go into an answer as they are. The structure is
// checked, escapes and control characters only in what is echoed (checkText).

// maxDepth bounds nested objects and arrays; Python's own limit lies near 1000.
const maxDepth = 512

// syntaxError is returned when a body is no JSON.
type syntaxError struct {
	want string
	rest int // bytes left at the point of the error, so that a part of a body need not know its own offset
}

func (e *syntaxError) Error() string {
	return fmt.Sprintf("JSON decode error: want %s, %d bytes before the end", e.want, e.rest)
}

func skipBlank(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the index after the string whose opening quote is at i.
func skipString(b []byte, i int) (int, error) {
	for j := i + 1; ; j++ {
		k := bytes.IndexByte(b[j:], '"')
		if k < 0 {
			return 0, &syntaxError{"the end of a string", len(b) - i}
		}
		j += k
		slashes := 0
		for b[j-1-slashes] == '\\' { // ends at the opening quote at the latest
			slashes++
		}
		if slashes%2 == 0 {
			return j + 1, nil
		}
	}
}

// skipValue returns the index after the value that begins at i.
func skipValue(b []byte, i, depth int) (int, error) {
	if i >= len(b) {
		return 0, &syntaxError{"a value", 0}
	}
	switch c := b[i]; {
	case c == '"':
		return skipString(b, i)
	case c == '{', c == '[':
		if depth >= maxDepth {
			return 0, &syntaxError{fmt.Sprintf("at most %d nested values", maxDepth), len(b) - i}
		}
		return skipNested(b, i, depth, nil)
	case c == '-', c >= '0' && c <= '9':
		for i++; i < len(b) && bytes.IndexByte([]byte("0123456789+-.eE"), b[i]) >= 0; i++ {
		}
		return i, nil
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if bytes.HasPrefix(b[i:], []byte(word)) {
			return i + len(word), nil
		}
	}
	return 0, &syntaxError{"a value", len(b) - i}
}

// skipNested returns the index after the object or array that begins at i. It hands each member or element to f,
// unless f is nil; in an array key is nil. Keys come without quotes.
func skipNested(b []byte, i, depth int, f func(key, value []byte) error) (int, error) {
	object := b[i] == '{'
	end := byte(']')
	if object {
		end = '}'
	}
	i = skipBlank(b, i+1)
	if i < len(b) && b[i] == end {
		return i + 1, nil
	}
	for {
		var key []byte
		var err error
		if object {
			if key, i, err = scanKey(b, i); err != nil {
				return 0, err
			}
		}
		start := i
		if i, err = skipValue(b, i, depth+1); err != nil {
			return 0, err
		}
		if f != nil {
			if err := f(key, b[start:i]); err != nil {
				return 0, err
			}
		}
		i = skipBlank(b, i)
		if i >= len(b) || b[i] != ',' && b[i] != end {
			return 0, &syntaxError{"',' or '" + string(end) + "'", len(b) - i}
		}
		if b[i] == end {
			return i + 1, nil
		}
		i = skipBlank(b, i+1)
	}
}

// scanKey reads `"key" :` at i and returns the key, unescaped, and where its value begins.
func scanKey(b []byte, i int) (key []byte, next int, err error) {
	if i >= len(b) || b[i] != '"' {
		return nil, 0, &syntaxError{"a key", len(b) - i}
	}
	next, err = skipString(b, i)
	if err != nil {
		return nil, 0, err
	}
	key = b[i+1 : next-1]
	if bytes.IndexByte(key, '\\') >= 0 {
		key = []byte(goString(key))
	}
	next = skipBlank(b, next)
	if next >= len(b) || b[next] != ':' {
		return nil, 0, &syntaxError{"':'", len(b) - next}
	}
	return key, skipBlank(b, next+1), nil
}

// members calls f with each member of the object raw. A repeated key comes again: who keeps the last one does what
// Python's servers do.
func members(raw []byte, f func(key, value []byte) error) error {
	return walk(raw, '{', "an object", f)
}

// elements calls f with each element of the array raw.
func elements(raw []byte, f func(value []byte) error) error {
	return walk(raw, '[', "an array", func(_, value []byte) error { return f(value) })
}

func walk(raw []byte, open byte, want string, f func(key, value []byte) error) error {
	i := skipBlank(raw, 0)
	if i >= len(raw) || raw[i] != open {
		return &syntaxError{want, len(raw) - i}
	}
	i, err := skipNested(raw, i, 1, f)
	if err != nil {
		return err
	}
	if i = skipBlank(raw, i); i != len(raw) {
		return &syntaxError{"nothing more", len(raw) - i}
	}
	return nil
}

// textOf returns what stands between the quotes if raw is a string, still escaped.
func textOf(raw []byte) (text []byte, ok bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return nil, false
	}
	return raw[1 : len(raw)-1], true
}

// goString returns the Go string of a JSON string's text without its quotes, or "" if its escapes are wrong.
func goString(text []byte) string {
	if bytes.IndexByte(text, '\\') < 0 {
		return string(text)
	}
	var s string
	if json.Unmarshal(slices.Concat([]byte{'"'}, text, []byte{'"'}), &s) != nil {
		return ""
	}
	return s
}

// checkText says whether text may stand between quotes in an answer: no bare control characters, only escapes that
// JSON knows. Bytes that are not UTF-8 pass, as they came.
func checkText(text []byte) error {
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c < ' ':
			return &syntaxError{"no control character in a string", len(text) - i}
		case c != '\\':
		case i+1 < len(text) && bytes.IndexByte([]byte(`"\/bfnrt`), text[i+1]) >= 0:
			i++
		case i+5 < len(text) && text[i+1] == 'u' && isHex(text[i+2:i+6]):
			i += 5
		default:
			return &syntaxError{"an escape that JSON knows", len(text) - i}
		}
	}
	return nil
}

func isHex(b []byte) bool {
	for _, c := range b {
		if c|0x20 < 'a' && (c < '0' || c > '9') || c|0x20 > 'f' {
			return false
		}
	}
	return true
}

// appendString appends s as a JSON string with its quotes.
func appendString(dst []byte, s string) []byte {
	b, _ := json.Marshal(s) // a string can always be encoded
	return append(dst, b...)
}
