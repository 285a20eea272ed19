package alert

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/url"
	"strconv"
	"time"
)

// feishu is a custom bot of Feishu or Lark: feishu://TOKEN?secret=…,
// lark://open.larksuite.com/TOKEN?secret=…, or the https address that they show.
type feishu struct {
	*address
	endpoint *url.URL
	secret   string
}

// feishuRests: both codes say that there were too many requests.
var feishuRests = map[int64]time.Duration{9499: tooFast, 11232: tooFast, 11233: tooFast}

// feishuLimit keeps the JSON of the message below Feishu's 20 KB.
const feishuLimit = 9000

func newFeishu(a *address) (channel, error) {
	endpoint := a.url
	if !a.web {
		host := a.url.Host
		var token string
		switch parts := a.parts(); {
		case len(parts) == 1:
			token = parts[0]
		case len(parts) == 0 && host != "":
			host, token = map[string]string{"feishu": "open.feishu.cn", "lark": "open.larksuite.com"}[a.name], host
		default:
			return nil, errors.New("want feishu://open.feishu.cn/TOKEN or lark://open.larksuite.com/TOKEN")
		}
		endpoint = on(a.host(host), "open-apis", "bot", "v2", "hook", token)
	}
	return &feishu{a, endpoint, a.signature()}, nil
}

func (f *feishu) send(ctx context.Context, m *Message) (string, error) {
	s := plain
	s.limit = feishuLimit
	text := func(content string) map[string]any { return map[string]any{"tag": "plain_text", "content": content} }
	// A card's plain_text is shown as it is; in a text message <at …> would call people.
	body := map[string]any{
		"msg_type": "interactive",
		"card": map[string]any{
			"config":   map[string]any{"wide_screen_mode": true},
			"header":   map[string]any{"title": text(m.title(plain, 300)), "template": feishuColor(m)},
			"elements": []any{map[string]any{"tag": "div", "text": text(m.text(s))}},
		},
	}
	if f.secret != "" {
		now := time.Now().Unix()
		body["timestamp"], body["sign"] = strconv.FormatInt(now, 10), feishuSign(f.secret, now)
	}
	a, err := post(ctx, f.client, f.endpoint.String(), nil, body)
	if err != nil {
		return "", err
	}
	return verdict(a, 0, []string{"code", "StatusCode"}, []string{"msg", "StatusMessage"}, feishuRests)
}

func feishuColor(m *Message) string {
	switch {
	case m.Test:
		return "blue"
	case m.over():
		return "green"
	case m.severity() == Critical:
		return "red"
	default:
		return "orange"
	}
}

// feishuSign signs the time in seconds: time and secret together are the key, and
// the message is empty. DingTalk does it the other way round.
func feishuSign(secret string, seconds int64) string {
	h := hmac.New(sha256.New, []byte(strconv.FormatInt(seconds, 10)+"\n"+secret))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}
