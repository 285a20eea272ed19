package echomodel

import (
	"hash/fnv"
	"strconv"
)

// texts returns the texts of a prompt or an input: of a string, of strings, of objects with a text, of token ids, or
// of lists of token ids. They are raw JSON, checked so that they may be echoed.
func texts(raw []byte) ([][]byte, error) {
	if text, ok := textOf(raw); ok {
		return [][]byte{text}, checkText(text)
	}
	var out [][]byte
	var ids []byte
	err := elements(raw, func(value []byte) error {
		switch value[0] {
		case '"':
			text, _ := textOf(value)
			out = append(out, text)
			return checkText(text)
		case '[':
			words, err := texts(value)
			out = append(out, words...)
			return err
		case '{':
			text, err := joinParts(append(append([]byte{'['}, value...), ']'))
			out = append(out, text)
			if err != nil {
				return err
			}
			return checkText(text)
		}
		if len(ids) > 0 {
			ids = append(ids, ' ')
		}
		ids = append(append(ids, 'w'), value...)
		return nil
	})
	if ids != nil {
		out = append(out, ids)
	}
	return out, err
}

// serveTokenize answers /tokenize for a prompt or messages. The id of the word "w12" is 12, so that what the model
// generates comes back from /detokenize; other words have the id of their hash, and come back as "w" and that.
func serveTokenize(x *exchange) error {
	var text []byte
	switch {
	case x.req.prompt != nil:
		inputs, err := texts(x.req.prompt)
		if err != nil {
			return err
		}
		for _, t := range inputs {
			text = append(text, t...)
		}
	case x.req.messages != nil:
		var talk conversation
		if err := talk.read(x.req.messages); err != nil {
			return err
		}
		text = talk.text
	default:
		return badRequest("prompt", "Field required")
	}
	count, _ := countTokens(text, len(text))
	b := strconv.AppendInt(append(x.buf, `{"count":`...), int64(count), 10)
	b = strconv.AppendInt(append(b, `,"max_model_len":`...), maxModelLen, 10)
	b = append(b, `,"tokens":[`...)
	for i := range count {
		n := tokenLength(text)
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, wordID(text[:n]), 10)
		text = text[n:]
	}
	x.buf = append(b, `],"token_strs":null}`...)
	return x.json(x.buf)
}

func wordID(token []byte) uint64 {
	word := token
	for len(word) > 0 && word[len(word)-1] == ' ' {
		word = word[:len(word)-1]
	}
	if len(word) > 1 && word[0] == 'w' {
		if id, err := strconv.ParseUint(string(word[1:]), 10, 31); err == nil {
			return id
		}
	}
	h := fnv.New32a()
	_, _ = h.Write(word) // never fails
	return uint64(h.Sum32() >> 1)
}

// serveDetokenize answers /detokenize.
func serveDetokenize(x *exchange) error {
	if x.req.tokens == nil {
		return badRequest("tokens", "Field required")
	}
	words, err := texts(x.req.tokens)
	if err != nil {
		return err
	}
	b := append(x.buf, `{"prompt":"`...)
	for _, w := range words {
		b = append(b, w...)
	}
	x.buf = append(b, `"}`...)
	return x.json(x.buf)
}
