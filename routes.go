package aigateway

import (
	"net/http"
	"slices"
	"strings"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
)

// service is what answers a path.
type service uint8

const (
	serveNothing     service = iota // 404
	serveProxy                      // an instance of a pool
	serveModels                     // GET /v1/models and /v1/models/NAME
	serveHealth                     // GET /health
	serveLive                       // GET /livez
	serveReady                      // GET /readyz
	serveIndex                      // GET /, and what the page there loads
	serveWrongMethod                // 405
)

// dialect is the family of APIs a path belongs to; it decides the shape of
// errors.
type dialect uint8

const (
	openAI dialect = iota
	anthropic
)

// surface holds the first path segments below /v1/ that reach an instance: the
// OpenAI API as of November 2026 and Anthropic's messages. It is a list of what
// is allowed because engines keep administration there too, such as vLLM's
// /v1/load_lora_adapter.
var surface = []string{
	"assistants", "audio", "batches", "chat", "completions", "containers", "conversations", "embeddings", "evals",
	"files", "fine_tuning", "images", "messages", "models", "moderations", "realtime", "responses", "threads",
	"uploads", "vector_stores", "videos",
}

// defaultEngineRoutes are the scoring routes of vLLM and SGLang.
var defaultEngineRoutes = []string{
	"/tokenize", "/detokenize", "/score", "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank", "/classify", "/pooling",
}

// route is what a request's path means. It is not changed once made.
type route struct {
	service service
	dialect dialect
	path    string         // canonical: no escapes, no empty or dot segments
	rest    string         // path below /v1, or "" where the path stands at a server's root
	stream  openai.Dialect // of the events, if the answer is a stream
	method  string
	model   string // of serveModels: NAME, if the path has one
}

// newRoute reads the path of r. Whatever is not canonical has no service: an
// instance could take /v1//x, /v1/..%5Cmetrics or /V1/x for something else than
// this list does.
func newRoute(r *http.Request, engineRoutes []string) *route {
	path := r.URL.Path
	if rt := inference[path]; rt != nil && r.Method == http.MethodPost && r.URL.RawPath == "" {
		return rt
	}
	rt := &route{path: path, method: r.Method}
	if strings.HasPrefix(path, "/v1/messages") {
		rt.dialect = anthropic
	}
	reading := r.Method == http.MethodGet || r.Method == http.MethodHead
	if name, ok := strings.CutPrefix(path, "/v1/models/"); ok && reading && name != "" {
		rt.service, rt.model = serveModels, name
		return rt
	}
	if strings.Contains(strings.ToLower(r.URL.RawPath), "%2f") {
		rt.path = r.URL.RawPath // one segment or two: servers do not agree
		return rt
	}
	if !canonical(path) {
		return rt
	}
	switch {
	case path == "/v1/models":
		rt.service = serveWrongMethod
		if reading {
			rt.service = serveModels
		}
		return rt
	case path == "/health", path == "/livez", path == "/readyz":
		rt.service = serveWrongMethod
		if reading {
			rt.service = map[string]service{"/health": serveHealth, "/livez": serveLive, "/readyz": serveReady}[path]
		}
		return rt
	case isUI(path):
		rt.service = serveWrongMethod
		if reading {
			rt.service = serveIndex
		}
		return rt
	}
	below, versioned := strings.CutPrefix(path, "/v1/")
	first, _, _ := strings.Cut(below, "/")
	if slices.Contains(engineRoutes, path) || versioned && slices.Contains(surface, first) {
		rt.service = serveProxy
		if r.Method == http.MethodTrace || r.Method == http.MethodConnect && r.ProtoMajor < 2 {
			rt.service = serveWrongMethod
			return rt
		}
		if versioned {
			rt.rest = path[len("/v1"):]
			rt.stream = openai.DialectOf(path)
		}
	}
	return rt
}

// inference holds the routes of nearly all requests, ready made.
var inference = func() map[string]*route {
	routes := make(map[string]*route)
	for _, path := range []string{"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"} {
		routes[path] = &route{
			service: serveProxy, path: path, rest: path[len("/v1"):], stream: openai.DialectOf(path), method: http.MethodPost,
		}
	}
	return routes
}()

// canonical reports whether path can be sent on as it is, and means the same to
// every server.
func canonical(path string) bool {
	if path == "/" {
		return true
	}
	if !strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") {
		return false
	}
	for i := range len(path) {
		if !pathByte[path[i]] {
			return false
		}
	}
	for segment := range strings.SplitSeq(path[1:], "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// pathByte holds the bytes that need no escape in a path and carry no meaning
// for a server: RFC 3986's unreserved, and those of its delimiters that the
// APIs use in names.
var pathByte = func() (allowed [256]bool) {
	for c := range 256 {
		allowed[c] = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~:@,=+/", byte(c)) >= 0
	}
	return allowed
}()
