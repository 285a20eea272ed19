package openai

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/sse"
)

// maxUsageChunk bounds the event that tells the counts, in bytes, and with it what is
// held back of one whose end has not come. vLLM's is below 1 KB with all its details.
const maxUsageChunk = 8 << 10

// Cutter takes the chunk that tells the counts of a stream of [Chat] or [Completions]
// out of it, for a client that has not asked for it: each event whose choices are
// empty and whose usage is an object, with its blank line. What the server puts into
// its last chunk, and so into this one, goes back into the chunk with the finish in
// front of it; every other byte stays as it is. Events that have come in part are held
// back until they are whole, or longer than such a chunk can be; and a finish is until
// the next event is whole. The zero value is ready for use. It is not safe for
// concurrent use.
type Cutter struct {
	held   []byte // the beginning of an event; at most its last line ends if that is open
	open   bool   // the beginning of the event under way has been given
	finish []byte // a whole event with a finish, in front of held
	out    []byte
}

// lastMembers are those that servers write into their last chunk alone: vLLM 0.24 the
// first, llama.cpp the others.
var lastMembers = []string{"system_fingerprint", "timings", "__tool_call_incomplete"}

// Cut takes the next piece of the stream and returns what the client gets now. That
// is a part of p, or valid until the next call.
func (c *Cutter) Cut(p []byte) []byte {
	if len(c.held)+len(c.finish) == 0 && !c.open && endsEvent(p) && !concerns(p) {
		return p // whole events, as servers send them
	}
	data := p
	if n := len(c.held); n > 0 {
		// Without a line end no event can end, unless that of a CR is still open.
		goesOn := !c.open && c.held[n-1] != '\r' && sse.LineEnd(p) < 0
		c.held = append(c.held, p...)
		data = c.held
		if goesOn && len(data) <= maxUsageChunk {
			return nil
		}
	}
	c.out = c.out[:0]
	if at := behindBlankLine(data); at > 0 && len(c.finish) == 0 && !concerns(data[:at]) {
		c.give(data[:at])
		data, c.open = data[at:], false
	}
	for {
		end := eventEnd(data, c.open)
		if end == 0 {
			break
		}
		c.take(data[:end])
		data, c.open = data[end:], false
	}
	c.hold(data)
	return c.out
}

// take takes a whole event, or the rest of an open one.
func (c *Cutter) take(event []byte) {
	counts := !c.open && isUsageChunk(event)
	if len(c.finish) > 0 {
		if counts {
			c.finish = completed(c.finish, event)
		}
		c.give(c.finish)
		c.finish = c.finish[:0]
	}
	switch {
	case counts:
	case !c.open && len(event) <= maxUsageChunk && tellsFinish(event):
		c.finish = append(c.finish, event...)
	default:
		c.give(event)
	}
}

// Close returns what is held back, without the chunk if it has come without its blank
// line. It leaves what Cut has returned as it is.
func (c *Cutter) Close() []byte {
	if c.open || !isUsageChunk(c.held) {
		return slices.Concat(c.finish, c.held)
	}
	if len(c.finish) == 0 {
		return nil
	}
	return completed(c.finish, c.held)
}

func (c *Cutter) give(p []byte) { c.out = append(c.out, p...) }

// hold keeps data, which is the beginning of an event, or goes on with an open one.
func (c *Cutter) hold(data []byte) {
	if c.open || len(data) > maxUsageChunk {
		if !c.open {
			c.give(c.finish)
			c.finish = c.finish[:0]
		}
		c.open = true
		// The line ends may turn out to be a part of the event's last.
		given := len(bytes.TrimRight(data, "\r\n"))
		c.give(data[:given])
		data = data[given:]
	}
	c.held = append(c.held[:0], data...)
}

// endsEvent reports whether p surely ends with a blank line.
func endsEvent(p []byte) bool {
	return bytes.HasSuffix(p, blankLine) || bytes.HasSuffix(p, []byte("\r\n\r\n"))
}

// eventEnd returns where the first event of p ends, or 0. An event that is open has
// begun in front of p, in the middle of a line.
func eventEnd(p []byte, open bool) int {
	for at := 0; ; {
		n := sse.LineEnd(p[at:])
		if n < 0 {
			return 0
		}
		next := at + n + 1
		if p[next-1] == '\r' {
			if next == len(p) {
				return 0 // an LF may belong to it
			}
			if p[next] == '\n' {
				next++
			}
		}
		if n == 0 && !open {
			return next
		}
		at, open = next, false
	}
}

// concerns reports whether p has an event that the cutter does more with than to give
// it.
func concerns(p []byte) bool { return tellsUsage(p) || tellsFinish(p) }

// The ends of the names of two members. They are looked for because they begin with
// letters that are rare in chunks.
var (
	usageEnd  = []byte(`ge"`)
	finishEnd = []byte(`_reason"`)
)

// tellsUsage reports whether a member usage of p is an object, wherever it stands.
// Many servers write null into every chunk.
func tellsUsage(p []byte) bool {
	return hasMember(p, usageEnd, `"usa`, func(value []byte) bool { return rawjson.IsObject(value) })
}

// tellsFinish reports whether a member finish_reason of p says something, wherever it
// stands.
func tellsFinish(p []byte) bool {
	return hasMember(p, finishEnd, `"finish`, func(value []byte) bool { return len(value) > 1 && value[0] == '"' && value[1] != '"' })
}

// hasMember reports whether p has a member whose name is begin and end, and whose value
// begins as is wants it.
func hasMember(p, end []byte, begin string, is func(value []byte) bool) bool {
	for from := 0; ; {
		at := bytes.Index(p[from:], end)
		if at < 0 {
			return false
		}
		at += from
		from = at + len(end)
		if !bytes.HasSuffix(p[:at], []byte(begin)) {
			continue
		}
		value, named := bytes.CutPrefix(bytes.TrimLeft(p[from:], " \t"), []byte(":"))
		if named && is(bytes.TrimLeft(value, " \t")) {
			return true
		}
	}
}

// completed returns the event finish with what it lacks of the last members, which the
// event counts has. It changes finish.
func completed(finish, counts []byte) []byte {
	into := payload(finish)
	end := len(bytes.TrimRight(finish, " \t\r\n")) - 1
	if finish[end] != '}' || !json.Valid(into) {
		return finish
	}
	var had []string
	for m := rawjson.Object(into); m.Next(); {
		had = append(had, string(m.Key))
	}
	var missing []byte
	for m := rawjson.Object(payload(counts)); m.Next(); {
		if name := string(m.Key); slices.Contains(lastMembers, name) && !slices.Contains(had, name) {
			missing = append(append(missing, `,"`+name+`":`...), m.Value...)
		}
	}
	return slices.Insert(finish, end, missing...)
}

// payload returns a copy of the data of a whole event, nil if it tells an error.
func payload(event []byte) (data []byte) {
	s := sse.NewSplitter(maxUsageChunk)
	read := func(e sse.Event) {
		if !e.Failed && string(e.Name) != "error" {
			data = bytes.Clone(e.Data)
		}
	}
	s.Write(event, read)
	s.Close(read)
	return data
}

// isUsageChunk reports whether a whole event tells the counts and nothing else.
func isUsageChunk(event []byte) bool {
	if len(event) > maxUsageChunk || !tellsUsage(event) {
		return false
	}
	data := payload(event)
	return json.Valid(data) && onlyUsage(data)
}

func onlyUsage(data []byte) bool {
	none, counts := false, false
	for m := rawjson.Object(data); m.Next(); {
		switch string(m.Key) {
		case "choices":
			none = rawjson.IsArray(m.Value) && !hasItems(m.Value)
		case "usage":
			counts = rawjson.IsObject(m.Value)
		case "error":
			if isFailure(m.Value) {
				return false
			}
		}
	}
	return none && counts
}
