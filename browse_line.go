package aigateway

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/page"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
)

// The bounds of what is shown of an exchange.
const (
	maxShownName    = 300       // bytes of a name, and of a turn's beginning in a list
	maxShownText    = 256 << 10 // bytes of one text of a conversation
	maxShownTexts   = 2 << 20   // bytes of all
	maxShownTurns   = 400
	maxShownMembers = 100 // of a list: calls of a turn, media, flags
)

// browsedLine is a record's line, its columns as they stand.
type browsedLine struct {
	id, conversations, tools, model, created, finish, meta, request, response []byte
	media                                                                     [][]byte
}

// readLine finds the columns. Nothing is known about the line: it may be no JSON.
func readLine(line []byte) (r browsedLine) {
	for m := rawjson.Object(line); m.Next(); {
		switch string(m.Key) {
		case "id":
			r.id = m.Value
		case "conversations":
			r.conversations = m.Value
		case "tools":
			r.tools = m.Value
		case "model":
			r.model = m.Value
		case "created":
			r.created = m.Value
		case "finish_reason":
			r.finish = m.Value
		case "meta":
			r.meta = m.Value
		case "request":
			r.request = m.Value
		case "response":
			r.response = m.Value
		case "images", "audios", "videos":
			r.media = append(r.media, m.Value)
		}
	}
	return r
}

// recordMeta is the column meta, as far as it is shown.
type recordMeta struct {
	Status   string          `json:"status"`
	Endpoint string          `json:"endpoint"`
	Stream   bool            `json:"stream"`
	Instance string          `json:"instance"`
	Key      string          `json:"key"`
	HTTP     int64           `json:"http"`
	TTFT     int64           `json:"ttft_ms"`
	Latency  int64           `json:"latency_ms"`
	Usage    *page.Usage     `json:"usage"`
	Params   json.RawMessage `json:"params"`
	Flags    []string        `json:"flags"`
	Error    string          `json:"error"`
	Outcome  string          `json:"outcome"`
	Tier     string          `json:"tier"`
	Attempts int64           `json:"attempts"`
}

// match returns the exchange of a line, nil if it is not wanted or no record.
func (s *recordSearch) match(line []byte) *page.Exchange {
	r := readLine(line)
	if !rawjson.IsArray(r.conversations) || !rawjson.IsString(r.meta) {
		s.skipped.NoRecords++
		return nil
	}
	if s.filter.Model != "" && rawjson.Text(r.model) != s.filter.Model {
		return nil
	}
	s.meta, _ = rawjson.AppendText(s.meta[:0], r.meta)
	if want := s.filter.Outcome; want != "" && rawjson.Text(memberOf(s.meta, "status")) != want {
		return nil
	}
	if len(s.needle) > 0 && !s.holds(r.conversations) {
		return nil
	}
	e, _, ok := s.exchange(line, &r)
	if !ok {
		s.skipped.NoRecords++
		return nil
	}
	return &e
}

// holds reports whether a turn has the wanted text, whatever the case of its letters.
func (s *recordSearch) holds(conversations []byte) bool {
	for t := rawjson.Array(conversations); t.Next(); {
		s.text, _ = rawjson.AppendText(s.text[:0], memberOf(t.Value, "value"))
		if s.lower = appendLower(s.lower[:0], s.text); bytes.Contains(s.lower, s.needle) {
			return true
		}
	}
	return false
}

// appendLower appends text in lower case.
func appendLower(dst, text []byte) []byte {
	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf {
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			dst = append(dst, c)
			i++
			continue
		}
		r, size := utf8.DecodeRune(text[i:])
		dst = utf8.AppendRune(dst, unicode.ToLower(r))
		i += size
	}
	return dst
}

// exchange reads what a line tells beside its conversation; s.meta holds its meta.
func (s *recordSearch) exchange(line []byte, r *browsedLine) (e page.Exchange, m recordMeta, ok bool) {
	if !json.Valid(line) || json.Unmarshal(s.meta, &m) != nil || m.Status == "" {
		return e, m, false
	}
	var created int64
	if json.Unmarshal(r.created, &created) != nil {
		return e, m, false
	}
	e = page.Exchange{
		ID: beginning(r.id), Time: time.Unix(created, 0).UTC(), Model: beginning(r.model), Finish: beginning(r.finish),
		Instance: short(m.Instance), Status: short(m.Status), Outcome: short(m.Outcome), Endpoint: short(m.Endpoint), Stream: m.Stream, HTTP: m.HTTP,
		TTFT: m.TTFT, Latency: m.Latency, Usage: m.Usage, Key: short(m.Key), Tier: short(m.Tier), Attempts: m.Attempts, Error: short(m.Error),
	}
	for _, flag := range m.Flags[:min(len(m.Flags), maxShownMembers)] {
		e.Flags = append(e.Flags, short(flag))
	}
	var asked, answered []byte
	for t := rawjson.Array(r.conversations); t.Next(); e.Turns++ {
		answered = memberOf(t.Value, "value")
		if rawjson.Text(memberOf(t.Value, "from")) == "human" {
			asked = answered
		}
	}
	s.text, _ = rawjson.AppendText(s.text[:0], answered)
	_, said := splitReasoning(s.text)
	e.Asked, e.Answered = beginning(asked), short(string(said[:min(len(said), 2*maxShownName)]))
	return e, m, true
}

// beginning returns the text of a JSON string, or what it begins with.
func beginning(value []byte) string {
	if !rawjson.IsString(value) {
		return ""
	}
	value = value[1:max(1, len(value)-1)]
	text, _ := rawjson.AppendUnescaped(nil, value[:min(len(value), 2*maxShownName)])
	return short(string(text))
}

// short returns a text, or the beginning of a long one.
func short(text string) string {
	if len(text) <= maxShownName {
		return text
	}
	return string(wholeRunes([]byte(text[:maxShownName]))) + "…"
}

// wholeRunes leaves out a character that has been cut at the end.
func wholeRunes(b []byte) []byte {
	for n := 1; n <= min(len(b), utf8.UTFMax); n++ {
		if utf8.RuneStart(b[len(b)-n]) {
			if !utf8.FullRune(b[len(b)-n:]) {
				return b[:len(b)-n]
			}
			break
		}
	}
	return b
}

// splitReasoning splits a turn of the model as the recorder joins it.
func splitReasoning(text []byte) (reasoning, said []byte) {
	if rest, ok := bytes.CutPrefix(text, []byte("<think>\n")); ok {
		if inside, after, ok := bytes.Cut(rest, []byte("\n</think>\n\n")); ok {
			return inside, after
		}
	}
	return nil, text
}

// conversation reads all that is shown of a line, nil if it is no record.
func (s *recordSearch) conversation(line []byte) *page.Conversation {
	r := readLine(line)
	if !rawjson.IsArray(r.conversations) {
		return nil
	}
	s.meta, _ = rawjson.AppendText(s.meta[:0], r.meta)
	e, m, ok := s.exchange(line, &r)
	if !ok {
		return nil
	}
	cut := shearer{left: maxShownTexts}
	c := &page.Conversation{Exchange: e, Said: make([]page.Turn, 0, min(e.Turns, maxShownTurns))}
	c.Earlier = max(0, e.Turns-maxShownTurns)
	n := 0
	for t := rawjson.Array(r.conversations); t.Next(); n++ {
		if n > 0 && n <= c.Earlier {
			continue
		}
		s.text, _ = rawjson.AppendText(s.text[:0], memberOf(t.Value, "value"))
		c.Said = append(c.Said, cut.turn(beginning(memberOf(t.Value, "from")), s.text))
	}
	column := func(value []byte) page.Text {
		s.text, _ = rawjson.AppendText(s.text[:0], value)
		return cut.text(s.text)
	}
	c.Params, c.Tools = cut.text(m.Params), column(r.tools)
	c.Request, c.Response = column(r.request), column(r.response)
	for _, list := range r.media {
		for item := rawjson.Array(list); item.Next() && len(c.Media) < maxShownMembers; {
			c.Media = append(c.Media, beginning(item.Value))
		}
	}
	return c
}

// shearer cuts texts, so that all together have a bound.
type shearer struct{ left int }

func (c *shearer) text(b []byte) page.Text {
	kept := b
	if most := min(maxShownText, c.left); len(b) > most {
		kept = wholeRunes(b[:most])
	}
	c.left -= len(kept)
	return page.Text{Text: strings.ToValidUTF8(string(kept), "\uFFFD"), Left: len(b) - len(kept)}
}

// turn reads a turn's text by its role.
func (c *shearer) turn(role string, text []byte) page.Turn {
	t := page.Turn{Role: role}
	switch {
	case role == "function_call" && isCalls(text):
		text = rawjson.Trim(text)
		if rawjson.IsObject(text) {
			t.Calls = append(t.Calls, c.call(text))
			return t
		}
		for call := rawjson.Array(text); call.Next() && len(t.Calls) < maxShownMembers; {
			t.Calls = append(t.Calls, c.call(call.Value))
		}
		return t
	case role == "gpt":
		var reasoning []byte
		reasoning, text = splitReasoning(text)
		t.Reasoning = c.text(reasoning)
	}
	t.Text = c.text(text)
	return t
}

func (c *shearer) call(value []byte) page.Call {
	return page.Call{Name: beginning(memberOf(value, "name")), Arguments: c.text(memberOf(value, "arguments"))}
}
