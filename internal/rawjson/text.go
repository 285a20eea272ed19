package rawjson

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// AppendText appends the decoded string that value holds to dst. It reports false
// if value is no string or not a valid one; what was decoded of it is then the
// best guess: an unknown escape stands for the character behind its backslash, a
// raw control character for itself.
func AppendText(dst, value []byte) ([]byte, bool) {
	n := len(value)
	if n < 2 || value[0] != '"' || value[n-1] != '"' {
		return dst, false
	}
	return AppendUnescaped(dst, value[1:n-1])
}

// AppendLoose is [AppendText] for a text that is written as JSON again. It leaves
// bytes that are no UTF-8 to [AppendEscaped] and is several times as fast: between
// two escapes nothing is looked at.
func AppendLoose(dst, value []byte) []byte {
	n := len(value)
	if n < 2 || value[0] != '"' || value[n-1] != '"' {
		return dst
	}
	for s := value[1 : n-1]; ; {
		run := bytes.IndexByte(s, '\\')
		if run < 0 {
			return append(dst, s...)
		}
		dst = append(dst, s[:run]...)
		s = s[run:]
		if len(s) > 1 && simple[s[1]] != 0 {
			dst, s = append(dst, simple[s[1]]), s[2:]
			continue
		}
		r, size, _ := escape(s)
		dst, s = utf8.AppendRune(dst, r), s[size:]
	}
}

// Text returns the decoded string that value holds, empty if it holds none. Words that
// nearly every request and answer has cost no allocation.
func Text(value []byte) string {
	if len(value) < 3 {
		return ""
	}
	switch string(value) {
	case `"user"`:
		return "user"
	case `"assistant"`:
		return "assistant"
	case `"system"`:
		return "system"
	case `"tool"`:
		return "tool"
	case `"text"`:
		return "text"
	case `"stop"`:
		return "stop"
	}
	text, _ := AppendText(make([]byte, 0, len(value)), value)
	return unsafe.String(unsafe.SliceData(text), len(text)) //nolint:gosec // nobody else has text
}

// AppendUnescaped is [AppendText] for a string without its quotes. A quote in s
// makes it invalid.
func AppendUnescaped(dst, s []byte) ([]byte, bool) {
	valid := true
	for {
		n := plain(s)
		dst = append(dst, s[:n]...)
		if s = s[n:]; len(s) == 0 {
			return dst, valid
		}
		switch c := s[0]; {
		case c == '\\':
			if len(s) > 1 && simple[s[1]] != 0 {
				dst, s = append(dst, simple[s[1]]), s[2:]
				continue
			}
			r, size, ok := escape(s)
			valid = valid && ok
			dst, s = utf8.AppendRune(dst, r), s[size:]
		case c < utf8.RuneSelf:
			valid = false
			dst, s = append(dst, c), s[1:]
		default:
			if n = wide(s); n == 0 {
				dst, s = append(dst, "\uFFFD"...), s[1:]
				continue
			}
			dst, s = append(dst, s[:n]...), s[n:]
		}
	}
}

// simple are the characters that escapes of one letter stand for.
var simple = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// wide returns how many bytes of valid UTF-8 beyond ASCII s begins with.
func wide(s []byte) int {
	n := 0
	for n < len(s) && s[n] >= utf8.RuneSelf {
		_, size := utf8.DecodeRune(s[n:])
		if size == 1 {
			break
		}
		n += size
	}
	return n
}

// escape decodes the escape sequence that s begins with, of those that are not
// simple, and returns its length.
func escape(s []byte) (r rune, size int, ok bool) {
	if len(s) < 2 {
		return '\\', len(s), false
	}
	if s[1] == 'u' {
		r, ok := hex4(s)
		if !ok {
			return 'u', 2, false
		}
		if !utf16.IsSurrogate(r) {
			return r, 6, true
		}
		if low, ok := hex4(s[6:]); ok {
			if joined := utf16.DecodeRune(r, low); joined != utf8.RuneError {
				return joined, 12, true
			}
		}
		return utf8.RuneError, 6, true
	}
	r, size = utf8.DecodeRune(s[1:])
	return r, 1 + size, false
}

// hex4 reads a \uXXXX escape.
func hex4(s []byte) (rune, bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range s[2:6] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// plain returns the length of the longest beginning of s that stands for itself
// in a JSON string: ASCII but quotes, backslashes and control characters. It
// looks at eight bytes at a time, for long prompts consist of such.
func plain(s []byte) int {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+16 <= len(s); i += 16 {
		v, w := binary.LittleEndian.Uint64(s[i:]), binary.LittleEndian.Uint64(s[i+8:])
		vq, vs, wq, ws := v^(ones*'"'), v^(ones*'\\'), w^(ones*'"'), w^(ones*'\\')
		// As below, for two at once.
		if (v|(v-ones*0x20)|(vq-ones)|(vs-ones)|w|(w-ones*0x20)|(wq-ones)|(ws-ones))&high != 0 {
			break
		}
	}
	for ; i+8 <= len(s); i += 8 {
		w := binary.LittleEndian.Uint64(s[i:])
		quote, slash := w^(ones*'"'), w^(ones*'\\')
		// A byte's high bit is set in one of the terms if the byte is below 0x20, a
		// quote, a backslash, or beyond ASCII. A borrow sets it only behind such a byte,
		// so the lowest one is right.
		if special := (w | (w - ones*0x20) | (quote - ones) | (slash - ones)) & high; special != 0 {
			return i + bits.TrailingZeros64(special)/8
		}
	}
	for i < len(s) && s[i] >= 0x20 && s[i] < utf8.RuneSelf && s[i] != '"' && s[i] != '\\' {
		i++
	}
	return i
}

// AppendString appends text to dst as a JSON string with its quotes.
func AppendString(dst, text []byte) []byte {
	dst = append(dst, '"')
	dst = AppendEscaped(dst, text)
	return append(dst, '"')
}

// AppendEscaped appends text to dst as the inside of a JSON string, in the
// canonical form.
func AppendEscaped(dst, s []byte) []byte {
	for {
		n := plain(s)
		dst = append(dst, s[:n]...)
		if s = s[n:]; len(s) == 0 {
			return dst
		}
		if s[0] < utf8.RuneSelf {
			dst, s = appendEscape(dst, s[0]), s[1:]
			continue
		}
		dst, s = appendWide(dst, s)
	}
}

// appendWide appends what s begins with beyond ASCII and returns the rest.
func appendWide(dst, s []byte) (_, rest []byte) {
	n := 0
	for n < len(s) && s[n] >= utf8.RuneSelf {
		r, size := utf8.DecodeRune(s[n:])
		if size == 1 || r == '\u2028' || r == '\u2029' {
			dst = append(dst, s[:n]...)
			switch s = s[n:]; {
			case size == 1:
				dst = append(dst, "\uFFFD"...)
			case r == '\u2028':
				dst = append(dst, `\u2028`...)
			default:
				dst = append(dst, `\u2029`...)
			}
			return dst, s[size:]
		}
		n += size
	}
	return append(dst, s[:n]...), s[n:]
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	}
	const digits = "0123456789abcdef"
	return append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
}

// AppendCompact appends value to dst in the canonical form. Edit, if not nil, may
// change the decoded text of every string that is a value; it returns the text to
// write. Names of members are never given to it.
func AppendCompact(dst, value []byte, edit func([]byte) []byte) []byte {
	var text []byte
	for i := 0; i < len(value); {
		c := value[i]
		if isSpace(c) {
			i++
			continue
		}
		if c != '"' {
			dst = append(dst, c)
			i++
			continue
		}
		end := skipString(value, i)
		if end < 0 {
			return dst
		}
		inside := value[i+1 : end-1]
		if edit != nil {
			if next := skipSpace(value, end); next == len(value) || value[next] != ':' {
				text, _ = AppendUnescaped(text[:0], inside)
				dst = AppendString(dst, edit(text))
				i = end
				continue
			}
		}
		dst = append(AppendRecoded(append(dst, '"'), inside), '"')
		i = end
	}
	return dst
}
