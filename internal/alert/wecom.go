package alert

import (
	"context"
	"errors"
	"net/url"
	"time"
)

// weCom is a WeCom group robot: wecom://KEY, or the https address that WeCom shows.
type weCom struct {
	*address
	endpoint *url.URL
}

var weComRests = map[int64]time.Duration{45009: tooFast, 45033: tooFast}

// weComLimit is that of a text message in bytes, title included.
const weComLimit = 2048

func newWeCom(a *address) (channel, error) {
	if a.web {
		if a.query.Get("key") == "" {
			return nil, errors.New("missing key in the query, want the whole address that WeCom shows")
		}
		return &weCom{a, a.url}, nil
	}
	if a.url.Host == "" {
		return nil, errors.New("missing key, want wecom://KEY")
	}
	endpoint := on(a.host("qyapi.weixin.qq.com"), "cgi-bin", "webhook", "send")
	endpoint.RawQuery = url.Values{"key": {a.url.Host}}.Encode()
	return &weCom{a, endpoint}, nil
}

func (w *weCom) send(ctx context.Context, m *Message) (string, error) {
	s := plain
	title := m.title(plain, 300)
	s.limit = weComLimit - len(title) - 1
	a, err := post(ctx, w.client, w.endpoint.String(), nil, map[string]any{
		"msgtype": "text",
		"text":    map[string]any{"content": title + "\n" + m.text(s)},
	})
	if err != nil {
		return "", err
	}
	return verdict(a, 0, []string{"errcode"}, []string{"errmsg"}, weComRests)
}
