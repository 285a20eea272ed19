package sharegpt

import (
	"encoding/json"
	"slices"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
)

// StatusOf returns how a choice of the exchange's answer ended. Without choices it
// is that of the answer.
func StatusOf(x *Exchange, c *openai.Choice) Status {
	a := x.Answer
	if c == nil {
		c = new(openai.Choice)
	}
	whole := a.Whole(c)
	switch {
	case a.TooLarge:
		return Unreadable
	case x.HTTP >= 400:
		return Failed
	case (x.Outcome == "truncated" || x.Outcome == "shutdown") && (a.Err != nil || !whole):
		return Truncated // the error is what the gateway told the client
	case a.Err != nil || c.Finish == "error" || c.Finish == "parse_error":
		return Failed
	case !whole && x.ClientGone:
		return ClientDisconnect
	case !whole || c.Finish == "abort":
		return Truncated
	case c.Finish == "content_filter":
		return ContentFilter
	case c.Finish == "length":
		return Length
	case !c.Said():
		return Empty
	}
	return OK
}

// folder returns where a choice of that status belongs, media aside. Flags are
// those of its record.
func (p *Projector) folder(x *Exchange, c *openai.Choice, status Status, flags flags) Folder {
	switch {
	case x.HTTP >= 400 || status == Unreadable || !c.Said():
		return None
	case flags&partialHistory != 0 || !validArguments(c):
		return Incomplete
	case status == Length:
		// Reasoning that was cut before the answer teaches nothing.
		if p.options.CompleteOnly || c.Content == "" && len(c.Encoded) == 0 && c.Refusal == "" && len(c.Calls) == 0 && c.FunctionCall == nil {
			return Incomplete
		}
	case status != OK:
		return Incomplete
	}
	if x.Answer.Dialect == openai.Completions {
		return Completions
	}
	return Main
}

// validArguments reports whether the arguments of all calls are JSON. A line with
// others stops a run of LLaMA-Factory.
func validArguments(c *openai.Choice) bool {
	for _, call := range callsOf(c) {
		if !json.Valid([]byte(call.Arguments)) {
			return false
		}
	}
	return true
}

// callsOf returns the calls of a choice, that of the older form included.
func callsOf(c *openai.Choice) []openai.Call {
	if c.FunctionCall == nil {
		return c.Calls
	}
	return append(slices.Clip(c.Calls), *c.FunctionCall)
}
