package alert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// sample is a message with what people wrote into names and errors to make trouble.
func sample(language string) *Message {
	nasty := "*bold* _x_ `code` [a](http://evil) @all @everyone <!channel> <at user_id=\"all\">x</at> <@U123> # head"
	m := newMasker([]string{"canary-upstream-key"})
	alerts := []Alert{{
		Kind: InstanceEjected, Instance: m.line("gpu-1\n"+nasty, maxName), Model: m.line("qwen3\r\n@channel", maxName), Severity: Critical, Count: 3, Since: day, New: true,
		Cause: m.line("POST http://bob:hunter2@10.0.0.1:8000/v1?api_key=canary1 with Bearer canary-upstream-key: sk-abcdefabcdefabcdefabcd\n\n"+nasty, maxCause),
	}}
	for n := range 60 {
		alerts = append(alerts, Alert{Kind: InstanceEjected, Instance: fmt.Sprintf("gpu-%02d-%s", n, strings.Repeat("名", 20)), Severity: Warning, Count: 1, Since: day, New: true, Cause: strings.Repeat("超时 ", 90)})
	}
	return &Message{
		Source: "gw", Receiver: "ops", Language: language, Time: day.Add(time.Minute),
		Groups: []Group{
			{InstanceEjected, alerts},
			{PoolEmpty, []Alert{{Kind: PoolEmpty, Model: "qwen3", Severity: Critical, Count: 1, Since: day, Until: day.Add(time.Hour)}}},
		},
	}
}

// A message, an end and a test reach every service in the form that it checks, in
// both languages, below its limits.
func TestServices(t *testing.T) {
	r := newRobots(t)
	ended := func(language string) *Message {
		return &Message{Source: "gw", Receiver: "ops", Language: language, Time: day, Groups: []Group{{PoolEmpty, []Alert{
			{Kind: PoolEmpty, Model: "qwen3", Severity: Critical, Count: 1, Since: day, Until: day.Add(time.Hour)},
		}}}}
	}
	for _, receiver := range allReceivers {
		t.Run(receiver.Name, func(t *testing.T) {
			for _, language := range []string{english, chinese} {
				for name, m := range map[string]*Message{
					"message": sample(language), "end": ended(language),
					"test": {Source: "gw", Receiver: receiver.Name, Language: language, Test: true, Time: day},
				} {
					said, err := r.send(receiver, m)
					if err != nil || !strings.HasPrefix(said, "HTTP 20") {
						t.Errorf("%s in %s: got %q, %v, want it taken; body %s", name, language, said, err, r.last().body)
					}
				}
			}
		})
	}
}

// A8: nothing that stands in a name or an error calls people, is taken for markup,
// breaks a line or shows a secret.
func TestA8Hostile(t *testing.T) {
	r := newRobots(t)
	for _, receiver := range allReceivers {
		before := r.count()
		if _, err := r.send(receiver, sample(english)); err != nil {
			t.Errorf("%s: %v", receiver.Name, err)
			continue
		}
		r.mu.Lock()
		requests := slices.Clone(r.requests[before:])
		r.mu.Unlock()
		named := false
		for _, req := range requests {
			var texts []string
			if req.json != nil {
				texts = stringsIn(req.json)
			} else {
				form, err := url.ParseQuery(req.body)
				if err != nil {
					t.Fatal(err)
				}
				texts = append(texts, form.Get("title"), form.Get("desp"))
			}
			all := strings.Join(texts, "\x00")
			for _, secret := range []string{"canary", "hunter2", "sk-abcdef", "bob"} {
				if strings.Contains(all, secret) {
					t.Errorf("%s shows %q: %q", receiver.Name, secret, all)
				}
			}
			named = named || strings.Contains(strings.ReplaceAll(all, "\\", ""), "gpu-1")
			if receiver.Type == "webhook" {
				continue // JSON for programs is not escaped
			}
			for _, call := range []string{"@all", "@everyone", "@channel", "<!", "<at", "<@"} {
				if strings.Contains(all, call) {
					t.Errorf("%s could call people by %q: %q", receiver.Name, call, all)
				}
			}
			if strings.Contains(all, "gpu-1\n") || strings.Contains(all, "\r") {
				t.Errorf("%s: a name breaks a line: %q", receiver.Name, all)
			}
			if strings.HasPrefix(receiver.Name, "discord") || strings.HasPrefix(receiver.Name, "serverchan") {
				for _, markup := range []string{" *bold", " _x_", " `code", "[a](http", " # head"} {
					if strings.Contains(all, markup) {
						t.Errorf("%s reads %q as markup: %q", receiver.Name, markup, all)
					}
				}
			}
		}
		if !named {
			t.Errorf("%s: nothing names the instance", receiver.Name)
		}
	}
}

func stringsIn(v any) (all []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		for _, e := range v {
			all = append(all, stringsIn(e)...)
		}
	case map[string]any:
		for _, e := range v {
			all = append(all, stringsIn(e)...)
		}
	}
	return all
}

// The signatures of DingTalk and Feishu, which swap key and message. The wanted
// values come from openssl:
//
//	printf '1577262236757\nthis is secret' | openssl dgst -sha256 -hmac 'this is secret' -binary | base64
//	printf '' | openssl dgst -sha256 -mac HMAC -macopt hexkey:$(printf '1599360473\nSECdemo+/=secret' | od -An -tx1 | tr -d ' \n') -binary | base64
func TestSignatures(t *testing.T) {
	if got, want := dingTalkSign("this is secret", 1577262236757), "hmPWwU+7lVdm3ZZz0r9tSfx0L4Q26jWOZr9+Gs6EZQM="; got != want {
		t.Errorf("DingTalk: got %s, want %s", got, want)
	}
	if got, want := feishuSign("SECdemo+/=secret", 1599360473), "BPAky9P9xYoUO2p6rcC0QJxhIttpyFJjxkDjf9CDEMg="; got != want {
		t.Errorf("Feishu: got %s, want %s", got, want)
	}
}

// A4: what receivers answer, and what becomes of the message. Robots answer 200 on
// failure.
func TestA4Answers(t *testing.T) {
	r := newRobots(t)
	f := func(name string, status int, header, body string, permanent bool, rest time.Duration, want string) {
		t.Helper()
		i := slices.IndexFunc(allReceivers, func(r Receiver) bool { return r.Name == name })
		r.instead = func(w http.ResponseWriter, _ int) bool {
			if key, value, ok := strings.Cut(header, ": "); ok {
				w.Header().Set(key, value)
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
			return true
		}
		_, err := r.send(allReceivers[i], sample(english))
		got, ok := errors.AsType[*failure](err)
		if !ok {
			t.Errorf("%s, %d %s: got error %v, want a failure", name, status, body, err)
			return
		}
		if got.permanent != permanent || (got.rest-rest).Abs() > 2*time.Second || !strings.Contains(got.Error(), want) {
			t.Errorf("%s, %d %s: got %q, permanent %v, rest %v, want %q, %v, %v", name, status, body, got.Error(), got.permanent, got.rest, want, permanent, rest)
		}
	}
	f("dingtalk", 200, "", `{"errcode":310000,"errmsg":"sign not match"}`, false, 0, "errcode 310000: sign not match")
	f("dingtalk", 200, "", `{"errcode":130101,"errmsg":"send too fast"}`, false, 10*time.Minute, "errcode 130101")
	f("feishu", 200, "", `{"code":19021,"msg":"sign match fail"}`, false, 0, "code 19021: sign match fail")
	f("feishu", 200, "", `{"StatusCode":1,"StatusMessage":"no"}`, false, 0, "StatusCode 1: no")
	f("feishu", 400, "", `{"code":11232,"msg":"too fast"}`, true, 0, "HTTP 400")
	f("feishu", 200, "", `{"code":11232,"msg":"too fast"}`, false, time.Minute, "code 11232")
	f("wecom", 200, "", `{"errcode":45009,"errmsg":"api freq out of limit"}`, false, time.Minute, "errcode 45009")
	f("wecom", 200, "", `{"errcode":93000,"errmsg":"invalid webhook url"}`, false, 0, "errcode 93000")
	f("wecom", 200, "", `<html>maintenance</html>`, false, 0, "no JSON object")
	f("wecom", 200, "", `{}`, false, 0, "no errcode")
	f("wecom", 200, "", ``, false, 0, "no JSON object")
	f("pushplus", 200, "", `{"code":903,"msg":"无效的用户token"}`, false, 0, "code 903: 无效的用户token")
	f("pushplus", 200, "", `{"code":900,"msg":"用户账号使用受限"}`, false, untilMidnight(time.Now()).Round(time.Second), "code 900")
	f("pushplus", 200, "", `{"code":500,"msg":"x"}`, false, 0, "code 500")
	f("serverchan", 200, "", `{"code":40001,"message":"bad key"}`, false, 0, "code 40001: bad key")
	f("slack-bot", 200, "", `{"ok":false,"error":"channel_not_found"}`, false, 0, "channel_not_found")
	f("slack-bot", 200, "", `{"ok":false,"error":"ratelimited"}`, false, time.Minute, "ratelimited")
	f("telegram", 200, "", `{"ok":false}`, false, 0, "does not say ok")
	f("telegram", 429, "", `{"ok":false,"parameters":{"retry_after":35}}`, false, 35*time.Second, "HTTP 429")
	f("teams-old", 200, "", `Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429`, false, 0, "HTTP error 429")
	f("discord", 429, "Retry-After: 2.5", `{"message":"You are being rate limited."}`, false, 3*time.Second, "HTTP 429")
	f("slack", 429, "Retry-After: 30", ``, false, 30*time.Second, "HTTP 429")
	f("slack", 429, "", ``, false, time.Minute, "HTTP 429")
	f("slack", 404, "", `no_service`, true, 0, "HTTP 404: no_service")
	f("webhook", 500, "", `oops`, false, 0, "HTTP 500: oops")
	f("webhook", 503, "Retry-After: 20", ``, false, 20*time.Second, "HTTP 503")
	f("webhook", 503, "", ``, false, 0, "HTTP 503")
	f("webhook", 302, "Location: https://elsewhere.example/", ``, true, 0, "redirects are not followed")
	f("webhook", 307, "Location: /other", ``, true, 0, "redirects are not followed")
	if host := r.last().host; host != "hook.example" {
		t.Errorf("after a redirect: got a request to %s, want none", host)
	}
}

// PushPlus begins its day at midnight in China.
func TestUntilMidnight(t *testing.T) {
	if got, want := untilMidnight(time.Date(2026, 3, 14, 15, 0, 0, 0, time.UTC)), time.Hour+time.Minute; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A4: errors of the connection are failures without the URL, answers are read to a
// bound, and nothing waits for ever.
func TestA4Connection(t *testing.T) {
	secret := "slacksecret0123456789"
	receiver := Receiver{URL: "slack://hook:T000-B000-" + secret + "@webhook"}
	f := func(name string, client *http.Client, want string) {
		t.Helper()
		ch, _, err := receiver.channel(client)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err = ch.send(t.Context(), sample(english))
		got, ok := errors.AsType[*failure](err)
		if !ok || got.permanent || !strings.Contains(got.Error(), want) || strings.Contains(got.Error(), secret) || strings.Contains(got.Error(), "/services") {
			t.Errorf("%s: got %v, want a failure for now with %q and without the address", name, err, want)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
	}
	// A certificate that nobody signed.
	r := newRobots(t)
	r.client.Transport.(*http.Transport).TLSClientConfig.RootCAs = nil
	f("untrusted certificate", r.client, "certificate")
	if r.count() != 0 {
		t.Error("a receiver that cannot be trusted was sent something")
	}
	// One for another host.
	r = newRobots(t)
	r.client.Transport.(*http.Transport).TLSClientConfig.ServerName = ""
	f("certificate for another host", r.client, "certificate")
	// No answer in time.
	r = newRobots(t)
	stop := make(chan struct{})
	r.instead = func(http.ResponseWriter, int) bool { <-stop; return true }
	r.client.Timeout = 100 * time.Millisecond
	f("no answer", r.client, "Client.Timeout")
	close(stop)
	// Nobody there.
	r = newRobots(t)
	r.server.Close()
	f("refused", r.client, "refused")
	// A hang-up in the middle of the answer.
	r = newRobots(t)
	r.instead = func(w http.ResponseWriter, _ int) bool {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "o")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	f("hung up", r.client, "reading the answer")
}

// An answer without end is read to 64 KiB and not further.
func TestBoundedAnswer(t *testing.T) {
	r := newRobots(t)
	wrote := make(chan int, 1)
	r.instead = func(w http.ResponseWriter, _ int) bool {
		n := 0
		chunk := []byte(strings.Repeat("x", 32<<10))
		for n < 512<<20 {
			k, err := w.Write(chunk)
			n += k
			if err != nil {
				break
			}
		}
		wrote <- n
		return true
	}
	if _, err := r.send(allReceivers[slices.IndexFunc(allReceivers, func(r Receiver) bool { return r.Name == "wecom" })], sample(english)); err == nil {
		t.Error("got no error, want one")
	}
	if n := <-wrote; n > 64<<20 {
		t.Errorf("the receiver could write %d bytes, want it to be cut off", n)
	}
}

// A4: over the real path: a robot that answers 200 with a code fails three times,
// and is told then, once. No request waits for it.
func TestA4EndToEnd(t *testing.T) {
	r := newRobots(t)
	r.instead = func(w http.ResponseWriter, n int) bool {
		if n > 3 {
			return false
		}
		_, _ = io.WriteString(w, `{"errcode":310000,"errmsg":"sign not match"}`)
		return true
	}
	cfg := Defaults()
	cfg.GroupWait = 0
	cfg.Receivers = []Receiver{allReceivers[0]}
	m := New(Options{Dir: t.TempDir(), client: r.client, backoff: time.Millisecond})
	if err := m.Set(Settings{Config: cfg}); err != nil {
		t.Fatal(err)
	}
	m.Signal(Signal{Kind: InstanceEjected, Instance: "gpu-1", Active: true, Cause: "refused"})
	for deadline := time.Now().Add(10 * time.Second); m.Stats().Receivers[0].Sent == 0; {
		if time.Now().After(deadline) {
			t.Fatalf("not delivered: %+v", m.Stats())
		}
		time.Sleep(5 * time.Millisecond)
	}
	if s := m.Stats().Receivers[0]; s.Sent != 1 || s.Errors != 3 {
		t.Errorf("stats: got %+v, want 1 sent after 3 errors", s)
	}
	if err := m.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if n := r.count(); n != 4 {
		t.Errorf("requests: got %d, want 4", n)
	}
}

// What an existing receiver of Alertmanager reads: status, labels, times, and the
// end with its time.
func TestWebhookBody(t *testing.T) {
	m := sample(english)
	m.Groups = m.Groups[1:]
	text, err := json.Marshal(m.perGroup()[0].webhook())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"version":"4","groupKey":"{}:{alertname=\"pool_empty\", gateway=\"gw\"}","truncatedAlerts":0,"status":"resolved","receiver":"ops",` +
		`"groupLabels":{"alertname":"pool_empty","gateway":"gw"},` +
		`"commonLabels":{"alertname":"pool_empty","gateway":"gw","model":"qwen3","severity":"critical"},` +
		`"commonAnnotations":{"count":"1","description":"","summary":"No instance left"},"externalURL":"",` +
		`"alerts":[{"status":"resolved","labels":{"alertname":"pool_empty","gateway":"gw","model":"qwen3","severity":"critical"},` +
		`"annotations":{"count":"1","description":"","summary":"No instance left"},` +
		`"startsAt":"2026-03-14T15:00:00Z","endsAt":"2026-03-14T16:00:00Z","generatorURL":"","fingerprint":"` + m.webhook().Alerts[0].Fingerprint + `"}]}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

// PagerDuty and Opsgenie open an incident by kind and close it under the same name.
func TestIncidents(t *testing.T) {
	r := newRobots(t)
	for name, read := range map[string]func(request) (key string, closes bool){
		"pagerduty": func(r request) (string, bool) { return r.get("dedup_key"), r.get("event_action") == "resolve" },
		"opsgenie": func(r request) (string, bool) {
			if key, ok := strings.CutSuffix(strings.TrimPrefix(r.path, "/v2/alerts/"), "/close"); ok {
				return key, true
			}
			return r.get("alias"), false
		},
	} {
		before := r.count()
		i := slices.IndexFunc(allReceivers, func(r Receiver) bool { return r.Name == name })
		if _, err := r.send(allReceivers[i], sample(english)); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, req := range r.requests[before:] {
			key, closes := read(req)
			got = append(got, fmt.Sprint(key, " ", closes))
		}
		want := []string{"caddy-ai-gateway:gw:instance_ejected false", "caddy-ai-gateway:gw:pool_empty true"}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// The library's services work behind the same interface, and one that hangs is left
// behind within its time.
func TestLibrary(t *testing.T) {
	got := make(chan string, 10)
	stop := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/hooks/hangs" {
			<-stop
		}
		got <- r.URL.Path + " " + string(body)
	}))
	defer server.Close()
	host := server.Listener.Addr().(*net.TCPAddr).String()
	ch, _, err := (&Receiver{URL: "mattermost://bot@" + host + "/tokentokentoken?disabletls=yes"}).channel(newClient())
	if err != nil {
		t.Fatal(err)
	}
	if said, err := ch.send(t.Context(), sample(english)); err != nil || said != "accepted" {
		t.Fatalf("got %q, %v, want it accepted", said, err)
	}
	if text := <-got; !strings.HasPrefix(text, "/hooks/tokentokentoken ") || !strings.Contains(text, "gpu-1") || strings.Contains(text, "canary") {
		t.Errorf("got %q, want the message at the hook", text)
	}
	ch, _, err = (&Receiver{URL: "mattermost://bot@" + host + "/hangs?disabletls=yes"}).channel(newClient())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := ch.send(ctx, sample(english)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one that hangs: got %v, want %v", err, context.DeadlineExceeded)
	}
	if _, err := ch.send(t.Context(), sample(english)); err == nil || !strings.Contains(err.Error(), "still hangs") {
		t.Errorf("the next one: got %v, want it refused while the first hangs", err)
	}
	close(stop)
	<-got
}
