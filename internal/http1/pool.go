package http1

import (
	"sync"
	"time"
)

// host holds the connections to one address that wait for a request, the one used
// last at the end.
type host struct {
	address string
	mu      sync.Mutex
	idle    []*conn // guarded by mu
}

func (t *Transport) host(address string) *host {
	if h, ok := t.hosts.Load(address); ok {
		return h.(*host)
	}
	h, _ := t.hosts.LoadOrStore(address, &host{address: address})
	return h.(*host)
}

// open returns the connection used last that is still open, or nil. One that can talk is
// found out about when it does.
func (h *host) open(t *Transport) *conn {
	for {
		c := h.take()
		if c == nil {
			return nil
		}
		t.idle.Add(-1)
		if (t.IdleTimeout <= 0 || time.Since(c.since) < t.IdleTimeout) && (c.talk.step != nil || c.quiet()) {
			c.kept = true
			return c
		}
		c.Close() //nolint:errcheck // the server has closed it, or said what nobody asked for
	}
}

// take returns the connection used last, or nil.
func (h *host) take() *conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	last := len(h.idle) - 1
	if last < 0 {
		return nil
	}
	c := h.idle[last]
	h.idle[last] = nil
	h.idle = h.idle[:last]
	return c
}

// put keeps c, unless there are limit already, as in [Transport].
func (h *host) put(c *conn, limit int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if limit != 0 && len(h.idle) >= limit {
		return false
	}
	h.idle = append(h.idle, c)
	return true
}

// removeOlder takes the connections out that have waited since before limit.
func (h *host) removeOlder(limit time.Time) []*conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for n < len(h.idle) && h.idle[n].since.Before(limit) {
		n++
	}
	old := append([]*conn(nil), h.idle[:n]...)
	kept := copy(h.idle, h.idle[n:])
	clear(h.idle[kept:])
	h.idle = h.idle[:kept]
	return old
}

// keep takes a connection back whose exchange is over.
func (t *Transport) keep(c *conn) {
	c.since = time.Now()
	if n := t.idle.Add(1); t.closed.Load() || t.MaxIdle != 0 && n > int64(t.MaxIdle) || !c.host.put(c, t.MaxIdlePerHost) {
		t.idle.Add(-1)
		c.Close() //nolint:errcheck // nothing was written
		return
	}
	if t.closed.Load() { // meanwhile
		t.CloseIdle()
	} else if t.IdleTimeout > 0 && !t.sweeps.Load() && !t.sweeps.Swap(true) {
		time.AfterFunc(t.IdleTimeout, t.sweep)
	}
}

// sweep closes the connections that have waited too long. There is one timer for
// all: one of each would cost more than an exchange should.
func (t *Transport) sweep() {
	t.sweeps.Store(false)
	limit := time.Now().Add(-t.IdleTimeout)
	t.hosts.Range(func(address, v any) bool {
		t.drop(v.(*host).removeOlder(limit))
		return true
	})
	if t.idle.Load() > 0 && !t.sweeps.Swap(true) {
		time.AfterFunc(max(t.IdleTimeout/4, time.Millisecond), t.sweep)
	}
}

func (t *Transport) drop(conns []*conn) {
	t.idle.Add(-int64(len(conns)))
	for _, c := range conns {
		c.Close() //nolint:errcheck // nothing was written
	}
}
