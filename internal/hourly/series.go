package hourly

import (
	"io"
	"time"
)

// series is what a [Writer] knows of one [Series]: its open file, the lines that
// wait to be written to it, and what went wrong.
type series struct {
	w    *Writer
	name Series

	buf      []byte    // whole lines, joinMax bytes at most
	one      [1][]byte // buf, as lines
	lines    int       // in buf
	buffered time.Time // when the oldest of them came

	file    *opened // nil if none is open
	index   int     // the lowest index of a file of this hour that is trusted
	checked time.Time

	durability

	failure *Error    // why nothing is written at present, or nil
	retry   time.Time // when it is tried again
	spoiled int       // files given up in a row
}

// append takes lines, and returns how many. Without an error these are all.
func (s *series) append(l lines, now time.Time) (taken int, _ *Error) {
	if len(s.buf)+l.size > joinMax {
		// Lines stay in order: what waits goes first. If it cannot go, a line that
		// still fits may wait with it.
		if err := s.flush(now); err != nil && len(s.buf)+l.size > joinMax {
			return 0, err
		}
	}
	if l.size > joinMax {
		_, taken, err := s.write(l, now, now)
		return taken, err
	}
	if len(s.buf) == 0 {
		s.buffered = now
	}
	for _, p := range l.parts {
		s.buf = append(s.buf, p...)
	}
	s.lines += l.count
	return l.count, nil
}

// tick writes and syncs what has waited long enough.
func (s *series) tick(now time.Time) {
	if len(s.buf) > 0 && due(s.buffered, now, flushAfter) {
		_ = s.flush(now) // has been reported; the lines wait
	}
	s.lookAfter(now)
	if s.waiting() > 0 && s.running == nil && due(s.unsyncedSince, now, syncAfter) {
		_ = s.flush(now) // one fsync for all that is here
		s.syncBeside(now)
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
	switch {
	case s.running != nil:
		earliest(s.look)
	case s.unsynced > 0:
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
	s.one[0] = s.buf
	n, written, err := s.write(lines{s.one[:], len(s.buf), s.lines}, s.buffered, now)
	s.buf, s.lines = s.buf[:copy(s.buf, s.buf[n:])], s.lines-written
	s.one[0] = nil
	return err
}

// write appends lines, the oldest of which came at since, with one call. It returns how
// many bytes and lines are in the file then: all without an error, and never half a
// line.
func (s *series) write(l lines, since, now time.Time) (size, count int, _ *Error) {
	if s.failure != nil && now.Before(s.retry) && s.retry.Sub(now) <= maxRest {
		return 0, 0, s.failure
	}
	if err := s.ready(now); err != nil {
		return 0, 0, err
	}
	n, err := s.put(l.parts)
	if n == l.size {
		s.wrote(l.size, l.count, since)
		s.start(now)
		if s.failure != nil && s.failure.Reason != SyncFailed { // that, only an fsync can refute
			s.resume()
		}
		return l.size, l.count, nil
	}
	if err == nil {
		err = io.ErrShortWrite
	}
	path := s.file.path
	size, count = l.whole(n)
	spoiled := s.cut(n - size)
	s.wrote(size, count, since)
	e := errorOf("writing", path, IOError, err)
	if spoiled || e.Reason == FileLimit && s.hasLines() {
		s.sync(now) // what it has is good
		s.spoil()
	}
	return size, count, s.fail(now, e)
}

func (s *series) put(parts [][]byte) (int, error) {
	if len(parts) == 1 {
		return s.file.file.Write(parts[0])
	}
	return s.file.file.WriteParts(parts)
}

// hasLines reports whether anything is in the open file. If a file may not grow
// although it is empty, the line is too long, and another file is no better.
func (s *series) hasLines() bool {
	info, err := s.file.file.Stat()
	return err == nil && info.Size() > 0
}

// cut takes the n bytes of a half line off the end of the file. It returns whether the
// half line is still there. Then no line may follow it: the file is given up, for
// Recover or the Keeper to mend. A line feed behind it instead would leave a line that
// no reader takes for good.
func (s *series) cut(n int) (spoiled bool) {
	if n == 0 {
		return false
	}
	// The size is asked for, since others may have truncated the file meanwhile.
	info, err := s.file.file.Stat()
	if err != nil {
		return true
	}
	return s.file.file.Truncate(info.Size()-int64(n)) != nil
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

// spoil gives the file up, so that the next line begins another one.
func (s *series) spoil() {
	if s.file == nil {
		return
	}
	s.index = s.file.index + 1
	s.spoiled++
	_ = s.file.file.Close() // no worse than it is
	s.file, s.durability = nil, durability{}
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
	s.file, s.durability = nil, durability{}
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
