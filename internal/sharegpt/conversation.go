package sharegpt

import (
	"bytes"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
)

// role is a turn's from.
type role uint8

const (
	system role = iota
	human
	gpt
	functionCall
	observation
)

var roleNames = [...]string{"system", "human", "gpt", "function_call", "observation"}

// turn is one turn of a conversation. Its value reaches from start to the next
// turn's start, with the quotes in between.
type turn struct {
	role   role
	start  int // in conversation.text
	quotes int // how many stand before
}

// result is what a tool has answered: spans of the conversation's aside.
type result struct {
	name       string
	start, end int
}

// words are what somebody says: a decoded text, or the inside of a JSON string.
type words struct {
	text    []byte
	encoded bool
}

func decoded(text []byte) words { return words{text: text} }

// quote is a text that is copied from the request into the record only when the line
// is written: a long prompt is copied once.
type quote struct {
	at   int    // in conversation.text, before which it stands
	text []byte // the inside of a JSON string
}

// conversation gathers turns and keeps their order right. All values stand in one
// buffer, in order and encoded, so that turns can only be added, and the last one
// extended.
type conversation struct {
	text   []byte
	quotes []quote
	turns  []turn
	flags  flags
	media  [len(mediaKinds)][]string

	// results of tools that have come one behind the other, in aside.
	results []result
	aside   []byte
}

func (v *conversation) reset() {
	v.text, v.quotes, v.turns, v.flags = v.text[:0], v.quotes[:0], v.turns[:0], 0
	v.results, v.aside = v.results[:0], v.aside[:0]
	for i := range v.media {
		v.media[i] = nil
	}
}

// appendValue appends the value of turn i, encoded.
func (p *Projector) appendValue(dst []byte, i int) []byte {
	v := &p.conv
	t, end, quotes := v.turns[i], len(v.text), v.quotes
	if i+1 < len(v.turns) {
		end, quotes = v.turns[i+1].start, quotes[:v.turns[i+1].quotes]
	}
	at := t.start
	for _, q := range quotes[t.quotes:] {
		dst = append(dst, v.text[at:q.at]...)
		dst = p.appendQuote(dst, q.text)
		at = q.at
	}
	return append(dst, v.text[at:end]...)
}

const (
	// longQuote is how long a text is that it is cheaper to leave where it is than to copy,
	// in bytes.
	longQuote = 4 << 10
	// maxQuotes bounds how many are left of a record: each is a part of a write.
	maxQuotes = 256
)

// appendQuote appends text, the inside of a JSON string, or remembers its long parts for
// the record's quotes.
func (p *Projector) appendQuote(dst, text []byte) []byte {
	if !p.options.InPlace || len(text) < longQuote {
		return rawjson.AppendRecoded(dst, text)
	}
	for len(text) > 0 {
		n := len(text)
		if n != len(p.known) || &text[0] != &p.known[0] {
			n = rawjson.CanonicalLength(text)
		}
		if n >= longQuote && len(p.quotes) < maxQuotes {
			p.quotes = append(p.quotes, Quote{len(dst), text[:n]})
		} else {
			dst = append(dst, text[:n]...)
		}
		dst, text = rawjson.RecodeNext(dst, text[n:])
	}
	return dst
}

// last returns the role of the last turn, and system if there is none.
func (v *conversation) last() role {
	if len(v.turns) == 0 {
		return system
	}
	return v.turns[len(v.turns)-1].role
}

func (v *conversation) open(r role, value words) {
	v.turns = append(v.turns, turn{r, len(v.text), len(v.quotes)})
	v.put(value)
}

func (v *conversation) put(value words) {
	if value.encoded {
		v.quotes = append(v.quotes, quote{len(v.text), value.text})
	} else {
		v.text = rawjson.AppendEscaped(v.text, value.text)
	}
}

// join adds value to the last turn as a paragraph of its own.
func (v *conversation) join(value words) {
	last := v.turns[len(v.turns)-1]
	if (len(v.text) > last.start || len(v.quotes) > last.quotes) && len(value.text) > 0 {
		v.text = append(v.text, `\n\n`...)
	}
	v.put(value)
}

// addSystem adds instructions: to the system turn while there is no other, else
// as words of the user's side.
func (v *conversation) addSystem(value words) {
	v.flush()
	switch {
	case len(value.text) == 0:
	case len(v.turns) == 0:
		v.open(system, value)
	case v.last() == system:
		v.join(value)
	default:
		v.flags |= midSystem
		v.addHuman(human, value)
	}
}

// addHuman adds a turn of the side that is not trained: human or observation.
func (v *conversation) addHuman(r role, value words) {
	if last := v.last(); last == human || last == observation {
		v.flags |= mergedTurns
		v.join(value)
		return
	}
	v.open(r, value)
}

// addUser adds what the user says, behind the results of tools that wait.
func (v *conversation) addUser(value words) {
	if len(v.results) > 0 {
		v.flush()
		if len(value.text) == 0 {
			return
		}
	}
	v.addHuman(human, value)
}

// addModel adds a turn of the side that is trained: gpt or functionCall. An empty
// one is none.
func (v *conversation) addModel(r role, value words) {
	v.flush()
	if len(value.text) == 0 {
		v.flags |= mergedTurns
		return
	}
	switch v.last() {
	case system:
		v.flags |= paddedTurn
		v.open(human, words{})
	case functionCall:
		v.flags |= paddedTurn
		v.open(observation, words{})
	case gpt:
		v.flags |= mergedTurns
		if r == gpt {
			v.join(value)
			return
		}
		v.flags |= textWithCall
		n := len(v.turns) - 1
		v.text, v.turns = v.text[:v.turns[n].start], v.turns[:n]
	case human, observation:
	}
	v.open(r, value)
}

// addResult adds what a tool has answered. The results that come in a row are one
// turn.
func (v *conversation) addResult(name string, value []byte) {
	start := len(v.aside)
	v.aside = append(v.aside, value...)
	v.results = append(v.results, result{name, start, len(v.aside)})
}

// flush turns the results that wait into a turn: the text of one, an array of
// several.
func (v *conversation) flush() {
	switch len(v.results) {
	case 0:
		return
	case 1:
		v.addHuman(observation, decoded(v.aside))
	default:
		list := []byte{'['}
		for i, r := range v.results {
			if i > 0 {
				list = append(list, ',')
			}
			list = rawjson.AppendString(append(list, `{"name":`...), []byte(r.name))
			list = rawjson.AppendString(append(list, `,"content":`...), v.aside[r.start:r.end])
			list = append(list, '}')
		}
		v.addHuman(observation, decoded(append(list, ']')))
	}
	v.results, v.aside = v.results[:0], v.aside[:0]
}

// mark is a point to which a conversation can be taken back.
type mark struct {
	turns, text, quotes int
	flags               flags
	tail                []byte // the last turn's value, if adding a turn may remove it
}

func (v *conversation) mark() mark {
	m := mark{turns: len(v.turns), text: len(v.text), quotes: len(v.quotes), flags: v.flags}
	if m.turns > 0 && v.last() == gpt { // no quote is in it: the request's are of the user's side
		m.tail = bytes.Clone(v.text[v.turns[m.turns-1].start:])
	}
	return m
}

func (v *conversation) back(m mark) {
	v.turns, v.text, v.quotes, v.flags = v.turns[:m.turns], v.text[:m.text], v.quotes[:m.quotes], m.flags
	if m.tail != nil {
		v.turns[m.turns-1].role = gpt
		v.turns[m.turns-1].start = m.text - len(m.tail)
		copy(v.text[m.text-len(m.tail):], m.tail)
	}
}
