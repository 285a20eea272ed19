package page

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	// feedStep is the time between two looks at the gateway.
	feedStep = time.Second
	// heartbeat is how long a feed stays silent at most: less than what proxies allow.
	heartbeat = 15 * time.Second
	// feedPatience is how long a viewer may take for one message until it is given up.
	feedPatience = 30 * time.Second
	// feedGrace is what is left of that when the feed ends.
	feedGrace = time.Second
)

// feed renders the page once a second for all viewers together, as long as there are
// any. No viewer has a queue: each takes the newest frame when it is ready for one,
// the changes if it has the frame before, the whole if it has missed some.
type feed struct {
	source  func() *Status
	steer   bool            // there are buttons
	hurry   chan struct{}   // asks the producer to render at once
	running sync.WaitGroup  // viewers and producers
	ctx     context.Context // until close
	cancel  context.CancelFunc

	mu      sync.Mutex
	viewers map[Language]int    // guarded by mu, as all below
	frames  map[Language]*frame // the newest, for languages with viewers
	next    chan struct{}       // closed when frames change
	stop    context.CancelFunc  // of the producer; nil when there is none
	number  uint64              // of the last frame
}

// frame is what the viewers of one language are shown at one moment.
type frame struct {
	number   uint64
	base     uint64 // number of the frame that change starts from
	rendered *rendering
	change   *message // from the frame before; nil in the first
	whole    func() (*message, error)
	err      error // nothing could be rendered: the feed ends
}

func newFeed(source func() *Status, steer bool) *feed {
	f := &feed{
		source: source, steer: steer, hurry: make(chan struct{}, 1), next: make(chan struct{}),
		viewers: make(map[Language]int), frames: make(map[Language]*frame),
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

// close ends the producer and all viewers, and waits for them.
func (f *feed) close() {
	f.mu.Lock()
	f.cancel()
	f.mu.Unlock()
	f.running.Wait()
}

// join counts a viewer in; the first one starts the producer. It reports false after
// close. Who has joined must leave.
func (f *feed) join(l Language) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx.Err() != nil {
		return false
	}
	f.running.Add(1)
	f.viewers[l]++
	if f.stop == nil {
		var ctx context.Context
		ctx, f.stop = context.WithCancel(f.ctx)
		f.running.Go(func() { f.produce(ctx) })
	}
	if f.frames[l] == nil {
		select {
		case f.hurry <- struct{}{}:
		default: // asked already
		}
	}
	return true
}

// leave counts a viewer out; the last one stops the producer.
func (f *feed) leave(l Language) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.viewers[l]--; f.viewers[l] == 0 {
		delete(f.viewers, l)
		delete(f.frames, l)
	}
	if len(f.viewers) == 0 {
		f.stop()
		f.stop = nil
	}
	f.running.Done()
}

// newest returns the newest frame, nil if there is none yet, and what is closed when
// there is a newer one.
func (f *feed) newest(l Language) (*frame, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.frames[l], f.next
}

// produce makes frames until ctx ends.
func (f *feed) produce(ctx context.Context) {
	ticker := time.NewTicker(feedStep)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.hurry:
			if !f.awaited() {
				continue // another look has been quicker
			}
		case <-ticker.C:
		}
		f.look(ctx)
	}
}

// awaited reports whether viewers have no frame yet.
func (f *feed) awaited() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.frames) < len(f.viewers)
}

// look takes the status and makes a frame of it for each language that has viewers
// and that it changes something for.
func (f *feed) look(ctx context.Context) {
	f.mu.Lock()
	asked, before := slices.Collect(maps.Keys(f.viewers)), maps.Clone(f.frames)
	f.number++
	number := f.number
	f.mu.Unlock()

	status := f.source()
	made := make(map[Language]*frame)
	for _, l := range asked {
		if fr := f.newFrame(l, number, status, before[l]); fr != nil {
			made[l] = fr
		}
	}

	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() != nil || len(made) == 0 {
		return
	}
	for l, fr := range made {
		if f.viewers[l] > 0 {
			f.frames[l] = fr
		}
	}
	close(f.next)
	f.next = make(chan struct{})
}

// newFrame returns the frame after before, which may be nil, or nil if nothing changes.
func (f *feed) newFrame(l Language, number uint64, s *Status, before *frame) *frame {
	var last *rendering
	if before != nil {
		last = before.rendered
	}
	rendered, err := render(l, s, f.steer, last)
	if err != nil {
		return &frame{number: number, err: err}
	}
	fr := &frame{number: number, rendered: rendered, whole: sync.OnceValues(func() (*message, error) {
		pieces, err := rendered.whole()
		return newMessage("pieces", pieces), err
	})}
	if last == nil {
		return fr
	}
	pieces, err := rendered.changes(last)
	if err != nil {
		return &frame{number: number, err: err}
	}
	if len(pieces) == 0 {
		return nil
	}
	fr.change, fr.base = newMessage("pieces", pieces), before.number
	return fr
}

// after returns what brings a viewer that has frame number sent to this one.
func (fr *frame) after(sent uint64) (*message, error) {
	if fr.err != nil {
		return nil, fr.err
	}
	if fr.change != nil && sent == fr.base {
		return fr.change, nil
	}
	return fr.whole()
}

// serveFeed sends frames until the viewer goes, is too slow, or the feed is closed.
func (p *Page) serveFeed(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store, no-transform")
	l := p.chooser.choose(r)
	if !p.feed.join(l) {
		h.Set("Retry-After", "1")
		http.Error(w, "the feed is closed", http.StatusServiceUnavailable)
		return
	}
	defer p.feed.leave(l)
	s := newStream(w, r, p.feed.ctx)
	defer s.end()
	if r.Method == http.MethodHead {
		return
	}
	if assetsOfPage := r.URL.Query().Get("assets"); assetsOfPage != "" && assetsOfPage != assets().version {
		_ = s.send(newMessage("reload", nil)) // the viewer has gone, or will load itself anew
		return
	}
	p.feed.follow(s, l)
}

// follow is the life of one viewer.
func (f *feed) follow(s *stream, l Language) {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	var sent uint64
	for {
		fr, next := f.newest(l)
		if fr != nil && fr.number != sent {
			m, err := fr.after(sent)
			if err == nil {
				err = s.send(m)
			}
			if err != nil {
				return
			}
			sent = fr.number
			beat.Reset(heartbeat)
			continue
		}
		select {
		case <-next:
		case <-beat.C:
			if s.send(beatMessage) != nil {
				return
			}
		case <-s.ctx.Done():
			return
		}
	}
}
