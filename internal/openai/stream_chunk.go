package openai

import (
	"encoding/json"
	"strconv"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
)

// readChunk reads an event of [Chat] or [Completions].
func (s *Stream) readChunk(data []byte) {
	s.noteUsage(data, 1)
	if !json.Valid(data) {
		s.begun = true // whatever it is, it is for the client to judge
		return
	}
	if data = rawjson.Trim(data); !rawjson.IsObject(data) {
		s.begun = s.begun || !rawjson.IsNull(data)
		return
	}
	var choices []byte
	failed := false
	for m := rawjson.Object(data); m.Next(); {
		switch string(m.Key) {
		case "error":
			failed = failed || !empty(m.Value)
		case "object":
			failed = failed || string(m.Value) == `"error"`
		case "choices":
			choices = m.Value
		}
	}
	if failed {
		s.fail(ErrorStatus(data))
		return
	}
	content := false
	for c := rawjson.Array(choices); c.Next(); {
		content = s.readChoice(c.Value) || content
	}
	if content {
		s.pieces++
	}
	s.begun = s.begun || len(choices) > 0 && !rawjson.IsArray(choices) && !rawjson.IsNull(choices)
}

// readChoice reads a choice of a chunk and reports whether it says something.
func (s *Stream) readChoice(value []byte) (content bool) {
	if !rawjson.IsObject(value) {
		s.begun = s.begun || !rawjson.IsNull(value)
		return false
	}
	index, finished := 0, false
	for m := rawjson.Object(value); m.Next(); {
		switch string(m.Key) {
		case "index":
			n, err := strconv.Atoi(string(m.Value))
			if index = n; err != nil && !rawjson.IsNull(m.Value) {
				s.begun = true
			}
		case "text":
			content = content || !empty(m.Value)
		case "delta":
			content = content || hasContent(m.Value)
		case "finish_reason":
			finished = !empty(m.Value)
		}
	}
	if index < 0 || index >= maxChoices {
		return content
	}
	for len(s.choices) <= index {
		s.choices = append(s.choices, choice{})
	}
	ch := &s.choices[index]
	ch.seen = true
	ch.finished = ch.finished || finished
	s.begun = s.begun || ch.finished || content
	return content
}

// chunkSays reports whether an event of [Chat] or [Completions] has content.
func chunkSays(data []byte) bool {
	for m := rawjson.Object(data); m.Next(); {
		if string(m.Key) != "choices" {
			continue
		}
		for c := rawjson.Array(m.Value); c.Next(); {
			for m := rawjson.Object(c.Value); m.Next(); {
				if string(m.Key) == "text" && !empty(m.Value) || string(m.Key) == "delta" && hasContent(m.Value) {
					return true
				}
			}
		}
	}
	return false
}

// hasContent reports whether a delta says more than whose turn it is. New
// members for new kinds of content keep coming, so all that are not empty count.
func hasContent(delta []byte) bool {
	for m := rawjson.Object(delta); m.Next(); {
		if string(m.Key) != "role" && !empty(m.Value) {
			return true
		}
	}
	return !rawjson.IsObject(delta) && !rawjson.IsNull(delta)
}

// empty reports whether a member says nothing.
func empty(value []byte) bool {
	switch string(value) {
	case "", "null", `""`, "[]", "{}", "false", "0":
		return true
	}
	return false
}
