package alert

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// slack is an incoming webhook, slack://hook:T-B-X@webhook or the https address that
// Slack shows, or a bot, slack://xoxb:1-2-3@CHANNEL.
type slack struct {
	*address
	endpoint *url.URL
	token    string // of a bot
	channel  string // of a bot
}

var slackToken = regexp.MustCompile(`^[A-Za-z0-9]+-[A-Za-z0-9]+-[A-Za-z0-9-]+$`)

// slackSigns are all that Slack's markup needs escaped to call nobody.
var slackSigns = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

func newSlack(a *address) (channel, error) {
	wrong := errors.New("want slack://hook:T…-B…-…@webhook, slack://xoxb:…@CHANNEL or https://hooks.slack.com/services/…")
	if a.web {
		return &slack{address: a, endpoint: a.url}, nil
	}
	kind := a.url.User.Username()
	token, typed := a.url.User.Password()
	if !typed { // the old form, slack://[name@]T/B/X
		token, kind = strings.Join(append([]string{a.url.Host}, a.parts()...), "-"), "hook"
	}
	if !slackToken.MatchString(token) || a.url.Host == "" {
		return nil, wrong
	}
	switch {
	case kind == "hook":
		return &slack{address: a, endpoint: on(a.host("hooks.slack.com"), append([]string{"services"}, strings.SplitN(token, "-", 3)...)...)}, nil
	case strings.HasPrefix(kind, "xox"):
		return &slack{a, on(a.host("slack.com"), "api", "chat.postMessage"), kind + "-" + token, a.url.Host}, nil
	}
	return nil, wrong
}

func (s *slack) send(ctx context.Context, m *Message) (string, error) {
	st := style{escape: func(s string) string { return slackSigns.Replace(defuse(s)) }, limit: 8000}
	body := map[string]any{"text": m.title(st, 500) + "\n" + m.text(st), "mrkdwn": false, "unfurl_links": false}
	header := http.Header{}
	if s.token != "" {
		body["channel"] = s.channel
		header.Set("Authorization", "Bearer "+s.token)
	}
	a, err := post(ctx, s.client, s.endpoint.String(), header, body)
	if err != nil {
		return "", err
	}
	if s.token == "" {
		return a.String(), nil
	}
	var said struct {
		OK    bool
		Error string
	}
	if err := json.Unmarshal(a.body, &said); err != nil {
		return "", &failure{text: a.String() + ", but the answer is no JSON object"}
	}
	if !said.OK {
		f := &failure{text: a.String() + ", error " + shorten(oneLine(said.Error), 100)}
		if said.Error == "ratelimited" || said.Error == "rate_limited" {
			f.rest = tooFast
		}
		return "", f
	}
	return a.String() + ", ok true", nil
}
