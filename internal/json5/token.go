package json5

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Sizes are in bytes, from the first of the given text, which is valid UTF-8.
// The grammar is that of https://spec.json5.org (1.0.0), sections 5 to 8.

// spaceSize returns the size of the white space character b begins with, or 0.
func spaceSize(b []byte) int {
	switch c := b[0]; {
	case c == ' ' || '\t' <= c && c <= '\r':
		return 1
	case c < utf8.RuneSelf:
		return 0
	}
	r, size := utf8.DecodeRune(b)
	if r == '\uFEFF' || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Zs, r) {
		return size
	}
	return 0
}

func startsComment(b []byte) bool {
	return len(b) > 1 && b[0] == '/' && (b[1] == '/' || b[1] == '*')
}

// commentSize returns the size of the comment b begins with. A line comment
// reaches up to its line end, which may be U+2028 or U+2029.
func commentSize(b []byte) (size int, closed bool) {
	if b[1] == '*' {
		i := bytes.Index(b[2:], []byte("*/"))
		return 2 + i + 2, i >= 0
	}
	for i := 2; i < len(b); i++ {
		if b[i] == '\n' || b[i] == '\r' || isSeparator(b[i:]) {
			return i, true
		}
	}
	return len(b), true
}

// isSeparator reports whether b begins with U+2028 or U+2029.
func isSeparator(b []byte) bool {
	return len(b) > 2 && b[0] == 0xE2 && b[1] == 0x80 && b[2]&^1 == 0xA8
}

// stringSize returns the size of the string b begins with, or what is wrong
// with it; then size is the offset of the bad escape, 0 for a string without
// end.
func stringSize(b []byte) (size int, fault string) {
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == b[0]:
			return i + 1, ""
		case c == '\n' || c == '\r':
			return 0, "string is not closed on its line"
		case c == '\\':
			n, fault := escapeSize(b[i:])
			if fault != "" {
				return i, fault
			}
			i += n - 1
		}
	}
	return 0, "string is not closed"
}

// escapeSize returns the size of the escape sequence b begins with. Of an
// escaped character beyond ASCII it counts the first byte: the others can be
// neither quote nor backslash.
func escapeSize(b []byte) (size int, fault string) {
	if len(b) < 2 {
		return 1, ""
	}
	switch c := b[1]; {
	case c == 'u':
		if !isHex(b, 2, 6) {
			return 0, `want four hexadecimal digits after \u, or \\ for a backslash`
		}
		return 6, ""
	case c == 'x':
		if !isHex(b, 2, 4) {
			return 0, `want two hexadecimal digits after \x, or \\ for a backslash`
		}
		return 4, ""
	case '1' <= c && c <= '9', c == '0' && len(b) > 2 && '0' <= b[2] && b[2] <= '9':
		return 0, `octal escapes are not allowed, want \x or \\ for a backslash`
	case c == '\r' && len(b) > 2 && b[2] == '\n':
		return 3, ""
	}
	return 2, ""
}

func isHex(b []byte, from, to int) bool {
	if len(b) < to {
		return false
	}
	for _, c := range b[from:to] {
		if !isHexDigit(c) {
			return false
		}
	}
	return true
}

func isHexDigit(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// unquote decodes a string that stringSize has accepted. Like encoding/json it
// turns half a surrogate pair into U+FFFD.
func unquote(token []byte) string {
	b := token[1 : len(token)-1]
	if bytes.IndexByte(b, '\\') < 0 {
		return string(b)
	}
	var out strings.Builder
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\\')
		if i < 0 {
			i = len(b)
		}
		out.Write(b[:i])
		if b = b[i:]; len(b) > 0 {
			b = b[unescape(&out, b):]
		}
	}
	return out.String()
}

// unescape writes what the escape sequence at the beginning of b stands for
// and returns its size.
func unescape(out *strings.Builder, b []byte) int {
	const letters, meanings = "bfnrtv0", "\b\f\n\r\t\v\x00"
	size, _ := escapeSize(b)
	switch c := b[1]; {
	case c == 'u':
		r := hexRune(b[2:6])
		if utf16.IsSurrogate(r) {
			low := rune(-1)
			if len(b) >= 12 && b[6] == '\\' && b[7] == 'u' && isHex(b, 8, 12) {
				low = hexRune(b[8:12])
			}
			if r = utf16.DecodeRune(r, low); r != unicode.ReplacementChar {
				size = 12
			}
		}
		out.WriteRune(r)
	case c == 'x':
		out.WriteRune(hexRune(b[2:4]))
	case c == '\n' || c == '\r':
	case isSeparator(b[1:]):
		size = 4
	default:
		if i := strings.IndexByte(letters, c); i >= 0 {
			c = meanings[i]
		}
		out.WriteByte(c) // of a longer character the caller copies the rest
	}
	return size
}

// hexRune decodes two or four hexadecimal digits.
func hexRune(digits []byte) rune {
	var b [2]byte
	_, _ = hex.Decode(b[2-len(digits)/2:], digits) // escapeSize has checked the digits
	return rune(binary.BigEndian.Uint16(b[:]))
}

// bareSize returns the size of the run without quotes b begins with.
func bareSize(b []byte) int {
	for i, c := range b {
		switch c {
		case '{', '}', '[', ']', ':', ',', '"', '\'':
			return i
		case '/':
			if startsComment(b[i:]) {
				return i
			}
		default:
			if spaceSize(b[i:]) > 0 {
				return i
			}
		}
	}
	return len(b)
}

// identifier decodes a member's name without quotes: an ECMAScript 5.1
// IdentifierName, in which \uXXXX stands for a character that is allowed there.
func identifier(word []byte) (name string, ok bool) {
	var out strings.Builder
	for i := 0; i < len(word); {
		r, size := utf8.DecodeRune(word[i:])
		if r == '\\' {
			if i+1 >= len(word) || word[i+1] != 'u' || !isHex(word[i:], 2, 6) {
				return "", false
			}
			r, size = hexRune(word[i+2:i+6]), 6
		}
		if !isIdentifierRune(r, i == 0) {
			return "", false
		}
		out.WriteRune(r)
		i += size
	}
	return out.String(), out.Len() > 0
}

func isIdentifierRune(r rune, first bool) bool {
	if r == '$' || r == '_' || unicode.In(r, unicode.L, unicode.Nl) {
		return true
	}
	return !first && (r == '\u200C' || r == '\u200D' || unicode.In(r, unicode.Mn, unicode.Mc, unicode.Nd, unicode.Pc))
}
