package openai

import "github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"

// chunk reads a chunk of [Chat] or [Completions], or a whole body of either: they
// differ in that a choice has a message instead of a delta. Data is valid JSON. It
// tells the pattern of the chunk, for those that follow.
func (b *building) chunk(data []byte, p *pattern) {
	var choices, failure []byte
	isError, outer := false, []Extra(nil)
	for m := rawjson.Object(data).With(b.ends); m.Next(); {
		switch string(m.Key) {
		case "id":
			b.first(&b.ID, m.Value)
		case "model":
			b.first(&b.Model, m.Value)
		case "usage":
			if u := readUsage(m.Value); u != nil {
				b.Usage = u
			}
		case "choices":
			choices = m.Value
		case "error":
			failure = m.Value
		case "object", "type": // older vLLM; a whole body of Anthropic's form
			isError = isError || string(m.Value) == `"error"` && (!b.Stream || string(m.Key) == "object")
		case "citations", "search_results":
			if hasItems(m.Value) {
				outer = append(outer, Extra{string(m.Key), m.Value})
			}
		}
	}
	switch {
	case isFailure(failure):
		b.fail(failure)
		p.spoil()
	case isError:
		b.fail(data)
		p.spoil()
	}
	for e := rawjson.Array(choices).With(b.ends); e.Next(); {
		if rawjson.IsObject(e.Value) {
			b.chunkChoice(e.Value, outer, p)
		}
	}
	if len(outer) > 0 {
		p.spoil()
	}
}

// first sets text to the string that value holds, unless it has been set.
func (b *building) first(text *string, value []byte) {
	if *text == "" && len(value) > 2 && b.take(len(value)) {
		*text = rawjson.Text(value)
	}
}

func (b *building) chunkChoice(choice []byte, outer []Extra, p *pattern) {
	index := 0
	var delta, finish, text, logprobs []byte
	for m := rawjson.Object(choice).With(b.ends); m.Next(); {
		switch string(m.Key) {
		case "index":
			index = number(m.Value)
		case "delta", "message":
			if rawjson.IsObject(m.Value) {
				delta = m.Value
			}
		case "finish_reason":
			finish = m.Value
		case "text":
			text = m.Value
		case "logprobs":
			logprobs = m.Value
		}
	}
	c := b.choice(index)
	if c == nil {
		return
	}
	if word := rawjson.Text(finish); word != "" && word != c.finish && b.take(len(word)) {
		c.finish = word
	}
	if hasItems(logprobs) {
		b.logprobs(c, logprobs)
		p.spoil()
	}
	for _, e := range outer {
		b.extra(c, e.Name, e.JSON, true)
	}
	if b.Dialect == Completions {
		if b.addText(&c.content, text) {
			p.slot(text, &c.content)
		}
		return
	}
	b.delta(c, delta, p)
}

// logprobs keeps the probabilities of all tokens under the members that they come
// in: content and refusal, or those of completions.
func (b *building) logprobs(c *growing, value []byte) {
	for m := rawjson.Object(value); m.Next(); {
		if rawjson.IsArray(m.Value) && hasItems(m.Value) {
			b.extra(c, "logprobs."+string(m.Key), m.Value, false)
		}
	}
}

// delta reads what a chunk adds to a choice, or the message of a whole body.
func (b *building) delta(c *growing, delta []byte, p *pattern) {
	var content, long, short, details []byte
	for m := rawjson.Object(delta).With(b.ends); m.Next(); {
		switch string(m.Key) {
		case "role":
			b.first(&c.role, m.Value)
		case "content":
			content = m.Value
		case "reasoning_content":
			long = m.Value
		case "reasoning":
			short = m.Value
		case "reasoning_details":
			details = m.Value
		case "refusal":
			if b.addText(&c.refusal, m.Value) {
				p.spoil()
			}
		case "tool_calls":
			for n, e := 0, rawjson.Array(m.Value); e.Next(); n++ {
				b.toolCall(c, e.Value, p)
				if n > 0 { // the second may be what the first belongs to next time
					p.spoil()
				}
			}
		case "function_call":
			if rawjson.IsObject(m.Value) {
				if c.function == nil {
					c.function = &growingCall{kind: "function"}
				}
				b.function(c.function, m.Value, p)
				p.spoil()
			}
		case "annotations":
			if hasItems(m.Value) {
				b.extra(c, "annotations", m.Value, false)
				p.spoil()
			}
		}
	}
	// One source of reasoning per chunk: a transitional vLLM sends the same text
	// under both names, OpenRouter as reasoning and in reasoning_details.
	thought := true
	switch {
	case b.addText(&c.reasoning, long):
		p.slot(long, &c.reasoning)
	case b.addText(&c.reasoning, short):
		p.slot(short, &c.reasoning)
	default:
		thought = false
	}
	if rawjson.IsArray(content) {
		b.contentParts(c, content, thought)
		p.spoil()
	} else if !b.Stream {
		if rawjson.IsString(content) && b.take(len(content)-2) {
			c.encoded = content[1 : len(content)-1]
		}
	} else if b.addText(&c.content, content) {
		p.slot(content, &c.content)
	}
	if hasItems(details) {
		p.spoil()
		if !thought && !hasThinking(content) {
			b.details(c, details)
		}
	}
	if rawjson.IsString(long) && rawjson.IsString(short) && len(long) > 2 && len(short) > 2 {
		p.spoil()
	}
}

// contentParts reads content that is an array, as Mistral sends it.
func (b *building) contentParts(c *growing, parts []byte, thought bool) {
	for e := rawjson.Array(parts); e.Next(); {
		kind, text, thinking := part(e.Value)
		switch {
		case kind == "thinking" && !thought:
			b.thinking(c, thinking)
		case kind == "text":
			b.addText(&c.content, text)
		}
	}
}

// thinking adds the text of a thinking part: a string, or an array of text parts.
func (b *building) thinking(c *growing, value []byte) {
	b.addText(&c.reasoning, value)
	for e := rawjson.Array(value); e.Next(); {
		_, text, _ := part(e.Value)
		b.addText(&c.reasoning, text)
	}
}

// part returns the type, text and thinking members of a content part.
func part(value []byte) (kind string, text, thinking []byte) {
	for m := rawjson.Object(value); m.Next(); {
		switch string(m.Key) {
		case "type":
			kind = rawjson.Text(m.Value)
		case "text":
			text = m.Value
		case "thinking":
			thinking = m.Value
		}
	}
	return kind, text, thinking
}

func hasThinking(content []byte) bool {
	for e := rawjson.Array(content); e.Next(); {
		if kind, _, _ := part(e.Value); kind == "thinking" {
			return true
		}
	}
	return false
}

// details adds the text, else the summary, of each entry of reasoning_details.
// Entries that are encrypted have neither.
func (b *building) details(c *growing, details []byte) {
	for e := rawjson.Array(details); e.Next(); {
		var text, summary []byte
		for m := rawjson.Object(e.Value); m.Next(); {
			switch string(m.Key) {
			case "text":
				text = m.Value
			case "summary":
				summary = m.Value
			}
		}
		if !b.addText(&c.reasoning, text) {
			b.addText(&c.reasoning, summary)
		}
	}
}
