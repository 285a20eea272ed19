package hourly

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// D8, D9: lines at the boundary of an hour, at 500 a second.
func TestD9HourBoundary(t *testing.T) {
	r := newRig(t, Options{})
	r.now = time.Date(2026, 3, 14, 15, 59, 58, 0, time.UTC)
	for range 2000 {
		r.add(main, 500)
		r.pass(2 * time.Millisecond)
		if r.n%100 == 0 { // one that overtook others in the queue
			r.now = r.now.Add(-3 * time.Millisecond)
			r.add(main, 500)
			r.now = r.now.Add(3 * time.Millisecond)
		}
		old := r.d.names["/data/main/20260314_15.jsonl"]
		if r.now.Minute() == 0 && (old.synced != len(old.data) || old.owner != nil) {
			t.Fatalf("at %v the old hour's file is not synced and closed", r.now)
		}
	}
	r.pass(time.Second)
	if got := len(r.lines("main")); got != r.n {
		t.Errorf("lines: got %d, want %d", got, r.n)
	}
	r.wantNames("main", "20260314_15.jsonl", "20260314_16.jsonl")
	if old := strings.Count(r.d.files("/data/main")["20260314_15.jsonl"], "\n"); old < 1000 || old > 1020 {
		t.Errorf("lines in the old hour: got %d, want about 1010", old)
	}
	// D8: without any line the file of the hour is closed when the hour ends.
	r.pass(time.Hour)
	if r.d.names["/data/main/20260314_16.jsonl"].owner != nil {
		t.Error("the file is still open in the next hour")
	}
	r.wantCounts(map[Kind]int{})
}

// A line that others overtook does not open a finished hour again, nor does a clock
// that is set back by as little: older files are never written after their close.
func TestD8LateLine(t *testing.T) {
	r := newRig(t, Options{})
	r.now = time.Date(2026, 3, 14, 15, 59, 59, 0, time.UTC)
	r.add(main, 10)
	r.pass(2 * time.Second)
	closed := r.d.files("/data/main")["20260314_15.jsonl"]
	for _, late := range []time.Duration{2 * time.Second, 9 * time.Minute} {
		r.now = r.now.Add(-late)
		r.add(main, 10)
		r.pass(time.Second)
		r.now = r.now.Add(late)
	}
	r.w.Close(r.now)
	files := r.d.files("/data/main")
	if files["20260314_15.jsonl"] != closed || strings.Count(files["20260314_16.jsonl"], "\n") != 2 {
		t.Errorf("files: got %q, want both late lines in hour 16", files)
	}
}

// T1: the clock is set, by little or much. Files follow it and lose nothing.
func TestT1ClockJumps(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour, -365 * 24 * time.Hour, 365 * 24 * time.Hour, -20 * time.Second, -5 * time.Minute} {
		t.Run(jump.String(), func(t *testing.T) {
			r := newRig(t, Options{})
			for range 100 {
				r.add(main, 100)
				r.pass(50 * time.Millisecond)
			}
			before := r.d.files("/data/main")
			r.now = r.now.Add(jump)
			for range 100 {
				r.add(main, 100)
				r.pass(50 * time.Millisecond)
			}
			r.pass(time.Second)
			r.now = r.now.Add(-jump)
			r.add(main, 100)
			r.pass(time.Second)
			if got := len(r.lines("main")); got != 201 {
				t.Errorf("lines: got %d, want 201", got)
			}
			after := r.d.files("/data/main")
			for name, data := range before {
				if !strings.HasPrefix(after[name], data) {
					t.Errorf("%s does not begin with what it had before", name)
				}
			}
			want := []string{"20260314_15.jsonl"}
			if other := r.now.Add(jump); HourOf(other, time.UTC) != HourOf(r.now, time.UTC) {
				want = append(want, Name{HourOf(other, time.UTC), "", 1, ".jsonl"}.String())
				slices.Sort(want)
			}
			r.wantNames("main", want...)
		})
	}
}

// A line is written within 500 ms and synced within 1 s also when the clock went
// back and its readings are all there is.
func TestT1BackwardsIsNotForever(t *testing.T) {
	r := newRig(t, Options{})
	r.add(main, 10)
	r.now = r.now.Add(-5 * time.Minute)
	r.add(main, 10)
	r.pass(time.Second)
	if got := len(r.lines("main")); got != 2 {
		t.Errorf("lines 1 s after the clock went back: got %d, want 2", got)
	}
}

// T2: a day's names where clocks change.
func TestT2SummerTime(t *testing.T) {
	f := func(zone, from string, hours, wantNames int) {
		t.Helper()
		r := newRig(t, Options{Location: location(t, zone)})
		start, err := time.Parse(time.RFC3339, from)
		if err != nil {
			t.Fatal(err)
		}
		for r.now = start; r.now.Before(start.Add(time.Duration(hours) * time.Hour)); {
			r.add(main, 10)
			r.pass(10 * time.Minute)
		}
		r.w.Close(r.now)
		if got := len(r.names("main")); got != wantNames {
			t.Errorf("%s from %s for %d h: got %d files, want %d: %q", zone, from, hours, got, wantNames, r.names("main"))
		}
		if got := len(r.lines("main")); got != hours*6 {
			t.Errorf("%s from %s: got %d lines, want %d", zone, from, got, hours*6)
		}
		for name, data := range r.d.files("/data/main") {
			if n := strings.Count(data, "\n"); n%3 != 0 || n > 12 {
				t.Errorf("%s: %s has %d lines", zone, name, n)
			}
		}
	}
	f("UTC", "2026-11-01T00:00:00Z", 24, 24)
	f("America/New_York", "2026-11-01T04:00:00Z", 25, 24) // 01 comes twice
	f("America/New_York", "2026-03-08T05:00:00Z", 23, 23) // 02 never comes
	f("Asia/Kathmandu", "2026-03-13T18:15:00Z", 24, 24)
	f("Australia/Lord_Howe", "2026-04-04T13:00:00Z", 24, 24) // half an hour comes twice
	f("UTC", "2016-12-31T12:00:00Z", 24, 24)                 // with a leap second
}
