package echomodel

import "strconv"

// serveMessages answers Anthropic's /v1/messages: a block of thinking if the script asks for it, then one of text or
// of tool_use. The fields are those of Anthropic's API, each event with its type in the event line and in the data.
func serveMessages(x *exchange) error {
	talk, err := x.readMessages()
	if err != nil {
		return err
	}
	tool, err := x.calls(&talk)
	if err != nil {
		return err
	}
	if err := x.plan(tool, 1, talk.text); err != nil {
		return err
	}
	if x.req.stream {
		return x.streamMessages(talk.tokens)
	}
	if err := x.think(x.longest()); err != nil {
		return err
	}
	c := &x.choices[0]
	b := append(x.appendMessageHead(x.buf), `"content":[`...)
	if c.reasoning > 0 {
		b = c.appendReasoning(append(b, `{"type":"thinking","thinking":"`...))
		b = append(b, `","signature":"echo"},`...)
	}
	if c.tool != nil {
		b = append(append(x.appendToolUse(b, c), '}'), ']')
	} else {
		b = c.appendContent(append(b, `{"type":"text","text":"`...))
		b = append(b, `"}]`...)
	}
	b = append(append(b, `,"stop_reason":"`...), c.stopReason()...)
	b = strconv.AppendInt(append(b, `","stop_sequence":null,"usage":{"input_tokens":`...), int64(talk.tokens), 10)
	b = strconv.AppendInt(append(b, `,"output_tokens":`...), int64(x.total()), 10)
	x.buf = append(b, "}}"...)
	return x.json(x.buf)
}

// serveCountTokens answers /v1/messages/count_tokens.
func serveCountTokens(x *exchange) error {
	talk, err := x.readMessages()
	if err != nil {
		return err
	}
	x.buf = strconv.AppendInt(append(x.buf, `{"input_tokens":`...), int64(talk.tokens), 10)
	x.buf = append(x.buf, '}')
	return x.json(x.buf)
}

// readMessages reads the messages and the system prompt.
func (x *exchange) readMessages() (talk conversation, err error) {
	if x.req.messages == nil {
		return talk, badRequest("messages", "messages: Field required")
	}
	if err := talk.read(x.req.messages); err != nil {
		return talk, err
	}
	system, err := joinParts(x.req.system)
	talk.tokens += countBlanks(system)
	return talk, err
}

// stopReason is the choice's end in the words of Anthropic.
func (c *choice) stopReason() string {
	switch c.finish() {
	case "length":
		return "max_tokens"
	case "tool_calls":
		return "tool_use"
	}
	return "end_turn"
}

// appendMessageHead appends a message object up to its content.
func (x *exchange) appendMessageHead(b []byte) []byte {
	b = appendID(append(b, `{"id":"`...), "msg_")
	b = append(append(b, `","type":"message","role":"assistant","model":"`...), x.req.model...)
	return append(b, `",`...)
}

// appendToolUse appends a block tool_use without its closing brace.
func (x *exchange) appendToolUse(b []byte, c *choice) []byte {
	b = appendID(append(b, `{"type":"tool_use","id":"`...), "toolu_")
	b = append(append(b, `","name":"`...), c.tool...)
	return append(b, `","input":{}`...)
}

// streamMessages sends the blocks one after the other between message_start and message_stop.
func (x *exchange) streamMessages(promptTokens int) error {
	if err := x.open(); err != nil {
		return err
	}
	c := &x.choices[0]
	x.beginBlockEvent("message_start")
	x.buf = append(x.appendMessageHead(append(x.buf, `"message":`...)), `"content":[],"stop_reason":null,`...)
	x.buf = strconv.AppendInt(append(x.buf, `"stop_sequence":null,"usage":{"input_tokens":`...), int64(promptTokens), 10)
	x.buf = append(x.buf, `,"output_tokens":0}}`...)
	if err := x.endEvent(); err != nil {
		return err
	}
	if err := x.flush(); err != nil {
		return err
	}
	block := 0
	if c.reasoning > 0 {
		if err := x.streamThinking(c); err != nil {
			return err
		}
		block++
	}
	x.beginBlock("content_block_start", block)
	if c.tool != nil {
		x.buf = x.appendToolUse(append(x.buf, `,"content_block":`...), c)
		x.buf = append(x.buf, '}')
	} else {
		x.buf = append(x.buf, `,"content_block":{"type":"text","text":""}`...)
	}
	if err := x.endEvent(); err != nil {
		return err
	}
	if err := x.streamBlock(c, block); err != nil {
		return err
	}
	return x.endMessages(c, promptTokens)
}

func (x *exchange) streamThinking(c *choice) error {
	x.beginBlock("content_block_start", 0)
	x.buf = append(x.buf, `,"content_block":{"type":"thinking","thinking":"","signature":""}`...)
	if err := x.endEvent(); err != nil {
		return err
	}
	for first := true; c.thinking(); first = false {
		if err := x.gap(first); err != nil {
			return err
		}
		x.beginBlock("content_block_delta", 0)
		x.buf = c.next(append(x.buf, `,"delta":{"type":"thinking_delta","thinking":"`...))
		x.buf = append(x.buf, "\"}}\n\n"...)
		if err := x.token(); err != nil {
			return err
		}
	}
	x.beginBlock("content_block_delta", 0)
	x.buf = append(x.buf, `,"delta":{"type":"signature_delta","signature":"echo"}`...)
	if err := x.endEvent(); err != nil {
		return err
	}
	x.beginBlock("content_block_stop", 0)
	return x.endEvent()
}

// streamBlock sends the deltas of the block of text or tool_use, one token each, and its end.
func (x *exchange) streamBlock(c *choice, block int) error {
	for first := block == 0; !c.done(); first = false {
		if err := x.gap(first); err != nil {
			return err
		}
		x.beginBlock("content_block_delta", block)
		if c.tool != nil {
			c.sent = c.tokens // a call's arguments come in one piece
			x.buf = append(x.buf, `,"delta":{"type":"input_json_delta","partial_json":"{}`...)
		} else {
			x.buf = c.next(append(x.buf, `,"delta":{"type":"text_delta","text":"`...))
		}
		x.buf = append(x.buf, "\"}}\n\n"...)
		if err := x.token(); err != nil {
			return err
		}
	}
	x.beginBlock("content_block_stop", block)
	return x.endEvent()
}

func (x *exchange) endMessages(c *choice, promptTokens int) error {
	x.beginBlockEvent("message_delta")
	x.buf = append(append(x.buf, `"delta":{"stop_reason":"`...), c.stopReason()...)
	x.buf = strconv.AppendInt(append(x.buf, `","stop_sequence":null},"usage":{"input_tokens":`...), int64(promptTokens), 10)
	x.buf = strconv.AppendInt(append(x.buf, `,"output_tokens":`...), int64(x.total()), 10)
	x.buf = append(x.buf, '}')
	if err := x.endEvent(); err != nil {
		return err
	}
	x.buf = append(x.buf, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"...)
	return x.last()
}

func (x *exchange) beginBlockEvent(kind string) {
	x.buf = append(append(x.buf, "event: "...), kind...)
	x.buf = append(append(x.buf, "\ndata: {\"type\":\""...), kind...)
	x.buf = append(x.buf, `",`...)
}

func (x *exchange) beginBlock(kind string, block int) {
	x.beginBlockEvent(kind)
	x.buf = strconv.AppendInt(append(x.buf, `"index":`...), int64(block), 10)
}
