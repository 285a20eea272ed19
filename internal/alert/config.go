package alert

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/json5"
)

// Config says who is told of alerts, and how often. Defaults stand in [Defaults],
// which the caller decodes into.
type Config struct {
	// Name is how messages call this gateway. The default is the machine's host name.
	Name string `json:"name"`

	// Receivers are told of alerts. The default is nobody: then alerts stand in the
	// errors log alone.
	Receivers []Receiver `json:"receivers"`

	// GroupWait is how long the first message about a kind of fault waits for more of
	// it, in seconds or as a duration. What heals meanwhile is not told. The default
	// is 30.
	GroupWait Seconds `json:"group_wait"`

	// GroupInterval is the shortest time between two messages about the same kind of
	// fault. The default is 300.
	GroupInterval Seconds `json:"group_interval"`

	// Repeat is how long after its last message a fault that lasts is told again. 0
	// means never. The default is 14400, 4 hours.
	Repeat Seconds `json:"repeat"`

	// ErrorRate is the part of the attempts for a model within 5 minutes whose failure
	// is told, 0 to 1, if there are 20 attempts or more. 0 is off. The default is 0.2.
	ErrorRate float64 `json:"error_rate"`

	// SlowFirstToken is how long streams of a model may take to begin: that the 95th
	// percentile of 20 or more within 5 minutes is above it is told. 0 is off, the
	// default.
	SlowFirstToken Seconds `json:"slow_first_token"`

	// KeepState keeps what has been told in data_dir/alerts_state.json, so that a
	// restart repeats nothing. The default is true.
	KeepState bool `json:"keep_state"`

	// Cooldown is the file's alert_cooldown, which stands outside of this group: the
	// silence after a message about an instance before it is said to fail again.
	Cooldown time.Duration `json:"-"`
}

// Receiver is one place that messages are sent to.
type Receiver struct {
	// Name is what test-alert, logs and metrics call it. The default is its type.
	Name string `json:"name"`

	// Type is the service, such as dingtalk. It may be left out where the URL's scheme
	// says it. [Types] lists all.
	Type string `json:"type"`

	// URL is the address that the service shows, https://…, with the type beside, or
	// one in the form of shoutrrr, such as telegram://token@telegram?chats=-100123.
	// Required.
	URL string `json:"url"`

	// Secret signs messages (dingtalk, feishu), or is sent as Authorization: Bearer
	// (webhook).
	Secret string `json:"secret"`

	// Kinds are the kinds of alerts that it is told of. The default is all.
	Kinds []string `json:"kinds"`

	// MinSeverity is info, warning or critical; what is less is not told. The default
	// is info.
	MinSeverity string `json:"min_severity"`

	// Language is en or zh. The default is en.
	Language string `json:"language"`

	// SendResolved tells when it is over. The default is true.
	SendResolved *bool `json:"send_resolved"`

	// MaxPerMinute is the most messages in a minute. The default is what the service
	// allows, or 30.
	MaxPerMinute int `json:"max_per_minute"`
}

// Defaults returns the configuration of a file that says nothing.
func Defaults() Config {
	return Config{
		GroupWait: Seconds(30 * time.Second), GroupInterval: Seconds(5 * time.Minute), Repeat: Seconds(4 * time.Hour),
		ErrorRate: 0.2, KeepState: true, Cooldown: 5 * time.Minute,
	}
}

// Seconds is a time of the file.
type Seconds = json5.Seconds

// CheckError is one mistake in a [Config]. Its text shows no value of a text.
type CheckError struct {
	Path []any // from the group: "receivers", 0, "url"
	Text string
}

func (p CheckError) Error() string {
	var b strings.Builder
	for _, step := range p.Path {
		switch step := step.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", step)
		default:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			fmt.Fprint(&b, step)
		}
	}
	return b.String() + ": " + p.Text
}

// CheckErrors are all mistakes in a [Config].
type CheckErrors []CheckError

func (p CheckErrors) Error() string {
	texts := make([]string, len(p))
	for i := range p {
		texts[i] = p[i].Error()
	}
	return strings.Join(texts, "; ")
}

func (p *CheckErrors) report(path []any, format string, args ...any) {
	*p = append(*p, CheckError{path, fmt.Sprintf(format, args...)})
}

const (
	maxReceivers = 100
	english      = "en"
	chinese      = "zh"
)

// Check returns all that is wrong with c as [CheckErrors], or nil. It asks no receiver
// anything.
func (c *Config) Check() error {
	var ps CheckErrors
	if len(c.Name) > maxName || c.Name != oneLine(c.Name) {
		ps.report([]any{"name"}, "want one line of at most %d bytes", maxName)
	}
	if c.GroupWait > Seconds(time.Hour) {
		ps.report([]any{"group_wait"}, "got more than an hour, want 0 to 3600")
	}
	if c.GroupInterval < Seconds(time.Second) {
		ps.report([]any{"group_interval"}, "got less than a second, want 1 or more")
	}
	if c.Repeat > 0 && c.Repeat < c.GroupInterval {
		ps.report([]any{"repeat"}, "got a time shorter than group_interval, want 0, or as much or more")
	}
	if c.ErrorRate < 0 || c.ErrorRate > 1 {
		ps.report([]any{"error_rate"}, "got a number outside of 0 to 1")
	}
	if len(c.Receivers) > maxReceivers {
		ps.report([]any{"receivers"}, "got %d, want at most %d", len(c.Receivers), maxReceivers)
	}
	first := make(map[string]int)
	for n := range c.Receivers {
		r := &c.Receivers[n]
		r.check(&ps, func(member string) []any { return []any{"receivers", n, member} })
		if other, ok := first[r.name()]; ok {
			ps.report([]any{"receivers", n, "name"}, "the same name as receivers[%d], or both have none; give them different ones", other)
		} else {
			first[r.name()] = n
		}
	}
	if len(ps) == 0 {
		return nil
	}
	return ps
}

func (r *Receiver) check(ps *CheckErrors, at func(string) []any) {
	if len(r.Name) > 64 || strings.ContainsFunc(r.Name, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == '\\' }) {
		ps.report(at("name"), "want at most 64 letters, digits and signs, without spaces")
	}
	for n, kind := range r.Kinds {
		if !slices.Contains(Kinds(), Kind(kind)) {
			ps.report(append(at("kinds"), n), "want one of %s", joined(Kinds()))
		}
	}
	if r.MinSeverity != "" && !slices.Contains(severities, r.MinSeverity) {
		ps.report(at("min_severity"), "want one of %s", strings.Join(severities, ", "))
	}
	if r.Language != "" && r.Language != english && r.Language != chinese {
		ps.report(at("language"), "want %s or %s", english, chinese)
	}
	if r.MaxPerMinute < 0 || r.MaxPerMinute > 6000 {
		ps.report(at("max_per_minute"), "got %d, want 1 to 6000, or 0 for what the service allows", r.MaxPerMinute)
	}
	switch {
	case r.URL == "":
		ps.report(at("url"), "missing url, want the address that the service shows, or one such as telegram://token@telegram?chats=1")
	case r.Type != "" && services[r.Type] == nil:
		ps.report(at("type"), "want one of %s", strings.Join(Types(), ", "))
	default:
		if _, member, err := r.channel(nil); err != nil {
			ps.report(at(member), "%v", err)
		}
	}
}

func joined(kinds []Kind) string {
	texts := make([]string, len(kinds))
	for i := range kinds {
		texts[i] = string(kinds[i])
	}
	return strings.Join(texts, ", ")
}

// name returns what the receiver is called.
func (r *Receiver) name() string {
	if r.Name != "" {
		return r.Name
	}
	return r.service()
}

// service returns the type, which the URL's scheme may say.
func (r *Receiver) service() string {
	if r.Type != "" {
		return r.Type
	}
	scheme, _, _ := strings.Cut(r.URL, "://")
	return strings.ToLower(scheme)
}

// tokenHosts are the services whose token may stand in the place of a host.
var tokenHosts = []string{"dingtalk", "feishu", "lark", "pagerduty", "pushbullet", "pushplus", "serverchan", "wecom"}

var secretParameter = regexp.MustCompile(`(?i)key|token|secret|pass|sig`)

// secrets returns the parts of the receiver's settings that no text may show.
func (r *Receiver) secrets() []string {
	all := []string{r.Secret, r.URL}
	u, err := url.Parse(r.URL)
	if err != nil {
		return all
	}
	if u.User != nil {
		password, _ := u.User.Password()
		all = append(all, u.User.String(), u.User.Username(), password)
		for part := range strings.SplitSeq(password, "-") { // of Slack
			if len(part) >= 16 {
				all = append(all, part)
			}
		}
	}
	if u.User == nil && strings.Trim(u.Path, "/") == "" && slices.Contains(tokenHosts, r.service()) {
		all = append(all, u.Host)
	}
	for name, values := range u.Query() {
		// A service's own address has nothing in its query but what opens it.
		if strings.HasPrefix(u.Scheme, "http") || secretParameter.MatchString(name) {
			all = append(all, values...)
		}
	}
	for part := range strings.SplitSeq(u.Path, "/") {
		if len(part) >= 16 { // a shorter one is a route, such as /services
			all = append(all, part, strings.TrimPrefix(part, "bot"), strings.TrimSuffix(part, ".send"))
		}
	}
	return all
}

// quietEnd reports whether the receiver is not told when it is over.
func (r *Receiver) quietEnd() bool { return r.SendResolved != nil && !*r.SendResolved }

// wants returns what of the groups the receiver is to be told, or nil.
func (r *Receiver) wants(groups []Group) (wanted []Group) {
	least := Severity(slices.Index(severities, r.MinSeverity) + 1) // 0 is below all
	for _, g := range groups {
		if len(r.Kinds) > 0 && !slices.Contains(r.Kinds, string(g.Kind)) {
			continue
		}
		rest := Group{g.Kind, slices.DeleteFunc(slices.Clone(g.Alerts), func(a Alert) bool {
			return a.Severity < least || a.Over() && r.quietEnd()
		})}
		// News of which nothing is for this receiver is no reminder of the rest.
		if len(rest.Alerts) > 0 && (rest.news() || !g.news()) {
			wanted = append(wanted, rest)
		}
	}
	return wanted
}
