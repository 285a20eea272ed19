package aigateway

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/json5"
)

const (
	// maxRate bounds limits of a minute; maxAmount bounds budgets and prices.
	maxRate   = 1_000_000_000_000
	maxAmount = 1_000_000_000_000
)

// keysFileLimits bound a keys_file: 100,000 keys with a few limits each have room.
var keysFileLimits = json5.Limits{Size: 64 << 20, Values: 4_000_000}

// keys reads keys and keys_file, and checks what stands there. Keys are nil if the file
// has neither. The texts of the file at keys_file are read as those of the document are.
func (c *checker) keys(cfg *Config, dir string, expand func(string) (string, error)) {
	if cfg.Keys == nil && cfg.KeysFile == "" {
		return
	}
	seen := newKeyNames()
	cfg.clientKeys = make([]*KeyConfig, 0, len(cfg.Keys))
	c.keyList([]any{"keys"}, cfg.Keys, seen)
	cfg.clientKeys = append(cfg.clientKeys, cfg.Keys...)
	if cfg.KeysFile == "" {
		return
	}
	seen.list = "keys_file"
	list, mistakes, err := readKeysFile(beside(dir, cfg.KeysFile), seen, expand)
	if err != nil {
		c.report([]any{"keys_file"}, "reading it: %v", err)
		return
	}
	for n, m := range mistakes {
		if n == maxTold {
			c.report([]any{"keys_file"}, "and %d more mistakes in it", len(mistakes)-n)
			break
		}
		place := m.Path
		if place != "" {
			place += ": "
		}
		c.report([]any{"keys_file"}, "line %d, column %d of it: %s%s", m.Line, m.Column, place, m.Msg)
	}
	cfg.clientKeys = append(cfg.clientKeys, list...)
}

// readKeysFile reads a list of keys from a file of its own. The error says why it cannot
// be read.
func readKeysFile(path string, seen *keyNames, expand func(string) (string, error)) (list []*KeyConfig, mistakes json5.Errors, err error) {
	text, err := readRegular(path, int64(keysFileLimits.Size))
	if err != nil {
		return nil, nil, withoutPath(err)
	}
	doc, err := keysFileLimits.Parse(text, "hash", "key")
	if err != nil {
		return nil, mistakesOf(err), nil
	}
	told := mistakesOf(doc.Decode(&list, json5.Options{String: expand}))
	c := newChecker(doc, told)
	c.keyList(nil, list, seen)
	all := append(told, c.problems...)
	slices.SortStableFunc(all, byPlace)
	return list, all, nil
}

// keyNames is what the keys that have been checked already are called, with the place of
// each.
type keyNames struct {
	list         string // that is being checked: keys or keys_file
	names, users map[string]keyPlace
	digests      map[keyDigest]keyPlace
}

// keyPlace is an entry of one of the lists.
type keyPlace struct {
	list string
	n    int
}

func (p keyPlace) String() string { return fmt.Sprintf("entry %d of %s", p.n+1, p.list) }

func newKeyNames() *keyNames {
	return &keyNames{"keys", make(map[string]keyPlace), make(map[string]keyPlace), make(map[keyDigest]keyPlace)}
}

// keyList checks a list that stands at a path.
func (c *checker) keyList(path []any, list []*KeyConfig, seen *keyNames) {
	plain := c.plainKeys(path, list)
	for n, k := range list {
		at := func(steps ...any) []any { return append(append(slices.Clone(path), n), steps...) }
		if k == nil {
			c.report(at(), "got null, want an object with name and hash")
			list[n] = new(KeyConfig) // for those who read on
			continue
		}
		place := keyPlace{seen.list, n}
		c.keyName(at, k, seen.names, place)
		c.keyItself(at, k, plain[n])
		if k.digest != (keyDigest{}) {
			if first, ok := seen.digests[k.digest]; ok {
				c.report(at(), "the same key as %s", first)
			} else {
				seen.digests[k.digest] = place
			}
		}
		if k.User != "" {
			if first, ok := seen.users[k.User]; ok {
				c.report(at("user"), "the same user as %s", first)
			} else {
				seen.users[k.User] = place
			}
		}
		c.keyMembers(at, k)
	}
}

var hasPlaceholder = regexp.MustCompile(`\{(env|file)\.[^}]*\}`)

// plainKeys returns at which places a key stands in plain text.
func (c *checker) plainKeys(path []any, list []*KeyConfig) map[int]bool {
	plain := make(map[int]bool)
	if !slices.ContainsFunc(list, func(k *KeyConfig) bool { return k != nil && k.Key != "" }) {
		return plain
	}
	type entry struct {
		Key string `json:"key"`
	}
	written := struct { // with the placeholders
		Keys []*entry `json:"keys"`
	}{}
	if len(path) > 0 {
		_ = c.doc.Decode(&written, json5.Options{})
	} else {
		_ = c.doc.Decode(&written.Keys, json5.Options{})
	}
	for n, e := range written.Keys {
		plain[n] = e != nil && e.Key != "" && !hasPlaceholder.MatchString(e.Key)
	}
	return plain
}

func (c *checker) keyName(at func(...any) []any, k *KeyConfig, names map[string]keyPlace, place keyPlace) {
	switch first, given := names[k.Name]; {
	case k.Name == "":
		c.report(at("name"), "missing name, want what the client is called")
	case len(k.Name) > 64 || !canonicalName(k.Name):
		c.report(at("name"), "want at most 64 letters, digits and characters of -._~:@,=+/")
	case given:
		c.report(at("name"), "the same name as %s", first)
	default:
		names[k.Name] = place
	}
}

// keyItself checks by what the client is known.
func (c *checker) keyItself(at func(...any) []any, k *KeyConfig, plain bool) {
	var ok bool
	switch {
	case k.Hash != "" && k.Key != "":
		c.report(at("key"), "hash is given too, want one of them")
	case plain:
		c.report(at("key"), "a key in plain text; want its hash in place of it, as caddy ai-gateway keys hash prints it, or {env.NAME} or {file.PATH}")
	case k.Key != "" && (len(k.Key) < minKey || len(k.Key) > maxKey):
		c.report(at("key"), "got a key of %d bytes, want %d to %d; caddy ai-gateway keys new makes good ones", len(k.Key), minKey, maxKey)
	case k.Key != "" && strings.ContainsFunc(k.Key, func(r rune) bool { return r <= ' ' || r > '~' }):
		c.report(at("key"), "got a key with a blank or a character that no client can send")
	case k.Key != "":
		k.digest = digestOf(k.Key)
	case k.Hash != "":
		if k.digest, ok = parseDigest(k.Hash); !ok {
			c.report(at("hash"), "got no SHA-256, want sha256: and 64 hexadecimal digits, as caddy ai-gateway keys hash prints it")
		}
	case k.User == "" && !c.wasTold(at("key")) && !c.wasTold(at("hash")) && !c.wasTold(at("user")):
		c.report(at(), "missing hash, want it, key or user, by which the client is known")
	}
	if !validModelName(k.User) {
		c.report(at("user"), "want at most 256 bytes without control characters")
	}
}

func (c *checker) keyMembers(at func(...any) []any, k *KeyConfig) {
	for n, model := range k.Models {
		if model == "" || !validModelName(model) {
			c.report(at("models", n), "want a model's name of at most 256 bytes without control characters, or \"*\"")
		}
	}
	if k.Expires != "" {
		var err error
		if k.expires, err = parseExpiry(k.Expires); err != nil {
			c.report(at("expires"), "want a date such as 2027-01-31 or a time such as 2027-01-31T12:00:00Z")
		}
	}
	if k.Priority != "" {
		c.oneOf(at("priority"), k.Priority, priorities, "")
	}
	if k.Weight != nil && (*k.Weight < 1 || *k.Weight > maxWeight) {
		c.report(at("weight"), "got %d, want 1 to %d", *k.Weight, maxWeight)
	}
	// Paths are made for mistakes alone: there may be 100,000 keys.
	rate := func(value int64, steps ...string) {
		if value < 0 || value > maxRate {
			path := at()
			for _, step := range steps {
				path = append(path, step)
			}
			c.report(path, "got %d, want 1 to %d, or 0 for no limit", value, int64(maxRate))
		}
	}
	rate(k.RequestsPerMinute, "requests_per_minute")
	rate(k.TokensPerMinute, "tokens_per_minute")
	rate(int64(k.MaxConcurrency), "max_concurrency")
	rate(k.Budgets.DailyTokens, "budgets", "daily_tokens")
	rate(k.Budgets.MonthlyTokens, "budgets", "monthly_tokens")
	if k.Budgets != (BudgetsConfig{}) {
		c.amount(at("budgets", "daily_cost"), k.Budgets.DailyCost)
		c.amount(at("budgets", "monthly_cost"), k.Budgets.MonthlyCost)
	}
}

// amount checks an amount of money.
func (c *checker) amount(path []any, amount float64) {
	if amount < 0 || amount > maxAmount {
		c.report(path, "got %v, want 0 to %d", amount, int64(maxAmount))
	}
}

// prices checks the group of that name.
func (c *checker) prices(prices map[string]PriceConfig) {
	for _, model := range slices.Sorted(maps.Keys(prices)) {
		if model == "" || !validModelName(model) {
			c.report([]any{"prices", model}, "want a model's name of at most 256 bytes without control characters, or \"*\"")
		}
		c.amount([]any{"prices", model, "prompt"}, prices[model].Prompt)
		c.amount([]any{"prices", model, "completion"}, prices[model].Completion)
	}
}

// parseExpiry reads a date, at whose end it expires in the machine's time zone, or a time.
func parseExpiry(text string) (time.Time, error) {
	if day, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return day.AddDate(0, 0, 1), nil
	}
	return time.Parse(time.RFC3339, text)
}

// withoutPath returns why a file cannot be read: its path is shown beside.
func withoutPath(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
