// Package rawjson reads and writes JSON text without building trees: it walks
// over the members of an object and the elements of an array, decodes single
// strings, and writes text and values back in one canonical form.
//
// A walk yields slices of the text that it is given and allocates nothing; a
// value that nobody asks for is jumped over from quote to quote. Walks trust their
// text to be JSON, which [encoding/json.Valid] or a scan by package splice has
// said before; over any other bytes they end early, and never panic.
//
//	for m := rawjson.Object(body); m.Next(); {
//		if string(m.Key) == "model" {
//			name, ok = rawjson.AppendText(nil, m.Value)
//		}
//	}
//
// The canonical form has no space between tokens, keeps the order of members and
// the digits of numbers (a float64 would spoil large ones), and escapes in strings
// only what must be: quotes, backslashes, control characters, U+2028 and U+2029.
// Bytes that are no UTF-8 and lone surrogates become U+FFFD, for Arrow refuses
// them.
package rawjson

import "bytes"

// Walk is a position in an object or array. Key and Value belong to the text
// walked over and are valid as long as it is.
type Walk struct {
	// Key is the decoded name of the member, empty in an array.
	Key []byte
	// Value is the member's or element's value as it stands.
	Value []byte

	text   []byte
	at     int
	object bool
	ends   *Ends
}

// Ends remembers where the longest strings of a text end. Walks over the same bytes,
// such as that of a message after that of the list it is in, then do not look for it
// again. Its zero value is ready to use.
type Ends struct {
	n      int
	starts [8]*byte
	length [8]int
}

// longString is how long a string is that [Ends] remembers, in bytes.
const longString = 256

// Add remembers that the string at text[start] ends before text[end].
func (e *Ends) Add(text []byte, start, end int) {
	n := end - start
	if n < longString {
		return
	}
	at := e.n
	if at == len(e.starts) {
		at = 0
		for k, length := range e.length {
			if length < e.length[at] {
				at = k
			}
		}
		if e.length[at] >= n {
			return
		}
	} else {
		e.n++
	}
	e.starts[at], e.length[at] = &text[start], n
}

// With returns the walk with a memory.
func (w Walk) With(ends *Ends) Walk {
	w.ends = ends
	return w
}

// Object returns a walk over the members of the object that text holds. There
// are none if it holds anything else. A member that is given twice comes twice.
func Object(text []byte) Walk { return begin(text, '{', true) }

// Array returns a walk over the elements of the array that text holds. There are
// none if it holds anything else.
func Array(text []byte) Walk { return begin(text, '[', false) }

func begin(text []byte, bracket byte, object bool) Walk {
	i := skipSpace(text, 0)
	if i == len(text) || text[i] != bracket {
		i = len(text) - 1
	}
	return Walk{text: text, at: i + 1, object: object}
}

// Next moves to the next member or element and reports whether there is one.
func (w *Walk) Next() bool {
	i := skipSpace(w.text, w.at)
	if i < len(w.text) && w.text[i] == ',' {
		i = skipSpace(w.text, i+1)
	}
	w.at = len(w.text) // unless a value follows
	if i == len(w.text) || w.text[i] == '}' || w.text[i] == ']' {
		return false
	}
	if w.object {
		end := skipString(w.text, i)
		if end < 0 {
			return false
		}
		w.Key = w.text[i+1 : end-1]
		if bytes.IndexByte(w.Key, '\\') >= 0 {
			w.Key, _ = AppendText(nil, w.text[i:end])
		}
		if i = skipSpace(w.text, end); i == len(w.text) || w.text[i] != ':' {
			return false
		}
		i = skipSpace(w.text, i+1)
	}
	end := w.ends.skipValue(w.text, i)
	if end < 0 {
		return false
	}
	w.Value, w.at = w.text[i:end], end
	return true
}

// End returns the index behind the value that begins at text[i], or -1 where none ends.
func End(text []byte, i int) int { return (*Ends)(nil).skipValue(text, i) }

// SkipSpace returns the index of the first byte of text from i on that is no white space,
// or its length.
func SkipSpace(text []byte, i int) int { return skipSpace(text, i) }

// Trim returns text without the white space around it.
func Trim(text []byte) []byte {
	text = text[skipSpace(text, 0):]
	for n := len(text); n > 0 && isSpace(text[n-1]); n-- {
		text = text[:n-1]
	}
	return text
}

// IsNull reports whether value is absent or null.
func IsNull(value []byte) bool { return len(value) == 0 || value[0] == 'n' }

// IsString reports whether value is a string.
func IsString(value []byte) bool { return len(value) > 0 && value[0] == '"' }

// IsObject reports whether value is an object.
func IsObject(value []byte) bool { return len(value) > 0 && value[0] == '{' }

// IsArray reports whether value is an array.
func IsArray(value []byte) bool { return len(value) > 0 && value[0] == '[' }

// skipValue returns the index behind the value at i, or -1.
func (e *Ends) skipValue(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return e.skipString(b, i)
	case '{', '[':
		return e.skipContainer(b, i)
	}
	start := i
	for i < len(b) && !isSpace(b[i]) && b[i] != ',' && b[i] != '}' && b[i] != ']' {
		i++
	}
	if i == start {
		return -1
	}
	return i
}

// skipContainer returns the index behind the object or array at i, or -1.
func (e *Ends) skipContainer(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			if i = e.skipString(b, i); i < 0 {
				return -1
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return -1
}

// skipString is the function of that name, with a memory if e is not nil.
func (e *Ends) skipString(b []byte, i int) int {
	if e == nil {
		return skipString(b, i)
	}
	for k := range e.n {
		if e.starts[k] == &b[i] {
			return i + e.length[k]
		}
	}
	end := skipString(b, i)
	e.Add(b, i, end)
	return end
}

// skipString returns the index behind the string at i, or -1. A quote ends it if
// an even number of backslashes stands before.
func skipString(b []byte, i int) int {
	if b[i] != '"' {
		return -1
	}
	for quote := i + 1; ; quote++ {
		n := bytes.IndexByte(b[quote:], '"')
		if n < 0 {
			return -1
		}
		quote += n
		escapes := quote
		for b[escapes-1] == '\\' { // ends at the opening quote
			escapes--
		}
		if (quote-escapes)%2 == 0 {
			return quote + 1
		}
	}
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && isSpace(b[i]) {
		i++
	}
	return i
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }
