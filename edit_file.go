package aigateway

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/json5"
)

// fleetEdit changes a fleet's file.
type fleetEdit struct {
	Config string // path of the file
	DryRun bool   // shows the change instead
}

// fleetChange returns the new text, or nil if there is nothing to do, and says what it does.
// It may be asked again, with a newer content of the file.
type fleetChange func(f *fleetText) (text []byte, done string, err error)

// errChanged is returned when somebody else has changed the file since it was read.
var errChanged = errors.New("it changes all the time")

// run makes the change and tells what it did.
func (e *fleetEdit) run(cmd *cobra.Command, change fleetChange) error {
	path, err := filepath.Abs(e.Config)
	if err != nil {
		return fmt.Errorf("finding %s: %w", e.Config, err)
	}
	work := writeEdited
	if e.DryRun {
		work = edited
	}
	step, done, err := work(path, change)
	stdout, stderr := cmd.OutOrStdout(), cmd.ErrOrStderr()
	switch {
	case err != nil:
		return fmt.Errorf("editing %s: %w", e.Config, err)
	case e.DryRun && step != nil:
		fmt.Fprint(stdout, step.diff(e.Config))
	case e.DryRun:
		fmt.Fprintln(stderr, done)
	default:
		fmt.Fprintln(stdout, done)
	}
	if step != nil {
		for _, name := range slices.Sorted(maps.Keys(step.after.excused)) {
			fmt.Fprintf(stderr, "note: what {%s} stands for is not checked: %v\n", name, step.after.excused[name])
		}
	}
	return nil
}

// fleetStep is a content of the file and the one that shall take its place.
type fleetStep struct{ before, after *fleetText }

// edited reads the file at path and returns what the change makes of it, nil if there is
// nothing to do.
func edited(path string, change fleetChange) (step *fleetStep, done string, err error) {
	text, err := readRegular(path, json5.MaxSize)
	if err != nil {
		return nil, "", err
	}
	before, err := readFleetText(text, filepath.Dir(path), nil)
	if err != nil {
		return nil, "", fmt.Errorf("it has mistakes, which must be mended first: %w", err)
	}
	changed, done, err := change(before)
	if err != nil || changed == nil {
		return nil, done, err
	}
	after, err := readFleetText(changed, filepath.Dir(path), before)
	if err != nil {
		return nil, "", fmt.Errorf("it would not be valid, and stays as it was: %w", err)
	}
	return &fleetStep{before, after}, done, nil
}

// writeEdited makes the change in the file at path, or in the one that links there lead
// to. Edits exclude one another by a lock of the folder; if something else changes the
// file meanwhile, the change is made anew.
func writeEdited(path string, change fleetChange) (step *fleetStep, done string, err error) {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, "", err
	}
	unlock, err := lockFolder(filepath.Dir(target))
	if err != nil {
		return nil, "", hint(err)
	}
	defer unlock()
	const most = 100
	for range most {
		if step, done, err = edited(path, change); err != nil || step == nil {
			return nil, done, err
		}
		if err = replaceFile(target, step.before.text, step.after.text); !errors.Is(err, errChanged) {
			break
		}
	}
	if err == nil {
		err = syncFolder(filepath.Dir(target))
	}
	return step, done, hint(err)
}

// replaceFile puts a new file with text in the place of the one at path, with its mode and
// owner. It returns errChanged if that one no longer holds before.
func replaceFile(path string, before, text []byte) (err error) {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.edit") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // it goes anyway
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	for _, step := range []func() error{
		func() error { return keepOwner(f, info) },
		func() error { return f.Chmod(info.Mode().Perm()) },
		func() error { _, err := f.Write(text); return err },
		f.Sync,
		f.Close,
		func() error {
			now, err := readRegular(path, json5.MaxSize)
			if err == nil && !bytes.Equal(now, before) {
				err = errChanged
			}
			return err
		},
		func() error { return os.Rename(f.Name(), path) },
	} {
		if err = step(); err != nil {
			return err
		}
	}
	return nil
}

// hint adds to an error of the file system what to do about it.
func hint(err error) error {
	switch {
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: its folder is mounted read-only, such as a ConfigMap's; change it at its source", err)
	case errors.Is(err, syscall.EBUSY):
		return fmt.Errorf("%w: the file is mounted on its own; mount its folder instead, so that it can be replaced", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: want the right to write to its folder, and to keep its owner", err)
	}
	return err
}

// placeholdersOnly matches a value that is no secret, only the way to one.
var placeholdersOnly = regexp.MustCompile(`^(Bearer )?\{(env|file)\.[^{}]*\}$`)

// diff shows the step for people, keys hidden.
func (s *fleetStep) diff(name string) string {
	return unifiedDiff(name, s.before.text, s.after.text,
		s.before.doc.Masked(placeholdersOnly.MatchString), s.after.doc.Masked(placeholdersOnly.MatchString))
}
