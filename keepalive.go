package aigateway

import (
	"encoding/json"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
)

// keepalive is the writer of a client that waits for a stream: while nothing has
// come it sends the stream's header and then comments, so that no proxy on the way
// takes the silence for a dead connection. Instances can still be changed; but once
// the header is out, an error can only be told as an event.
//
// Until the answer begins it keeps a header of its own, for the comments are sent
// from a timer's goroutine. Afterwards it is as safe for concurrent use as the
// writer that it wraps.
type keepalive struct {
	http.ResponseWriter
	dialect openai.Dialect
	every   time.Duration
	header  http.Header

	mu    sync.Mutex
	timer *time.Timer // guarded by mu, as all below
	sent  bool        // the stream's header is out
	over  bool        // the answer has begun

	mistake []byte // an answer that is no stream, to be told as an event
	failed  bool
}

func newKeepalive(w http.ResponseWriter, d openai.Dialect, every time.Duration) *keepalive {
	k := &keepalive{ResponseWriter: w, dialect: d, every: every, header: w.Header().Clone()}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.timer = time.AfterFunc(every, k.comment)
	return k
}

// comment tells the client that its request is being worked on.
func (k *keepalive) comment() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.over {
		return
	}
	if !k.sent {
		k.sent = true
		h := k.ResponseWriter.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-cache")
		k.ResponseWriter.WriteHeader(http.StatusOK)
	}
	// A client that has gone is noticed by the server, which ends the request.
	k.ResponseWriter.Write([]byte(": keepalive\n\n"))    //nolint:errcheck // see above
	http.NewResponseController(k.ResponseWriter).Flush() //nolint:errcheck // see above
	k.timer.Reset(k.every)
}

// begin ends the comments. It reports whether the header is out.
func (k *keepalive) begin() (sent bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.over = true
	k.timer.Stop()
	return k.sent
}

// Header returns the header of the answer.
func (k *keepalive) Header() http.Header { return k.header }

// WriteHeader begins the answer. If the client has a stream's header already and
// the answer is none, it becomes an event.
func (k *keepalive) WriteHeader(status int) {
	if status < 200 {
		return // the proxy's informational answers would need the lock
	}
	if k.begin() {
		k.failed = status != http.StatusOK || mediaType(k.header) != "text/event-stream"
		return
	}
	h := k.ResponseWriter.Header()
	clear(h)
	maps.Copy(h, k.header)
	k.ResponseWriter.WriteHeader(status)
}

func (k *keepalive) Write(p []byte) (int, error) {
	if k.failed {
		k.mistake = append(k.mistake, p[:min(len(p), maxReply-len(k.mistake))]...)
		return len(p), nil
	}
	return k.ResponseWriter.Write(p)
}

// Unwrap is for [http.ResponseController].
func (k *keepalive) Unwrap() http.ResponseWriter { return k.ResponseWriter }

// end closes the answer. One that turned out to be an error ends as such: by an
// event and an aborted transfer.
func (k *keepalive) end() {
	if k.begin(); !k.failed {
		return
	}
	var answer struct {
		Error struct {
			Message string `json:"message"`
			Code    any    `json:"code"`
		} `json:"error"`
	}
	_ = json.Unmarshal(k.mistake, &answer) // an answer that is none of the API's has the words below
	code, ok := answer.Error.Code.(string)
	if !ok || code == "" {
		code = "upstream_error"
	}
	if answer.Error.Message == "" {
		answer.Error.Message = "the model server gave no stream"
	}
	k.ResponseWriter.Write(k.dialect.ErrorEvent(code, answer.Error.Message, 0)) //nolint:errcheck // the client went, and nobody is left to tell
	http.NewResponseController(k.ResponseWriter).Flush()                        //nolint:errcheck // see above
	panic(http.ErrAbortHandler)
}
