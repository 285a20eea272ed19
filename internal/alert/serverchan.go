package alert

import (
	"context"
	"errors"
	"net/url"
	"regexp"
	"unicode/utf8"
)

// serverChan is an account of ServerChan (Server酱): serverchan://SENDKEY, of Turbo
// and of ³, or the https address with the key that it shows.
type serverChan struct {
	*address
	endpoint *url.URL
}

// threeKey is a key of ServerChan³, which holds the number of the account.
var threeKey = regexp.MustCompile(`^sctp(\d+)t`)

func newServerChan(a *address) (channel, error) {
	if a.web {
		return &serverChan{a, a.url}, nil
	}
	key := a.url.Host
	if key == "" {
		return nil, errors.New("missing key, want serverchan://SENDKEY")
	}
	if account := threeKey.FindStringSubmatch(key); account != nil {
		return &serverChan{a, on(a.host(account[1]+".push.ft07.com"), "send", key+".send")}, nil
	}
	return &serverChan{a, on(a.host("sctapi.ftqq.com"), key+".send")}, nil
}

func (c *serverChan) send(ctx context.Context, m *Message) (string, error) {
	s := markdown
	s.limit = 9000
	a, err := post(ctx, c.client, c.endpoint.String(), nil, url.Values{
		"title": {m.title(style{escape: defuse, size: characters}, 32)},
		"desp":  {m.title(markdown, 300) + s.joint + m.text(s)},
	})
	if err != nil {
		return "", err
	}
	return verdict(a, 0, []string{"code", "errno"}, []string{"message", "info", "errmsg"}, nil)
}

func characters(s string) int { return utf8.RuneCountInString(s) }
