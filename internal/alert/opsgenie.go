package alert

import (
	"context"
	"errors"
	"net/http"
	"net/url"
)

// opsgenie is an API integration of Opsgenie: opsgenie://[HOST]/API_KEY, with host
// api.eu.opsgenie.com for European accounts. Each kind of fault is one alert there,
// which is closed when all of it is over.
type opsgenie struct {
	*address
	base *url.URL
	key  string
}

func newOpsgenie(a *address) (channel, error) {
	parts := a.parts()
	if len(parts) != 1 {
		return nil, errors.New("missing key, want opsgenie://api.opsgenie.com/API_KEY")
	}
	host := a.url.Host
	if host == "" {
		host = "api.opsgenie.com"
	}
	return &opsgenie{a, on(host, "v2", "alerts"), parts[0]}, nil
}

var opsgeniePriorities = map[Severity]string{Critical: "P1", Warning: "P3", Info: "P5"}

func (o *opsgenie) send(ctx context.Context, m *Message) (string, error) {
	said := ""
	header := http.Header{"Authorization": {"GenieKey " + o.key}}
	for _, part := range m.perGroup() {
		s := plain
		s.limit = 9000
		endpoint := *o.base
		body := map[string]any{"source": part.Source, "user": "caddy-ai-gateway"}
		if part.over() {
			endpoint = *o.base.JoinPath(url.PathEscape(part.incident()), "close")
			endpoint.RawQuery = "identifierType=alias"
			body["note"] = part.title(plain, 500)
		} else {
			priority := opsgeniePriorities[part.severity()]
			if priority == "" {
				priority = "P5"
			}
			body["message"], body["alias"] = part.title(style{escape: defuse, size: characters}, 130), part.incident()
			body["description"], body["priority"], body["tags"] = part.text(s), priority, []string{"ai-gateway", string(part.kind())}
		}
		a, err := post(ctx, o.client, endpoint.String(), header, body)
		if err != nil {
			return "", err
		}
		said = a.String()
	}
	return said, nil
}
