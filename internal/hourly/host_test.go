//go:build linux

package hourly

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// children are what this test binary does when it is started by a test: things that
// need a process of their own, to be killed or to have limits and a umask.
var children = map[string]func(dir string){
	"crash": childCrash, "second": childSecond, "limit": childLimit, "umask": childUmask, "tmpfs": childTmpfs,
}

func TestMain(m *testing.M) {
	if run := children[os.Getenv("HOURLY_CHILD")]; run != nil {
		run(os.Getenv("HOURLY_DIR"))
		return
	}
	os.Exit(m.Run())
}

func child(t testing.TB, what, dir string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "HOURLY_CHILD="+what, "HOURLY_DIR="+dir)
	cmd.Stderr = t.Output()
	return cmd
}

// run runs a child and returns what it prints.
func run(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("child: %v: %s", err, out)
	}
	return string(out)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// childLimit writes with a limit of 1 MiB on the size of a file.
func childLimit(dir string) {
	check(unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}))
	lost := 0
	w := New(Options{Root: dir, Report: func(e Event) {
		if e.Kind == Lost {
			lost += e.Lines
		}
	}})
	now, taken := time.Now(), 0
	for n := range 100 {
		now = now.Add(2 * time.Millisecond * 1000)
		if err := w.Append(main, crashLine(nil, 1, n, 50<<10), now); err == nil {
			taken++
		} else if e := (*Error)(nil); !errors.As(err, &e) || e.Reason != FileLimit {
			check(err)
		}
		w.Tick(now)
	}
	if err := w.Append(main, crashLine(nil, 1, 100, 2<<20), now); err == nil {
		check(errors.New("a line longer than the limit was taken"))
	}
	w.Close(now.Add(time.Minute))
	fmt.Println(taken - lost)
}

// D3, D4: RLIMIT_FSIZE, with which Linux cuts a write short and then says EFBIG.
func TestD3FileSizeLimit(t *testing.T) {
	dir := t.TempDir()
	want, err := strconv.Atoi(strings.TrimSpace(run(t, child(t, "limit", dir))))
	if err != nil {
		t.Fatal(err)
	}
	seen, torn := crashLines(t, dir, 1)
	files, _ := filepath.Glob(filepath.Join(dir, "main", "*"))
	if len(seen) != want || want < 95 || torn != 0 || len(files) < 5 || len(files) > 7 {
		t.Errorf("got %d lines, %d torn, in %d files; want the %d taken of 100, 0, about 6", len(seen), torn, len(files), want)
	}
}

// childTmpfs fills a file system of 1 MiB in a mount namespace of its own.
func childTmpfs(dir string) {
	check(unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	check(unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"))
	check(os.WriteFile(dir+"/ballast", make([]byte, 300<<10), 0o600))
	kinds := map[Kind]int{}
	w := New(Options{Root: dir, Report: func(e Event) { kinds[e.Kind]++ }})
	now, taken, refused := time.Now(), 0, 0
	add := func(n, size int) {
		now = now.Add(100 * time.Millisecond)
		err := w.Append(main, crashLine(nil, 1, n, size), now)
		if e := (*Error)(nil); err == nil {
			taken++
		} else if !errors.As(err, &e) || e.Reason != DiskFull {
			check(fmt.Errorf("reason: %w", err))
		} else {
			refused++
		}
		w.Tick(now)
	}
	for n := range 100 {
		add(n, 20<<10+n%3*150<<10) // short ones, and long ones that are written at once
	}
	if refused == 0 {
		check(errors.New("the disk was never full"))
	}
	check(os.Remove(dir + "/ballast"))
	back := taken
	for n := 100; taken < back+3; n++ { // 3 more lines must go in 5 s
		if n == 150 {
			check(errors.New("nothing is written 5 s after the space came back"))
		}
		add(n, 1<<10)
	}
	w.Close(now.Add(time.Minute))
	files, err := filepath.Glob(dir + "/main/*")
	check(err)
	lines := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		check(err)
		for line := range bytes.Lines(data) {
			var r, n, size int
			fmt.Sscanf(string(line[:min(len(line), 80)]), `{"round":%d,"n":%d,"size":%d`, &r, &n, &size)
			if !bytes.Equal(line, crashLine(nil, r, n, size)) {
				check(fmt.Errorf("a line is not as it was written: %.60q", line))
			}
			lines++
		}
	}
	if lines != taken || kinds[Failing] != kinds[Resumed] || len(files) != 1 {
		check(fmt.Errorf("got %d lines in %d files and events %v, want the %d taken, 1 file, as often resumed as failing", lines, len(files), kinds, taken))
	}
	fmt.Printf("%d taken, %d refused", taken, refused)
}

// D3: a disk that is really full.
func TestD3Tmpfs(t *testing.T) {
	cmd := child(t, "tmpfs", t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		t.Skip("mounting a tmpfs needs root")
	}
	out, err := cmd.Output()
	if errors.Is(err, syscall.EPERM) {
		t.Skipf("no mount namespaces here: %v", err)
	}
	if err != nil {
		t.Fatalf("child: %v: %s", err, out)
	}
	t.Logf("%s", out)
}

// fullFS is the host's file system, of which every file takes its bytes to /dev/full.
type fullFS struct{ FS }

type fullFile struct{ File }

func (f fullFS) OpenFile(path string, flag int, mode fs.FileMode) (File, error) {
	file, err := f.FS.OpenFile(path, flag, mode)
	return fullFile{file}, err
}

func (fullFile) Write(p []byte) (int, error) {
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Write(p)
}

func (f fullFile) WriteParts(parts [][]byte) (int, error) { return f.Write(slices.Concat(parts...)) }

func TestD3DevFull(t *testing.T) {
	w := New(Options{Root: t.TempDir(), FS: fullFS{OS}})
	err := w.Append(main, crashLine(nil, 1, 1, 300<<10), time.Now())
	if e := (*Error)(nil); !errors.As(err, &e) || e.Reason != DiskFull {
		t.Errorf("Append: got %v, want reason disk_full", err)
	}
	w.Close(time.Now())
}

// D5, D6 on the host: inode numbers are used again there.
func TestD6HostReplaced(t *testing.T) {
	root := t.TempDir()
	w := New(Options{Root: root})
	now := time.Now()
	want := 0
	for i := range 50 {
		mustDo(t, w.Append(main, crashLine(nil, 1, i, 300<<10), now))
		want++
		if seen, _ := crashLines(t, root, 1); len(seen) != want {
			t.Fatalf("lines after %d: got %d, want %d", i, len(seen), want)
		}
		if now = now.Add(time.Second); i%2 == 0 {
			mustDo(t, os.RemoveAll(filepath.Join(root, "main")))
			want = 0
		}
	}
	w.Close(now)
}
