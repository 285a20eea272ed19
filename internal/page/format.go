package page

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// none stands where there is no value.
const none = "–"

// integer writes n with its digits in groups of three, as both languages do.
func integer(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "−", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// rate writes x with three digits at most behind the first that is not zero: 0.04,
// 1.5, 12.4, 1,234.
func rate(x float64) string {
	switch {
	case math.IsNaN(x) || math.IsInf(x, 0):
		return none
	case x == 0:
		return "0"
	case math.Abs(x) < 1:
		return strconv.FormatFloat(x, 'f', 2, 64)
	case math.Abs(x) < 99.95:
		return strconv.FormatFloat(x, 'f', 1, 64)
	default:
		return integer(int64(math.Round(x)))
	}
}

// percent writes a share from 0 to 1.
func percent(share float64) string {
	switch {
	case math.IsNaN(share) || math.IsInf(share, 0):
		return none
	case share == 0:
		return "0%"
	case share < 0.001:
		return "<0.1%"
	case share >= 0.9995:
		return "100%"
	default:
		return strconv.FormatFloat(share*100, 'f', 1, 64) + "%"
	}
}

// milliseconds writes a time without its unit, which the column's head tells.
func milliseconds(x float64) string {
	if x < 10 {
		return rate(x)
	}
	return integer(int64(math.Round(x)))
}

// size writes bytes in decimal units, as disks are sold.
func size(n int64) string {
	x, unit := float64(n), "B"
	for _, next := range []string{"kB", "MB", "GB", "TB", "PB"} {
		if x < 1000 {
			break
		}
		x, unit = x/1000, next
	}
	if x >= 99.95 || unit == "B" {
		return fmt.Sprintf("%.0f %s", x, unit)
	}
	return fmt.Sprintf("%.1f %s", x, unit)
}

// span writes how long something takes, in its two largest units.
func (l Language) span(d time.Duration) string {
	switch s := int64(math.Ceil(d.Seconds())); {
	case s < 60:
		return l.text("unit.seconds", max(s, 0))
	case s < 3600:
		return l.text("unit.minutes", s/60)
	case s < 24*3600:
		return l.text("unit.hours", s/3600, s/60%60)
	default:
		return l.text("unit.days", s/86400, s/3600%24)
	}
}

// took writes how long something took that is given in milliseconds.
func (l Language) took(ms int64) string {
	switch {
	case ms < 1000:
		return l.text("unit.ms", integer(ms))
	case ms < 100_000:
		return l.text("unit.tenths", rate(float64(ms)/1000))
	default:
		return l.span(time.Duration(ms) * time.Millisecond)
	}
}

// moment writes a time of this year's days, in UTC; the script puts the viewer's own zone there.
func (l Language) moment(t time.Time) string {
	if t.IsZero() {
		return none
	}
	if l == Chinese {
		return t.UTC().Format("1月2日 15:04:05 UTC")
	}
	return t.UTC().Format("Jan 2, 15:04:05 UTC")
}

// longest bounds what is shown of a name or a message, in characters.
const longest = 300

// clean makes a text from elsewhere fit to be shown: control characters and those
// that turn the direction of writing are shown by their number, for they could make
// a name look like another; of what is very long the beginning stays. Escaping for
// HTML is the template's business.
func clean(s string) string {
	return strings.NewReplacer("\n", " ", "\t", " ").Replace(harmless(s, longest))
}

// harmless is clean for texts of many lines; of more than so many characters the
// beginning stays.
func harmless(s string, most int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > most {
			b.WriteString("…")
			break
		}
		switch {
		case r == '\n' || r == '\t':
			b.WriteRune(r)
		case r == '\u200c' || r == '\u200d': // joiners, which scripts and emoji need
			b.WriteRune(r)
		case unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029':
			fmt.Fprintf(&b, "\\u%04x", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
