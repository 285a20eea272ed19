package hourly

import "time"

// durability is what a [series] knows of how much of its file is on the disk.
type durability struct {
	unsynced      int       // lines written since the last fsync began that succeeded
	unstarted     int       // bytes written since the disk was last set to work
	unsyncedSince time.Time // when the oldest line came that no fsync covers

	running <-chan error // the result of an fsync under way, or nil
	covered int          // lines of unsynced that it covers
	look    time.Time    // when it is looked after next
}

// lookAgain is how often an fsync under way is looked after.
const lookAgain = 25 * time.Millisecond

// waiting is how many lines no fsync covers.
func (d *durability) waiting() int { return d.unsynced - d.covered }

// wrote counts lines that the file has and the disk may not have.
func (d *durability) wrote(bytes, lines int, since time.Time) {
	if lines == 0 {
		return
	}
	if d.waiting() == 0 {
		d.unsyncedSince = since
	}
	d.unsynced += lines
	d.unstarted += bytes
}

// start sets the disk to work, if enough has come. Beside an fsync it would wait for that.
func (s *series) start(now time.Time) {
	if s.unstarted < startSize {
		return
	}
	if s.lookAfter(now); s.running == nil && s.file != nil {
		s.unstarted = 0
		s.file.file.StartSync()
	}
}

// syncBeside begins an fsync, beside which lines go on to be written: those of a busy
// second may take a tenth of one, and what comes meanwhile would be held in memory.
func (s *series) syncBeside(now time.Time) {
	if s.file == nil || s.unsynced == 0 {
		return
	}
	s.running, s.covered, s.unstarted = s.file.file.SyncBeside(), s.unsynced, 0
	s.lookAfter(now)
}

// lookAfter takes the result of the fsync under way, if it is there.
func (s *series) lookAfter(now time.Time) {
	if s.running == nil {
		return
	}
	select {
	case err := <-s.running:
		s.synced(err, now)
	default:
		s.look = now.Add(lookAgain)
	}
}

// sync makes what was written durable, and waits for it.
func (s *series) sync(now time.Time) {
	if s.running != nil {
		s.synced(<-s.running, now)
	}
	if s.file != nil && s.unsynced > 0 {
		s.covered, s.unstarted = s.unsynced, 0
		s.synced(s.file.file.Sync(), now)
	}
}

// synced takes the result of an fsync. After a failure the file is given up: the kernel
// marks the pages that it could not write as clean, and the next fsync succeeds without
// them.
func (s *series) synced(err error, now time.Time) {
	if err != nil {
		e := errorOf("syncing", s.file.path, SyncFailed, err)
		s.w.report(Event{Kind: Unsynced, Path: s.file.path, Lines: s.unsynced, Err: e})
		e = &Error{SyncFailed, e.Op, e.Path, e.Err} // lines are refused for that, whatever the disk said
		s.spoil()
		_ = s.fail(now, e) // is reported there
		return
	}
	s.unsynced -= s.covered
	s.running, s.covered = nil, 0
	if s.failure != nil && s.failure.Reason == SyncFailed {
		s.resume()
	}
	if s.failure == nil {
		s.spoiled = 0
	}
}
