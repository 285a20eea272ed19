package rawjson

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf8"

	"github.com/segmentio/asm/ascii"
)

// AppendRecoded appends s, the inside of a JSON string, as the inside of one in the
// canonical form. What stands in it already, most of a long text, is copied as it is.
// S has no quote without a backslash, or it would have ended there.
func AppendRecoded(dst, s []byte) []byte {
	if plainly(s) {
		return append(dst, s...)
	}
	for len(s) > 0 {
		n := CanonicalLength(s)
		dst, s = RecodeNext(append(dst, s[:n]...), s[n:])
	}
	return dst
}

// RecodeNext appends what s begins with, which is not canonical, in the canonical form,
// and returns the rest. Of an empty s there is none.
func RecodeNext(dst, s []byte) (_, rest []byte) {
	switch {
	case len(s) == 0:
		return dst, s
	case s[0] == '\\':
		return appendEscaped(dst, s)
	case s[0] < utf8.RuneSelf:
		return appendEscape(dst, s[0]), s[1:]
	default:
		return appendWide(dst, s)
	}
}

// appendEscaped appends what the escapes stand for that s begins with, the first of
// which is not canonical, and returns the rest. Some clients escape all that is not
// ASCII: their texts are nothing else.
func appendEscaped(dst, s []byte) (_, rest []byte) {
	for {
		r, size := rune('/'), 2
		if len(s) < 2 || s[1] != '/' {
			r, size, _ = escape(s)
		}
		s = s[size:]
		if r >= utf8.RuneSelf && r != '\u2028' && r != '\u2029' {
			dst = utf8.AppendRune(dst, r)
		} else {
			var one [utf8.UTFMax]byte
			dst = AppendEscaped(dst, utf8.AppendRune(one[:0], r))
		}
		if len(s) < 2 || s[0] != '\\' || s[1] != 'u' {
			return dst, s
		}
	}
}

// Canonical reports whether s, the inside of a JSON string, is in the canonical form.
func Canonical(s []byte) bool { return plainly(s) || CanonicalLength(s) == len(s) }

// plainly reports whether s is in the canonical form and printable ASCII, which vector
// instructions tell.
func plainly(s []byte) bool {
	if !ascii.ValidPrint(s) {
		return false
	}
	for {
		at := bytes.IndexByte(s, '\\')
		if at < 0 {
			return true
		}
		if s = s[at+1:]; len(s) == 0 || !keptEscape(s[0]) {
			return false
		}
		s = s[1:]
	}
}

// keptEscape reports whether the canonical form has the escape of a backslash and c.
func keptEscape(c byte) bool { return simple[c] != 0 && c != '/' }

// CanonicalLength returns the length of the longest beginning of s, the inside of a JSON
// string, that is in the canonical form.
func CanonicalLength(s []byte) int {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for i := 0; ; {
		for ; i+16 <= len(s); i += 16 {
			v, w := binary.LittleEndian.Uint64(s[i:]), binary.LittleEndian.Uint64(s[i+8:])
			// As in plain, but for quotes: of those that are there, each has a backslash.
			first := v | (v - ones*0x20) | ((v ^ (ones * '\\')) - ones)
			second := w | (w - ones*0x20) | ((w ^ (ones * '\\')) - ones)
			if (first|second)&high == 0 {
				continue
			}
			if first &= high; first != 0 {
				i += bits.TrailingZeros64(first) / 8
			} else {
				i += 8 + bits.TrailingZeros64(second&high)/8
			}
			break
		}
		for i < len(s) && s[i] >= 0x20 && s[i] < utf8.RuneSelf && s[i] != '\\' { // the last few
			i++
		}
		if i == len(s) {
			return i
		}
		switch c := s[i]; {
		case c == '\\':
			if i+1 == len(s) || !keptEscape(s[i+1]) {
				return i
			}
			i += 2
		case c < utf8.RuneSelf:
			return i
		default:
			n := canonicalWide(s[i:])
			if n == 0 {
				return i
			}
			i += n
		}
	}
}

// canonicalWide returns how many bytes of runes beyond ASCII s begins with, but for
// those that the canonical form escapes. Nearly all those of three bytes, of which
// Chinese consists, are told without decoding them.
func canonicalWide(s []byte) int {
	n := 0
	for n < len(s) && s[n] >= utf8.RuneSelf {
		if c := s[n]; c > 0xe2 && c < 0xf0 && c != 0xed && n+2 < len(s) && s[n+1]&0xc0 == 0x80 && s[n+2]&0xc0 == 0x80 {
			n += 3
			continue
		}
		r, size := utf8.DecodeRune(s[n:])
		if size == 1 || r == '\u2028' || r == '\u2029' {
			break
		}
		n += size
	}
	return n
}
