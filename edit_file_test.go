package aigateway

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestEditMode guards that the file keeps its mode, and its owner where a test may give it
// another one.
func TestEditMode(t *testing.T) {
	e := newEditRun(t, fleetOf("http://a:1/v1"))
	for _, mode := range []fs.FileMode{0o640, 0o666, 0o400} {
		if err := os.Chmod(e.file, mode); err != nil {
			t.Fatal(err)
		}
		root := os.Geteuid() == 0
		if root {
			if err := os.Chown(e.file, 1234, 5678); err != nil {
				t.Fatal(err)
			}
		}
		e.good("set-weight", "a:1", fmt.Sprint(int(mode)%1000))
		info, err := os.Stat(e.file)
		if err != nil || info.Mode() != mode {
			t.Errorf("got mode %v, %v, want %v", info.Mode(), err, mode)
		}
		if st := info.Sys().(*syscall.Stat_t); root && (st.Uid != 1234 || st.Gid != 5678) {
			t.Errorf("got owner %d:%d, want 1234:5678", st.Uid, st.Gid)
		}
	}
}

// TestEditLink guards that a link stays one, and that the file it leads to is changed.
func TestEditLink(t *testing.T) {
	e := newEditRun(t, fleetOf("http://a:1/v1"))
	dir := t.TempDir()
	for _, link := range [][2]string{{filepath.Dir(e.file), filepath.Join(dir, "..data")}, {filepath.Join("..data", "config.json5"), filepath.Join(dir, "config.json5")}} {
		if err := os.Symlink(link[0], link[1]); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := runCommand("edit", "--config", filepath.Join(dir, "config.json5"), "drain", "a:1"); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(e.text(), `"drain": true`) {
		t.Errorf("got %s", e.text())
	}
	info, err := os.Lstat(filepath.Join(dir, "config.json5"))
	if left, errDir := os.ReadDir(dir); err != nil || errDir != nil || info.Mode()&fs.ModeSymlink == 0 || len(left) != 2 {
		t.Errorf("got %v and %v beside the link, %v", info, left, errors.Join(err, errDir))
	}
	e.alone()
}

// TestEditChanged guards that a change by somebody else, between reading and writing, is
// neither lost nor overwritten.
func TestEditChanged(t *testing.T) {
	e := newEditRun(t, fleetOf("http://a:1/v1"))
	asked := 0
	_, done, err := writeEdited(e.file, func(f *fleetText) ([]byte, string, error) {
		if asked++; asked <= 3 {
			writeFile(t, e.file, fleetOf("http://a:1/v1", fmt.Sprintf("http://b%d:1/v1", asked)))
		}
		entry, err := f.find("a:1")
		if err != nil {
			return nil, "", err
		}
		text, done := f.setWeight(entry, 5)
		return text, done, nil
	})
	if err != nil || asked != 4 || done != "set the weight of a:1/v1 from 1 to 5" {
		t.Errorf("got %q after %d times, %v", done, asked, err)
	}
	if want := strings.Replace(fleetOf("http://a:1/v1", "http://b3:1/v1"), `"m"}`, `"m", "weight": 5}`, 1); e.text() != want {
		t.Errorf("got %s, want %s", e.text(), want)
	}
	before := 0
	_, _, err = writeEdited(e.file, func(f *fleetText) ([]byte, string, error) {
		before++
		writeFile(t, e.file, fleetOf(fmt.Sprintf("http://b%d:1/v1", before)))
		return []byte(fleetOf("http://c:1/v1")), "", nil
	})
	if !errors.Is(err, errChanged) || strings.Contains(e.text(), "c:1") {
		t.Errorf("got %v and %s", err, e.text())
	}
	e.alone()
}

// TestEditLocked guards that an edit waits for another one in the same folder.
func TestEditLocked(t *testing.T) {
	e := newEditRun(t, fleetOf("http://a:1/v1"))
	unlock, err := lockFolder(filepath.Dir(e.file))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, _, err := e.run("drain", "a:1")
		ended <- err
	}()
	if out, _, err := e.run("drain", "a:1", "--dry-run"); err != nil || !strings.Contains(out, `"drain": true`) {
		t.Errorf("--dry-run waits for nobody: got %s, %v", out, err)
	}
	select {
	case err := <-ended:
		t.Fatalf("the edit ended under the lock: %v", err)
	default:
	}
	if strings.Contains(e.text(), "drain") {
		t.Errorf("the edit was made under the lock")
	}
	unlock()
	if err := <-ended; err != nil || !strings.Contains(e.text(), `"drain": true`) {
		t.Errorf("got %v and %s", err, e.text())
	}
}

// TestEditHints guards that errors of the file system say what to do.
func TestEditHints(t *testing.T) {
	for cause, want := range map[error]string{
		syscall.EROFS:  "open /etc/x: read-only file system: its folder is mounted read-only, such as a ConfigMap's; change it at its source",
		syscall.EBUSY:  "open /etc/x: device or resource busy: the file is mounted on its own; mount its folder instead, so that it can be replaced",
		syscall.EACCES: "open /etc/x: permission denied: want the right to write to its folder, and to keep its owner",
		syscall.EPERM:  "open /etc/x: operation not permitted: want the right to write to its folder, and to keep its owner",
		syscall.ENOSPC: "open /etc/x: no space left on device",
	} {
		if err := hint(&fs.PathError{Op: "open", Path: "/etc/x", Err: cause}); err.Error() != want || !errors.Is(err, cause) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if os.Geteuid() == 0 {
		t.Log("a folder without the right to write is not tried, as root has all rights")
		return
	}
	e := newEditRun(t, fleetOf("http://a:1/v1"))
	if err := os.Chmod(filepath.Dir(e.file), 0o500); err != nil {
		t.Fatal(err)
	}
	e.refused("want the right to write to its folder", "drain", "a:1")
	if err := os.Chmod(filepath.Dir(e.file), 0o700); err != nil {
		t.Fatal(err)
	}
}
