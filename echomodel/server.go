package echomodel

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"
)

// Options are the settings of a Server. The zero value serves every model without a key and repeats what it is told.
type Options struct {
	// Models are the names served; another one is answered with 404. Empty: every name is served, and "echo" listed.
	Models []string

	// Name is the value of X-Echo-Name in every answer, and of system_fingerprint. Default "echo".
	Name string

	// APIKey, if set, is demanded as "Authorization: Bearer <key>" or "X-Api-Key: <key>". Default: none.
	APIKey string

	// Script is what requests get that do not say otherwise. A fault of an unknown name, or a value out of its bounds,
	// is answered to each of them with 400.
	Script Script

	// VLLM lets it act like an engine that has a cache and tells how much it has to do. Default: nil, it does not.
	VLLM *VLLM
}

// Server is the model server: an http.Handler for httptest.NewServer, or inside Handler for Caddy. Its counters and
// what POST /echo/control set are its own. All methods are safe for concurrent use.
type Server struct {
	opts   Options
	models []string // as listed
	first  []byte   // of them, as raw JSON text

	fingerprint []byte // the name as a JSON string
	closed      context.Context
	close       context.CancelFunc
	control     control
	stats       stats
	vllm        *vllm // nil unless it is acted out
}

// New returns a server ready to serve. Close it if requests may still hang in it.
func New(opts Options) *Server {
	if opts.Name == "" {
		opts.Name = "echo"
	}
	s := &Server{opts: opts, models: opts.Models}
	if len(s.models) == 0 {
		s.models = []string{"echo"}
	}
	s.first, _ = textOf(appendString(nil, s.models[0]))
	s.fingerprint = appendString(nil, opts.Name)
	s.closed, s.close = context.WithCancel(context.Background())
	s.stats.reset()
	s.vllm = newVLLM(opts.VLLM)
	return s
}

// Close breaks off the requests that hang by a fault, so that an http.Server around s can shut down. Those in the
// middle of an ordinary answer are broken off at their next wait. It never fails.
func (s *Server) Close() error {
	s.close()
	return nil
}

// SetScript does what POST /echo/control does: it gives the next n inference requests (all, if n is 0) the script c
// in place of the configured one. It replaces an earlier one.
func (s *Server) SetScript(c Script, n int) { s.control.set(c, n) }

// ClearScript does what DELETE /echo/control does: requests get the configured script again.
func (s *Server) ClearScript() { s.control.clear() }

// ServeHTTP answers /echo/* itself and everything else as a model server does.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/echo/") {
		s.serveControl(w, r)
		return
	}
	x := newExchange(s, w, r)
	defer x.end()
	if err := x.serve(); err != nil {
		x.settle(err)
	}
}

// What a route's answer can come to, beside an *apiError or *syntaxError, which are written as an error answer.
var (
	// errGone is returned when the client went before the end.
	errGone = errors.New("client gone")

	// errCut is returned when a fault has ended the answer; nothing is to be written any more.
	errCut = errors.New("answer cut by a fault")

	// errClosed is returned when the server was closed during a wait.
	errClosed = errors.New("server closed")
)

// settle does what is left to do for a request whose answer came to err: it counts, breaks off, or writes the refusal.
func (x *exchange) settle(err error) {
	var refused *apiError
	var syntax *syntaxError
	switch {
	case errors.Is(err, errCut):
	case errors.Is(err, errGone):
		x.s.stats.cancel()
	case errors.Is(err, errClosed):
		panic(http.ErrAbortHandler) // the client must see a break, not an end
	case errors.As(err, &refused):
		x.refuse(refused)
	case errors.As(err, &syntax):
		x.refuse(badRequest("", syntax.Error()))
	default:
		x.refuse(&apiError{status: http.StatusInternalServerError, message: err.Error()})
	}
}

// route is one path of the server.
type route struct {
	method    string // "" for any
	inference bool   // faults act here unless Script.Path says otherwise
	open      bool   // needs no key
	dialect   dialect
	parse     func(x *exchange) error // reads the body into x.req; nil if there is none
	serve     func(x *exchange) error
}

// noRoute is the route of a request before its own is known.
var noRoute = &route{}

var routes = map[string]*route{
	"/v1/chat/completions":      {"POST", true, false, openAI, parseJSON, serveChat},
	"/v1/completions":           {"POST", true, false, openAI, parseJSON, serveCompletions},
	"/v1/responses":             {"POST", true, false, responses, parseJSON, serveResponses},
	"/v1/messages":              {"POST", true, false, anthropic, parseJSON, serveMessages},
	"/v1/messages/count_tokens": {"POST", true, false, anthropic, parseJSON, serveCountTokens},
	"/v1/embeddings":            {"POST", true, false, openAI, parseJSON, serveEmbeddings},
	"/v1/audio/transcriptions":  {"POST", true, false, openAI, parseForm, serveTranscription},
	"/v1/realtime":              {"GET", true, false, openAI, nil, serveRealtime},
	"/v1/models":                {"GET", false, false, openAI, nil, serveModels},
	"/v1/files":                 {"GET", false, false, openAI, nil, serveFiles},
	"/tokenize":                 {"POST", true, false, openAI, parseJSON, serveTokenize},
	"/detokenize":               {"POST", true, false, openAI, parseJSON, serveDetokenize},
	"/score":                    {"POST", true, false, openAI, parseJSON, serveScore},
	"/rerank":                   {"POST", true, false, openAI, parseJSON, serveRerank},
	"/v1/rerank":                {"POST", true, false, openAI, parseJSON, serveRerank},
	"/v2/rerank":                {"POST", true, false, openAI, parseJSON, serveRerank},
	"/classify":                 {"POST", true, false, openAI, parseJSON, serveClassify},
	"/pooling":                  {"POST", true, false, openAI, parseJSON, servePooling},

	"/health":      {"GET", false, true, openAI, nil, serveHealth},
	"/version":     {"GET", false, true, openAI, nil, serveVersion},
	"/is_sleeping": {"GET", false, true, openAI, nil, serveIsSleeping},

	// Routes that change or show the engine. A gateway must never let them through, so they must exist and answer.
	"/metrics":                {"", false, true, openAI, nil, serveMetrics},
	"/sleep":                  {"", false, true, openAI, nil, serveAdmin},
	"/wake_up":                {"", false, true, openAI, nil, serveAdmin},
	"/load_lora_adapter":      {"", false, true, openAI, nil, serveAdmin},
	"/v1/load_lora_adapter":   {"", false, true, openAI, nil, serveAdmin},
	"/v1/unload_lora_adapter": {"", false, true, openAI, nil, serveAdmin},
	"/reset_prefix_cache":     {"", false, true, openAI, nil, serveAdmin},
}

// authorized compares the key of a request, as Bearer or as Anthropic's clients send it, without telling how much of
// it was right.
func (s *Server) authorized(r *http.Request) bool {
	if s.opts.APIKey == "" {
		return true
	}
	key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if key == "" {
		key = r.Header.Get("X-Api-Key")
	}
	return subtle.ConstantTimeCompare([]byte(key), []byte(s.opts.APIKey)) == 1
}
