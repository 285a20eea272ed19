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

// dingTalk is a DingTalk group robot: dingtalk://TOKEN?secret=SEC…, or the https
// address that DingTalk shows, with the secret beside.
type dingTalk struct {
	*address
	endpoint *url.URL
	secret   string
}

// dingTalkRests: a robot that was too fast is muted for about ten minutes.
var dingTalkRests = map[int64]time.Duration{130101: 10 * time.Minute, 130103: 10 * time.Minute, 410100: 10 * time.Minute, -1: tooFast}

// dingTalkLimit keeps the JSON of the message below DingTalk's 20,000 bytes.
const dingTalkLimit = 9000

func newDingTalk(a *address) (channel, error) {
	endpoint := a.url
	if !a.web {
		if a.url.Host == "" {
			return nil, errors.New("missing token, want dingtalk://ACCESS_TOKEN?secret=SEC…")
		}
		endpoint = on(a.host("oapi.dingtalk.com"), "robot", "send")
		endpoint.RawQuery = url.Values{"access_token": {a.url.Host}}.Encode()
	} else if a.query.Get("access_token") == "" {
		return nil, errors.New("missing access_token in the query, want the whole address that DingTalk shows")
	}
	return &dingTalk{a, endpoint, a.signature()}, nil
}

func (d *dingTalk) send(ctx context.Context, m *Message) (string, error) {
	endpoint := *d.endpoint
	query := endpoint.Query()
	query.Del("secret")
	if d.secret != "" {
		now := time.Now().UnixMilli()
		query.Set("timestamp", strconv.FormatInt(now, 10))
		query.Set("sign", dingTalkSign(d.secret, now))
	}
	endpoint.RawQuery = query.Encode()
	s := plain
	s.limit = dingTalkLimit
	a, err := post(ctx, d.client, endpoint.String(), nil, map[string]any{
		"msgtype": "text",
		"text":    map[string]any{"content": m.title(plain, 300) + "\n" + m.text(s)},
		"at":      map[string]any{"isAtAll": false},
	})
	if err != nil {
		return "", err
	}
	return verdict(a, 0, []string{"errcode"}, []string{"errmsg"}, dingTalkRests)
}

// dingTalkSign signs the time in milliseconds: the secret is the key, and it stands
// in the message too. Feishu does it the other way round.
func dingTalkSign(secret string, milliseconds int64) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(strconv.FormatInt(milliseconds, 10) + "\n" + secret))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}
