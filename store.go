package aigateway

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/json5"
)

// pollInterval is how often the file is looked at without being told: some
// changes, such as a Kubernetes ConfigMap's, reach no watcher reliably.
const pollInterval = 2 * time.Second

// settleTime is how long after a notice the file is read: editors write in
// several steps.
const settleTime = 20 * time.Millisecond

// snapshot is what one content of the file means. It is immutable, but for the
// states of its instances; a request keeps the one that it began with.
type snapshot struct {
	fleet        *fleet
	strategy     string
	threshold    int // of errors that eject
	errorWindow  time.Duration
	retries      retries
	keepalive    time.Duration
	record       *recordSettings // nil if nothing is recorded
	recorder     *recorder       // nil if nothing is recorded
	engineRoutes []string
	loaded       time.Time
}

// available returns the names of the models for an error's text.
func (s *snapshot) available() []string {
	if s.fleet.any != nil {
		return append(slices.Clone(s.fleet.models), anyModel)
	}
	return s.fleet.models
}

// store holds one watched file, its current snapshot, and what has been learnt
// of its instances. It lives in a usage pool by the file's absolute path, so that
// a reload of Caddy's configuration changes nothing in it.
type store struct {
	path   string
	snap   atomic.Pointer[snapshot]
	logger atomic.Pointer[zap.Logger] // of the newest configuration

	mu      sync.Mutex // guards what load changes
	states  map[string]*instanceState
	budgets map[string]*retryBudget // by model
	seen    [sha256.Size]byte       // of the content that was looked at last, good or bad
	trial   error                   // why it is not in force, or nil
	held    *recorder               // that of the snapshot in force

	changes   atomic.Uint64 // of phases, of all instances
	ejections sync.Mutex    // held while one decides whether it may go

	stop chan struct{}
	done sync.WaitGroup
}

var stores = caddy.NewUsagePool()

// acquireStore returns the store of the file at path, which it loads and begins
// to watch if this is the first holder. The error tells every mistake in the file.
func acquireStore(path string, logger *zap.Logger) (*store, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("finding %s: %w", path, err)
	}
	v, _, err := stores.LoadOrNew(absolute, func() (caddy.Destructor, error) { return newStore(absolute, logger) })
	if err != nil {
		return nil, err
	}
	s := v.(*store)
	s.logger.Store(logger)
	return s, nil
}

// releaseStore gives up one hold; the last one ends the watching.
func releaseStore(s *store) error {
	_, err := stores.Delete(s.path)
	return err
}

func newStore(path string, logger *zap.Logger) (*store, error) {
	s := &store{path: path, stop: make(chan struct{})}
	s.logger.Store(logger)
	// A change while the watch is being set up shows by this stamp at the first look.
	last := fileStamp(path)
	if err := s.load(); err != nil {
		return nil, err
	}
	s.done.Go(func() { s.watch(last) })
	return s, nil
}

// Destruct ends the watching and waits for it.
func (s *store) Destruct() error {
	close(s.stop)
	s.done.Wait()
	if s.held == nil {
		return nil
	}
	return releaseRecorder(s.held)
}

// snapshot returns the one in force. It is never nil.
func (s *store) snapshot() *snapshot { return s.snap.Load() }

// load reads the file and puts it in force, unless it has been looked at before.
// On an error the last good content stays in force.
func (s *store) load() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, err := readRegular(s.path, json5.MaxSize)
	if err != nil {
		err = fmt.Errorf("reading the fleet's file: %w", err)
		if s.trial != nil && s.trial.Error() == err.Error() {
			return nil // told before
		}
		s.seen, s.trial = [sha256.Size]byte{}, err
		return err
	}
	if sum := sha256.Sum256(text); sum == s.seen {
		return nil
	} else {
		s.seen = sum
	}
	var cfg *Config
	if cfg, s.trial = parseConfig(text, filepath.Dir(s.path)); s.trial != nil {
		s.trial = fmt.Errorf("%s: %w", s.path, detailed{s.trial})
		return s.trial
	}
	if s.trial = s.publish(cfg); s.trial == nil {
		s.warn(text)
	}
	return s.trial
}

// detailed shows each mistake with its source line.
type detailed struct{ error }

func (d detailed) Error() string {
	if e, ok := d.error.(interface{ Detail() string }); ok {
		return e.Detail()
	}
	return d.error.Error()
}

func (d detailed) Unwrap() error { return d.error }

// publish builds the snapshot of a checked configuration and puts it in force.
// Instances whose ID is known keep their state.
func (s *store) publish(cfg *Config) error {
	record := newRecordSettings(&cfg.Record)
	rec, err := s.newRecorder(cfg.DataDir, record)
	if err != nil {
		return err
	}
	entries := append(slices.Clone(cfg.Instances), cfg.FallbackInstances...)
	states := make(map[string]*instanceState, len(entries))
	shared := defaultDeadlines.with(&cfg.Timeouts)
	instances := make([]*instance, len(entries))
	for n, id := range instanceIDs(entries) {
		state := s.states[id]
		if state == nil {
			state = new(instanceState)
			state.health.changes = &s.changes
		}
		if key := sha256.Sum256([]byte(entries[n].APIKey)); state.key != key {
			state.key = key
			state.health.keyChanged(clock())
		}
		state.drain.Store(entries[n].Drain)
		states[id] = state
		t := primary
		if n >= len(cfg.Instances) {
			t = fallback
		}
		instances[n] = newInstance(entries[n], t, id, state)
		instances[n].deadlines = shared.with(&entries[n].Timeouts)
	}
	s.states = states
	budgets := make(map[string]*retryBudget)
	maps.Copy(budgets, s.budgets)
	fleet := newFleet(instances, budgets, &s.changes)
	maps.DeleteFunc(budgets, func(model string, _ *retryBudget) bool { return model != anyModel && fleet.pools[model] == nil })
	s.budgets = budgets
	s.changes.Add(1)
	s.snap.Store(&snapshot{
		fleet: fleet, strategy: cfg.LoadBalancingStrategy, threshold: cfg.ErrorThreshold, errorWindow: time.Duration(cfg.ErrorWindow),
		retries: retries{
			attempts: cfg.Retries.Attempts, time: time.Duration(cfg.Retries.Time), ratio: cfg.Retries.Ratio, maxBody: cfg.Retries.MaxBody,
		},
		keepalive: time.Duration(cfg.StreamKeepalive), record: record, recorder: rec, engineRoutes: cfg.EngineRoutes, loaded: time.Now(),
	})
	return nil
}

// newRecorder acquires the recorder of dir, and gives up that of the snapshot in
// force once the new one is; it is the same as long as data_dir stays.
func (s *store) newRecorder(dir string, settings *recordSettings) (rec *recorder, err error) {
	before := s.held
	if settings != nil {
		if rec, err = acquireRecorder(dir, settings, s.logger.Load()); err != nil {
			return nil, err
		}
	}
	s.held = rec
	if before != nil {
		if err := releaseRecorder(before); err != nil { // no reason to refuse the new file
			s.logger.Load().Error("ending the recorder", zap.Error(err))
		}
	}
	return rec, nil
}

// watch loads the file when its folder changes, and by the clock. Last is the
// file's stamp from before it was loaded.
func (s *store) watch(last stamp) {
	watcher, events, failures := s.newWatcher()
	if watcher != nil {
		defer watcher.Close() //nolint:errcheck // nothing was written
	}
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	settle := time.NewTimer(pollInterval)
	settle.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-events:
			settle.Reset(settleTime)
			continue
		case err := <-failures:
			s.logger.Load().Warn("watching the fleet's folder", zap.String("path", s.path), zap.Error(err))
			continue
		case <-settle.C:
		case <-poll.C:
			if now := fileStamp(s.path); now == last {
				continue
			}
		}
		last = fileStamp(s.path)
		s.reload()
	}
}

// newWatcher watches the file's folder: a watch on the file itself is lost when
// an editor saves by renaming. Without a watcher polling remains.
func (s *store) newWatcher() (*fsnotify.Watcher, <-chan fsnotify.Event, <-chan error) {
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		if err = watcher.Add(filepath.Dir(s.path)); err == nil {
			return watcher, watcher.Events, watcher.Errors
		}
		err = errors.Join(err, watcher.Close())
	}
	s.logger.Load().Warn("cannot watch the fleet's folder, looking at the file every two seconds instead",
		zap.String("path", s.path), zap.Error(err))
	return nil, nil, nil
}

// reload loads the file and tells the log once what came of it.
func (s *store) reload() {
	before := s.snapshot()
	if err := s.load(); err != nil {
		s.logger.Load().Error("fleet's file is not valid, the last good one stays in force", zap.String("path", s.path), zap.Error(err))
		return
	}
	if after := s.snapshot(); after != before {
		s.logger.Load().Info("fleet's file is in force",
			zap.String("path", s.path), zap.Int("instances", len(after.fleet.instances)), zap.Strings("models", after.fleet.models))
	}
}

// stamp is what shows cheaply that a file may have changed.
type stamp struct {
	size     int64
	modified time.Time
	content  [sha256.Size]byte
}

// fileStamp returns the stamp of the file behind path, of which links are
// followed; the zero stamp if there is none. Small files are read, for a change
// may leave size and time as they were.
func fileStamp(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	st := stamp{size: info.Size(), modified: info.ModTime()}
	if info.Mode().IsRegular() && info.Size() <= 1<<20 {
		if text, err := readRegular(path, 1<<20); err == nil {
			st.content = sha256.Sum256(bytes.TrimSpace(text))
		}
	}
	return st
}
