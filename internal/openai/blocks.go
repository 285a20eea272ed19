package openai

import (
	"slices"
	"strconv"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
)

// block is a content block of [Messages].
type block struct {
	index int
	kind  string
	// call is set where the block calls a tool, of the client's or the server's.
	call *growingCall
	// whole is the input that the block began with, which the pieces that follow
	// replace.
	whole []byte
}

// tokens are the counts of [Messages], which come in two events. Each is the last
// one reported.
type tokens struct {
	found                             bool
	input, output, cached, cacheWrite int64
}

func (t *tokens) read(value []byte) {
	for m := rawjson.Object(value); m.Next(); {
		n, err := strconv.ParseInt(string(m.Value), 10, 64)
		if err != nil {
			continue
		}
		switch string(m.Key) {
		case "input_tokens":
			t.input, t.found = n, true
		case "output_tokens":
			t.output, t.found = n, true
		case "cache_read_input_tokens":
			t.cached = n
		case "cache_creation_input_tokens":
			t.cacheWrite = n
		}
	}
}

// message reads one event of [Messages]. Data is valid JSON.
func (b *building) message(data []byte) {
	var kind string
	var message, inner, delta, usage []byte
	index := 0
	for m := rawjson.Object(data); m.Next(); {
		switch string(m.Key) {
		case "type":
			kind = rawjson.Text(m.Value)
		case "message":
			message = m.Value
		case "content_block":
			inner = m.Value
		case "delta":
			delta = m.Value
		case "usage":
			usage = m.Value
		case "index":
			index = number(m.Value)
		case "error":
			if isFailure(m.Value) && kind == "" {
				kind = "error" // a server's own, in no dialect's form
			}
		}
	}
	switch kind {
	case "error":
		b.fail(data)
	case "message_start": // a second one starts over
		b.reset()
		b.messageBody(message)
	case "content_block_start":
		b.startBlock(index, inner)
	case "content_block_delta":
		b.blockDelta(index, delta)
	case "message_delta":
		b.stop(delta)
		b.tokens.read(usage)
	case "message_stop":
		b.Ended = true
	}
}

// messageBody reads a message object: a whole body, or what message_start holds.
func (b *building) messageBody(message []byte) {
	c := b.choice(0)
	if c == nil {
		return
	}
	for m := rawjson.Object(message).With(b.ends); m.Next(); {
		switch string(m.Key) {
		case "id":
			b.first(&b.ID, m.Value)
		case "model":
			b.first(&b.Model, m.Value)
		case "role":
			b.first(&c.role, m.Value)
		case "usage":
			b.tokens.read(m.Value)
		case "content":
			index := 0
			for e := rawjson.Array(m.Value).With(b.ends); e.Next(); index++ {
				b.startBlock(index, e.Value)
			}
		}
	}
	b.stop(message)
}

// stop reads the stop_reason that value holds.
func (b *building) stop(value []byte) {
	if reason := member(value, "stop_reason"); reason != "" && b.take(len(reason)) {
		if c := b.choice(0); c != nil {
			c.finish = reason
		}
	}
}

// startBlock reads a block: a whole one of a body, or the beginning of one.
func (b *building) startBlock(index int, value []byte) {
	c := b.choice(0)
	if c == nil || !rawjson.IsObject(value) {
		return
	}
	if len(b.blocks) == maxSlots {
		b.TooLarge = true
		return
	}
	bl := &block{index: index}
	var input, text, thinking, id, name, citations []byte
	for m := rawjson.Object(value).With(b.ends); m.Next(); {
		switch string(m.Key) {
		case "type":
			bl.kind = rawjson.Text(m.Value)
		case "text":
			text = m.Value
		case "thinking":
			thinking = m.Value
		case "input":
			input = m.Value
		case "id":
			id = m.Value
		case "name":
			name = m.Value
		case "citations":
			citations = m.Value
		}
	}
	b.blocks = append(b.blocks, bl)
	switch bl.kind {
	case "text":
		b.addText(&c.content, text)
		if rawjson.IsArray(citations) && hasItems(citations) {
			b.extra(c, "citations", citations, false)
		}
	case "thinking":
		c.reasoning = paragraph(c.reasoning)
		b.addText(&c.reasoning, thinking)
	case "redacted_thinking":
	case "tool_use", "server_tool_use", "mcp_tool_use":
		bl.call = &growingCall{slot: len(c.calls)}
		b.first(&bl.call.id, id)
		b.first(&bl.call.name, name)
		b.add(&bl.whole, rawjson.AppendCompact(nil, input, nil))
		if bl.kind == "tool_use" {
			c.calls = append(c.calls, bl.call)
		}
	default:
		b.extra(c, "blocks", value, false)
	}
}

// blockDelta reads a piece of a block.
func (b *building) blockDelta(index int, delta []byte) {
	c := b.choice(0)
	if c == nil {
		return
	}
	for m := rawjson.Object(delta); m.Next(); {
		switch string(m.Key) {
		case "text":
			b.addText(&c.content, m.Value)
		case "thinking":
			b.addText(&c.reasoning, m.Value)
		case "partial_json":
			i := slices.IndexFunc(b.blocks, func(bl *block) bool { return bl.index == index && bl.call != nil })
			if i >= 0 {
				b.addText(&b.blocks[i].call.arguments, m.Value)
			}
		case "citation":
			b.extra(c, "citations", m.Value, false)
		}
	}
}

// finishBlocks settles the arguments of calls, the tools that the server ran
// itself, and the usage.
func (b *building) finishBlocks() {
	for _, bl := range b.blocks {
		if bl.call == nil {
			continue
		}
		if len(bl.call.arguments) == 0 {
			bl.call.arguments = bl.whole
		}
		if bl.kind != "tool_use" && len(b.choices) > 0 {
			call := bl.call.finished()
			text := rawjson.AppendString([]byte(`{"type":`), []byte(bl.kind))
			text = rawjson.AppendString(append(text, `,"id":`...), []byte(call.ID))
			text = rawjson.AppendString(append(text, `,"name":`...), []byte(call.Name))
			text = rawjson.AppendString(append(text, `,"arguments":`...), []byte(call.Arguments))
			b.extra(b.choices[0], "blocks", append(text, '}'), false)
		}
	}
	b.blocks = nil
	if t := b.tokens; t.found {
		prompt := t.input + t.cached + t.cacheWrite
		b.Usage = &Usage{Prompt: prompt, Completion: t.output, Total: prompt + t.output}
	}
}
