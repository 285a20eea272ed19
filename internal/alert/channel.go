package alert

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// channel speaks to one receiver. It is used by one goroutine at a time, and by
// tests of the receiver beside.
type channel interface {
	// send delivers m and returns what the receiver said. An error is a *failure, or
	// one that trying again may mend.
	send(ctx context.Context, m *Message) (said string, err error)
}

// rate is how many messages a service takes in a time.
type rate struct {
	n   int
	per time.Duration
}

// usual is the rate of services that state none.
var usual = rate{30, time.Minute}

// service is one kind of receiver.
type service struct {
	// build returns the channel of an address. The error says what is wrong with the
	// URL and shows nothing of it; it is a *memberError if another member is.
	build func(a *address) (channel, error)
	rates []rate
	plain bool // takes https://… as the service shows it
}

// services are all types of receivers. Robots that mute whoever is too fast are
// kept two below their limit, for test-alert and other senders.
var services = map[string]*service{
	"dingtalk":   {newDingTalk, []rate{{18, time.Minute}}, true},
	"discord":    {newDiscord, []rate{{4, 2 * time.Second}, {25, time.Minute}}, true},
	"feishu":     {newFeishu, []rate{{4, time.Second}, {95, time.Minute}}, true},
	"gotify":     {newGotify, []rate{usual}, false},
	"lark":       {newFeishu, []rate{{4, time.Second}, {95, time.Minute}}, true},
	"ntfy":       {newNtfy, []rate{usual}, false},
	"opsgenie":   {newOpsgenie, []rate{usual}, false},
	"pagerduty":  {newPagerDuty, []rate{usual}, false},
	"pushplus":   {newPushPlus, []rate{{5, time.Minute}, {190, 24 * time.Hour}}, false},
	"serverchan": {newServerChan, []rate{{5, time.Minute}}, true},
	"slack":      {newSlack, []rate{{1, time.Second}, usual}, true},
	"smtp":       {newSMTP, []rate{{10, time.Minute}}, false},
	"smtps":      {newSMTP, []rate{{10, time.Minute}}, false},
	"teams":      {newTeams, []rate{{1, time.Second}, usual}, true},
	"telegram":   {newTelegram, []rate{{1, time.Second}, {18, time.Minute}}, false},
	"webhook":    {newWebhook, []rate{{5, time.Second}, {60, time.Minute}}, true},
	"wecom":      {newWeCom, []rate{{18, time.Minute}}, true},
}

func init() {
	for _, name := range libraryServices {
		services[name] = &service{newLibrary, []rate{{10, time.Minute}}, false}
	}
}

// Types lists the types of receivers.
func Types() []string { return slices.Sorted(maps.Keys(services)) }

// memberError is a mistake in another member than url.
type memberError struct {
	member string
	error
}

// channel returns the channel of r, which sends through client. An error belongs to
// the member.
func (r *Receiver) channel(client *http.Client) (ch channel, member string, err error) {
	name := r.service()
	s := services[name]
	if s == nil {
		if name == "https" || name == "http" {
			return nil, "type", fmt.Errorf("missing type, want one of %s", strings.Join(Types(), ", "))
		}
		return nil, "url", fmt.Errorf("the scheme is none of %s", strings.Join(Types(), ", "))
	}
	u, err := url.Parse(r.URL)
	if err != nil {
		return nil, "url", errors.New("got a text that is no URL") // the error would show it
	}
	web := u.Scheme == "https" || u.Scheme == "http"
	switch {
	case web && !s.plain:
		return nil, "url", fmt.Errorf("want a URL that begins with %s://", name)
	case web && u.Hostname() == "":
		return nil, "url", errors.New("missing host")
	case web && u.User != nil:
		return nil, "url", errors.New("holds a user name, which is not sent; want the address alone")
	case !web && (!strings.EqualFold(u.Scheme, name) || name == "webhook"):
		return nil, "url", fmt.Errorf("the scheme does not fit the type, want %s", s.schemes(name))
	}
	a := &address{name: name, url: u, query: u.Query(), web: web, secret: r.Secret, client: client}
	ch, err = s.build(a)
	if m := (*memberError)(nil); errors.As(err, &m) {
		return nil, m.member, m.error
	}
	return ch, "url", err
}

func (s *service) schemes(name string) string {
	switch {
	case name == "webhook":
		return "https://"
	case s.plain:
		return "https:// or " + name + "://"
	default:
		return name + "://"
	}
}

// address is where a channel sends to, as the file says it.
type address struct {
	name   string
	url    *url.URL
	query  url.Values
	web    bool // url is the service's own address
	secret string
	client *http.Client
}

// parts returns the parts of the URL's path.
func (a *address) parts() []string {
	path := strings.Trim(a.url.Path, "/")
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}

// signature returns the secret of the file or of the URL.
func (a *address) signature() string {
	if a.secret != "" {
		return a.secret
	}
	return a.query.Get("secret")
}

// host returns the host of the service, which the query may replace by one of a
// private deployment.
func (a *address) host(usual string) string {
	if host := a.query.Get("host"); host != "" {
		return host
	}
	return usual
}

// on returns an https URL.
func on(host string, path ...string) *url.URL {
	return (&url.URL{Scheme: "https", Host: host, Path: "/"}).JoinPath(path...)
}

// base returns http or https and the URL's own host, for services that people run
// themselves.
func (a *address) base(host string) *url.URL {
	u := on(host)
	if yes(a.query.Get("disabletls")) || strings.EqualFold(a.query.Get("scheme"), "http") {
		u.Scheme = "http"
	}
	return u
}

func yes(s string) bool {
	switch strings.ToLower(s) {
	case "yes", "true", "1", "on":
		return true
	}
	return false
}
