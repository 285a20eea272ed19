package aigateway

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/hourly"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
)

const (
	// recordQueue is how many exchanges may wait for the writer.
	recordQueue = 1024
	// recordMemory bounds what all captures of a recorder hold together, in bytes.
	recordMemory = 256 << 20
	// recordHurry and recordHurryMemory are how many exchanges, and bytes of them, wake the
	// writer before they have gathered for their time: it reads them while they are still
	// in the processor's cache, and the buffers are soon used again.
	recordHurry       = 32
	recordHurryMemory = 1 << 20
	// longText is how long a string of a request is that is looked over before it is
	// recorded, in bytes.
	longText = 16 << 10
	// recordDrain bounds how long the process's end waits for the writer.
	recordDrain = 10 * time.Second
)

// Why an exchange is not in the records, beside the words of package hourly.
const (
	dropQueue      = "queue_full"
	dropMemory     = "memory"
	dropUnreadable = "unreadable"
	dropClosed     = "closed"
)

// dropReasons lists all of them, and those of package hourly.
func dropReasons() []string {
	reasons := []string{dropQueue, dropMemory, dropUnreadable}
	for _, r := range hourly.Reasons() {
		reasons = append(reasons, string(r))
	}
	return reasons
}

// recorder writes the exchanges of one data_dir to hourly files. One goroutine owns
// the files. It lives in a usage pool by the folder's absolute path, so that
// handlers and reloads share it. Nothing in it ever waits for the disk but that
// goroutine: what does not fit its bounds is dropped, the newest first, and counted.
type recorder struct {
	dir      string
	settings atomic.Pointer[recordSettings] // the newest, for the files
	logger   atomic.Pointer[zap.Logger]

	queue  chan *capture
	hurry  chan struct{} // tells the writer that much is queued
	memory atomic.Int64  // bytes reserved by captures
	active underway[*capture]

	written atomic.Int64 // lines
	given   atomic.Int64 // lines, those included that were lost after they had been counted as written
	free    atomic.Int64 // bytes on the disk, -1 while not known
	low     atomic.Bool  // less is free than settings.minFree
	mu      sync.Mutex
	dropped map[string]int64 // exchanges or lines by reason, guarded by mu
	told    map[string]time.Time

	stop chan struct{}
	done chan struct{}
}

var recorders = caddy.NewUsagePool()

// acquireRecorder returns the recorder of dir, which it starts if this is the
// first holder.
func acquireRecorder(dir string, settings *recordSettings, logger *zap.Logger) (*recorder, error) {
	v, _, err := recorders.LoadOrNew(dir, func() (caddy.Destructor, error) {
		r := &recorder{
			dir: dir, queue: make(chan *capture, recordQueue), hurry: make(chan struct{}, 1), dropped: make(map[string]int64), told: make(map[string]time.Time),
			stop: make(chan struct{}), done: make(chan struct{}),
		}
		r.settings.Store(settings)
		r.logger.Store(logger)
		r.free.Store(-1)
		go r.run()
		return r, nil
	})
	if err != nil {
		return nil, fmt.Errorf("starting the recorder of %s: %w", dir, err)
	}
	r := v.(*recorder)
	r.settings.Store(settings)
	r.logger.Store(logger)
	return r, nil
}

// releaseRecorder gives up one hold; the last one ends the recorder.
func releaseRecorder(r *recorder) error {
	_, err := recorders.Delete(r.dir)
	return err
}

// Destruct lets the writer finish what it has. Exchanges that are still under way
// get the time they need, unless the process ends: then they are recorded as far as
// they have come.
func (r *recorder) Destruct() error {
	if caddy.Exiting() {
		for _, c := range r.active.all() {
			c.note(captureEnd{outcome: outcomeShutdown})
			r.submit(c)
		}
	}
	close(r.stop)
	if r.active.count() > 0 {
		return nil // the writer ends with the last of them
	}
	select {
	case <-r.done:
		return nil
	case <-time.After(recordDrain):
		return fmt.Errorf("recorder of %s has not written all within %v", r.dir, recordDrain)
	}
}

// wants reports whether the exchange of r is to be recorded.
func (s *recordSettings) wants(r *http.Request, rt *route) bool {
	return slices.Contains(s.endpoints, rt.stream) && r.Method == http.MethodPost &&
		(!s.optOut || !optsOut(r.Header.Get("X-Ai-Gateway-Record"))) && (s.sample == 1 || rand.Float64() < s.sample)
}

// capture returns a writer that records x. Its end is [capture.finish].
func (r *recorder) capture(w http.ResponseWriter, x *exchange) *capture {
	c := &capture{
		ResponseWriter: w, recorder: r, id: x.id, dialect: x.route.stream, began: x.began, body: x.body, scanned: x.ask.form == askJSON,
		longest: x.ask.longest, settings: x.snap.record,
	}
	if x.key != nil {
		c.key = x.key.name
	}
	c.body.refs.Add(1)
	// A long prompt is looked over while it is in the processor's cache, for when the writer
	// comes to it, it is no longer. Media are no part of a text.
	if v := c.longest; c.scanned && v.End-v.Start > longText && !bytes.HasPrefix(c.body.bytes[v.Start+1:], []byte("data:")) {
		c.canonical = rawjson.Canonical(c.body.bytes[v.Start+1 : v.End-1])
	}
	r.active.add(c.id, &c.underway, c)
	return c
}

// finish hands the exchange to the recorder when its answer has gone out, or has
// not.
func (c *capture) finish(x *exchange) {
	x.end() // which settles an attempt that the client gave up
	c.note(captureEnd{outcome: x.last.outcome, clientGone: x.request.Context().Err() != nil, usage: x.usage, queued: x.line.time, overflow: x.length.instead})
	c.recorder.submit(c)
}

// submit queues c, if nobody has done so before. It never waits.
func (r *recorder) submit(c *capture) {
	if !c.take() {
		return
	}
	r.active.remove(c.id, &c.underway)
	if c.lost != "" {
		r.drop(c.lost, 1, nil)
		c.release()
		return
	}
	select {
	case <-r.done: // a request that began as data_dir was changed
		r.drop(dropClosed, 1, nil)
		c.release()
		return
	default:
	}
	select {
	case r.queue <- c:
	default:
		r.drop(dropQueue, 1, nil)
		c.release()
		return
	}
	if len(r.queue) >= recordHurry || r.memory.Load() >= recordHurryMemory {
		select {
		case r.hurry <- struct{}{}:
		default:
		}
	}
}

// reserve takes memory for a capture, and reports whether there is any.
func (r *recorder) reserve(n int64) bool {
	if r.memory.Add(n) > recordMemory {
		r.memory.Add(-n)
		return false
	}
	return true
}

func (r *recorder) giveBack(n int64) { r.memory.Add(-n) }

// drop counts what is not recorded, and tells the log once a minute for each
// reason.
func (r *recorder) drop(reason string, n int64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropped[reason] += n
	if now := time.Now(); now.Sub(r.told[reason]) >= time.Minute {
		r.told[reason] = now
		r.logger.Load().Error("exchanges are not recorded",
			zap.String("path", r.dir), zap.String("reason", reason), zap.Int64("dropped", r.dropped[reason]), zap.Error(err))
	}
}

// recorderReport is a recorder in /health.
type recorderReport struct {
	Written int64            `json:"written"`           // lines
	Dropped map[string]int64 `json:"dropped,omitempty"` // exchanges or lines, by reason
	Queued  int              `json:"queued"`            // exchanges that wait for the disk
}

func (r *recorder) report() *recorderReport {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &recorderReport{Written: r.written.Load(), Dropped: maps.Clone(r.dropped), Queued: len(r.queue)}
}

var _ caddy.Destructor = (*recorder)(nil)
