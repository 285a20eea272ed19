package sharegpt

import (
	"encoding/json"
	"strconv"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
)

// metaVersion is the member v of meta.
const metaVersion = "1"

// appendLine appends the record of a choice, whose turns the conversation holds.
func (p *Projector) appendLine(dst []byte, x *Exchange, c *openai.Choice, r *Record) []byte {
	full := p.options.RecordRaw == Always || p.options.RecordRaw == Lossy && p.conv.flags != 0
	dst = rawjson.AppendEscaped(append(dst, `{"id":"`...), []byte(x.ID))
	dst = strconv.AppendInt(append(dst, '-'), int64(c.Index), 10)
	dst = append(dst, `","conversations":[`...)
	for i, t := range p.conv.turns {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"from":"`...)
		dst = append(dst, roleNames[t.role]...)
		dst = p.appendValue(append(dst, `","value":"`...), i)
		dst = append(dst, `"}`...)
	}
	dst = rawjson.AppendString(append(dst, `],"tools":`...), p.tools)
	dst = rawjson.AppendString(append(dst, `,"model":`...), []byte(p.model(x)))
	dst = strconv.AppendInt(append(dst, `,"created":`...), x.Created, 10)
	dst = rawjson.AppendString(append(dst, `,"finish_reason":`...), []byte(c.Finish))
	p.meta = p.appendMeta(p.meta[:0], x, c, r)
	dst = rawjson.AppendString(append(dst, `,"meta":`...), p.meta)
	dst = append(dst, `,"request":`...)
	if full {
		if len(p.raw) == 0 {
			p.raw = rawjson.AppendCompact(p.raw, x.Request, p.edit)
		}
		dst = rawjson.AppendString(dst, p.raw)
		c.Decode()
		p.meta = p.appendResponse(p.meta[:0], c)
		dst = rawjson.AppendString(append(dst, `,"response":`...), p.meta)
	} else {
		dst = append(dst, `"","response":""`...)
	}
	if r.Folder == Media {
		dst = p.appendMedia(dst)
	}
	return append(dst, "}\n"...)
}

// model returns the name under which the model answered, else the one asked for.
func (p *Projector) model(x *Exchange) string {
	if x.Answer.Model != "" {
		return x.Answer.Model
	}
	return rawjson.Text(p.request.model)
}

// appendMedia appends the lists of the kinds that the record has.
func (p *Projector) appendMedia(dst []byte) []byte {
	for i, kind := range mediaKinds {
		if len(p.conv.media[i]) == 0 {
			continue
		}
		dst = append(dst, `,"`...)
		dst = append(dst, kind.column...)
		dst = append(dst, `":[`...)
		for j, url := range p.conv.media[i] {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = rawjson.AppendString(dst, []byte(url))
		}
		dst = append(dst, ']')
	}
	return dst
}

// appendMeta appends what is known about the exchange, as a JSON object.
func (p *Projector) appendMeta(dst []byte, x *Exchange, c *openai.Choice, r *Record) []byte {
	a := x.Answer
	text := func(name, value string) {
		dst = rawjson.AppendString(append(dst, name...), []byte(value))
	}
	count := func(name string, value int64) {
		dst = strconv.AppendInt(append(dst, name...), value, 10)
	}
	dst = append(dst, `{"v":`+metaVersion...)
	text(`,"status":`, string(r.Status))
	endpoint := x.Endpoint
	if endpoint == "" {
		endpoint = EndpointOf(a.Dialect)
	}
	text(`,"endpoint":`, endpoint)
	dst = strconv.AppendBool(append(dst, `,"stream":`...), a.Stream)
	count(`,"choice":`, int64(c.Index))
	text(`,"upstream_id":`, a.ID)
	text(`,"instance":`, x.Instance)
	text(`,"key":`, x.Key)
	count(`,"http":`, int64(x.HTTP))
	count(`,"ttft_ms":`, x.TTFT)
	count(`,"latency_ms":`, x.Latency)
	if x.Overflow != "" {
		text(`,"overflow":`, x.Overflow)
	}
	if x.Queued > 0 {
		count(`,"queue_ms":`, x.Queued)
	}
	dst = appendUsage(append(dst, `,"usage":`...), x)
	dst = p.appendParams(append(dst, `,"params":`...), x)
	dst = p.conv.flags.append(append(dst, `,"flags":`...))
	if a.Err != nil {
		dst = append(dst, `,"error":`...)
		dst = rawjson.AppendString(dst, p.append(nil, a.Err.Message))
	}
	if x.Outcome != "" {
		text(`,"outcome":`, x.Outcome)
	}
	if x.Bytes > 0 {
		count(`,"truncated":true,"bytes":`, x.Bytes)
	}
	return append(dst, '}')
}

// appendUsage appends what is known of the tokens.
func appendUsage(dst []byte, x *Exchange) []byte {
	u, estimated := x.Answer.Usage, false
	if u == nil {
		u, estimated = x.Usage, x.Estimated
	}
	if u == nil {
		return append(dst, "null"...)
	}
	dst = strconv.AppendInt(append(dst, `{"prompt":`...), u.Prompt, 10)
	dst = strconv.AppendInt(append(dst, `,"completion":`...), u.Completion, 10)
	dst = strconv.AppendInt(append(dst, `,"total":`...), u.Total, 10)
	if estimated {
		dst = append(dst, `,"estimated":true`...)
	}
	return append(dst, '}')
}

// appendParams appends the members of the request that are neither words of the
// conversation nor told elsewhere. The model is, unless it answered under another
// name.
func (p *Projector) appendParams(dst []byte, x *Exchange) []byte {
	dst = append(dst, '{')
	add := func(name, value []byte) {
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(rawjson.AppendString(dst, name), ':')
		dst = rawjson.AppendCompact(dst, value, p.edit)
	}
	if rawjson.IsString(p.request.model) && rawjson.Text(p.request.model) != p.model(x) {
		add([]byte("model"), p.request.model)
	}
	for _, m := range p.request.params {
		add(m.name, m.value)
	}
	return append(dst, '}')
}

// appendResponse appends the message that the model has answered, with all that
// the conversation leaves out.
func (p *Projector) appendResponse(dst []byte, c *openai.Choice) []byte {
	escape := p.escape
	p.escape = false // it is the original
	defer func() { p.escape = escape }()
	text := func(name, value string) {
		dst = append(dst, name...)
		if p.edit == nil {
			dst = rawjson.AppendString(dst, []byte(value))
			return
		}
		dst = rawjson.AppendString(dst, p.append(nil, value))
	}
	text(`{"role":`, c.Role)
	text(`,"content":`, c.Content)
	if c.Reasoning != "" {
		text(`,"reasoning_content":`, c.Reasoning)
	}
	if c.Refusal != "" {
		text(`,"refusal":`, c.Refusal)
	}
	function := func(call *openai.Call) {
		text(`{"name":`, call.Name)
		arguments := []byte(call.Arguments)
		if p.edit != nil && json.Valid(arguments) { // what is changed stays JSON
			arguments = p.appendJSON(nil, arguments)
		}
		dst = rawjson.AppendString(append(dst, `,"arguments":`...), arguments)
		dst = append(dst, '}')
	}
	for i := range c.Calls {
		separator := `,{"id":`
		if i == 0 {
			separator = `,"tool_calls":[{"id":`
		}
		text(separator, c.Calls[i].ID)
		text(`,"type":`, c.Calls[i].Type)
		dst = append(dst, `,"function":`...)
		function(&c.Calls[i])
		dst = append(dst, '}')
	}
	if len(c.Calls) > 0 {
		dst = append(dst, ']')
	}
	if c.FunctionCall != nil {
		dst = append(dst, `,"function_call":`...)
		function(c.FunctionCall)
	}
	for _, e := range c.Extras {
		dst = rawjson.AppendString(append(dst, ','), []byte(e.Name))
		dst = rawjson.AppendCompact(append(dst, ':'), e.JSON, p.edit)
	}
	return append(dst, '}')
}
