// Package hourly appends lines to files that are named after the hour, and looks
// after the files of past hours.
//
//	w := hourly.New(hourly.Options{Root: "data", Report: log})
//	w.Recover("requests_responses", "errors")
//	err := w.Append(hourly.Series{"requests_responses", "", ".jsonl"}, line, time.Now())
//	…                   // wait for the next line, but no longer than until w.Next()
//	w.Tick(time.Now())
//	w.Close(time.Now())
//
// writes data/requests_responses/20260314_15.jsonl for lines that come between
// three and four in the afternoon, by the clock of the location. When summer time
// ends, the hour that comes twice goes on in one file. When the clock is set back,
// the file of that hour goes on too: files are only ever appended to.
//
// # What a reader of the files may rely on
//
// Every line is whole: lines are written with one write(2) or writev(2) each or many at a time,
// never across a rest. What a full disk or a killed process leaves of a line is cut
// off, at once or before the next line, and kept in the folder torn if nobody knows
// what it was. A file has one writer: it is locked with flock(2), and a second
// process takes the next free name, 20260314_15-2.jsonl. So does a writer whose
// fsync failed, since the kernel forgets which pages it could not write. Files have
// mode 0600 and folders 0700; symbolic links below the root are refused.
//
// # What is lost, and when
//
// A line is with the kernel after 500 ms and on the disk after 1 s, if Tick is
// called when Next says. A killed process loses the first span, a loss of power the
// second. While nothing can be written, up to 256 KiB of short lines for each series
// wait, and Append refuses the rest with an *[Error] whose Reason is a word for a
// metric; once a second it tries again.
//
// # Who calls
//
// A [Writer] has no goroutine, no timer and no clock: one goroutine calls all its
// methods, and tests drive it with any clock. Its calls block as long as the disk
// does, so a queue stands before it. A [Keeper] packs and deletes the files of past
// hours; it keeps off a writer's files by their locks and may run beside it.
package hourly

import (
	"errors"
	"time"
)

const (
	// joinMax is how many bytes of lines are written at a time. A kernel copies as
	// much without a rest in which a killed process could tear it: writes of 1 MiB
	// never tore, of 8 MiB every second one did (60 kills each).
	joinMax = 256 << 10
	// startSize is after how many bytes the disk is set to work. If it got all of a
	// busy second at once, the fsync would make the queue wait.
	startSize = 8 << 20
	// flushAfter and syncAfter stay below the promised 500 ms and 1 s by what a busy
	// machine's timers are late.
	flushAfter = 400 * time.Millisecond
	syncAfter  = 900 * time.Millisecond
	// retryAfter is how long a failing series rests, and how old the known free space
	// may be.
	retryAfter = time.Second
	// checkAfter is how long a file is believed to be still there under its name.
	checkAfter = 250 * time.Millisecond
	// lateness is how much older than the newest one a line's time may be without
	// being taken for a clock that was set back. Finished hours stay finished for
	// lines that overtook each other in a queue.
	lateness = 10 * time.Minute
)

// Options say where a [Writer] writes.
type Options struct {
	// Root is the directory that the folders of the series are in. It is made, with
	// mode 0700, if it is missing; one that exists is left as it is.
	Root string
	// Location is that of the hours in the names; nil means time.Local.
	Location *time.Location
	// MinFree is how many bytes must be free for lines to be taken. Below it they are
	// refused, with reason disk_low, until 5 % more than that is free. 0 means no
	// limit; so does a file system that cannot tell.
	MinFree int64
	// Report is told what Append's error does not say; nil means nobody is. It is
	// called by the goroutine that calls the Writer and must not call it.
	Report func(Event)
	// FS is the file system; nil means OS.
	FS FS
}

// Writer appends lines to hourly files. Create one with [New]. It is not safe for
// concurrent use.
type Writer struct {
	place
	in      *time.Location
	minFree int64
	closed  bool

	byName map[Series]*series
	order  []*series // for walking

	seen time.Time // the last time handed over
	wall time.Time // the newest one that hours went by, without monotonic reading
	hour Hour      // that of wall
	// The hour lasts at least from and until: reading the clock's fields for each
	// line would cost more than copying it.
	from, until time.Time
	next        time.Time // when something is due; zero if nothing is

	line [1][]byte // of Append

	low     *Error // why lines are refused for want of space, or nil
	lowSeen time.Time
	free    int64 // bytes, at lowSeen; -1 while not known
}

// New returns a writer. It touches the disk only with the first line, so that a
// disk that is missing now is no reason not to start.
func New(o Options) *Writer {
	if o.Location == nil {
		o.Location = time.Local
	}
	return &Writer{
		place: newPlace(o.FS, o.Root, o.Report), in: o.Location, minFree: o.MinFree,
		byName: map[Series]*series{}, free: -1,
	}
}

// Append hands over one line, with the line feed at its end, at the time now, whose
// hour it belongs to. The line is the caller's again when Append returns. A line of
// up to 256 KiB is kept for Tick to write, a longer one is written at once.
//
// The error is an *[Error] and says that this line is not taken; lines that were
// taken and are lost later are reported as events.
func (w *Writer) Append(name Series, line []byte, now time.Time) error {
	w.line[0] = line
	_, err := w.AppendParts(name, w.line[:], now)
	w.line[0] = nil
	return err
}

// AppendParts is [Writer.Append] for lines that lie about in parts: each line ends with
// a part that ends in its line feed, and has no other one, which is not looked for in the
// parts before. What is longer than 256 KiB together is written
// with one call, in which a killed process could tear a line from 1 MiB on.
//
// The number is that of the lines that are taken, the first ones: all without an error.
func (w *Writer) AppendParts(name Series, parts [][]byte, now time.Time) (taken int, err error) {
	s, e := w.lookup(name)
	if e == nil {
		taken, e = w.append(s, parts, now)
	}
	if e != nil { // not a nil *Error in an error
		return taken, e
	}
	return taken, nil
}

func (w *Writer) lookup(name Series) (*series, *Error) {
	if w.closed {
		return nil, &Error{Closed, "appending to", name.Folder, errors.New("writer is closed")}
	}
	if s := w.byName[name]; s != nil {
		return s, nil
	}
	if !name.valid() {
		return nil, &Error{Invalid, "appending to", name.Folder + "/*" + name.Suffix + name.Ext, errNotSeries}
	}
	s := &series{w: w, name: name, index: 1}
	w.byName[name] = s
	w.order = append(w.order, s)
	return s, nil
}

func (w *Writer) append(s *series, parts [][]byte, now time.Time) (taken int, _ *Error) {
	l := lines{parts: parts}
	if !l.measure() {
		return 0, &Error{Invalid, "appending to", s.name.Folder, errNotLine}
	}
	w.advance(now)
	if err := w.space(now); err != nil {
		return 0, err
	}
	taken, err := s.append(l, now)
	w.arm(s)
	return taken, err
}

// Tick does what is due at the time now: writing, fsync, and closing the files of an
// hour that has ended. What fails is reported.
func (w *Writer) Tick(now time.Time) { w.advance(now) }

// Next returns when Tick has something to do, or the zero time. It is in the past
// where that is so.
func (w *Writer) Next() time.Time { return w.next }

// Close writes and syncs everything and closes the files. Lines that cannot be
// written are reported as lost. The writer takes no more lines.
func (w *Writer) Close(now time.Time) {
	if w.closed {
		return
	}
	w.closed = true
	for _, s := range w.order {
		s.finish(now)
		s.lose()
	}
	w.next = time.Time{}
}

// advance moves the writer to the time now and does what is due.
func (w *Writer) advance(now time.Time) {
	if w.seen.Sub(now) > flushAfter {
		w.next = now // the clock was set back: what was due lies too far ahead
	}
	w.seen = now
	if w.turn(now.Round(0)) {
		for _, s := range w.order {
			s.finish(now)
		}
		w.next = now
	}
	if w.next.IsZero() || now.Before(w.next) {
		return
	}
	w.next = time.Time{}
	for _, s := range w.order {
		s.tick(now)
		w.arm(s)
	}
}

// turn sets the hour by the wall clock and reports whether an hour has ended.
func (w *Writer) turn(wall time.Time) bool {
	if wall.Before(w.wall) && w.wall.Sub(wall) <= lateness {
		return false
	}
	w.wall = wall
	if !wall.Before(w.from) && wall.Before(w.until) {
		return false
	}
	local := wall.In(w.in)
	w.from = wall
	w.until = wall.Add(time.Hour - time.Duration(local.Minute())*time.Minute -
		time.Duration(local.Second())*time.Second - time.Duration(local.Nanosecond()))
	was := w.hour
	w.hour = HourOf(wall, w.in)
	return was != 0 && was != w.hour
}

// arm makes next no later than what the series needs.
func (w *Writer) arm(s *series) {
	if at := s.next(); !at.IsZero() && (w.next.IsZero() || at.Before(w.next)) {
		w.next = at
	}
}

// space returns why no line may be taken now, or nil.
func (w *Writer) space(now time.Time) *Error {
	if w.minFree <= 0 || !w.lowSeen.IsZero() && !due(w.lowSeen, now, retryAfter) {
		return w.low
	}
	w.lowSeen = now
	free, err := w.fs.Free(w.root)
	w.free = free
	switch {
	case err != nil:
		w.free = -1
		// A missing root is made by the first line; what else fails, opening will say.
	case w.low == nil && free < w.minFree:
		w.low = &Error{DiskLow, "appending below", w.root, errLow}
		w.report(Event{Kind: Failing, Path: w.root, Err: w.low})
	case w.low != nil && free >= w.minFree+w.minFree/20:
		w.low = nil
		w.report(Event{Kind: Resumed, Path: w.root})
	}
	return w.low
}

// Free returns how many bytes were free when a line came last, as far as it matters:
// -1 without [Options.MinFree], before the first line, or if nobody can tell.
func (w *Writer) Free() int64 { return w.free }

// errLow is the cause of [DiskLow].
var errLow = errors.New("less space is free than is to be kept free")
