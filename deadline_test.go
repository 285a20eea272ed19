package aigateway

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// watch is a watchdog over an attempt that has nothing but a context, in the fake
// time of a bubble.
type watch struct {
	*testing.T
	watchdog
	ctx context.Context
}

// watching runs f in a bubble of its own, as a subtest.
func watching(t *testing.T, name string, f func(w *watch)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			// A bubble begins in the year 2000, the clock with the process.
			time.Sleep(time.Hour - clock())
			ctx, cancel := context.WithCancelCause(t.Context())
			w := &watch{T: t, ctx: ctx}
			w.ends = endFunc(cancel)
			defer cancel(nil)
			defer w.stop()
			f(w)
		})
	})
}

// sleep lets d go by.
func (w *watch) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// endsAfter fails unless the attempt ends for why after d, to the nanosecond.
func (w *watch) endsAfter(d time.Duration, why reason) {
	w.Helper()
	if w.sleep(d - 1); w.ctx.Err() != nil {
		w.Fatalf("ended before %v for %q, want it to last so long", d, passed(w.ctx))
	}
	if w.sleep(1); passed(w.ctx) != why {
		w.Fatalf("after %v: got the end %v, want one for %s", d, context.Cause(w.ctx), why)
	}
}

// lasts fails unless the attempt goes on for d.
func (w *watch) lasts(d time.Duration) {
	w.Helper()
	if w.sleep(d); w.ctx.Err() != nil {
		w.Fatalf("ended within %v for %q, want it to go on", d, passed(w.ctx))
	}
}

// reads begins a read of the answer; the one before has ended.
func (w *watch) reads() { w.waiting.Store(int64(clock())) }

// late makes the timer fire by d later than it should.
func (w *watch) late(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.due -= d
	w.next -= d
}

// TestFirstTokenDeadline guards that an attempt ends when the model has not begun
// in time (N11), and only then.
func TestFirstTokenDeadline(t *testing.T) {
	watching(t, "silence", func(w *watch) {
		w.begin(clock(), reasonFirstToken, 300*time.Second)
		w.endsAfter(300*time.Second, reasonFirstToken)
	})
	watching(t, "bytes that are no token", func(w *watch) {
		w.begin(clock(), reasonFirstToken, 10*time.Second)
		for range 9 {
			w.reads()
			w.lasts(time.Second)
		}
		w.endsAfter(time.Second, reasonFirstToken)
	})
	watching(t, "answer begins", func(w *watch) {
		w.begin(clock(), reasonFirstToken, 10*time.Second)
		w.lasts(9 * time.Second)
		w.begin(clock(), reasonStall, 120*time.Second)
		w.reads()
		w.endsAfter(120*time.Second, reasonStall)
	})
	watching(t, "answer begins, no limit to silence", func(w *watch) {
		w.begin(clock(), reasonFirstToken, 10*time.Second)
		w.begin(clock(), reasonStall, 0)
		w.reads()
		w.lasts(24 * time.Hour)
	})
	watching(t, "none", func(w *watch) {
		w.begin(clock(), reasonFirstToken, 0)
		w.lasts(24 * time.Hour)
	})
	watching(t, "none, with a timer in store", func(w *watch) {
		w.begin(clock(), reasonNone, 10*time.Second)
		w.lasts(24 * time.Hour)
		w.begin(clock(), reasonStall, 10*time.Second)
		w.reads()
		w.endsAfter(10*time.Second, reasonStall)
	})
	watching(t, "none, and the timer in store fires in the middle", func(w *watch) {
		w.begin(clock(), reasonNone, 10*time.Second)
		w.lasts(3 * time.Second)
		w.begin(clock(), reasonStall, 10*time.Second)
		w.reads()
		w.endsAfter(10*time.Second, reasonStall)
	})
}

// TestStallDeadline guards that only silence of the instance, while somebody
// listens, ends an answer (N12, N13).
func TestStallDeadline(t *testing.T) {
	const limit = 2 * time.Second
	watching(t, "an event per 1.5 s for a minute, then none", func(w *watch) {
		w.begin(clock(), reasonStall, limit)
		for range 40 {
			w.reads()
			w.lasts(1500 * time.Millisecond)
		}
		w.reads()
		w.endsAfter(limit, reasonStall)
	})
	watching(t, "client that takes its time", func(w *watch) {
		w.begin(clock(), reasonStall, limit)
		w.lasts(time.Hour + 700*time.Millisecond)
		w.reads()
		w.lasts(time.Second)
		w.waiting.Store(0)
		w.lasts(time.Hour)
		w.reads()
		w.endsAfter(limit, reasonStall)
	})
	watching(t, "a read that began before the phase", func(w *watch) {
		w.reads()
		w.lasts(time.Second)
		w.begin(clock(), reasonStall, limit)
		w.endsAfter(limit, reasonStall)
	})
}

// TestTotalDeadline guards that an attempt ends with the time of its request,
// whatever it is doing.
func TestTotalDeadline(t *testing.T) {
	begin := func(w *watch, why reason, limit time.Duration) {
		w.total = clock() + 10*time.Second
		w.begin(clock(), why, limit)
	}
	watching(t, "no other deadline", func(w *watch) {
		begin(w, reasonFirstToken, 0)
		w.endsAfter(10*time.Second, reasonTotal)
	})
	watching(t, "behind a timer in store", func(w *watch) {
		begin(w, reasonNone, 2*time.Second)
		w.endsAfter(10*time.Second, reasonTotal)
	})
	watching(t, "before a later one", func(w *watch) {
		begin(w, reasonFirstToken, time.Minute)
		w.endsAfter(10*time.Second, reasonTotal)
	})
	watching(t, "after an earlier one", func(w *watch) {
		begin(w, reasonFirstToken, 9*time.Second)
		w.endsAfter(9*time.Second, reasonFirstToken)
	})
	watching(t, "in the middle of an answer", func(w *watch) {
		begin(w, reasonStall, 2*time.Second)
		for range 6 {
			w.reads()
			w.lasts(1500 * time.Millisecond)
		}
		w.reads()
		w.endsAfter(time.Second, reasonTotal)
	})
	watching(t, "a new phase does not move it", func(w *watch) {
		begin(w, reasonFirstToken, time.Minute)
		w.lasts(6 * time.Second)
		w.begin(clock(), reasonStall, 0)
		w.endsAfter(4*time.Second, reasonTotal)
	})
	watching(t, "passed already", func(w *watch) {
		w.total = clock() - time.Second
		w.begin(clock(), reasonFirstToken, 0)
		w.endsAfter(1, reasonTotal)
	})
}

// TestDoneGrace guards that an instance which holds a whole stream open has half a
// second to end it (N24), be the timer late or not.
func TestDoneGrace(t *testing.T) {
	watching(t, "in time", func(w *watch) {
		w.begin(clock(), reasonStall, time.Minute)
		w.lasts(time.Second)
		w.begin(clock(), errDone.why, doneGrace)
		w.endsAfter(500*time.Millisecond, errDone.why)
		if !errors.Is(context.Cause(w.ctx), errDone) {
			w.Errorf("got the cause %v, want errDone", context.Cause(w.ctx))
		}
	})
	watching(t, "late", func(w *watch) {
		w.begin(clock(), errDone.why, doneGrace)
		w.late(time.Minute)
		w.endsAfter(doneGrace, errDone.why)
	})
}

// TestHandshakeDeadline guards that a TLS handshake has its own deadline (N17),
// and that the one it interrupts goes on as if nothing had been.
func TestHandshakeDeadline(t *testing.T) {
	const limit = 5 * time.Second
	watching(t, "stalls", func(w *watch) {
		w.begin(clock(), reasonFirstToken, time.Minute)
		w.lasts(time.Second)
		w.handshake(clock(), limit)
		w.endsAfter(limit, reasonTLSTimeout)
	})
	watching(t, "stalls, no other deadline", func(w *watch) {
		w.begin(clock(), reasonFirstToken, 0)
		w.handshake(clock(), limit)
		w.endsAfter(limit, reasonTLSTimeout)
	})
	watching(t, "succeeds", func(w *watch) {
		w.begin(clock(), reasonFirstToken, 10*time.Second)
		w.lasts(time.Second)
		w.handshake(clock(), limit)
		w.lasts(4 * time.Second)
		w.connects(clock())
		w.endsAfter(5*time.Second, reasonFirstToken)
	})
	watching(t, "succeeds, no other deadline", func(w *watch) {
		w.begin(clock(), reasonFirstToken, 0)
		w.handshake(clock(), limit)
		w.lasts(4 * time.Second)
		w.connects(clock())
		w.lasts(24 * time.Hour)
	})
	watching(t, "succeeds, with a timer in store", func(w *watch) {
		w.begin(clock(), reasonNone, 2*time.Second)
		w.lasts(time.Second)
		w.handshake(clock(), limit)
		w.lasts(4 * time.Second)
		w.connects(clock())
		w.lasts(24 * time.Hour)
	})
	watching(t, "of two dials at once", func(w *watch) {
		w.begin(clock(), reasonFirstToken, 10*time.Second)
		w.handshake(clock(), limit)
		w.lasts(4 * time.Second)
		w.handshake(clock(), limit) // another address: no more time
		w.endsAfter(time.Second, reasonTLSTimeout)
	})
	watching(t, "of a dial that is not needed any more", func(w *watch) {
		w.begin(clock(), reasonFirstToken, 20*time.Second)
		w.connects(clock()) // one that was idle
		w.handshake(clock(), limit)
		w.endsAfter(20*time.Second, reasonFirstToken)
	})
	watching(t, "in the request's last second", func(w *watch) {
		w.total = clock() + time.Second
		w.begin(clock(), reasonFirstToken, 0)
		w.handshake(clock(), limit)
		w.endsAfter(time.Second, reasonTotal)
	})
}

// TestLateTimer guards that a timer which fires late, for the machine slept or had no
// processor to spare, ends nothing but gives the instance twice the time that is lost,
// as often as that happens (L6, T3).
func TestLateTimer(t *testing.T) {
	const (
		limit = 10 * time.Second
		look  = time.Second // before the deadline
	)
	for _, why := range []reason{reasonFirstToken, reasonTLSTimeout} {
		f := func(name string, limit, late, want time.Duration) {
			watching(t, name+", "+string(why), func(w *watch) {
				w.begin(clock(), why, limit)
				w.late(late)
				w.endsAfter(want, why)
			})
		}
		f("a minute", limit, time.Minute, limit-look+limit)
		f("a second", limit, time.Second, limit-look+2*time.Second)
		f("half a second", limit, time.Second/2, limit)
		f("a short one, twice", limit/1000, limit/1000, 3*limit/4000+limit/1000)
		f("a short one, a little", limit/1000, limit/8000, limit/1000)

		again := func(name string, late, want time.Duration) {
			watching(t, "again, "+name+", "+string(why), func(w *watch) {
				w.begin(clock(), why, limit)
				w.lasts(limit - 1)
				w.late(late)
				w.endsAfter(want-(limit-1), why)
			})
		}
		again("a quarter of a second", time.Second/4, limit)
		again("more than that", time.Second/4+1, limit+look)
		again("a second", time.Second, limit+2*time.Second)
	}
	for late, want := range map[time.Duration]blame{time.Second / 16: blameInstance, time.Second/16 + 1: blameNobody} {
		watching(t, "the request's time", func(w *watch) {
			w.total = clock() + limit
			w.begin(clock(), reasonFirstToken, 0)
			w.mu.Lock()
			w.total -= late
			w.mu.Unlock()
			w.endsAfter(limit, reasonTotal)
			if v := judgeError(context.Canceled, w.ctx); v.blame != want || v.elsewhere {
				w.Errorf("%v late: got %+v, want blame %d", late, v, want)
			}
		})
	}
	watching(t, "silence that nobody could hear", func(w *watch) {
		w.waiting.Store(int64(clock() - time.Minute))
		w.begin(clock(), reasonStall, limit)
		w.late(time.Minute)
		w.endsAfter(limit-look+limit, reasonStall)
	})
	watching(t, "something came meanwhile", func(w *watch) {
		w.begin(clock(), reasonStall, limit)
		w.late(time.Minute)
		w.lasts(limit - 1)
		w.reads()
		w.endsAfter(limit, reasonStall)
	})
}

// TestLateDial guards that a dial whose deadline passes while the process has no
// processor is made again, and that only such a one is.
func TestLateDial(t *testing.T) {
	const limit = 3 * time.Second
	errRefused := errors.New("refused")
	f := func(name string, wantDials int, wantErr bool, dial func(ctx context.Context, n int) error) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dials := 0
				d := within(func(ctx context.Context, _, _ string) (net.Conn, error) {
					dials++
					return nil, dial(ctx, dials)
				})
				a := &attempt{instance: &instance{deadlines: deadlines{connect: limit}}}
				_, err := d(context.WithValue(t.Context(), attemptKey{}, a), "tcp", "host:1")
				if dials != wantDials || (err != nil) != wantErr {
					t.Errorf("got %d dials and error %v, want %d and an error: %v", dials, err, wantDials, wantErr)
				}
				if _, ok := errors.AsType[*connectError](err); wantErr && !ok {
					t.Errorf("got %T, want a connectError", err)
				}
			})
		})
	}
	f("at once", 1, false, func(context.Context, int) error { return nil })
	f("refused", 1, true, func(context.Context, int) error { return errRefused })
	f("silence", 1, true, func(ctx context.Context, _ int) error {
		<-ctx.Done()
		return ctx.Err()
	})
	f("silence, seen a little late", 1, true, func(ctx context.Context, _ int) error {
		time.Sleep(limit + limit/16)
		return ctx.Err()
	})
	f("a sleep, then at once", 2, false, func(ctx context.Context, n int) error {
		if n == 1 {
			time.Sleep(limit + limit/16 + 1)
			return ctx.Err()
		}
		return nil
	})
	f("a sleep, then refused", 2, true, func(ctx context.Context, n int) error {
		if n == 1 {
			time.Sleep(time.Minute)
			return ctx.Err()
		}
		return errRefused
	})
}

// TestWatchStops guards that nothing ends an attempt that is over, and nothing
// begins the watch anew.
func TestWatchStops(t *testing.T) {
	watching(t, "stop", func(w *watch) {
		w.total = clock() + time.Minute
		w.begin(clock(), reasonFirstToken, time.Second)
		w.stop()
		w.begin(clock(), reasonFirstToken, time.Second)
		w.handshake(clock(), time.Second)
		w.connects(clock())
		w.fire() // a timer that was on its way
		w.stop()
		w.lasts(time.Hour)
	})
	watching(t, "stop in a handshake", func(w *watch) {
		w.begin(clock(), reasonFirstToken, 0)
		w.handshake(clock(), time.Second)
		w.stop()
		w.connects(clock())
		w.lasts(time.Hour)
	})
	watching(t, "never begun", func(w *watch) {
		w.stop()
		w.lasts(time.Hour)
	})
}

// TestDeadlinesOf guards the defaults of faults.md, section 3, that settings go
// before them, one by one, and that 0 is a setting: none.
func TestDeadlinesOf(t *testing.T) {
	seconds := func(n int) *Seconds { s := Seconds(time.Duration(n) * time.Second); return &s }
	defaults := deadlines{
		connect: 3 * time.Second, tls: 5 * time.Second, firstToken: 5 * time.Minute, firstTokenPerMB: time.Minute,
		learn: true, stall: 2 * time.Minute, total: 30 * time.Minute,
	}
	if got := defaultDeadlines.with(new(TimeoutsConfig)); got != defaults {
		t.Errorf("nothing set: got %+v, want %+v", got, defaults)
	}
	all := TimeoutsConfig{
		Connect: seconds(1), TLS: seconds(2), FirstToken: seconds(3), FirstTokenPerMB: seconds(4), Learn: new(false),
		Stall: seconds(5), Total: seconds(6),
	}
	want := deadlines{
		connect: time.Second, tls: 2 * time.Second, firstToken: 3 * time.Second, firstTokenPerMB: 4 * time.Second,
		stall: 5 * time.Second, total: 6 * time.Second,
	}
	if got := defaultDeadlines.with(&all); got != want {
		t.Errorf("all set: got %+v, want %+v", got, want)
	}
	want.firstToken, want.stall, want.learn = 0, 9*time.Second, true
	if got := defaultDeadlines.with(&all).with(&TimeoutsConfig{FirstToken: seconds(0), Stall: seconds(9), Learn: new(true)}); got != want {
		t.Errorf("an instance's own: got %+v, want %+v", got, want)
	}
}
