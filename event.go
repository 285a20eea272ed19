package aigateway

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/json5"
)

// eventKind says what has happened. The name of Caddy's event is eventPrefix and
// the kind.
type eventKind string

const (
	instanceEjected eventKind = "instance_ejected" // left out, for cause, until a trial in wait
	instanceTrial   eventKind = "instance_trial"   // one request decides whether it is back
	instanceBack    eventKind = "instance_back"    // an instance that was ejected answers
	instanceResting eventKind = "instance_resting" // asked to be left alone for wait
	instanceRested  eventKind = "instance_rested"  // that time is over

	instanceDraining  eventKind = "instance_draining"  // gets no new requests, by the file or by hand
	instanceUndrained eventKind = "instance_undrained" // gets requests again

	keyRefused   eventKind = "key_refused"   // left out because it refuses the file's key
	keyAccepted  eventKind = "key_accepted"  // answers after that
	modelMissing eventKind = "model_missing" // left out because it does not have the model
	modelBack    eventKind = "model_back"    // answers after that

	poolOnFallback  eventKind = "pool_on_fallback"  // no primary is usable, a fallback is
	poolOffFallback eventKind = "pool_off_fallback" // a primary is usable again
	poolEmpty       eventKind = "pool_empty"        // no instance is usable
	poolRefilled    eventKind = "pool_refilled"     // one is again

	configApplied  eventKind = "config_applied"  // a new content of the file is in force
	configRejected eventKind = "config_rejected" // it is not, for cause

	addressesChanged eventKind = "addresses_changed" // a name has other addresses than before, and the fleet other instances
	modelsChanged    eventKind = "models_changed"    // a server with discover has other models than before
	dnsFailed        eventKind = "dns_failed"        // lookups of a name fail, for cause; its last addresses stay in use
	dnsEmpty         eventKind = "dns_empty"         // a name has no addresses any more; its last ones stay in use
	dnsRecovered     eventKind = "dns_recovered"     // it has some again

	recorderDropping  eventKind = "recorder_dropping"  // count exchanges or lines are lost, for cause
	recorderRecovered eventKind = "recorder_recovered" // none has been for recoveryTime; count were
	diskLow           eventKind = "disk_low"           // less is free than record.min_free: nothing is recorded
	diskRecovered     eventKind = "disk_recovered"

	budgetNear    eventKind = "budget_near"    // a key has used most of a budget, as cause says
	budgetOver    eventKind = "budget_over"    // it has used it up
	budgetRenewed eventKind = "budget_renewed" // it may go on
	usageUnkept   eventKind = "usage_unkept"   // what keys use is not remembered, for cause
	usageKept     eventKind = "usage_kept"     // it is again
)

// event is something that happened to a store's fleet and that somebody may want to
// hear of. It holds no secret and no text of a request. What does not belong to its
// kind is zero.
type event struct {
	kind     eventKind
	time     time.Time
	name     string        // of the instance, as in logs, or in the DNS
	upstream string        // its ID
	model    string        // of the instance or pool
	key      string        // name of a client's
	tier     string        // of the instance: primary or fallback
	cause    string        // a reason, or the text of an error without values of the file
	wait     time.Duration // until a trial, or of a rest
	count    int           // of changes, or of exchanges that are not recorded
	path     string        // of the file, or of the records' folder
	line     int           // of the first mistake in the file, from 1, as column
	column   int
}

// instanceEvent returns an event of i.
func instanceEvent(kind eventKind, i *instance, why reason, wait time.Duration) event {
	return event{
		kind: kind, upstream: i.id, name: i.name, model: i.model, tier: i.tier.String(), cause: string(why), wait: wait,
	}
}

// outKind is the kind of event for an instance that is left out.
func outKind(why reason) eventKind {
	switch why {
	case reasonKey:
		return keyRefused
	case reasonModel:
		return modelMissing
	default:
		return instanceEjected
	}
}

// rejection returns the event of a file that is bad. An error in its content is told
// by the first mistake, without the line that it stands in.
func rejection(path string, err error) event {
	e := event{kind: configRejected, path: path, cause: err.Error()}
	first, ok := errors.AsType[*json5.Error](err)
	if !ok {
		return e
	}
	e.line, e.column, e.cause = first.Line, first.Column, first.Error()
	if all, ok := errors.AsType[json5.Errors](err); ok && len(all) > 1 {
		e.cause += fmt.Sprintf("; and %d more mistakes", len(all)-1)
	}
	return e
}

// eventQueue is how many events may wait. Half of 10,000 instances may fail within
// seconds; what comes last tells most.
const eventQueue = 1024

// bulletin takes events in and hands them on. Taking one in never waits. One
// goroutine, [observer.run], hands them on in order.
type bulletin struct {
	queue   chan event
	dropped atomic.Int64 // for want of place in queue

	mu          sync.Mutex
	subscribers []*func(event) // guarded by mu, and never changed in place
	voices      []*voice       // guarded by mu, the newest last
}

func newBulletin() *bulletin { return &bulletin{queue: make(chan event, eventQueue)} }

// emit queues e. If the queue is full the oldest is dropped. It may be called from
// any goroutine.
func (b *bulletin) emit(e event) {
	e.time = time.Now()
	for {
		select {
		case b.queue <- e:
			return
		default:
		}
		select {
		case <-b.queue:
			b.dropped.Add(1)
		default:
		}
	}
}

// rests tells once that i rests, until [observer.lookAtRest] finds the end.
func (b *bulletin) rests(i *instance) {
	if wait, why := i.state.health.resting(clock()); wait > 0 && i.state.restTold.CompareAndSwap(false, true) {
		b.emit(instanceEvent(instanceResting, i, why, wait))
	}
}

// subscribe has f called for every event that is handed on from now on, one at a
// time and in order. F must be quick: events of all others wait for it. A call may
// be under way when cancel returns.
func (s *store) subscribe(f func(event)) (cancel func()) {
	b, subscriber := s.events, &f
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subscribers = append(slices.Clip(b.subscribers), subscriber)
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.subscribers = slices.DeleteFunc(slices.Clone(b.subscribers), func(other *func(event)) bool { return other == subscriber })
	}
}

// publish hands e on to the subscribers and to Caddy.
func (b *bulletin) publish(e event) {
	b.mu.Lock()
	subscribers, v := b.subscribers, b.voice()
	b.mu.Unlock()
	for _, f := range subscribers {
		(*f)(e)
	}
	if v != nil {
		v.emit(e)
	}
}
