package openai

import (
	"bytes"
	"strconv"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
)

var usageName = []byte(`"usage"`)

// nearEnd is where counts nearly always stand. To look there first is cheaper.
const nearEnd = 400

// UsageTail is how much of a plain answer's end [FindUsage] should be given, in
// bytes: what servers send behind the counts is shorter.
const UsageTail = 2 << 10

// FindUsage reads the counts of a plain answer of any dialect from its last bytes,
// of which the first may be cut. Nothing is decoded but the counts. They are those
// of the answer itself, and not of a value within it, if what stands behind them
// closes one object, the answer.
func FindUsage(tail []byte) (u Usage, found bool) {
	if u, found = findUsage(tail[max(0, len(tail)-nearEnd):], 1); !found {
		u, found = findUsage(tail, 1)
	}
	return u, found
}

// findUsage finds the last counts in text that stand depth objects deep, where text
// is the end of a value.
func findUsage(text []byte, depth int) (u Usage, found bool) {
	for at := bytes.Index(text, usageName); at >= 0; at = bytes.Index(text, usageName) {
		escaped := at > 0 && text[at-1] == '\\' // a string that ends in "usage
		text = text[at+len(usageName):]
		value, named := bytes.CutPrefix(rawjson.Trim(text), []byte(":"))
		value = rawjson.Trim(value)
		if escaped || !named || !rawjson.IsObject(value) {
			continue
		}
		end := closing(value, 0)
		if end < 0 {
			return u, found
		}
		if last := closing(value[end:], depth); last < 0 || end+last != len(value) {
			continue
		}
		if got, ok := parseUsage(value[:end]); ok {
			u, found = got, true
		}
	}
	return u, found
}

// closing returns the index behind the bracket that closes the outermost of the
// depth objects or arrays that are open where b begins, or -1.
func closing(b []byte, depth int) int {
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth <= 0 {
				return i + 1
			}
		}
	}
	return -1
}

// parseUsage reads the counts of any dialect. It reports false unless value is an
// object with one of them.
func parseUsage(value []byte) (u Usage, found bool) {
	for m := rawjson.Object(value); m.Next(); {
		// Details stand beside the counts: an error for each of them would cost more than all
		// the rest.
		if c := m.Value[0]; c != '-' && (c < '0' || c > '9') {
			continue
		}
		n, err := strconv.ParseInt(string(m.Value), 10, 64)
		if err != nil {
			continue
		}
		switch string(m.Key) {
		case "prompt_tokens", "input_tokens":
			u.Prompt, found = u.Prompt+n, true
		case "cache_read_input_tokens", "cache_creation_input_tokens": // Anthropic leaves them out of input_tokens
			u.Prompt += n
		case "completion_tokens", "output_tokens":
			u.Completion, found = n, true
		case "total_tokens":
			u.Total = n
		}
	}
	if u.Total == 0 {
		u.Total = u.Prompt + u.Completion
	}
	return u, found
}

// Usage returns the counts that the stream has told so far.
func (s *Stream) Usage() (u Usage, found bool) {
	if !s.readUsage(s.tail[max(0, len(s.tail)-nearEnd):]) {
		s.readUsage(s.tail)
	}
	return s.usage, s.counted
}

// Pieces is how many events with content there have been so far: about as many as
// tokens, for servers send each as it comes. Of a stream that is not read event by
// event it takes the number of lines for it, which comments make a little too large.
func (s *Stream) Pieces() int {
	return s.pieces + max(0, (s.lines+1)/2-s.bareTail())
}

// readUsage reads the counts in the lines of tail. It reports whether there are any.
func (s *Stream) readUsage(tail []byte) (found bool) {
	for at := bytes.Index(tail, usageName); at >= 0; at = bytes.Index(tail, usageName) {
		begin := max(0, at-1) // findUsage looks at what stands before
		end := bytes.IndexByte(tail[at:], '\n')
		if end < 0 {
			end = len(tail) - at
		}
		found = s.noteUsage(tail[begin:at+end], 1) || found
		tail = tail[at+end:]
	}
	return found
}

// noteUsage takes what an event tells of the counts, depth objects deep. Events of
// [Messages] tell them piece by piece. It reports whether there are any.
func (s *Stream) noteUsage(data []byte, depth int) (found bool) {
	u, found := findUsage(data, depth)
	if !found {
		return false
	}
	s.counted = true
	if s.dialect == Messages {
		u.Prompt, u.Completion = max(u.Prompt, s.usage.Prompt), max(u.Completion, s.usage.Completion)
		u.Total = u.Prompt + u.Completion
	}
	s.usage = u
	return true
}
