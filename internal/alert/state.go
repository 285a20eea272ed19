package alert

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/hourly"
)

const (
	stateFile    = "alerts_state.json"
	stateVersion = 1
	maxState     = 64 << 20 // bytes of the state file that are read
)

// state is what the state file holds.
type state struct {
	Version   int                `json:"version"`
	Entries   []entry            `json:"entries"`
	Flushes   map[Kind]flush     `json:"flushes"`
	Pending   map[string][]Group `json:"pending"`   // undelivered, by receiver
	Receivers []string           `json:"receivers"` // who has been told
}

// replace writes a file for its owner alone, in full or not at all.
func replace(path string, text []byte) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// One name, so that a kill leaves no more than one behind; what a link there points
	// to is not touched.
	temporary := filepath.Join(dir, "."+filepath.Base(path)+".new")
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temporary) // the first error says more
		}
	}()
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return err
	}
	if err := hourly.OS.SyncDir(dir); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// loadState reads the state file of dir. There is none before the first alert.
func loadState(dir string) (*state, error) {
	path := filepath.Join(dir, stateFile)
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	text, err := io.ReadAll(io.LimitReader(f, maxState))
	if err != nil {
		return nil, err
	}
	var s state
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if s.Version != stateVersion {
		return nil, fmt.Errorf("%s has version %d, want %d", path, s.Version, stateVersion)
	}
	return &s, nil
}
