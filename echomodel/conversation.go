package echomodel

import (
	"bytes"
	"encoding/json"
)

// conversation is what a list of messages comes to.
type conversation struct {
	text     []byte // of the last user message that has any; parts are joined
	lastUser bool   // the last message is the user's, and text is its text
	tokens   int    // of all texts, see countBlanks
}

// read walks the messages of chat or of Anthropic, or the input items of Responses.
func (c *conversation) read(raw []byte) error {
	return elements(raw, func(message []byte) error {
		var role, content []byte
		err := members(message, func(key, value []byte) error {
			switch string(key) {
			case "role":
				role, _ = textOf(value)
			case "content":
				content = value
			}
			return nil
		})
		if err != nil {
			return err
		}
		text, err := joinParts(content)
		if err != nil {
			return err
		}
		c.tokens += countBlanks(text)
		c.lastUser = string(role) == "user" && len(text) > 0
		if c.lastUser {
			c.text = text
		}
		return nil
	})
}

// mentionsTool says whether the user asks for a call.
func (c *conversation) mentionsTool() bool { return bytes.Contains(c.text, []byte("tool")) }

// joinParts returns the text of a content: a string, or the members "text" of an array's parts.
func joinParts(content []byte) ([]byte, error) {
	if text, ok := textOf(content); ok {
		return text, nil
	}
	if len(content) == 0 || content[0] != '[' {
		return nil, nil
	}
	var joined []byte
	err := elements(content, func(part []byte) error {
		if text, ok := textOf(part); ok {
			joined = append(joined, text...)
			return nil
		}
		return members(part, func(key, value []byte) error {
			if text, ok := textOf(value); ok && string(key) == "text" {
				joined = append(joined, text...)
			}
			return nil
		})
	})
	return joined, err
}

// countBlanks estimates the tokens of a text by its blanks, at the speed of bytes.Count. It is exact for words with
// single blanks between them, and the same for the same text, which is what usage counts in tests are compared by.
func countBlanks(text []byte) int {
	if len(text) == 0 {
		return 0
	}
	return bytes.Count(text, []byte{' '}) + 1
}

// firstTool returns the name of the first tool, or nil: {"function":{"name":…}} in chat, {"name":…} elsewhere.
func (q *request) firstTool() (name []byte, err error) {
	if len(q.tools) == 0 || q.tools[0] != '[' {
		return nil, nil
	}
	var find func(key, value []byte) error
	find = func(key, value []byte) error {
		switch string(key) {
		case "function":
			return members(value, find)
		case "name":
			if text, ok := textOf(value); ok && json.Valid(value) {
				name = text
			}
		}
		return nil
	}
	err = elements(q.tools, func(tool []byte) error {
		if name != nil {
			return nil
		}
		return members(tool, find)
	})
	return name, err
}
