package openai

import (
	"bytes"
	"slices"
	"unsafe"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
)

// maxSlots bounds the choices of an answer, and the calls of a choice. Their
// number comes from the server.
const maxSlots = 1 << 10

// building is an answer whose parts are still coming.
type building struct {
	Answer
	choices []*growing    // by index
	only    growing       // the first of them: most answers need no other
	place   [1]*growing   // of choices
	items   []*item       // of responses, by output_index
	blocks  []*block      // of messages, as they come
	tokens  tokens        // of messages
	ends    *rawjson.Ends // of a plain body's strings, nil of a stream
	known   rawjson.Ends  // what ends points to
	size    int           // bytes kept
	limit   int
}

// growing is a choice whose parts are still coming.
type growing struct {
	index                       int
	role, finish                string
	raw                         string // what the server says instead of finish, if anything
	content, reasoning, refusal []byte
	encoded                     []byte // content of a plain body
	calls                       []*growingCall
	function                    *growingCall
	extras                      []Extra
}

// growingCall is a call whose parts are still coming. Its slot is -1 if the
// server numbers none.
type growingCall struct {
	slot           int
	id, kind, name string
	arguments      []byte
	begun          bool // arguments have come
}

// take counts bytes to be kept and reports whether there is room for them.
func (b *building) take(n int) bool {
	if n > b.limit-b.size {
		b.TooLarge = true
		return false
	}
	b.size += n
	return true
}

// add appends more to text.
func (b *building) add(text *[]byte, more []byte) {
	if b.take(len(more)) {
		*text = append(*text, more...)
	}
}

// addText appends the string that value holds, if it is one, to text and reports
// whether that was more than nothing.
func (b *building) addText(text *[]byte, value []byte) bool {
	if len(value) <= 2 || value[0] != '"' || !b.take(len(value)-2) {
		return false
	}
	if !b.Stream { // nothing more will come
		*text = slices.Grow(*text, len(value))
	}
	before := len(*text)
	*text, _ = rawjson.AppendText(*text, value)
	b.size += len(*text) - before - (len(value) - 2) // what is kept, not what has come
	return len(*text) > before
}

// choice returns the choice with that index, nil if there would be too many.
func (b *building) choice(index int) *growing {
	if len(b.choices) > 0 && b.choices[len(b.choices)-1].index == index {
		return b.choices[len(b.choices)-1]
	}
	at, found := slices.BinarySearchFunc(b.choices, index, func(c *growing, i int) int { return c.index - i })
	if !found {
		if index < 0 || len(b.choices) == maxSlots {
			b.TooLarge = true
			return nil
		}
		c := &b.only
		if len(b.choices) > 0 {
			c = new(growing)
		} else {
			b.choices = b.place[:0]
		}
		*c = growing{index: index}
		b.choices = slices.Insert(b.choices, at, c)
	}
	return b.choices[at]
}

// fail remembers the first error.
func (b *building) fail(value []byte) {
	if b.Err != nil || !b.take(len(value)) {
		return
	}
	if b.Err = readFailure(value); b.Err == nil {
		b.Err = new(Failure)
	}
}

// extra appends value to the array that the choice keeps under name, or replaces
// it if whole is set. Arrays are appended item by item.
func (b *building) extra(c *growing, name string, value []byte, whole bool) {
	if !b.take(len(value) + 2) {
		return
	}
	i := slices.IndexFunc(c.extras, func(e Extra) bool { return e.Name == name })
	if i < 0 {
		i = len(c.extras)
		c.extras = append(c.extras, Extra{Name: name})
	}
	e := &c.extras[i]
	if whole {
		e.JSON = bytes.Clone(value)
		return
	}
	items := value
	if rawjson.IsArray(value) {
		items = bytes.TrimSpace(value[1 : len(value)-1])
	}
	if len(e.JSON) == 0 {
		e.JSON = append(e.JSON, '[')
	} else {
		e.JSON[len(e.JSON)-1] = ','
	}
	e.JSON = append(append(e.JSON, items...), ']')
}

// finished returns the answer as far as it has come.
func (b *building) finished() Answer {
	b.finishItems()
	b.finishBlocks()
	a := b.Answer
	a.Choices = make([]Choice, len(b.choices))
	for i, c := range b.choices {
		a.Choices[i] = c.finished()
	}
	return a
}

// text returns what b has become, without a copy. Nothing is added to b any more.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) } //nolint:gosec // see above

func (c *growing) finished() Choice {
	out := Choice{
		Index: c.index, Role: c.role, Content: text(c.content), Reasoning: text(c.reasoning), Refusal: text(c.refusal), Encoded: c.encoded,
		Finish: normalFinish(c.finish), RawFinish: c.raw, Extras: c.extras,
	}
	if out.RawFinish == "" {
		out.RawFinish = c.finish
	}
	if out.Role == "" {
		out.Role = "assistant"
	}
	if !slices.ContainsFunc(c.calls, func(g *growingCall) bool { return g.slot < 0 }) {
		slices.SortStableFunc(c.calls, func(a, b *growingCall) int { return a.slot - b.slot })
	}
	for _, g := range c.calls {
		out.Calls = append(out.Calls, g.finished())
	}
	if c.function != nil {
		f := c.function.finished()
		out.FunctionCall = &f
	}
	return out
}

func (g *growingCall) finished() Call {
	out := Call{ID: g.id, Type: g.kind, Name: g.name, Arguments: "{}"}
	if out.Type == "" {
		out.Type = "function"
	}
	if len(bytes.TrimSpace(g.arguments)) > 0 {
		out.Arguments = text(g.arguments)
	}
	return out
}

// reset takes back what has been said, as a second message_start does.
func (b *building) reset() {
	b.choices, b.blocks, b.tokens = nil, nil, tokens{}
	b.Usage, b.ID, b.Model = nil, "", ""
}
