package hourly

import (
	"bytes"
	"io"
	"time"
)

// series is what a [Writer] knows of one [Series]: its open file, the lines that
// wait to be written to it, and what went wrong.
type series struct {
	w    *Writer
	name Series

	buf      []byte    // whole lines, joinMax bytes at most
	lines    int       // in buf
	buffered time.Time // when the oldest of them came

	file    *opened // nil if none is open
	index   int     // the lowest index of a file of this hour that is trusted
	checked time.Time

	unsynced      int       // lines written since the last fsync
	unstarted     int       // bytes written since the disk was last set to work
	unsyncedSince time.Time // when the oldest of them came

	failure *Error    // why nothing is written at present, or nil
	retry   time.Time // when it is tried again
	spoiled int       // files given up in a row
}

// append takes one line, or says why not.
func (s *series) append(line []byte, now time.Time) *Error {
	if len(s.buf)+len(line) > joinMax {
		// Lines stay in order: what waits goes first. If it cannot go, a line that
		// still fits may wait with it.
		if err := s.flush(now); err != nil && len(s.buf)+len(line) > joinMax {
			return err
		}
	}
	if len(line) > joinMax {
		_, err := s.write(line, 1, now, now)
		return err
	}
	if len(s.buf) == 0 {
		s.buffered = now
	}
	s.buf = append(s.buf, line...)
	s.lines++
	return nil
}

// tick writes and syncs what has waited long enough.
func (s *series) tick(now time.Time) {
	if len(s.buf) > 0 && due(s.buffered, now, flushAfter) {
		_ = s.flush(now) // has been reported; the lines wait
	}
	if s.unsynced > 0 && due(s.unsyncedSince, now, syncAfter) {
		_ = s.flush(now) // one fsync for all that is here
		s.sync(now)
	}
}

// next returns when tick has something to do, or the zero time.
func (s *series) next() (at time.Time) {
	earliest := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	if len(s.buf) > 0 {
		t := s.buffered.Add(flushAfter)
		if s.failure != nil && t.Before(s.retry) {
			t = s.retry
		}
		earliest(t)
	}
	if s.unsynced > 0 {
		earliest(s.unsyncedSince.Add(syncAfter))
	}
	if s.file != nil || len(s.buf) > 0 {
		earliest(s.w.until)
	}
	return at
}

// flush writes the lines that wait. Without an error none is left.
func (s *series) flush(now time.Time) *Error {
	if len(s.buf) == 0 {
		return nil
	}
	n, err := s.write(s.buf, s.lines, s.buffered, now)
	s.buf, s.lines = s.buf[:copy(s.buf, s.buf[n:])], 0
	if err != nil {
		s.lines = linesOf(s.buf)
	}
	return err
}

func linesOf(p []byte) int { return bytes.Count(p, []byte{'\n'}) }

// write appends whole lines, the oldest of which came at since, with one call. It
// returns how many bytes of whole lines are in the file: all of p without an error,
// and never half a line.
func (s *series) write(p []byte, lines int, since, now time.Time) (int, *Error) {
	if s.failure != nil && now.Before(s.retry) && s.retry.Sub(now) <= maxRest {
		return 0, s.failure
	}
	if err := s.ready(now); err != nil {
		return 0, err
	}
	n, err := s.file.file.Write(p)
	if n == len(p) {
		s.wrote(len(p), lines, since)
		if s.unstarted >= startSize {
			s.unstarted = 0
			s.file.file.StartSync()
		}
		if s.failure != nil && s.failure.Reason != SyncFailed { // that, only an fsync can refute
			s.resume()
		}
		return n, nil
	}
	if err == nil {
		err = io.ErrShortWrite
	}
	path := s.file.path
	whole, spoiled := s.cut(p[:n])
	s.wrote(whole, linesOf(p[:whole]), since)
	e := errorOf("writing", path, IOError, err)
	if spoiled || e.Reason == FileLimit && s.hasLines() {
		s.sync(now) // what it has is good
		s.spoil()
	}
	return whole, s.fail(now, e)
}

// hasLines reports whether anything is in the open file. If a file may not grow
// although it is empty, the line is too long, and another file is no better.
func (s *series) hasLines() bool {
	info, err := s.file.file.Stat()
	return err == nil && info.Size() > 0
}

// wrote counts lines that the file has and the disk may not have.
func (s *series) wrote(bytes, lines int, since time.Time) {
	if lines == 0 {
		return
	}
	if s.unsynced == 0 {
		s.unsyncedSince = since
	}
	s.unsynced += lines
	s.unstarted += bytes
}

// cut takes the half line at the end of written off the file. It returns how many
// bytes are left of written, and whether the half line is still there. Then no line
// may follow it: the file is given up, for Recover or the Keeper to mend. A line
// feed behind it instead would leave a line that no reader takes for good.
func (s *series) cut(written []byte) (whole int, spoiled bool) {
	whole = bytes.LastIndexByte(written, '\n') + 1
	if whole == len(written) {
		return whole, false
	}
	// The size is asked for, since others may have truncated the file meanwhile.
	info, err := s.file.file.Stat()
	if err != nil {
		return whole, true
	}
	return whole, s.file.file.Truncate(info.Size()-int64(len(written)-whole)) != nil
}

// ready makes sure that a file is open and still the one that its name means.
func (s *series) ready(now time.Time) *Error {
	if s.file != nil && due(s.checked, now, checkAfter) {
		s.checked = now
		info, err := s.w.fs.Lstat(s.file.path)
		if err != nil || !s.w.fs.SameFile(info, s.file.info) {
			s.w.report(Event{Kind: Replaced, Path: s.file.path})
			s.sync(now) // whoever renamed it wants it whole
			s.close()
		}
	}
	if s.file != nil {
		return nil
	}
	o, err := s.w.open(s.name, s.w.hour, s.index)
	if err != nil {
		return s.fail(now, asError(err))
	}
	s.file, s.checked = o, now
	return nil
}

// sync makes what was written durable. After a failure the file is given up: the
// kernel marks the pages that it could not write as clean, and the next fsync
// succeeds without them.
func (s *series) sync(now time.Time) {
	if s.file == nil || s.unsynced == 0 {
		return
	}
	if err := s.file.file.Sync(); err != nil {
		e := errorOf("syncing", s.file.path, SyncFailed, err)
		s.w.report(Event{Kind: Unsynced, Path: s.file.path, Lines: s.unsynced, Err: e})
		e = &Error{SyncFailed, e.Op, e.Path, e.Err} // lines are refused for that, whatever the disk said
		s.spoil()
		_ = s.fail(now, e) // is reported there
		return
	}
	s.unsynced, s.unstarted = 0, 0
	if s.failure != nil && s.failure.Reason == SyncFailed {
		s.resume()
	}
	if s.failure == nil {
		s.spoiled = 0
	}
}

// spoil gives the file up, so that the next line begins another one.
func (s *series) spoil() {
	if s.file == nil {
		return
	}
	s.index = s.file.index + 1
	s.spoiled++
	_ = s.file.file.Close() // no worse than it is
	s.file, s.unsynced, s.unstarted = nil, 0, 0
}

// close closes the file.
func (s *series) close() {
	if s.file == nil {
		return
	}
	if err := s.file.file.Close(); err != nil {
		e := errorOf("closing", s.file.path, SyncFailed, err)
		s.w.report(Event{Kind: Unsynced, Path: s.file.path, Lines: s.unsynced, Err: e})
	}
	s.file, s.unsynced, s.unstarted = nil, 0, 0
}

// finish ends the hour's file. Lines that cannot be written now go to the next one.
func (s *series) finish(now time.Time) {
	s.retry = time.Time{}
	_ = s.flush(now) // has been reported; the lines wait
	s.sync(now)
	s.close()
	s.index, s.spoiled = 1, 0
}

// lose gives up the lines that wait.
func (s *series) lose() {
	if len(s.buf) == 0 {
		return
	}
	s.w.report(Event{Kind: Lost, Path: s.failure.Path, Lines: s.lines, Bytes: int64(len(s.buf)), Err: s.failure})
	s.buf, s.lines = nil, 0
}

// maxRest is the longest rest between two tries; longer ones are a clock set back.
const maxRest = 4 * retryAfter

// fail lets the series rest and returns e. Files given up in a row lengthen the
// rest, so that an hour's names last for the hour.
func (s *series) fail(now time.Time, e *Error) *Error {
	if s.failure == nil {
		s.w.report(Event{Kind: Failing, Path: e.Path, Err: e})
	}
	s.failure = e
	s.retry = now.Add(min(retryAfter<<min(max(s.spoiled-1, 0), 8), maxRest))
	return e
}

// resume tells that the series is well again.
func (s *series) resume() {
	s.failure = nil
	s.w.report(Event{Kind: Resumed, Path: s.file.path})
}
