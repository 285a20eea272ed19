package balance

import (
	"bytes"

	"github.com/cespare/xxhash/v2"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/splice"
)

// cutter walks over a body once, and hashes what belongs to a prompt in blocks. What has
// no white space in it is hashed where it stands.
type cutter struct {
	text    []byte
	longest splice.Value // string of text: it need not be looked for where it ends

	out    *part
	limit  int // of its blocks
	staged int
	stage  [BlockSize]byte // the beginning of a block whose end has not been reached
}

// member returns the quoted name of the member that begins at i or behind a comma there,
// and where its value begins; a negative place if there is none.
func (c *cutter) member(i int) (name []byte, value int) {
	i = c.space(i)
	if i < len(c.text) && c.text[i] == ',' {
		i = c.space(i + 1)
	}
	if i >= len(c.text) || c.text[i] != '"' {
		return nil, -1
	}
	end := c.end(i)
	if end < 0 {
		return nil, -1
	}
	name = c.text[i:end]
	if i = c.space(end); i >= len(c.text) || c.text[i] != ':' {
		return nil, -1
	}
	return name, c.space(i + 1)
}

func (c *cutter) space(i int) int { return rawjson.SkipSpace(c.text, i) }

// end returns the index behind the value that begins at i, or -1.
func (c *cutter) end(i int) int {
	if i == c.longest.Start && c.longest.End > i {
		return c.longest.End
	}
	return rawjson.End(c.text, i)
}

// part cuts the value at i, which is part n of a prompt, and returns the index behind it,
// or -1.
func (c *cutter) part(out *part, n int, d openai.Dialect, i int) int {
	out.reset()
	c.out, c.limit, c.staged = out, limits[n], 0
	switch {
	case i >= len(c.text):
		return -1
	case n != talk:
		end := c.value(i)
		c.flush()
		if n == tools && out.count > 0 {
			out.count = 1
		}
		return end
	case d == openai.Completions:
		return c.growing(i)
	case c.text[i] == '[':
		return c.messages(i)
	default: // input as a text is short for one message of the user's
		c.put([]byte(`{"role":"user","content":`))
		end := c.value(i)
		c.put([]byte{'}'})
		c.flush()
		out.first = out.count
		return end
	}
}

// messages cuts the array at i.
func (c *cutter) messages(i int) int {
	opened := false
	for i++; ; {
		i = c.space(i)
		if i < len(c.text) && c.text[i] == ',' {
			i = c.space(i + 1)
		}
		if i >= len(c.text) {
			return -1
		}
		if c.text[i] == ']' {
			return i + 1
		}
		begin := i
		if c.out.count >= c.limit { // no more is looked at
			i = c.end(i)
		} else {
			i = c.value(i)
			c.flush()
		}
		if i < 0 {
			return -1
		}
		if !opened {
			c.out.first = c.out.count
			opened = !isSystem(c.text[begin:i])
		}
	}
}

// isSystem reports whether a message is the system's.
func isSystem(message []byte) bool {
	for m := rawjson.Object(message); m.Next(); {
		if string(m.Key) == "role" {
			return string(m.Value) == `"system"` || string(m.Value) == `"developer"`
		}
	}
	return false
}

// growing cuts a prompt that may be continued: a text, or the numbers of tokens. Of
// several prompts it looks at the first.
func (c *cutter) growing(i int) int {
	end := c.end(i)
	if end < 0 {
		return -1
	}
	at := i
	for c.text[at] == '[' {
		next := c.space(at + 1)
		if next >= end || c.text[next] != '[' && c.text[next] != '"' {
			break
		}
		at = next
	}
	switch c.text[at] {
	case '"':
		if inner := c.end(at); inner > 0 {
			c.put(c.text[at+1 : inner-1])
		}
	case '[':
		for w := rawjson.Array(c.text[at:end]); c.out.count < c.limit && w.Next(); {
			c.put(w.Value)
			c.put([]byte{','})
		}
	}
	c.out.first = min(1, c.out.count)
	return end
}

// value takes the value at i, without white space and cache_control, and returns the index
// behind it, or -1.
func (c *cutter) value(i int) int {
	text, run, depth := c.text, i, 0
	for i < len(text) {
		switch text[i] {
		case '"':
			if i = c.end(i); i < 0 {
				return -1
			}
		case ' ', '\n', '\r', '\t':
			c.put(text[run:i])
			i = c.space(i)
			run = i
			continue
		case ',':
			if next := c.passed(i + 1); next > 0 {
				c.put(text[run:i])
				i, run = next, next
			} else {
				i++
			}
			continue
		case '{':
			depth++
			i++
			if next := c.passed(i); next > 0 {
				c.put(text[run:i])
				if next < len(text) && text[next] == ',' {
					next = c.space(next + 1)
				}
				i, run = next, next
			}
			continue
		case '[':
			depth++
			i++
			continue
		case '}', ']':
			depth--
			i++
		case ':':
			i++
			continue
		default:
			next := rawjson.End(text, i)
			if next < 0 {
				return -1
			}
			i = next
		}
		if depth <= 0 {
			c.put(text[run:i])
			return i
		}
	}
	return -1
}

var cacheControl = []byte(`"cache_control"`)

// passed returns the index of what comes after the member cache_control, if that is what
// comes at i, and else 0.
func (c *cutter) passed(i int) int {
	i = c.space(i)
	if !bytes.HasPrefix(c.text[i:], cacheControl) {
		return 0
	}
	if i = c.space(i + len(cacheControl)); i >= len(c.text) || c.text[i] != ':' {
		return 0
	}
	end := c.end(c.space(i + 1))
	if end < 0 {
		return 0
	}
	return c.space(end)
}

// put takes the next bytes of the part.
func (c *cutter) put(span []byte) {
	for len(span) > 0 && c.out.count < c.limit {
		if c.staged == 0 && len(span) >= BlockSize {
			c.block(span[:BlockSize])
			span = span[BlockSize:]
			continue
		}
		n := copy(c.stage[c.staged:], span)
		span = span[n:]
		if c.staged += n; c.staged == BlockSize {
			c.flush()
		}
	}
}

// flush ends a block.
func (c *cutter) flush() {
	if c.staged > 0 {
		c.block(c.stage[:c.staged])
		c.staged = 0
	}
}

func (c *cutter) block(b []byte) {
	p := c.out
	p.chain = mix(p.chain, xxhash.Sum64(b))
	p.size += len(b)
	p.blocks[p.count] = block{p.chain, int32(p.size)}
	p.count++
}
