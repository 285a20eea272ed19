package aigateway

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/hourly"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/sharegpt"
)

// The folders of records below data_dir.
const (
	mainFolder        = "requests_responses"
	mediaFolder       = "requests_responses_media"
	incompleteFolder  = "requests_responses_incomplete"
	completionsFolder = "requests_responses_completions"
)

var recordFolders = []string{mainFolder, mediaFolder, incompleteFolder, completionsFolder}

// keepInterval is how often past hours are packed and deleted.
const keepInterval = 5 * time.Minute

// scribe is the goroutine that owns a recorder's files.
type scribe struct {
	*recorder
	settings  *recordSettings // that writer was made by
	writer    *hourly.Writer
	projector *sharegpt.Projector
	options   *recordSettings // that projector was made by
	keeping   sync.WaitGroup
	busy      atomic.Bool // files of past hours are being packed
	records   []sharegpt.Record
	batch     batch
}

// batch are lines that are written together: after each call of the kernel the writer
// waits for its turn, which costs more than to write a line.
type batch struct {
	series hourly.Series
	parts  [][]byte // of the lines, in buffer and in what is held
	size   int      // bytes in parts
	lines  int
	buffer []byte
	held   []*capture
}

// maxBatch bounds a batch of several lines, in bytes: a killed process tears no write of
// that size.
const maxBatch = 1 << 20

// gatherTime is how long exchanges gather before they are written. To be woken for
// each would cost more than to write it.
const gatherTime = 50 * time.Millisecond

// run writes what is queued until the recorder is stopped and the last exchange
// under way is written.
func (r *recorder) run() {
	defer close(r.done)
	s := scribe{recorder: r}
	stop, queue := r.stop, r.queue
	gather := time.NewTimer(time.Hour)
	defer gather.Stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	keep := time.NewTicker(keepInterval)
	defer keep.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer s.keeping.Wait()
	defer cancel()
	for {
		select {
		case c := <-queue:
			s.write(c)
			for n := 0; n < 64 && len(queue) > 0; n++ {
				s.write(<-queue)
			}
			s.flush(time.Now())
			if len(queue) == 0 {
				queue = nil
				gather.Reset(gatherTime)
			}
		case <-gather.C:
			queue = r.queue
		case <-r.hurry:
			queue = r.queue
		case <-timer.C:
		case <-keep.C:
			s.keep(ctx)
		case <-stop:
			stop, queue = nil, r.queue
		}
		if s.writer != nil {
			s.writer.Tick(time.Now())
		}
		if stop == nil && len(r.queue) == 0 && r.active.count() == 0 {
			if s.writer != nil {
				s.writer.Close(time.Now())
			}
			return
		}
		timer.Reset(s.wait(stop == nil))
	}
}

// wait returns how long the writer may sleep.
func (s *scribe) wait(stopping bool) time.Duration {
	wait := time.Hour
	if stopping {
		wait = 50 * time.Millisecond // exchanges under way do not tell when they are dropped
	}
	if s.writer != nil {
		if next := s.writer.Next(); !next.IsZero() {
			wait = min(wait, max(time.Millisecond, time.Until(next)))
		}
	}
	return wait
}

// write adds the records of one exchange to the batch.
func (s *scribe) write(c *capture) {
	now := time.Now()
	s.open(now)
	b := &s.batch
	defer func() { b.held = append(b.held, c) }()
	if max(b.size, len(b.buffer))+len(c.body.bytes) > maxBatch { // a line is about as long as its request
		s.flush(now)
	}
	if b.lines == 0 {
		b.buffer = b.buffer[:0]
		if cap(b.buffer) > maxCapture {
			b.buffer = nil // one long exchange must not be remembered for ever
		}
	}
	if s.options != c.settings {
		s.options, s.projector = c.settings, sharegpt.NewProjector(c.settings.options)
	}
	answer, err := c.answer()
	if err != nil {
		s.drop(dropUnreadable, 1, err)
		return
	}
	x := sharegpt.Exchange{
		ID: c.id, Created: now.Unix(), Instance: c.instance, Key: c.key, HTTP: c.status,
		TTFT: (c.firstByte - c.began).Milliseconds(), Latency: (c.ended - c.began).Milliseconds(),
		Queued: c.ending.queued.Milliseconds(), Overflow: c.ending.overflow,
		ClientGone: c.ending.clientGone, Outcome: c.ending.outcome.String(), Request: c.body.bytes, Scanned: c.scanned, Longest: c.longest, Canonical: c.canonical, Answer: &answer,
	}
	if c.ending.usage.source != usageUnknown {
		x.Usage, x.Estimated = &c.ending.usage.Usage, c.ending.usage.source == usageEstimated
	}
	if c.full {
		x.Bytes = c.total
	}
	b.buffer, s.records, err = s.projector.Append(b.buffer, &x, s.records[:0])
	if err != nil {
		s.drop(dropUnreadable, 1, err)
		return
	}
	for i := range s.records {
		s.append(&s.records[i], now)
	}
}

// append adds a line to the batch. What is in it already goes first if the line is for
// another file, or if it would become too long.
func (s *scribe) append(r *sharegpt.Record, now time.Time) {
	series, ok := seriesOf(r)
	if !ok {
		return
	}
	b, size := &s.batch, r.Size()
	if b.lines > 0 && (b.series != series || b.size+size > maxBatch) {
		s.flush(now)
	}
	b.series, b.parts = series, r.AppendParts(b.parts)
	b.size += size
	b.lines++
}

// flush writes the batch and gives up what it holds.
func (s *scribe) flush(now time.Time) {
	b := &s.batch
	if b.lines > 0 {
		s.writeLines(now)
	}
	for _, c := range b.held {
		c.release()
	}
	clear(b.held)
	b.held = b.held[:0]
}

func (s *scribe) writeLines(now time.Time) {
	b := &s.batch
	taken, err := s.writer.AppendParts(b.series, b.parts, now)
	s.free.Store(s.writer.Free())
	s.written.Add(int64(taken))
	s.given.Add(int64(taken))
	if err != nil {
		reason := "io_error"
		if e, ok := errors.AsType[*hourly.Error](err); ok {
			reason = string(e.Reason)
		}
		s.drop(reason, int64(b.lines-taken), err)
	}
	clear(b.parts)
	b.parts, b.size, b.lines = b.parts[:0], 0, 0
}

// seriesOf returns the files that a record belongs to, if it is to be written.
func seriesOf(r *sharegpt.Record) (series hourly.Series, ok bool) {
	switch r.Folder {
	case sharegpt.Main:
		return hourly.Series{Folder: mainFolder, Ext: ".jsonl"}, true
	case sharegpt.Media:
		return hourly.Series{Folder: mediaFolder, Suffix: "." + r.Suffix, Ext: ".jsonl"}, true
	case sharegpt.Incomplete:
		return hourly.Series{Folder: incompleteFolder, Ext: ".jsonl"}, true
	case sharegpt.Completions:
		return hourly.Series{Folder: completionsFolder, Ext: ".jsonl"}, true
	default:
		return hourly.Series{}, false
	}
}

// open makes the writer, with the first exchange, or anew if where and how it
// writes has changed. What a killed process left of a line is moved aside.
func (s *scribe) open(now time.Time) {
	settings := s.recorder.settings.Load()
	if s.writer != nil {
		if s.settings.location == settings.location && s.settings.minFree == settings.minFree {
			return
		}
		s.flush(now)
		s.writer.Close(now)
		s.low.Store(false) // the new one looks for itself
	}
	s.settings = settings
	s.writer = hourly.New(hourly.Options{Root: s.dir, Location: settings.location, MinFree: settings.minFree, Report: s.tell})
	if _, err := s.writer.Recover(recordFolders...); err != nil {
		s.logger.Load().Error("mending the records", zap.String("path", s.dir), zap.Error(err))
	}
}

// tell passes on what happens to the files.
func (s *scribe) tell(e hourly.Event) {
	fields := []zap.Field{zap.String("path", e.Path), zap.Int("lines", e.Lines), zap.Int64("bytes", e.Bytes)}
	if e.Err != nil {
		fields = append(fields, zap.Error(e.Err), zap.String("reason", string(e.Err.Reason)))
	}
	switch {
	case e.Kind == hourly.Failing && e.Err.Reason == hourly.DiskLow:
		s.low.Store(true)
	case e.Kind == hourly.Resumed && e.Path == s.dir:
		s.low.Store(false)
	}
	switch e.Kind {
	case hourly.Lost:
		s.written.Add(-int64(e.Lines))
		s.drop(string(e.Err.Reason), int64(e.Lines), e.Err)
	case hourly.Failing, hourly.Unsynced:
		s.logger.Load().Error("records: "+string(e.Kind), fields...)
	case hourly.Resumed, hourly.Tightened:
		s.logger.Load().Info("records: "+string(e.Kind), fields...)
	default:
		s.logger.Load().Warn("records: "+string(e.Kind), fields...)
	}
}

// keep packs and deletes the files of past hours, beside the writing.
func (s *scribe) keep(ctx context.Context) {
	now := s.recorder.settings.Load()
	if now.pack == hourly.None && now.maxAge == 0 && now.maxSize == 0 || !s.busy.CompareAndSwap(false, true) {
		return
	}
	s.keeping.Go(func() {
		defer s.busy.Store(false)
		s.keepPast(ctx, now)
	})
}

func (s *scribe) keepPast(ctx context.Context, now *recordSettings) {
	k := hourly.NewKeeper(hourly.KeeperOptions{
		Root: s.dir, Location: now.location, Folders: recordFolders, Compression: now.pack, MaxAge: now.maxAge, MaxBytes: now.maxSize, Report: s.tell,
	})
	kept, err := k.Keep(ctx, time.Now())
	if err != nil {
		s.logger.Load().Error("keeping the records of past hours", zap.String("path", s.dir), zap.Error(err))
	}
	if kept.Packed+kept.Deleted > 0 {
		s.logger.Load().Info("records of past hours are packed and deleted", zap.String("path", s.dir),
			zap.Int("packed", kept.Packed), zap.Int("deleted", kept.Deleted), zap.Int64("bytes", kept.Bytes))
	}
}
