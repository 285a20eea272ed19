package alert

import (
	"context"
	"errors"
	"net/url"
	"strings"
)

// teams is a workflow of Microsoft Teams that posts what it is sent, by the https
// address that Teams shows, or an old connector in shoutrrr's form,
// teams://GROUP@TENANT/ALT/OWNER/EXTRA?host=organization.webhook.office.com.
type teams struct {
	*address
	endpoint *url.URL
}

func newTeams(a *address) (channel, error) {
	if a.web {
		return &teams{a, a.url}, nil
	}
	parts, host := a.parts(), a.query.Get("host")
	if a.url.User.Username() == "" || a.url.Host == "" || len(parts) < 2 || len(parts) > 3 || host == "" {
		return nil, errors.New("want the https address of a workflow, or teams://GROUP@TENANT/ALT/OWNER/EXTRA?host=organization.webhook.office.com")
	}
	path := append([]string{"webhookb2", a.url.User.Username() + "@" + a.url.Host, "IncomingWebhook"}, parts...)
	return &teams{a, on(host, path...)}, nil
}

func (t *teams) send(ctx context.Context, m *Message) (string, error) {
	s := plain
	s.limit = 9000
	run := func(text, weight string) map[string]any {
		return map[string]any{"type": "RichTextBlock", "inlines": []any{map[string]any{"type": "TextRun", "text": text, "weight": weight}}}
	}
	// A TextRun is shown as it is; a TextBlock would read Markdown.
	body := []any{run(m.title(plain, 300), "bolder")}
	for line := range strings.SplitSeq(m.text(s), "\n") {
		body = append(body, run(line, "default"))
	}
	a, err := post(ctx, t.client, t.endpoint.String(), nil, map[string]any{
		"type": "message",
		"attachments": []any{map[string]any{
			"contentType": "application/vnd.microsoft.card.adaptive",
			"content": map[string]any{
				"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4",
				"body": body, "msteams": map[string]any{"width": "Full"},
			},
		}},
	})
	if err != nil {
		return "", err
	}
	// Old connectors answer 200 with a text when Teams itself refused the message.
	if text := string(a.body); strings.Contains(text, "failed with HTTP error") || strings.Contains(text, "Microsoft Teams endpoint returned") {
		return "", &failure{text: a.String() + ": " + shorten(oneLine(text), 200)}
	}
	return a.String(), nil
}
