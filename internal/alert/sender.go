package alert

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	maxRetries = 5
	// betweenRounds is how often a receiver is tried that has failed maxRetries times.
	betweenRounds = 5 * time.Minute
)

// sender delivers to one receiver. Groups that wait are merged, so that it holds at
// most one of each kind whatever its receiver does.
type sender struct {
	name    string
	backoff time.Duration // before the first retry; doubled with each
	changed func()        // told when what waits has changed
	wake    chan struct{}
	cancel  context.CancelFunc
	done    chan struct{}

	mu       sync.Mutex // guards all below
	receiver Receiver
	ch       channel
	limiter  *limiter
	masker   *masker
	logger   *zap.Logger
	source   string
	location *time.Location
	waiting  []Group // that no attempt holds
	sending  []Group // that the attempt under way holds
	failed   int     // attempts in a row
	refused  bool    // something was dropped since the settings changed
	closing  bool    // what fails is not tried again
	retryAt  time.Time
	sent     int64
	errors   int64
	dropped  int64 // messages that were refused for good
	lastErr  string
}

func newSender(name string, backoff time.Duration, changed func()) *sender {
	ctx, cancel := context.WithCancel(context.Background())
	s := &sender{name: name, backoff: backoff, changed: changed, wake: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{})}
	go s.run(ctx)
	return s
}

func (s *sender) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// enqueue takes what the receiver wants of the groups. It never waits.
func (s *sender) enqueue(groups []Group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.receiver.quietEnd() {
		s.waiting = without(s.waiting, groups)
	}
	wanted := s.receiver.wants(groups)
	if len(wanted) == 0 {
		return
	}
	s.waiting = merge(s.waiting, wanted)
	s.nudge()
}

// pending returns what has not been delivered.
func (s *sender) pending() []Group {
	s.mu.Lock()
	defer s.mu.Unlock()
	return merge(s.sending, s.waiting)
}

// without returns what waits less the alerts that are over by now, of which nobody
// has to hear that they began.
func without(waiting, newer []Group) []Group {
	over := make(map[subject]bool)
	for _, g := range newer {
		for i := range g.Alerts {
			if g.Alerts[i].Over() {
				over[g.Alerts[i].subject()] = true
			}
		}
	}
	var rest []Group
	for _, g := range waiting {
		alerts := slices.DeleteFunc(slices.Clone(g.Alerts), func(a Alert) bool { return over[a.subject()] })
		if len(alerts) > 0 {
			rest = append(rest, Group{g.Kind, alerts})
		}
	}
	return rest
}

// merge returns the groups of both; of an alert in both the newer one counts, but
// what was new and has not been delivered stays new.
func merge(older, newer []Group) []Group {
	merged := slices.Clone(older)
	for _, g := range newer {
		i := slices.IndexFunc(merged, func(o Group) bool { return o.Kind == g.Kind })
		if i < 0 {
			merged = append(merged, g)
			continue
		}
		at := make(map[subject]int, len(merged[i].Alerts))
		alerts := slices.Clone(merged[i].Alerts)
		for n := range alerts {
			at[alerts[n].subject()] = n
		}
		for _, a := range g.Alerts {
			if n, ok := at[a.subject()]; ok {
				a.New = !a.Over() && (a.New || alerts[n].New)
				alerts[n] = a
			} else {
				alerts = append(alerts, a)
			}
		}
		sortAlerts(alerts)
		merged[i] = Group{g.Kind, alerts}
	}
	slices.SortFunc(merged, worstFirst)
	return merged
}

// run sends until ctx ends.
func (s *sender) run(ctx context.Context) {
	defer close(s.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wait := s.step(ctx)
		if ctx.Err() != nil || wait < 0 {
			return
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// step sends what waits if it may, and returns how long there is nothing to do; a
// negative time if there never will be.
func (s *sender) step(ctx context.Context) time.Duration {
	s.mu.Lock()
	if len(s.waiting) == 0 {
		defer s.mu.Unlock()
		if s.closing {
			return -1
		}
		return time.Hour
	}
	now := time.Now()
	wait := s.retryAt.Sub(now)
	if wait <= 0 {
		wait = s.limiter.reserve(now)
	}
	if wait > 0 {
		defer s.mu.Unlock()
		if s.closing {
			return -1
		}
		return wait
	}
	s.sending, s.waiting = s.waiting, nil
	m := &Message{Source: s.source, Receiver: s.name, Language: s.receiver.Language, Groups: s.sending, Time: now.In(s.location)}
	ch, limiter := s.ch, s.limiter
	s.mu.Unlock()

	_, err := attempt(ctx, ch, m)
	s.settle(ctx, err, limiter)
	s.changed()
	return 0
}

// attempt sends one message within the time that there is for it.
func attempt(ctx context.Context, ch channel, m *Message) (string, error) {
	// Services with several requests get one time for all, once more as much.
	ctx, cancel := context.WithTimeout(ctx, 2*sendTimeout)
	defer cancel()
	return ch.send(ctx, m)
}

// settle books the end of an attempt, and logs what an operator can use: the first
// failure, the last retry, a refusal, and the return.
func (s *sender) settle(ctx context.Context, err error, used *limiter) {
	s.mu.Lock()
	failed := s.failed
	s.book(ctx, err, used)
	logger, fields := s.logger, []zap.Field{zap.String("receiver", s.name), zap.String("error", s.lastErr)}
	s.mu.Unlock() // a log may block
	f, _ := errors.AsType[*failure](err)
	switch {
	case err == nil && failed > maxRetries:
		logger.Info("alert receiver takes messages again", fields[:1]...)
	case err == nil || ctx.Err() != nil:
	case f != nil && f.permanent:
		logger.Error("alert refused by its receiver, it is dropped", fields...)
	case failed == 0, failed == maxRetries:
		logger.Warn("alert not delivered, it will be tried again", append(fields, zap.Int("attempt", failed+1))...)
	}
}

// book does the sums of settle. The caller holds mu.
func (s *sender) book(ctx context.Context, err error, used *limiter) {
	held := s.sending
	s.sending = nil
	if err == nil {
		s.sent++
		s.failed, s.lastErr, s.retryAt = 0, "", time.Time{}
		return
	}
	if ctx.Err() != nil { // the end of the sender, not of the receiver
		s.waiting = merge(held, s.waiting)
		return
	}
	s.errors++
	s.failed++
	s.lastErr = s.masker.line(err.Error(), maxCause)
	f, _ := errors.AsType[*failure](err)
	if f != nil && f.permanent {
		s.dropped++
		s.failed, s.refused, s.retryAt = 0, true, time.Time{}
		return
	}
	s.waiting = merge(held, s.waiting)
	now := time.Now()
	if f != nil && f.rest > 0 {
		used.rest(now, f.rest)
	}
	wait := betweenRounds
	if s.failed <= maxRetries {
		wait = s.backoff << (s.failed - 1)
	}
	s.retryAt = now.Add(wait + rand.N(wait/4+1))
}

// set puts new settings in force, at once. It reports whether the receiver missed
// something that the new settings may let through.
func (s *sender) set(r Receiver, ch channel, l *limiter, st *settings) (missed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil && !sameReceiver(&s.receiver, &r) {
		missed = s.refused
		s.failed, s.refused, s.retryAt = 0, false, time.Time{}
	}
	s.receiver, s.ch, s.limiter, s.masker, s.logger, s.source, s.location = r, ch, l, st.masker, st.logger, st.source, st.location
	s.nudge()
	return missed
}

func sameReceiver(a, b *Receiver) bool {
	return a.service() == b.service() && a.URL == b.URL && a.Secret == b.Secret
}

// finish lets what waits be sent once, if it may be now, and then ends.
func (s *sender) finish() {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.nudge()
}

// ended reports whether the goroutine has ended.
func (s *sender) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}
