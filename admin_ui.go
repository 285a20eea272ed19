package aigateway

import (
	"strings"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/page"
)

// pageParams are what the pages for people take beside config.
var pageParams = []string{"lang"}

// newPanel returns the status page of the admin endpoint, where people also decide. It
// lives with the store, so that all who watch it are served by one look a second.
func newPanel(s *store) *page.Page {
	return page.Handler(s.status, page.Options{
		Base: adminRoot + "/ui/", Keep: []string{"config"}, Steer: "../instances/",
		Recordings: func() string {
			if s.snapshot().browsed == "" {
				return ""
			}
			return "../records"
		},
	})
}

// ui serves the status page and its feed, which ends with the configuration.
func (c *adminCall) ui() error {
	ctx, end := c.untilReplaced()
	defer end()
	c.store.panel.ServeHTTP(c.w, c.r.WithContext(ctx))
	return nil
}

// uiAsset serves what the pages load.
func (c *adminCall) uiAsset() error {
	page.ServeAsset(c.w, c.r, strings.TrimPrefix(c.r.URL.Path, adminRoot+"/ui/assets/"))
	return nil
}
