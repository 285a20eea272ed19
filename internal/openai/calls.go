package openai

import (
	"slices"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
)

// toolCall reads one entry of tool_calls, which may be a piece of a call.
func (b *building) toolCall(c *growing, value []byte, p *pattern) {
	var id, kind, function []byte
	slot := -1
	for m := rawjson.Object(value); m.Next(); {
		switch string(m.Key) {
		case "index":
			if n := number(m.Value); n >= 0 && !rawjson.IsNull(m.Value) {
				slot = n
			}
		case "id":
			id = m.Value
		case "type":
			kind = m.Value
		case "function", "custom":
			function = m.Value
		}
	}
	var g *growingCall
	if b.Stream { // in a body every entry is a whole call
		g = c.callFor(slot, rawjson.Text(id), member(function, "name"))
	}
	if g == nil {
		if len(c.calls) == maxSlots {
			b.TooLarge = true
			return
		}
		g = &growingCall{slot: slot}
		c.calls = append(c.calls, g)
	}
	b.first(&g.id, id)
	if word := rawjson.Text(kind); word != "" && word != g.kind && b.take(len(word)) {
		g.kind = word
	}
	b.function(g, function, p)
}

// callFor returns the call that a piece belongs to, nil if it begins a new one.
// Ollama and some bridges number all parallel calls 0 and tell them apart by id;
// Mistral does not number them.
func (c *growing) callFor(slot int, id, name string) *growingCall {
	if len(c.calls) == 0 {
		return nil
	}
	if slot >= 0 {
		// Of several calls with one number the last is the one being written.
		for _, g := range slices.Backward(c.calls) {
			if g.slot != slot {
				continue
			}
			if id != "" && g.id != "" && g.id != id {
				break
			}
			return g
		}
		if id != "" {
			for _, g := range c.calls {
				if g.slot == slot && g.id == id {
					return g
				}
			}
		}
		return nil
	}
	if id != "" {
		for _, g := range c.calls {
			if g.id == id {
				return g
			}
		}
		return nil
	}
	last := c.calls[len(c.calls)-1]
	if name != "" && name != last.name && last.begun {
		return nil
	}
	return last
}

func member(object []byte, name string) string {
	value := ""
	for m := rawjson.Object(object); m.Next(); {
		if string(m.Key) == name {
			value = rawjson.Text(m.Value)
		}
	}
	return value
}

// function adds a name and arguments to a call. The name is repeated by some
// servers (TGI), empty in the pieces that follow (watsonx, Mistral), and comes in
// pieces itself from others. A piece that has arguments and no name has a pattern:
// what tells to which call it belongs does not change with the arguments.
func (b *building) function(g *growingCall, value []byte, p *pattern) {
	for m := rawjson.Object(value); m.Next(); {
		switch string(m.Key) {
		case "name":
			if name := rawjson.Text(m.Value); name != "" {
				p.spoil()
				if name != g.name && b.take(len(name)) {
					g.name += name
				}
			}
		case "arguments", "input": // a custom tool has input
			switch {
			case rawjson.IsNull(m.Value):
			case rawjson.IsString(m.Value):
				if b.addText(&g.arguments, m.Value) {
					g.begun = true
					p.slot(m.Value, &g.arguments)
				}
			default:
				p.spoil()
				b.add(&g.arguments, rawjson.AppendCompact(nil, m.Value, nil))
				g.begun = true
			}
		}
	}
}
