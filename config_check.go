package aigateway

import (
	"errors"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/net/http/httpguts"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/alert"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/json5"
)

// maxProblems bounds what check reports: nobody reads on, and each holds its
// source line.
const maxProblems = 1000

// checker collects what is wrong with a file beyond its types.
type checker struct {
	doc      *json5.Document
	told     map[string]bool // paths of what has been told already
	room     int             // for problems
	problems json5.Errors
}

// newChecker returns one for what of doc told does not tell.
func newChecker(doc *json5.Document, told json5.Errors) *checker {
	c := &checker{doc: doc, told: make(map[string]bool, len(told)), room: maxProblems - len(told)}
	for _, mistake := range told {
		c.told[mistake.Path] = true
	}
	return c
}

// report adds a problem at the value that path leads to, unless one has been told
// there: what could not be decoded has no value to speak of.
func (c *checker) report(path []any, format string, args ...any) {
	if len(c.problems) >= c.room {
		return
	}
	if problem := c.doc.Problem(c.doc.At(path...), format, args...); !c.told[problem.Path] {
		c.problems = append(c.problems, problem)
	}
}

// wasTold reports whether a mistake at that very path has been told already.
func (c *checker) wasTold(path []any) bool {
	return c.told[c.doc.Problem(c.doc.At(path...), "").Path]
}

// check reports all that is wrong with c in this file alone, and fills in defaults that
// depend on the entry.
func (c *Config) check(ch *checker) {
	if c.DataDir == "" {
		ch.report([]any{"data_dir"}, "got an empty text, want a folder")
	}
	ch.oneOf([]any{"load_balancing_strategy"}, c.LoadBalancingStrategy, strategies,
		"; Caddy's selection policies are set by lb_policy in the Caddyfile")
	if c.ErrorThreshold < 1 {
		ch.report([]any{"error_threshold"}, "got %d, want 1 or more", c.ErrorThreshold)
	}
	if c.ErrorWindow < Seconds(1e9) {
		ch.report([]any{"error_window"}, "got less than a second, want 1 or more")
	}
	if c.Retries.Attempts < 1 || c.Retries.Attempts > 100 {
		ch.report([]any{"retries", "attempts"}, "got %d, want 1 to 100", c.Retries.Attempts)
	}
	if c.Retries.Ratio < 0 || c.Retries.Ratio > 10 {
		ch.report([]any{"retries", "ratio"}, "got a number outside of 0 to 10")
	}
	if c.Retries.MaxBody < 0 {
		ch.report([]any{"retries", "max_body"}, "got %d, want 0 or more bytes", c.Retries.MaxBody)
	}
	if c.Queue.MaxWaiting < 0 || c.Queue.MaxWaiting > maxMaxWaiting {
		ch.report([]any{"queue", "max_waiting"}, "got %d, want 0 to %d", c.Queue.MaxWaiting, maxMaxWaiting)
	}
	if c.Poll.Interval != 0 && c.Poll.Interval < Seconds(500*time.Millisecond) {
		ch.report([]any{"poll", "interval"}, "got less than half a second, want 0 or 0.5 and more")
	}
	switch {
	case c.Poll.Timeout < Seconds(100*time.Millisecond):
		ch.report([]any{"poll", "timeout"}, "got less than a tenth of a second, want 0.1 to 60")
	case c.Poll.Timeout > Seconds(time.Minute):
		ch.report([]any{"poll", "timeout"}, "got more than a minute, want 0.1 to 60")
	}
	if c.StreamKeepalive > 0 && c.StreamKeepalive < Seconds(1e9) {
		ch.report([]any{"stream_keepalive"}, "got less than a second, want 0 or 1 and more")
	}
	ch.dns(&c.DNS)
	ch.record(&c.Record)
	ch.prices(c.Prices)
	ch.overflow(c.Overflow.Models)
	ch.alerts(&c.Alerts)
	for n, path := range c.EngineRoutes {
		if !canonical(path) || path == "/" {
			ch.report([]any{"engine_routes", n}, "got a text that is no path such as /tokenize, without query, escapes or empty parts")
		}
	}
	ch.instances("instances", c.Instances)
	ch.instances("fallback_instances", c.FallbackInstances)
	ch.discovers("instances", c.Instances, &c.Poll)
	ch.discovers("fallback_instances", c.FallbackInstances, &c.Poll)
	if len(ch.told) == 0 { // what is true of all entries shows only when all are known
		if len(c.Instances)+len(c.FallbackInstances) == 0 {
			ch.report([]any{"instances"}, "no instances, want at least one in instances or fallback_instances")
		}
		ch.duplicates(c)
		ch.overflowModels(c)
	}
}

// alerts reports what package alert finds wrong with the group of that name.
func (c *checker) alerts(cfg *alert.Config) {
	mistakes, _ := errors.AsType[alert.CheckErrors](cfg.Check())
	for _, m := range mistakes {
		c.report(append([]any{"alerts"}, m.Path...), "%s", m.Text)
	}
}

func (c *checker) oneOf(path []any, got string, allowed []string, hint string) {
	if !slices.Contains(allowed, got) {
		c.report(path, "want one of %s%s", strings.Join(allowed, ", "), hint)
	}
}

func (c *checker) instances(list string, entries []*InstanceConfig) {
	for n, entry := range entries {
		at := func(steps ...any) []any { return append([]any{list, n}, steps...) }
		if entry == nil {
			c.report(at(), "got null, want an object with url and model_name")
			entries[n] = &InstanceConfig{Weight: new(1)} // for those who read on
			continue
		}
		c.url(at("url"), entry.URL)
		c.model(at, entry)
		c.resolve(at, entry)
		c.numbers(at, entry)
		if !httpguts.ValidHeaderFieldValue(entry.APIKey) {
			c.report(at("api_key"), "holds a character that no header can carry")
		}
		if entry.Name != "" && (len(entry.Name) > 64 || !canonicalName(entry.Name)) {
			c.report(at("name"), "want at most 64 letters, digits and characters of -._~:@,=+/")
		}
		if entry.Engine != "" {
			c.oneOf(at("engine"), entry.Engine, engines, "")
		}
		c.headers(at, entry.Headers)
		for _, from := range slices.Sorted(maps.Keys(entry.Paths)) {
			to, query, _ := strings.Cut(entry.Paths[from], "?")
			if !canonical(from) || !canonical(to) || strings.ContainsFunc(query, func(r rune) bool { return r <= ' ' || r > '~' || r == '#' }) {
				c.report(at("paths", from), "want a path of the gateway on the left and one of the server on the right, such as /v1/embeddings and /embed?version=1")
			}
		}
	}
}

// discovers reports entries that never learn of a model.
func (c *checker) discovers(list string, entries []*InstanceConfig, poll *PollConfig) {
	for n, entry := range entries {
		if entry.Discover && poll.Interval == 0 {
			c.report([]any{list, n, "discover"}, "got true, but poll.interval is 0, so that the server is never asked; want no discover, or an interval above 0")
		}
	}
}

func (c *checker) model(at func(...any) []any, entry *InstanceConfig) {
	switch {
	case entry.ModelName == "" && entry.Discover:
		if entry.UpstreamModel != "" {
			c.report(at("upstream_model"), "is what the server calls the model of model_name, and there is none")
		}
	case entry.ModelName == anyModel && entry.Discover:
		c.report(at("discover"), `got true beside the model_name "*", which takes every model; want one of them`)
	case entry.ModelName == "":
		c.report(at("model_name"), `missing model_name, want the model's name or "*"`)
	case !validModelName(entry.ModelName):
		c.report(at("model_name"), "want at most 256 bytes without control characters")
	}
	switch {
	case entry.UpstreamModel == anyModel:
		c.report(at("upstream_model"), `got "*", want the name that the server knows`)
	case !validModelName(entry.UpstreamModel):
		c.report(at("upstream_model"), "want at most 256 bytes without control characters")
	}
}

func validModelName(name string) bool {
	return len(name) <= 256 && !strings.ContainsFunc(name, unicode.IsControl)
}

func (c *checker) numbers(at func(...any) []any, entry *InstanceConfig) {
	if entry.Weight == nil {
		one := 1
		entry.Weight = &one
	}
	if *entry.Weight < 0 || *entry.Weight > maxWeight {
		c.report(at("weight"), "got %d, want 0 to %d", *entry.Weight, maxWeight)
	}
	if entry.ContextLength < 0 || entry.ContextLength > maxContext {
		c.report(at("context_length"), "got %d, want 0 to %d tokens", entry.ContextLength, maxContext)
	}
	if entry.MaxConcurrency < 0 {
		c.report(at("max_concurrency"), "got %d, want 0 or more", entry.MaxConcurrency)
	}
}

// url checks an instance's base URL. It shows no part that may hold a secret.
func (c *checker) url(path []any, raw string) {
	if raw == "" {
		c.report(path, "missing url, want one such as http://10.0.0.1:8000/v1")
		return
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		c.report(path, "got a text that is no URL, want one such as http://10.0.0.1:8000/v1")
	case u.Scheme != "http" && u.Scheme != "https":
		c.report(path, "want a URL that begins with http:// or https://")
	case u.Hostname() == "":
		c.report(path, "missing host, want one such as http://10.0.0.1:8000/v1")
	case u.User != nil:
		c.report(path, "holds a user name, want the key in api_key or headers")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		c.report(path, "has a query or a fragment, want neither; paths can add a query to a path")
	case !validPort(u):
		c.report(path, "want a port from 1 to 65535")
	case u.RawPath != "" || strings.Trim(u.Path, "/") != "" && !canonical(strings.TrimRight(u.Path, "/")):
		c.report(path, "path is not plain: want no escapes, no empty and no dot segments")
	}
}

func validPort(u *url.URL) bool {
	if u.Port() == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && n > 0
}

// reservedHeaders belong to the connection or the body, which headers must not
// change.
var reservedHeaders = []string{
	"Connection", "Content-Encoding", "Content-Length", "Expect", "Host", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

func (c *checker) headers(at func(...any) []any, headers map[string]string) {
	first := make(map[string]string, len(headers))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		other, given := first[strings.ToLower(name)]
		first[strings.ToLower(name)] = name
		switch {
		case given:
			c.report(at("headers", name), "the same header as %s", quote(other))
		case !httpguts.ValidHeaderFieldName(name):
			c.report(at("headers", name), "%s is no header's name", quote(name))
		case slices.ContainsFunc(reservedHeaders, func(reserved string) bool { return strings.EqualFold(reserved, name) }):
			c.report(at("headers", name), "%s belongs to the connection and cannot be set", quote(name))
		case !httpguts.ValidHeaderFieldValue(headers[name]):
			c.report(at("headers", name), "holds a character that no header can carry")
		}
	}
}

// duplicates reports instances that are the same, and names given twice, at the
// later one.
func (c *checker) duplicates(cfg *Config) {
	type place struct {
		list string
		n    int
	}
	many := len(cfg.Instances) + len(cfg.FallbackInstances)
	same, names := make(map[[4]string]place, many), make(map[string]place, many)
	add := func(list string, entries []*InstanceConfig) {
		for n, entry := range entries {
			if entry.URL == "" {
				continue
			}
			key := [4]string{normalURL(entry.URL), entry.ModelName, entry.APIKey, entry.Resolve}
			if first, ok := same[key]; ok {
				line, _ := c.doc.Position(c.doc.At(first.list, first.n))
				c.report([]any{list, n}, "the same url, model_name and api_key as %s[%d] on line %d; give one of them the sum of both weights",
					first.list, first.n, line)
			} else {
				same[key] = place{list, n}
			}
			if first, ok := names[entry.Name]; ok && entry.Name != "" {
				line, _ := c.doc.Position(c.doc.At(first.list, first.n, "name"))
				c.report([]any{list, n, "name"}, "the same name as %s[%d] on line %d", first.list, first.n, line)
			} else {
				names[entry.Name] = place{list, n}
			}
		}
	}
	add("instances", cfg.Instances)
	add("fallback_instances", cfg.FallbackInstances)
}

// canonicalName reports whether s needs no quotes anywhere.
func canonicalName(s string) bool {
	for i := range len(s) {
		if !pathByte[s[i]] {
			return false
		}
	}
	return true
}
