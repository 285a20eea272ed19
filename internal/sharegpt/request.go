package sharegpt

import (
	"strconv"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
)

// fields are the members of a request that matter, as they stand.
type fields struct {
	messages, prompt, input, system, tools, functions []byte
	model                                             []byte
	params                                            []member // all others
	n                                                 int
	echo, goOn, partial                               bool
}

type member struct{ name, value []byte }

func (f *fields) read(body []byte, ends *rawjson.Ends) {
	*f = fields{params: f.params[:0]}
	for m := rawjson.Object(body).With(ends); m.Next(); {
		switch string(m.Key) {
		case "messages":
			f.messages = m.Value
			continue
		case "prompt":
			// Of responses it names a template that only the server knows.
			f.partial = f.partial || rawjson.IsObject(m.Value)
			f.prompt = m.Value
			continue
		case "input":
			f.input = m.Value
			continue
		case "system", "instructions":
			if !rawjson.IsNull(m.Value) {
				f.system = m.Value
			}
			continue
		case "tools":
			f.tools = m.Value
			continue
		case "functions":
			f.functions = m.Value
			continue
		case "stream":
			continue
		case "model":
			f.model = m.Value
			continue
		case "n":
			f.n, _ = strconv.Atoi(string(m.Value))
		case "echo":
			f.echo = string(m.Value) == "true"
		case "continue_final_message":
			f.goOn = string(m.Value) == "true"
		case "previous_response_id", "conversation":
			f.partial = f.partial || !rawjson.IsNull(m.Value)
		}
		f.params = append(f.params, member{m.Key, m.Value})
	}
}

// readSystem reads the instructions that stand beside the messages: a text, or
// blocks of text.
func (p *Projector) readSystem(value []byte) {
	if rawjson.IsNull(value) {
		return
	}
	p.msg.reset()
	p.readContent(&p.msg, value)
	p.conv.addSystem(p.msg.words())
}

// readMessages reads the messages of chat or of Anthropic's dialect.
func (p *Projector) readMessages(messages []byte, d openai.Dialect) {
	walk := rawjson.Array(messages).With(&p.ends)
	for more := walk.Next(); more; {
		value := walk.Value
		more = walk.Next()
		p.msg.reset()
		p.readMessage(&p.msg, value)
		m := &p.msg
		if !more && m.role == "assistant" && len(m.calls) == 0 && (m.prefix || p.request.goOn || d == openai.Messages) {
			p.msg, p.holder = p.holder, p.msg
			p.held = &p.holder
			continue
		}
		p.addMessage(m)
	}
}

// addMessage adds a message to the conversation.
func (p *Projector) addMessage(m *message) {
	for _, r := range m.results {
		p.conv.addResult(r.name, m.aside[r.start:r.end])
	}
	switch m.role {
	case "system", "developer":
		p.conv.addSystem(m.words())
	case "assistant":
		p.addModel(m)
	case "tool", "function":
		p.conv.addResult(p.callName(m.callID, m.name), m.content)
	case "user":
		if len(m.results) > 0 && len(m.words().text) == 0 {
			return // more results may follow
		}
		p.conv.addUser(m.words())
	default:
		p.conv.flags |= unknownRole
		p.conv.addUser(m.words())
	}
}

// callName returns the name of the call with that id, else the other name.
func (p *Projector) callName(id, name string) string {
	for i := len(p.calls) - 1; i >= 0 && id != ""; i-- {
		if p.calls[i].id == id {
			return p.calls[i].name
		}
	}
	return name
}

// readResponses reads the input of responses. The items that the model wrote one
// behind the other (reasoning, text, calls) are one turn.
func (p *Projector) readResponses(f *fields) {
	if f.partial {
		p.conv.flags |= partialHistory
	}
	p.readSystem(f.system)
	if rawjson.IsString(f.input) {
		if p.verbatim(f.input) {
			p.conv.addUser(words{f.input[1 : len(f.input)-1], true})
			return
		}
		p.conv.addUser(decoded(p.appendText(nil, f.input)))
		return
	}
	m := &p.msg
	m.reset()
	for e := rawjson.Array(f.input).With(&p.ends); e.Next(); {
		p.readItem(m, e.Value)
	}
	p.endItems(m)
}

// endItems adds the turn that items of the model have made.
func (p *Projector) endItems(m *message) {
	if len(m.content)+len(m.reasoning)+len(m.refusal) > 0 || len(m.calls) > 0 {
		p.addModel(m)
	}
	m.reset()
}

func (p *Projector) readItem(m *message, value []byte) {
	var kind, role string
	var output, content, summary, id []byte
	for w := rawjson.Object(value); w.Next(); {
		switch string(w.Key) {
		case "type":
			kind = rawjson.Text(w.Value)
		case "role":
			role = rawjson.Text(w.Value)
		case "output":
			output = w.Value
		case "content":
			content = w.Value
		case "summary":
			summary = w.Value
		case "call_id":
			id = w.Value
		}
	}
	switch {
	case kind == "reasoning":
		if len(m.content) > 0 || len(m.calls) > 0 {
			p.endItems(m)
		}
		before := len(m.reasoning)
		p.readThinking(m, content)
		if len(m.reasoning) == before {
			p.readThinking(m, summary)
		}
	case kind == "function_call" || kind == "custom_tool_call":
		p.readCall(m, value)
	case kind == "function_call_output" || kind == "custom_tool_call_output":
		p.endItems(m)
		start := len(m.aside)
		p.readContentInto(m, &m.aside, output)
		p.conv.addResult(p.callName(rawjson.Text(id), ""), m.aside[start:])
	case role == "assistant":
		if len(m.content) > 0 || len(m.calls) > 0 {
			p.endItems(m)
		}
		p.readMessage(m, value)
	case kind == "message" || kind == "" && role != "":
		p.endItems(m)
		p.readMessage(m, value)
		p.addMessage(m)
		m.reset()
	case kind == "item_reference":
		p.conv.flags |= partialHistory
	default: // a tool that the server ran
		p.conv.flags |= droppedPart
	}
}
