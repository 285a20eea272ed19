package page

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestNumbers(t *testing.T) {
	f := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(integer(0), "0")
	f(integer(999), "999")
	f(integer(1000), "1,000")
	f(integer(-1234567), "−1,234,567")
	f(integer(math.MinInt64), "−9,223,372,036,854,775,808")
	f(rate(0), "0")
	f(rate(0.042), "0.04")
	f(rate(9.96), "10.0")
	f(rate(99.94), "99.9")
	f(rate(99.96), "100")
	f(rate(1234.4), "1,234")
	f(rate(math.NaN()), none)
	f(rate(math.Inf(1)), none)
	f(percent(0), "0%")
	f(percent(0.0004), "<0.1%")
	f(percent(0.004), "0.4%")
	f(percent(0.9996), "100%")
	f(percent(math.NaN()), none)
	f(milliseconds(4.21), "4.2")
	f(milliseconds(94213), "94,213")
	f(size(0), "0 B")
	f(size(999), "999 B")
	f(size(1500), "1.5 kB")
	f(size(412_300_000_000), "412 GB")
	f(English.span(0), "0\u00a0s")
	f(English.span(-time.Second), "0\u00a0s")
	f(English.span(300*time.Millisecond), "1\u00a0s")
	f(English.span(61*time.Second), "1\u00a0min")
	f(English.span(2*time.Hour+5*time.Minute), "2\u00a0h 5\u00a0min")
	f(Chinese.span(77*time.Hour), "3 天 5 小时")
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.FixedZone("", 3600))
	f(English.moment(at), "Mar 4, 04:06:07 UTC")
	f(Chinese.moment(at), "3月4日 04:06:07 UTC")
	f(English.moment(time.Time{}), none)
}

func TestClean(t *testing.T) {
	f := func(s, want string) {
		t.Helper()
		if got := clean(s); got != want {
			t.Errorf("clean(%q): got %q, want %q", s, got, want)
		}
	}
	f("gpu-01", "gpu-01")
	f("模型 é 👩‍🚀", "模型 é 👩‍🚀")
	f("a\u202eb\u2066c\u200bd\ufeff", `a\u202eb\u2066c\u200bd\ufeff`)
	f("a\x00b\x1b[31m\r\nc\td", `a\u0000b\u001b[31m\u000d c d`)
	f("\u2028", `\u2028`)
	f("a\xffb", "a\ufffdb")
	f(strings.Repeat("é", longest), strings.Repeat("é", longest))
	f(strings.Repeat("é", longest+1), strings.Repeat("é", longest)+"…")
}
