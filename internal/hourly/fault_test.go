package hourly

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// M13, D3: a full disk takes the first bytes of a line.
func TestD3FullDisk(t *testing.T) {
	for _, size := range []int{1 << 10, 300 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			r := newRig(t, Options{})
			r.d.space = int64(10*size + size/2)
			for range 600 {
				r.add(main, size)
				r.pass(10 * time.Millisecond)
			}
			if size > joinMax && r.dropped[DiskFull] != 600-10 {
				t.Errorf("lines refused: got %v, want 590 of reason disk_full", r.dropped)
			}
			r.lines("main")
			r.d.space = 1 << 40
			before := len(r.lines("main"))
			for i := 0; len(r.lines("main")) == before; i++ {
				if i == 50 {
					t.Fatal("nothing is written 5 s after the space came back")
				}
				r.add(main, size)
				r.pass(100 * time.Millisecond)
			}
			r.pass(time.Second)
			if got, want := len(r.lines("main")), len(r.taken); got != want {
				t.Errorf("lines in files: got %d, want the %d taken", got, want)
			}
			r.wantCounts(map[Kind]int{Failing: 1, Resumed: 1})
			r.wantNames("main", "20260314_15.jsonl")
		})
	}
}

// D4: whatever fails and wherever, lines are refused with a reason, files hold whole
// lines only, and it goes on by itself.
func TestD4Faults(t *testing.T) {
	reasons := map[syscall.Errno]Reason{
		syscall.ENOSPC: DiskFull, syscall.EDQUOT: DiskFull, syscall.EIO: IOError, syscall.EROFS: ReadOnly,
		syscall.EFBIG: FileLimit, syscall.EMFILE: OpenFailed, syscall.EACCES: OpenFailed,
	}
	for errno, reason := range reasons {
		if raceDetector && errno != syscall.ENOSPC { // what runs is the same, only the number differs
			continue
		}
		for _, op := range []string{"open", "write", "half", "torn", "sync", "close", "mkdir", "syncdir", "lstat", "lock", "stat"} {
			for _, size := range []int{1 << 10, 300 << 10} {
				t.Run(fmt.Sprintf("%v at %s of %d", errno, op, size), func(t *testing.T) { faultAt(t, op, errno, reason, size) })
			}
		}
	}
}

func faultAt(t *testing.T, at string, errno syscall.Errno, reason Reason, size int) {
	r := newRig(t, Options{})
	fault := func(op, _ string) (int, error) {
		switch {
		case op == at:
			return 0, errno
		case op == "write" && at == "half":
			return size / 2, errno
		case at == "torn" && (op == "write" || op == "truncate"):
			return size / 2, errno
		}
		return 0, nil
	}
	atStart := at == "open" || at == "mkdir" || at == "lock" || at == "stat"
	if atStart {
		r.d.set(fault)
	}
	steps := 400 // 20 s
	if size > joinMax {
		steps = 40
	}
	for i := range steps {
		switch i {
		case steps / 4:
			r.d.set(fault)
		case steps / 2:
			r.d.set(nil)
		}
		r.add(main, size)
		r.pass(20 * time.Second / time.Duration(steps))
		if i == steps*3/4 { // 5 s after the end of the fault
			if r.w.order[0].failure != nil || len(r.w.order[0].buf) > 30*(size+30) {
				t.Errorf("still failing 5 s later: %v", r.w.order[0].failure)
			}
		}
	}
	r.w.Close(r.now)
	torn := at == "torn"
	if torn {
		r.events = slices.DeleteFunc(r.events, func(e Event) bool { return e.Kind == Torn })
		if n, err := New(Options{Root: "/data", FS: r.d}).Recover("main"); err != nil || n == 0 {
			t.Errorf("Recover: got %d, %v; want files mended", n, err)
		}
	}
	lines := r.lines("main")
	if got, want := len(lines), len(r.taken)-r.sum(r.lost); got != want {
		t.Errorf("lines in files: got %d, want %d", got, want)
	}
	if r.count(Failing) != r.count(Resumed) {
		t.Errorf("failing %d times, resumed %d times", r.count(Failing), r.count(Resumed))
	}
	failed := r.count(Failing) > 0
	switch at {
	case "close", "lstat", "syncdir", "stat", "lock", "open", "mkdir": // need not be noticed while the file is open
	default:
		if at == "sync" {
			reason = SyncFailed
		} else if reason == OpenFailed {
			reason = IOError // no file was being opened
		}
		if !failed || r.count(Failing) != 1 {
			t.Errorf("failing: got %d times, want once: %v", r.count(Failing), r.events)
		}
		if size > joinMax && r.dropped[reason] == 0 {
			t.Errorf("refused: got %v, want some of reason %s", r.dropped, reason)
		}
	}
	if atStart && !failed {
		t.Errorf("no failure told with a fault at the start")
	}
	if at == "sync" && (r.count(Unsynced) == 0 || !slices.Contains(r.names("main"), "20260314_15-2.jsonl")) {
		t.Errorf("after a failed fsync: got %d events and files %q, want another file", r.count(Unsynced), r.names("main"))
	}
	if n := len(r.names("main")); n > 8 {
		t.Errorf("files: got %d, want few: %q", n, r.names("main"))
	}
	for _, n := range r.d.names {
		if n.owner != nil {
			t.Errorf("a file is left open")
		}
	}
}

// A line that waited in vain until the end is told as lost.
func TestCloseLoses(t *testing.T) {
	r := newRig(t, Options{})
	r.d.failing(syscall.EROFS, "mkdir")
	for range 7 {
		r.add(main, 100)
	}
	r.pass(3 * time.Second)
	r.w.Close(r.now)
	if r.lost[ReadOnly] != 7 {
		t.Errorf("lost: got %v, want 7 of reason read_only", r.lost)
	}
	r.wantCounts(map[Kind]int{Failing: 1, Lost: 1})
}

// D2: power is lost at any moment.
func TestD2PowerLoss(t *testing.T) {
	rounds := 2000
	if testing.Short() || raceDetector {
		rounds = 200
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	mended := 0
	for range rounds {
		r := newRig(t, Options{})
		at := map[string]time.Time{}
		start := len(r.taken)
		for end := r.now.Add(time.Duration(rnd.IntN(4000)) * time.Millisecond); r.now.Before(end); {
			size := 1 + rnd.IntN(2000)
			if rnd.IntN(50) == 0 {
				size = 300 << 10
			}
			r.add(main, size)
			for line := range r.taken {
				if len(at) == len(r.taken)-start {
					break
				}
				if at[line].IsZero() {
					at[line] = r.now
				}
			}
			r.pass(time.Duration(rnd.IntN(100)) * time.Millisecond)
		}
		r.d = r.d.crash(rnd)
		r.open(Options{})
		n, err := r.w.Recover("main", "nothing")
		if err != nil {
			t.Fatalf("Recover: %v", err)
		}
		mended += n
		r.add(main, 10)
		r.w.Close(r.now)
		lines := r.lines("main")
		for line, when := range at {
			if r.now.Sub(when) > time.Second && !lines[line] {
				t.Fatalf("a line of %v before the loss of power is gone", r.now.Sub(when))
			}
		}
	}
	t.Logf("%d rounds, %d torn files mended", rounds, mended)
	if mended == 0 {
		t.Error("no file was torn")
	}
}

// D7: while the disk stalls, the writer's goroutine waits and nobody else: a queue in
// front of it fills and drops, and what it took is written when the disk is back.
func TestD7Stall(t *testing.T) {
	r := newRig(t, Options{})
	stall := make(chan struct{})
	stalled := make(chan struct{}, 1)
	r.d.set(func(op, _ string) (int, error) {
		if op == "write" {
			select {
			case stalled <- struct{}{}:
			default:
			}
			<-stall
		}
		return 0, nil
	})
	queue, done := make(chan []byte, 100), make(chan struct{})
	go func() {
		defer close(done)
		for line := range queue {
			if err := r.w.Append(main, line, r.now); err != nil {
				t.Error(err)
			}
		}
		r.w.Close(r.now)
	}()
	rest := `,"x":"` + strings.Repeat("x", 300<<10) + "\"}\n"
	long := func(n int) []byte { return []byte(`{"n":` + strconv.Itoa(n) + rest) }
	queue <- long(0)
	<-stalled
	accepted, dropped := 1, 0
	for i := 1; i <= 1000; i++ {
		line := long(i)
		select { // which never waits
		case queue <- line:
			accepted++
			r.taken[string(line[:len(line)-1])] = true
		default:
			dropped++
		}
	}
	if accepted != 101 || dropped != 900 {
		t.Errorf("during the stall: got %d accepted, %d dropped, want 101 and 900", accepted, dropped)
	}
	close(stall)
	close(queue)
	<-done
	if got := len(r.lines("main")); got != 101 {
		t.Errorf("lines after the stall: got %d, want 101", got)
	}
}

func TestMinFree(t *testing.T) {
	r := newRig(t, Options{MinFree: 1000})
	f := func(space int64, want Reason) {
		t.Helper()
		r.d.space = space
		r.pass(time.Second)
		err := r.add(main, 1)
		if e := (*Error)(nil); errors.As(err, &e) != (want != "") || e != nil && e.Reason != want {
			t.Errorf("Append with %d bytes free: got %v, want reason %q", space, err, want)
		}
	}
	f(2000, "")
	f(900, DiskLow)
	f(1040, DiskLow)
	f(1100, "")
	f(1040, "")
	r.wantCounts(map[Kind]int{Failing: 1, Resumed: 1})
	r.d.failing(errors.ErrUnsupported, "free")
	f(10, "")
}
