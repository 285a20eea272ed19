package echomodel

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// This file has the faults that are well-formed HTTP answers, given in place of the asked one.

func failStatus(x *exchange) error {
	status := x.script.Status
	if status == 0 {
		status = http.StatusInternalServerError
	}
	setRetryAfter(x.w.Header(), x.script.RetryAfter, time.Now())
	b := []byte(x.script.Body)
	if len(b) == 0 {
		e := &apiError{status: status, message: "echo_model fault: status " + strconv.Itoa(status)}
		b = e.append(nil, x.route.dialect)
	}
	return x.instead(status, "application/json", b)
}

// setRetryAfter sets what Script.RetryAfter says.
func setRetryAfter(h http.Header, value string, now time.Time) {
	if ms, ok := strings.CutPrefix(value, "ms:"); ok {
		h.Set("Retry-After-Ms", ms)
		return
	}
	if in, ok := strings.CutPrefix(value, "date:"); ok {
		if d, err := parseDuration(in); err == nil {
			value = now.Add(time.Duration(d)).UTC().Format(http.TimeFormat)
		}
	}
	if value != "" {
		h.Set("Retry-After", value)
	}
}

// failLoading answers as llama.cpp's server does until its model is in memory.
func failLoading(x *exchange) error {
	return x.instead(http.StatusServiceUnavailable, "application/json",
		[]byte(`{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}`))
}

func failRedirect(x *exchange) error {
	location, status := x.script.Location, x.script.Status
	if location == "" {
		location = "http://169.254.169.254/latest/meta-data/" // the address a server-side request forgery wants
	}
	if status == 0 {
		status = http.StatusTemporaryRedirect
	}
	x.w.Header().Set("Location", location)
	return x.instead(status, "text/plain; charset=utf-8", nil)
}

func failHTML(x *exchange) error {
	return x.instead(http.StatusOK, "text/html; charset=utf-8", []byte("<!DOCTYPE html>\n"+
		"<html><head><title>Sign in</title></head><body><form method=\"post\"><input name=\"user\"></form></body></html>\n"))
}

func failEmpty(x *exchange) error {
	contentType := "application/json"
	if x.req.stream {
		contentType = "text/event-stream; charset=utf-8"
	}
	return x.instead(http.StatusOK, contentType, nil)
}

// instead writes an answer in the place of the asked one.
func (x *exchange) instead(status int, contentType string, b []byte) error {
	if err := x.write(status, contentType, b); err != nil {
		return err
	}
	return errCut
}

// failAfterHeaders sends the header of the asked answer and then nothing.
func failAfterHeaders(x *exchange) error {
	contentType := "application/json"
	if x.req.stream {
		contentType = "text/event-stream; charset=utf-8"
	}
	x.w.Header().Set("Content-Type", contentType)
	x.w.WriteHeader(http.StatusOK)
	x.flusher = http.NewResponseController(x.w)
	if err := x.flush(); err != nil {
		return err
	}
	return x.hang()
}

func addBigHeader(x *exchange) error {
	size := x.script.Size
	if size == 0 {
		size = 12 << 20
	}
	x.w.Header().Set("X-Big", strings.Repeat("x", size))
	x.script.Size = 0 // it is not the tokens' size
	return nil
}

// sendEarlyHints sends 102 and 103 in turn before the asked answer.
func sendEarlyHints(x *exchange) error {
	n := x.script.Size
	if n == 0 {
		n = 10_000
	}
	x.script.Size = 0 // it is not the tokens' size
	for i := range n {
		if x.ctx.Err() != nil {
			return errGone
		}
		x.w.WriteHeader(http.StatusProcessing + i%2) // 102, then 103
	}
	return nil
}

func refuseStream(x *exchange) error {
	x.req.stream = false
	return nil
}

// sendErrorEvent puts an error into a stream that has begun with 200. The OpenAI dialects send [DONE] after it, as
// vLLM, SGLang, LMDeploy and TGI do; the others just end.
func sendErrorEvent(x *exchange) error {
	status := x.script.Status
	if status == 0 {
		status = http.StatusInternalServerError
	}
	e := &apiError{status: status, message: "echo_model fault: error_event"}
	payload := []byte(x.script.Body)
	switch {
	case len(payload) > 0:
	case x.route.dialect == responses:
		payload = []byte(`{"type":"error","code":"server_error","message":"` + e.message + `","param":null,"sequence_number":` +
			strconv.Itoa(x.seq) + `}`)
	default:
		payload = e.append(nil, x.route.dialect)
	}
	if x.route.dialect != openAI {
		x.buf = append(x.buf, "event: error\n"...)
	}
	x.buf = append(x.buf, "data: "...)
	x.buf = append(append(x.buf, payload...), "\n\n"...)
	if x.route.dialect == openAI {
		x.buf = append(x.buf, "data: [DONE]\n\n"...)
	}
	if err := x.flush(); err != nil {
		return err
	}
	return errCut
}

// sendAfterDone sends more after the end and holds the stream open.
func sendAfterDone(x *exchange) error {
	x.buf = append(x.buf, ": still here\n\ndata: {\"late\":true}\n\n"...)
	if err := x.flush(); err != nil {
		return err
	}
	return x.hang()
}
