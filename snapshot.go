package aigateway

import (
	"crypto/sha256"
	"errors"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"
)

// snapshot is what one content of the file means. It is immutable, but for the
// states of its instances; a request keeps the one that it began with.
type snapshot struct {
	fleet        *fleet
	strategy     string
	threshold    int // of errors that eject
	errorWindow  time.Duration
	retries      retries
	queue        queueBounds
	polling      polling
	overflow     overflow
	keepalive    time.Duration
	record       *recordSettings // nil if nothing is recorded
	recorder     *recorder       // nil if nothing is recorded
	browsed      string          // folder of the records that the admin endpoint shows, empty for none
	engineRoutes []string
	loaded       time.Time

	keys     *keyring // nil for an open gateway
	prices   map[string]price
	keyLabel bool // metrics by key are wanted

	alerts         *alerts
	errorRate      float64 // of alerts, 0 for none, as slowFirstToken
	slowFirstToken time.Duration
}

// available returns the names of the models for an error's text.
func (s *snapshot) available() []string {
	if s.fleet.any != nil {
		return append(slices.Clone(s.fleet.models), anyModel)
	}
	return s.fleet.models
}

// publish builds the snapshot of a checked configuration and puts it in force.
// Instances that go on keep their state. The caller holds mu.
func (s *store) publish(cfg *Config) error {
	record := newRecordSettings(&cfg.Record)
	rec, err := s.newRecorder(cfg.DataDir, record)
	if err != nil {
		return err
	}
	before, was := s.cfg, s.snapshot()
	s.cfg = cfg
	fleet := s.fleet()
	left, err := s.setAlerts(cfg, fleet)
	if err != nil {
		s.cfg = before
		return err
	}
	accounts, err := s.newAccounts(cfg)
	if err != nil {
		return err
	}
	keys := s.keyring(cfg, accounts.book())
	s.snap.Store(&snapshot{
		keys: keys, prices: newPrices(cfg.Prices), keyLabel: cfg.KeyLabel,
		fleet: fleet, strategy: cfg.LoadBalancingStrategy, threshold: cfg.ErrorThreshold, errorWindow: time.Duration(cfg.ErrorWindow),
		retries: retries{
			attempts: cfg.Retries.Attempts, time: time.Duration(cfg.Retries.Time), ratio: cfg.Retries.Ratio, maxBody: cfg.Retries.MaxBody,
		},
		queue: queueBounds{
			maxWaiting: cfg.Queue.MaxWaiting, maxWait: time.Duration(cfg.Queue.MaxWait), spillAfter: time.Duration(cfg.Queue.SpillAfter),
		},
		polling:  polling{time.Duration(cfg.Poll.Interval), time.Duration(cfg.Poll.Timeout)},
		overflow: overflow{cfg.Overflow.Enabled, cfg.Overflow.Models}, keepalive: time.Duration(cfg.StreamKeepalive), record: record, recorder: rec, engineRoutes: cfg.EngineRoutes, loaded: time.Now(),
		browsed: browsed(cfg), alerts: s.alerts, errorRate: cfg.Alerts.ErrorRate, slowFirstToken: time.Duration(cfg.Alerts.SlowFirstToken),
	})
	s.changes.Add(1)
	s.reseat(was)
	if left != nil {
		if err := left.release(s); err != nil { // no reason to refuse the new file
			s.logger.Load().Error("ending the alerts", zap.Error(err))
		}
	}
	return nil
}

// browsed returns the folder of records that may be looked at.
func browsed(cfg *Config) string {
	if !cfg.Record.Browse {
		return ""
	}
	return cfg.DataDir
}

// renew publishes the fleet of the configuration in force anew, as what people decide
// about its instances has changed. The caller holds mu.
func (s *store) renew() {
	was := s.snapshot()
	snap := *was
	snap.fleet = s.fleet()
	s.snap.Store(&snap)
	s.changes.Add(1)
	s.reseat(was)
}

// fleet makes that of the store's configuration. The caller holds mu.
func (s *store) fleet() *fleet {
	models := make(map[string]*modelState)
	maps.Copy(models, s.models)
	f := newFleet(s.instances(s.cfg), s.cfg.models(), models, &s.changes)
	maps.DeleteFunc(models, func(model string, _ *modelState) bool {
		return f.pools[model] == nil && (model != anyModel || f.any == nil)
	})
	s.models = models
	return f
}

// instances makes the instances that cfg stands for, in its order, and keeps the states of
// those alone.
func (s *store) instances(cfg *Config) []*instance {
	members := s.expand(cfg)
	entries := make([]*InstanceConfig, len(members))
	for n, m := range members {
		entries[n] = m.InstanceConfig
	}
	states := make(map[string]*instanceState, len(entries))
	var scout *instanceState
	shared := defaultDeadlines.with(&cfg.Timeouts)
	instances := make([]*instance, len(entries))
	for n, known := range identify(entries, s.snap.Load()) {
		state, stays := s.states[known.id]
		if !stays {
			state = new(instanceState)
			state.health.changes, state.health.usher, state.health.load = &s.changes, &s.usher, &state.load
		}
		if key := sha256.Sum256([]byte(entries[n].APIKey)); state.key != key {
			state.key = key
			state.health.keyChanged(clock())
		}
		state.place = known.place
		states[known.id] = state
		i := newInstance(entries[n], members[n].tier, known.id, state)
		if i.scouts() {
			scout = state
		} else if entries[n].discovered { // by the scout before it
			i.scout = scout
			state.facts.Store(scout.facts.Load())
		}
		i.deadlines = shared.with(&entries[n].Timeouts)
		instances[n] = i
		state.most.Store(int64(i.maxConcurrency))
		if was := state.drain.Swap(i.drain.any()); stays && was != i.drain.any() && !i.scouts() {
			kind := instanceUndrained
			if i.drain.any() {
				kind = instanceDraining
			}
			s.events.emit(instanceEvent(kind, i, reason(i.drain.by()), 0))
		}
	}
	s.states = states
	return instances
}

// entries returns the instances of both tiers, primaries first.
func (c *Config) entries() []*InstanceConfig {
	return slices.Concat(c.Instances, c.FallbackInstances)
}

// models returns the models that the entries name, in their order.
func (c *Config) models() (names []string) {
	known := make(map[string]bool)
	for _, entry := range c.entries() {
		if entry.ModelName != "" && !known[entry.ModelName] {
			known[entry.ModelName] = true
			names = append(names, entry.ModelName)
		}
	}
	return names
}

// newRecorder acquires the recorder of dir, and gives up that of the snapshot in
// force once the new one is; it is the same as long as data_dir stays.
func (s *store) newRecorder(dir string, settings *recordSettings) (rec *recorder, err error) {
	before := s.held
	if settings != nil {
		if rec, err = acquireRecorder(dir, settings, s.logger.Load()); err != nil {
			return nil, err
		}
	}
	s.held = rec
	if before != nil {
		if err := releaseRecorder(before); err != nil { // no reason to refuse the new file
			s.logger.Load().Error("ending the recorder", zap.Error(err))
		}
	}
	return rec, nil
}

// setAlerts puts the alerts of cfg in force, of which fleet was made. It returns those to
// be given up, of another data_dir.
func (s *store) setAlerts(cfg *Config, fleet *fleet) (left *alerts, err error) {
	if s.alerts != nil && s.alerts.dir == cfg.DataDir {
		return nil, s.alerts.set(s, cfg, fleet)
	}
	a, err := acquireAlerts(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	if err := a.set(s, cfg, fleet); err != nil {
		return nil, errors.Join(err, a.release(s))
	}
	left, s.alerts = s.alerts, a
	return left, nil
}
