package alert

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/json5"
)

func contextWithTimeout(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

// parse reads a configuration the way the gateway does.
func parse(t *testing.T, src string) (Config, error) {
	t.Helper()
	c := Defaults()
	doc, err := json5.Parse([]byte(src))
	if err == nil {
		err = doc.Decode(&c, json5.Options{})
	}
	if err != nil {
		return c, err
	}
	return c, c.Check()
}

func TestConfig(t *testing.T) {
	c, err := parse(t, `{
		name: 'gw', group_wait: 10, group_interval: '2m', repeat: 0, keep_state: false,
		receivers: [
			{url: 'wecom://key-key-key', kinds: ['pool_empty', 'key_refused'], min_severity: 'critical', language: 'zh', send_resolved: false},
			{name: 'hook', type: 'webhook', url: 'https://hook.example/x?token=1', secret: 's', max_per_minute: 5},
			{url: 'matrix://:token@matrix.example/?rooms=!a'}, {url: 'bark://:key@bark.example/'},
		],
	}`)
	if err != nil {
		t.Fatal(err)
	}
	if c.rules() != (rules{10 * time.Second, 2 * time.Minute, 0, 5 * time.Minute}) || c.KeepState || c.Receivers[0].name() != "wecom" || !c.Receivers[0].quietEnd() {
		t.Errorf("got %+v, want what the file says", c)
	}
	if c, err := parse(t, `{}`); err != nil || c.rules() != usualRules || !c.KeepState {
		t.Errorf("defaults: got %+v, %v, want those of Alertmanager and the ancestor", c, err)
	}
	for _, r := range allReceivers {
		if err := (&Config{GroupInterval: Seconds(time.Second), Receivers: []Receiver{r}}).Check(); err != nil {
			t.Errorf("%s: got %v, want it to pass", r.URL, err)
		}
	}
}

// Every mistake names its member, says what is allowed, and shows no secret.
func TestConfigMistakes(t *testing.T) {
	f := func(src, want string) {
		t.Helper()
		_, err := parse(t, src)
		if err == nil {
			t.Errorf("%s: got no error, want %q", src, want)
			return
		}
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s:\ngot  %q\nwant %q, and no secret", src, err, want)
		}
	}
	one := func(receiver, want string) {
		t.Helper()
		f(`{receivers: [{`+receiver+`}]}`, want)
	}
	f(`{group_wait: '2h'}`, "group_wait: got more than an hour")
	f(`{group_interval: 0}`, "group_interval: got less than a second")
	f(`{repeat: 60}`, "repeat: got a time shorter than group_interval")
	f(`{error_rate: 1.5}`, "error_rate: got a number outside of 0 to 1")
	f(`{repeat: 'often'}`, "no duration")
	f(`{group_wait: -1}`, "outside of 0 to 10 years")
	f(`{group_wait: true}`, "got a boolean")
	f(`{name: 'a\nb'}`, "name: want one line")
	f(`{receivers: [null]}`, "receivers[0].url: missing url")
	f(`{receivers: [{url: 'wecom://a'}, {url: 'wecom://b'}]}`, `receivers[1].name: the same name as receivers[0], or both have none`)
	f(`{receivers: [`+strings.Repeat(`{url: 'wecom://a'},`, 101)+`]}`, "receivers: got 101, want at most 100")
	f(`{receivers: [{ur: 'x'}]}`, `unknown member "ur"`)
	one(`name: 'a b', url: 'wecom://a'`, "receivers[0].name: want at most 64")
	one(`url: 'wecom://a', kinds: ['hunter2']`, `receivers[0].kinds[0]: want one of pool_empty, key_refused`)
	one(`url: 'wecom://a', min_severity: 'fatal'`, "receivers[0].min_severity: want one of info, warning, critical")
	one(`url: 'wecom://a', language: 'de'`, "receivers[0].language: want en or zh")
	one(`url: 'wecom://a', max_per_minute: -1`, "receivers[0].max_per_minute: got -1")
	one(`type: 'pager', url: 'https://h/hunter2'`, "receivers[0].type: want one of bark, dingtalk")
	one(`url: 'https://h/hunter2'`, "receivers[0].type: missing type, want one of bark")
	one(`url: 'hunter2'`, "receivers[0].url: the scheme is none of")
	one(`url: 'hunter2://x'`, "receivers[0].url: the scheme is none of")
	one(`type: 'slack', url: 'http://hunter2:%zz'`, "receivers[0].url: got a text that is no URL")
	one(`type: 'slack', url: 'https:///hunter2'`, "receivers[0].url: missing host")
	one(`type: 'slack', url: 'https://bob:hunter2@h/'`, "receivers[0].url: holds a user name")
	one(`type: 'slack', url: 'discord://hunter2@1'`, "receivers[0].url: the scheme does not fit the type, want https:// or slack://")
	one(`type: 'telegram', url: 'https://api.telegram.org/bothunter2'`, "receivers[0].url: want a URL that begins with telegram://")
	one(`type: 'webhook', url: 'webhook://hunter2'`, "receivers[0].url: the scheme does not fit the type, want https://")
	one(`url: 'dingtalk://'`, "missing token, want dingtalk://")
	one(`type: 'dingtalk', url: 'https://oapi.dingtalk.com/robot/send?hunter2'`, "missing access_token")
	one(`type: 'wecom', url: 'https://qyapi.weixin.qq.com/hunter2'`, "missing key in the query")
	one(`url: 'wecom://'`, "missing key, want wecom://KEY")
	one(`url: 'feishu://a/b/hunter2'`, "want feishu://open.feishu.cn/TOKEN")
	one(`url: 'slack://hook:hunter2@webhook'`, "want slack://hook")
	one(`url: 'slack://bot:a-b-hunter2@webhook'`, "want slack://hook")
	one(`url: 'discord://hunter2'`, "want discord://TOKEN@WEBHOOK_ID")
	one(`url: 'telegram://hunter2@telegram?chats=1'`, "missing token, want telegram://")
	one(`url: 'telegram://1:hunter2@telegram'`, "got 0 chats, want 1 to 10")
	one(`url: 'telegram://1:hunter2@telegram?chats=-100:x'`, "want the number of a topic")
	one(`url: 'teams://a@b/c/d/hunter2'`, "want the https address of a workflow")
	one(`url: 'pagerduty://'`, "missing key, want pagerduty:///")
	one(`url: 'opsgenie://hunter2'`, "missing key, want opsgenie://")
	one(`url: 'ntfy://h'`, "missing topic")
	one(`url: 'ntfy://hunter2@h/t'`, "missing password")
	one(`url: 'gotify://h'`, "want gotify://HOST/TOKEN")
	one(`url: 'pushplus://'`, "missing token, want pushplus://")
	one(`url: 'serverchan://'`, "missing key, want serverchan://")
	one(`url: 'smtp://'`, "missing host")
	one(`url: 'smtp://u:hunter2@h/?to=a@b'`, "want the sender's mail address")
	one(`url: 'smtp://u:hunter2@h/?from=a@b&to=hunter2'`, "want 1 to 50 mail addresses")
	one(`url: 'zulip://hunter2'`, "is not in shoutrrr's form for zulip")
	one(`url: 'pushover://hunter2'`, "is not in shoutrrr's form for pushover")
}

// The caller finds each mistake's place in the file.
func TestProblemPath(t *testing.T) {
	c := Defaults()
	c.Receivers = []Receiver{{URL: "wecom://a"}, {Name: "x", URL: "wecom://b", Language: "de"}}
	ps, ok := errors.AsType[CheckErrors](c.Check())
	if !ok || len(ps) != 1 || fmt.Sprint(ps[0].Path) != "[receivers 1 language]" {
		t.Errorf("got %v, want one problem at receivers, 1, language", ps)
	}
}

// No address makes the check panic, and none gets a channel that panics.
func FuzzReceiver(f *testing.F) {
	for _, r := range allReceivers {
		f.Add(r.Type, r.URL)
	}
	for _, name := range Types() {
		f.Add(name, name+"://user:password@host:1/a/b/c?x=y&to=a@b&from=c@d&chats=1:2")
		f.Add("", name+"://:@/")
	}
	f.Fuzz(func(t *testing.T, typ, url string) {
		if typ == "fake" || strings.HasPrefix(url, "fake") {
			return
		}
		r := Receiver{Type: typ, URL: url}
		c := Config{GroupInterval: Seconds(time.Second), Receivers: []Receiver{r}}
		if c.Check() != nil {
			return
		}
		if ch, _, err := r.channel(newClient()); err != nil || ch == nil {
			t.Errorf("%q: passes the check, and then: %v", url, err)
		}
		newMasker(r.secrets()).line(url, maxCause)
	})
}

// No answer of a robot makes its reading panic, or is taken for a success without
// the code that says so.
func FuzzVerdict(f *testing.F) {
	for _, body := range []string{`{"errcode":0}`, `{"errcode":"0"}`, `{"errcode":0.5}`, `{"errcode":1e99,"errmsg":3}`, `[]`, `null`, `{"errcode":null}`, ``} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		said, err := verdict(&answer{status: 200, body: []byte(body)}, 0, []string{"errcode"}, []string{"errmsg"}, nil)
		if err == nil && (said != "HTTP 200, errcode 0" && said != "HTTP 200, errcode -0" || !strings.Contains(body, "0")) {
			t.Errorf("%q: got %q, want a failure", body, said)
		}
		if err != nil && len(err.Error()) > 2000 {
			t.Errorf("%q: got an error of %d bytes", body, len(err.Error()))
		}
	})
}
