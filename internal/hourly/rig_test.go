package hourly

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

var main = Series{"main", "", ".jsonl"}

// rig is a writer on a disk in memory, with a clock that only the test moves.
type rig struct {
	t      testing.TB
	d      *disk
	w      *Writer
	now    time.Time
	events []Event
	n      int             // lines handed over
	taken  map[string]bool // lines that Append took, without their line feed
	dropped,
	lost map[Reason]int // lines that Append refused, and that it took in vain
}

func newRig(t testing.TB, o Options) *rig {
	t.Helper()
	r := &rig{t: t, d: newDisk(), now: time.Date(2026, 3, 14, 15, 10, 0, 0, time.UTC), taken: map[string]bool{}}
	r.dropped, r.lost = map[Reason]int{}, map[Reason]int{}
	r.open(o)
	return r
}

func (r *rig) open(o Options) {
	o.Root, o.FS, o.Report = "/data", r.d, r.report
	if o.Location == nil {
		o.Location = time.UTC
	}
	r.w = New(o)
}

func (r *rig) report(e Event) {
	r.events = append(r.events, e)
	if e.Kind == Lost {
		r.lost[e.Err.Reason] += e.Lines
	}
}

// add hands over a line of about size bytes, every second one in three parts.
func (r *rig) add(s Series, size int) error {
	r.n++
	line := fmt.Sprintf(`{"n":%d,"x":"%s"}`, r.n, strings.Repeat("x", size))
	var err error
	if text := []byte(line + "\n"); r.n%2 == 0 {
		_, err = r.w.AppendParts(s, [][]byte{text[:5], text[5 : len(text)/2], text[len(text)/2:]}, r.now)
	} else {
		err = r.w.Append(s, text, r.now)
	}
	if e := (*Error)(nil); errors.As(err, &e) {
		r.dropped[e.Reason]++
		return err
	} else if err != nil {
		r.t.Fatalf("Append: got %T, want *Error", err)
	}
	r.taken[line] = true
	return nil
}

// pass lets time pass as a caller does: Tick is called when Next says.
func (r *rig) pass(d time.Duration) {
	for end := r.now.Add(d); ; {
		next := r.w.Next()
		if next.IsZero() || next.After(end) {
			r.now = end
			return
		}
		if next.After(r.now) {
			r.now = next
		}
		r.w.Tick(r.now)
		if after := r.w.Next(); !after.IsZero() && !after.After(r.now) {
			r.t.Fatalf("Next after Tick at %v: got %v, want later", r.now, after)
		}
	}
}

func (r *rig) count(k Kind) (n int) {
	for _, e := range r.events {
		if e.Kind == k {
			n++
		}
	}
	return n
}

// lines returns the lines of all files of a folder, and checks that each is whole,
// came from Append, and is there once.
func (r *rig) lines(folder string) map[string]bool {
	r.t.Helper()
	all := map[string]bool{}
	for name, data := range r.d.files("/data/" + folder) {
		if data != "" && !strings.HasSuffix(data, "\n") {
			r.t.Errorf("file %s ends in %q, want a line feed", name, data[max(0, len(data)-20):])
		}
		for line := range strings.Lines(data) {
			line = strings.TrimSuffix(line, "\n")
			if !r.taken[line] && len(line) < 100<<10 {
				r.t.Errorf("file %s has a line that was not taken: %.60q", name, line)
			}
			if all[line] {
				r.t.Errorf("file %s has a line again: %.60q", name, line)
			}
			all[line] = true
		}
	}
	return all
}

func (r *rig) names(folder string) []string {
	return slices.Sorted(maps.Keys(r.d.files("/data/" + folder)))
}

func (r *rig) wantNames(folder string, want ...string) {
	r.t.Helper()
	if got := r.names(folder); !slices.Equal(got, want) {
		r.t.Errorf("files in %s: got %q, want %q", folder, got, want)
	}
}

func (r *rig) wantCounts(want map[Kind]int) {
	r.t.Helper()
	got := map[Kind]int{}
	for _, e := range r.events {
		got[e.Kind]++
	}
	if !maps.Equal(got, want) {
		r.t.Errorf("events: got %v, want %v: %+v", got, want, r.events)
	}
}

func (r *rig) sum(m map[Reason]int) (n int) {
	for _, k := range m {
		n += k
	}
	return n
}
