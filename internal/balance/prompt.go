package balance

import (
	"github.com/cespare/xxhash/v2"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/splice"
)

const (
	// BlockSize is the most bytes of a block. Of a prompt that is about 256 tokens, sixteen
	// blocks of vLLM's own.
	BlockSize = 1024
	// MaxBlocks bounds the blocks of the talk, and so how much of it is looked at: 256 KiB,
	// less if its messages are short. Two prompts that share so much are taken for one.
	MaxBlocks = 256
	// maxSystem and maxTools bound the blocks of the system's part and of the tools, 64 KiB
	// each.
	maxSystem = 64
	maxTools  = 64
	// maxHead bounds the blocks by which gateways agree where an unknown prompt goes.
	maxHead = 4
)

// block is the beginning of a prompt up to a boundary.
type block struct {
	hash uint64 // of all that comes before the boundary
	end  int32  // bytes before it, white space aside
}

// Prompt is a request's prompt, cut into blocks such that the blocks of one turn of a
// conversation are the first blocks of the next. They follow the order in which chat
// templates write: the model and the tools, which are one block, the system's part, then
// message after message. A block ends with its message, or before that after
// [BlockSize] bytes; where no message can be told, in the prompt of /v1/completions,
// only there, for the last bytes may be continued. White space between tokens makes no
// difference, nor does the member cache_control, which clients move from message to
// message. A Prompt belongs to one request, and can be used again for the next.
type Prompt struct {
	// Session is the hash of what the request says it belongs to, 0 if it does not.
	Session uint64
	// Cached is how many bytes the server that [Set.Affinity] has chosen is thought to have
	// in its cache.
	Cached int

	blocks []block
	found  int // blocks that the table knew
	opens  int // blocks up to the first message that is not the system's, at least one if there are any
	head   int // of those, the blocks by which gateways agree

	all   [1 + maxSystem + MaxBlocks]block
	seen  [1 + maxSystem + MaxBlocks]marks
	parts [3]part
	cut   cutter
}

// The parts of a prompt, in the order of templates.
const (
	tools = iota
	system
	talk
)

// part is what is cut of one part.
type part struct {
	chain  uint64 // hash of its blocks
	size   int
	count  int // of its blocks
	first  int // of them, those up to the first message that is not the system's
	blocks [MaxBlocks]block
}

var limits = [...]int{maxTools, maxSystem, MaxBlocks}

// Read cuts the prompt of a request to the API of dialect d. Body must be JSON, as a scan
// by package splice has found, which also tells the place of its longest string. Nothing of
// body is kept. session is what a header says, or empty; then prompt_cache_key and user of
// the body are looked at. A body of another dialect has no blocks.
func (p *Prompt) Read(d openai.Dialect, model, session string, body []byte, longest splice.Value) {
	for n := range p.parts {
		p.parts[n].reset()
	}
	p.Session, p.Cached, p.blocks, p.found, p.opens, p.head = 0, 0, nil, 0, 0, 0
	seed := xxhash.Sum64String(model)
	c := &p.cut
	c.text, c.longest = body, longest
	var key, user []byte
	i := rawjson.SkipSpace(body, 0)
	for i++; ; {
		name, at := c.member(i)
		if at < 0 {
			break
		}
		var end int
		switch string(name) {
		case `"prompt_cache_key"`:
			if end = c.end(at); end > 0 {
				key = body[at:end]
			}
		case `"user"`:
			if end = c.end(at); end > 0 {
				user = body[at:end]
			}
		default:
			if n := partOf(d, name); n >= 0 {
				end = c.part(&p.parts[n], n, d, at)
			} else {
				end = c.end(at)
			}
		}
		if end < 0 {
			break
		}
		i = end
	}
	c.text = nil
	p.join(seed)
	switch {
	case session != "":
		p.Session = mix(xxhash.Sum64String(session), seed)
	case isName(key):
		p.Session = mix(xxhash.Sum64(key[1:len(key)-1]), seed)
	case isName(user):
		p.Session = mix(xxhash.Sum64(user[1:len(user)-1]), seed)
	}
}

// isName reports whether a value is a text that is not empty.
func isName(value []byte) bool { return len(value) > 2 && value[0] == '"' }

// partOf returns which part of a prompt a member of that quoted name is, or -1.
func partOf(d openai.Dialect, name []byte) int {
	switch string(name) {
	case `"tools"`:
		if d != openai.Other && d != openai.Completions {
			return tools
		}
	case `"system"`:
		if d == openai.Messages {
			return system
		}
	case `"instructions"`:
		if d == openai.Responses {
			return system
		}
	case `"messages"`:
		if d == openai.Chat || d == openai.Messages {
			return talk
		}
	case `"input"`:
		if d == openai.Responses {
			return talk
		}
	case `"prompt"`:
		if d == openai.Completions {
			return talk
		}
	}
	return -1
}

func (p *part) reset() { p.chain, p.size, p.count, p.first = 0, 0, 0, 0 }

// join puts the parts together, whichever came first in the body.
func (p *Prompt) join(seed uint64) {
	t, s, m := &p.parts[tools], &p.parts[system], &p.parts[talk]
	p.blocks = p.all[:0]
	root, size := mix(seed, t.chain), t.size
	if t.count > 0 {
		p.blocks = append(p.blocks, block{root, int32(size)})
	}
	for _, part := range []*part{s, m} {
		for _, b := range part.blocks[:part.count] {
			p.blocks = append(p.blocks, block{mix(root, b.hash), int32(size) + b.end})
		}
		root, size = mix(root, part.chain), size+part.size
	}
	before := len(p.blocks) - m.count // known to be whole before the talk
	p.opens = max(1, before+m.first)
	p.head = min(p.opens, maxHead)
}
