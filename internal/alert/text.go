package alert

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// maxShown is how many alerts a message names; the rest is a number.
const maxShown = 20

// Message is what a receiver is told at once.
type Message struct {
	Source   string // what the gateway is called
	Receiver string // its name
	Language string // en or zh
	Groups   []Group
	Test     bool // a message that tests the receiver; Groups is empty
	Time     time.Time

	testOver bool // the end of a test, for services that keep books
}

// words are the texts of a language.
type words struct {
	kinds      map[Kind]string
	severities [3]string
	over       string // the tag of a message of nothing but ends
	still      string // of one of nothing new
	test       string // of a test
	testTitle  string
	testText   string // gateway, receiver, time
	once       string // since
	often      string // since, count
	ended      string // how long, since
	more       string // count
	status     string // how many last, how many are over
	known      string // behind an alert that was told before
}

var languages = map[string]*words{
	english: {
		kinds: map[Kind]string{
			InstanceEjected: "Instance out of service", FallbackInUse: "Fallback answers, which costs money", PoolEmpty: "No instance left",
			KeyRefused: "Key refused", ModelMissing: "Model missing on instance", ConfigRejected: "Config file rejected",
			RecordsDropped: "Records are being dropped", DiskLow: "Disk nearly full", ErrorRate: "Too many errors",
			SlowFirstToken: "Slow first token", BudgetNear: "Budget nearly used up", BudgetOver: "Budget used up",
		},
		severities: [3]string{"INFO", "WARNING", "CRITICAL"},
		over:       "RESOLVED",
		still:      "STILL",
		test:       "TEST",
		testTitle:  "Test message, nothing is wrong",
		testText:   "Gateway %s reaches receiver %s. Sent %s.",
		once:       "since %s",
		often:      "since %s, %d times",
		ended:      "over after %s, since %s",
		more:       "… and %d more",
		status:     "%d active, %d resolved",
		known:      " (known)",
	},
	chinese: {
		kinds: map[Kind]string{ //nolint:gosec // words about keys and tokens, none of them secret
			InstanceEjected: "实例已摘除", FallbackInUse: "正在使用兜底实例（产生费用）", PoolEmpty: "模型已无可用实例",
			KeyRefused: "密钥被拒绝", ModelMissing: "实例缺少模型", ConfigRejected: "配置文件无效",
			RecordsDropped: "对话记录丢失", DiskLow: "磁盘空间不足", ErrorRate: "错误率过高",
			SlowFirstToken: "首个 token 过慢", BudgetNear: "预算即将用尽", BudgetOver: "预算已用尽",
		},
		severities: [3]string{"提示", "警告", "严重"},
		over:       "已恢复",
		still:      "仍未恢复",
		test:       "测试",
		testTitle:  "测试消息，一切正常",
		testText:   "网关 %s 可以送达接收者 %s，发送于 %s。",
		once:       "始于 %s",
		often:      "始于 %s，共 %d 次",
		ended:      "已恢复，持续 %s，始于 %s",
		more:       "……另有 %d 个",
		status:     "%d 个持续，%d 个已恢复",
		known:      "（已通知）",
	},
}

func (m *Message) words() *words {
	if w := languages[m.Language]; w != nil {
		return w
	}
	return languages[english]
}

// style is how a service reads texts: what must be escaped, and how long they may be.
type style struct {
	escape func(string) string
	size   func(string) int // bytes unless set
	limit  int
	joint  string // between lines, "\n" unless set
}

// plain is a text that is shown as it is.
var plain = style{escape: defuse}

// markdown is text in which backslashes keep signs from being markup.
var markdown = style{escape: func(s string) string { return markdownSigns.Replace(defuse(s)) }, joint: "\n\n"}

var markdownSigns = func() *strings.Replacer {
	var pairs []string
	for _, c := range "\\`*_{}[]()#+-.!|~>" {
		pairs = append(pairs, string(c), "\\"+string(c))
	}
	return strings.NewReplacer(append(pairs, "<", "\\<")...)
}()

// defuse keeps @all, <@user>, <at …> and the like from calling anybody: nothing
// stands directly behind an @, nor behind a < that a letter or sign follows.
func defuse(s string) string { return mentions.Replace(s) }

var mentions = strings.NewReplacer("@", "@\u200b", "＠", "＠\u200b", "<", "<\u200b")

// utf16Size is the length as Telegram and JavaScript count it.
func utf16Size(s string) int { return len(utf16.Encode([]rune(s))) }

func (s style) sized(text string) int {
	if s.size != nil {
		return s.size(text)
	}
	return len(text)
}

// cut shortens text to the limit, between characters.
func (s style) cut(text string, limit int) string {
	if limit <= 0 || s.sized(text) <= limit {
		return text
	}
	const ellipsis = "…"
	budget := limit - s.sized(ellipsis)
	end := 0
	for i, r := range text {
		if budget -= s.sized(string(r)); budget < 0 {
			break
		}
		end = i + utf8.RuneLen(r)
	}
	// A backslash that lost its sign would escape what follows.
	return strings.TrimRight(text[:end], "\\") + ellipsis
}

// severity returns the worst of what the message tells.
func (m *Message) severity() (worst Severity) {
	for i := range m.Groups {
		if m.Groups[i].lasting() > 0 {
			worst = max(worst, m.Groups[i].severity())
		}
	}
	return worst
}

// over reports whether all that the message tells of is over.
func (m *Message) over() bool {
	if m.Test {
		return m.testOver
	}
	return !slices.ContainsFunc(m.Groups, func(g Group) bool { return g.lasting() > 0 })
}

// reminder reports whether the message tells nothing new.
func (m *Message) reminder() bool {
	return !slices.ContainsFunc(m.Groups, func(g Group) bool { return g.news() })
}

// tag is the word that a title begins with.
func (m *Message) tag() string {
	w := m.words()
	switch {
	case m.Test:
		return w.test
	case m.over():
		return w.over
	case m.reminder():
		return w.still + " · " + w.severities[m.severity()-1]
	default:
		return w.severities[m.severity()-1]
	}
}

// title returns one line of at most limit in the style's measure; 0 is no limit.
func (m *Message) title(s style, limit int) string {
	w := m.words()
	parts := []string{w.testTitle}
	if !m.Test {
		parts = parts[:0]
		for i := range m.Groups {
			g := &m.Groups[i]
			n := g.lasting()
			if n == 0 {
				if !m.over() {
					continue // the ends stand in the text
				}
				n = len(g.Alerts)
			}
			part := s.escape(w.kinds[g.Kind])
			if n > 1 {
				part += fmt.Sprintf(" ×%d", n)
			} else if about := g.Alerts[g.shown()].about(); about != "" {
				part += ": " + s.escape(about)
			}
			parts = append(parts, part)
		}
	}
	return s.cut("["+m.tag()+"] "+strings.Join(parts, "; ")+" · "+s.escape(m.Source), limit)
}

// shown returns the index of the alert that stands for the group in a title.
func (g *Group) shown() int {
	return max(0, slices.IndexFunc(g.Alerts, func(a Alert) bool { return !a.Over() }))
}

// about names the alert's subject.
func (a *Alert) about() string {
	switch {
	case a.Instance != "" && a.Model != "":
		return a.Instance + " [" + a.Model + "]"
	default:
		return a.Instance + a.Model
	}
}

// text returns all that the message tells, within the style's limit: where it would
// be longer, fewer alerts are named.
func (m *Message) text(s style) string {
	joint := s.joint
	if joint == "" {
		joint = "\n"
	}
	var text string
	for _, n := range []int{maxShown, 10, 5, 3, 1, 0} {
		text = strings.Join(m.lines(s, n), joint)
		if s.limit <= 0 || s.sized(text) <= s.limit {
			return text
		}
	}
	return s.cut(text, s.limit)
}

// lines returns the text with at most n alerts named.
func (m *Message) lines(s style, n int) []string {
	w := m.words()
	if m.Test {
		return []string{s.escape(fmt.Sprintf(w.testText, m.Source, m.Receiver, stamp(m.Time)))}
	}
	var lines []string
	left := n
	for i := range m.Groups {
		g := &m.Groups[i]
		over := len(g.Alerts) - g.lasting()
		head := s.escape(w.kinds[g.Kind])
		if len(g.Alerts) > 1 {
			head += " (" + fmt.Sprintf(w.status, g.lasting(), over) + ")"
		}
		lines = append(lines, head)
		// Groups further down get to name one each.
		share := min(len(g.Alerts), max(0, left-(len(m.Groups)-1-i)))
		for j := range share {
			lines = append(lines, "- "+g.Alerts[j].line(w, s, m.Time.Location()))
		}
		left -= share
		if rest := len(g.Alerts) - share; rest > 0 {
			lines = append(lines, "- "+fmt.Sprintf(w.more, rest))
		}
	}
	return lines
}

// line tells of one alert.
func (a *Alert) line(w *words, s style, in *time.Location) string {
	about := a.about()
	if about != "" {
		about += ": "
	}
	since := stamp(a.Since.In(in))
	if a.Over() {
		return s.escape(about + fmt.Sprintf(w.ended, lasted(a.Until.Sub(a.Since)), since))
	}
	text := about + fmt.Sprintf(w.once, since)
	if a.Count > 1 {
		text = about + fmt.Sprintf(w.often, since, a.Count)
	}
	if !a.New {
		text += w.known
	}
	if a.Cause != "" {
		text += ": " + shorten(a.Cause, 200)
	}
	return s.escape(text)
}

// stamp returns a time with its offset.
func stamp(t time.Time) string { return t.Format("2006-01-02 15:04:05 -07:00") }

// lasted returns a time for people: whole seconds, or minutes from an hour on.
func lasted(d time.Duration) string {
	if d >= time.Hour {
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return max(d, 0).Round(time.Second).String()
}
