package aigateway

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/alert"
)

// alertsEnd bounds how long the end of the last holder waits for messages that are
// being sent.
const alertsEnd = 3 * time.Second

// alerts tells people what goes wrong, by package alert. It lives in a usage pool by
// the absolute path of data_dir, so that handlers, swaps and reloads share it; of
// several files with one data_dir the one that was put in force last says who is told.
type alerts struct {
	*alert.Manager
	dir string

	mu      sync.Mutex
	holders map[*store]holding // guarded by mu
}

// holding is what one holder's file in force has.
type holding struct {
	secrets []string
	fleet   *fleet
	keys    []*KeyConfig
}

var alertsPool = caddy.NewUsagePool()

// acquireAlerts returns the alerts of dir. They tell nobody before [alerts.set].
func acquireAlerts(dir string) (*alerts, error) {
	v, _, err := alertsPool.LoadOrNew(dir, func() (caddy.Destructor, error) {
		return &alerts{Manager: alert.New(alert.Options{Dir: dir}), dir: dir, holders: make(map[*store]holding)}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("starting the alerts of %s: %w", dir, err)
	}
	return v.(*alerts), nil
}

// release gives up the hold of s; the last one ends the alerts. Otherwise those of the
// instances and models that only s has are over.
func (a *alerts) release(s *store) error {
	a.mu.Lock()
	delete(a.holders, s)
	left := len(a.holders)
	a.mu.Unlock()
	if left > 0 {
		a.retain()
	}
	_, err := alertsPool.Delete(a.dir)
	return err
}

// Destruct ends the alerts. What has not been delivered by then stands in their state
// file, for the next process.
func (a *alerts) Destruct() error {
	ctx, cancel := context.WithTimeout(context.Background(), alertsEnd)
	defer cancel()
	if err := a.Close(ctx); err != nil {
		return fmt.Errorf("ending the alerts of %s: %w", a.dir, err)
	}
	return nil
}

// set puts a checked file of s in force, of which fleet was made.
func (a *alerts) set(s *store, cfg *Config, fleet *fleet) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.holders[s] = holding{cfg.secrets(), fleet, cfg.clientKeys}
	var secrets []string
	for _, h := range a.holders {
		secrets = append(secrets, h.secrets...)
	}
	if err := a.Set(alert.Settings{Config: cfg.Alerts, Secrets: secrets, Logger: s.logger.Load().Named("alerts")}); err != nil {
		return fmt.Errorf("setting the alerts of %s: %w", a.dir, err)
	}
	return nil
}

// hold notes the fleet of s, of the same file.
func (a *alerts) hold(s *store, fleet *fleet) {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.holders[s]
	h.fleet = fleet
	a.holders[s] = h
}

// keySubject begins the names of keys, where those of instances stand.
const keySubject = "key "

// retain ends the alerts about instances, models and keys that no file has any more.
func (a *alerts) retain() {
	instances, models, keys := map[string]bool{"": true}, map[string]bool{"": true}, make(map[string]bool)
	a.mu.Lock()
	for _, h := range a.holders {
		for _, k := range h.keys {
			keys[k.Name] = true
		}
		for _, i := range h.fleet.instances {
			instances[a.Shown(i.name)] = true
			if !models[i.model] {
				models[a.Shown(i.model)] = true
			}
		}
	}
	a.mu.Unlock()
	a.Retain(func(kind alert.Kind, instance, model string) bool {
		if kind == alert.BudgetNear || kind == alert.BudgetOver {
			return keys[strings.TrimPrefix(instance, keySubject)]
		}
		return instances[instance] && models[model]
	})
}

// secrets returns what no message may hold: the instances' keys, the values of their
// headers, and the clients' keys as far as the file knows them.
func (c *Config) secrets() []string {
	all := make(map[string]bool)
	for _, entry := range c.entries() {
		all[entry.APIKey] = true
		for _, value := range entry.Headers {
			all[value] = true
			all[value[strings.LastIndexByte(value, ' ')+1:]] = true // behind Bearer
		}
	}
	for _, k := range c.clientKeys {
		all[k.Key] = true
	}
	delete(all, "")
	return slices.Collect(maps.Keys(all))
}

// teller turns a store's events into signals for people. It belongs to the goroutine
// that hands on events.
type teller struct {
	*store
	to *alerts // that it told last
}

// signals are the events that people hear of, with what they begin or end.
var signals = map[eventKind]struct {
	kind   alert.Kind
	begins bool
}{
	instanceEjected:   {alert.InstanceEjected, true},
	instanceBack:      {alert.InstanceEjected, false},
	keyRefused:        {alert.KeyRefused, true},
	keyAccepted:       {alert.KeyRefused, false},
	modelMissing:      {alert.ModelMissing, true},
	modelBack:         {alert.ModelMissing, false},
	poolOnFallback:    {alert.FallbackInUse, true},
	poolOffFallback:   {alert.FallbackInUse, false},
	poolEmpty:         {alert.PoolEmpty, true},
	poolRefilled:      {alert.PoolEmpty, false},
	configRejected:    {alert.ConfigRejected, true},
	configApplied:     {alert.ConfigRejected, false},
	recorderDropping:  {alert.RecordsDropped, true},
	recorderRecovered: {alert.RecordsDropped, false},
	diskLow:           {alert.DiskLow, true},
	diskRecovered:     {alert.DiskLow, false},
	budgetNear:        {alert.BudgetNear, true},
	budgetOver:        {alert.BudgetOver, true},
	budgetRenewed:     {alert.BudgetOver, false},
}

// tell signals what e stands for. Of instances that are not in the file any more
// nobody hears.
func (t *teller) tell(e event) {
	snap := t.snapshot()
	if e.kind == addressesChanged || e.kind == modelsChanged {
		snap.alerts.retain()
	}
	if snap.alerts != t.to { // data_dir has changed, and with it who knows what
		t.to = snap.alerts
		t.resume(snap)
	}
	about, ok := signals[e.kind]
	if !ok {
		return
	}
	s := alert.Signal{Kind: about.kind, Model: e.model, Active: about.begins}
	switch {
	case e.upstream != "":
		n := slices.IndexFunc(snap.fleet.instances, func(i *instance) bool { return i.id == e.upstream })
		if n < 0 {
			return
		}
		t.signalInstance(snap, snap.fleet.instances[n], s, reason(e.cause))
		return
	case e.model != "":
		p := snap.fleet.pool(e.model)
		if p == nil {
			return
		}
		s.Cause = p.troubles(snap.errorWindow)
	case e.key != "":
		s.Instance, s.Cause = keySubject+e.key, e.cause
		if e.kind == budgetRenewed {
			snap.alerts.Signal(alert.Signal{Kind: alert.BudgetNear, Instance: s.Instance})
		}
	case e.kind == configRejected && e.line > 0:
		s.Cause = filepath.Base(e.path) + ":" + e.cause
	case e.kind == recorderDropping:
		s.Cause, s.Recent = fmt.Sprintf("%s, %d lost so far", e.cause, e.count), e.count
	case e.kind == diskLow:
		s.Cause = "less than record.min_free is left on the disk of " + e.path
	default:
		s.Cause = e.cause
	}
	snap.alerts.Signal(s)
	if e.kind == configApplied {
		snap.alerts.retain()
	}
}

// signalInstance signals s of i, with its name and what it did.
func (t *teller) signalInstance(snap *snapshot, i *instance, s alert.Signal, why reason) {
	s.Instance, s.Model, s.Cause = i.name, i.model, why.explained()
	s.Recent = i.state.health.view(clock(), snap.errorWindow).failures
	snap.alerts.Signal(s)
}

// resume signals what goes on to alerts that have not heard of it.
func (t *teller) resume(snap *snapshot) {
	for _, i := range snap.fleet.instances {
		if why := i.state.health.view(clock(), snap.errorWindow).why; why != reasonNone {
			t.signalInstance(snap, i, alert.Signal{Kind: signals[outKind(why)].kind, Active: true}, why)
		}
	}
	pools := slices.Collect(maps.Values(snap.fleet.pools))
	if snap.fleet.any != nil {
		pools = append(pools, snap.fleet.any)
	}
	for _, p := range pools {
		now := p.stands(standing{})
		snap.alerts.Signal(alert.Signal{Kind: alert.PoolEmpty, Model: p.model, Cause: p.troubles(snap.errorWindow), Active: now.empty})
		snap.alerts.Signal(alert.Signal{Kind: alert.FallbackInUse, Model: p.model, Cause: p.troubles(snap.errorWindow), Active: now.onFallback})
	}
}

// troubles says which instances of a pool are out and why, for people.
func (p *pool) troubles(window time.Duration) string {
	var out some
	for _, r := range p.tiers {
		for _, i := range r.instances {
			v := i.state.health.view(clock(), window)
			switch {
			case v.why != reasonNone:
				out.add(i.name + ": " + string(v.why))
			case i.state.health.spared.Load():
				out.add(i.name + ": keeps failing")
			}
		}
	}
	return strings.Join(out.list(), ", ")
}

// explanations are the reasons for which an instance is left out, for people who do not
// know the words.
var explanations = map[reason]string{
	reasonConnect:    "no connection can be opened",
	reasonResolve:    "its host name is not known",
	reasonTLS:        "the TLS handshake fails",
	reasonTLSTimeout: "the TLS handshake is slower than timeouts.tls",
	reasonTLSExpired: "its certificate is out of its time",
	reasonTLSName:    "its certificate is for another host",
	reasonTLSIssuer:  "its certificate is from an unknown authority",
	reasonReset:      "it breaks connections",
	reasonMalformed:  "its answers are no valid HTTP",
	reasonFirstToken: "slower than timeouts.first_token",
	reasonStall:      "silent for timeouts.stall in the middle of answers",
	reasonTotal:      "slower than timeouts.total",
	reasonTransport:  "slower than a deadline of the Caddyfile's transport",
	reasonStatus:     "it answers with error statuses",
	reasonLoading:    "it loads its model",
	reasonSleeping:   "it sleeps",
	reasonKey:        "it refuses its api_key",
	reasonQuota:      "the account of its api_key is empty",
	reasonModel:      "it does not have the model",
	reasonRedirect:   "it redirects, which is not followed",
	reasonBadAnswer:  "its answers are empty, or web pages",
	reasonStream:     "error events in its streams",
	reasonCut:        "its answers end before they are whole",
}

// explained returns the word with its explanation.
func (r reason) explained() string {
	if text := explanations[r]; text != "" {
		return string(r) + ": " + text
	}
	return string(r)
}
