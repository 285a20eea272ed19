// Package alert turns signals about the gateway into messages that reach people:
// once, in time, grouped, and again when it is over.
//
//	m := alert.New(alert.Options{Dir: dataDir})
//	err := m.Set(alert.Settings{Config: cfg, Secrets: keys, Logger: logger})
//	m.Signal(alert.Signal{Kind: alert.InstanceEjected, Instance: "gpu-1", Model: "qwen3", Cause: "connect: refused", Active: true})
//	m.Signal(alert.Signal{Kind: alert.InstanceEjected, Instance: "gpu-1", Model: "qwen3"}) // it is back
//	m.Close(ctx)
//
// # When a message goes out
//
// An alert is what one kind says of one subject (an instance, a model, or neither);
// alerts of a kind are a group. A group's first message goes out after the group
// wait, and takes along other groups that have waited at least half as long, so that
// one fault is one message. What heals inside the wait is never told, unless it
// comes back: from the second time on, the wait counts from the first. Further
// messages of a group come no sooner than the group interval, a reminder each time
// the repeat interval has passed. An alert is over when it has been quiet for the
// group wait; then people hear so, once. After a message about an alert, in either
// direction, its next beginning is told no sooner than the cooldown, but it is told
// if it lasts. [KeyRefused] and [ConfigRejected] wait no longer than 3 s: they follow
// upon what a person has just done.
//
// # Delivery
//
// Every receiver has a goroutine that keeps to the receiver's rate, tries a failed
// message up to five times more, then every five minutes. Meanwhile what is new is
// merged into what waits, so that a receiver that comes back gets one message with
// the state of things and not the history. What a receiver refuses for good (a 4xx)
// is dropped, counted and logged. Nothing here blocks the caller of
// [Manager.Signal], which touches neither disk nor network.
//
// # What stands on the disk
//
// Below Options.Dir, errors/YYYYMMDD_HH.log tells of every alert as it begins, at most
// once per cooldown, and alerts_state.json holds what people have been told, so that a
// restart repeats nothing; after a kill one message may come twice. An alert from
// before a restart that is not signalled again within 5 minutes is over.
//
// Texts from outside are masked (keys, tokens, user info and query of URLs), cut to
// one line and stripped of what could mention people or be taken for markup.
package alert

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kind says what an alert is about.
type Kind string

// The kinds, with their subject.
const (
	InstanceEjected Kind = "instance_ejected" // an instance is out of rotation
	FallbackInUse   Kind = "fallback_in_use"  // a model is answered by the fallback, which costs money
	PoolEmpty       Kind = "pool_empty"       // a model has no instance left, fallback included
	KeyRefused      Kind = "key_refused"      // an instance refuses the gateway's key
	ModelMissing    Kind = "model_missing"    // an instance does not know the model
	ConfigRejected  Kind = "config_rejected"  // the config file is not valid, the last good one is in force
	RecordsDropped  Kind = "records_dropped"  // exchanges are not recorded
	DiskLow         Kind = "disk_low"         // the disk of the records is nearly full
	ErrorRate       Kind = "error_rate"       // too many requests of a model fail
	SlowFirstToken  Kind = "slow_first_token" // a model or an instance begins its answers late
	BudgetNear      Kind = "budget_near"      // a budget is nearly used up
	BudgetOver      Kind = "budget_over"      // a budget is used up
)

// kinds are all kinds, with how bad they are unless a signal says otherwise.
var kinds = []struct {
	kind     Kind
	severity Severity
}{
	{PoolEmpty, Critical},
	{KeyRefused, Critical},
	{BudgetOver, Critical},
	{InstanceEjected, Warning},
	{FallbackInUse, Warning},
	{ModelMissing, Warning},
	{ConfigRejected, Warning},
	{RecordsDropped, Warning},
	{DiskLow, Warning},
	{ErrorRate, Warning},
	{SlowFirstToken, Warning},
	{BudgetNear, Info},
}

// Kinds lists every kind.
func Kinds() []Kind {
	all := make([]Kind, len(kinds))
	for i := range kinds {
		all[i] = kinds[i].kind
	}
	return all
}

// usual returns how bad the kind is unless a signal says otherwise.
func (k Kind) usual() Severity {
	for i := range kinds {
		if kinds[i].kind == k {
			return kinds[i].severity
		}
	}
	return Warning
}

// wait returns how long a group of the kind waits for its first message.
func (k Kind) wait(group time.Duration) time.Duration {
	if k == KeyRefused || k == ConfigRejected {
		return min(group, urgentWait)
	}
	return group
}

// Severity is how bad an alert is. The zero value stands for what is usual for the
// kind.
type Severity int

// The severities. Critical means that requests fail or money is lost.
const (
	Info Severity = iota + 1
	Warning
	Critical
)

var severities = []string{"info", "warning", "critical"}

func (s Severity) String() string {
	if s < Info || s > Critical {
		return "unknown"
	}
	return severities[s-1]
}

// MarshalText returns info, warning or critical.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads info, warning or critical.
func (s *Severity) UnmarshalText(text []byte) error {
	i := slices.Index(severities, string(text))
	if i < 0 {
		return fmt.Errorf("got severity %q, want one of %s", text, strings.Join(severities, ", "))
	}
	*s = Severity(i + 1)
	return nil
}

// Signal tells that something began, goes on, or is over.
type Signal struct {
	Kind     Kind
	Instance string // the name that people know it by; empty if it is not about one
	Model    string // empty if it is not about one
	// Severity is how bad it is; 0 for what is usual for the kind.
	Severity Severity
	// Cause is the last error, in one line. Secrets in it are masked.
	Cause string
	// Recent is the number of recent errors, for the errors log.
	Recent int
	// Active is true while it lasts. To signal the same again counts, and gives the
	// newest cause; it costs little, but transitions alone are enough.
	Active bool
	// Lasts ends an active alert when it has not been signalled again for so long, for
	// faults whose end nobody sees. 0 means that an end will be signalled.
	Lasts time.Duration
}

// Alert is what one kind says of one subject, as people are told.
type Alert struct {
	Kind     Kind      `json:"kind"`
	Instance string    `json:"instance,omitempty"`
	Model    string    `json:"model,omitempty"`
	Severity Severity  `json:"severity"`
	Cause    string    `json:"cause,omitempty"`
	Count    int       `json:"count"` // how often it was signalled
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until,omitzero"` // zero while it lasts
	// New reports that people have not been told of it in this severity before.
	New bool `json:"new,omitempty"`
}

// Over reports whether it is over.
func (a *Alert) Over() bool { return !a.Until.IsZero() }

// subject tells alerts of a kind apart.
type subject struct {
	Kind     Kind
	Instance string
	Model    string
}

func (a *Alert) subject() subject { return subject{a.Kind, a.Instance, a.Model} }

// Group is the alerts of one kind in a message: those that last, told before or
// not, and those that have ended since the last one.
type Group struct {
	Kind   Kind    `json:"kind"`
	Alerts []Alert `json:"alerts"`
}

// severity returns the worst of the alerts that last, or of all if none does.
func (g *Group) severity() Severity {
	var lasting, all Severity
	for i := range g.Alerts {
		a := &g.Alerts[i]
		all = max(all, a.Severity)
		if !a.Over() {
			lasting = max(lasting, a.Severity)
		}
	}
	if lasting == 0 {
		return all
	}
	return lasting
}

// lasting returns how many of the alerts last.
func (g *Group) lasting() (n int) {
	for i := range g.Alerts {
		if !g.Alerts[i].Over() {
			n++
		}
	}
	return n
}

// news reports whether the group tells more than that things are as they were.
func (g *Group) news() bool {
	return slices.ContainsFunc(g.Alerts, func(a Alert) bool { return a.New || a.Over() })
}
