package openai

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
)

// Answer is a whole answer in one form, whatever its dialect: of a stream, which a
// [Reader] puts together, or of a plain body ([ReadBody]).
type Answer struct {
	Dialect Dialect
	// Stream says that the answer came as events.
	Stream bool
	// ID is the server's, which is not always unique: Ollama draws three digits,
	// TGI sends none.
	ID string
	// Model is the name under which the server answered, empty if it gave none.
	Model string
	// Choices are in the order of their index. A response or message has one.
	Choices []Choice
	// Usage is the last one reported, nil if none was.
	Usage *Usage
	// Err is the first error in the answer, nil if there was none.
	Err *Failure
	// Done says that [DONE] came, which proves nothing: vLLM, SGLang, LMDeploy and
	// TGI send it behind an error too.
	Done bool
	// Ended says that the dialect's own last event came, or that a plain body is
	// whole.
	Ended bool
	// Cut says that the answer stopped in the middle of an event or a value.
	Cut bool
	// Garbled counts the events that could not be read and were left out.
	Garbled int
	// TooLarge says that the answer exceeds the reader's limit. Nothing else in it
	// can be relied on.
	TooLarge bool
}

// Choice is one of the answers to one question.
type Choice struct {
	Index int
	// Role is assistant unless the server says something else.
	Role string
	// Content, Reasoning and Refusal are empty where there is none.
	Content, Reasoning, Refusal string
	// Encoded takes the place of Content in answers of [ReadBodyInPlace]: the inside of
	// the JSON string that it is, as it stands in the body.
	Encoded []byte
	Calls   []Call
	// FunctionCall is the form of a call that was in use before tool calls.
	FunctionCall *Call
	// Finish is why the model stopped, in the words of chat completions: stop,
	// length, tool_calls, function_call, content_filter; error where a response has
	// failed. A word that is not known is left as it is. RawFinish is the server's
	// own: end_turn, max_tokens, completed. Both are empty if none came.
	Finish, RawFinish string
	// Extras are members of the answer that have no place above, as JSON: logprobs,
	// annotations, citations, blocks and items of tools that the server ran.
	Extras []Extra
}

// Call is one call of a tool.
type Call struct {
	ID, Type, Name string
	// Arguments is JSON text as the model wrote it, which need not be valid. Empty
	// arguments are written {}.
	Arguments string
}

// Extra is one member of [Choice.Extras].
type Extra struct {
	Name string
	// JSON is a valid value.
	JSON []byte
}

// Usage counts tokens. Prompt includes what came from a cache.
type Usage struct {
	Prompt, Completion, Total int64
}

// Failure is an error object. All members may be empty, for servers differ.
type Failure struct {
	Message, Type string
	// Code is a word or a number.
	Code string
}

// Said reports whether the choice holds anything: text, reasoning, a refusal or a
// call.
func (c *Choice) Said() bool {
	return c.Content != "" || len(c.Encoded) > 0 || c.Reasoning != "" || c.Refusal != "" || len(c.Calls) > 0 || c.FunctionCall != nil
}

// Decode turns Encoded into Content.
func (c *Choice) Decode() {
	if len(c.Encoded) > 0 {
		decoded, _ := rawjson.AppendUnescaped(make([]byte, 0, len(c.Encoded)), c.Encoded)
		c.Content, c.Encoded = text(decoded), nil
	}
}

// Whole reports whether the choice is known to be complete: the answer has a
// terminal marker, or the choice a finish_reason in a dialect whose servers may
// leave the marker out. An error beside it is for the caller to see.
func (a *Answer) Whole(c *Choice) bool {
	return a.Done || a.Ended || c.Finish != "" && (a.Dialect == Chat || a.Dialect == Completions)
}

// finishes are the words that servers use besides those of chat completions.
var finishes = map[string]string{
	"end_turn":                      "stop",
	"stop_sequence":                 "stop",
	"eos":                           "stop",
	"eos_token":                     "stop",
	"max_tokens":                    "length",
	"tool_use":                      "tool_calls",
	"refusal":                       "content_filter",
	"pause_turn":                    "length",
	"model_context_window_exceeded": "length",
}

// normalFinish returns the word of chat completions for a server's.
func normalFinish(word string) string {
	switch word {
	case "", "stop", "length", "tool_calls":
		return word
	}
	if known, ok := finishes[strings.ToLower(word)]; ok {
		return known
	}
	return word
}

// readFailure reads an error: an object, with or without a member error that holds
// it, or a text. It returns nil for null and nothing.
func readFailure(value []byte) *Failure {
	switch value = rawjson.Trim(value); {
	case rawjson.IsString(value):
		return &Failure{Message: rawjson.Text(value)}
	case !rawjson.IsObject(value):
		if rawjson.IsNull(value) {
			return nil
		}
		return &Failure{Message: string(value)}
	}
	f := new(Failure)
	for m := rawjson.Object(value); m.Next(); {
		switch string(m.Key) {
		case "error":
			if inner := readFailure(m.Value); inner != nil {
				return inner
			}
		case "message":
			f.Message = rawjson.Text(m.Value)
		case "type":
			f.Type = rawjson.Text(m.Value)
		case "code":
			f.Code = word(m.Value)
		}
	}
	return f
}

// word returns a text or a number as text.
func word(value []byte) string {
	if rawjson.IsString(value) {
		return rawjson.Text(value)
	}
	if rawjson.IsNull(value) {
		return ""
	}
	return string(value)
}

// isFailure reports whether the value of a member error says that there is one.
func isFailure(value []byte) bool {
	switch string(value) {
	case "", "null", `""`, "false", "{}":
		return false
	}
	return true
}

// readUsage is [parseUsage] for an answer: nil unless there are counts.
func readUsage(value []byte) *Usage {
	u, found := parseUsage(value)
	if !found {
		return nil
	}
	return &u
}

// number returns the integer that value holds, else 0.
func number(value []byte) int {
	n, err := strconv.Atoi(string(value))
	if err != nil {
		return 0
	}
	return n
}

// hasItems reports whether value is an array or object that is not empty.
func hasItems(value []byte) bool {
	if !rawjson.IsArray(value) && !rawjson.IsObject(value) {
		return false
	}
	return len(bytes.TrimSpace(value[1:len(value)-1])) > 0
}
