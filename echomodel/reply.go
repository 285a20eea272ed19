package echomodel

import (
	"net/http"
	"strconv"
)

// dialect is the family of a route's answers, as far as errors and the ends of streams differ.
type dialect int

const (
	openAI dialect = iota
	responses
	anthropic
)

// apiError is an error answer, written in the route's dialect.
type apiError struct {
	status  int
	kind    string // default: vLLM's word for the status
	message string
	param   string // "" is null
}

func (e *apiError) Error() string { return e.message }

func badRequest(param, message string) *apiError {
	return &apiError{status: http.StatusBadRequest, message: message, param: param}
}

// append appends the error as the JSON object that vLLM answers, or Anthropic on its routes.
func (e *apiError) append(dst []byte, d dialect) []byte {
	if d == anthropic {
		dst = append(dst, `{"type":"error","error":{"type":`...)
		dst = appendString(dst, anthropicKind(e.status))
		dst = append(dst, `,"message":`...)
		return append(appendString(dst, e.message), "}}"...)
	}
	kind := e.kind
	if kind == "" {
		kind = openAIKind(e.status)
	}
	dst = append(dst, `{"error":{"message":`...)
	dst = append(appendString(dst, e.message), `,"type":`...)
	dst = append(appendString(dst, kind), `,"param":`...)
	if e.param == "" {
		dst = append(dst, "null"...)
	} else {
		dst = appendString(dst, e.param)
	}
	dst = append(dst, `,"code":`...)
	return append(strconv.AppendInt(dst, int64(e.status), 10), "}}"...)
}

// openAIKind is vLLM's word for a status: its own for those it makes itself, else the phrase of HTTP.
func openAIKind(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "BadRequestError"
	case http.StatusNotFound:
		return "NotFoundError"
	case http.StatusInternalServerError:
		return "InternalServerError"
	}
	return http.StatusText(status)
}

// anthropicKind is Anthropic's word for a status (https://docs.anthropic.com/en/api/errors).
func anthropicKind(status int) string {
	switch status {
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
	case http.StatusServiceUnavailable, 529:
		return "overloaded_error"
	}
	if status < http.StatusInternalServerError {
		return "invalid_request_error"
	}
	return "api_error"
}

// refuse writes an error answer; no fault changes it.
func (x *exchange) refuse(e *apiError) {
	// A client that is gone by now is no other case than one that goes while the answer is on its way.
	_ = x.write(e.status, "application/json", e.append(nil, x.route.dialect))
}

// detail writes an error in the form of FastAPI, which answers what vLLM does not route.
func (x *exchange) detail(status int) error {
	return x.write(status, "application/json", []byte(`{"detail":"`+http.StatusText(status)+`"}`))
}

// json writes a whole good answer. Faults that break an answer in the middle do it here.
func (x *exchange) json(b []byte) error {
	if x.fault.cut != nil && !x.fault.streamsOnly {
		return x.cutWhole(b)
	}
	return x.write(http.StatusOK, "application/json", b)
}

// write sends a whole answer in one piece, with its length.
func (x *exchange) write(status int, contentType string, b []byte) error {
	h := x.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(b)))
	x.w.WriteHeader(status)
	if _, err := x.w.Write(b); err != nil {
		return errGone
	}
	return nil
}
