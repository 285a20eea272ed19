package json5

import (
	"math"
	"strconv"
	"strings"
)

func isLiteral(word []byte) bool {
	switch string(word) {
	case "true", "false", "null":
		return true
	}
	return false
}

// isSpecial reports whether word is Infinity or NaN, with or without sign:
// JSON5 has them, but no member of a configuration means one.
func isSpecial(word []byte) bool {
	switch string(word) {
	case "Infinity", "+Infinity", "-Infinity", "NaN", "+NaN", "-NaN":
		return true
	}
	return false
}

// looksNumeric reports whether word is a number or a failed attempt at one.
func looksNumeric(word []byte) bool {
	return strings.IndexByte("+-.0123456789", word[0]) >= 0
}

// A numeral is a JSON5 number taken apart: digits × 10^exponent, or hex digits.
type numeral struct {
	negative bool
	hex      string
	digits   string // without decimal point
	exponent int
}

// isNumber reports whether word is a JSON5 number other than Infinity and NaN.
// The second library cannot be asked alone: it passes ".", ".e1" and "+..5".
func isNumber(word []byte) bool {
	_, ok := parseNumber(string(word))
	return ok
}

func parseNumber(s string) (n numeral, ok bool) {
	if s != "" && (s[0] == '+' || s[0] == '-') {
		n.negative = s[0] == '-'
		s = s[1:]
	}
	if len(s) > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') {
		n.hex = s[2:]
		return n, isHex([]byte(n.hex), 0, len(n.hex))
	}
	whole, s := cutDigits(s)
	var fraction string
	if strings.HasPrefix(s, ".") {
		fraction, s = cutDigits(s[1:])
	}
	n.digits = whole + fraction
	if n.digits == "" || len(whole) > 1 && whole[0] == '0' {
		return n, false
	}
	if s != "" {
		if s[0] != 'e' && s[0] != 'E' {
			return n, false
		}
		unsigned := strings.TrimPrefix(s[1:], "-")
		if unsigned == s[1:] {
			unsigned = strings.TrimPrefix(unsigned, "+")
		}
		if digits, rest := cutDigits(unsigned); digits == "" || rest != "" {
			return n, false
		}
		// Atoi of a huge exponent returns the nearest int; a quarter of it
		// means the same here and leaves room for sums.
		n.exponent, _ = strconv.Atoi(s[1:])
		n.exponent = max(min(n.exponent, math.MaxInt/4), math.MinInt/4)
	}
	n.exponent -= len(fraction)
	return n, true
}

func cutDigits(s string) (digits, rest string) {
	i := 0
	for i < len(s) && '0' <= s[i] && s[i] <= '9' {
		i++
	}
	return s[:i], s[i:]
}

// magnitude returns the absolute value of a whole number, exactly. For one
// with a fraction whole is false, for one beyond 64 bits fits is.
func (n numeral) magnitude() (u uint64, whole, fits bool) {
	if n.hex != "" {
		u, err := strconv.ParseUint(n.hex, 16, 64)
		return u, true, err == nil
	}
	digits := strings.TrimLeft(strings.TrimRight(n.digits, "0"), "0")
	if digits == "" {
		return 0, true, true
	}
	exponent := n.exponent + len(n.digits) - len(strings.TrimRight(n.digits, "0"))
	if exponent < 0 {
		return 0, false, false
	}
	if exponent > 20 || len(digits) > 20 {
		return 0, true, false
	}
	u, err := strconv.ParseUint(digits+strings.Repeat("0", exponent), 10, 64)
	return u, true, err == nil
}

// signed returns the value of a whole number that fits into 64 bits.
func (n numeral) signed() (i int64, whole, fits bool) {
	u, whole, fits := n.magnitude()
	switch {
	case !fits:
		return 0, whole, false
	case n.negative:
		return -int64(u), true, u <= 1<<63
	}
	return int64(u), true, u < 1<<63
}

// float returns the nearest float64, infinite for a number out of range.
func (n numeral) float() float64 {
	s := n.digits + "e" + strconv.Itoa(n.exponent)
	if n.hex != "" {
		s = "0x" + n.hex + "p0"
	}
	f, _ := strconv.ParseFloat(s, 64) // the only error is the range
	if n.negative {
		return -f
	}
	return f
}
