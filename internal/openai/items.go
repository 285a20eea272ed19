package openai

import (
	"slices"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
)

// item is an output item of [Responses] whose parts are still coming.
type item struct {
	index int
	kind  string
	// raw is the item as it was when it was done, else as it was added.
	raw  []byte
	done bool
	// parts are the texts that deltas bring, by kind and content_index.
	parts     []itemPart
	arguments []byte
}

type itemPart struct {
	kind  string // text, refusal, reasoning or summary
	index int
	text  []byte
}

// response reads one event of [Responses]. Data is valid JSON.
func (b *building) response(data []byte) {
	var kind string
	var response, inner, delta []byte
	output, content := 0, 0
	for m := rawjson.Object(data); m.Next(); {
		switch string(m.Key) {
		case "type":
			kind = rawjson.Text(m.Value)
		case "response":
			response = m.Value
		case "item":
			inner = m.Value
		case "delta":
			delta = m.Value
		case "output_index":
			output = number(m.Value)
		case "content_index", "summary_index":
			content = number(m.Value)
		case "error":
			if isFailure(m.Value) && kind == "" {
				kind = "error" // a server's own, in no dialect's form
			}
		}
	}
	switch kind {
	case "error":
		b.fail(data)
	case "response.created", "response.queued", "response.in_progress":
		b.responseBody(response, false)
	case "response.completed", "response.incomplete", "response.failed", "response.cancelled":
		b.responseBody(response, true)
	case "response.output_item.added", "response.output_item.done":
		b.setItem(output, inner, kind == "response.output_item.done")
	case "response.output_text.delta":
		b.itemText(output, "text", content, delta)
	case "response.refusal.delta":
		b.itemText(output, "refusal", content, delta)
	case "response.reasoning_text.delta", "response.reasoning.delta":
		b.itemText(output, "reasoning", content, delta)
	case "response.reasoning_summary_text.delta":
		b.itemText(output, "summary", content, delta)
	case "response.function_call_arguments.delta", "response.custom_tool_call_input.delta":
		if it := b.item(output); it != nil && !it.done {
			b.addText(&it.arguments, delta)
		}
	}
}

// responseBody reads a response object: a whole body, or what an event holds. Last
// says that nothing more will come.
func (b *building) responseBody(response []byte, last bool) {
	c := b.choice(0)
	if c == nil {
		return
	}
	var status, reason string
	var output []byte
	for m := rawjson.Object(response).With(b.ends); m.Next(); {
		switch string(m.Key) {
		case "id":
			b.first(&b.ID, m.Value)
		case "model":
			b.first(&b.Model, m.Value)
		case "usage":
			if u := readUsage(m.Value); u != nil {
				b.Usage = u
			}
		case "status":
			status = rawjson.Text(m.Value)
		case "incomplete_details":
			reason = member(m.Value, "reason")
		case "error":
			if isFailure(m.Value) {
				b.fail(m.Value)
			}
		case "output":
			output = m.Value
		}
	}
	if !last {
		return
	}
	if hasItems(output) {
		b.items = nil
		for e := rawjson.Array(output).With(b.ends); e.Next(); {
			b.useItem(c, e.Value)
		}
	} else {
		b.finishItems()
	}
	b.Ended = true
	c.raw = status
	switch {
	case status == "failed" || b.Err != nil:
		c.finish = "error"
		if b.Err == nil {
			b.Err = new(Failure)
		}
	case status == "incomplete" && reason == "content_filter":
		c.finish = "content_filter"
	case status == "incomplete":
		c.finish = "length"
	case len(c.calls) > 0:
		c.finish = "tool_calls"
	case status == "completed" || status == "":
		c.finish = "stop"
	default: // cancelled, or in progress in the background
		c.finish, b.Ended = status, false
	}
}

// item returns the item at that output_index, nil if there would be too many.
func (b *building) item(index int) *item {
	if n := len(b.items); n > 0 && b.items[n-1].index == index {
		return b.items[n-1]
	}
	at, found := slices.BinarySearchFunc(b.items, index, func(it *item, i int) int { return it.index - i })
	if !found {
		if index < 0 || len(b.items) == maxSlots {
			b.TooLarge = true
			return nil
		}
		b.items = slices.Insert(b.items, at, &item{index: index})
	}
	return b.items[at]
}

func (b *building) setItem(index int, value []byte, done bool) {
	it := b.item(index)
	if it == nil || it.done || !rawjson.IsObject(value) || !b.take(len(value)) {
		return
	}
	it.kind, it.done = member(value, "type"), done
	b.size -= len(it.raw)
	it.raw = append(it.raw[:0], value...)
	if done { // it repeats what the deltas brought
		for _, p := range it.parts {
			b.size -= len(p.text)
		}
		b.size -= len(it.arguments)
		it.parts, it.arguments = nil, nil
	}
}

func (b *building) itemText(index int, kind string, part int, delta []byte) {
	it := b.item(index)
	if it == nil || it.done {
		return
	}
	i := slices.IndexFunc(it.parts, func(p itemPart) bool { return p.kind == kind && p.index == part })
	if i < 0 {
		if len(it.parts) == maxSlots {
			b.TooLarge = true
			return
		}
		i = len(it.parts)
		it.parts = append(it.parts, itemPart{kind: kind, index: part})
	}
	b.addText(&it.parts[i].text, delta)
}

// finishItems adds the items gathered so far to the choice, of an answer whose last
// event did not repeat them or has not come.
func (b *building) finishItems() {
	if len(b.items) == 0 {
		return
	}
	c := b.choice(0)
	if c == nil {
		return
	}
	for _, it := range b.items {
		if it.done || it.parts == nil && it.arguments == nil {
			b.useItem(c, it.raw)
			continue
		}
		b.usePieces(c, it)
	}
	b.items = nil
}

// usePieces adds an item that has only come in pieces.
func (b *building) usePieces(c *growing, it *item) {
	reasoned := slices.ContainsFunc(it.parts, func(p itemPart) bool { return p.kind == "reasoning" })
	for _, p := range it.parts {
		switch {
		case p.kind == "text":
			c.content = append(c.content, p.text...)
		case p.kind == "refusal":
			c.refusal = append(c.refusal, p.text...)
		case p.kind == "reasoning":
			c.reasoning = append(c.reasoning, p.text...)
		case p.kind == "summary" && !reasoned:
			c.reasoning = append(paragraph(c.reasoning), p.text...)
		}
	}
	if it.kind == "function_call" || it.kind == "custom_tool_call" || it.arguments != nil {
		b.useCall(c, it.raw)
		last := c.calls[len(c.calls)-1]
		last.arguments = append(last.arguments, it.arguments...)
	}
}

// useItem adds a whole item to the choice.
func (b *building) useItem(c *growing, value []byte) {
	switch member(value, "type") {
	case "message":
		b.useMessage(c, value)
	case "reasoning":
		b.useReasoning(c, value)
	case "function_call", "custom_tool_call":
		b.useCall(c, value)
	case "":
	default:
		b.extra(c, "items", value, false)
	}
}

func (b *building) useMessage(c *growing, value []byte) {
	for m := rawjson.Object(value); m.Next(); {
		if string(m.Key) != "content" {
			continue
		}
		b.addText(&c.content, m.Value)
		for e := rawjson.Array(m.Value); e.Next(); {
			for p := rawjson.Object(e.Value); p.Next(); {
				switch string(p.Key) {
				case "text":
					b.addText(&c.content, p.Value)
				case "refusal":
					b.addText(&c.refusal, p.Value)
				case "annotations", "logprobs":
					if rawjson.IsArray(p.Value) && hasItems(p.Value) {
						b.extra(c, string(p.Key), p.Value, false)
					}
				}
			}
		}
	}
}

// useReasoning adds the reasoning itself where the item has it, else its summary,
// of which each part is a paragraph.
func (b *building) useReasoning(c *growing, value []byte) {
	var content, summary []byte
	for m := rawjson.Object(value); m.Next(); {
		switch string(m.Key) {
		case "content":
			content = m.Value
		case "summary":
			summary = m.Value
		}
	}
	found := false
	for e := rawjson.Array(content); e.Next(); {
		_, text, _ := part(e.Value)
		found = b.addText(&c.reasoning, text) || found
	}
	for e := rawjson.Array(summary); !found && e.Next(); {
		_, text, _ := part(e.Value)
		c.reasoning = paragraph(c.reasoning)
		b.addText(&c.reasoning, text)
	}
}

// useCall adds the call that an item holds.
func (b *building) useCall(c *growing, value []byte) {
	g := &growingCall{slot: len(c.calls)}
	id := ""
	for m := rawjson.Object(value); m.Next(); {
		switch string(m.Key) {
		case "call_id":
			b.first(&g.id, m.Value)
		case "id":
			id = rawjson.Text(m.Value)
		case "type":
			if rawjson.Text(m.Value) == "custom_tool_call" {
				g.kind = "custom"
			}
		}
	}
	if g.id == "" {
		g.id = id
	}
	b.function(g, value, new(pattern))
	if len(c.calls) < maxSlots {
		c.calls = append(c.calls, g)
	} else {
		b.TooLarge = true
	}
}

// paragraph ends a text so that another can follow it.
func paragraph(text []byte) []byte {
	if len(text) == 0 {
		return text
	}
	return append(text, "\n\n"...)
}
