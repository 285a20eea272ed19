package aigateway

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/json5"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/limit"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/page"
)

// store holds one watched file, its current snapshot, and what has been learnt
// of its instances. It lives in a usage pool by the file's absolute path, so that
// a reload of Caddy's configuration changes nothing in it.
type store struct {
	path   string
	snap   atomic.Pointer[snapshot]
	logger atomic.Pointer[zap.Logger] // of the newest configuration

	mu     sync.Mutex // guards what load changes
	states map[string]*instanceState
	models map[string]*modelState
	cfg    *Config // that of the snapshot in force, as held
	held   *recorder
	alerts *alerts // held too, as accounts
	keys   map[keyID]*keyState

	accounts *accounts                // nil while the gateway is open
	usage    atomic.Pointer[accounts] // the same, for those without the lock
	inForce  [sha256.Size]byte        // digest of what it was read from
	seen     [sha256.Size]byte        // of what was looked at last, good or bad
	trial    error                    // why that is not in force, or nil

	// These belong to the watching goroutine.
	since time.Time // of trial
	told  bool      // trial has been told
	bad   bool      // the file has been rejected, and not been put in force since

	openTold  atomic.Bool                      // that anybody can ask
	private   atomic.Pointer[caddyhttp.Server] // the last that was found to listen for this machine alone
	strangers limit.Guard                      // who presents wrong keys
	changes   atomic.Uint64                    // of phases, of all instances
	usher     usher
	resolver  resolver
	ejections sync.Mutex // held while one decides whether it may go

	events   *bulletin
	history  *history
	rejected atomic.Pointer[event] // why the file is not in force, nil if it is

	panel *page.Page // the status page of the admin endpoint

	asked chan chan<- looked // by [store.reload] for a look at the file
	stop  chan struct{}
	done  sync.WaitGroup
}

// endTime bounds how long the end of a store waits for what it has started: a file
// system or a handler of events may hang.
const endTime = 5 * time.Second

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
	s := &store{
		path: path, strangers: limit.Guard{Most: maxWrongKeys, Window: time.Minute, Places: maxStrangers}, usher: usher{bell: make(chan struct{}, 1)},
		events: newBulletin(), history: newHistory(), resolver: newResolver(), asked: make(chan chan<- looked), stop: make(chan struct{}),
	}
	s.subscribe(s.history.add)
	s.panel = newPanel(s)
	s.logger.Store(logger)
	if _, _, err := s.load(); err != nil {
		return nil, errors.Join(err, s.letGo())
	}
	s.subscribe((&teller{store: s, to: s.alerts}).tell)
	swapTime.SetToCurrentTime()
	s.done.Go(s.watch)
	s.done.Go(newObserver(s).run)
	s.done.Go(s.ushers)
	if pollsEngines {
		s.done.Go(newPoller(s).run)
	}
	s.done.Go(s.resolves)
	return s, nil
}

// Destruct ends the watching and waits for it.
func (s *store) Destruct() error {
	close(s.stop)
	s.panel.Close()
	ended := make(chan struct{})
	go func() {
		s.done.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(endTime):
		return fmt.Errorf("store of %s has not ended within %v", s.path, endTime)
	}
	if s.bad {
		badFiles.Add(-1)
	}
	return s.letGo()
}

// letGo gives up what the store holds.
func (s *store) letGo() (err error) {
	if s.held != nil {
		err = releaseRecorder(s.held)
	}
	if s.alerts != nil {
		err = errors.Join(err, s.alerts.release(s))
	}
	if s.accounts != nil {
		err = errors.Join(err, releaseAccounts(s.accounts))
	}
	return err
}

// snapshot returns the one in force. It is never nil.
func (s *store) snapshot() *snapshot { return s.snap.Load() }

// load reads the file and puts it in force, unless it is as it was when looked at
// before. It returns what a good content changes; on an error the last good one
// stays in force. News is false if nothing is new, the error included.
func (s *store) load() (changed *swap, news bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, err := readRegular(s.path, json5.MaxSize)
	if err != nil {
		err = fmt.Errorf("reading the fleet's file: %w", err)
	}
	sum := digest(text, err, filepath.Dir(s.path))
	if sum == s.seen {
		return nil, false, s.trial
	}
	s.seen, s.trial = sum, err
	if sum == s.inForce { // it was bad in between
		return new(swap), true, nil
	}
	if err != nil {
		return nil, true, err
	}
	dir := filepath.Dir(s.path)
	read := readConfig(text, dir)
	cfg, err := read.result(dir)
	if err != nil {
		s.trial = fmt.Errorf("%s: %w", s.path, detailed{err})
		return nil, true, s.trial
	}
	was, before := s.cfg, s.snapshot()
	s.resolver.prepare(cfg, clock(), firstLookup)
	if s.trial = s.publish(cfg); s.trial != nil {
		return nil, true, s.trial
	}
	s.resolver.forget(cfg)
	s.warn(read.warnings(dir, permissions(s.path)))
	s.inForce = sum
	return newSwap(was, before, cfg, s.snapshot()), true, nil
}

// digest tells contents apart: the text of a file that stands in dir, or why it
// cannot be read, and of the files that its placeholders name.
func digest(text []byte, err error, dir string) (sum [sha256.Size]byte) {
	h := sha256.New()
	note := func(text []byte, err error) {
		fmt.Fprintln(h, len(text), err)
		h.Write(text)
	}
	note(text, err)
	known := make(map[string]bool)
	noteFiles := func(text []byte) {
		for {
			_, after, found := bytes.Cut(text, []byte("{file."))
			name, rest, closed := bytes.Cut(after, []byte("}"))
			if !found || !closed || len(known) > maxSecretFiles {
				return
			}
			text = rest
			if path := string(name); !known[path] {
				known[path] = true
				note(readRegular(beside(dir, path), maxSecretFile))
			}
		}
	}
	noteFiles(text)
	if !bytes.Contains(text, []byte("keys_file")) {
		return [sha256.Size]byte(h.Sum(nil))
	}
	for _, member := range keysFileMember.FindAllSubmatch(text, maxKeysFiles) {
		path, err := expandPlaceholders(string(member[1])+string(member[2]), dir)
		if err != nil {
			continue // the text is bad, and says so
		}
		list, err := readRegular(beside(dir, path), int64(keysFileLimits.Size))
		note(list, err)
		noteFiles(list)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// keysFileMember finds keys_file in a text that need not be right. One in a comment is
// found too, and does no harm.
var keysFileMember = regexp.MustCompile(`keys_file["']?\s*:\s*(?:"([^"\\\n]*)"|'([^'\\\n]*)')`)

// maxKeysFiles bounds how many such places are looked at.
const maxKeysFiles = 10

// maxSecretFiles bounds how many files of placeholders are watched.
const maxSecretFiles = 1000

// detailed shows each mistake with its source line.
type detailed struct{ error }

// maxTold is how many mistakes are shown: nobody mends more at once.
const maxTold = 20

func (d detailed) Error() string {
	if all, ok := errors.AsType[json5.Errors](d.error); ok && len(all) > maxTold {
		return all[:maxTold].Detail() + fmt.Sprintf("\nand %d more mistakes", len(all)-maxTold)
	}
	if e, ok := d.error.(interface{ Detail() string }); ok {
		return e.Detail()
	}
	return d.error.Error()
}

func (d detailed) Unwrap() error { return d.error }

// look loads the file and tells once what came of it. It asks to be called again
// soon if there is a new mistake, which may be there only because the file is still
// being written.
func (s *store) look() (again bool) {
	changed, news, err := s.load()
	switch {
	case err != nil && news:
		s.told, s.since = false, time.Now()
		return true
	case err != nil && !s.told:
		if time.Since(s.since) < standTime {
			return true
		}
		s.told = true
		s.rejects(err)
	case err == nil && news && (changed != nil || s.bad):
		s.applies(changed)
	}
	return false
}

// looked is what came of a look at the file.
type looked struct {
	changed *swap // nil for nothing
	err     error
}

// lookNow loads the file for somebody who has asked for it, and tells at once.
func (s *store) lookNow() looked {
	changed, news, err := s.load()
	switch {
	case err != nil && (news || !s.told):
		s.told = true
		s.rejects(err)
	case err == nil && news && (changed != nil || s.bad):
		s.applies(changed)
	}
	return looked{changed, err}
}

// rejects tells that the file is bad.
func (s *store) rejects(err error) {
	s.logger.Load().Error("fleet's file is not valid, the last good one stays in force", zap.String("path", s.path), zap.Error(err))
	if !s.bad {
		s.bad = true
		badFiles.Add(1)
	}
	e := rejection(s.path, err)
	s.rejected.Store(&e)
	s.events.emit(e)
}

// applies tells that the file is in force, and what that changes: nil for nothing,
// not even comments.
func (s *store) applies(changed *swap) {
	if s.bad {
		s.bad = false
		badFiles.Add(-1)
		s.rejected.Store(nil)
	}
	swapTime.SetToCurrentTime()
	message := "fleet's file is in force"
	if changed.empty() {
		message = "fleet's file is in force, it says the same as before"
	}
	fleet := s.snapshot().fleet
	s.logger.Load().Info(message, append(changed.fields(),
		zap.String("path", s.path), zap.Int("instances", len(fleet.instances)), zap.Int("models", len(fleet.models)))...)
	s.events.emit(event{kind: configApplied, path: s.path, cause: changed.String(), count: changed.count()})
}
