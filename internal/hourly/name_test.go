package hourly

import (
	"testing"
	"time"
)

func TestParseName(t *testing.T) {
	f := func(name string, want Name, wantOK bool) {
		t.Helper()
		got, ok := ParseName(name)
		if ok != wantOK || ok && got != want {
			t.Errorf("ParseName(%q): got %+v, %v; want %+v, %v", name, got, ok, want, wantOK)
		}
	}
	f("20260314_15.jsonl", Name{2026031415, "", 1, ".jsonl"}, true)
	f("20260314_15.audio+image-12.jsonl", Name{2026031415, ".audio+image", 12, ".jsonl"}, true)
	f("20240229_00-2.log", Name{2024022900, "", 2, ".log"}, true)
	for _, name := range []string{
		"", "20260314_15", "20260314_15.", "20260314_24.jsonl", "20260229_00.jsonl", "20261314_00.jsonl",
		"20260314-15.jsonl", "20260314_15-1.jsonl", "20260314_15-02.jsonl", "20260314_15-.jsonl", "20260314_15-2-3.jsonl",
		"20260314_15.jsonl.gz~", "20260314_15.jsonl.bak", "20260314_15.txt", "20260314_15.JSONL", "20260314_15image.jsonl", "20260314_15..jsonl", "+0260314_15.jsonl",
		"20260314_15.jsonl\n", "20260314_15./x.jsonl", "a20260314_15.jsonl", "20260314_15.image2.jsonl",
	} {
		f(name, Name{}, false)
	}
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"20260314_15.jsonl", "20260314_15.audio+image-12.jsonl", "20260314_15-1.jsonl", "00010101_00.log"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, ok := ParseName(s); ok && n.String() != s {
			t.Errorf("ParseName(%q) is %+v, whose String is %q", s, n, n)
		}
		if hour, ok := tornHour(s); ok && hour == 0 {
			t.Errorf("tornHour(%q): got hour 0", s)
		}
	})
}

func TestSeriesValid(t *testing.T) {
	f := func(s Series, want bool) {
		t.Helper()
		if got := s.valid(); got != want {
			t.Errorf("%+v.valid(): got %v, want %v", s, got, want)
		}
	}
	f(Series{"requests_responses", "", ".jsonl"}, true)
	f(Series{"requests_responses_media", ".audio+image", ".jsonl"}, true)
	f(Series{"errors", "", ".log"}, true)
	f(Series{"", "", ".log"}, false)
	f(Series{"..", "", ".log"}, false)
	f(Series{"a/b", "", ".log"}, false)
	f(Series{"torn", "", ".log"}, false)
	f(Series{"errors_compressed", "", ".log"}, false)
	f(Series{"errors", "/x", ".log"}, false)
	f(Series{"errors", "-2", ".log"}, false)
	f(Series{"errors", "", "log"}, false)
	f(Series{"errors", "", "."}, false)
}

// M15: the hour is that of the clock's fields, also where the offset is no whole hour.
func TestM15HourOf(t *testing.T) {
	f := func(zone, at string, want Hour) {
		t.Helper()
		in := location(t, zone)
		instant, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := HourOf(instant, in); got != want {
			t.Errorf("HourOf(%s, %s): got %d, want %d", at, zone, got, want)
		}
		if back := HourOf(want.Start(in), in); back != want {
			t.Errorf("hour %d of %s starts in hour %d", want, zone, back)
		}
	}
	f("Asia/Kathmandu", "2026-03-14T09:14:59Z", 2026031414) // 14:59:59
	f("Asia/Kathmandu", "2026-03-14T09:15:00Z", 2026031415)
	f("UTC", "2026-12-31T23:59:59.999999999Z", 2026123123)
	f("America/New_York", "2026-11-01T05:30:00Z", 2026110101) // 01:30 of summer
	f("America/New_York", "2026-11-01T06:30:00Z", 2026110101) // 01:30 of winter
	f("America/New_York", "2026-03-08T07:00:00Z", 2026030803) // there is no 02
}

func location(t testing.TB, zone string) *time.Location {
	t.Helper()
	in, err := time.LoadLocation(zone)
	if err != nil {
		t.Skipf("no time zone data here: %v", err)
	}
	return in
}
