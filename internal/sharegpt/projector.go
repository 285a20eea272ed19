package sharegpt

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/splice"
)

// Projector turns exchanges into records. It keeps its buffers from one to the
// next and is not safe for concurrent use.
type Projector struct {
	options Options
	edit    func([]byte) []byte // redacts, nil if nothing is to be changed

	request fields
	ends    rawjson.Ends // of the request's strings
	conv    conversation
	escape  bool // placeholders in ordinary text are to be escaped
	tools   []byte
	calls   []callID // calls of the request, by which results get their names
	held    *message // the message that the answer goes on with
	msg     message
	holder  message
	meta    []byte
	raw     []byte // the request in canonical form, empty until it is needed
	scratch []byte
	known   []byte  // the inside of the string that is known to be canonical
	quotes  []Quote // of all records of the last Append
}

type callID struct{ id, name string }

// NewProjector returns a projector.
func NewProjector(o Options) *Projector {
	p := &Projector{options: o}
	if len(o.Redact) > 0 {
		p.edit = p.redact
	}
	return p
}

// Append appends the lines of the exchange to dst and its records to records: one
// for each choice, and for each choice of a prompt of completions. Records of the
// folder [None] have no line. The lines are valid until dst is written to, their quotes
// until the next call or the request is written to. An error says that the request is no JSON object; nothing has been appended then.
func (p *Projector) Append(dst []byte, x *Exchange, records []Record) ([]byte, []Record, error) {
	a := x.Answer
	if !p.wanted(x) {
		for i := range a.Choices {
			records = append(records, Record{Choice: a.Choices[i].Index, Status: StatusOf(x, &a.Choices[i])})
		}
		return dst, records, nil
	}
	if !x.Scanned {
		if err := splice.Scan(x.Request, splice.MaxDepth, nil, nil); err != nil {
			return dst, records, fmt.Errorf("reading request: %w", err)
		}
	}
	p.read(x)
	clear(p.quotes)
	p.quotes = p.quotes[:0]
	m := p.conv.mark()
	for i := range a.Choices {
		c := &a.Choices[i]
		if a.Dialect == openai.Completions {
			p.addCompletion(c, len(a.Choices))
		} else {
			p.addAnswer(c)
		}
		r := Record{Choice: c.Index, Status: StatusOf(x, c)}
		if r.Folder = p.folder(x, c, r.Status, p.conv.flags); r.Folder != None {
			r.Suffix = p.conv.suffix()
			switch {
			case r.Suffix == "":
			case r.Folder == Main:
				r.Folder = Media
			default:
				r.Suffix = ""
				p.conv.flags |= droppedMedia
			}
			start, quotes := len(dst), len(p.quotes)
			dst = p.appendLine(dst, x, c, &r)
			r.Line = dst[start:]
			for i := range p.quotes[quotes:] {
				p.quotes[quotes+i].At -= start
			}
			r.Quotes = p.quotes[quotes:len(p.quotes):len(p.quotes)]
		}
		records = append(records, r)
		p.conv.back(m)
	}
	p.release()
	return dst, records, nil
}

// maxKept is how many bytes of each buffer are kept for the next exchange. A prompt
// of this size is rare.
const maxKept = 1 << 20

// release lets go of the exchange and of buffers that it has made very large.
func (p *Projector) release() {
	clear(p.request.params[:cap(p.request.params)])
	clear(p.conv.quotes[:cap(p.conv.quotes)])
	p.request = fields{params: p.request.params[:0]}
	clear(p.calls)
	p.ends, p.known = rawjson.Ends{}, nil
	for _, b := range []*[]byte{&p.conv.text, &p.conv.aside, &p.tools, &p.meta, &p.raw, &p.scratch} {
		if cap(*b) > maxKept {
			*b = nil
		}
	}
	for _, m := range []*message{&p.msg, &p.holder} {
		clear(m.calls[:cap(m.calls)])
		if cap(m.content)+cap(m.reasoning)+cap(m.aside) > maxKept {
			*m = message{}
		}
	}
	p.conv.media = [len(mediaKinds)][]string{}
}

// wanted reports whether any choice of the exchange can become a record.
func (p *Projector) wanted(x *Exchange) bool {
	if x.HTTP >= 400 || x.Answer.TooLarge {
		return false
	}
	name := EndpointOf(x.Answer.Dialect)
	if p.options.Endpoints == nil {
		return name != "" && x.Answer.Dialect != openai.Completions
	}
	return name != "" && slices.Contains(p.options.Endpoints, name)
}

// read reads the request into a conversation.
func (p *Projector) read(x *Exchange) {
	p.ends = rawjson.Ends{}
	p.ends.Add(x.Request, x.Longest.Start, x.Longest.End)
	if p.known = nil; x.Canonical {
		p.known = x.Request[x.Longest.Start+1 : x.Longest.End-1]
	}
	p.request.read(x.Request, &p.ends)
	p.raw, p.escape = p.raw[:0], false
	p.readConversation(x.Answer.Dialect)
	if p.conv.suffix() != "" {
		if p.conv.hasLiterals() {
			p.escape = true
			p.readConversation(x.Answer.Dialect)
		}
		p.escape = true // for the answer
	}
}

func (p *Projector) readConversation(d openai.Dialect) {
	f := &p.request
	p.conv.reset()
	p.calls, p.held = p.calls[:0], nil
	p.readTools(f.tools, f.functions)
	switch d {
	case openai.Responses:
		p.readResponses(f)
	case openai.Completions:
	default:
		p.readSystem(f.system)
		p.readMessages(f.messages, d)
	}
	p.conv.flush()
}

// addAnswer adds a choice to the conversation.
func (p *Projector) addAnswer(c *openai.Choice) {
	if p.inPlace(c) {
		p.conv.addModel(gpt, words{c.Encoded, true})
		return
	}
	c.Decode()
	m := &p.msg
	m.reset()
	m.content = p.append(m.content, c.Content)
	m.reasoning = p.append(m.reasoning, c.Reasoning)
	m.refusal = p.append(m.refusal, c.Refusal)
	for _, call := range callsOf(c) {
		m.calls = append(m.calls, messageCall{name: call.Name, arguments: []byte(call.Arguments)})
	}
	if h := p.held; h != nil {
		p.conv.flags |= prefilled
		if p.request.echo && bytes.HasPrefix(m.content, h.content) {
			m.content = m.content[len(h.content):]
		}
		m.content = append(bytes.Clone(h.content), m.content...)
		m.reasoning = append(bytes.Clone(h.reasoning), m.reasoning...)
	}
	p.addModel(m)
}

// inPlace reports whether the choice is a content that goes into the record as it
// stands in the answer. A thought in it might have to be completed, which ends in a tag:
// most texts have none at all.
func (p *Projector) inPlace(c *openai.Choice) bool {
	return len(c.Encoded) > 0 && p.edit == nil && !p.escape && p.held == nil &&
		c.Reasoning == "" && c.Refusal == "" && len(c.Calls) == 0 && c.FunctionCall == nil &&
		(bytes.IndexByte(c.Encoded, '<') < 0 || !bytes.Contains(c.Encoded, []byte("think"))) && !bytes.Contains(c.Encoded, []byte(`\u00`))
}

// append appends a text of the answer to dst.
func (p *Projector) append(dst []byte, text string) []byte {
	n := len(dst)
	return p.edited(append(dst, text...), n)
}

// addCompletion adds a prompt and one of its completions. Of several prompts each
// has as many choices as the others.
func (p *Projector) addCompletion(c *openai.Choice, choices int) {
	prompt := p.request.prompt
	if rawjson.IsArray(prompt) {
		var prompts [][]byte
		for e := rawjson.Array(prompt); e.Next(); {
			prompts = append(prompts, e.Value)
		}
		each := 1
		if len(prompts) > 0 {
			each = max(p.request.n, choices/len(prompts), 1)
		}
		if prompt = nil; c.Index/each < len(prompts) {
			prompt = prompts[c.Index/each]
		}
	}
	text := p.appendText(p.scratch[:0], prompt)
	if !rawjson.IsString(prompt) { // tokens, or a choice too many
		p.conv.flags |= partialHistory
	}
	p.conv.addUser(decoded(text))
	n := len(text)
	c.Decode()
	text = p.append(text, c.Content)
	answer := text[n:]
	if p.request.echo {
		if answer = bytes.TrimPrefix(answer, text[:n]); len(answer) == 0 {
			c.Content = "" // only the prompt has been said
		}
	}
	p.conv.addModel(gpt, decoded(answer))
	p.scratch = text
}

// edited applies what is to be changed to the text that dst has from n on.
func (p *Projector) edited(dst []byte, n int) []byte {
	if p.edit != nil {
		dst = append(dst[:n], p.edit(dst[n:])...)
	}
	if p.escape {
		dst = append(dst[:n], escapeTags(dst[n:])...)
	}
	return dst
}

// escapeTags returns text with its placeholders escaped.
func escapeTags(text []byte) []byte {
	for _, kind := range mediaKinds {
		if bytes.Contains(text, []byte(kind.tag)) {
			text = bytes.ReplaceAll(text, []byte(kind.tag), []byte(kind.escaped))
		}
	}
	return text
}

// redact returns text with what the patterns match replaced. Media in data URLs are
// left alone: in random letters any pattern matches at some time.
func (p *Projector) redact(text []byte) []byte {
	if bytes.HasPrefix(text, []byte("data:")) {
		return text
	}
	for _, pattern := range p.options.Redact {
		text = pattern.ReplaceAllLiteral(text, []byte(Redacted))
	}
	return text
}

// appendText appends the decoded string that value holds, with what is to be
// changed in it.
func (p *Projector) appendText(dst, value []byte) []byte {
	n := len(dst)
	return p.edited(rawjson.AppendLoose(dst, value), n)
}

// verbatim reports whether value is a string that can go into the record as it
// stands in the request, without being decoded and encoded again: most of a long
// prompt's cost.
func (p *Projector) verbatim(value []byte) bool {
	return len(value) > 2 && rawjson.IsString(value) && p.edit == nil && !p.escape
}

// appendJSON appends a value in canonical form, with what is to be changed in its
// strings.
func (p *Projector) appendJSON(dst, value []byte) []byte {
	edit := p.edit
	if p.escape {
		edit = func(text []byte) []byte {
			if p.edit != nil {
				text = p.edit(text)
			}
			return escapeTags(text)
		}
	}
	return rawjson.AppendCompact(dst, value, edit)
}
