// Package aigateway is a Caddy plugin: one OpenAI-compatible address in front of
// a fleet of model servers.
//
// The module http.handlers.ai_gateway reads the fleet from a config.json5 that it
// watches, routes each request by its model to a pool of instances, balances
// over them, and passes requests and answers through byte for byte. [Handler]
// documents the module, [Config] the file.
package aigateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	// A build of the gateway can run Caddyfile.example, which needs it.
	_ "github.com/simpleaigateway/caddy-ai-gateway/echomodel"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/http1"
)

func init() {
	caddy.RegisterModule(Handler{})
	caddy.RegisterModule(Upstreams{})
}

// Handler is the gateway. It answers /, /health, /livez, /readyz and GET
// /v1/models itself and passes the rest of the OpenAI API, Anthropic's
// /v1/messages and the engines' scoring routes to an instance of the model that
// the request names. It is always the last handler of its route.
//
// A client meets these statuses of the gateway's own, with a body in the shape of
// its API's errors: 400 for a body whose model cannot be read without doubt, 404
// for a path that is not forwarded or a model that no instance serves, 413 for a
// body over max_body, 415 for a compressed one, 429 when all instances want to be
// left alone, 500 for a mistake of the gateway's own, 502 when none gave a valid answer, 503 when none is free or can be
// reached, 504 when they were too slow. Every other answer is an instance's,
// unchanged; a stream that breaks ends with an error event and an aborted transfer.
type Handler struct {
	// Config is the path of the fleet's file. Relative paths start at the working
	// directory in JSON, and at the Caddyfile's folder in a Caddyfile. The file is
	// watched: a saved change takes effect at once and disturbs no request. The
	// default is config.json5.
	Config string `json:"config,omitempty"`

	// MaxBody is the largest request body in bytes. Bodies are read whole before
	// they are sent on. The default is 32 MiB.
	MaxBody int64 `json:"max_body,omitempty"`

	// ProxyEnvironment lets HTTP_PROXY, HTTPS_PROXY and NO_PROXY of the
	// environment apply to the way to the instances. By default they do not, for
	// most instances stand in the gateway's own network.
	ProxyEnvironment bool `json:"proxy_environment,omitempty"`

	// Proxy is the reverse proxy that carries the traffic, with every option of
	// http.handlers.reverse_proxy but those that the gateway sets itself:
	// upstreams, dynamic_upstreams, active health checks, request_buffers and the
	// retry settings of load_balancing. A load_balancing.selection_policy given
	// here takes the place of the file's load_balancing_strategy. Its transport
	// keeps idle connections for 4 s unless told otherwise, less than the 5 s after
	// which uvicorn closes them.
	Proxy *reverseproxy.Handler `json:"proxy,omitempty"`

	store      *store
	ui         ui
	plain      *http1.Transport // for instances without TLS, or nil
	transport  transport
	polls      *http.Transport       // to ask instances by about themselves, or nil
	goesDirect bool                  // [Handler.direct] may be used
	policy     reverseproxy.Selector // of the Caddyfile, or nil
	policyName string
	logger     *zap.Logger
	access     *zap.Logger // of Caddy's access logs
}

// CaddyModule returns the module's ID and constructor.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.ai_gateway", New: func() caddy.Module { return new(Handler) }}
}

const (
	defaultConfig  = "config.json5"
	defaultMaxBody = 32 << 20
)

// Provision loads the fleet's file, which must be valid the first time, and sets
// up the proxy.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	h.access = ctx.Logger(new(caddyhttp.App)).Named("log.access")
	if h.Config == "" {
		h.Config = defaultConfig
	}
	if h.MaxBody == 0 {
		h.MaxBody = defaultMaxBody
	}
	if h.Proxy == nil {
		h.Proxy = new(reverseproxy.Handler)
	}
	if err := h.provisionProxy(ctx); err != nil {
		return err
	}
	var err error
	if h.store, err = acquireStore(h.Config, h.logger); err != nil {
		return err
	}
	if err := h.store.join(ctx, h.policy, h.policyName, h.polls); err != nil {
		return err
	}
	h.ui, err = newUI(ctx, h.store)
	return err
}

// Validate refuses settings that cannot work.
func (h *Handler) Validate() error {
	if h.MaxBody < 0 {
		return fmt.Errorf("max_body: got %d, want a number of bytes above 0", h.MaxBody)
	}
	return nil
}

// Cleanup gives back what Provision has taken, whole or in part.
func (h *Handler) Cleanup() error {
	var errs []error
	endStreams(h.logger)
	if h.ui.Page != nil {
		h.ui.Close()
	}
	if h.store != nil {
		errs = append(errs, releaseStore(h.store))
	}
	if h.Proxy != nil && h.proxyProvisioned() {
		errs = append(errs, h.Proxy.Cleanup())
	}
	if h.plain != nil {
		h.plain.CloseIdle()
	}
	if h.polls != nil {
		h.polls.CloseIdleConnections()
	}
	return errors.Join(errs...)
}

// ServeHTTP takes a request from its path to its answer.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	snap := h.store.snapshot()
	rt := newRoute(r, snap.engineRoutes)
	id := newRequestID()
	w.Header()["X-Ai-Gateway-Request-Id"] = []string{id}
	defer h.survive(w, rt, id)
	line := newAccessLine(h.access, w, r, snap.keys)
	defer line.write()
	key, ok := h.store.admits(w, r, rt, snap.keys)
	if !ok {
		return nil
	}
	if rt.service != serveProxy {
		leaveBody(w, r)
		h.serveOwn(w, r, rt, snap, key)
		return nil
	}
	asked, body, apiErr := readAsk(r, h.MaxBody)
	if apiErr != nil {
		if apiErr.Status == http.StatusRequestEntityTooLarge || apiErr.Status == http.StatusUnsupportedMediaType {
			leaveBody(w, r)
		}
		unknownCounts.ended[endRefused].Add(1)
		apiErr.write(w, rt.dialect)
		return nil
	}
	defer body.release()

	x := &exchange{
		id: id, request: r, writer: w, began: body.arrived, working: body.arrived, snap: snap, route: rt, ask: asked, body: body,
		key: key, policy: newPolicy(h.policy, snap.strategy), events: logger{h.logger, h.store.events}, store: h.store, ejections: &h.store.ejections,
	}
	defer x.finish()
	x.tells()
	line.tells(x)
	if x.pool = snap.fleet.pool(asked.model); x.pool == nil && (asked.model == "" || key.allows(asked.model)) {
		noPool(asked.model, key.allowed(snap.available())).write(w, rt.dialect)
		return nil
	}
	if f := x.admit(); f != nil {
		f.write(w, rt.dialect)
		return nil
	}
	if snap.recorder != nil && key.records() && snap.record.wants(r, rt) {
		c := snap.recorder.capture(w, x)
		defer c.finish(x)
		w, x.writer = c, c
	}
	if snap.keepalive > 0 && asked.stream {
		k := newKeepalive(w, rt.stream, snap.keepalive)
		defer k.end()
		w, x.writer = k, k
	}
	if !x.choose() {
		x.nobody(w)
		return nil
	}
	return h.forward(w, x, next)
}

// leaveBody lets an answer go out before a body that will not be read. Without it
// net/http reads 256 KiB more first, as it does not know its own body behind
// Caddy's, and a client that waits for 100 Continue waits for nothing.
func leaveBody(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 && r.ContentLength != 0 {
		w.Header().Set("Connection", "close")
	}
}

// noPool words that a request's model is missing or unknown.
func noPool(model string, available []string) *apiError {
	if model == "" {
		e := badRequest("missing_model", "model", "model is missing, and the gateway serves more than one")
		e.Message += "; available: " + strings.Join(available, ", ")
		return e
	}
	return unknownModel(model, available)
}

// forward runs the proxy, which makes attempts until one brings an answer or
// [exchange.choose] finds nobody left.
func (h *Handler) forward(w http.ResponseWriter, x *exchange, next caddyhttp.Handler) error {
	if h.goesDirect && !isUpgrade(x.request) {
		if h.direct(w, x) != nil {
			x.fails(w)
		}
		return nil
	}
	out := x.request.WithContext(context.WithValue(x.request.Context(), exchangeKey{}, x))
	if !isUpgrade(out) {
		out.Body, out.ContentLength = nil, 0 // each attempt reads its own
	}
	err := h.Proxy.ServeHTTP(w, out, next)
	if err == nil {
		return nil
	}
	if x.request.Context().Err() != nil {
		x.last = canceled
		if x.key != nil { // Caddy's log of errors would show the fields that held it
			w.WriteHeader(statusClientClosed)
			return nil
		}
		return err
	}
	x.fails(w)
	return nil
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
