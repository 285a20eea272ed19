// Package echomodel is a small OpenAI-compatible model server without a model: it repeats what it is told, at the
// pace it is told, and fails in the way it is told. It stands in for vLLM in tests, demonstrations and benchmarks.
//
// In Caddy it is the handler echo_model (see [Handler], which is the manual). In a Go test it is an http.Handler:
//
//	echo := echomodel.New(echomodel.Options{Name: "a"})
//	defer echo.Close()
//	upstream := httptest.NewServer(echo)
//	echo.SetScript(echomodel.Script{Fault: "reset_mid", After: 3}, 1) // the next request breaks after 3 events
//	…
//	seen := echo.Stats() // what reached it
//
// A request may script its own answer by a member "echo" of its body; see [Script] for the members.
package echomodel

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(Handler{})
	httpcaddyfile.RegisterHandlerDirective("echo_model", parseCaddyfile)
	httpcaddyfile.RegisterDirectiveOrder("echo_model", httpcaddyfile.Before, "reverse_proxy")
}

// Handler is a stand-in for a model server. It answers every request itself; nothing comes after it. It is made for
// loopback: it has no limits worth the name, and GET /echo/stats shows the headers of the last request, keys and all.
//
// # Answers
//
// The content of an answer is the text of the last user message that has any (in completions the prompt), or, with
// tokens set, "w1 w2 w3 …". A token is a word with the blank after it. max_tokens and its other names cut, with
// finish_reason length. A request with tools whose last message is the user's and contains "tool" gets a call of the
// first tool with the arguments {}. Usage counts prompt tokens by blanks. Every answer has the header
// X-Echo-Name: <name>. The same request gets the same answer, apart from id and created.
//
// Routes: POST /v1/chat/completions, /v1/completions, /v1/responses, /v1/messages, /v1/messages/count_tokens,
// /v1/embeddings, /v1/audio/transcriptions, /tokenize, /detokenize, /score, /rerank, /v1/rerank, /v2/rerank,
// /classify, /pooling; GET /v1/realtime (WebSocket, repeats each message), /v1/models, /v1/files, /health, /version,
// /is_sleeping. The routes that a gateway must not let through (/metrics, /sleep, /wake_up, /load_lora_adapter,
// /v1/load_lora_adapter, /v1/unload_lora_adapter, /reset_prefix_cache) answer "engine admin route" to any method.
// Anything else is 404, a wrong method 405, a missing key 401, an unknown model 404, a body that is no JSON or has
// wrong members 400, one over 256 MiB 413; the bodies are vLLM's, on /v1/messages Anthropic's. Escapes and UTF-8 are
// checked only in what is echoed. With vllm, prompts take time unless they are cached, requests wait for each other, and
// GET /metrics tells of it in vLLM's names; see [VLLM].
//
// # Scripts
//
// What Script says here holds for all requests. A member "echo" of a body ("echo": {"ttft": "50ms", "tokens": 100}),
// or a form's field of that name, overrides it for that request, member by member; "fault": "none" makes it well.
// POST /echo/control takes the same members and "count": n, and holds for the next n requests to the routes that its
// path says (without count for all) until DELETE /echo/control; GET shows what is in force. GET /echo/stats answers
// [Stats] as JSON, DELETE resets them. /echo/* asks for no key. Settings and counters belong to the handler: a reload
// of Caddy's config starts afresh.
//
// # Faults
//
// In place of the answer:
//
//	status             the code status (500), with retry_after and body
//	loading            503 as llama.cpp while it loads, also GET /health
//	redirect           307 (or status) to location
//	html               200 with a login page
//	empty              200 with no body
//	hang               nothing until the client goes
//	headers_then_hang  200 and the header, then nothing until the client goes
//	reset              RST before any byte
//	eof                FIN before any byte
//	garbage            bytes that are no HTTP
//	bad_length         Content-Length: twelve
//	two_lengths        two Content-Length that differ
//
// Around a good answer:
//
//	big_header   a header of size bytes (12 MiB)
//	early_hints  size (10,000) answers 102 and 103 before it
//	wrong_type   plain JSON although a stream was asked for
//	gzip         gzip-encoded although nobody asked, flushed per event
//	slow_drip    the header byte by byte with gaps of itl (20ms), the body ends with the connection
//	sleep        only GET /is_sleeping says true
//
// In the middle, that is after so many events of a stream (after, 0; at its end if it is shorter), or at the half of
// a plain answer's bytes:
//
//	reset_mid    RST
//	eof_mid      FIN without the last chunk; a plain answer is chunked here
//	truncate     FIN before the Content-Length is reached; a stream with after 0 ends whole, but for the last chunk
//	hang_mid     silence until the client goes
//	bad_chunk    a chunk whose size is no number, then FIN
//	error_event  an error in the dialect's form (status, body), then [DONE] as vLLM sends it; streams only
//	no_done      the whole stream without [DONE], response.completed or message_stop; streams only
//	after_done   more bytes after the end, and the connection held open; streams only
//
// On HTTP/2 and HTTP/3 those that need the connection reset the request's stream instead.
type Handler struct {
	// Models are the names served; another one is answered with 404. Default: every name is served, "echo" listed.
	Models []string `json:"models,omitempty"`

	// Name appears as X-Echo-Name and system_fingerprint. Placeholders known at start are replaced. Default "echo".
	Name string `json:"name,omitempty"`

	// APIKey, if set, is demanded as "Authorization: Bearer <key>" or "X-Api-Key: <key>" on all routes but /health,
	// /version, /is_sleeping and the engine's. Placeholders known at start are replaced. Default: no key.
	APIKey string `json:"api_key,omitempty"`

	// VLLM lets it act like an engine with a cache and a queue, which tells of both in /metrics. By default it answers
	// every request at once, and /metrics with a line of text.
	VLLM *VLLM `json:"vllm,omitempty"`

	// Script is what requests get that do not say otherwise. Its members stand beside those above.
	Script

	server *Server
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.echo_model",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision makes the server.
func (h *Handler) Provision(caddy.Context) error {
	repl := caddy.NewReplacer()
	name, err := repl.ReplaceOrErr(h.Name, true, true)
	if err != nil {
		return fmt.Errorf("replacing placeholders in name: %w", err)
	}
	key, err := repl.ReplaceOrErr(h.APIKey, true, true)
	if err != nil {
		return fmt.Errorf("replacing placeholders in api_key: %w", err)
	}
	h.server = New(Options{Models: h.Models, Name: name, APIKey: key, Script: h.Script, VLLM: h.VLLM})
	return nil
}

// Validate refuses models that are empty or given twice, and a script out of its bounds.
func (h *Handler) Validate() error {
	for i, model := range h.Models {
		if model == "" {
			return fmt.Errorf("model %d: empty name", i+1)
		}
		if slices.Contains(h.Models[:i], model) {
			return fmt.Errorf("model %q: given twice", model)
		}
	}
	if err := h.VLLM.check(); err != nil {
		return err
	}
	return h.Script.check()
}

// Cleanup breaks off what still hangs when the process ends. After a reload the
// answers under way go on: Caddy cleans up the old configuration while its
// requests still run.
func (h *Handler) Cleanup() error {
	if h.server == nil || !caddy.Exiting() {
		return nil
	}
	return h.server.Close()
}

// ServeHTTP answers the request. There is no next handler: unknown paths are the model server's 404.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	h.server.ServeHTTP(w, r)
	return nil
}

// UnmarshalCaddyfile reads the directive:
//
//	echo_model [<models...>] {
//		name    <text>
//		ttft    <duration>
//		itl     <duration>
//		tokens  <count>
//		api_key <key>
//		fault   <name> [<args...>]
//		vllm {
//			seqs    <count>
//			cache   <tokens>
//			prefill <duration>
//		}
//	}
//
// The arguments of a fault are, in this order and all optional:
//
//	status                                               <status> <retry_after> <body>
//	redirect                                             <location> <status>
//	big_header, early_hints                              <size>
//	slow_drip                                            <itl>
//	error_event                                          <after> <status> <body>
//	reset_mid, eof_mid, truncate, hang_mid, bad_chunk    <after>
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	h.Models = append(h.Models, d.RemainingArgs()...)
	seen := map[string]bool{}
	for d.NextBlock(0) {
		option := d.Val()
		if seen[option] {
			return d.Errf("%s: given twice", option)
		}
		seen[option] = true
		if err := h.unmarshalOption(d, option); err != nil {
			return err
		}
	}
	return nil
}

func (h *Handler) unmarshalOption(d *caddyfile.Dispenser, option string) error {
	var value string
	switch option {
	case "name", "ttft", "itl", "tokens", "api_key":
		if !d.AllArgs(&value) {
			return d.Errf("%s: want one argument", option)
		}
	case "fault":
		return h.unmarshalFault(d)
	case "vllm":
		return h.unmarshalVLLM(d)
	default:
		return d.Errf("unknown option %q: want one of name, ttft, itl, tokens, api_key, fault, vllm", option)
	}
	switch option {
	case "name":
		h.Name = value
	case "api_key":
		h.APIKey = value
	default:
		if err := h.set(option, value); err != nil {
			return d.Errf("%w", err)
		}
	}
	return nil
}

func (h *Handler) unmarshalVLLM(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	h.VLLM = new(VLLM)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option, value := d.Val(), ""
		if !d.AllArgs(&value) {
			return d.Errf("vllm: %s: want one argument", option)
		}
		var err error
		switch option {
		case "seqs":
			h.VLLM.Seqs, err = parseInt(value, 0, maxTokens)
		case "cache":
			h.VLLM.Cache, err = parseInt(value, 0, maxSize)
		case "prefill":
			h.VLLM.Prefill, err = parseDuration(value)
		default:
			return d.Errf("vllm: unknown option %q: want one of seqs, cache, prefill", option)
		}
		if err != nil {
			return d.Errf("vllm: %s: %w", option, err)
		}
	}
	return nil
}

func (h *Handler) unmarshalFault(d *caddyfile.Dispenser) error {
	values := d.RemainingArgs()
	if len(values) == 0 {
		return d.Errf("fault: want a name, one of %s", faultList)
	}
	if err := h.set("fault", values[0]); err != nil {
		return d.Errf("%w", err)
	}
	values = values[1:]
	members := faults[h.Fault].args
	if len(values) > len(members) {
		return d.Errf("fault %s: %d arguments: want at most %d", h.Fault, len(values), len(members))
	}
	for i, value := range values {
		if err := h.set(members[i], value); err != nil {
			return d.Errf("fault %s: %w", h.Fault, err)
		}
	}
	return nil
}

func parseCaddyfile(helper httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h := new(Handler)
	return h, h.UnmarshalCaddyfile(helper.Dispenser)
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
)
