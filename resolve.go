package aigateway

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// firstLookup is how long a new content of the file waits for the names in it. A DNS
	// that answers does so by then, and no request finds a model without instances.
	firstLookup = 500 * time.Millisecond
	// lookupRetry is how soon a name is looked up again that has never been answered.
	lookupRetry = 2 * time.Second
	// lookupFailures is how many failed lookups in a row are told, if there are addresses
	// from before: DNS servers restart, too.
	lookupFailures = 3
)

// How a lookup ended.
type lookupEnd uint8

const (
	lookupOK lookupEnd = iota
	lookupEmpty
	lookupFailed
)

func (e lookupEnd) String() string { return [...]string{"ok", "empty", "failed"}[e] }

// resolution is what is known of a name. It is guarded by the lock of its store.
type resolution struct {
	records  []dnsRecord // of the last good answer
	more     int         // servers beyond those
	good     time.Time   // when that came; zero for never
	end      lookupEnd   // of the last lookup
	cause    string      // why the last lookup brought nothing
	failures int         // lookups in a row that failed
	told     eventKind   // that is not over
	due      time.Duration
	busy     bool // a lookup is under way
	counts   [3]int64
}

// resolver looks up the names of a store's file. Its members are guarded by the lock of
// the store.
type resolver struct {
	cfg     DNSConfig
	lookups *lookups
	names   map[dnsName]*resolution
	bell    chan struct{} // has room for one: something may be due
}

func newResolver() resolver {
	return resolver{names: make(map[dnsName]*resolution), bell: make(chan struct{}, 1)}
}

// prepare makes r ready for a checked file: names that are new are looked up at once, for
// at most limit. The caller holds the lock of the store.
func (r *resolver) prepare(cfg *Config, now, limit time.Duration) {
	if r.lookups == nil || r.cfg.Timeout != cfg.DNS.Timeout || !slices.Equal(r.cfg.Servers, cfg.DNS.Servers) {
		r.lookups = newLookups(&cfg.DNS)
		for _, known := range r.names {
			known.due = now // other servers may know more
		}
	}
	if cfg.DNS.Interval < r.cfg.Interval {
		for _, known := range r.names {
			known.due = min(known.due, now+time.Duration(cfg.DNS.Interval))
		}
	}
	r.cfg = cfg.DNS
	var fresh []dnsName
	for _, entry := range cfg.entries() {
		if entry.Resolve == "" {
			continue
		}
		if name := entry.dnsName(); r.names[name] == nil {
			r.names[name] = &resolution{due: now, end: lookupFailed, cause: "no answer yet"}
			fresh = append(fresh, name)
		}
	}
	r.first(fresh, limit)
	r.ring()
}

// forget lets go of names that a file, which has been put in force, does not have. The
// caller holds the lock of the store.
func (r *resolver) forget(cfg *Config) {
	in := make(map[dnsName]bool)
	for _, entry := range cfg.entries() {
		if entry.Resolve != "" {
			in[entry.dnsName()] = true
		}
	}
	maps.DeleteFunc(r.names, func(name dnsName, _ *resolution) bool { return !in[name] })
}

// ring lets [store.resolves] see what is due: its timer does not know.
func (r *resolver) ring() {
	select {
	case r.bell <- struct{}{}:
	default:
	}
}

// first looks up names that nothing is known of. Those that take longer than limit are
// due as before.
func (r *resolver) first(names []dnsName, limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var all sync.WaitGroup
	for _, name := range names {
		known := r.names[name]
		all.Go(func() {
			records, more, err := r.lookups.ask(ctx, name)
			if ctx.Err() == nil || err == nil {
				known.learn(records, more, err)
				known.due = clock() + r.pause(known)
			}
		})
	}
	all.Wait()
}

// learn takes the answer of a lookup, and reports whether the servers are others now.
func (n *resolution) learn(records []dnsRecord, more int, err error) (changed bool) {
	switch {
	case err == nil:
		changed = !slices.Equal(n.records, records)
		n.records, n.more, n.good, n.end, n.cause, n.failures = records, more, time.Now(), lookupOK, "", 0
	case errors.Is(err, errNoAddress):
		n.end, n.cause, n.failures = lookupEmpty, err.Error(), 0
	default:
		n.end, n.cause = lookupFailed, lookupCause(err)
		n.failures++
	}
	n.counts[n.end]++
	return changed
}

// lookupCause words why a lookup failed.
func lookupCause(err error) string {
	failed, ok := errors.AsType[*net.DNSError](err)
	switch {
	case ok && failed.IsTimeout || errors.Is(err, context.DeadlineExceeded):
		return "the DNS server does not answer in time"
	case ok:
		return failed.Err
	}
	return err.Error()
}

// pause returns how long after a lookup the next one is due.
func (r *resolver) pause(n *resolution) time.Duration {
	interval := time.Duration(r.cfg.Interval)
	if n.good.IsZero() {
		interval = min(interval, lookupRetry)
	}
	return time.Duration(float64(interval) * (0.9 + 0.2*rand.Float64()))
}

// take returns the names that are due at now, which it marks as being looked up.
func (r *resolver) take(now time.Duration) (names []dnsName) {
	for name, known := range r.names {
		if !known.busy && known.due <= now {
			known.busy = true
			names = append(names, name)
		}
	}
	return names
}

// next returns how long it is until a name is due.
func (r *resolver) next(now time.Duration) time.Duration {
	wait := time.Hour
	for _, known := range r.names {
		if !known.busy {
			wait = min(wait, max(0, known.due-now))
		}
	}
	return wait
}

// resolves looks names up when they are due, until the store ends.
func (s *store) resolves() {
	ctx, cancel := context.WithCancel(context.Background())
	var lookups sync.WaitGroup
	defer lookups.Wait()
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-s.resolver.bell:
		case <-timer.C:
		}
		timer.Reset(s.lookUpDue(ctx, &lookups, clock()))
	}
}

// lookUpDue begins the lookups that are due at now, each in a goroutine of its own: a
// name whose DNS is slow keeps no other waiting. It returns how long it is until the next.
func (s *store) lookUpDue(ctx context.Context, under *sync.WaitGroup, now time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	lookups := s.resolver.lookups
	for _, name := range s.resolver.take(now) {
		known := s.resolver.names[name]
		under.Go(func() {
			records, more, err := lookups.ask(ctx, name)
			if ctx.Err() == nil {
				s.learn(name, known, records, more, err)
			}
		})
	}
	return s.resolver.next(now)
}

// learn takes what a lookup of name has brought, and puts another fleet in force if that
// is news.
func (s *store) learn(name dnsName, known *resolution, records []dnsRecord, more int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known.busy = false
	if s.resolver.names[name] != known { // the file does not have it any more
		return
	}
	overflowed := known.more > 0
	changed := known.learn(records, more, err)
	known.due = clock() + s.resolver.pause(known)
	if more > 0 && !overflowed {
		s.logger.Load().Warn("a name has more servers than are used", zap.String("dns_name", name.host), zap.Int("used", len(records)), zap.Int("more", more))
	}
	s.tellOfLookup(name, known)
	if changed {
		s.redraw("addresses of a name have changed", event{kind: addressesChanged, name: name.host})
	}
	s.resolver.ring()
}

// redraw puts the fleet in force that the file means now that more is known of what it
// names, and tells of it, with the changes, if it is another one. The caller holds mu.
func (s *store) redraw(message string, e event) {
	before := s.snapshot()
	s.renew()
	s.alerts.hold(s, s.snapshot().fleet)
	changes := newSwap(s.cfg, before, s.cfg, s.snapshot())
	if changes.empty() {
		return
	}
	e.cause, e.count = changes.String(), changes.count()
	s.logger.Load().Info(message, append(changes.fields(), zap.String("name", e.name), zap.String("path", s.path))...)
	s.events.emit(e)
}

// tellOfLookup tells of names that stop being answered, and of those that are again. The
// caller holds mu.
func (s *store) tellOfLookup(name dnsName, known *resolution) {
	kind := eventKind("")
	switch {
	case known.end == lookupEmpty:
		kind = dnsEmpty
	case known.end == lookupFailed && (known.failures >= lookupFailures || known.good.IsZero() || known.told == dnsFailed):
		kind = dnsFailed
	case known.end == lookupFailed:
		return
	}
	if kind == known.told {
		return
	}
	known.told = kind
	fields := []zap.Field{zap.String("dns_name", name.host), zap.String("type", name.kind), zap.Int("addresses", len(known.records))}
	if kind == "" {
		s.logger.Load().Info("a name is answered again", fields...)
		s.events.emit(event{kind: dnsRecovered, name: name.host})
		return
	}
	s.logger.Load().Warn("a name brings no addresses, the last ones stay in use", append(fields, zap.String("reason", known.cause))...)
	s.events.emit(event{kind: kind, name: name.host, cause: known.cause, count: known.failures})
}

// expand returns what an entry stands for by the addresses of its name: itself if it has
// no resolve.
func (r *resolver) expand(entry *InstanceConfig) []*InstanceConfig {
	if entry.Resolve == "" {
		return []*InstanceConfig{entry}
	}
	known := r.names[entry.dnsName()]
	if known == nil {
		return nil
	}
	u, err := url.Parse(entry.URL)
	if err != nil { // checked by Config.check
		panic(err)
	}
	_, port, _ := net.SplitHostPort(dialAddress(u)) // made by net.JoinHostPort
	all := make([]*InstanceConfig, len(known.records))
	for n, record := range known.records {
		one := *entry
		one.address = record.address(port)
		one.entry = entry.shownName()
		one.Name = one.entry + "@" + one.address
		if record.weight > 0 {
			one.Weight = &record.weight
		}
		all[n] = &one
	}
	return all
}
