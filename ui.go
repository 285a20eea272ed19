package aigateway

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/page"
)

// ui is the status page of one configuration. As long as somebody watches it, a
// request is under way.
type ui struct{ *page.Page }

// newUI returns the page about the store. Its feeds end when the configuration stops:
// Caddy would wait for them.
func newUI(ctx caddy.Context, s *store) (ui, error) {
	u := ui{page.Handler(s.status, page.Options{})}
	app, err := ctx.App("events")
	if err != nil {
		return ui{}, fmt.Errorf("getting the events app: %w", err)
	}
	if err := app.(*caddyevents.App).On("stopping", u); err != nil {
		return ui{}, fmt.Errorf("subscribing to the end of the apps: %w", err)
	}
	return u, nil
}

// Handle ends the feeds.
func (u ui) Handle(context.Context, caddy.Event) error {
	u.Close()
	return nil
}

// isUI reports whether path is that of the status page or of what it loads.
func isUI(path string) bool {
	return path == "/" || path == "/feed" || strings.HasPrefix(path, "/assets/")
}

// serveUI answers with the status page, or in a few lines to who wants no HTML.
func (h *Handler) serveUI(w http.ResponseWriter, r *http.Request, snap *snapshot) {
	if r.URL.Path != "/" || strings.Contains(r.Header.Get("Accept"), "text/html") {
		h.ui.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "caddy-ai-gateway\n\nbase URL for clients: this address with /v1\nmodels: %s\nhealth: /health\nstatus page: this address, in a browser\n",
		strings.Join(snap.fleet.models, ", "))
}

var _ caddyevents.Handler = ui{}
