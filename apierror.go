package aigateway

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"unicode"
)

// apiError is an answer of the gateway itself to a request that it cannot or
// will not pass on, in the shape that the client's library reads.
type apiError struct {
	Status  int
	Type    string // OpenAI's error type
	Code    string // OpenAI's error code, "" for null
	Param   string // the member at fault, "" for null
	Message string
}

func (e *apiError) Error() string { return e.Message }

// badRequest returns a 400 about the request member param.
func badRequest(code, param, message string) *apiError {
	return &apiError{Status: http.StatusBadRequest, Type: "invalid_request_error", Code: code, Param: param, Message: message}
}

// unknownModel returns a 404 that names what may be asked for instead.
func unknownModel(model string, available []string) *apiError {
	return &apiError{
		Status: http.StatusNotFound, Type: "invalid_request_error", Code: "model_not_found", Param: "model",
		Message: "the model " + quote(model) + " does not exist; available: " + strings.Join(available, ", "),
	}
}

// unavailable returns a gateway-side failure: 502, 503 or 504.
func unavailable(status int, code, message string) *apiError {
	return &apiError{Status: status, Type: "server_error", Code: code, Message: message}
}

// write sends e in the dialect's shape. No part of the answer may have gone out
// before.
func (e *apiError) write(w http.ResponseWriter, d dialect) {
	var v any
	if d == anthropic {
		v = map[string]any{"type": "error", "error": map[string]any{"type": e.anthropicType(), "message": e.Message}}
	} else {
		v = map[string]any{"error": map[string]any{
			"message": e.Message, "type": e.Type, "param": orNull(e.Param), "code": orNull(e.Code),
		}}
	}
	writeJSON(w, e.Status, v)
}

// anthropicType maps a status to the error types of Anthropic's API.
func (e *apiError) anthropicType() string {
	switch e.Status {
	case http.StatusUnauthorized:
		return "authentication_error"
	case http.StatusForbidden:
		return "permission_error"
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusRequestEntityTooLarge:
		return "request_too_large"
	case http.StatusTooManyRequests:
		return "rate_limit_error"
	case http.StatusServiceUnavailable:
		return "overloaded_error"
	}
	if e.Status >= 500 {
		return "api_error"
	}
	return "invalid_request_error"
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// writeJSON sends v with its length, so that nothing is flushed in pieces.
func writeJSON(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v)
	if err != nil { // v is always built here from strings, numbers and maps
		panic(err)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(text)+1))
	w.WriteHeader(status)
	w.Write(append(text, '\n')) //nolint:errcheck // the client went, and nobody is left to tell
}

// quote makes a client's text safe to show: short, on one line, without
// characters that steer a terminal or turn the reading direction.
func quote(s string) string {
	const limit = 80
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
	return strconv.Quote(s)
}
