package aigateway

import (
	"cmp"
	"errors"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/json5"
)

// warnings returns what a file may say but seldom means, in the order of the
// text, each with the reason and what to do. Relative paths start at dir; mode is
// that of the file, 0 if it has none. As in mistakes, no value is shown.
//
// The list is closed: http to a public address, and a key sent over it; a public
// fallback without a key; weight 0; deadlines shorter than a model needs; a model
// with one instance and no fallback; a fallback for a model that no instance has;
// a key that others can read in the file; an error_threshold of 1; a pattern that
// matches everywhere; a data_dir that cannot be written to; a single attempt where
// there are several instances; an empty list of keys; a budget of money without prices.
func (r reading) warnings(dir string, mode fs.FileMode) json5.Errors {
	if r.doc == nil {
		return nil
	}
	c, cfg := newChecker(r.doc, r.mistakes), r.config
	c.riskyInstances("instances", cfg.Instances, cfg.Timeouts)
	c.riskyInstances("fallback_instances", cfg.FallbackInstances, cfg.Timeouts)
	c.riskyTimeouts(nil, cfg.Timeouts, TimeoutsConfig{})
	c.readableKey(cfg, mode)
	if cfg.ErrorThreshold == 1 {
		c.report([]any{"error_threshold"}, "with 1 a single failure takes an instance out, and models do fail now and then; want 3 or more")
	}
	c.riskyRecord(cfg, dir)
	c.riskyKeys(cfg)
	if len(r.mistakes) == 0 { // what is true of all entries shows only when all are known
		c.riskyModels(cfg)
	}
	slices.SortStableFunc(c.problems, byPlace)
	return c.problems
}

func (c *checker) riskyInstances(list string, entries []*InstanceConfig, shared TimeoutsConfig) {
	for n, entry := range entries {
		at := func(steps ...any) []any { return append([]any{list, n}, steps...) }
		u, err := url.Parse(entry.URL)
		switch {
		case err != nil || isPrivateHost(u.Hostname()):
		case u.Scheme == "http":
			c.report(at("url"), "http:// to a public address: others on the way can read and change what is said; use https://, or a private address")
			if hasKey(entry) {
				c.report(at("api_key"), "is sent in clear text to a public address; use https:// in url")
			}
		case u.Scheme == "https" && list == "fallback_instances" && entry.APIKey == "" && !hasAuthorization(entry):
			c.report(at("api_key"), "no api_key for a public address: it gets the clients' own keys, and may refuse them; set api_key")
		}
		if *entry.Weight == 0 {
			c.report(at("weight"), "0 gives the instance no requests; remove it, or want 1 or more")
		}
		c.riskyTimeouts(at(), entry.Timeouts, shared)
	}
}

// hasKey reports whether an instance's key is one: vLLM's documents call the lack
// of one EMPTY, for clients that insist.
func hasKey(entry *InstanceConfig) bool {
	return entry.APIKey != "" && !strings.EqualFold(entry.APIKey, "empty")
}

func hasAuthorization(entry *InstanceConfig) bool {
	for name := range entry.Headers {
		if slices.Contains([]string{"authorization", "x-api-key", "api-key"}, strings.ToLower(name)) {
			return true
		}
	}
	return false
}

// sharedAddressSpace is that of carrier-grade NAT, RFC 6598, which overlay
// networks use too.
var sharedAddressSpace = netip.MustParsePrefix("100.64.0.0/10")

// privateZones are the ends of names that no public DNS knows.
var privateZones = []string{".local", ".internal", ".lan", ".svc", ".localhost", ".home.arpa"}

// isPrivateHost reports whether host, an address or a name, is surely not on the
// public internet. It asks no DNS.
func isPrivateHost(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		ip = ip.Unmap().WithZone("")
		return ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || sharedAddressSpace.Contains(ip)
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	return !strings.Contains(name, ".") || slices.ContainsFunc(privateZones, func(zone string) bool { return strings.HasSuffix(name, zone) })
}

// usualFirstToken is how long a long prompt takes on a busy server before the
// model begins, at the least.
const usualFirstToken = Seconds(10 * time.Second)

// riskyTimeouts looks at the deadlines set at a place; what is not set there is
// that of shared.
func (c *checker) riskyTimeouts(place []any, set, shared TimeoutsConfig) {
	at := func(member string) []any { return append(slices.Clone(place), "timeouts", member) }
	short := func(member string, limit *Seconds) {
		if limit != nil && *limit > 0 && *limit < usualFirstToken {
			c.report(at(member), "%v is less than a busy server needs for a long prompt, so that good instances fail; want 10 or more, or 0 for none",
				time.Duration(*limit))
		}
	}
	short("first_token", set.FirstToken)
	short("stall", set.Stall)
	all := defaultDeadlines.with(&shared).with(&set)
	if (set.Total != nil || set.FirstToken != nil) && all.total > 0 && all.total < all.firstToken {
		member := "total"
		if set.Total == nil {
			member = "first_token"
		}
		c.report(at(member), "total (%v) ends a request before first_token (%v) has passed, so that no other instance is asked; want a longer total or a shorter first_token",
			all.total, all.firstToken)
	}
}

// riskyModels looks at what the instances of a model are together.
func (c *checker) riskyModels(cfg *Config) {
	named, own, fallbacks := make(map[string]bool), make(map[string]int), make(map[string]int)
	for _, entry := range cfg.Instances {
		if entry.ModelName == "" { // what it discovers is not known
			named[anyModel] = true
			continue
		}
		named[entry.ModelName] = true
		if *entry.Weight > 0 {
			own[entry.ModelName]++
		}
	}
	for _, entry := range cfg.FallbackInstances {
		if *entry.Weight > 0 {
			fallbacks[entry.ModelName]++
		}
	}
	behind := func(model string) int { return cmp.Or(fallbacks[model], fallbacks[anyModel]) }
	for n, entry := range cfg.Instances {
		if *entry.Weight > 0 && entry.ModelName != "" && own[entry.ModelName] == 1 && entry.Resolve == "" && behind(entry.ModelName) == 0 {
			c.report([]any{"instances", n, "model_name"},
				"the only instance of its model, without a fallback: when it fails, so does every request for the model; add an instance or a fallback instance")
		}
	}
	for n, entry := range cfg.FallbackInstances {
		if len(named) > 0 && entry.ModelName != "" && !named[entry.ModelName] && !named[anyModel] && entry.ModelName != anyModel {
			c.report([]any{"fallback_instances", n, "model_name"},
				"no entry of instances has this model, so there is nothing it stands in for; want the model_name of an instance, or \"*\"")
		}
	}
	several := slices.ContainsFunc(slices.Concat(cfg.Instances, cfg.FallbackInstances), func(entry *InstanceConfig) bool {
		return own[entry.ModelName]+behind(entry.ModelName) > 1
	})
	if cfg.Retries.Attempts == 1 && several {
		c.report([]any{"retries", "attempts"}, "with 1 no other instance is asked when one fails, not even a fallback; want 2 or more")
	}
}

// readableKey reports the first key that everybody can read in the file.
func (c *checker) readableKey(cfg *Config, mode fs.FileMode) {
	if mode&0o044 == 0 || runtime.GOOS == "windows" { // where the mode says nothing
		return
	}
	var written Config // with the placeholders
	_ = c.doc.Decode(&written, json5.Options{})
	for _, list := range []struct {
		name           string
		written, meant []*InstanceConfig
	}{
		{"instances", written.Instances, cfg.Instances},
		{"fallback_instances", written.FallbackInstances, cfg.FallbackInstances},
	} {
		for n, entry := range list.written {
			if entry != nil && hasKey(entry) && entry.APIKey == list.meant[n].APIKey {
				c.report([]any{list.name, n, "api_key"},
					"a key in plain text, in a file that group or others can read (mode %04o); chmod 600 the file, or write {env.NAME} or {file.PATH} for the key", mode.Perm())
				return
			}
		}
	}
}

func (c *checker) riskyKeys(cfg *Config) {
	if cfg.clientKeys != nil && len(cfg.clientKeys) == 0 {
		member := "keys"
		if cfg.KeysFile != "" {
			member = "keys_file"
		}
		c.report([]any{member}, "no keys, so that every client is refused; add one by caddy ai-gateway keys new NAME --add, or remove the member for an open gateway")
	}
	if len(cfg.Prices) > 0 {
		return
	}
	for n, k := range cfg.Keys {
		for member, amount := range map[string]float64{"daily_cost": k.Budgets.DailyCost, "monthly_cost": k.Budgets.MonthlyCost} {
			if amount > 0 {
				c.report([]any{"keys", n, "budgets", member}, "a budget of money never ends without prices; want prices of the models, or of \"*\"")
			}
		}
	}
}

func (c *checker) riskyRecord(cfg *Config, dir string) {
	if !cfg.Record.Enabled {
		return
	}
	for n, pattern := range cfg.Record.Redact {
		if re, err := regexp.Compile(pattern); err == nil && re.MatchString("") {
			c.report([]any{"record", "redact", n}, "matches the empty text too, and so between any two characters; want one that matches at least one character, as with + in place of *")
		}
	}
	if err := writableFolder(beside(dir, cfg.DataDir)); cfg.DataDir != "" && err != nil {
		c.report([]any{"data_dir"}, "data_dir cannot be written to by this user: %v; want a folder of the gateway's own, or one that can be made", err)
	}
}

// writableFolder returns why the folder at path cannot be written to, or, where
// there is none, why it cannot be made. It makes nothing, and names no path.
func writableFolder(path string) error {
	info, err := os.Stat(path)
	if parent := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && parent != path {
		return writableFolder(parent)
	}
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		return failed.Err
	}
	if err == nil && !info.IsDir() {
		return errors.New("there is a file of this name")
	}
	return errors.Join(err, mayWrite(path))
}

// maxLogged bounds the lines about one file.
const maxLogged = 10

// warn tells the log what the file, which has just been put in force, may not
// mean.
func (s *store) warn(all json5.Errors) {
	logger := s.logger.Load()
	for n, warning := range all {
		if n == maxLogged {
			logger.Warn("fleet's file has more doubtful settings", zap.String("path", s.path), zap.Int("count", len(all)-maxLogged))
			return
		}
		logger.Warn("fleet's file has a doubtful setting", zap.String("path", s.path), zap.String("warning", warning.Error()))
	}
}

// permissions returns those of the file at path, 0 if there is none.
func permissions(path string) fs.FileMode {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Mode().Perm()
}
