package aigateway

import "time"

// KeyConfig is one entry of keys: a client of the gateway. It is known by one of hash,
// key and user.
type KeyConfig struct {
	// Name is what logs, records and the admin API call the client. What it has used is
	// counted under this name, also when its key is changed. Required.
	Name string `json:"name"`

	// Hash is the SHA-256 of its key, in 64 hexadecimal digits behind "sha256:", as
	// caddy ai-gateway keys new and hash print it.
	Hash string `json:"hash"`

	// Key is the key itself, which may only stand here as {env.NAME} or {file.PATH}.
	Key string `json:"key"`

	// User is the name by which Caddy's own authentication knows the client,
	// {http.auth.user.id}. It counts where no key is sent.
	User string `json:"user"`

	// Models are those that it may ask for. The default is all.
	Models []string `json:"models"`

	// Expires is a date such as 2027-01-31, the last day on which it may ask, or a
	// time such as 2027-01-31T12:00:00Z. The default is never.
	Expires string `json:"expires"`

	// Disabled refuses it. The default is false.
	Disabled bool `json:"disabled"`

	// Priority is background, normal or interactive: who goes first where requests have to
	// wait. The default is normal.
	Priority string `json:"priority"`

	// Weight is its share where requests have to wait, relative to other keys of the
	// same priority, 1 to 1000. The default is 1.
	Weight *int `json:"weight"`

	// Spill lets its requests go to fallback instances while private ones are only full,
	// as queue.spill_after says; without it they wait. The default is true.
	Spill *bool `json:"spill"`

	// RequestsPerMinute is how many requests it may make in a minute. As many may come
	// at once. The default is 0, no limit.
	RequestsPerMinute int64 `json:"requests_per_minute"`

	// TokensPerMinute is how many tokens of prompts and answers it may use in a minute.
	// The default is 0, no limit.
	TokensPerMinute int64 `json:"tokens_per_minute"`

	// MaxConcurrency is how many of its requests may be under way at once. The default
	// is 0, no limit.
	MaxConcurrency int `json:"max_concurrency"`

	// Budgets bound what it may use in a day and in a month.
	Budgets BudgetsConfig `json:"budgets"`

	// Record says whether what it asks may be recorded. The default is true.
	Record *bool `json:"record"`

	// Status lets it see the status page and the details of /health, which name
	// all instances. The default is false.
	Status bool `json:"status"`

	digest  keyDigest `json:"-"` // set by the checks, as expires
	expires time.Time `json:"-"`
}

// BudgetsConfig bounds what a key may use. 0 is no limit, the default of all.
type BudgetsConfig struct {
	// DailyTokens are tokens of prompts and answers in a day.
	DailyTokens int64 `json:"daily_tokens"`

	// MonthlyTokens are tokens of prompts and answers in a month.
	MonthlyTokens int64 `json:"monthly_tokens"`

	// DailyCost is the money for a day, in the unit of prices.
	DailyCost float64 `json:"daily_cost"`

	// MonthlyCost is the money for a month, in the unit of prices.
	MonthlyCost float64 `json:"monthly_cost"`
}

// PriceConfig is what a million tokens of a model cost, in any unit of money.
type PriceConfig struct {
	// Prompt is the price of a million tokens of prompts. The default is 0.
	Prompt float64 `json:"prompt"`

	// Completion is the price of a million tokens of answers. The default is 0.
	Completion float64 `json:"completion"`
}

// price is what tokens of a model cost: millionths of a unit of money for a million of
// them.
type price struct{ prompt, completion int64 }

// newPrices returns the prices of checked entries.
func newPrices(c map[string]PriceConfig) map[string]price {
	prices := make(map[string]price, len(c))
	for model, p := range c {
		prices[model] = price{micros(p.Prompt), micros(p.Completion)}
	}
	return prices
}

// of returns the millionths that so many tokens cost, rounded up.
func (p price) of(prompt, completion int64) int64 {
	const million = 1_000_000
	cost := float64(prompt)*float64(p.prompt) + float64(completion)*float64(p.completion)
	if cost > 1<<60 { // beyond what is exact below, and what anybody pays
		return int64(min(cost/million, 1<<60))
	}
	return (prompt*p.prompt + completion*p.completion + million - 1) / million
}
