package alert

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/hourly"
)

const (
	// saveAfter is how long changes of the state are gathered.
	saveAfter = 200 * time.Millisecond
	// maxLines bounds the lines that wait for the disk.
	maxLines = 4000
)

// errorsSeries names the files of the errors log.
var errorsSeries = hourly.Series{Folder: "errors", Ext: ".log"}

// disk is the goroutine that owns the errors log and the state file, so that a disk
// that hangs holds up no message.
type disk struct {
	dir  string
	in   *time.Location
	load func() *state // what to save now; nil to leave the file, version 0 to have none
	log  func() *zap.Logger

	wake chan struct{}
	done chan struct{}

	mu     sync.Mutex // guards all below
	lines  []line
	lost   int // lines that found no place
	dirty  bool
	closed bool

	writer *hourly.Writer // the goroutine's own
}

type line struct {
	text string
	at   time.Time
}

func newDisk(dir string, in *time.Location, load func() *state, log func() *zap.Logger) *disk {
	d := &disk{dir: dir, in: in, load: load, log: log, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go d.run()
	return d
}

func (d *disk) nudge() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// append hands over what the errors log is to tell of. It never waits.
func (d *disk) append(e *Alert, recent int, now time.Time) {
	text := e.Cause
	if e.Kind != InstanceEjected { // which the log's readers know without a name
		text = string(e.Kind) + ": " + text
	}
	d.add(now, "时间: "+now.In(d.in).Format("2006-01-02T15:04:05.000000"), " 实例: "+e.about(), " 错误: "+text, " 最近错误次数: "+strconv.Itoa(recent))
}

// undelivered tells of an alert that people have not heard of when the process ends.
func (d *disk) undelivered(receiver string, a *Alert, now time.Time) {
	d.add(now, "时间: "+now.In(d.in).Format("2006-01-02T15:04:05.000000"), " 实例: "+a.about(),
		fmt.Sprintf(" 错误: undelivered to %s: %s: %s", receiver, a.Kind, a.Cause), " 最近错误次数: "+strconv.Itoa(a.Count))
}

func (d *disk) add(now time.Time, lines ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || len(d.lines)+len(lines) > maxLines {
		d.lost += len(lines)
		return
	}
	for _, text := range lines {
		d.lines = append(d.lines, line{text, now})
	}
	d.nudge()
}

// changed asks for the state to be saved soon.
func (d *disk) changed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dirty = true
	d.nudge()
}

// close lets the goroutine write what it has, and end. The caller waits for done.
func (d *disk) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	d.nudge()
}

func (d *disk) run() {
	defer close(d.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-d.wake:
		case <-timer.C:
		}
		d.mu.Lock()
		lines, closed := d.lines, d.closed
		d.lines = nil
		d.mu.Unlock()
		d.write(lines)
		if !closed {
			d.gather()
		}
		d.save()
		if closed {
			if d.writer != nil {
				d.writer.Close(time.Now())
			}
			return
		}
		wait := time.Hour
		if d.writer != nil {
			d.writer.Tick(time.Now())
			if next := d.writer.Next(); !next.IsZero() {
				wait = min(wait, max(time.Until(next), time.Millisecond))
			}
		}
		timer.Reset(wait)
	}
}

// gather waits for more changes of the state, unless there is none yet.
func (d *disk) gather() {
	d.mu.Lock()
	dirty := d.dirty
	d.mu.Unlock()
	if !dirty {
		return
	}
	timer := time.NewTimer(saveAfter)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return
		case <-d.wake:
			d.mu.Lock()
			closed, waiting := d.closed, len(d.lines) > 0
			d.mu.Unlock()
			if waiting || closed {
				d.nudge() // for run, which comes here again
				return
			}
		}
	}
}

func (d *disk) write(lines []line) {
	if len(lines) == 0 {
		return
	}
	if d.writer == nil {
		d.writer = hourly.New(hourly.Options{Root: d.dir, Location: d.in, Report: d.report})
		if _, err := d.writer.Recover(errorsSeries.Folder); err != nil {
			d.log().Warn("mending the errors log", zap.String("path", d.dir), zap.Error(err))
		}
	}
	lost := 0
	var last error
	for _, l := range lines {
		if err := d.writer.Append(errorsSeries, []byte(l.text+"\n"), l.at); err != nil {
			lost++
			last = err
		}
	}
	d.lose(lost, last)
}

func (d *disk) lose(lines int, err error) {
	if lines == 0 {
		return
	}
	d.mu.Lock()
	d.lost += lines
	d.mu.Unlock()
	d.log().Error("errors log: lines are lost", zap.String("path", d.dir), zap.Int("lines", lines), zap.Error(err))
}

// report passes on what happens to the files of the errors log.
func (d *disk) report(e hourly.Event) {
	var err error
	if e.Err != nil {
		err = e.Err
	}
	switch e.Kind {
	case hourly.Lost:
		d.lose(e.Lines, err)
	case hourly.Failing, hourly.Unsynced:
		d.log().Error("errors log: "+string(e.Kind), zap.String("path", e.Path), zap.Error(err))
	default:
		d.log().Info("errors log: "+string(e.Kind), zap.String("path", e.Path), zap.Error(err))
	}
}

// save writes the state file if it is to change.
func (d *disk) save() {
	d.mu.Lock()
	dirty := d.dirty
	d.dirty = false
	d.mu.Unlock()
	if !dirty {
		return
	}
	s := d.load()
	if s == nil {
		return
	}
	path := filepath.Join(d.dir, stateFile)
	if s.Version == 0 { // an old one would come back to life when it is wanted again
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return // to remove nothing is an error too on a disk that is read only
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			d.log().Error("removing the state of alerts", zap.Error(err))
		}
		return
	}
	text, err := json.Marshal(s)
	if err == nil {
		err = replace(path, text)
	}
	if err != nil {
		d.log().Error("saving the state of alerts, a restart may repeat messages", zap.Error(err))
	}
}
