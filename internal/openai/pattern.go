package openai

import (
	"bytes"
	"slices"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
)

// pattern is what the chunks of a stream have in common: all bytes but those of
// one string. Nearly every chunk of a long answer repeats the one before it but
// for a word of content, of reasoning or of a call's arguments, and can be read by
// comparing it and decoding that word: a tenth of the time that the whole costs.
//
// It holds of the last chunk that was read in full, if that did nothing but add
// one string to one text, and set what the same bytes would set again: id, model,
// role, usage, finish_reason.
type pattern struct {
	// The chunk is before + string + after; the quotes of the string belong to
	// before and after.
	before, after []byte
	head          int     // length of the part of before in which digits may differ
	from, to      int     // where in it they did differ last
	foot          int     // length of the end of after in which digits may differ
	text          *[]byte // what the string is added to, nil if there is no pattern

	value   []byte // the string of the chunk being read
	into    *[]byte
	spoiled bool
}

// likelyText is the room that a text gets which comes in small pieces, in bytes.
const likelyText = 512

// slot names the string that the chunk being read adds to text. A chunk with two
// has no pattern.
func (p *pattern) slot(value []byte, text *[]byte) {
	p.spoiled = p.spoiled || p.into != nil
	p.value, p.into = value, text
}

// spoil says that the chunk being read does more than that.
func (p *pattern) spoil() { p.spoiled = true }

// learn takes the pattern of the chunk that has been read. The slot's value is a
// part of data.
func (p *pattern) learn(data []byte) {
	if p.text = nil; p.into != nil && !p.spoiled {
		at := cap(data) - cap(p.value)
		p.before = append(p.before[:0], data[:at+1]...)
		p.after = append(p.after[:0], data[at+len(p.value)-1:]...)
		p.text, p.head, p.from, p.to, p.foot = p.into, headOf(p.before), 0, 0, footOf(p.after)
		if cap(*p.text) < likelyText { // it is going to get longer
			*p.text = slices.Grow(*p.text, likelyText)
		}
	}
	p.value, p.into, p.spoiled = nil, nil, false
}

var choicesMember = []byte(`"choices":`)

// headOf returns how much of a chunk's beginning stands before its choices, if
// there are only scalars at the top level: id, created, model. What follows the
// first of them changes nothing, and times go on from chunk to chunk.
func headOf(before []byte) int {
	at := bytes.Index(before, choicesMember)
	if at < 0 || bytes.Count(before[:at], []byte("{")) != 1 || bytes.IndexByte(before[:at], '[') >= 0 {
		return 0
	}
	return at
}

// footOf returns how much of a chunk's end stands behind its choices and all else that
// is no scalar: times, counts of milliseconds.
func footOf(after []byte) int {
	foot := after[bytes.LastIndexByte(after, ']')+1:]
	if len(foot) == len(after) || bytes.IndexByte(foot, '{') >= 0 || bytes.Count(foot, []byte("}")) != 1 || bytes.Contains(foot, errorWord) {
		return 0
	}
	return len(foot)
}

// begins reports whether data begins as the pattern does, digits in the head aside.
func (p *pattern) begins(data []byte) bool {
	if bytes.HasPrefix(data, p.before) {
		return true
	}
	if !bytes.HasPrefix(data[p.head:], p.before[p.head:]) {
		return false
	}
	if p.to == 0 || !bytes.Equal(data[:p.from], p.before[:p.from]) || !bytes.Equal(data[p.to:p.head], p.before[p.to:p.head]) {
		p.from, p.to = difference(data[:p.head], p.before[:p.head])
	}
	return alike(p.before, data, p.from, p.to)
}

// ends reports whether data, which is not shorter, ends as the pattern does, digits in
// the foot aside.
func (p *pattern) ends(data []byte) bool {
	data = data[len(data)-len(p.after):]
	foot := len(p.after) - p.foot
	return bytes.Equal(data[:foot], p.after[:foot]) && alike(p.after, data, foot, len(data))
}

// alike reports whether a and b, from one place to another, differ in digits alone, none
// of which makes a number of b begin with 0.
func alike(a, b []byte, from, to int) bool {
	for i := from; i < to; i++ {
		if a[i] != b[i] && (!isDigit(a[i]) || !isDigit(b[i]) || b[i] == '0' && (i == 0 || !isDigit(b[i-1]) && b[i-1] != '.')) {
			return false
		}
	}
	return true
}

// difference returns the first and, exclusive, the last place where a and b differ,
// which have the same length.
func difference(a, b []byte) (from, to int) {
	for to = len(a); to > 0 && a[to-1] == b[to-1]; to-- {
	}
	for from < to && a[from] == b[from] {
		from++
	}
	return from, to
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// read reads a chunk by the pattern and reports whether it fits: if not, nothing
// has changed.
func (p *pattern) read(b *building, data []byte) bool {
	n := len(data) - len(p.before) - len(p.after)
	if p.text == nil || n < 0 || !p.ends(data) || !p.begins(data) {
		return false
	}
	inside := data[len(p.before):][:n]
	if n > b.limit-b.size {
		return false
	}
	before := len(*p.text)
	text, valid := rawjson.AppendUnescaped(*p.text, inside)
	if !valid {
		*p.text = text[:before]
		return false
	}
	*p.text = text
	b.size += len(text) - before
	return true
}
