package alert

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// Secrets of every form are masked, and what is none is left.
func TestMask(t *testing.T) {
	m := newMasker([]string{"upstream-key/+=", "x", "empty"})
	f := func(in, want string) {
		t.Helper()
		if got := m.line(in, maxCause); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	f("GET http://bob:pw@h:1/v1/x?key=1#f: refused", "GET http://h:1/v1/x?***: refused")
	f("redis+tls://:pw@h", "redis+tls://h")
	f("got upstream-key/+= and upstream-key%2F%2B%3D", "got *** and ***")
	f("Authorization: Bearer abc.def-ghi", "Authorization: Bearer ***")
	f(`{"api_key":"abc","model":"m"}`, `{"api_key":"***","model":"m"}`)
	f("password=a secret: b access_token=abcdefgh", "password=*** secret: *** access_token=***")
	f("key sk-proj-0123456789abcdef0 is wrong", "key *** is wrong")
	f("first token: 12s, want 5s; max_tokens=4096000000", "first token: 12s, want 5s; max_tokens=4096000000")
	f("skywork-o1-open-llama-3.1-8b x empty", "skywork-o1-open-llama-3.1-8b x empty")
	f("a\r\nb\x1b[31m\u202ec\u2028d\u0000e\xff", "a b [31m c d e")
	long := m.line(strings.Repeat("名 ", 10000)+"upstream-key/+=", maxCause)
	if n := utf8.RuneCountInString(long); n != maxCause || strings.Contains(long, "upstream") {
		t.Errorf("a long text: got %d characters %q, want %d", n, long, maxCause)
	}
	// A secret where the text is cut is not half shown.
	if got := m.line(strings.Repeat(" ", maxMasked-8)+"upstream-key/+=", maxCause); strings.Contains(got, "upstr") {
		t.Errorf("a cut secret: got %q", got)
	}
}

func TestText(t *testing.T) {
	in := time.FixedZone("", 8*3600)
	m := &Message{Source: "gw", Language: english, Time: day.Add(time.Hour).In(in), Groups: []Group{
		{PoolEmpty, []Alert{{Kind: PoolEmpty, Model: "qwen3", Severity: Critical, Count: 1, Since: day, Cause: "all ejected", New: true}}},
		{InstanceEjected, []Alert{
			{Kind: InstanceEjected, Instance: "a", Model: "qwen3", Severity: Warning, Count: 4, Since: day, Cause: "stall", New: true},
			{Kind: InstanceEjected, Instance: "c", Severity: Warning, Count: 1, Since: day, Until: day.Add(83 * time.Second)},
			{Kind: InstanceEjected, Instance: "b", Severity: Warning, Count: 1, Since: day},
		}},
	}}
	f := func(language, want string) {
		t.Helper()
		m.Language = language
		if got := m.title(plain, 0) + "\n" + m.text(plain); got != want {
			t.Errorf("got:\n%s\nwant:\n%s", got, want)
		}
	}
	f(english, `[CRITICAL] No instance left: qwen3; Instance out of service ×2 · gw
No instance left
- qwen3: since 2026-03-14 23:00:00 +08:00: all ejected
Instance out of service (2 active, 1 resolved)
- a [qwen3]: since 2026-03-14 23:00:00 +08:00, 4 times: stall
- c: over after 1m23s, since 2026-03-14 23:00:00 +08:00
- b: since 2026-03-14 23:00:00 +08:00 (known)`)
	f(chinese, `[严重] 模型已无可用实例: qwen3; 实例已摘除 ×2 · gw
模型已无可用实例
- qwen3: 始于 2026-03-14 23:00:00 +08:00: all ejected
实例已摘除 (2 个持续，1 个已恢复)
- a [qwen3]: 始于 2026-03-14 23:00:00 +08:00，共 4 次: stall
- c: 已恢复，持续 1m23s，始于 2026-03-14 23:00:00 +08:00
- b: 始于 2026-03-14 23:00:00 +08:00（已通知）`)
	for _, kind := range Kinds() {
		for name, w := range languages {
			if w.kinds[kind] == "" {
				t.Errorf("no words in %s for %s", name, kind)
			}
		}
	}
}

// However long the names, a text stays within its limit, in whole characters.
func TestTextLimits(t *testing.T) {
	m := sample(chinese)
	for _, s := range []style{plain, markdown, {escape: defuse, size: utf16Size}} {
		for limit := 4; limit < 12000; limit += 97 {
			s.limit = limit
			if text := m.text(s); s.sized(text) > limit || !utf8.ValidString(text) {
				t.Fatalf("limit %d: got %d, valid %v", limit, s.sized(text), utf8.ValidString(text))
			}
			if title := m.title(s, limit); s.sized(title) > limit || !utf8.ValidString(title) {
				t.Fatalf("limit %d: got a title of %d", limit, s.sized(title))
			}
		}
	}
}
