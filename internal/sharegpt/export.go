package sharegpt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
)

// AppendMessages appends to dst what a record's line holds as an object with the
// messages of chat completions, and tools if the record has any:
//
//	{"messages":[{"role":"user","content":"1+1=?"},{"role":"assistant","content":"2"}],"tools":[…]}
//
// Reasoning becomes reasoning_content, placeholders become parts with their URLs,
// calls get the ids call_0, call_1 and so on, and the results of tools name them.
// Empty turns that only keep a record's order are left out, but for the result of a
// call. What the record had lost stays lost. An error says what is wrong with the
// line; nothing has been appended then.
func AppendMessages(dst, line []byte) ([]byte, error) {
	if !json.Valid(line) {
		return dst, fmt.Errorf("reading record: got %d bytes that are no JSON, want an object", len(line))
	}
	e := exporter{dst: append(dst, `{"messages":[`...)}
	var conversations, tools []byte
	for m := rawjson.Object(line); m.Next(); {
		switch string(m.Key) {
		case "conversations":
			conversations = m.Value
		case "tools":
			tools, _ = rawjson.AppendText(nil, m.Value)
		default:
			for i, kind := range mediaKinds {
				if string(m.Key) == kind.column {
					e.media[i] = rawjson.Array(m.Value)
				}
			}
		}
	}
	if !rawjson.IsArray(conversations) {
		return dst, fmt.Errorf("reading record: got no conversations, want a list of turns")
	}
	n := 0
	for t := rawjson.Array(conversations); t.Next(); n++ {
		value, ok := rawjson.AppendText(nil, field(t.Value, "value"))
		if !ok {
			return dst, fmt.Errorf("reading turn %d: value is no text", n)
		}
		if from := rawjson.Text(field(t.Value, "from")); !e.turn(from, value) {
			return dst, fmt.Errorf("reading turn %d: from is %q, want system, human, gpt, function_call or observation", n, from)
		}
	}
	e.dst = append(e.dst, ']')
	if rawjson.IsArray(tools) && json.Valid(tools) && len(rawjson.Trim(tools)) > 2 {
		e.dst = rawjson.AppendCompact(append(e.dst, `,"tools":`...), tools, nil)
	}
	return append(e.dst, '}'), nil
}

// exporter writes the messages of one record.
type exporter struct {
	dst   []byte
	media [len(mediaKinds)]rawjson.Walk
	first bool // a message has been written
	ids   int  // calls that have got an id
	open  int  // calls of the last turn, which wait for their results
}

// turn writes a turn and reports whether its role is known.
func (e *exporter) turn(from string, value []byte) bool {
	switch from {
	case "system":
		e.message("system", value)
	case "human":
		if len(value) > 0 {
			e.message("user", value)
		}
	case "gpt":
		e.answer(value)
	case "function_call":
		e.calls(value)
		return true
	case "observation":
		e.results(value)
	default:
		return false
	}
	e.open = 0
	return true
}

// begin opens a message up to its content.
func (e *exporter) begin(role string) {
	if e.first {
		e.dst = append(e.dst, ',')
	}
	e.first = true
	e.dst = append(append(e.dst, `{"role":"`...), role...)
	e.dst = append(e.dst, `","content":`...)
}

// message writes a message that is but a text, or parts of it with media between
// them.
func (e *exporter) message(role string, value []byte) {
	e.begin(role)
	e.content(value)
	e.dst = append(e.dst, '}')
}

// content writes a text, with the media that its placeholders stand for as parts.
func (e *exporter) content(value []byte) {
	start, parts := len(e.dst), false
	for {
		at, kind := nextTag(value)
		if kind < 0 || !e.media[kind].Next() {
			break
		}
		if !parts {
			e.dst = append(e.dst, '[')
			parts = true
		}
		e.textPart(value[:at])
		e.mediaPart(kind, e.media[kind].Value)
		value = value[at+len(mediaKinds[kind].tag):]
	}
	if !parts {
		e.dst = rawjson.AppendString(e.dst[:start], value)
		return
	}
	e.textPart(value)
	e.dst[len(e.dst)-1] = ']'
}

// nextTag returns the place and kind of the first placeholder, -1 if there is
// none.
func nextTag(value []byte) (at, kind int) {
	at, kind = len(value), -1
	for i := range mediaKinds {
		if n := bytes.Index(value, []byte(mediaKinds[i].tag)); n >= 0 && n < at {
			at, kind = n, i
		}
	}
	return at, kind
}

// textPart writes a part without the line feeds that joined it to its neighbours.
func (e *exporter) textPart(text []byte) {
	text = bytes.TrimSuffix(bytes.TrimPrefix(text, []byte("\n")), []byte("\n"))
	if len(text) > 0 {
		e.dst = rawjson.AppendString(append(e.dst, `{"type":"text","text":`...), text)
		e.dst = append(e.dst, '}', ',')
	}
}

func (e *exporter) mediaPart(kind int, url []byte) {
	if kind == audio {
		if format, data, ok := audioData(rawjson.Text(url)); ok {
			e.dst = rawjson.AppendString(append(e.dst, `{"type":"input_audio","input_audio":{"data":`...), []byte(data))
			e.dst = rawjson.AppendString(append(e.dst, `,"format":`...), []byte(format))
			e.dst = append(e.dst, `}},`...)
			return
		}
	}
	name := mediaKinds[kind].name + "_url"
	e.dst = append(append(e.dst, `{"type":"`...), name...)
	e.dst = append(append(e.dst, `","`...), name...)
	e.dst = rawjson.AppendCompact(append(e.dst, `":{"url":`...), url, nil)
	e.dst = append(e.dst, `}},`...)
}

// audioData returns the format and data of a data URL.
func audioData(url string) (format, data string, ok bool) {
	const before, between = "data:audio/", ";base64,"
	rest, found := bytes.CutPrefix([]byte(url), []byte(before))
	if !found {
		return "", "", false
	}
	head, tail, found := bytes.Cut(rest, []byte(between))
	return string(head), string(tail), found
}

// answer writes an assistant's message, with the reasoning in a member of its own.
func (e *exporter) answer(value []byte) {
	var reasoning []byte
	if rest, ok := bytes.CutPrefix(value, []byte("<think>\n")); ok {
		if inside, text, ok := bytes.Cut(rest, []byte("\n</think>\n\n")); ok {
			reasoning, value = inside, text
		}
	}
	e.begin("assistant")
	e.content(value)
	if reasoning != nil {
		e.dst = rawjson.AppendString(append(e.dst, `,"reasoning_content":`...), reasoning)
	}
	e.dst = append(e.dst, '}')
}

// calls writes an assistant's message of one call or several.
func (e *exporter) calls(value []byte) {
	e.begin("assistant")
	e.dst = append(e.dst, `null,"tool_calls":[`...)
	e.open = 0
	value = rawjson.Trim(value)
	if rawjson.IsArray(value) {
		for c := rawjson.Array(value); c.Next(); {
			e.call(c.Value)
		}
	} else {
		e.call(value)
	}
	e.dst = append(e.dst, `]}`...)
}

func (e *exporter) call(value []byte) {
	if e.open > 0 {
		e.dst = append(e.dst, ',')
	}
	e.dst = append(e.dst, `{"id":`...)
	e.dst = e.appendID(e.dst, e.ids)
	e.dst = append(e.dst, `,"type":"function","function":{"name":`...)
	e.dst = rawjson.AppendString(e.dst, []byte(rawjson.Text(field(value, "name"))))
	e.dst = append(e.dst, `,"arguments":`...)
	arguments := field(value, "arguments")
	if rawjson.IsString(arguments) { // they were no JSON
		e.dst = rawjson.AppendCompact(e.dst, arguments, nil)
	} else {
		e.dst = rawjson.AppendString(e.dst, arguments)
	}
	e.dst = append(e.dst, `}}`...)
	e.ids++
	e.open++
}

func (e *exporter) appendID(dst []byte, n int) []byte {
	return append(strconv.AppendInt(append(dst, `"call_`...), int64(n), 10), '"')
}

// results writes the results of the calls before: as many as there were calls, if
// the turn is such a list, else one.
func (e *exporter) results(value []byte) {
	first := e.ids - e.open
	var list [][]byte
	if rawjson.IsArray(value) && json.Valid(value) {
		for r := rawjson.Array(value); r.Next(); {
			list = append(list, r.Value)
		}
	}
	if e.open < 2 || len(list) != e.open {
		e.result(first, value)
		return
	}
	for i, r := range list {
		text, ok := rawjson.AppendText(nil, field(r, "content"))
		if !ok {
			text = r
		}
		e.result(first+i, text)
	}
}

func (e *exporter) result(id int, value []byte) {
	e.begin("tool")
	e.content(value)
	e.dst = e.appendID(append(e.dst, `,"tool_call_id":`...), id)
	e.dst = append(e.dst, '}')
}
