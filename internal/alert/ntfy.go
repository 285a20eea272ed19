package alert

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
)

// ntfy is a topic of an ntfy server: ntfy://[USER:PASSWORD@]HOST/TOPIC, with a token
// as :TOKEN@, and ?scheme=http for a server without TLS.
type ntfy struct {
	*address
	endpoint string
	topic    string
	header   http.Header
}

func newNtfy(a *address) (channel, error) {
	parts, host := a.parts(), a.url.Host
	if len(parts) != 1 {
		return nil, errors.New("missing topic, want ntfy://HOST/TOPIC")
	}
	if host == "" {
		host = "ntfy.sh"
	}
	n := &ntfy{a, a.base(host).String(), parts[0], http.Header{}}
	if password, ok := a.url.User.Password(); ok && a.url.User.Username() != "" {
		n.header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(a.url.User.Username()+":"+password)))
	} else if ok {
		n.header.Set("Authorization", "Bearer "+password)
	} else if a.url.User.Username() != "" {
		return nil, errors.New("missing password, want USER:PASSWORD@ or :TOKEN@ before the host")
	}
	return n, nil
}

func (n *ntfy) send(ctx context.Context, m *Message) (string, error) {
	s := plain
	s.limit = 3500 // from 4,096 bytes on it would be an attachment
	body := map[string]any{"topic": n.topic, "title": m.title(plain, 250), "message": m.text(s), "priority": 3 + pressing(m)}
	if tags := n.query.Get("tags"); tags != "" {
		body["tags"] = strings.Split(tags, ",")
	}
	a, err := post(ctx, n.client, n.endpoint, n.header, body)
	if err != nil {
		return "", err
	}
	return a.String(), nil
}

// pressing is 0 for what nobody need act on, 1 for a warning, 2 for the worst.
func pressing(m *Message) int {
	if m.Test || m.over() {
		return 0
	}
	return int(m.severity() - Info)
}
