package echomodel

import "strconv"

// serveCompletions answers /v1/completions: n choices for each prompt.
func serveCompletions(x *exchange) error {
	if x.req.prompt == nil {
		return badRequest("prompt", "Field required")
	}
	prompts, err := texts(x.req.prompt)
	if err != nil {
		return err
	}
	x.script.Reasoning = 0 // a bare prompt has no place for it
	if err := x.plan(nil, x.req.n, prompts...); err != nil {
		return err
	}
	promptTokens := 0
	for _, p := range prompts {
		promptTokens += countBlanks(p)
	}
	if x.req.stream {
		return x.streamCompletions(promptTokens)
	}
	if err := x.think(x.longest()); err != nil {
		return err
	}
	b := x.appendHead(x.buf, "cmpl-", "text_completion")
	for i := range x.choices {
		c := &x.choices[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(append(b, `{"index":`...), int64(i), 10)
		b = c.appendContent(append(b, `,"text":"`...))
		b = append(append(b, `","logprobs":null,"finish_reason":"`...), c.finish()...)
		b = append(b, `","stop_reason":null,"prompt_logprobs":null}`...)
	}
	b = append(b, `],"service_tier":null`...)
	x.buf = append(x.appendUsage(x.appendFingerprint(b), promptTokens), '}')
	return x.json(x.buf)
}

func (x *exchange) streamCompletions(promptTokens int) error {
	if err := x.open(); err != nil {
		return err
	}
	x.head = x.appendHead(append(x.head[:0], "data: "...), "cmpl-", "text_completion")
	err := x.eachToken(func(c *choice) error {
		x.beginText(c.index)
		x.buf = append(c.next(x.buf), `","logprobs":null,"finish_reason":null,"stop_reason":null}]}`+"\n\n"...)
		return x.token()
	})
	if err != nil {
		return err
	}
	for i := range x.choices {
		x.beginText(i)
		x.buf = append(x.buf, `","logprobs":null,"finish_reason":"`...)
		x.buf = append(append(x.buf, x.choices[i].finish()...), `","stop_reason":null}]`...)
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

// beginText appends a chunk up to its text.
func (x *exchange) beginText(index int) {
	x.buf = append(append(x.buf, x.head...), `{"index":`...)
	x.buf = strconv.AppendInt(x.buf, int64(index), 10)
	x.buf = append(x.buf, `,"text":"`...)
}
