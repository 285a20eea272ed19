package aigateway

import "sync"

// historySize is how many events a store remembers.
const historySize = 200

// history is the last events of a store. It may be used from many goroutines.
type history struct {
	mu     sync.Mutex
	ring   [historySize]event // guarded by mu, as all below
	count  uint64             // of all events so far; event n, from 0, stands at n % historySize
	change chan struct{}      // closed when there is another event
}

func newHistory() *history { return &history{change: make(chan struct{})} }

func (h *history) add(e event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ring[h.count%historySize] = e
	h.count++
	close(h.change)
	h.change = make(chan struct{})
}

// since returns the events from number n on, as far as they are remembered, the
// number of the first of them, and what is closed when there are more.
func (h *history) since(n uint64) (events []event, first uint64, more <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	oldest := h.count - min(h.count, historySize)
	first = min(max(n, oldest), h.count)
	for k := first; k < h.count; k++ {
		events = append(events, h.ring[k%historySize])
	}
	return events, first, h.change
}

// next is the number of the next event.
func (h *history) next() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.count
}
