package echomodel

import (
	"encoding/json"
	"strconv"
)

// request holds what the answers need of a body. Slices are raw JSON and parts of the body; nil means absent or null.
type request struct {
	model        []byte // without its quotes
	stream       bool
	includeUsage bool
	n            int // choices; 0 means 1
	maxTokens    int // 0 means no limit

	messages, prompt, input, system, tools, tokens []byte
	query, documents, text1, text2                 []byte
	topN, dimensions                               int
	base64                                         bool
	echo                                           []byte
}

// parse reads a JSON body of any route; each takes the members that its dialect has.
func (q *request) parse(raw []byte) error {
	*q = request{}
	return members(raw, func(key, value []byte) error {
		if string(value) != "null" {
			return q.member(key, value)
		}
		return nil
	})
}

func (q *request) member(key, value []byte) (err error) {
	switch string(key) {
	case "model":
		model, ok := textOf(value)
		if !ok || !json.Valid(value) {
			return badRequest("model", "Input should be a valid string")
		}
		q.model = model
	case "messages":
		q.messages = value
	case "prompt":
		q.prompt = value
	case "input":
		q.input = value
	case "system", "instructions":
		q.system = value
	case "tools":
		q.tools = value
	case "tokens":
		q.tokens = value
	case "query":
		q.query = value
	case "documents":
		q.documents = value
	case "text_1":
		q.text1 = value
	case "text_2":
		q.text2 = value
	case "stream":
		q.stream = string(value) == "true"
	case "stream_options":
		return members(value, func(key, value []byte) error {
			if string(key) == "include_usage" {
				q.includeUsage = string(value) == "true"
			}
			return nil
		})
	case "n":
		q.n, err = member("n", value, 128)
	case "max_tokens", "max_completion_tokens", "max_output_tokens":
		q.maxTokens, err = member(string(key), value, 1<<31-1)
	case "top_n":
		q.topN, err = member("top_n", value, 1<<31-1)
	case "dimensions":
		q.dimensions, err = member("dimensions", value, 4096)
	case "encoding_format":
		q.base64 = string(value) == `"base64"`
	case "echo":
		if value[0] == '{' { // in /v1/completions it is also an option of OpenAI's, true or false
			q.echo = value
		}
	}
	return err
}

// member reads a number of a request from 1 on.
func member(name string, value []byte, top int) (int, error) {
	n, err := strconv.Atoi(string(value))
	if err != nil || n < 1 || n > top {
		return 0, badRequest(name, "Input should be a number from 1 to "+strconv.Itoa(top))
	}
	return n, nil
}
