package sharegpt

import (
	"bytes"
	"encoding/json"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
)

// message is one message of a request or an answer, of any dialect.
type message struct {
	role, name, callID          string
	content, reasoning, refusal []byte
	encoded                     []byte // content as it stands in the request, in its place
	calls                       []messageCall
	results                     []result // of tools, whose texts are in aside
	aside                       []byte
	prefix                      bool // the answer goes on with it
}

type messageCall struct {
	name      string
	arguments []byte // JSON text as the model wrote it, nil if there are none
}

func (m *message) reset() {
	*m = message{
		content: m.content[:0], reasoning: m.reasoning[:0], refusal: m.refusal[:0],
		calls: m.calls[:0], results: m.results[:0], aside: m.aside[:0],
	}
}

// words returns the content.
func (m *message) words() words {
	if m.encoded != nil {
		return words{m.encoded, true}
	}
	return decoded(m.content)
}

// addModel adds what a model has said: its calls, or its text with the reasoning
// in front.
func (p *Projector) addModel(m *message) {
	if len(m.calls) > 0 {
		if len(bytes.TrimSpace(m.content))+len(bytes.TrimSpace(m.refusal)) > 0 {
			p.conv.flags |= textWithCall
		}
		if len(bytes.TrimSpace(m.reasoning)) > 0 {
			p.conv.flags |= reasoningWithCall
		}
		p.scratch = p.appendCalls(p.scratch[:0], m.calls)
		p.conv.addModel(functionCall, decoded(p.scratch))
		return
	}
	if len(m.refusal) > 0 {
		p.conv.flags |= refused
		if len(m.content) == 0 {
			m.content = append(m.content, m.refusal...)
		}
	}
	p.conv.addModel(gpt, decoded(p.withReasoning(m)))
}

var (
	thinkOpen  = []byte("<think>")
	thinkClose = []byte("</think>")
)

// withReasoning returns the content with the reasoning in front, in the very form
// that LLaMA-Factory and ms-swift look for. Line feeds at the seams, which
// templates of Qwen and llama.cpp leave, belong to that form.
func (p *Projector) withReasoning(m *message) []byte {
	if len(m.reasoning) == 0 {
		// Some templates open the tag in the prompt.
		if end := bytes.Index(m.content, thinkClose); end >= 0 && !bytes.Contains(m.content[:end], thinkOpen) {
			p.scratch = append(append(p.scratch[:0], "<think>\n"...), m.content...)
			return p.scratch
		}
		return m.content
	}
	p.scratch = append(p.scratch[:0], "<think>\n"...)
	p.scratch = append(p.scratch, bytes.Trim(m.reasoning, "\n")...)
	p.scratch = append(p.scratch, "\n</think>\n\n"...)
	p.scratch = append(p.scratch, bytes.TrimLeft(m.content, "\n")...)
	return p.scratch
}

// appendCalls appends one call as an object, several as an array.
func (p *Projector) appendCalls(dst []byte, calls []messageCall) []byte {
	if len(calls) > 1 {
		dst = append(dst, '[')
	}
	for i, call := range calls {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = rawjson.AppendString(append(dst, `{"name":`...), []byte(call.name))
		dst = append(dst, `,"arguments":`...)
		switch arguments := rawjson.Trim(call.arguments); {
		case len(arguments) == 0:
			dst = append(dst, "{}"...)
		case json.Valid(arguments):
			dst = p.appendJSON(dst, arguments)
		default:
			p.conv.flags |= badToolArguments
			dst = rawjson.AppendString(dst, p.edited(bytes.Clone(call.arguments), 0))
		}
		dst = append(dst, '}')
	}
	if len(calls) > 1 {
		dst = append(dst, ']')
	}
	return dst
}

// readMessage reads a message of any dialect.
func (p *Projector) readMessage(m *message, value []byte) {
	var content, long, short, details, refusal []byte
	for w := rawjson.Object(value).With(&p.ends); w.Next(); {
		switch string(w.Key) {
		case "role":
			m.role = rawjson.Text(w.Value)
		case "content":
			content = w.Value
		case "name":
			m.name = rawjson.Text(w.Value)
		case "tool_call_id":
			m.callID = rawjson.Text(w.Value)
		case "reasoning_content":
			long = w.Value
		case "reasoning":
			short = w.Value
		case "reasoning_details":
			details = w.Value
		case "refusal":
			refusal = w.Value
		case "prefix":
			m.prefix = string(w.Value) == "true"
		case "tool_calls":
			for e := rawjson.Array(w.Value); e.Next(); {
				p.readCall(m, e.Value)
			}
		case "function_call":
			if rawjson.IsObject(w.Value) {
				p.readCall(m, w.Value)
			}
		}
	}
	if m.role != "user" && m.role != "system" && m.role != "developer" || !p.verbatim(content) {
		p.readContent(m, content)
	} else {
		m.encoded = content[1 : len(content)-1]
	}
	m.refusal = p.appendText(m.refusal, refusal)
	switch { // one source of several
	case len(long) > 2:
		m.reasoning = p.appendText(m.reasoning[:0], long)
	case len(short) > 2:
		m.reasoning = p.appendText(m.reasoning[:0], short)
	case len(m.reasoning) == 0:
		p.readThinking(m, details)
	}
}

// readCall reads a call: of chat, of the older form, of responses, or a block.
func (p *Projector) readCall(m *message, value []byte) {
	var id, name string
	var arguments, other []byte
	read := func(value []byte) {
		for w := rawjson.Object(value); w.Next(); {
			switch string(w.Key) {
			case "id":
				id = rawjson.Text(w.Value)
			case "call_id":
				other = w.Value
			case "name":
				name = rawjson.Text(w.Value)
			case "arguments", "input":
				arguments = w.Value
			}
		}
	}
	read(value)
	for w := rawjson.Object(value); w.Next(); {
		if key := string(w.Key); key == "function" || key == "custom" {
			outer := id
			read(w.Value)
			id = outer
		}
	}
	if len(other) > 2 {
		id = rawjson.Text(other)
	}
	p.calls = append(p.calls, callID{id, name})
	call := messageCall{name: name}
	switch {
	case rawjson.IsNull(arguments):
	case rawjson.IsString(arguments):
		call.arguments, _ = rawjson.AppendText(nil, arguments)
	default:
		call.arguments = arguments
	}
	m.calls = append(m.calls, call)
}
