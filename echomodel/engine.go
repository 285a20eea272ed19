package echomodel

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// maxAnswer bounds what a script may ask for, in bytes and padded tokens.
const maxAnswer = 1 << 30

// choice is one answer in the making: so many reasoning tokens "r1 r2 …", then so many tokens of content, which are
// either words "w1 w2 …" or, when text is set, the words of text (raw JSON, see scan.go), or a tool call instead.
type choice struct {
	index     int
	reasoning int
	tokens    int
	text      []byte
	size      int // of a generated token, in bytes, 0 for no padding
	tool      []byte
	cut       bool // by the request's limit

	sentReasoning, sent int
	rest                []byte // of text
}

// plan makes the choices of the answer: n for each text. It wants x.script and x.req.
func (x *exchange) plan(tool []byte, n int, texts ...[]byte) error {
	x.choices = x.choices[:0]
	for _, text := range texts {
		c := choice{reasoning: x.script.Reasoning, tokens: x.script.Tokens, size: x.script.Size, tool: tool}
		limit := x.req.maxTokens
		if limit == 0 {
			limit = maxTokens
		}
		c.reasoning, c.cut = min(c.reasoning, limit), c.reasoning > limit
		limit -= c.reasoning
		switch {
		case tool != nil:
			c.tokens = 2 // as many as the pieces of a streamed call
		case c.tokens > 0 || c.size > 0:
			c.tokens = max(c.tokens, 1)
			c.tokens, c.cut = min(c.tokens, limit), c.cut || c.tokens > limit
		default:
			if err := checkText(text); err != nil {
				return err
			}
			var length int
			c.tokens, length = countTokens(text, limit)
			c.text, c.cut = text[:length:length], c.cut || length < len(text)
		}
		c.rest = c.text
		if int64(c.reasoning+c.tokens)*int64(max(c.size, 1))*int64(max(n, 1)*len(texts)) > maxAnswer {
			return badRequest("echo", fmt.Sprintf("answer larger than %d bytes", maxAnswer))
		}
		for range max(n, 1) {
			c.index = len(x.choices)
			x.choices = append(x.choices, c)
		}
	}
	return nil
}

// total is the number of tokens generated in all choices.
func (x *exchange) total() (n int) {
	for i := range x.choices {
		n += x.choices[i].reasoning + x.choices[i].tokens
	}
	return n
}

// longest is the number of tokens of the longest choice, which the others wait for.
func (x *exchange) longest() (n int) {
	for i := range x.choices {
		n = max(n, x.choices[i].reasoning+x.choices[i].tokens)
	}
	return n
}

func (c *choice) done() bool { return c.sentReasoning == c.reasoning && c.sent == c.tokens }

// thinking says whether the next token is one of reasoning.
func (c *choice) thinking() bool { return c.sentReasoning < c.reasoning }

// next appends the next token of reasoning or content, fit to stand between JSON quotes.
func (c *choice) next(dst []byte) []byte {
	if c.thinking() {
		c.sentReasoning++
		return appendWord(dst, 'r', c.sentReasoning, c.size, c.sentReasoning == c.reasoning)
	}
	c.sent++
	if c.text == nil {
		return appendWord(dst, 'w', c.sent, c.size, c.sent == c.tokens)
	}
	n := tokenLength(c.rest)
	dst = append(dst, c.rest[:n]...)
	c.rest = c.rest[n:]
	return dst
}

// appendReasoning and appendContent append the whole of it.
func (c *choice) appendReasoning(dst []byte) []byte {
	for i := 1; i <= c.reasoning; i++ {
		dst = appendWord(dst, 'r', i, c.size, i == c.reasoning)
	}
	return dst
}

func (c *choice) appendContent(dst []byte) []byte {
	if c.text != nil {
		return append(dst, c.text...)
	}
	for i := 1; i <= c.tokens; i++ {
		dst = appendWord(dst, 'w', i, c.size, i == c.tokens)
	}
	return dst
}

// finish is the choice's finish_reason in the words of chat.
func (c *choice) finish() string {
	switch {
	case c.tool != nil:
		return "tool_calls"
	case c.cut:
		return "length"
	}
	return "stop"
}

func appendWord(dst []byte, letter byte, i, size int, last bool) []byte {
	start := len(dst)
	dst = strconv.AppendInt(append(dst, letter), int64(i), 10)
	if !last {
		size--
	}
	for n := size - (len(dst) - start); n > 0; n -= len(padding) {
		dst = append(dst, padding[:min(n, len(padding))]...)
	}
	if !last {
		dst = append(dst, ' ')
	}
	return dst
}

var padding = strings.Repeat("x", 4096)

// tokenLength is the length of the first token of a raw JSON text: a word with the blanks after it (and, at the
// text's start, before it).
func tokenLength(text []byte) int {
	i := 0
	for i < len(text) && blank(text, i) > 0 {
		i += blank(text, i)
	}
	for i < len(text) && text[i] != ' ' {
		if text[i] != '\\' {
			i++
			continue
		}
		if blank(text, i) > 0 {
			break
		}
		i = min(i+2, len(text)) // the escaped character is no blank, and no backslash of its own
	}
	for i < len(text) && blank(text, i) > 0 {
		i += blank(text, i)
	}
	return i
}

// blank is the length of the blank at i, plain or escaped, or 0.
func blank(text []byte, i int) int {
	switch {
	case text[i] == ' ':
		return 1
	case text[i] == '\\' && i+1 < len(text) && (text[i+1] == 'n' || text[i+1] == 't' || text[i+1] == 'r'):
		return 2
	}
	return 0
}

// countTokens counts the tokens of text up to limit, and their bytes.
func countTokens(text []byte, limit int) (n, length int) {
	for n < limit && length < len(text) {
		length += tokenLength(text[length:])
		n++
	}
	return n, length
}

// appendID appends a random id such as "chatcmpl-" and 32 hexadecimal digits.
func appendID(dst []byte, prefix string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, prefix...)
	for range 2 {
		for r, i := rand.Uint64(), 0; i < 16; i++ {
			dst = append(dst, digits[r&15])
			r >>= 4
		}
	}
	return dst
}
