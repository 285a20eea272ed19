package integration

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

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

// TestWatchTerminal guards that status --watch redraws a terminal when something
// happens, keeps within its width, and gives the cursor back.
func TestWatchTerminal(t *testing.T) {
	g := start(t)
	g.serves(t, "", startInstances(t, 1)...)
	outside, inside := terminal(t)
	if err := unix.IoctlSetWinsize(int(inside.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 10, Col: 60}); err != nil {
		t.Fatal(err)
	}
	cmd := command(t, g.dir, []string{"CADDY_ADMIN=" + g.admin, "NO_COLOR=1"}, "ai-gateway", "status", "--watch")
	cmd.Stdout = inside
	shown := new(log)
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		io.Copy(shown, outside) // ends with an error when the inside is closed
	}()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	inside.Close()
	eventually(t, "the first status", func() bool { return strings.Contains(shown.String(), "i0        serving") })
	g.steer(t, "drain", "i0")
	eventually(t, "the draining", func() bool { return strings.Contains(shown.String(), "i0        draining") })
	if err := cmd.Process.Signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("got %v, want a good end", err)
	}
	<-copied
	text := shown.String()
	if !strings.HasPrefix(text, "\x1b[?25l") || !strings.HasSuffix(text, "\x1b[?25h") {
		t.Errorf("got %q, want the cursor hidden and shown again", text)
	}
	text = regexp.MustCompile(`\x1b\[[0-9?]*[a-zA-Z]`).ReplaceAllString(text, "")
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimRight(line, "\r") // the terminal adds one
		if n := utf8.RuneCountInString(line); n > 60 {
			t.Errorf("got %d characters, want 60 at most: %s", n, line)
		}
	}
}
