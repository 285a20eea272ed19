package aigateway

import (
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/hourly"
)

const (
	// lookTime is how often pools, rests and the recorder are looked at.
	lookTime = time.Second
	// recoveryTime is how long nothing must be lost for the recorder to have recovered.
	recoveryTime = 30 * time.Second
)

// observer hands on a store's events, and adds those that no request can tell: of
// pools, of the ends of rests, of the recorder. It belongs to one goroutine.
type observer struct {
	*store
	open    map[string][]eventKind // by ID: what an instance is out for
	seen    uint64                 // changes that pools is up to date with
	pools   map[string]standing    // by model
	losses  losses
	trends  trends
	watch   keyWatch
	dropped int64 // events, as the log knows
}

// newObserver returns an observer of s, which must have a snapshot. What happens from
// now on is news to it.
func newObserver(s *store) *observer {
	o := &observer{store: s, open: make(map[string][]eventKind), pools: make(map[string]standing)}
	o.losses.look(s.snapshot().recorder, time.Now())
	return o
}

// run observes until the store ends.
func (o *observer) run() {
	tick := time.NewTicker(lookTime)
	defer tick.Stop()
	for {
		select {
		case e := <-o.events.queue:
			o.take(e)
			if len(o.events.queue) == 0 { // many instances that fail together are one look
				o.lookAtPools()
			}
		case <-tick.C:
			o.look(time.Now())
		case <-o.stop:
			return
		}
	}
}

// closing is the kind that ends what another one begins.
var closing = map[eventKind]eventKind{instanceEjected: instanceBack, keyRefused: keyAccepted, modelMissing: modelBack}

// take hands on an event. The return of an instance ends all that it was out for.
func (o *observer) take(e event) {
	if closing[e.kind] != "" && !slices.Contains(o.open[e.upstream], e.kind) {
		o.open[e.upstream] = append(o.open[e.upstream], e.kind)
	}
	if e.kind != instanceBack || len(o.open[e.upstream]) == 0 {
		o.events.publish(e)
		return
	}
	for _, kind := range o.open[e.upstream] {
		e.kind = closing[kind]
		o.events.publish(e)
	}
	delete(o.open, e.upstream)
}

// tell hands on an event of the observer's own.
func (o *observer) tell(e event) {
	e.time = time.Now()
	o.events.publish(e)
}

// look does what is due every lookTime.
func (o *observer) look(now time.Time) {
	if logger := o.events.forget(); logger != nil {
		o.logger.Store(logger)
	}
	o.lookAtPools()
	o.lookAtInstances()
	o.trends.look(o.snapshot(), now)
	o.lookAtKeys(now)
	for _, e := range o.losses.look(o.snapshot().recorder, now) {
		o.tell(e)
	}
	if dropped := o.events.dropped.Load(); dropped != o.dropped {
		o.dropped = dropped
		o.logger.Load().Warn("events came faster than they could be told, the oldest are dropped", zap.String("path", o.path), zap.Int64("dropped", dropped))
	}
}

// lookAtInstances tells of rests that are over, and forgets instances that are not
// in the file any more.
func (o *observer) lookAtInstances() {
	now := clock()
	in := make(map[string]bool, len(o.open))
	for _, i := range o.snapshot().fleet.instances {
		if i.state.restTold.Load() {
			o.lookAtRest(i, now)
		}
		if len(o.open) > 0 && o.open[i.id] != nil {
			in[i.id] = true
		}
	}
	for id := range o.open {
		if !in[id] {
			delete(o.open, id)
		}
	}
}

// lookAtRest tells if the rest of i is over, unless another one begins just now.
func (o *observer) lookAtRest(i *instance, now time.Duration) {
	if left, _ := i.state.health.resting(now); left > 0 {
		return
	}
	i.state.restTold.Store(false)
	if left, _ := i.state.health.resting(now); left > 0 && i.state.restTold.CompareAndSwap(false, true) {
		return
	}
	o.tell(instanceEvent(instanceRested, i, reasonNone, 0))
}

// standing is how a pool stands.
type standing struct {
	empty      bool
	onFallback bool // stays while the pool is empty
}

// stands returns how p stands, after it stood as before. An instance that has failed
// too often but is the last of its pool, and so not ejected, is not usable here.
func (p *pool) stands(before standing) standing {
	var usable [2]bool
	for t, r := range p.tiers {
		usable[t] = slices.ContainsFunc(r.instances, func(i *instance) bool {
			return i.state.health.usable() && !i.state.health.spared.Load()
		})
	}
	now := standing{empty: !usable[primary] && !usable[fallback], onFallback: before.onFallback}
	if !now.empty {
		now.onFallback = !usable[primary] && len(p.tiers[primary].instances) > 0
	}
	return now
}

// lookAtPools tells which pools have run out of primaries, or of all instances, and
// which have some again. It costs nothing while no instance changes.
func (o *observer) lookAtPools() {
	changes := o.changes.Load()
	if changes == o.seen {
		return
	}
	o.seen = changes
	fleet := o.snapshot().fleet
	pools := make(map[string]standing, len(fleet.pools)+1)
	look := func(p *pool) {
		before := o.pools[p.model]
		now := p.stands(before)
		if now != (standing{}) {
			pools[p.model] = now
		}
		if now.empty != before.empty {
			o.tellOfPool(p.model, now.empty, poolEmpty, poolRefilled)
		}
		if now.onFallback != before.onFallback {
			o.tellOfPool(p.model, now.onFallback, poolOnFallback, poolOffFallback)
		}
	}
	for _, model := range fleet.models {
		look(fleet.pools[model])
	}
	if fleet.any != nil {
		look(fleet.any)
	}
	o.pools = pools
}

// tellOfPool tells that something begins to be so with a pool, or ends.
func (o *observer) tellOfPool(model string, begins bool, begin, end eventKind) {
	kind := end
	if begins {
		kind = begin
	}
	news := map[eventKind]struct {
		level   zapcore.Level
		message string
	}{
		poolEmpty:       {zap.ErrorLevel, "no instance of the model is usable"},
		poolRefilled:    {zap.InfoLevel, "an instance of the model is usable again"},
		poolOnFallback:  {zap.WarnLevel, "no primary instance of the model is usable, the fallback takes over"},
		poolOffFallback: {zap.InfoLevel, "a primary instance of the model is usable again"},
	}[kind]
	o.logger.Load().Log(news.level, news.message, zap.String("model", model))
	o.tell(event{kind: kind, model: model})
}

// losses follows what a recorder loses.
type losses struct {
	recorder *recorder
	known    map[string]int64 // by reason, at the last look
	low      bool             // the disk is, as far as told
	dropping bool             // as far as told
	since    time.Time        // of the last loss
	count    int64            // since dropping
}

// look returns the events of what r, which may be nil, has lost since the last look.
func (l *losses) look(r *recorder, now time.Time) (events []event) {
	if r != l.recorder {
		events = l.end(now.Add(recoveryTime), false)
		*l = losses{recorder: r}
		if r != nil {
			l.known = r.report().Dropped
		}
		return events
	}
	if r == nil {
		return nil
	}
	dropped := r.report().Dropped
	var why []string
	var lost int64
	for reason, n := range dropped {
		if n > l.known[reason] && reason != string(hourly.DiskLow) {
			why = append(why, reason)
			lost += n - l.known[reason]
		}
	}
	l.known = dropped
	if lost > 0 {
		l.since = now
		l.count += lost
		if !l.dropping {
			l.dropping = true
			slices.Sort(why)
			events = append(events, event{kind: recorderDropping, path: r.dir, cause: strings.Join(why, ", "), count: int(lost)})
		}
	}
	low := r.low.Load()
	if low && !l.low {
		l.low = true
		events = append(events, event{kind: diskLow, path: r.dir})
	}
	return append(events, l.end(now, low)...)
}

// end returns the events of what is over.
func (l *losses) end(now time.Time, low bool) (events []event) {
	if l.low && !low {
		l.low = false
		events = append(events, event{kind: diskRecovered, path: l.recorder.dir})
	}
	if l.dropping && now.Sub(l.since) >= recoveryTime {
		events = append(events, event{kind: recorderRecovered, path: l.recorder.dir, count: int(l.count)})
		l.dropping, l.count = false, 0
	}
	return events
}
