package sharegpt

import "github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"

// readContent reads the content of a message: a text, or parts of which texts and
// placeholders are joined by line feeds.
func (p *Projector) readContent(m *message, content []byte) {
	p.readContentInto(m, &m.content, content)
}

// readContentInto reads content into text, which belongs to m.
func (p *Projector) readContentInto(m *message, text *[]byte, content []byte) {
	switch {
	case rawjson.IsString(content):
		*text = p.appendText(*text, content)
	case rawjson.IsObject(content): // a tool's answer that nobody has encoded
		*text = p.appendJSON(*text, content)
	case rawjson.IsArray(content):
		// Results of tools come first, whatever their place, and so do their media.
		start := len(*text)
		for e := rawjson.Array(content); e.Next(); {
			if partKind(e.Value) == "tool_result" {
				p.readResult(m, e.Value)
			}
		}
		for e := rawjson.Array(content); e.Next(); {
			p.readPart(m, text, start, e.Value)
		}
	}
}

func partKind(part []byte) string {
	kind := ""
	for w := rawjson.Object(part); w.Next(); {
		if string(w.Key) == "type" {
			kind = rawjson.Text(w.Value)
		}
	}
	return kind
}

// readPart reads one part of a content whose text begins at start.
func (p *Projector) readPart(m *message, text *[]byte, start int, part []byte) {
	if rawjson.IsString(part) {
		p.joinText(text, start, part)
		return
	}
	switch kind := partKind(part); kind {
	case "text", "input_text", "output_text":
		p.joinText(text, start, field(part, "text"))
	case "thinking", "reasoning":
		p.readThinking(m, part)
	case "redacted_thinking", "tool_result":
	case "refusal":
		m.refusal = p.appendText(m.refusal, field(part, "refusal"))
	case "tool_use":
		p.readCall(m, part)
	default:
		medium, url, ok := mediaOf(kind, part)
		if !ok || url == "" || m.role == "assistant" {
			p.conv.flags |= droppedPart
			return
		}
		p.conv.media[medium] = append(p.conv.media[medium], url)
		joint(text, start)
		*text = append(*text, mediaKinds[medium].tag...)
	}
}

// joinText adds a text to those from start on.
func (p *Projector) joinText(text *[]byte, start int, value []byte) {
	if len(value) > 2 {
		joint(text, start)
		*text = p.appendText(*text, value)
	}
}

// joint ends what text has from start on so that more can follow.
func joint(text *[]byte, start int) {
	if len(*text) > start {
		*text = append(*text, '\n')
	}
}

// readResult reads a tool_result block.
func (p *Projector) readResult(m *message, part []byte) {
	var id string
	var content []byte
	for w := rawjson.Object(part); w.Next(); {
		switch string(w.Key) {
		case "tool_use_id":
			id = rawjson.Text(w.Value)
		case "content":
			content = w.Value
		}
	}
	start := len(m.aside)
	p.readContentInto(m, &m.aside, content)
	m.results = append(m.results, result{p.callName(id, ""), start, len(m.aside)})
}

// readThinking adds reasoning: a text, an array of parts, or a part that holds
// either. Encrypted parts have no text.
func (p *Projector) readThinking(m *message, value []byte) {
	switch {
	case rawjson.IsString(value):
		m.reasoning = p.appendText(m.reasoning, value)
	case rawjson.IsArray(value):
		for e := rawjson.Array(value); e.Next(); {
			p.readThinking(m, e.Value)
		}
	case rawjson.IsObject(value):
		for _, name := range []string{"thinking", "text", "summary"} {
			if inner := field(value, name); len(inner) > 2 {
				p.readThinking(m, inner)
				return
			}
		}
	}
}

// field returns the value of a member, nil if there is none.
func field(object []byte, name string) []byte {
	var value []byte
	for w := rawjson.Object(object); w.Next(); {
		if string(w.Key) == name {
			value = w.Value
		}
	}
	return value
}
