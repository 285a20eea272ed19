// Package openai knows the four dialects in which model servers stream their
// answers: OpenAI's chat completions, completions and responses, and Anthropic's
// messages. It tells from the events of a stream whether the model has begun to
// answer, whether the answer is whole, and what an error in it means; and it
// words the error that ends a stream which broke.
package openai

import (
	"encoding/json"
	"strconv"
	"strings"
)

// Dialect is the form of a stream's events.
type Dialect uint8

// The dialects. A stream of Other, such as speech, is only known to be events: it
// is whole when it ends.
const (
	Other Dialect = iota
	Chat
	Completions
	Responses
	Messages
)

// DialectOf returns the dialect of the API at path, below /v1.
func DialectOf(path string) Dialect {
	switch path {
	case "/v1/chat/completions":
		return Chat
	case "/v1/completions":
		return Completions
	case "/v1/responses":
		return Responses
	case "/v1/messages":
		return Messages
	}
	return Other
}

// ErrorEvent returns the event that tells a client its stream has broken, in a
// form for which the official clients raise an exception. A line that the stream
// may have left open is ended first. Sequence is the number of events before it,
// which responses count.
func (d Dialect) ErrorEvent(code, message string, sequence int) []byte {
	var (
		name    string
		payload any
	)
	switch d {
	case Responses:
		name, payload = "event: error\n", struct {
			Type     string  `json:"type"`
			Code     string  `json:"code"`
			Message  string  `json:"message"`
			Param    *string `json:"param"`
			Sequence int     `json:"sequence_number"`
		}{"error", code, message, nil, sequence}
	case Messages:
		name, payload = "event: error\n", struct {
			Type  string            `json:"type"`
			Error map[string]string `json:"error"`
		}{"error", map[string]string{"type": "api_error", "message": message}}
	default:
		type body struct {
			Message string  `json:"message"`
			Type    string  `json:"type"`
			Param   *string `json:"param"`
			Code    string  `json:"code"`
		}
		payload = struct {
			Error body `json:"error"`
		}{body{message, "server_error", nil, code}}
	}
	text, err := json.Marshal(payload)
	if err != nil { // strings and numbers always encode
		panic(err)
	}
	return []byte("\n\n" + name + "data: " + string(text) + "\n\n")
}

// failure is an error object of any server.
type failure struct {
	Code   json.RawMessage `json:"code"`   // a status, or OpenAI's word for it
	Status json.RawMessage `json:"status"` // Google's word, or a status
	Type   string          `json:"type"`
}

// ErrorStatus returns the HTTP status that an error payload stands for: of its
// code where that is one, else of what its type says, else 500. Payload is the
// error itself or an object that holds it as error.
func ErrorStatus(payload []byte) int {
	var outer struct {
		Error json.RawMessage `json:"error"`
		failure
	}
	if json.Unmarshal(payload, &outer) != nil {
		return 500
	}
	f := outer.failure
	if len(outer.Error) > 0 && outer.Error[0] == '{' {
		var inner failure
		if json.Unmarshal(outer.Error, &inner) == nil {
			f = inner
		}
	}
	words := []string{f.Type}
	for _, raw := range []json.RawMessage{f.Code, f.Status} {
		text := strings.Trim(string(raw), `"`)
		if n, err := strconv.Atoi(text); err == nil && n >= 400 && n < 600 {
			return n
		}
		words = append(words, text)
	}
	return statusOfWords(strings.ToLower(strings.Join(words, " ")))
}

// statusOfWords knows the error types and codes of OpenAI, Anthropic, vLLM (which
// names Python's or HTTP's), TGI and Google.
func statusOfWords(words string) int {
	for _, known := range []struct {
		word   string
		status int
	}{
		{"overloaded", 503},
		{"unavailable", 503},
		{"timeout_error", 504},
		{"rate_limit", 429},
		{"ratelimit", 429},
		{"resource_exhausted", 429},
		{"insufficient_quota", 429},
		{"authentication", 401},
		{"unauthenticated", 401},
		{"invalid_api_key", 401},
		{"billing", 402},
		{"permission", 403},
		{"not_found", 404},
		{"notfound", 404},
		{"too_large", 413},
		{"context_length", 400},
		{"invalid_request", 400},
		{"invalid_argument", 400},
		{"badrequest", 400},
		{"bad_request", 400},
		{"validation", 400},
		{"content_filter", 400},
	} {
		if strings.Contains(words, known.word) {
			return known.status
		}
	}
	return 500
}
