//go:build linux

package hourly

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// modesFS is the host's file system, which after every operation looks at the modes
// of everything below root.
type modesFS struct {
	host
	root string
}

func (m modesFS) look() {
	check(filepath.WalkDir(m.root, func(path string, d fs.DirEntry, err error) error {
		if path == m.root { // which may be missing yet
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if perm := info.Mode().Perm(); perm&0o077 != 0 {
			return fmt.Errorf("%s has mode %o", path, perm)
		}
		return nil
	}))
}

func (m modesFS) OpenFile(path string, flag int, mode fs.FileMode) (File, error) {
	defer m.look()
	return m.host.OpenFile(path, flag, mode)
}

func (m modesFS) Mkdir(path string, mode fs.FileMode) error {
	defer m.look()
	return m.host.Mkdir(path, mode)
}

func (m modesFS) Rename(from, to string) error {
	defer m.look()
	return m.host.Rename(from, to)
}

// childUmask writes, mends and packs with the umask of its argument.
func childUmask(dir string) {
	mask, err := strconv.ParseInt(os.Args[1], 8, 32)
	check(err)
	unix.Umask(int(mask))
	dir += "/a/b"
	m := modesFS{root: dir}
	now := time.Now().Add(-3 * time.Hour)
	for i, c := range []Compression{Zstd, Gzip} {
		w := New(Options{Root: dir, FS: m})
		check(w.Append(main, crashLine(nil, 1, i, 100), now))
		w.Close(now)
		name := filepath.Join(dir, "main", Name{HourOf(now, time.Local), "", 1, ".jsonl"}.String())
		f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
		check(err)
		_, err = f.WriteString("half a line")
		check(errors.Join(err, f.Close()))
		kept, err := NewKeeper(KeeperOptions{Root: dir, FS: m, Folders: []string{"main"}, Compression: c}).Keep(context.Background(), time.Now())
		check(err)
		if kept.Packed != 1 {
			check(fmt.Errorf("kept: %+v", kept))
		}
	}
	files := 0
	check(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		check(err)
		info, err := d.Info()
		check(err)
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		} else {
			files++
		}
		if got := info.Mode().Perm(); got != want && path != dir {
			return fmt.Errorf("mode of %s: got %o, want %o", path, got, want)
		}
		return nil
	}))
	if files != 4 {
		check(fmt.Errorf("files: got %d, want 2 packed and 2 torn", files))
	}
}

// D14: no umask opens anything to others, at any moment, or shuts us out.
func TestD14Umask(t *testing.T) {
	run(t, child(t, "umask", t.TempDir(), "000"))
	if os.Geteuid() == 0 { // nobody else could make a folder in one without a mode
		run(t, child(t, "umask", t.TempDir(), "777"))
	}
}

// D14, D15: what is there already is tightened, and told.
func TestD14Tightened(t *testing.T) {
	root := t.TempDir()
	folder := filepath.Join(root, "main")
	now := time.Now()
	file := filepath.Join(folder, Name{HourOf(now, time.Local), "", 1, ".jsonl"}.String())
	mustDo(t, os.Mkdir(folder, 0o700), os.Chmod(folder, 0o777), os.WriteFile(file, []byte("{}\n"), 0o600), os.Chmod(file, 0o666), os.Chmod(root, 0o755))
	var told []string
	w := New(Options{Root: root, Report: func(e Event) { told = append(told, string(e.Kind)+" "+filepath.Base(e.Path)) }})
	mustDo(t, w.Append(main, []byte("{}\n"), now))
	w.Close(now)
	for path, want := range map[string]fs.FileMode{root: 0o755, folder: 0o700, file: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: got %v, %v; want %o", path, info.Mode(), err, want)
		}
	}
	if got, want := fmt.Sprint(told), fmt.Sprintf("[tightened main tightened %s]", filepath.Base(file)); got != want {
		t.Errorf("events: got %s, want %s", got, want)
	}
}

func mustDo(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// D15: what is no folder or file of ours is refused, and never followed or waited for.
func TestD15Refused(t *testing.T) {
	now := time.Now()
	name := Name{HourOf(now, time.Local), "", 1, ".jsonl"}.String()
	f := func(what string, prepare func(root, outside string) error, want string) {
		t.Run(what, func(t *testing.T) {
			root, outside := t.TempDir(), t.TempDir()
			mustDo(t, os.WriteFile(outside+"/file", []byte("theirs"), 0o644), prepare(root, outside))
			w := New(Options{Root: root})
			err := w.Append(main, crashLine(nil, 1, 1, 300<<10), now)
			if e := (*Error)(nil); !errors.As(err, &e) || e.Reason != OpenFailed || !strings.HasSuffix(e.Error(), want) {
				t.Errorf("Append: got %v, want reason open_failed: %s", err, want)
			}
			w.Close(now)
			if _, err := w.Recover("main"); what == "folder is a link" && err == nil {
				t.Error("Recover followed the link")
			}
			data, err := os.ReadFile(outside + "/file")
			entries, _ := os.ReadDir(outside)
			if err != nil || string(data) != "theirs" || len(entries) != 1 {
				t.Errorf("outside: got %q, %v and %d entries, want it untouched", data, err, len(entries))
			}
		})
	}
	folder := func(then func(path, outside string) error) func(root, outside string) error {
		return func(root, outside string) error {
			return errors.Join(os.Mkdir(root+"/main", 0o700), then(root+"/main/"+name, outside))
		}
	}
	const link = "is a symbolic link, which is never followed"
	f("folder is a link", func(root, outside string) error {
		return errors.Join(os.Symlink(outside, root+"/main"), os.WriteFile(outside+"/file", []byte("theirs"), 0o600))
	}, link)
	f("folder is a file", func(root, _ string) error { return os.WriteFile(root+"/main", nil, 0o600) }, "is not a directory")
	f("file is a link", folder(func(path, outside string) error { return os.Symlink(outside+"/file", path) }), link)
	f("file is a dangling link", folder(func(path, outside string) error { return os.Symlink(outside+"/new", path) }), link)
	f("file is a pipe", folder(func(path, _ string) error { return unix.Mkfifo(path, 0o600) }), "is not a regular file")
	f("file is a folder", folder(func(path, _ string) error { return os.Mkdir(path, 0o700) }), "is a directory")
	if os.Geteuid() == 0 {
		f("file of another", folder(func(path, _ string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Chown(path, 12345, -1))
		}), "belongs to another user")
		f("folder of another", func(root, _ string) error {
			return errors.Join(os.Mkdir(root+"/main", 0o700), os.Chown(root+"/main", 12345, -1))
		}, "belongs to another user")
	}
}
