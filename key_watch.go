package aigateway

import (
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/ledger"
)

// budgetLevel is how much of a key's budget is used up.
type budgetLevel uint8

const (
	budgetFree budgetLevel = iota
	budgetLow              // most is
	budgetGone             // all is, or too much for a request
)

// nearBudget is the part of a budget from which on people are told, in per cent.
const nearBudget = 80

// keyWatch follows budgets, and whether what keys use can be remembered. It belongs to
// the observer's goroutine.
type keyWatch struct {
	levels map[string]budgetLevel // by name, of keys that are not free
	unkept bool                   // nothing is remembered, as far as told
}

// lookAtKeys tells which keys have used up their budgets, or nearly, and which may go on.
func (o *observer) lookAtKeys(now time.Time) {
	snap := o.snapshot()
	levels := make(map[string]budgetLevel)
	if snap.keys != nil {
		for _, k := range snap.keys.all {
			if !k.limitsBudget() || k.account.Load() == nil && o.watch.levels[k.name] == budgetFree && !k.ledger.Known(k.name) {
				continue // it has used nothing
			}
			level, cause := k.level(now)
			if level != budgetFree {
				levels[k.name] = level
			}
			o.tellOfBudget(k.name, o.watch.levels[k.name], level, cause)
		}
	}
	for name, before := range o.watch.levels {
		if snap.keys == nil || !slices.ContainsFunc(snap.keys.all, func(k *clientKey) bool { return k.name == name && k.limitsBudget() }) {
			o.tellOfBudget(name, before, budgetFree, "")
		}
	}
	o.watch.levels = levels
	o.lookAtAccounts()
}

// level returns how much of its budget the key has used, and of which part of it.
func (k *clientKey) level(now time.Time) (level budgetLevel, cause string) {
	starved := now.UnixNano() < k.state.lacks.Load()
	for _, s := range k.counter().States(now, &k.budget) {
		now := budgetFree
		switch {
		case s.Used >= s.Limit:
			now = budgetGone
		case s.Used >= s.Limit/100*nearBudget:
			now = budgetLow
			if starved {
				now = budgetGone
			}
		}
		if now > level {
			level, cause = now, shownBudget(s)
		}
	}
	return level, cause
}

// shownBudget is a part of a budget for people.
func shownBudget(s ledger.State) string {
	if s.Name == ledger.DailyCost || s.Name == ledger.MonthlyCost {
		return fmt.Sprintf("%s: %.2f of %.2f", s.Name, float64(s.Used)/1e6, float64(s.Limit)/1e6)
	}
	return fmt.Sprintf("%s: %d of %d", s.Name, s.Used, s.Limit)
}

func (o *observer) tellOfBudget(name string, before, now budgetLevel, cause string) {
	if now < before {
		o.logger.Load().Info("a key's budget is there again", zap.String("key", name))
		o.tell(event{kind: budgetRenewed, key: name})
		before = budgetFree
	}
	switch {
	case now == before:
	case now == budgetLow:
		o.logger.Load().Info("a key's budget is nearly used up", zap.String("key", name), zap.String("budget", cause))
		o.tell(event{kind: budgetNear, key: name, cause: cause})
	case now == budgetGone:
		o.logger.Load().Warn("a key's budget is used up", zap.String("key", name), zap.String("budget", cause))
		o.tell(event{kind: budgetOver, key: name, cause: cause})
	}
}

// lookAtAccounts tells when what keys use is no longer remembered, and when it is again.
// The log has been told.
func (o *observer) lookAtAccounts() {
	a := o.usage.Load()
	if a == nil {
		o.watch.unkept = false
		return
	}
	reason := a.reason.Load()
	switch {
	case reason != nil && !o.watch.unkept:
		o.tell(event{kind: usageUnkept, path: a.dir, cause: *reason})
	case reason == nil && o.watch.unkept:
		o.tell(event{kind: usageKept, path: a.dir})
	}
	o.watch.unkept = reason != nil
}
