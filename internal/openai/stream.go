package openai

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/sse"
)

const (
	// maxEvent bounds the data of an event that is read, in bytes. A longer one
	// counts as content.
	maxEvent = 1 << 20
	// keptTail is how much of a stream's end is kept to tell whether it is whole:
	// the last chunk of a choice and a usage chunk behind it are below 1 KB, OpenAI's
	// verdict of moderation behind that is below 3 KB.
	keptTail = 3 << 10
	// tailSize is the room for it. With less, what is kept would be moved so often that it
	// costs more than to take it; with more, thousands of streams would hold too much.
	tailSize = 8 << 10
	// maxTail is how long an event may be for the tail to hold the whole of it:
	// errors quote what the model wrote, some servers repeat the answer at its end.
	maxTail = 64 << 10
	// maxChoices bounds the choices whose ends are told apart.
	maxChoices = 1 << 12
)

// Stream follows the events of one answer while its bytes pass by. It is not
// safe for concurrent use.
//
// Until the model has begun, every event is decoded. From then on nothing of a
// stream of one choice is looked at but whether its end mark comes; only its tail
// is kept, and read when somebody asks whether the answer is whole. An error that
// the server sends is the last that comes, so it is found there.
type Stream struct {
	dialect  Dialect
	every    bool // decode all events: there may be several choices
	splitter *sse.Splitter

	begun   bool
	ended   bool
	failed  bool
	status  int // of the error, if failed
	events  int // read one by one
	choices []choice
	tail    []byte // the last bytes that were not read
	cut     bool   // tail begins in the middle of an event
	fresh   bool   // tail holds what has not been read yet
	blind   bool   // tail holds no more than the end of an event longer than maxTail
	usage   Usage  // of the events that were read one by one
	counted bool   // there is one
	pieces  int    // events with content that were read one by one
	lines   int    // that ended in what was not
}

type choice struct{ seen, finished bool }

// streams holds followers with their buffers.
var streams = sync.Pool{New: func() any { return new(Stream) }}

// NewStream returns a follower for a stream of one choice, or of several. Give it
// back by [Stream.Free].
func NewStream(d Dialect, several bool) *Stream {
	s := streams.Get().(*Stream)
	tail := s.tail
	*s = Stream{dialect: d, every: several, splitter: sse.NewSplitter(maxEvent), choices: s.choices[:0]}
	if cap(tail) <= tailSize {
		s.tail = tail[:0]
	}
	return s
}

// Free ends the use of s.
func (s *Stream) Free() {
	s.splitter = nil
	streams.Put(s)
}

// Begun reports whether the model has begun to answer: text, reasoning, a tool
// call or a finish, not comments, roles or empty deltas.
func (s *Stream) Begun() bool { return s.begun }

// Ended reports whether the end mark has come: [DONE], or the last event of a
// response or message.
func (s *Stream) Ended() bool { return s.ended }

// Failed reports whether an error event has come, and the HTTP status it stands
// for.
func (s *Stream) Failed() (status int, failed bool) {
	s.readTail()
	return s.status, s.failed
}

// Sequence is the number that an event behind the last one would have in a
// stream of [Responses].
func (s *Stream) Sequence() int { return s.events }

// Whole reports whether the answer is complete if nothing more comes: it has its
// end mark, or every choice has a finish_reason (some servers send no mark).
func (s *Stream) Whole() bool {
	if s.ended || s.dialect == Other {
		return true
	}
	s.readTail()
	finished := s.blind // nothing is held against it
	for _, c := range s.choices {
		if c.seen && !c.finished && !s.blind {
			return false
		}
		finished = finished || c.finished
	}
	return finished
}

// Write takes the next piece of the stream and keeps nothing of it.
func (s *Stream) Write(p []byte) {
	for len(p) > 0 {
		if s.begun && s.brief() && s.splitter.Idle() {
			s.skim(p)
			return
		}
		end := bytes.Index(p, blankLine) + len(blankLine)
		if end < len(blankLine) {
			end = len(p)
		}
		s.splitter.Write(p[:end], s.read)
		p = p[end:]
	}
}

// Close takes the end of the stream.
func (s *Stream) Close() { s.splitter.Close(s.read) }

// brief reports whether events need not be read one by one once the model has
// begun.
func (s *Stream) brief() bool {
	return !s.every && (s.dialect == Chat || s.dialect == Completions)
}

var (
	blankLine = []byte("\n\n")
	dataField = []byte("data: ")
	endMark   = []byte("[DONE]")
	errorWord = []byte("error")
)

// read takes one event.
func (s *Stream) read(e sse.Event) {
	s.events++
	if e.Failed {
		s.fail(ErrorStatus(e.Data))
		return
	}
	typed := s.dialect == Responses || s.dialect == Messages
	switch {
	case e.TooLong:
		// The last event of a response repeats all of it, images included.
		s.begun = true
		s.pieces++
		if !typed || len(e.Name) == 0 {
			return
		}
	case s.dialect != Other && cutOff(e):
		return
	}
	switch s.dialect {
	case Chat, Completions:
		switch {
		case ends(e.Data):
			s.ended = true
		case string(e.Name) == "error":
			s.fail(ErrorStatus(e.Data))
		case s.brief() && (s.begun || hasText(e.Data)) && bytes.IndexByte(e.Data, '\n') < 0:
			s.begun = true
			s.lines += 2
			s.keep(dataField)
			s.keep(e.Data)
			s.keep(blankLine)
		default:
			s.readChunk(e.Data)
		}
	case Responses, Messages:
		s.readTyped(e)
	default:
		s.begun = true
	}
}

// cutOff reports whether the stream's end has cut an event in two. No client can
// make anything of it. Some servers leave out the last blank line; theirs are
// whole.
func cutOff(e sse.Event) bool {
	return e.Unfinished && !json.Valid(e.Data) && !ends(e.Data)
}

// ends reports whether an event has the end mark, in a line of its own: servers that end
// events with one line feed make one of several.
func ends(data []byte) bool {
	if !bytes.Contains(data, endMark) {
		return false
	}
	for line := range bytes.SplitSeq(data, blankLine[:1]) {
		if isEndMark(line) {
			return true
		}
	}
	return false
}

var textMember = []byte(`"delta":{"content":"`)

// hasText reports whether a chunk surely has text and no error: most chunks need
// no decoding to see it.
func hasText(data []byte) bool {
	at := bytes.Index(data, textMember) + len(textMember)
	return at >= len(textMember) && at < len(data) && data[at] != '"' && !bytes.Contains(data, errorWord)
}

func (s *Stream) fail(status int) {
	if !s.failed {
		s.failed, s.status = true, status
	}
}

// readTyped reads an event of [Responses] or [Messages], whose kind stands in its
// event line and again in its member type.
func (s *Stream) readTyped(e sse.Event) {
	kind := string(e.Name)
	if kind == "" {
		var typed struct {
			Type string `json:"type"`
		}
		if err := json.Unmarshal(e.Data, &typed); err != nil && bytes.Equal(bytes.TrimSpace(e.Data), endMark) {
			return // vLLM ends responses with it too
		}
		kind = typed.Type
	}
	if strings.HasSuffix(kind, "delta") && kind != "message_delta" {
		s.pieces++
	}
	switch kind {
	case "error":
		s.fail(ErrorStatus(e.Data))
	case "response.failed":
		var failed struct {
			Response json.RawMessage `json:"response"`
		}
		_ = json.Unmarshal(e.Data, &failed) // without one the status is 500 all the same
		s.ended = true
		s.fail(ErrorStatus(failed.Response))
		s.noteUsage(e.Data, 2)
	case "response.completed", "response.incomplete":
		s.begun, s.ended = true, true
		s.noteUsage(e.Data, 2)
	case "message_stop":
		s.begun, s.ended = true, true
	case "message_start":
		s.noteUsage(e.Data, 2)
	case "message_delta":
		s.begun = true
		s.noteUsage(e.Data, 1)
	case "response.created", "response.queued", "response.in_progress", "response.output_item.added", "response.content_part.added",
		"response.reasoning_part.added", "response.reasoning_summary_part.added",
		"ping", "content_block_start", "":
	default:
		s.begun = true
	}
}
