package aigateway

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// underway is a set of what requests have begun and not ended, in parts so that
// they do not wait for each other. Its zero value is empty.
type underway[T any] [16]struct {
	mu    sync.Mutex
	first *member[T] // guarded by mu, as the links of all members
}

// member is a part of what can be in an [underway], at most one at a time: to be in it
// costs no memory of its own.
type member[T any] struct {
	in             bool
	value          T
	next, previous *member[T]
}

// add takes v in, of the request with that ID, by its member m.
func (u *underway[T]) add(id string, m *member[T], v T) {
	part := &u[id[0]%16]
	part.mu.Lock()
	defer part.mu.Unlock()
	*m = member[T]{in: true, value: v, next: part.first}
	if m.next != nil {
		m.next.previous = m
	}
	part.first = m
}

// remove takes out what m is the member of, if it is in.
func (u *underway[T]) remove(id string, m *member[T]) {
	part := &u[id[0]%16]
	part.mu.Lock()
	defer part.mu.Unlock()
	switch {
	case !m.in:
		return
	case m.previous != nil:
		m.previous.next = m.next
	default:
		part.first = m.next
	}
	if m.next != nil {
		m.next.previous = m.previous
	}
	*m = member[T]{}
}

func (u *underway[T]) all() (all []T) {
	for i := range u {
		u[i].mu.Lock()
		for m := u[i].first; m != nil; m = m.next {
			all = append(all, m.value)
		}
		u[i].mu.Unlock()
	}
	return all
}

func (u *underway[T]) count() int { return len(u.all()) }

// streams are the attempts at streams in this process, under whatever
// configuration they began. Caddy lets go of them at the end of its grace period
// without a word to their clients.
var (
	streams   underway[*attempt]
	ending    atomic.Bool  // the process ends, and its grace period is over
	dismissed atomic.Int64 // requests that waited then, and whose answer is not out yet
)

// errShutdown is the cause of an attempt's end when the process ends.
var errShutdown = &deadlineError{reasonShutdown}

// farewell bounds how long the process's end waits for clients to take the last
// event of their streams.
const farewell = time.Second

// endStreams ends the streams that have outlasted the process's grace period, each
// with an error event and an aborted transfer. It returns when all have ended, or
// after a second. Requests that wait for an instance are answered with an error. While the
// process goes on it does nothing.
func endStreams(logger *zap.Logger) {
	if !caddy.Exiting() {
		return
	}
	ending.Store(true)
	stores.Range(func(_, v any) bool {
		v.(*store).dismiss()
		return true
	})
	all := streams.all()
	if len(all) > 0 {
		logger.Warn("streams are cut off, for the process ends", zap.Int("streams", len(all)))
	}
	for _, a := range all {
		a.watch.ends.end(errShutdown)
	}
	for until := clock() + farewell; streams.count()+int(dismissed.Load()) > 0 && clock() < until; {
		time.Sleep(5 * time.Millisecond)
	}
}
