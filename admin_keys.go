package aigateway

import (
	"slices"
	"strings"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/ledger"
)

// keyStatus is a key as people see it. It holds neither the key nor its hash.
type keyStatus struct {
	Name     string     `json:"name"`
	State    string     `json:"state"` // valid, disabled or expired
	User     string     `json:"user,omitempty"`
	Models   []string   `json:"models"` // ["*"] for all
	Expires  *time.Time `json:"expires,omitempty"`
	Priority string     `json:"priority"`
	Weight   int        `json:"weight"`
	Record   bool       `json:"record"`
	Status   bool       `json:"status"`
	InFlight int        `json:"in_flight"`

	MaxConcurrency int            `json:"max_concurrency"` // 0 is no limit
	Requests       *rateStatus    `json:"requests_per_minute,omitempty"`
	Tokens         *rateStatus    `json:"tokens_per_minute,omitempty"`
	Budgets        []budgetStatus `json:"budgets"`
}

// rateStatus is a limit of a minute.
type rateStatus struct {
	Limit int64 `json:"limit"`
	Left  int64 `json:"left"`
}

// budgetStatus is a part of a budget. Amounts are tokens, or money in the unit of prices.
type budgetStatus struct {
	Name     string  `json:"name"` // such as daily_tokens
	Limit    float64 `json:"limit"`
	Used     float64 `json:"used"`
	Reserved float64 `json:"reserved"` // by requests under way
	Renewed  float64 `json:"renewed"`  // seconds until it begins anew
}

func (k *clientKey) standing(now time.Time) keyStatus {
	st := keyStatus{
		Name: k.name, State: "valid", User: k.user, Models: k.models, Priority: k.priority.String(), Weight: k.weight, Record: !k.unrecorded,
		Status: k.status, MaxConcurrency: k.concurrency, Budgets: []budgetStatus{},
	}
	switch {
	case k.disabled:
		st.State = "disabled"
	case !k.valid(now):
		st.State = "expired"
	}
	if k.models == nil {
		st.Models = []string{anyModel}
	}
	if !k.expires.IsZero() {
		st.Expires = &k.expires
	}
	at := clock()
	k.state.mu.Lock()
	st.InFlight = k.state.inFlight
	if k.requests > 0 {
		st.Requests = &rateStatus{k.requests, k.state.requests.Left(at, k.requests)}
	}
	if k.tokens > 0 {
		st.Tokens = &rateStatus{k.tokens, k.state.tokens.Left(at, k.tokens)}
	}
	k.state.mu.Unlock()
	if !k.limitsBudget() {
		return st
	}
	for _, s := range k.counter().States(now, &k.budget) {
		unit := 1.0
		if s.Name == ledger.DailyCost || s.Name == ledger.MonthlyCost {
			unit = 1e6
		}
		st.Budgets = append(st.Budgets, budgetStatus{
			s.Name, float64(s.Limit) / unit, float64(s.Used) / unit, float64(s.Reserved) / unit, s.Renewed.Seconds(),
		})
	}
	return st
}

// listKeys answers with all keys of the file, in its order.
func (c *adminCall) listKeys() error {
	all := []keyStatus{}
	keys, now := c.store.snapshot().keys, time.Now()
	if keys != nil {
		for _, k := range keys.all {
			all = append(all, k.standing(now))
		}
	}
	return c.answer(map[string]any{"open": keys == nil, "keys": all})
}

// keyUsage is what a key has used.
type keyUsage struct {
	Name   string       `json:"name"`
	Known  bool         `json:"known"` // it stands in the file
	Today  usageSum     `json:"today"`
	Month  usageSum     `json:"month"`
	Models []modelUsage `json:"models"`
}

// usageAnswer is the answer of /usage.
type usageAnswer struct {
	Kept bool       `json:"kept"` // it survives the end of the process
	Keys []keyUsage `json:"keys"`
}

// modelUsage is what it has used of a model.
type modelUsage struct {
	Model string   `json:"model"`
	Today usageSum `json:"today"`
	Month usageSum `json:"month"`
}

// usageSum is a use; its cost is in the unit of prices.
type usageSum struct {
	Requests   int64   `json:"requests"`
	Prompt     int64   `json:"prompt_tokens"`
	Completion int64   `json:"completion_tokens"`
	Cost       float64 `json:"cost"`
}

func sumOf(u ledger.Usage) usageSum {
	return usageSum{u.Requests, u.Prompt, u.Completion, float64(u.Cost) / 1e6}
}

// usage answers with what keys have used today and this month, by model, of all keys or
// of one; those included that are not in the file any more.
func (c *adminCall) usage() error {
	answer := usageAnswer{Kept: true, Keys: []keyUsage{}}
	a := c.store.usage.Load()
	if a == nil {
		return c.answer(answer)
	}
	answer.Kept = !a.Broken()
	known := make(map[string]bool)
	if keys := c.store.snapshot().keys; keys != nil {
		for _, k := range keys.all {
			known[k.name] = true
		}
	}
	now, wanted := time.Now(), c.query.Get("key")
	names := a.Names()
	slices.Sort(names)
	for _, name := range names {
		if wanted != "" && wanted != name {
			continue
		}
		u := keyUsage{Name: name, Known: known[name], Models: []modelUsage{}}
		today, month := a.Account(name).Sums(now)
		var daySum, monthSum ledger.Usage
		for model, sum := range month {
			u.Models = append(u.Models, modelUsage{model, sumOf(today[model]), sumOf(sum)})
			daySum, monthSum = daySum.Plus(today[model]), monthSum.Plus(sum)
		}
		slices.SortFunc(u.Models, func(a, b modelUsage) int { return strings.Compare(a.Model, b.Model) })
		u.Today, u.Month = sumOf(daySum), sumOf(monthSum)
		answer.Keys = append(answer.Keys, u)
	}
	return c.answer(answer)
}
