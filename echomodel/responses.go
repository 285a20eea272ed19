package echomodel

import "strconv"

// serveResponses answers /v1/responses: an item of reasoning if the script asks for it, then a message or a call.
// The events are those of OpenAI's API, each with its type in the event line and in the data; no [DONE] ends them.
func serveResponses(x *exchange) error {
	talk, err := x.readInput()
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
	x.created = now()
	x.head = appendID(x.head[:0], "")
	if x.req.stream {
		return x.streamResponses(talk.tokens)
	}
	if err := x.think(x.longest()); err != nil {
		return err
	}
	x.buf = x.appendResponse(x.buf, x.choices[0].status(), talk.tokens)
	return x.json(x.buf)
}

// readInput reads input, a text or a list of items, and the instructions, which count into the prompt.
func (x *exchange) readInput() (talk conversation, err error) {
	if x.req.input == nil {
		return talk, badRequest("input", "Field required")
	}
	if text, ok := textOf(x.req.input); ok {
		talk = conversation{text: text, lastUser: true, tokens: countBlanks(text)}
	} else if err := talk.read(x.req.input); err != nil {
		return talk, err
	}
	system, err := joinParts(x.req.system)
	talk.tokens += countBlanks(system)
	return talk, err
}

// status is the choice's end in the words of Responses.
func (c *choice) status() string {
	if c.cut && c.tool == nil {
		return "incomplete"
	}
	return "completed"
}

// streamResponses sends the items one after the other, each from its output_item.added to its output_item.done.
func (x *exchange) streamResponses(promptTokens int) error {
	if err := x.open(); err != nil {
		return err
	}
	for _, kind := range [...]string{"response.created", "response.in_progress"} {
		x.beginEvent(kind)
		x.buf = x.appendResponse(append(x.buf, `"response":`...), "in_progress", promptTokens)
		if err := x.endEvent(); err != nil {
			return err
		}
	}
	if err := x.flush(); err != nil {
		return err
	}
	c := &x.choices[0]
	item := 0
	if c.reasoning > 0 {
		if err := x.streamItem(c, item, reasoningItem); err != nil {
			return err
		}
		item++
	}
	kind := messageItem
	if c.tool != nil {
		kind = callItem
	}
	if err := x.streamItem(c, item, kind); err != nil {
		return err
	}
	x.beginEvent("response." + c.status())
	x.buf = x.appendResponse(append(x.buf, `"response":`...), c.status(), promptTokens)
	x.buf = append(x.buf, "}\n\n"...)
	return x.last()
}

// itemKind is a kind of output item, with the names of its events.
type itemKind struct {
	prefix        string // of its id
	part          string // of the events content_part.* or reasoning_part.*; "" has none
	partType      string // of that part
	delta, finish string // events of its text
	field         string // of the whole text in the finishing event
}

var (
	reasoningItem = &itemKind{
		"rs_", "reasoning_part", "reasoning_text", "reasoning_text.delta", "reasoning_text.done", "text",
	}
	messageItem = &itemKind{"msg_", "content_part", "output_text", "output_text.delta", "output_text.done", "text"}
	callItem    = &itemKind{
		"fc_", "", "", "function_call_arguments.delta", "function_call_arguments.done", "arguments",
	}
)

func (x *exchange) streamItem(c *choice, index int, k *itemKind) error {
	x.beginEvent("response.output_item.added")
	x.appendIndex(index, nil)
	x.buf = x.appendItem(append(x.buf, `,"item":`...), c, k, "in_progress")
	if err := x.endEvent(); err != nil {
		return err
	}
	if k.part != "" {
		x.beginEvent("response." + k.part + ".added")
		x.appendIndex(index, k)
		x.buf = x.appendPart(append(x.buf, `,"part":`...), c, k, false)
		if err := x.endEvent(); err != nil {
			return err
		}
	}
	if err := x.streamText(c, index, k); err != nil {
		return err
	}
	x.beginEvent("response." + k.finish)
	x.appendIndex(index, k)
	x.buf = append(append(append(x.buf, `,"`...), k.field...), `":"`...)
	x.buf = append(x.appendText(x.buf, c, k), '"')
	if err := x.endEvent(); err != nil {
		return err
	}
	if k.part != "" {
		x.beginEvent("response." + k.part + ".done")
		x.appendIndex(index, k)
		x.buf = x.appendPart(append(x.buf, `,"part":`...), c, k, true)
		if err := x.endEvent(); err != nil {
			return err
		}
	}
	x.beginEvent("response.output_item.done")
	x.appendIndex(index, nil)
	x.buf = x.appendItem(append(x.buf, `,"item":`...), c, k, c.status())
	return x.endEvent()
}

// streamText sends the deltas of one item, one token each.
func (x *exchange) streamText(c *choice, index int, k *itemKind) error {
	for first := index == 0; !c.done() && c.thinking() == (k == reasoningItem); first = false {
		if err := x.gap(first); err != nil {
			return err
		}
		x.beginEvent("response." + k.delta)
		x.appendIndex(index, k)
		x.buf = append(x.buf, `,"delta":"`...)
		if k == callItem {
			c.sent = c.tokens // a call's arguments come in one piece
			x.buf = append(x.buf, "{}"...)
		} else {
			x.buf = c.next(x.buf)
		}
		x.buf = append(x.buf, "\"}\n\n"...)
		if err := x.token(); err != nil {
			return err
		}
	}
	return nil
}

func (x *exchange) beginEvent(kind string) {
	x.buf = append(append(x.buf, "event: "...), kind...)
	x.buf = append(append(x.buf, "\ndata: {\"type\":\""...), kind...)
	x.buf = strconv.AppendInt(append(x.buf, `","sequence_number":`...), int64(x.seq), 10)
	x.buf = append(x.buf, ',')
	x.seq++
}

func (x *exchange) endEvent() error {
	x.buf = append(x.buf, "}\n\n"...)
	return x.event()
}

// appendIndex appends where an event belongs: to the item, and with k to a part of it.
func (x *exchange) appendIndex(index int, k *itemKind) {
	x.buf = strconv.AppendInt(append(x.buf, `"output_index":`...), int64(index), 10)
	if k == nil {
		return
	}
	x.buf = append(append(x.buf, `,"item_id":"`...), k.prefix...)
	x.buf = append(append(x.buf, x.head...), '"')
	if k.part != "" {
		x.buf = append(x.buf, `,"content_index":0`...)
	}
}

// appendText appends the whole text of an item.
func (x *exchange) appendText(b []byte, c *choice, k *itemKind) []byte {
	switch k {
	case reasoningItem:
		return c.appendReasoning(b)
	case callItem:
		return append(b, "{}"...)
	}
	return c.appendContent(b)
}

func (x *exchange) appendPart(b []byte, c *choice, k *itemKind, whole bool) []byte {
	b = append(append(b, `{"type":"`...), k.partType...)
	b = append(b, `","text":"`...)
	if whole {
		b = x.appendText(b, c, k)
	}
	b = append(b, '"')
	if k == messageItem {
		b = append(b, `,"annotations":[],"logprobs":[]`...)
	}
	return append(b, '}')
}

// appendItem appends an output item, without its text while it is in progress.
func (x *exchange) appendItem(b []byte, c *choice, k *itemKind, status string) []byte {
	whole := status != "in_progress"
	b = append(append(append(b, `{"id":"`...), k.prefix...), x.head...)
	b = append(append(b, `","status":"`...), status...)
	if k == callItem {
		b = append(append(b, `","type":"function_call","call_id":"call_`...), x.head...)
		b = append(append(b, `","name":"`...), c.tool...)
		b = append(b, `","arguments":"`...)
		if whole {
			b = x.appendText(b, c, k)
		}
		return append(b, `"}`...)
	}
	if k == reasoningItem {
		b = append(b, `","type":"reasoning","summary":[],"content":[`...)
	} else {
		b = append(b, `","type":"message","role":"assistant","content":[`...)
	}
	if whole {
		b = x.appendPart(b, c, k, true)
	}
	return append(b, "]}"...)
}

// appendResponse appends the response object, with output and usage when it is no longer in progress.
func (x *exchange) appendResponse(b []byte, status string, promptTokens int) []byte {
	c := &x.choices[0]
	whole := status != "in_progress"
	b = append(append(b, `{"id":"resp_`...), x.head...)
	b = strconv.AppendInt(append(b, `","object":"response","created_at":`...), x.created, 10)
	b = append(append(b, `,"status":"`...), status...)
	b = append(b, `","error":null,"incomplete_details":`...)
	if status == "incomplete" {
		b = append(b, `{"reason":"max_output_tokens"}`...)
	} else {
		b = append(b, "null"...)
	}
	b = append(append(b, `,"instructions":null,"metadata":{},"model":"`...), x.req.model...)
	b = append(b, `","output":[`...)
	if whole && c.reasoning > 0 {
		b = append(x.appendItem(b, c, reasoningItem, "completed"), ',')
	}
	switch {
	case whole && c.tool != nil:
		b = x.appendItem(b, c, callItem, status)
	case whole:
		b = x.appendItem(b, c, messageItem, status)
	}
	b = append(b, `],"parallel_tool_calls":true,"previous_response_id":null,"temperature":1.0,"tool_choice":"auto",`...)
	b = append(b, `"tools":[],"top_p":1.0,"truncation":"disabled","usage":`...)
	if !whole {
		return append(b, "null}"...)
	}
	b = strconv.AppendInt(append(b, `{"input_tokens":`...), int64(promptTokens), 10)
	b = strconv.AppendInt(append(b, `,"input_tokens_details":{"cached_tokens":0},"output_tokens":`...), int64(x.total()), 10)
	b = strconv.AppendInt(append(b, `,"output_tokens_details":{"reasoning_tokens":`...), int64(c.reasoning), 10)
	b = strconv.AppendInt(append(b, `},"total_tokens":`...), int64(promptTokens+x.total()), 10)
	return append(b, "}}"...)
}
