package splice

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// A scanner is in one of these states between two tokens.
type state uint8

const (
	wantValue      state = iota // after ':' or ',' of an array, and at the start
	wantValueOrEnd              // after '['
	wantKey                     // after ',' of an object
	wantKeyOrEnd                // after '{'
	wantMore                    // after a value: ',' or the end of its container
)

// scanner walks over one text. Open containers are kept as bits: set for an
// object, clear for an array.
type scanner struct {
	b        []byte
	names    []string
	found    []Value
	maxDepth int

	depth   int
	objects [MaxDepth / 64]uint64
	member  int   // index of the wanted top-level member being read, or -1
	longest Value // of the strings so far
}

// Scan checks that body is one JSON object, nested at most maxDepth deep, and
// sets found[i] to the place of the top-level member names[i], or to the zero
// Value. Names are compared decoded and by case. Errors are *[Error] and
// *[DuplicateError]; found is then incomplete. Body is not kept.
func Scan(body []byte, maxDepth int, names []string, found []Value) error {
	_, err := ScanLongest(body, maxDepth, names, found)
	return err
}

// ScanLongest is [Scan] and tells where the longest string of body stands, at any
// depth, quotes included. Who walks over body again need not look for its end: of a
// long prompt that is most of the work.
func ScanLongest(body []byte, maxDepth int, names []string, found []Value) (longest Value, err error) {
	s := scanner{b: body, names: names, found: found, maxDepth: min(maxDepth, MaxDepth), member: -1}
	clear(found)
	i := skipSpace(body, 0)
	if i == len(body) {
		return Value{}, &Error{i, "got nothing, want a JSON object"}
	}
	if body[i] != '{' {
		if end, err := s.scalar(i); body[i] != '[' && (err != nil || skipSpace(body, end) != len(body)) {
			return Value{}, unexpected(body, i, "a JSON object")
		}
		return Value{}, &Error{i, "got " + kind(body[i]) + ", want a JSON object"}
	}
	if i, err = s.run(i); err != nil {
		return Value{}, err
	}
	if i = skipSpace(body, i); i != len(body) {
		return Value{}, unexpected(body, i, "nothing after the object")
	}
	return s.longest, nil
}

// run scans the value that begins at i and returns the index behind it.
func (s *scanner) run(i int) (int, error) {
	b, st := s.b, wantValue
	for {
		if i = skipSpace(b, i); i == len(b) {
			return i, &Error{i, "text ends too early"}
		}
		c := b[i]
		switch st {
		case wantKey, wantKeyOrEnd:
			if c == '}' && st == wantKeyOrEnd {
				break
			}
			var err error
			if i, err = s.key(i); err != nil {
				return i, err
			}
			st = wantValue
			continue
		case wantMore:
			switch {
			case c == ',' && s.inObject():
				i, st = i+1, wantKey
				continue
			case c == ',':
				i, st = i+1, wantValue
				continue
			case c == '}' && s.inObject(), c == ']' && !s.inObject():
			case s.inObject():
				return i, unexpected(b, i, "',' or '}'")
			default:
				return i, unexpected(b, i, "',' or ']'")
			}
		default: // wantValue, wantValueOrEnd
			if c == ']' && st == wantValueOrEnd {
				break
			}
			if c == '{' || c == '[' {
				if s.depth == s.maxDepth {
					return i, &Error{i, fmt.Sprintf("nested deeper than %d", s.maxDepth)}
				}
				s.open(c == '{')
				if s.member >= 0 && s.depth == 2 {
					s.found[s.member].Start = i
				}
				i, st = i+1, wantValueOrEnd
				if c == '{' {
					st = wantKeyOrEnd
				}
				continue
			}
			end, err := s.scalar(i)
			if err != nil {
				return i, err
			}
			if s.member >= 0 && s.depth == 1 {
				s.found[s.member], s.member = Value{i, end}, -1
			}
			i, st = end, wantMore
			continue
		}
		// A container ends at i.
		i, st = i+1, wantMore
		if s.depth--; s.depth == 0 {
			return i, nil
		}
		if s.member >= 0 && s.depth == 1 {
			s.found[s.member].End, s.member = i, -1
		}
	}
}

func (s *scanner) open(object bool) {
	word, bit := &s.objects[s.depth/64], uint64(1)<<(s.depth%64)
	*word &^= bit
	if object {
		*word |= bit
	}
	s.depth++
}

func (s *scanner) inObject() bool {
	d := s.depth - 1
	return s.objects[d/64]>>(d%64)&1 == 1
}

// key reads a member's name and the colon behind it; at the top level it
// remembers which wanted member comes next.
func (s *scanner) key(i int) (int, error) {
	if s.b[i] != '"' {
		return i, unexpected(s.b, i, "a member name in double quotes")
	}
	end, err := s.text(i)
	if err != nil {
		return i, err
	}
	if s.depth == 1 {
		if bytes.IndexByte(s.b[i:end], '\\') >= 0 && !json.Valid(bytes.Clone(s.b[i:end])) {
			return i, &Error{i, "invalid escape in a member name"}
		}
		if s.member = s.wanted(s.b[i:end]); s.member >= 0 && s.found[s.member].Found() {
			return i, &DuplicateError{strings.Clone(s.names[s.member]), i}
		}
	}
	if i = skipSpace(s.b, end); i == len(s.b) || s.b[i] != ':' {
		return i, unexpected(s.b, i, "':'")
	}
	return i + 1, nil
}

// wanted returns the index of the name that the quoted key stands for, or -1.
func (s *scanner) wanted(quoted []byte) int {
	key := quoted[1 : len(quoted)-1]
	for _, c := range key {
		if c == '\\' {
			var decoded string
			// Clones, here and in errors, keep the scanner off the heap.
			if json.Unmarshal(bytes.Clone(quoted), &decoded) != nil {
				return -1
			}
			key = []byte(decoded)
			break
		}
	}
	for n, name := range s.names {
		if string(key) == name {
			return n
		}
	}
	return -1
}

// scalar returns the index behind the string, number or literal at i.
func (s *scanner) scalar(i int) (int, error) {
	switch c := s.b[i]; {
	case c == '"':
		return s.text(i)
	case c == '-' || c >= '0' && c <= '9':
		return number(s.b, i)
	case c == 't':
		return literal(s.b, i, "true")
	case c == 'f':
		return literal(s.b, i, "false")
	case c == 'n':
		return literal(s.b, i, "null")
	default:
		return i, unexpected(s.b, i, "a value")
	}
}

// text returns the index behind the closing quote of the string at i. It jumps
// from quote to quote with the vector instructions of bytes.IndexByte, for in a
// long prompt these are the bytes that cost; a quote is part of the string if an
// odd number of backslashes stands before it. What else stands between quotes is
// not looked at.
func (s *scanner) text(i int) (int, error) {
	for quote := i + 1; ; quote++ {
		n := bytes.IndexByte(s.b[quote:], '"')
		if n < 0 {
			return i, &Error{i, "string has no end"}
		}
		quote += n
		escapes := quote
		for s.b[escapes-1] == '\\' { // ends at the opening quote
			escapes--
		}
		if (quote-escapes)%2 == 0 {
			if end := quote + 1; end-i > s.longest.End-s.longest.Start {
				s.longest = Value{i, end}
			}
			return quote + 1, nil
		}
	}
}

// number returns the index behind the number at i, by the grammar of RFC 8259.
func number(b []byte, i int) (int, error) {
	start := i
	if b[i] == '-' {
		i++
	}
	n := digits(b, i)
	if n == i || b[i] == '0' && n > i+1 {
		return start, &Error{start, "invalid number"}
	}
	i = n
	if i < len(b) && b[i] == '.' {
		if n = digits(b, i+1); n == i+1 {
			return start, &Error{start, "invalid number"}
		}
		i = n
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if n = digits(b, i); n == i {
			return start, &Error{start, "invalid number"}
		}
		i = n
	}
	return i, nil
}

func digits(b []byte, i int) int {
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return i
}

func literal(b []byte, i int, want string) (int, error) {
	if len(b)-i < len(want) || string(b[i:i+len(want)]) != want {
		return i, unexpected(b, i, "a value")
	}
	return i + len(want), nil
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// unexpected names the character at i, which is never more than one: the text
// may be a user's prompt.
func unexpected(b []byte, i int, want string) error {
	switch {
	case i >= len(b):
		return &Error{i, "text ends too early, want " + want}
	case b[i] < 0x20 || b[i] >= 0x7f:
		return &Error{i, fmt.Sprintf("got byte %#02x, want %s", b[i], want)}
	default:
		return &Error{i, fmt.Sprintf("got %q, want %s", rune(b[i]), want)}
	}
}
