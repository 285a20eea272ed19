package aigateway

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/ledger"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/limit"
)

// priorityClass orders clients where requests have to wait.
type priorityClass uint8

const (
	background priorityClass = iota
	normal
	interactive
)

// priorities are the words of the file, by class.
var priorities = []string{"background", "normal", "interactive"}

func (p priorityClass) String() string { return priorities[p] }

// clientKey is an entry of keys: who may ask, for what, and how much. It is immutable
// but for its state, which outlives swaps of the file.
type clientKey struct {
	name     string
	digest   keyDigest // of the key; zero for one that is known by user alone
	user     string    // that Caddy's own authentication knows, or ""
	models   []string  // that may be asked for; nil for all
	expires  time.Time // zero for never
	disabled bool
	priority priorityClass
	weight   int  // share where requests have to wait
	patient  bool // it waits for a private instance that is only full, whatever queue.spill_after is

	requests    int64 // a minute; 0 for no limit, as all below
	tokens      int64 // a minute
	concurrency int
	budget      ledger.Budget

	unrecorded bool // nothing that it asks is recorded
	status     bool // it may see how the fleet stands

	state   *keyState
	ledger  *ledger.Ledger
	account atomic.Pointer[ledger.Account] // in ledger, once something is counted
}

// keyDigest is the SHA-256 of a key.
type keyDigest [sha256.Size]byte

// keyID tells keys apart over swaps. One whose digest changes is another one.
type keyID struct {
	name   string
	digest keyDigest
}

// keyState is what is known of a key's requests. The store keeps it while the key stays
// in the file.
type keyState struct {
	mu       sync.Mutex
	inFlight int          // guarded by mu, as all below
	requests limit.Bucket // by a minute
	tokens   limit.Bucket

	lacks atomic.Int64 // until when a request has found too little budget, in nanoseconds since 1970
}

// newClientKey returns a checked entry with its state.
func newClientKey(c *KeyConfig, state *keyState, l *ledger.Ledger) *clientKey {
	k := &clientKey{
		name: c.Name, digest: c.digest, user: c.User, expires: c.expires, disabled: c.Disabled, priority: normal, weight: 1,
		requests: c.RequestsPerMinute, tokens: c.TokensPerMinute, concurrency: c.MaxConcurrency, unrecorded: c.Record != nil && !*c.Record,
		patient: c.Spill != nil && !*c.Spill,
		status:  c.Status, state: state, ledger: l,
		budget: ledger.Budget{
			DailyTokens: c.Budgets.DailyTokens, MonthlyTokens: c.Budgets.MonthlyTokens,
			DailyCost: micros(c.Budgets.DailyCost), MonthlyCost: micros(c.Budgets.MonthlyCost),
		},
	}
	if c.Models != nil && !slices.Contains(c.Models, anyModel) {
		k.models = c.Models
	}
	if c.Priority != "" {
		k.priority = priorityClass(slices.Index(priorities, c.Priority))
	}
	if c.Weight != nil {
		k.weight = *c.Weight
	}
	return k
}

// micros returns an amount of money in millionths.
func micros(amount float64) int64 { return int64(math.Round(amount * 1e6)) }

// valid reports whether the key counts at a time.
func (k *clientKey) valid(now time.Time) bool {
	return !k.disabled && (k.expires.IsZero() || now.Before(k.expires))
}

// allows reports whether the key may ask for a model.
func (k *clientKey) allows(model string) bool {
	return k == nil || k.models == nil || slices.Contains(k.models, model)
}

// allowed returns those of models that the key may ask for.
func (k *clientKey) allowed(models []string) []string {
	if k == nil || k.models == nil {
		return models
	}
	var all []string
	for _, model := range models {
		if k.allows(model) {
			all = append(all, model)
		}
	}
	if slices.Contains(models, anyModel) { // which stands for the others
		for _, model := range k.models {
			if !slices.Contains(models, model) {
				all = append(all, model)
			}
		}
	}
	return all
}

// records reports whether what the key asks may be recorded.
func (k *clientKey) records() bool { return k == nil || !k.unrecorded }

// counter returns the account that the key's use is counted in.
func (k *clientKey) counter() *ledger.Account {
	if a := k.account.Load(); a != nil {
		return a
	}
	a := k.ledger.Account(k.name) // there is one of each name
	k.account.Store(a)
	return a
}

// limitsBudget reports whether the key has a budget.
func (k *clientKey) limitsBudget() bool { return k.budget != ledger.Budget{} }

// keyring is the keys of a file. It is immutable.
type keyring struct {
	all      []*clientKey // in the order of the file
	byDigest map[keyDigest]*clientKey
	byUser   map[string]*clientKey
}

// nobodysKey takes the place of a key that is not there, so that looking for one takes
// the same steps.
var nobodysKey = &clientKey{disabled: true, digest: keyDigest{1}}

// find returns the valid key of that text, or nil. The digest is looked up, so that what
// a guess has in common with a key shows in no time that it takes.
func (r *keyring) find(text string, now time.Time) *clientKey {
	if text == "" || len(text) > maxKey {
		return nil
	}
	var room [maxKey]byte
	digest := keyDigest(sha256.Sum256(room[:copy(room[:], text)]))
	k := r.byDigest[digest]
	if k == nil {
		k = nobodysKey
	}
	if same := subtle.ConstantTimeCompare(k.digest[:], digest[:]) == 1; !k.valid(now) || !same {
		return nil
	}
	return k
}

const (
	// keyPrefix begins the keys that the command line makes, so that scanners for
	// secrets know them.
	keyPrefix = "aig-"
	// maxKey and minKey bound a key's length in bytes.
	maxKey = 512
	minKey = 20
)

// digestOf returns the digest of a key.
func digestOf(text string) keyDigest { return sha256.Sum256([]byte(text)) }

// String returns the digest as the file has it.
func (d keyDigest) String() string { return hashPrefix + hex.EncodeToString(d[:]) }

const hashPrefix = "sha256:"

// parseDigest reads a digest: 64 hexadecimal digits, with "sha256:" before them or not.
func parseDigest(text string) (d keyDigest, ok bool) {
	text = strings.TrimPrefix(text, hashPrefix)
	if len(text) != hex.EncodedLen(len(d)) {
		return d, false
	}
	_, err := hex.Decode(d[:], []byte(text))
	return d, err == nil
}

// keyring makes the keys of cfg, nil for an open gateway, and keeps the states of those
// alone. The caller holds mu.
func (s *store) keyring(cfg *Config, l *ledger.Ledger) *keyring {
	if cfg.clientKeys == nil {
		s.keys = nil
		return nil
	}
	n := len(cfg.clientKeys)
	r := &keyring{all: make([]*clientKey, n), byDigest: make(map[keyDigest]*clientKey, n), byUser: make(map[string]*clientKey)}
	states := make(map[keyID]*keyState, n)
	for at, c := range cfg.clientKeys {
		id := keyID{c.Name, c.digest}
		state := s.keys[id]
		if state == nil {
			state = new(keyState)
		}
		states[id] = state
		k := newClientKey(c, state, l)
		r.all[at] = k
		if c.digest != (keyDigest{}) {
			r.byDigest[c.digest] = k
		}
		if c.User != "" {
			r.byUser[c.User] = k
		}
	}
	s.keys = states
	return r
}
