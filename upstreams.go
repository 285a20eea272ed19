package aigateway

import (
	"net/http"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// Upstreams is the watched file as a source of upstreams for a plain
// reverse_proxy. It gives addresses only: keys, paths, models and https of the
// file are the business of ai_gateway.
type Upstreams struct {
	// Config is the path of the fleet's file, as in the handler ai_gateway.
	Config string `json:"config,omitempty"`

	// Model limits the upstreams to the instances of this model. By default all
	// are used.
	Model string `json:"model,omitempty"`

	store *store
}

// CaddyModule returns the module's ID and constructor.
func (Upstreams) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.upstreams.ai_gateway", New: func() caddy.Module { return new(Upstreams) }}
}

// Provision loads the file.
func (u *Upstreams) Provision(ctx caddy.Context) error {
	if u.Config == "" {
		u.Config = defaultConfig
	}
	var err error
	if u.store, err = acquireStore(u.Config, ctx.Logger()); err != nil {
		return err
	}
	return u.store.join(ctx, nil, "", nil)
}

// Cleanup lets go of the file.
func (u *Upstreams) Cleanup() error {
	if u.store == nil {
		return nil
	}
	return releaseStore(u.store)
}

// GetUpstreams returns the primary instances that are not off, or the fallback
// instances where there are none. Each call makes new values, as the proxy
// writes to them. A model that nobody serves has none.
func (u *Upstreams) GetUpstreams(*http.Request) ([]*reverseproxy.Upstream, error) {
	for _, t := range []tier{primary, fallback} {
		var upstreams []*reverseproxy.Upstream
		known := make(map[string]bool)
		for _, i := range u.store.snapshot().fleet.instances {
			if i.tier == t && !i.off() && (u.Model == "" || u.Model == i.model) && !known[i.upstream.Dial] {
				known[i.upstream.Dial] = true
				upstreams = append(upstreams, &reverseproxy.Upstream{Dial: i.upstream.Dial, MaxRequests: i.maxConcurrency})
			}
		}
		if len(upstreams) > 0 {
			return upstreams, nil
		}
	}
	return nil, nil
}

// UnmarshalCaddyfile reads the source:
//
//	dynamic ai_gateway [<config file>] {
//	    model <name>
//	}
func (u *Upstreams) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // source name
	folder := filepath.Dir(d.File())
	if args := d.RemainingArgs(); len(args) > 1 {
		return d.Errf("got %d arguments, want at most one, the config file", len(args))
	} else if len(args) == 1 {
		u.Config = beside(folder, args[0])
	} else {
		u.Config = beside(folder, defaultConfig)
	}
	for d.NextBlock(0) {
		if d.Val() != "model" {
			return d.Errf("got option %q, want model", d.Val())
		}
		var err error
		if u.Model, err = onlyArg(d, "one name"); err != nil {
			return err
		}
	}
	return nil
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Upstreams)(nil)
	_ caddy.CleanerUpper          = (*Upstreams)(nil)
	_ caddyfile.Unmarshaler       = (*Upstreams)(nil)
	_ reverseproxy.UpstreamSource = (*Upstreams)(nil)
)
