//go:build linux

package hourly

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// crashLine is line n of a round: what it should be is known from its head.
func crashLine(buf []byte, round, n, size int) []byte {
	buf = fmt.Appendf(buf[:0], `{"round":%d,"n":%d,"size":%d,"x":"`, round, n, size)
	buf = append(buf, xs[:size]...)
	return append(buf, "\"}\n"...)
}

var xs = bytes.Repeat([]byte{'x'}, 12<<20)

// childCrash mends what the last round left and then writes lines until it is
// killed, and says so of each.
func childCrash(dir string) {
	round, err := strconv.Atoi(os.Args[1])
	check(err)
	r := rand.New(rand.NewPCG(uint64(round), 0))
	torn := 0
	w := New(Options{Root: dir, Report: func(e Event) {
		if e.Kind == Torn && e.Err == nil {
			torn++
			return
		}
		check(fmt.Errorf("unexpected event %+v", e))
	}})
	mended, err := w.Recover("main")
	check(err)
	if mended != torn {
		check(fmt.Errorf("mended %d, told of %d", mended, torn))
	}
	fmt.Printf("mended %d\n", mended)
	var buf []byte
	for n := 0; ; n++ {
		size := 1 << 10
		switch r.IntN(12) {
		case 0:
			size = 1<<10 + r.IntN(12<<20-1<<10) // up to 12 MiB
		case 1, 2:
			size = 1<<10 + r.IntN(400<<10)
		}
		buf = crashLine(buf, round, n, size)
		now := time.Now()
		check(w.Append(main, buf, now))
		fmt.Printf("%d %d %d\n", n, size, now.UnixNano())
		if now = time.Now(); !w.Next().IsZero() && !now.Before(w.Next()) {
			w.Tick(now)
		}
	}
}

// D1, M12: the process is killed 200 times, of which 20 find whatever the race detector
// can.
func TestD1Kill(t *testing.T) {
	rounds := 200
	if testing.Short() || raceDetector {
		rounds = 20
	}
	dir := t.TempDir()
	var torn, mended, lines, lost int
	var oldest time.Duration
	for round := range rounds {
		life := time.Duration(5+rand.IntN(46)) * time.Millisecond
		if round%25 == 24 {
			life = 900 * time.Millisecond // long enough to flush for being due
		}
		acks, killed, n := crashRound(t, dir, round, life)
		mended += n
		seen, half := crashLines(t, dir, round)
		torn += half
		for i, a := range acks {
			if seen[i] {
				lines++
				continue
			}
			lost++
			if a.size > joinMax {
				t.Fatalf("round %d: line %d of %d bytes was written and is gone", round, i, a.size)
			}
			oldest = max(oldest, killed.Sub(a.at))
		}
		if round%3 == 2 || round == rounds-1 {
			if n, err := New(Options{Root: dir}).Recover("main"); err != nil {
				t.Fatal(err)
			} else {
				mended += n
			}
			if _, half := crashLines(t, dir, -1); half != 0 {
				t.Fatalf("round %d: %d files are torn after Recover", round, half)
			}
			os.RemoveAll(filepath.Join(dir, "main"))
		}
	}
	if oldest > 500*time.Millisecond {
		t.Errorf("oldest line lost: got %v before the kill, want at most 500 ms", oldest)
	}
	aside, _ := filepath.Glob(filepath.Join(dir, "torn", "*"))
	if torn != mended || torn != len(aside) {
		t.Errorf("torn ends: found %d, told of %d, moved aside %d", torn, mended, len(aside))
	}
	t.Logf("%d rounds: %d lines there, %d lost, the oldest %v before the kill; %d torn ends moved aside", rounds, lines, lost, oldest, torn)
}

type ack struct {
	size int
	at   time.Time
}

// crashRound runs a child for so long, kills it, and returns which lines it had
// handed over, and how many files it mended first.
func crashRound(t *testing.T, dir string, round int, life time.Duration) (acks []ack, killed time.Time, mended int) {
	t.Helper()
	cmd := child(t, "crash", dir, strconv.Itoa(round))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	if _, err := fmt.Fscanf(r, "mended %d\n", &mended); err != nil {
		t.Fatalf("child said nothing: %v", err)
	}
	time.AfterFunc(life, func() {
		killed = time.Now()
		cmd.Process.Kill()
	})
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			break // what it said last may be torn too
		}
		var n, size, at int64
		fmt.Sscan(line, &n, &size, &at)
		if int(n) != len(acks) {
			t.Fatalf("child said %q after %d lines", line, len(acks))
		}
		acks = append(acks, ack{int(size), time.Unix(0, at)})
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("child was not killed: %v", err)
	}
	return acks, killed, mended
}

// crashLines checks every whole line in the folder, and returns those of the round
// and how many files end in half a line.
func crashLines(t *testing.T, dir string, round int) (seen map[int]bool, torn int) {
	t.Helper()
	seen = map[int]bool{}
	entries, err := os.ReadDir(filepath.Join(dir, "main"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var want []byte
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(dir, "main", entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			if line[len(line)-1] != '\n' {
				torn++
				continue
			}
			var r, n, size int
			fmt.Sscanf(string(line[:min(len(line), 80)]), `{"round":%d,"n":%d,"size":%d`, &r, &n, &size)
			if want = crashLine(want, r, n, min(size, len(xs))); !bytes.Equal(line, want) {
				t.Fatalf("a line is not as it was written: %.80q of %d bytes", line, len(line))
			}
			if r == round {
				if seen[n] {
					t.Fatalf("line %d of round %d is there twice", n, r)
				}
				seen[n] = true
			}
		}
	}
	return seen, torn
}

// childSecond writes 3,000 lines and prints nothing.
func childSecond(dir string) {
	w := New(Options{Root: dir})
	for n := range 3000 {
		size := 100
		if n%100 == 0 {
			size = 1 << 20
		}
		check(w.Append(main, crashLine(nil, os.Getpid(), n, size), time.Now()))
		w.Tick(time.Now())
	}
	w.Close(time.Now())
}

// D10: two processes write to one directory.
func TestD10TwoProcesses(t *testing.T) {
	dir := t.TempDir()
	first := New(Options{Root: dir})
	if err := first.Append(main, crashLine(nil, 1, 1, 1<<20), time.Now()); err != nil {
		t.Fatal(err)
	}
	a, b := child(t, "second", dir), child(t, "second", dir)
	for _, cmd := range []*exec.Cmd{a, b} {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, cmd := range []*exec.Cmd{a, b} {
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	first.Close(time.Now())
	for _, cmd := range []*exec.Cmd{a, b} {
		if seen, torn := crashLines(t, dir, cmd.Process.Pid); len(seen) != 3000 || torn != 0 {
			t.Errorf("lines of process %d: got %d and %d torn, want 3000", cmd.Process.Pid, len(seen), torn)
		}
	}
}
