package aigateway

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// tied counts how often it is closed.
type tied struct{ closed atomic.Int64 }

func (t *tied) Close() error {
	t.closed.Add(1)
	return nil
}

// TestLife guards that a life ends with its request or for a cause of its own, and
// closes then what is tied to it, once.
func TestLife(t *testing.T) {
	errEnough := errors.New("enough")
	f := func(name string, end func(l *life, cancel context.CancelCauseFunc)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				l, before, c, late := new(life), new(tied), new(tied), new(tied)
				l.begin(ctx, new(attempt))
				if l.Err() != nil || l.Cause() != nil || causeOf(l) != nil {
					t.Fatalf("at its begin: got %v", l.Cause())
				}
				child, stop := context.WithTimeout(l, time.Hour)
				defer stop()
				l.Tie(before)
				if !l.Untie(before) || l.Untie(before) {
					t.Error("untied before the end: got no, then yes")
				}
				l.Tie(c)
				if l.Untie(before) {
					t.Error("untied what is not tied any more: got yes")
				}
				end(l, cancel)
				synctest.Wait()
				l.end(errors.New("a second one"))
				if !errors.Is(l.Err(), context.Canceled) || !errors.Is(l.Cause(), errEnough) || !errors.Is(causeOf(l), errEnough) || child.Err() == nil {
					t.Errorf("got %v for %v, its child %v", l.Err(), l.Cause(), child.Err())
				}
				select {
				case <-l.Done():
				default:
					t.Error("it is not done")
				}
				l.Tie(late)
				if l.Untie(c) || l.Untie(late) {
					t.Error("untied after the end: got yes")
				}
				for n, c := range []*tied{before, c, late} {
					if got, want := c.closed.Load(), int64(min(n, 1)); got != want {
						t.Errorf("connection %d: closed %d times, want %d", n, got, want)
					}
				}
			})
		})
	}
	f("request", func(_ *life, cancel context.CancelCauseFunc) { cancel(errEnough) })
	f("own", func(l *life, _ context.CancelCauseFunc) { l.end(errEnough) })
	f("both", func(l *life, cancel context.CancelCauseFunc) {
		cancel(errEnough)
		if !errors.Is(l.Cause(), errEnough) { // before it has been told
			t.Errorf("got %v, want the request's cause", l.Cause())
		}
		l.end(l.Cause())
	})
}

// TestLifeRaces guards, with the race detector, that a connection is closed by the end or
// given back, and never both.
func TestLifeRaces(t *testing.T) {
	for range 500 {
		ctx, cancel := context.WithCancel(t.Context())
		l, c := new(life), new(tied)
		var running sync.WaitGroup
		running.Go(cancel)
		l.begin(ctx, new(attempt))
		l.Tie(c)
		running.Go(func() { l.end(context.Canceled) })
		back := l.Untie(c)
		running.Wait()
		l.end(context.Canceled)
		if got := c.closed.Load(); back != (got == 0) {
			t.Fatalf("given back: %v, closed %d times", back, got)
		}
	}
}
