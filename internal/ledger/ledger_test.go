package ledger

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sumOf returns what a folder remembers of each account.
func sumOf(t testing.TB, dir string) map[string]Usage {
	t.Helper()
	f := NewFolder(dir)
	entries, err := f.Load()
	must(t, err)
	must(t, f.Close())
	all := make(map[string]Usage)
	for _, e := range entries {
		u := all[e.Account]
		u.add(e.Usage)
		all[e.Account] = u
	}
	return all
}

// TestBudget guards that an account gives no more than each part of its budget, at once
// from many requests, and all of it; and that a new day and a new month begin anew.
func TestBudget(t *testing.T) {
	for name, b := range map[string]Budget{
		DailyTokens: {DailyTokens: 1000}, MonthlyTokens: {MonthlyTokens: 1000}, DailyCost: {DailyCost: 5000}, MonthlyCost: {MonthlyCost: 5000},
	} {
		l := Open(Options{Store: NewFolder(t.TempDir())})
		l.SetZone(time.UTC)
		a := l.Account("a")
		now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
		var given atomic.Int64
		var all sync.WaitGroup
		for range 200 {
			all.Go(func() {
				for range 20 {
					want := Amount{Tokens: 10, Cost: 50}
					if _, _, ok := a.Reserve(now, want, want, &b); ok {
						given.Add(1)
						a.Settle(now, "m", want, Usage{Requests: 1, Prompt: 4, Completion: 6, Cost: 50})
					}
				}
			})
		}
		all.Wait()
		if given.Load() != 100 {
			t.Errorf("%s: got %d requests through, want 100", name, given.Load())
		}
		_, lacking, ok := a.Reserve(now, Amount{}, Amount{}, &b)
		day := name == DailyTokens || name == DailyCost
		wait := 36 * time.Hour
		if day {
			wait = 12 * time.Hour
		}
		if ok || lacking.Name != name || lacking.Used != lacking.Limit || lacking.Renewed != wait {
			t.Errorf("%s: got %+v, %v", name, lacking, ok)
		}
		if _, _, ok := a.Reserve(now.Add(24*time.Hour), Amount{}, Amount{}, &b); ok != day {
			t.Errorf("%s: the next day: got %v", name, ok)
		}
		if _, _, ok := a.Reserve(now.AddDate(0, 0, 2), Amount{}, Amount{}, &b); !ok {
			t.Errorf("%s: nothing is left the next month", name)
		}
		must(t, l.Close())
	}
}

// TestReserved guards that what is under way counts, and comes back.
func TestReserved(t *testing.T) {
	l := Open(Options{Store: NewFolder(t.TempDir())})
	defer l.Close()
	a, b, now := l.Account("a"), &Budget{DailyTokens: 100}, time.Now()
	if _, _, ok := a.Reserve(now, Amount{Tokens: 60}, Amount{Tokens: 60}, b); !ok {
		t.Fatal("refused")
	}
	if _, s, ok := a.Reserve(now, Amount{Tokens: 41}, Amount{Tokens: 50}, b); ok || s.Reserved != 60 || s.Used != 0 {
		t.Errorf("got %+v, %v, want it refused for what is reserved", s, ok)
	}
	a.Settle(now, "m", Amount{Tokens: 60}, Usage{})
	if s := a.States(now, b); len(s) != 1 || s[0].Reserved != 0 || s[0].Used != 0 {
		t.Errorf("got %+v, want nothing left of it", s)
	}
	if got, _, ok := a.Reserve(now, Amount{Tokens: 10}, Amount{Tokens: 1000}, b); !ok || got.Tokens != 100 {
		t.Errorf("got %+v, %v, want all that there is", got, ok)
	}
}

// TestDays guards how days become months and are forgotten.
func TestDays(t *testing.T) {
	f := func(day, today, want Day, wantOK bool) {
		t.Helper()
		if got, ok := day.kept(today); got != want || ok != wantOK {
			t.Errorf("%d at %d: got %d, %v, want %d, %v", day, today, got, ok, want, wantOK)
		}
	}
	f(20261129, 20261129, 20261129, true)
	f(20261001, 20261129, 20261001, true)
	f(20260930, 20261129, 20260900, true)
	f(20260900, 20261129, 20260900, true)
	f(20251231, 20260101, 20251231, true)
	f(20251130, 20260101, 20251100, true)
	f(20250131, 20260101, 20250100, true)
	f(20241231, 20260101, 0, false)
}

// TestRestart guards that what has been counted is there after a restart, by day and model,
// under the same sums.
func TestRestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "usage")
	now := time.Now()
	want := make(map[string]map[cell]Usage)
	for range 5 {
		l := Open(Options{Store: NewFolder(dir)})
		for n := range 20 {
			name := fmt.Sprintf("k%d", n%7)
			a := l.Account(name)
			a.Settle(now.AddDate(0, 0, -n%3), fmt.Sprintf("m%d", n%2), Amount{}, Usage{1, int64(n), 2, 3})
			want[name] = a.all()
		}
		must(t, l.Close())
	}
	l := Open(Options{Store: NewFolder(dir)})
	defer l.Close()
	for name, cells := range want {
		if got := l.Account(name).all(); !reflect.DeepEqual(got, cells) {
			t.Errorf("%s: got %v, want %v", name, got, cells)
		}
	}
	info, err := os.Stat(dir)
	must(t, err)
	files, err := filepath.Glob(dir + "/*")
	must(t, err)
	if info.Mode().Perm() != 0o700 || len(files) != 2 {
		t.Errorf("got mode %v and %q, want 0700, a lock and one file", info.Mode(), files)
	}
	for _, file := range files {
		info, err := os.Stat(file)
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s: got mode %v, want 0600", file, info.Mode())
		}
	}
}

// TestTorn guards that every prefix of a file, and every file with a byte changed, loses
// no whole line but the one that is hit.
func TestTorn(t *testing.T) {
	dir := t.TempDir()
	f := NewFolder(dir)
	_, err := f.Load()
	must(t, err)
	for n := range 5 {
		must(t, f.Add([]Entry{{fmt.Sprintf("k%d", n), "m", DayOf(time.Now()), Usage{1, 10, 20, 30}}}))
	}
	path := f.path(f.number)
	must(t, f.Close())
	text, err := os.ReadFile(path)
	must(t, err)
	lines := strings.SplitAfter(string(text), "\n")
	read := func(content []byte) map[string]Usage {
		torn := t.TempDir()
		must(t, os.WriteFile(filepath.Join(torn, filepath.Base(path)), content, 0o600))
		return sumOf(t, torn)
	}
	for end := 0; end <= len(text); end += 7 {
		whole := max(0, strings.Count(string(text[:end]), "\n")-1) // without the head
		if got := read(text[:end]); len(got) != whole {
			t.Errorf("cut at %d: got %d accounts, want %d", end, len(got), whole)
		}
	}
	for at := len(lines[0]); at < len(text); at += 5 {
		changed := []byte(string(text))
		changed[at] ^= 1
		if got := read(changed); len(got) < 3 {
			t.Errorf("changed at %d: got %d accounts, want 3 or more of 5", at, len(got))
		} else {
			for name, u := range got {
				if u != (Usage{1, 10, 20, 30}) {
					t.Errorf("changed at %d: got %s %+v", at, name, u)
				}
			}
		}
	}
}

// flaky is a store in memory that fails as it is told.
type flaky struct {
	mu   sync.Mutex
	sums sums
	load error
	add  error
	adds int
}

func (f *flaky) set(load, add error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.load, f.add = load, add
}

func (f *flaky) Load() ([]Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sums.entries(), f.load
}

func (f *flaky) Add(entries []Entry) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if errors.Is(f.add, ErrForgotten) {
		clear(f.sums)
		f.add = nil
		return ErrForgotten
	}
	if f.add != nil {
		return f.add
	}
	for _, e := range entries {
		f.sums.add(e)
	}
	f.adds++
	return nil
}

func (f *flaky) Close() error { return nil }

func (f *flaky) tokens() (n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, u := range f.sums {
		n += u.Tokens()
	}
	return n
}

// TestStoreFails guards that counting goes on while the store fails, that it is told once,
// that nothing is lost or doubled when it works again, and what was known comes back when
// it could not be read at first.
func TestStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		today := DayOf(time.Now())
		s := &flaky{sums: sums{{"a", cell{today, "m"}}: {1, 100, 0, 0}, {"b", cell{today, "m"}}: {1, 7, 0, 0}}, load: errors.New("no disk")}
		var told []string
		l := Open(Options{Store: s, Failed: func(err error) { told = append(told, fmt.Sprint(err)) }})
		a := l.Account("a")
		budget := &Budget{DailyTokens: 1000}
		use := func() { a.Settle(time.Now(), "m", Amount{}, Usage{1, 1, 1, 0}) }
		use()
		time.Sleep(3 * time.Second)
		if got := a.States(time.Now(), budget)[0].Used; got != 2 || !l.Broken() || l.Errors() < 3 {
			t.Errorf("got %d used, broken %v, %d errors", got, l.Broken(), l.Errors())
		}
		s.set(nil, nil)
		time.Sleep(2 * time.Second)
		if got := a.States(time.Now(), budget)[0].Used; got != 102 || l.Broken() || s.tokens() != 109 {
			t.Errorf("once it can be read: got %d used, broken %v, %d stored", got, l.Broken(), s.tokens())
		}
		s.set(nil, errors.New("disk full"))
		for range 50 {
			use()
			time.Sleep(100 * time.Millisecond)
		}
		if s.tokens() != 109 || !l.Broken() {
			t.Errorf("full: got %d stored, broken %v", s.tokens(), l.Broken())
		}
		s.set(nil, nil)
		time.Sleep(2 * time.Second)
		if s.tokens() != 209 {
			t.Errorf("got %d stored, want 209", s.tokens())
		}
		s.set(nil, ErrForgotten)
		use()
		time.Sleep(2 * time.Second)
		if s.tokens() != 211 {
			t.Errorf("after it forgot: got %d stored, want 211", s.tokens())
		}
		want := []string{"reading what has been used: no disk", "<nil>", "writing what has been used: disk full", "<nil>"}
		if !reflect.DeepEqual(told, want) {
			t.Errorf("got told %q, want %q", told, want)
		}
		use()
		s.set(nil, errors.New("disk full"))
		if err := l.Close(); err == nil || !strings.Contains(err.Error(), "disk full") {
			t.Errorf("close: got %v, want the loss to be told", err)
		}
	})
}

// TestFolderFaults guards that a folder that goes away or cannot be written to costs
// nothing once it can be.
func TestFolderFaults(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "usage")
	f := NewFolder(dir)
	_, err := f.Load()
	must(t, err)
	one := []Entry{{"a", "m", DayOf(time.Now()), Usage{1, 1, 0, 0}}}
	must(t, f.Add(one))
	if _, err := NewFolder(dir).Load(); err == nil || !strings.Contains(err.Error(), "another process uses the folder") {
		t.Errorf("a second user: got %v", err)
	}
	must(t, os.RemoveAll(dir))
	if err := f.Add(one); !errors.Is(err, ErrForgotten) {
		t.Errorf("folder removed: got %v", err)
	}
	must(t, f.Add(one))
	real := f.file
	if f.file, err = os.Open(f.path(f.number)); err != nil { // for reading only: every write fails
		t.Fatal(err)
	}
	if err := f.Add(one); err == nil {
		t.Error("a write that must fail has not")
	}
	if err := f.Add(one); err == nil {
		t.Error("a write that must fail has not")
	}
	must(t, f.file.Close())
	f.file = real
	_, err = real.WriteString("half a li") // as of a write that failed in the middle
	must(t, err)
	must(t, f.Add(one))
	must(t, f.Close())
	if got := sumOf(t, dir)["a"]; got != (Usage{2, 2, 0, 0}) {
		t.Errorf("got %+v, want 2 requests", got)
	}
	must(t, os.Remove(filepath.Join(dir, "lock")))
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if _, err := NewFolder(filepath.Join(file, "usage")).Load(); err == nil {
		t.Error("a folder below a file: got no error")
	}
}

// TestReplaced guards that a file that has grown is replaced by its sums.
func TestReplaced(t *testing.T) {
	dir := t.TempDir()
	f := NewFolder(dir)
	_, err := f.Load()
	must(t, err)
	batch := make([]Entry, 1000)
	for n := range batch {
		batch[n] = Entry{fmt.Sprintf("k%d", n%10), "m", DayOf(time.Now()), Usage{1, 1, 1, 1}}
	}
	first := f.number
	for range 100 {
		must(t, f.Add(batch))
	}
	if f.number == first || f.size > maxLog {
		t.Errorf("got file %d of %d bytes after 100,000 entries", f.number, f.size)
	}
	must(t, f.Close())
	for name, u := range sumOf(t, dir) {
		if u != (Usage{10_000, 10_000, 10_000, 10_000}) {
			t.Errorf("%s: got %+v, want 10,000 of each", name, u)
		}
	}
}

// TestBudgetKill guards that a kill at any moment costs nothing that is older than a
// second, and that what the folder has is right to the token. It runs itself as the process
// that is killed.
func TestBudgetKill(t *testing.T) {
	if dir := os.Getenv("LEDGER_TEST_DIR"); dir != "" {
		victim(dir)
	}
	dir := filepath.Join(t.TempDir(), "usage")
	var kept [3]int64 // tokens that a kill must not cost
	for round := range 8 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestBudgetKill$")
		cmd.Env = append(os.Environ(), "LEDGER_TEST_DIR="+dir)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		var said []struct {
			at     time.Time
			tokens [3]int64
		}
		var kill <-chan time.Time // some time after it has begun
		lines := make(chan string)
		go func() {
			defer close(lines)
			for scanner := bufio.NewScanner(out); scanner.Scan(); {
				lines <- scanner.Text()
			}
		}()
		var killed time.Time
	reading:
		for {
			select {
			case line, ok := <-lines:
				if !ok {
					break reading
				}
				var s [3]int64
				var at int64
				if n, err := fmt.Sscan(line, &at, &s[0], &s[1], &s[2]); n != 4 || err != nil {
					continue // cut in the middle
				}
				if len(said) == 0 {
					kill = time.After(time.Duration(100+rand.IntN(1400)) * time.Millisecond)
				}
				said = append(said, struct {
					at     time.Time
					tokens [3]int64
				}{time.Unix(0, at), s})
			case <-kill:
				killed = time.Now()
				must(t, cmd.Process.Kill())
			}
		}
		_ = cmd.Wait() // killed
		if len(said) == 0 {
			t.Fatalf("round %d: the process said nothing", round)
		}
		var waited time.Duration // of the process, for the processor or the disk
		for n := range said[1:] {
			waited = max(waited, said[n+1].at.Sub(said[n].at))
		}
		for _, s := range said {
			if s.at.Before(killed.Add(-time.Second - waited)) {
				kept = s.tokens
			}
		}
		last := said[len(said)-1].tokens
		got := sumOf(t, dir)
		for n := range 3 {
			u := got[fmt.Sprintf("k%d", n)]
			// The last line may have been counted and not said.
			if u.Tokens() < kept[n] || u.Tokens() > last[n]+perStep || u.Tokens()%perUse != 0 || u.Requests*perUse != u.Tokens() || u.Cost != 2*u.Tokens() {
				t.Errorf("round %d, k%d: got %+v, want from %d to %d", round, n, u, kept[n], last[n])
			}
			kept[n] = u.Tokens() // what has survived once survives
		}
	}
}

// A victim uses perUse tokens at a time, perStep between two lines that it prints.
const (
	perUse  = 7
	perStep = 10 * perUse
)

// victim counts until it is killed, and says how far it has come.
func victim(dir string) {
	l := Open(Options{Store: NewFolder(dir)})
	for {
		for range perStep / perUse {
			for n := range 3 {
				l.Account(fmt.Sprintf("k%d", n)).Settle(time.Now(), "m", Amount{}, Usage{1, perUse - 2, 2, 2 * perUse})
			}
		}
		fmt.Print(time.Now().UnixNano())
		for n := range 3 {
			_, month := l.Account(fmt.Sprintf("k%d", n)).Sums(time.Now())
			fmt.Print(" ", month["m"].Prompt+month["m"].Completion)
		}
		fmt.Println()
		time.Sleep(time.Millisecond)
	}
}

// BenchmarkSettle is a request's reservation and its end.
func BenchmarkSettle(b *testing.B) {
	l := Open(Options{Store: NewFolder(b.TempDir())})
	defer l.Close()
	a, budget := l.Account("a"), &Budget{DailyTokens: 1 << 60, MonthlyCost: 1 << 60}
	want := Amount{Tokens: 500}
	b.ReportAllocs()
	for b.Loop() {
		now := time.Now()
		if _, _, ok := a.Reserve(now, want, want, budget); !ok {
			b.Fatal("refused")
		}
		a.Settle(now, "m", want, Usage{1, 20, 300, 5})
	}
}
