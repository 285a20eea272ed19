package aigateway

import (
	"path/filepath"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/dustin/go-humanize"
)

func init() {
	httpcaddyfile.RegisterDirective("ai_gateway", parseCaddyfile)
	httpcaddyfile.RegisterDirectiveOrder("ai_gateway", httpcaddyfile.Before, "reverse_proxy")
}

// parseCaddyfile is what httpcaddyfile.RegisterHandlerDirective makes of a parser,
// but for one thing: an absolute path to the config file is not taken for a path
// matcher.
func parseCaddyfile(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next() // directive name
	var matcher caddy.ModuleMap
	file := h.NextArg() && strings.HasPrefix(h.Val(), "/") && strings.HasPrefix(filepath.Ext(h.Val()), ".json")
	h.Reset()
	if !file {
		var err error
		h.Next()
		if matcher, err = h.ExtractMatcherSet(); err != nil {
			return nil, err
		}
	}
	gateway := new(Handler)
	if err := gateway.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	if err := gateway.Proxy.FinalizeUnmarshalCaddyfile(h); err != nil {
		return nil, err
	}
	return h.NewRoute(matcher, gateway), nil
}

// refusedOptions are the options of reverse_proxy that would break the gateway,
// with the reason. Names that end in _ stand for all that begin so.
var refusedOptions = []struct{ name, reason string }{
	{"to", "instances come from the config file"},
	{"dynamic", "instances come from the config file"},
	{"health_", "active health checks of reverse_proxy need fixed upstreams; the gateway keeps its own account of each instance"},
	{"fail_duration", "error_threshold and error_window of the config file do this"},
	{"max_fails", "error_threshold and error_window of the config file do this"},
	{"unhealthy_", "error_threshold and error_window of the config file do this; max_concurrency limits an instance"},
	{"request_buffers", "requests are always read whole; max_body bounds them"},
	{"lb_retries", "the gateway decides itself when to try another instance"},
	{"lb_retry_match", "the gateway decides itself when to try another instance"},
	{"lb_try_", "the gateway decides itself when to try another instance"},
	{"method", "methods are the API's"},
	{"rewrite", "paths are the API's; url and paths of an instance place it"},
}

// UnmarshalCaddyfile reads the directive:
//
//	ai_gateway [<matcher>] [<config file>] {
//	    config            <file>       # default: config.json5 beside the Caddyfile
//	    max_body          <size>       # default: 32MiB
//	    proxy_environment              # use HTTP_PROXY and the like towards the instances
//
//	    # of reverse_proxy, as documented there
//	    lb_policy          <name> [<options...>]  # goes before load_balancing_strategy
//	    header_up          ...
//	    header_down        ...
//	    transport http     { ... }
//	    trusted_proxies    ...
//	    flush_interval     <duration>
//	    response_buffers   <size>
//	    stream_timeout     <duration>
//	    stream_close_delay <duration>
//	    stream_buffer_size <size>
//	    verbose_logs
//	    proxy_status_name  <name>
//	    @name { ... }, replace_status, handle_response
//	}
//
// Relative files start at the Caddyfile's folder. An argument that begins with a
// slash is the config file if its extension is .json or .json5, else a matcher.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // directive name
	directive := d.Token()
	h.Proxy = new(reverseproxy.Handler)
	folder := filepath.Dir(d.File())
	if args := d.RemainingArgs(); len(args) > 1 {
		return d.Errf("got %d arguments, want at most one, the config file", len(args))
	} else if len(args) == 1 {
		h.Config = beside(folder, args[0])
	}
	// What is not ours is handed, token by token, to the proxy's own parser, which
	// gives its errors the right place.
	proxyTokens := []caddyfile.Token{directive, {File: directive.File, Line: directive.Line, Text: "{"}}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch option := d.Val(); option {
		case "config":
			if h.Config != "" {
				return d.Errf("config file is given twice, want one")
			}
			file, err := onlyArg(d, "one file")
			if err != nil {
				return err
			}
			h.Config = beside(folder, file)
		case "max_body":
			if h.MaxBody != 0 {
				return d.Errf("max_body is given twice, want one")
			}
			text, err := onlyArg(d, "one size such as 32MiB")
			if err != nil {
				return err
			}
			size, err := humanize.ParseBytes(text)
			if err != nil || size == 0 || size > 1<<40 {
				return d.Errf("max_body: got %q, want a size such as 32MiB", text)
			}
			h.MaxBody = int64(size)
		case "proxy_environment":
			if d.NextArg() {
				return d.Errf("proxy_environment: got %q, want no argument", d.Val())
			}
			h.ProxyEnvironment = true
		default:
			for _, refused := range refusedOptions {
				if option == refused.name || strings.HasSuffix(refused.name, "_") && strings.HasPrefix(option, refused.name) {
					return d.Errf("%s cannot be set here: %s", option, refused.reason)
				}
			}
			proxyTokens = append(proxyTokens, d.NextSegment()...)
		}
	}
	if h.Config == "" {
		h.Config = beside(folder, defaultConfig)
	}
	last := proxyTokens[len(proxyTokens)-1]
	proxyTokens = append(proxyTokens, caddyfile.Token{File: last.File, Line: last.Line + 1, Text: "}"})
	return h.Proxy.UnmarshalCaddyfile(caddyfile.NewDispenser(proxyTokens))
}

// onlyArg returns the single argument of the option that d stands at.
func onlyArg(d *caddyfile.Dispenser, want string) (string, error) {
	option, args := d.Val(), d.RemainingArgs()
	if len(args) != 1 {
		return "", d.Errf("%s: got %d arguments, want %s", option, len(args), want)
	}
	return args[0], nil
}

// beside returns file as seen from folder.
func beside(folder, file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(folder, file)
}

var _ caddyfile.Unmarshaler = (*Handler)(nil)
