package aigateway

import (
	"fmt"
	"net/http"
	"runtime"

	"go.uber.org/zap"
)

// survive ends a request in whose handling there was a panic: with a 500, or, once
// its answer has begun, with an aborted transfer. The process goes on. It is to be
// deferred before everything else that is.
func (h *Handler) survive(w http.ResponseWriter, rt *route, id string) {
	cause := recover()
	if cause == nil {
		return
	}
	if cause == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so as well
		panic(cause) // an answer that broke off
	}
	what := fmt.Sprintf("%T", cause)
	if e, ok := cause.(runtime.Error); ok { // others may quote a prompt
		what = e.Error()
	}
	h.logger.Error("panic in a request's handling", zap.String("request_id", id), zap.String("error", what), zap.Stack("stack"))
	header := w.Header()
	if header["X-Ai-Gateway-Upstream"] != nil || header["Content-Type"] != nil {
		panic(http.ErrAbortHandler)
	}
	(&apiError{
		Status: http.StatusInternalServerError, Type: "server_error", Code: "internal_error", Message: "the gateway made a mistake; its log says more",
	}).write(w, rt.dialect)
}
