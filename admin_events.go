package aigateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

const (
	// heartbeat is how often a client that hears of no event gets a comment.
	heartbeat = 15 * time.Second
	// eventWrite bounds how long a client may take to take what it is sent.
	eventWrite = 10 * time.Second
)

// events streams what happens from now on, or after the event that Last-Event-ID
// names, as server-sent events: the event's kind, its number as the ID, and
// [page.Event] as the data. A client that is slower than the history is long gets the
// event "missed" with the number of those it has missed; nothing is kept for it. The
// stream ends with the configuration.
func (c *adminCall) events() error {
	h := c.store.history
	next := h.next()
	if text := c.r.Header.Get("Last-Event-ID"); text != "" {
		last, err := strconv.ParseUint(text, 10, 63)
		if err != nil {
			return invalidParameter("Last-Event-ID", "got "+quote(text)+", want the ID of an event")
		}
		next = min(next, last+1) // one of an earlier process may be higher
	}
	c.w.Header().Set("Content-Type", "text/event-stream")
	if c.r.Method == http.MethodHead {
		return nil
	}
	w := eventWriter{c.w, http.NewResponseController(c.w)}
	if w.send(": "+c.store.path+"\n\n") != nil {
		return nil
	}
	ctx, end := c.untilReplaced()
	defer end()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		events, first, more := h.since(next)
		text := ""
		if first > next {
			text = fmt.Sprintf("event: missed\ndata: {\"count\":%d}\n\n", first-next)
		}
		for n, e := range events {
			data, err := json.Marshal(e.status())
			if err != nil {
				return fmt.Errorf("encoding an event: %w", err)
			}
			text += fmt.Sprintf("id: %d\nevent: %s\ndata: %s\n\n", first+uint64(n), e.kind, data)
		}
		next = first + uint64(len(events))
		if text != "" && w.send(text) != nil {
			return nil
		}
		select {
		case <-more:
		case <-beat.C:
			if w.send(": \n\n") != nil {
				return nil
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// untilReplaced returns a context that ends with the request, with the configuration,
// or with the store. The caller must call end.
func (c *adminCall) untilReplaced() (ctx context.Context, end func()) {
	ctx, cancel := context.WithCancel(c.r.Context())
	ended, replaced, done := unlessClosed(c.admin.ctx.Done()), unlessClosed(c.admin.replaced), make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		select {
		case <-ended:
		case <-replaced:
		case <-c.store.stop:
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel()
		<-done
	}
}

// unlessClosed returns c, or nil if it is closed already. The endpoint of a
// configuration that has failed to start goes on for the one that runs.
func unlessClosed(c <-chan struct{}) <-chan struct{} {
	select {
	case <-c:
		return nil
	default:
		return c
	}
}

// eventWriter sends text to a client at once.
type eventWriter struct {
	http.ResponseWriter
	control *http.ResponseController
}

// send returns an error if the client is gone, or too slow.
func (w eventWriter) send(text string) error {
	if err := w.control.SetWriteDeadline(time.Now().Add(eventWrite)); err != nil {
		return err
	}
	if _, err := w.Write([]byte(text)); err != nil {
		return err
	}
	return w.control.Flush()
}
