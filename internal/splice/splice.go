// Package splice finds top-level members of a JSON object in raw bytes, so
// that one of them can be replaced without decoding or re-encoding the rest.
//
// [Scan] checks the whole text by the grammar of RFC 8259 in one pass without
// recursion and without allocating: a body of any shape costs at most its
// length, and the stack does not grow with its depth. What the scan does not
// judge is left to the receiver byte for byte: numbers of any size, what stands
// inside strings (unknown escapes, raw control characters, bytes that are no
// UTF-8, lone surrogates), and members that are given twice, save for those that
// were asked for.
//
//	var found [2]splice.Value
//	err := splice.Scan(body, 256, []string{"model", "stream"}, found[:])
//	name, err := found[0].Text(body) // "deepseek-r1"
package splice

import (
	"encoding/json"
	"fmt"
)

// MaxDepth is the deepest nesting that [Scan] can follow, whatever its caller
// allows.
const MaxDepth = 1024

// Value is the place of one member's value: body[Start:End]. The zero Value
// says that the member is absent.
type Value struct {
	Start, End int
}

// Found reports whether the member is present.
func (v Value) Found() bool { return v.End > 0 }

// Raw returns the value as it stands in body.
func (v Value) Raw(body []byte) []byte { return body[v.Start:v.End] }

// Kind names the JSON type of the value in words for an error text: "a
// string", "a number", "an object", "an array", "a boolean", "null" or
// "nothing".
func (v Value) Kind(body []byte) string {
	if !v.Found() {
		return "nothing"
	}
	return kind(body[v.Start])
}

// Text returns the decoded string, and whether the value is a valid string at
// all. Bytes that are no UTF-8 and lone surrogates become U+FFFD.
func (v Value) Text(body []byte) (string, bool) {
	if !v.Found() || body[v.Start] != '"' {
		return "", false
	}
	raw := v.Raw(body)
	if plain := raw[1 : len(raw)-1]; isPlain(plain) {
		return string(plain), true
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", false
	}
	return s, true
}

// Error says what is wrong with a text and where.
type Error struct {
	// Offset counts the bytes before the fault.
	Offset int
	// Msg is a phrase without the position: "got '}', want a value".
	Msg string
}

func (e *Error) Error() string { return fmt.Sprintf("%s at byte %d", e.Msg, e.Offset) }

// DuplicateError is returned when a member that was asked for stands in the
// object twice, in plain letters or escaped: receivers differ in which of the
// two they take, so neither can be trusted.
type DuplicateError struct {
	Name   string
	Offset int
}

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("member %q is given twice, again at byte %d", e.Name, e.Offset)
}

// kind names the type of the value that begins with c.
func kind(c byte) string {
	switch c {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "an array"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	default:
		return "a number"
	}
}

// isPlain reports whether s stands for itself: ASCII without escapes and control
// characters.
func isPlain(s []byte) bool {
	for _, c := range s {
		if c == '\\' || c >= 0x80 || c < 0x20 {
			return false
		}
	}
	return true
}
