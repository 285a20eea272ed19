package echomodel

import "strconv"

// serveChat answers /v1/chat/completions in the shapes of vLLM 0.24 (recorded stream c17, see recording.md section 8),
// with the reasoning in reasoning_content.
func serveChat(x *exchange) error {
	if x.req.messages == nil {
		return badRequest("messages", "Field required")
	}
	var talk conversation
	if err := talk.read(x.req.messages); err != nil {
		return err
	}
	tool, err := x.calls(&talk)
	if err != nil {
		return err
	}
	if err := x.plan(tool, x.req.n, talk.text); err != nil {
		return err
	}
	if x.req.stream {
		return x.streamChat(talk.tokens)
	}
	if err := x.think(x.longest()); err != nil {
		return err
	}
	b := x.appendHead(x.buf, "chatcmpl-", "chat.completion")
	for i := range x.choices {
		c := &x.choices[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"index":`...)
		b = strconv.AppendInt(b, int64(i), 10)
		b = append(b, `,"message":{"role":"assistant","content":`...)
		b = c.appendMessage(b)
		b = append(b, `},"logprobs":null,"finish_reason":"`...)
		b = append(append(b, c.finish()...), `","stop_reason":null}`...)
	}
	b = append(b, `],"service_tier":null`...)
	b = x.appendUsage(x.appendFingerprint(b), talk.tokens)
	x.buf = append(b, `,"prompt_logprobs":null}`...)
	return x.json(x.buf)
}

// calls returns the name of the tool to call, nil for none: the first one, if the last message is the user's and has
// "tool" in its text.
func (x *exchange) calls(talk *conversation) ([]byte, error) {
	if x.req.tools == nil || !talk.lastUser || !talk.mentionsTool() {
		return nil, nil
	}
	return x.req.firstTool()
}

// appendMessage appends a message from its content on.
func (c *choice) appendMessage(b []byte) []byte {
	if c.tool != nil {
		b = appendID(append(b, `null,"refusal":null,"tool_calls":[{"id":"`...), "chatcmpl-tool-")
		b = append(append(b, `","type":"function","function":{"name":"`...), c.tool...)
		b = append(b, `","arguments":"{}"}}]`...)
	} else {
		b = c.appendContent(append(b, '"'))
		b = append(b, `","refusal":null,"tool_calls":[]`...)
	}
	b = append(b, `,"reasoning_content":`...)
	if c.reasoning == 0 {
		return append(b, "null"...)
	}
	return append(c.appendReasoning(append(b, '"')), '"')
}

// streamChat sends the role, the tokens of all choices in turn, the finishes, the usage if asked for, and [DONE].
func (x *exchange) streamChat(promptTokens int) error {
	if err := x.open(); err != nil {
		return err
	}
	x.head = x.appendHead(append(x.head[:0], "data: "...), "chatcmpl-", "chat.completion.chunk")
	for i := range x.choices {
		x.beginChunk(i)
		x.buf = append(x.buf, `{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}`...)
		if err := x.endChunk(); err != nil {
			return err
		}
	}
	if err := x.flush(); err != nil {
		return err
	}
	if err := x.eachToken(x.chatToken); err != nil {
		return err
	}
	for i := range x.choices {
		x.beginChunk(i)
		x.buf = append(x.buf, `{},"logprobs":null,"finish_reason":"`...)
		x.buf = append(x.buf, x.choices[i].finish()...)
		x.buf = append(x.buf, `","stop_reason":null}]`...)
		x.buf = append(x.appendFingerprint(x.buf), '}')
		if err := x.endChunk(); err != nil {
			return err
		}
	}
	if err := x.usageChunk(promptTokens); err != nil {
		return err
	}
	return x.done()
}

// eachToken calls send for each token of the choices in turn, with the gaps of the script between the turns.
func (x *exchange) eachToken(send func(c *choice) error) error {
	for first := true; ; first = false {
		waited := false
		for i := range x.choices {
			c := &x.choices[i]
			if c.done() {
				continue
			}
			if !waited {
				if err := x.gap(first); err != nil {
					return err
				}
				waited = true
			}
			if err := send(c); err != nil {
				return err
			}
		}
		if !waited {
			return nil
		}
	}
}

func (x *exchange) chatToken(c *choice) error {
	x.beginChunk(c.index)
	switch {
	case c.thinking():
		x.buf = append(c.next(append(x.buf, `{"reasoning_content":"`...)), `"}`...)
	case c.tool == nil:
		x.buf = append(c.next(append(x.buf, `{"content":"`...)), `"}`...)
	case c.sent == 0:
		c.sent++
		x.buf = appendID(append(x.buf, `{"tool_calls":[{"id":"`...), "chatcmpl-tool-")
		x.buf = append(append(x.buf, `","type":"function","index":0,"function":{"name":"`...), c.tool...)
		x.buf = append(x.buf, `","arguments":""}}]}`...)
	default:
		c.sent++
		x.buf = append(x.buf, `{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}`...)
	}
	x.buf = append(x.buf, `,"logprobs":null,"finish_reason":null}]}`+"\n\n"...)
	return x.token()
}

// appendHead begins an answer or chunk of chat and completions, up to the bracket of its choices.
func (x *exchange) appendHead(b []byte, idPrefix, object string) []byte {
	b = appendID(append(b, `{"id":"`...), idPrefix)
	b = append(append(b, `","object":"`...), object...)
	b = strconv.AppendInt(append(b, `","created":`...), now(), 10)
	b = append(append(b, `,"model":"`...), x.req.model...)
	return append(b, `","choices":[`...)
}

// beginChunk appends a chunk up to its delta.
func (x *exchange) beginChunk(index int) {
	x.buf = append(append(x.buf, x.head...), `{"index":`...)
	x.buf = strconv.AppendInt(x.buf, int64(index), 10)
	x.buf = append(x.buf, `,"delta":`...)
}

func (x *exchange) endChunk() error {
	x.buf = append(x.buf, "\n\n"...)
	return x.event()
}

func (x *exchange) appendFingerprint(b []byte) []byte {
	return append(append(b, `,"system_fingerprint":`...), x.s.fingerprint...)
}

// appendUsage appends the usage of chat and completions.
func (x *exchange) appendUsage(b []byte, promptTokens int) []byte {
	completion := x.total()
	b = strconv.AppendInt(append(b, `,"usage":{"prompt_tokens":`...), int64(promptTokens), 10)
	b = strconv.AppendInt(append(b, `,"total_tokens":`...), int64(promptTokens+completion), 10)
	b = strconv.AppendInt(append(b, `,"completion_tokens":`...), int64(completion), 10)
	return append(b, `,"prompt_tokens_details":null}`...)
}

// usageChunk sends the chunk with the usage and no choices, if the request asks for it.
func (x *exchange) usageChunk(promptTokens int) error {
	if !x.req.includeUsage {
		return nil
	}
	x.buf = append(append(x.buf, x.head...), ']')
	x.buf = x.appendUsage(x.buf, promptTokens)
	x.buf = append(x.appendFingerprint(x.buf), '}')
	return x.endChunk()
}
