package alert

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// robots are all services behind one TLS server that answers for every host, and
// checks what it is sent as the real ones do.
type robots struct {
	t      *testing.T
	server *httptest.Server
	client *http.Client

	mu       sync.Mutex
	requests []request
	// instead answers in place of a service, if it is set.
	instead func(w http.ResponseWriter, n int) bool
}

// request is one that was made, whole.
type request struct {
	host, path string
	query      url.Values
	header     http.Header
	body       string
	json       map[string]any // of a JSON body
}

// get returns the value at a path of names in the JSON body, as text.
func (r request) get(path ...string) string {
	var v any = r.json
	for _, name := range path {
		if list, ok := v.([]any); ok {
			n, _ := strconv.Atoi(name)
			if n >= len(list) {
				return ""
			}
			v = list[n]
			continue
		}
		m, _ := v.(map[string]any)
		v = m[name]
	}
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

func newRobots(t *testing.T) *robots {
	r := &robots{t: t}
	r.server = httptest.NewTLSServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(r.server.Certificate())
	r.client = newClient()
	transport := r.client.Transport.(*http.Transport)
	// Whatever the host, the test server answers; its certificate is for example.com.
	transport.Proxy = nil
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS12}
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, r.server.Listener.Addr().String())
	}
	t.Cleanup(r.client.CloseIdleConnections)
	return r
}

func (r *robots) serve(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	got := request{host: req.Host, path: req.URL.Path, query: req.URL.Query(), header: req.Header, body: string(body)}
	if strings.HasPrefix(req.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(body, &got.json); err != nil {
			r.t.Errorf("%s%s: body %q is no JSON: %v", got.host, got.path, body, err)
		}
	}
	r.mu.Lock()
	r.requests = append(r.requests, got)
	n, instead := len(r.requests), r.instead
	r.mu.Unlock()
	if instead != nil && instead(w, n) {
		return
	}
	if req.Method != http.MethodPost {
		http.Error(w, "want POST", http.StatusMethodNotAllowed)
		return
	}
	answer, ok := robotAnswers[got.host]
	if !ok {
		http.Error(w, "no such service", http.StatusNotFound)
		return
	}
	status, text := answer(got)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

func (r *robots) last() request {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.requests) == 0 {
		return request{}
	}
	return r.requests[len(r.requests)-1]
}

func (r *robots) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.requests)
}

// send sends m to a receiver through the real channel.
func (r *robots) send(receiver Receiver, m *Message) (string, error) {
	r.t.Helper()
	ch, member, err := receiver.channel(r.client)
	if err != nil {
		r.t.Fatalf("%s: %s: %v", receiver.URL, member, err)
	}
	return ch.send(r.t.Context(), m)
}

// hashed is the HMAC-SHA256 of a message by a key, as base64.
func hashed(key, message string) string {
	h := hmac.New(sha256.New, []byte(key))
	_, _ = io.WriteString(h, message)
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

func within(stamp string, unit, most time.Duration) bool {
	n, err := strconv.ParseInt(stamp, 10, 64)
	return err == nil && time.Since(time.Unix(0, n*int64(unit))).Abs() < most
}

// robotAnswers are the services by host: what they check and answer, from their
// documents.
var robotAnswers = map[string]func(request) (int, string){
	"oapi.dingtalk.com": func(r request) (int, string) {
		stamp := r.query.Get("timestamp")
		switch {
		case r.path != "/robot/send" || r.query.Get("access_token") != "ding-token-0123456789":
			return 200, `{"errcode":300005,"errmsg":"token is not exist"}`
		case !within(stamp, time.Millisecond, time.Hour):
			return 200, `{"errcode":310000,"errmsg":"invalid timestamp"}`
		case r.query.Get("sign") != hashed("SECding", stamp+"\nSECding"):
			return 200, `{"errcode":310000,"errmsg":"sign not match"}`
		case r.get("msgtype") != "text" || r.get("text", "content") == "" || r.get("at", "isAtAll") != "false" || len(r.body) > 20000:
			return 200, `{"errcode":400102,"errmsg":"bad message"}`
		}
		return 200, `{"errcode":0,"errmsg":"ok"}`
	},
	"open.feishu.cn": func(r request) (int, string) {
		stamp := r.get("timestamp")
		switch {
		case r.path != "/open-apis/bot/v2/hook/feishu-token-0123456789":
			return 200, `{"code":19001,"msg":"param invalid: incoming webhook access token invalid"}`
		case !within(stamp, time.Second, time.Hour) || r.get("sign") != hashed(stamp+"\nSECfei", ""):
			return 200, `{"code":19021,"msg":"sign match fail or timestamp is not within one hour from current time"}`
		case r.get("msg_type") != "interactive" || r.get("card", "header", "title", "tag") != "plain_text" ||
			r.get("card", "elements", "0", "text", "content") == "" || len(r.body) > 20<<10:
			return 200, `{"code":9499,"msg":"Bad Request"}`
		}
		return 200, `{"StatusCode":0,"StatusMessage":"success","code":0,"data":{},"msg":"success"}`
	},
	"qyapi.weixin.qq.com": func(r request) (int, string) {
		content := r.get("text", "content")
		switch {
		case r.path != "/cgi-bin/webhook/send" || r.query.Get("key") != "wecom-key-0123456789":
			return 200, `{"errcode":93000,"errmsg":"invalid webhook url"}`
		case r.get("msgtype") != "text" || content == "":
			return 200, `{"errcode":40008,"errmsg":"invalid message type"}`
		case len(content) > 2048:
			return 200, `{"errcode":40058,"errmsg":"content exceed max length"}`
		}
		return 200, `{"errcode":0,"errmsg":"ok"}`
	},
	"www.pushplus.plus": func(r request) (int, string) {
		switch {
		case r.path != "/send" || r.get("token") != "pushplus-token-0123456789":
			return 200, `{"code":903,"msg":"无效的用户token","data":null}`
		case utf8.RuneCountInString(r.get("title")) > 100 || r.get("content") == "" || r.get("template") != "txt" || r.get("topic") != "ops":
			return 200, `{"code":999,"msg":"服务端验证错误"}`
		}
		return 200, `{"code":200,"msg":"请求成功","data":"5d7fd5a1"}`
	},
	"sctapi.ftqq.com": func(r request) (int, string) {
		form, err := url.ParseQuery(r.body)
		switch {
		case r.path != "/SCT0123456789abcdef.send":
			return 400, `{"code":40001,"message":"[AUTH]错误的Key","info":"错误的Key"}`
		case err != nil || form.Get("title") == "" || utf8.RuneCountInString(form.Get("title")) > 32 || len(form.Get("desp")) > 32<<10:
			return 200, `{"code":40002,"message":"bad title"}`
		}
		return 200, `{"code":0,"message":"","data":{"pushid":"1","readkey":"x","error":"SUCCESS","errno":0}}`
	},
	"123.push.ft07.com": func(r request) (int, string) {
		if r.path != "/send/sctp123t0123456789abcdef.send" {
			return 200, `{"code":40001,"message":"bad key"}`
		}
		return 200, `{"code":0,"message":"SUCCESS"}`
	},
	"hooks.slack.com": func(r request) (int, string) {
		switch {
		case r.path != "/services/T000/B000/slacksecret0123456789":
			return 404, "no_service"
		case r.get("text") == "" || r.get("mrkdwn") != "false" || strings.Contains(r.get("text"), "<"):
			return 400, "invalid_payload"
		}
		return 200, "ok"
	},
	"slack.com": func(r request) (int, string) {
		if r.path != "/api/chat.postMessage" || r.header.Get("Authorization") != "Bearer xoxb-1-2-slackbot0123456789" || r.get("channel") != "C01" {
			return 200, `{"ok":false,"error":"invalid_auth"}`
		}
		return 200, `{"ok":true,"channel":"C01"}`
	},
	"discord.com": func(r request) (int, string) {
		content := r.get("content")
		switch {
		case r.path != "/api/webhooks/4711/discordtoken0123456789" || r.query.Get("wait") != "true":
			return 401, `{"message":"Invalid Webhook Token","code":50027}`
		case content == "" || len(utf16.Encode([]rune(content))) > 2000 || r.get("allowed_mentions", "parse") != "[]":
			return 400, `{"content":["Must be 2000 or fewer in length."]}`
		}
		return 200, `{"id":"1"}`
	},
	"api.telegram.org": func(r request) (int, string) {
		text := r.get("text")
		switch {
		case r.path != "/bot123456:telegramtoken0123456789/sendMessage":
			return 401, `{"ok":false,"error_code":401,"description":"Unauthorized"}`
		case text == "" || len(utf16.Encode([]rune(text))) > 4096 || r.get("parse_mode") != "" || r.get("chat_id") == "":
			return 400, `{"ok":false,"error_code":400,"description":"Bad Request: message is too long"}`
		}
		return 200, `{"ok":true,"result":{}}`
	},
	"prod-1.westus.logic.azure.com": func(r request) (int, string) {
		if r.query.Get("sig") != "teamssignature0123456789" || r.get("attachments", "0", "content", "type") != "AdaptiveCard" ||
			r.get("attachments", "0", "content", "body", "1", "inlines", "0", "text") == "" || len(r.body) > 28<<10 {
			return 400, `{"error":{"code":"InvalidRequest"}}`
		}
		return 202, ""
	},
	"org.webhook.office.com": func(r request) (int, string) {
		if r.path != "/webhookb2/g-1@t-1/IncomingWebhook/altid0123456789abcdef/owner-1/extra-1" {
			return 404, ""
		}
		return 200, "1"
	},
	"events.pagerduty.com": func(r request) (int, string) {
		action := r.get("event_action")
		if r.path != "/v2/enqueue" || r.get("routing_key") != "pagerdutykey0123456789" || action != "trigger" && action != "resolve" ||
			r.get("dedup_key") == "" || r.get("payload", "summary") == "" || utf8.RuneCountInString(r.get("payload", "summary")) > 1024 ||
			r.get("payload", "source") == "" || !strings.Contains(" critical error warning info ", " "+r.get("payload", "severity")+" ") {
			return 400, `{"status":"invalid event","message":"Event object is invalid"}`
		}
		return 202, `{"status":"success","message":"Event processed"}`
	},
	"api.eu.opsgenie.com": func(r request) (int, string) {
		closes := strings.HasSuffix(r.path, "/close") && r.query.Get("identifierType") == "alias" && strings.Contains(r.path, "caddy-ai-gateway:gw:")
		if r.header.Get("Authorization") != "GenieKey opsgeniekey0123456789" || !closes && (r.path != "/v2/alerts" ||
			r.get("message") == "" || utf8.RuneCountInString(r.get("message")) > 130 || r.get("alias") == "" || len(r.get("description")) > 15000) {
			return 422, `{"message":"Request body is not processable"}`
		}
		return 202, `{"result":"Request will be processed"}`
	},
	"ntfy.sh": func(r request) (int, string) {
		if r.path != "/" || r.header.Get("Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte("bob:ntfypassword0123456789")) ||
			r.get("topic") != "ops" || len(r.get("message")) > 4096 || r.get("title") == "" {
			return 403, `{"code":40301,"error":"forbidden"}`
		}
		return 200, `{"id":"1"}`
	},
	"gotify.example": func(r request) (int, string) {
		if r.path != "/sub/message" || r.header.Get("X-Gotify-Key") != "gotifytoken0123456789" || r.get("message") == "" {
			return 401, `{"error":"Unauthorized"}`
		}
		return 200, `{"id":1}`
	},
	"hook.example": func(r request) (int, string) {
		if r.path != "/alerts" || r.header.Get("Authorization") != "Bearer webhooksecret0123456789" || r.get("version") != "4" ||
			r.get("status") == "" || r.get("alerts", "0", "labels", "alertname") == "" || r.get("alerts", "0", "startsAt") == "" || r.get("groupLabels", "alertname") == "" {
			return 400, "bad request"
		}
		return 200, ""
	},
}

// allReceivers has one receiver for every form of address.
var allReceivers = []Receiver{
	{Name: "dingtalk", URL: "dingtalk://ding-token-0123456789?secret=SECding"},
	{Name: "dingtalk-web", Type: "dingtalk", URL: "https://oapi.dingtalk.com/robot/send?access_token=ding-token-0123456789", Secret: "SECding"},
	{Name: "feishu", URL: "feishu://feishu-token-0123456789", Secret: "SECfei"},
	{Name: "lark", URL: "lark://open.feishu.cn/feishu-token-0123456789?secret=SECfei"},
	{Name: "feishu-web", Type: "feishu", URL: "https://open.feishu.cn/open-apis/bot/v2/hook/feishu-token-0123456789", Secret: "SECfei"},
	{Name: "wecom", URL: "wecom://wecom-key-0123456789"},
	{Name: "wecom-web", Type: "wecom", URL: "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=wecom-key-0123456789"},
	{Name: "pushplus", URL: "pushplus://pushplus-token-0123456789?topic=ops"},
	{Name: "serverchan", URL: "serverchan://SCT0123456789abcdef"},
	{Name: "serverchan3", URL: "serverchan://sctp123t0123456789abcdef"},
	{Name: "serverchan-web", Type: "serverchan", URL: "https://sctapi.ftqq.com/SCT0123456789abcdef.send"},
	{Name: "slack", URL: "slack://hook:T000-B000-slacksecret0123456789@webhook"},
	{Name: "slack-old", URL: "slack://T000/B000/slacksecret0123456789"},
	{Name: "slack-web", Type: "slack", URL: "https://hooks.slack.com/services/T000/B000/slacksecret0123456789"},
	{Name: "slack-bot", URL: "slack://xoxb:1-2-slackbot0123456789@C01"},
	{Name: "discord", URL: "discord://discordtoken0123456789@4711"},
	{Name: "discord-web", Type: "discord", URL: "https://discord.com/api/webhooks/4711/discordtoken0123456789"},
	{Name: "telegram", URL: "telegram://123456:telegramtoken0123456789@telegram?chats=-1001,@news:7"},
	{Name: "teams", Type: "teams", URL: "https://prod-1.westus.logic.azure.com/workflows/1/triggers/manual/paths/invoke?sig=teamssignature0123456789"},
	{Name: "teams-old", URL: "teams://g-1@t-1/altid0123456789abcdef/owner-1/extra-1?host=org.webhook.office.com"},
	{Name: "pagerduty", URL: "pagerduty:///pagerdutykey0123456789"},
	{Name: "pagerduty-host", URL: "pagerduty://events.pagerduty.com/pagerdutykey0123456789"},
	{Name: "opsgenie", URL: "opsgenie://api.eu.opsgenie.com/opsgeniekey0123456789"},
	{Name: "ntfy", URL: "ntfy://bob:ntfypassword0123456789@ntfy.sh/ops"},
	{Name: "gotify", URL: "gotify://gotify.example/sub/gotifytoken0123456789"},
	{Name: "webhook", Type: "webhook", URL: "https://hook.example/alerts", Secret: "webhooksecret0123456789"},
}
