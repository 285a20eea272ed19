package alert

import (
	"context"
	"errors"
	"net/url"
)

// discord is a webhook: discord://TOKEN@ID?thread_id=…, or the https address that
// Discord shows.
type discord struct {
	*address
	endpoint *url.URL
}

// discordLimit is that of a message in characters, title included.
const discordLimit = 2000

func newDiscord(a *address) (channel, error) {
	endpoint, query := a.url, url.Values{"wait": {"true"}} // only then errors are told
	if !a.web {
		token := a.url.User.Username()
		if token == "" || a.url.Host == "" {
			return nil, errors.New("want discord://TOKEN@WEBHOOK_ID")
		}
		endpoint = on(a.host("discord.com"), "api", "webhooks", a.url.Host, token)
	}
	if thread := a.query.Get("thread_id"); thread != "" {
		query.Set("thread_id", thread)
	}
	copied := *endpoint
	copied.RawQuery = query.Encode()
	return &discord{a, &copied}, nil
}

func (d *discord) send(ctx context.Context, m *Message) (string, error) {
	s := style{escape: markdown.escape, size: utf16Size}
	title := m.title(s, 400)
	s.limit = discordLimit - s.size(title) - 5
	a, err := post(ctx, d.client, d.endpoint.String(), nil, map[string]any{
		"content":          "**" + title + "**\n" + m.text(s),
		"allowed_mentions": map[string]any{"parse": []string{}},
		"flags":            1 << 2, // shows no previews of links
	})
	if err != nil {
		return "", err
	}
	return a.String(), nil
}
