package alert

import (
	"context"
	"errors"
	"net/http"
	"net/url"
)

// gotify is an application on a Gotify server: gotify://HOST[/PATH]/TOKEN, with
// ?disabletls=yes for a server without TLS.
type gotify struct {
	*address
	endpoint *url.URL
	token    string
}

func newGotify(a *address) (channel, error) {
	parts := a.parts()
	if a.url.Host == "" || len(parts) == 0 {
		return nil, errors.New("want gotify://HOST/TOKEN")
	}
	last := len(parts) - 1
	return &gotify{a, a.base(a.url.Host).JoinPath(append(parts[:last:last], "message")...), parts[last]}, nil
}

func (g *gotify) send(ctx context.Context, m *Message) (string, error) {
	s := plain
	s.limit = 9000
	a, err := post(ctx, g.client, g.endpoint.String(), http.Header{"X-Gotify-Key": {g.token}}, map[string]any{
		"title": m.title(plain, 300), "message": m.text(s), "priority": 3 + 3*pressing(m),
		"extras": map[string]any{"client::display": map[string]any{"contentType": "text/plain"}},
	})
	if err != nil {
		return "", err
	}
	return a.String(), nil
}
