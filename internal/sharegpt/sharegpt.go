// Package sharegpt writes one exchange with a model server as records that
// trainers read as they are: one JSON object a line in the ShareGPT layout that
// LLaMA-Factory, Axolotl, Unsloth, ms-swift and the datasets library share.
//
// A record is a conversation: a list of turns with exactly two members, from (system,
// human, gpt, function_call, observation) and value, a text. System comes first
// if at all; then human or observation and gpt or function_call take turns,
// beginning with the former and ending with the latter. Every choice of an answer
// is a record of its own. The columns are the same in every line, in this order,
// and never null, for the first lines of a file fix the type of each:
//
//	{"id":"01JNM3S0-0","conversations":[{"from":"human","value":"1+1=?"},{"from":"gpt","value":"2"}],
//	 "tools":"[]","model":"deepseek-r1","created":1741145650,"finish_reason":"stop",
//	 "meta":"{\"v\":1,\"status\":\"ok\",…}","request":"","response":""}
//
// Records of the folder [Media] have one or more of images, audios and videos
// behind these. Tools, meta, request and response are JSON texts: their members
// may differ from line to line without changing the column's type.
//
// The layout cannot hold everything. What a record loses, or says in another way
// than the exchange did, it names in meta's flags; request and response then hold
// the originals ([RecordRaw]).
//
// A [Projector] does the work. Requests are read by walking over their bytes: a long
// prompt costs one look over its texts, no trees and, with [Options.InPlace], no copy.
// [AppendMessages] leads back to the messages of chat completions.
package sharegpt

import (
	"regexp"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/splice"
)

// Exchange is a request with its answer, and what the gateway knows about both.
type Exchange struct {
	// ID is unique among all records, without the choice's index.
	ID string
	// Created is the time in seconds since 1970.
	Created int64
	// Endpoint is the name of the API, the dialect's own ([EndpointOf]) if empty.
	Endpoint string
	// Instance is the name of the one that answered, Key the label of the client's
	// key, never the key itself.
	Instance, Key string
	// HTTP is the answer's status.
	HTTP int
	// TTFT and Latency are milliseconds to the first content and to the end.
	TTFT, Latency int64
	// Queued is how many of those it waited for an instance to have a place.
	Queued int64
	// Overflow is the model that was asked in place of the client's, as that had too little
	// context; empty for none.
	Overflow string
	// ClientGone says that the client went away before the answer was complete.
	ClientGone bool
	// Outcome is the gateway's word for how the exchange ended. With "truncated" and
	// "shutdown" an error at the end of the answer is the gateway's own and does not count.
	Outcome string
	// Request is the body of the request, a JSON object.
	Request []byte
	// Scanned says that the body is known to be a JSON object, by [splice.Scan].
	Scanned bool
	// Longest is the place of its longest string, quotes included, if that is known.
	Longest splice.Value
	// Canonical says that it is known to be in the form of package rawjson.
	Canonical bool
	// Answer is what the client got.
	Answer *openai.Answer
	// Usage is what is known of the tokens beside what the answer tells, which goes
	// before it; nil for nothing. Estimated says that it is no count.
	Usage     *openai.Usage
	Estimated bool
	// Bytes is the length of what the client got, if only its beginning was kept for
	// Answer; else it is zero.
	Bytes int64
}

// RecordRaw says when a record holds the exact request and answer.
type RecordRaw uint8

// Lossy, the default, fills them where the record has flags.
const (
	Lossy RecordRaw = iota
	Always
	Never
)

// Options say what is recorded and how. The zero value is the default of each.
type Options struct {
	RecordRaw RecordRaw
	// CompleteOnly sends answers that end at the client's own token limit to the
	// folder of incomplete ones: a trainer would teach the end token at the cut.
	CompleteOnly bool
	// Redact are patterns whose matches in texts are replaced by [Redacted]: of
	// turns, arguments, tools, request and response, the values of strings, not the
	// names of members. Media are left alone.
	Redact []*regexp.Regexp
	// Endpoints are the names of the APIs to be recorded: chat, responses, messages if
	// it is nil. Completions can be added; they are no conversations.
	Endpoints []string
	// InPlace leaves long texts where they stand in the exchange: [Record.Quotes].
	InPlace bool
}

// Redacted stands in place of what a pattern of [Options.Redact] matches.
const Redacted = "[redacted]"

// EndpointOf returns the name of a dialect's API, empty if it is not recorded at
// all.
func EndpointOf(d openai.Dialect) string {
	switch d {
	case openai.Chat:
		return "chat"
	case openai.Completions:
		return "completions"
	case openai.Responses:
		return "responses"
	case openai.Messages:
		return "messages"
	case openai.Other:
	}
	return ""
}

// Folder is where a record belongs. They are siblings, for trainers take all files
// of a folder.
type Folder uint8

// The folders. Nothing of an exchange is written for None: it was refused, or
// nothing was said.
const (
	None Folder = iota
	Main
	Media
	Incomplete
	Completions
)

func (f Folder) String() string {
	return [...]string{"none", "main", "media", "incomplete", "completions"}[f]
}

// Status says how an answer ended.
type Status string

// The statuses. Unreadable answers are beyond the reader's limit.
const (
	OK               Status = "ok"
	Length           Status = "length"
	ContentFilter    Status = "content_filter"
	Failed           Status = "error"
	Truncated        Status = "truncated"
	ClientDisconnect Status = "client_disconnect"
	Empty            Status = "empty"
	Unreadable       Status = "unreadable"
)

// Record is what becomes of one choice.
type Record struct {
	Choice int
	Folder Folder
	// Suffix names the kinds of media in the folder [Media]: "image", "audio+image". It
	// is a part of the file's name, for a file's lines have the same columns.
	Suffix string
	Status Status
	// Line is the record with its line feed, empty for [None]. It is a part of the
	// buffer appended to.
	Line []byte
	// Quotes are what is missing in Line with [Options.InPlace].
	Quotes []Quote
}

// Quote is a long text that stands in the request as it is to stand in the record.
type Quote struct {
	// At is where in Line it belongs.
	At int
	// Text is a part of [Exchange.Request] or of the answer's body.
	Text []byte
}

// Size returns how many bytes the line has, with what is in quotes.
func (r *Record) Size() int {
	n := len(r.Line)
	for _, q := range r.Quotes {
		n += len(q.Text)
	}
	return n
}

// AppendParts appends the parts of the line to dst, all that is in quotes among them.
func (r *Record) AppendParts(dst [][]byte) [][]byte {
	at := 0
	for _, q := range r.Quotes {
		dst = append(dst, r.Line[at:q.At], q.Text)
		at = q.At
	}
	return append(dst, r.Line[at:])
}
