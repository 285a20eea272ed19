package integration

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal returns both ends of a new pseudo-terminal: what is written to the
// second can be read from the first.
func terminal(t testing.TB) (outside, inside *os.File) {
	t.Helper()
	outside, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { outside.Close() })
	fd := int(outside.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	inside, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return outside, inside
}

// TestCheckColors guards that check uses colors on a terminal, unless NO_COLOR
// says otherwise.
func TestCheckColors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "config.json5"), badFleet)
	for _, row := range []struct {
		env   []string
		color bool
	}{
		{[]string{"NO_COLOR=", "TERM=xterm"}, true},
		{[]string{"NO_COLOR=1", "TERM=xterm"}, false},
		{[]string{"NO_COLOR=", "TERM=dumb"}, false},
	} {
		outside, inside := terminal(t)
		cmd := command(t, dir, row.env, "ai-gateway", "check")
		cmd.Stdout = inside
		var shown bytes.Buffer
		copied := make(chan struct{})
		go func() {
			defer close(copied)
			io.Copy(&shown, outside) // ends with an error when the inside is closed
		}()
		err := cmd.Run()
		inside.Close()
		<-copied
		if code := cmd.ProcessState.ExitCode(); code != 1 {
			t.Errorf("%v: got %v, want exit status 1", row.env, err)
		}
		if !strings.Contains(shown.String(), "error_window: got less than a second") || strings.Contains(shown.String(), "\x1b[1;31merror:\x1b[0m") != row.color ||
			strings.Contains(shown.String(), "\x1b") != row.color {
			t.Errorf("%v: got %q, want colors %v", row.env, &shown, row.color)
		}
	}
}
