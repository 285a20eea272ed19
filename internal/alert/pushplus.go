package alert

import (
	"context"
	"errors"
	"time"
)

// pushPlus is an account of PushPlus: pushplus://TOKEN?topic=…&channel=….
type pushPlus struct {
	*address
	endpoint string
}

func newPushPlus(a *address) (channel, error) {
	if a.url.Host == "" {
		return nil, errors.New("missing token, want pushplus://TOKEN")
	}
	return &pushPlus{a, on(a.host("www.pushplus.plus"), "send").String()}, nil
}

func (p *pushPlus) send(ctx context.Context, m *Message) (string, error) {
	s := plain
	s.limit = 9000
	body := map[string]any{"token": p.url.Host, "title": m.title(style{escape: defuse, size: characters}, 100), "content": m.text(s), "template": "txt"}
	for _, member := range []string{"topic", "channel", "webhook"} {
		if value := p.query.Get(member); value != "" {
			body[member] = value
		}
	}
	a, err := post(ctx, p.client, p.endpoint, nil, body)
	if err != nil {
		return "", err
	}
	// 900 closes the account for the day, and longer for those who go on.
	said, err := verdict(a, 200, []string{"code"}, []string{"msg"}, map[int64]time.Duration{900: untilMidnight(time.Now())})
	return said, err
}

// untilMidnight returns how long the day of PushPlus still lasts, by China's clock.
func untilMidnight(now time.Time) time.Duration {
	local := now.In(time.FixedZone("UTC+8", 8*60*60))
	year, month, day := local.Date()
	return time.Date(year, month, day+1, 0, 1, 0, 0, local.Location()).Sub(now)
}
