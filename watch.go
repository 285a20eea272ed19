package aigateway

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
)

const (
	// pollInterval is how often the file is read without a notice: network file
	// systems send none, and a change may leave size and time as they were. It is
	// half of the two seconds within which a change is promised to be in force.
	pollInterval = time.Second
	// settleTime is how long after a notice the file is read: editors write in
	// several steps.
	settleTime = 20 * time.Millisecond
	// lookInterval is the least time between two looks that notices ask for. The
	// folder may be one that others write to all the time.
	lookInterval = 100 * time.Millisecond
	// standTime is how long a bad content must stand before it is called bad: it may
	// be one that is still being written.
	standTime = 250 * time.Millisecond
)

// watch looks at the file when its folder changes, and by the clock, until the
// store ends. What is lost of the notices costs no more than pollInterval.
func (s *store) watch() {
	folder := folderWatch{path: filepath.Dir(s.path), logger: s.logger.Load}
	folder.renew()
	defer folder.close()
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	settle := time.NewTimer(0) // what has changed since the file was loaded
	defer settle.Stop()
	waiting := true // for settle
	var last time.Time
	wait := func(least time.Duration) {
		if !waiting {
			waiting = true
			settle.Reset(max(least, lookInterval-time.Since(last)))
		}
	}
	for {
		select {
		case <-s.stop:
			return
		case _, open := <-folder.events:
			folder.check(nil, open)
			wait(settleTime)
			continue
		case err, open := <-folder.errors:
			folder.check(err, open)
			wait(settleTime)
			continue
		case answer := <-s.asked:
			answer <- s.lookNow()
			continue
		case <-settle.C:
			waiting = false
		case <-poll.C:
			folder.renew()
		}
		last = time.Now()
		if s.look() {
			wait(standTime)
		}
	}
}

// folderWatch has the system's notices of what happens in a folder, as long as
// there are any: a watch ends with the folder, which may come back. The folder is
// watched, because a watch on a file is lost when an editor saves by renaming. It
// belongs to one goroutine.
type folderWatch struct {
	path    string
	logger  func() *zap.Logger
	watcher *fsnotify.Watcher // nil for none
	folder  os.FileInfo       // that is watched
	told    string            // what the log has been told last

	events <-chan fsnotify.Event // nil while there is no watcher, as errors
	errors <-chan error
}

// renew watches the folder that is there now, if it is not being watched.
func (w *folderWatch) renew() {
	now, err := os.Stat(w.path)
	if err != nil {
		return // what is wrong with the file is told by who reads it
	}
	if w.watcher != nil && len(w.watcher.WatchList()) > 0 && os.SameFile(now, w.folder) {
		return
	}
	w.close()
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		if err = watcher.Add(w.path); err != nil {
			err = errors.Join(err, watcher.Close())
		}
	}
	if err != nil {
		w.tell("cannot watch the fleet's folder, only looking at the file every second", err)
		return
	}
	w.watcher, w.events, w.errors, w.folder, w.told = watcher, watcher.Events, watcher.Errors, now, ""
}

// check takes a message of the watcher's: an error, or that there will be no more.
func (w *folderWatch) check(err error, open bool) {
	if err != nil {
		w.tell("watching the fleet's folder", err)
	}
	if !open {
		w.close() // until renew
	}
}

// tell tells the log of err, unless it was the last thing to be told.
func (w *folderWatch) tell(message string, err error) {
	if text := err.Error(); text != w.told {
		w.told = text
		w.logger().Warn(message, zap.String("path", w.path), zap.Error(err))
	}
}

func (w *folderWatch) close() {
	if w.watcher != nil {
		_ = w.watcher.Close() // it only reads
	}
	w.watcher, w.events, w.errors = nil, nil, nil
}
