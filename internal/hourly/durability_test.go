package hourly

import (
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// onDisk returns how many lines a loss of power would leave.
func (r *rig) onDisk() (n int) {
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	for _, node := range r.d.durable {
		n += strings.Count(string(node.data[:node.synced]), "\n")
	}
	return n
}

// addWell hands over n lines, which are taken.
func (r *rig) addWell(n int) {
	r.t.Helper()
	for range n {
		if err := r.add(main, 100); err != nil {
			r.t.Fatal(err)
		}
	}
}

// TestSyncBeside guards that lines are written while an fsync is under way, of which there
// is one at a time; that it counts for no line that came after it had begun; and that the
// next one begins for these no later than it would have.
func TestSyncBeside(t *testing.T) {
	r := newRig(t, Options{})
	r.d.later = true
	r.addWell(3)
	r.pass(syncAfter)
	if r.onDisk() != 0 || len(r.d.running) != 1 {
		t.Fatalf("%d lines on the disk and %d fsyncs under way, want 0 and 1", r.onDisk(), len(r.d.running))
	}
	r.addWell(4)
	r.pass(3 * syncAfter)
	if got := len(r.lines("main")); got != 7 || len(r.d.running) != 1 {
		t.Fatalf("%d lines written and %d fsyncs under way, want 7 and 1", got, len(r.d.running))
	}
	r.d.end()
	if r.onDisk() != 3 {
		t.Fatalf("%d lines on the disk, want 3", r.onDisk())
	}
	r.pass(lookAgain)
	if r.d.end() != 1 || r.onDisk() != 7 {
		t.Fatalf("%d lines on the disk after another fsync, want 7", r.onDisk())
	}
	r.pass(lookAgain)
	if next := r.w.Next(); next.Before(r.now.Add(time.Minute)) {
		t.Errorf("next at %v, with nothing to do before the hour ends", next.Sub(r.now))
	}
	r.w.Close(r.now)
	if r.d.end() != 0 || len(r.events) != 0 {
		t.Errorf("got events %v, want none", r.events)
	}
}

// TestSyncBesideFails guards that all lines are told of that a failed fsync leaves in
// doubt, those as well that were written beside it, and that the file is given up.
func TestSyncBesideFails(t *testing.T) {
	r := newRig(t, Options{})
	r.d.later = true
	r.addWell(3)
	r.pass(syncAfter)
	r.addWell(4)
	r.pass(flushAfter)
	r.d.failing(syscall.EIO, "sync")
	r.d.end()
	r.pass(lookAgain)
	if n := slices.IndexFunc(r.events, func(e Event) bool { return e.Kind == Unsynced }); n < 0 || r.events[n].Lines != 7 {
		t.Fatalf("got events %v, want 7 lines unsynced", r.events)
	}
	r.d.failing(nil)
	r.pass(2 * retryAfter)
	r.addWell(2)
	r.pass(2 * syncAfter)
	r.d.end()
	r.pass(lookAgain)
	if names := slices.Sorted(maps.Keys(r.d.files("/data/main"))); len(names) != 2 || r.onDisk() != 2 || r.count(Resumed) != 1 {
		t.Errorf("got files %q, %d lines on the disk, events %v; want 2, 2 and one resumed", names, r.onDisk(), r.events)
	}
	r.w.Close(r.now)
}

// TestStartSync guards that the disk is set to work every few MB, but not beside an
// fsync, for which it would wait.
func TestStartSync(t *testing.T) {
	r := newRig(t, Options{})
	r.d.later = true
	write := func(wantStarts int) {
		t.Helper()
		for range startSize / joinMax {
			if err := r.add(main, joinMax); err != nil {
				t.Fatal(err)
			}
		}
		if r.d.starts != wantStarts {
			t.Fatalf("the disk was set to work %d times, want %d", r.d.starts, wantStarts)
		}
	}
	write(1)
	write(2)
	r.pass(syncAfter)
	write(2)
	write(2)
	r.d.end()
	write(3)
}

// TestSyncBesideClose guards that closing waits for the fsync under way, and makes
// durable what came after it had begun.
func TestSyncBesideClose(t *testing.T) {
	for _, hour := range []bool{false, true} {
		r := newRig(t, Options{})
		r.d.later = true
		r.addWell(3)
		r.pass(syncAfter)
		r.addWell(4)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if hour {
				r.w.Tick(r.now.Add(time.Hour))
			} else {
				r.w.Close(r.now)
			}
		}()
		r.d.end()
		<-ended
		if r.onDisk() != 7 || len(r.events) != 0 {
			t.Errorf("%d lines on the disk, events %v; want 7 and none", r.onDisk(), r.events)
		}
	}
}
