package openai

import (
	"bytes"
	"encoding/json"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/splice"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/sse"
)

// Reader puts the events of one stream together to an [Answer]. Any division of
// the stream into pieces gives the same one. It is not safe for concurrent use.
//
//	r := openai.NewReader(openai.Chat, 8<<20)
//	r.Write(piece) // as often as pieces come
//	r.Close()
//	answer := r.Answer()
//
// Of a stream that goes wrong it keeps what came: events that are no JSON are
// counted and left out, an error is remembered and reading goes on, and nothing is
// read behind [DONE].
type Reader struct {
	splitter *sse.Splitter
	yield    func(sse.Event)
	building building
	pattern  pattern
}

// NewReader returns a reader that keeps at most limit bytes of text, and three
// times as many while an event is being read. An answer beyond it is marked
// [Answer.TooLarge]. Of a stream of [Other] nothing is kept.
func NewReader(d Dialect, limit int) *Reader {
	r := &Reader{splitter: sse.NewSplitter(max(limit, 16))}
	r.building.limit = limit
	r.building.Dialect, r.building.Stream = d, true
	r.yield = r.event
	return r
}

// Write takes the next piece of the stream and keeps nothing of it.
func (r *Reader) Write(p []byte) {
	if r.building.TooLarge || r.building.Done || r.building.Dialect == Other {
		return
	}
	r.splitter.Write(p, r.yield)
}

// Held returns about how many bytes it holds of what has come.
func (r *Reader) Held() int { return r.building.size + r.building.size/4 + r.splitter.Held() }

// Close takes the end of the stream. An event that lacks only its blank line
// counts, though the official clients drop it: some servers leave the line out.
func (r *Reader) Close() { r.splitter.Close(r.yield) }

// Answer returns the answer as far as it has come. Call it once, when nothing more
// will be written.
func (r *Reader) Answer() Answer { return r.building.finished() }

// event reads one event.
func (r *Reader) event(e sse.Event) {
	b := &r.building
	switch {
	case b.Done || b.TooLarge:
		return
	case e.TooLong:
		b.TooLarge = true
		return
	case !e.Failed && len(e.Name) == 0 && r.pattern.read(b, e.Data):
		return
	case json.Valid(e.Data):
		r.payload(e, e.Data)
		return
	case isEndMark(e.Data):
		b.Done = true
		return
	case e.Failed:
		b.fail(rawjson.AppendString(nil, e.Data))
		return
	}
	// Servers that end events with one line feed make one of several.
	if bytes.IndexByte(e.Data, '\n') < 0 {
		r.unreadable(e)
		return
	}
	for line := range bytes.SplitSeq(e.Data, []byte("\n")) {
		switch line = rawjson.Trim(line); {
		case len(line) == 0 || b.Done:
		case isEndMark(line):
			b.Done = true
		case json.Valid(line):
			r.payload(e, bytes.Clone(line))
		default:
			r.unreadable(e)
		}
	}
}

// unreadable counts an event that is no JSON. The last one of a stream that lacks
// its end has been cut.
func (r *Reader) unreadable(e sse.Event) {
	if e.Unfinished {
		r.building.Cut = true
		return
	}
	r.building.Garbled++
}

// isEndMark reports whether data is [DONE], with or without spaces around it.
func isEndMark(data []byte) bool { return bytes.Equal(bytes.TrimSpace(data), endMark) }

// payload reads the data of an event, which is valid JSON.
func (r *Reader) payload(e sse.Event, data []byte) {
	b, p := &r.building, &r.pattern
	typed := b.Dialect == Responses || b.Dialect == Messages
	switch {
	case !rawjson.IsObject(rawjson.Trim(data)):
		if e.Failed || string(e.Name) == "error" {
			b.fail(data)
		} else {
			b.Garbled++
		}
	case e.Failed || string(e.Name) == "error" && !typed:
		b.fail(data)
	case b.Dialect == Responses:
		b.response(data)
	case b.Dialect == Messages:
		b.message(data)
	default:
		b.chunk(data, p)
	}
	p.learn(data)
}

// ReadBody reads a whole answer that is no stream. Blank lines before it are
// skipped: DeepSeek sends them to keep a connection alive. A body that is no JSON
// object is [Answer.Cut]; one longer than limit is [Answer.TooLarge].
func ReadBody(d Dialect, body []byte, limit int) Answer {
	a := ReadBodyInPlace(d, body, limit)
	for i := range a.Choices {
		a.Choices[i].Decode()
	}
	return a
}

// ReadBodyInPlace is [ReadBody] for who needs the content of a choice only in JSON
// again: it is not decoded, but left in [Choice.Encoded]. Body must stay as it is as
// long as the answer is in use.
func ReadBodyInPlace(d Dialect, body []byte, limit int) Answer {
	b := building{limit: limit}
	b.Dialect = d
	body = rawjson.Trim(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	if len(body) > limit {
		b.TooLarge = true
		return b.finished()
	}
	longest, err := splice.ScanLongest(body, splice.MaxDepth, nil, nil)
	switch {
	case err != nil:
		b.Cut = true
	case d == Other:
	default:
		b.ends = &b.known
		b.ends.Add(body, longest.Start, longest.End)
		b.body(body)
	}
	return b.finished()
}

// body reads a whole body, which is a valid object.
func (b *building) body(body []byte) {
	b.Ended = true
	if b.Dialect == Chat || b.Dialect == Completions {
		b.chunk(body, new(pattern))
		return
	}
	var failure []byte
	isError := false
	for m := rawjson.Object(body).With(b.ends); m.Next(); {
		switch string(m.Key) {
		case "error":
			failure = m.Value
		case "object", "type": // older vLLM, Anthropic
			isError = isError || string(m.Value) == `"error"`
		}
	}
	if isError || isFailure(failure) {
		b.fail(body)
	}
	switch b.Dialect {
	case Responses:
		if !isError {
			b.responseBody(body, true)
		}
	case Messages:
		if b.Err == nil {
			b.messageBody(body)
		}
	case Other, Chat, Completions:
	}
}
