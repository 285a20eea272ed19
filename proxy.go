package aigateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// provisionProxy wraps the proxy's transport and selection policy once it has
// loaded them; it reads both only when a request comes.
func (h *Handler) provisionProxy(ctx caddy.Context) error {
	p := h.Proxy
	if err := refuseProxyOptions(p); err != nil {
		return err
	}
	var err error
	var plain bool
	if p.TransportRaw, plain, err = h.transportDefaults(p.TransportRaw); err != nil {
		return err
	}
	if p.LoadBalancing == nil {
		p.LoadBalancing = new(reverseproxy.LoadBalancing)
	}
	ownPolicy := p.LoadBalancing.SelectionPolicyRaw == nil
	// The proxy asks retryMatch only if retries are on; how many there are is
	// decided there.
	p.LoadBalancing.Retries = math.MaxInt32
	p.LoadBalancing.RetryMatch = caddyhttp.MatcherSets{{retryMatch{}}}
	if err := p.Provision(ctx); err != nil {
		return fmt.Errorf("setting up the proxy: %w", err)
	}
	if !ownPolicy {
		h.policy = p.LoadBalancing.SelectionPolicy
		var named struct {
			Policy string `json:"policy"`
		}
		_ = json.Unmarshal(p.LoadBalancing.SelectionPolicyRaw, &named) // it has just been loaded by this name
		h.policyName = named.Policy
	}
	p.LoadBalancing.SelectionPolicy = chosen{}
	if stock, ok := p.Transport.(*reverseproxy.HTTPTransport); ok {
		h.transport.proxy = stock.Transport.Proxy
		stock.Transport.DialContext = within(stock.Transport.DialContext)
		stock.Transport.DialTLSContext = within(stock.Transport.DialTLSContext)
		if plain {
			h.plain = newPlain(stock.Transport)
		}
		h.polls = newPollTransport(stock.Transport)
	}
	h.goesDirect = ownPolicy && goesDirect(p) // Caddy's policies look at the proxy's counts
	h.transport.inner, h.transport.plain = p.Transport, h.plain
	p.Transport = h.transport
	return nil
}

// refuseProxyOptions names the option of a JSON configuration that would break
// the gateway; the Caddyfile refuses the same by name.
func refuseProxyOptions(p *reverseproxy.Handler) error {
	lb := p.LoadBalancing
	switch {
	case len(p.Upstreams) > 0:
		return errors.New("proxy.upstreams: instances come from the file named by config")
	case p.DynamicUpstreamsRaw != nil:
		return errors.New("proxy.dynamic_upstreams: instances come from the file named by config")
	case p.HealthChecks != nil && p.HealthChecks.Active != nil:
		return errors.New("proxy.health_checks.active: never runs here, for it needs fixed upstreams")
	case p.HealthChecks != nil && p.HealthChecks.Passive != nil:
		return errors.New("proxy.health_checks.passive: error_threshold and error_window of the file named by config do this")
	case p.RequestBuffers != 0:
		return errors.New("proxy.request_buffers: requests are always read whole; max_body bounds them")
	case p.CBRaw != nil:
		return errors.New("proxy.circuit_breaker: error_threshold and error_window of the file named by config do this")
	case p.Rewrite != nil:
		return errors.New("proxy.rewrite: paths and methods are the API's; an instance's url and paths place it")
	case lb != nil && (lb.Retries != 0 || lb.TryDuration != 0 || lb.TryInterval != 0 || len(lb.RetryMatchRaw) > 0):
		return errors.New("proxy.load_balancing: retries are the gateway's own")
	}
	return nil
}

// transportDefaults completes the configuration of the stock transport where it
// says nothing, and reports whether [isPlain] holds for it. Another transport module
// is left alone.
func (h *Handler) transportDefaults(raw json.RawMessage) (completed json.RawMessage, plain bool, err error) {
	if raw == nil {
		raw = json.RawMessage(`{"protocol":"http"}`)
	}
	var options map[string]any
	if err := json.Unmarshal(raw, &options); err != nil {
		return nil, false, fmt.Errorf("reading the proxy's transport: %w", err)
	}
	if options["protocol"] != "http" {
		return raw, false, nil
	}
	setDefault := func(m map[string]any, name string, value any) {
		if _, given := m[name]; !given {
			m[name] = value
		}
	}
	setDefault(options, "compression", false)
	// timeouts.connect bounds it, and may be longer than Caddy's default.
	setDefault(options, "dial_timeout", int64(time.Hour))
	// net/http allows 10 MB, and needs several times as much to read them.
	setDefault(options, "max_response_header_size", 256<<10)
	if options["forward_proxy_url"] == nil && !h.ProxyEnvironment {
		setDefault(options, "network_proxy", map[string]any{"from": "none"})
	}
	setDefault(options, "keep_alive", map[string]any{})
	if keepAlive, ok := options["keep_alive"].(map[string]any); ok {
		setDefault(keepAlive, "idle_timeout", 4e9)
		setDefault(keepAlive, "max_idle_conns_per_host", 1024)
	}
	completed, err = json.Marshal(options)
	return completed, isPlain(options), err
}

// proxyProvisioned reports whether the proxy came to the end of its own
// Provision, without which it has nothing to clean up.
func (h *Handler) proxyProvisioned() bool {
	_, ok := h.Proxy.Transport.(transport)
	return ok
}
