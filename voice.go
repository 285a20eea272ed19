package aigateway

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
)

// eventPrefix begins the names of Caddy's events: "ai_gateway.instance_ejected".
const eventPrefix = "ai_gateway."

// voice emits events into one configuration of Caddy. Its context ends with the
// configuration.
type voice struct {
	ctx    caddy.Context
	app    *caddyevents.App
	logger *zap.Logger
	policy reverseproxy.Selector // of the Caddyfile, or nil, as policyName
	// policyName is that of the policy's module.
	policyName string
	polls      *http.Transport // to ask instances by about themselves; nil for not
	// started says that all apps of the configuration run. The events app must not be
	// asked to emit before: its table of handlers is still being filled, without a lock.
	started atomic.Bool
}

// join lets the store speak to the configuration of ctx, which is being provisioned,
// and registers the metrics there. The policy is that of the Caddyfile, or nil; polls is what
// instances are asked by about themselves, or nil.
func (s *store) join(ctx caddy.Context, policy reverseproxy.Selector, policyName string, polls *http.Transport) error {
	if err := registerMetrics(ctx.GetMetricsRegistry()); err != nil {
		return err
	}
	app, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting the events app: %w", err)
	}
	v := &voice{ctx: ctx, app: app.(*caddyevents.App), logger: s.logger.Load(), policy: policy, policyName: policyName, polls: polls}
	if err := v.app.On("started", v); err != nil {
		return fmt.Errorf("subscribing to the start of the apps: %w", err)
	}
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	s.events.voices = append(s.events.voices, v)
	return nil
}

// Handle notes that the configuration's apps have started.
func (v *voice) Handle(context.Context, caddy.Event) error {
	v.started.Store(true)
	return nil
}

// voice returns that of the newest configuration that runs, or nil. The caller
// holds mu.
func (b *bulletin) voice() *voice {
	for _, v := range slices.Backward(b.voices) {
		if v.started.Load() && v.ctx.Err() == nil {
			return v
		}
	}
	return nil
}

// lbPolicy returns the policy of the newest configuration that runs and has one, and
// the name of its module.
func (b *bulletin) lbPolicy() (policy reverseproxy.Selector, name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range slices.Backward(b.voices) {
		if v.started.Load() && v.ctx.Err() == nil && v.policy != nil {
			return v.policy, v.policyName
		}
	}
	return nil, ""
}

// pollTransport returns what instances are asked by about themselves, of the newest
// configuration that runs and has it, or nil.
func (b *bulletin) pollTransport() http.RoundTripper {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range slices.Backward(b.voices) {
		if v.started.Load() && v.ctx.Err() == nil && v.polls != nil {
			return v.polls
		}
	}
	return nil
}

// forget lets go of the configurations that have ended, of which one may be newer
// than that which runs: it failed to start. It returns the logger to use if it must
// be another one.
func (b *bulletin) forget() *zap.Logger {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.voices)
	if n == 0 {
		return nil
	}
	newest := b.voices[n-1]
	b.voices = slices.DeleteFunc(b.voices, func(v *voice) bool { return v.ctx.Err() != nil })
	if n = len(b.voices); n == 0 || b.voices[n-1] == newest {
		return nil
	}
	return b.voices[n-1].logger
}

// emit hands e to the handlers of the configuration, and waits for them. One that
// panics does not end the gateway.
func (v *voice) emit(e event) {
	name := eventPrefix + string(e.kind)
	if !v.app.ShouldEmit(name) {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			v.logger.Error("handler of an event panicked", zap.String("event", name), zap.Any("error", p), zap.StackSkip("stack", 1))
		}
	}()
	v.app.Emit(v.ctx, name, map[string]any{
		"name": e.name, "upstream": e.upstream, "model": e.model, "tier": e.tier, "key": e.key, "cause": e.cause, "wait": e.wait.Seconds(),
		"count": e.count, "path": e.path, "line": e.line, "column": e.column,
	})
}

var _ caddyevents.Handler = (*voice)(nil)
