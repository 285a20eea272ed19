package aigateway

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
)

func init() { caddy.RegisterModule(Admin{}) }

// Admin serves /ai_gateway/ on Caddy's admin endpoint, which decides who may connect:
// how the fleets of this process stand, and what people decide about them.
// openapi.json, served at /ai_gateway/openapi.json, describes every path.
//
// If the process has more than one fleet's file, ?config=PATH says which one is meant.
// Answers and errors are JSON; an error has the members error, code and, where there is
// a choice, allowed; pages for people are HTML. No answer holds a key, and none a text of
// a request but the views of the records, which the file must allow.
type Admin struct {
	ctx      context.Context // ends with the configuration, or has, if that failed to start
	replaced chan struct{}   // closed when a newer one serves
}

// newestAdmin is the channel replaced of the Admin that was provisioned last.
var newestAdmin atomic.Pointer[chan struct{}]

// CaddyModule returns the module's ID and constructor.
func (Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.ai_gateway", New: func() caddy.Module { return new(Admin) }}
}

// Provision notes the configuration, whose handlers are made later, and ends the
// streams of the one before, which hold its endpoint open.
func (a *Admin) Provision(ctx caddy.Context) error {
	a.ctx, a.replaced = ctx, make(chan struct{})
	if before := newestAdmin.Swap(&a.replaced); before != nil {
		close(*before)
	}
	return nil
}

// adminRoot is where the API stands.
const adminRoot = "/ai_gateway"

// Routes returns the one that serves all paths: only so the errors have one form.
func (a *Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: adminRoot + "/", Handler: caddy.AdminHandlerFunc(a.serve)}}
}

//go:embed openapi.json
var openAPIDocument []byte

// adminRoute is a path that is served by one method.
type adminRoute struct {
	path   string // below adminRoot; {instance} and the like stand for any segment, such as an ID or a name
	method string
	params []string // of the query, beside config
	global bool     // it is about no store
	serve  func(*adminCall) error
}

var adminRoutes = []adminRoute{
	{path: "/status", method: http.MethodGet, serve: func(c *adminCall) error { return c.answer(c.store.status()) }},
	{path: "/instances", method: http.MethodGet, serve: (*adminCall).listInstances},
	{path: "/instances/{instance}", method: http.MethodGet, serve: (*adminCall).showInstance},
	{path: "/instances/{instance}/drain", method: http.MethodPost, serve: func(c *adminCall) error { return c.drain(true) }},
	{path: "/instances/{instance}/undrain", method: http.MethodPost, serve: func(c *adminCall) error { return c.drain(false) }},
	{path: "/instances/{instance}/eject", method: http.MethodPost, params: []string{"for"}, serve: (*adminCall).eject},
	{path: "/instances/{instance}/restore", method: http.MethodPost, serve: (*adminCall).restore},
	{path: "/reload", method: http.MethodPost, serve: (*adminCall).reload},
	{path: "/explain", method: http.MethodGet, params: []string{"model", "prompt_bytes"}, serve: (*adminCall).explain},
	{path: "/keys", method: http.MethodGet, serve: (*adminCall).listKeys},
	{path: "/usage", method: http.MethodGet, params: []string{"key"}, serve: (*adminCall).usage},
	{path: "/events", method: http.MethodGet, serve: (*adminCall).events},
	{path: "/ui", method: http.MethodGet, params: pageParams, serve: (*adminCall).ui},
	{path: "/ui/", method: http.MethodGet, params: pageParams, serve: (*adminCall).ui},
	{path: "/ui/feed", method: http.MethodGet, params: append([]string{"assets"}, pageParams...), serve: (*adminCall).ui},
	{path: "/ui/assets/{version}/{file}", method: http.MethodGet, global: true, serve: (*adminCall).uiAsset},
	{path: "/records", method: http.MethodGet, params: append([]string{"lang"}, recordsParams...), serve: (*adminCall).recordsPage},
	{path: "/records", method: http.MethodPost, params: pageParams, serve: (*adminCall).recordsPage},
	{path: "/records/conversation", method: http.MethodGet, params: append([]string{"at"}, pageParams...), serve: (*adminCall).conversationPage},
	{path: "/records/exchanges", method: http.MethodGet, params: append([]string{"limit"}, recordsParams...), serve: (*adminCall).exchanges},
	{path: "/records/exchanges", method: http.MethodPost, serve: (*adminCall).exchanges},
	{path: "/records/exchange", method: http.MethodGet, params: []string{"at"}, serve: (*adminCall).exchange},
	{path: "/openapi.json", method: http.MethodGet, global: true, serve: func(c *adminCall) error {
		c.w.Header().Set("Content-Type", "application/json")
		_, err := c.w.Write(openAPIDocument)
		return err
	}},
}

// adminCall is one request to the API.
type adminCall struct {
	admin *Admin
	w     http.ResponseWriter
	r     *http.Request
	query url.Values
	name  string // in the path
	store *store
}

// serve answers a request, also with an error.
func (a *Admin) serve(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	err := a.call(w, r)
	if e, ok := errors.AsType[*adminError](err); ok {
		writeJSON(w, e.status, e)
		return nil
	}
	return err
}

func (a *Admin) call(w http.ResponseWriter, r *http.Request) error {
	route, name, err := findRoute(r)
	if err != nil {
		if e, ok := errors.AsType[*adminError](err); ok && e.status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", strings.Join(e.Allowed, ", "))
		}
		return err
	}
	c := &adminCall{admin: a, w: w, r: r, name: name}
	if c.query, err = readParams(r.URL.RawQuery, route); err != nil {
		return err
	}
	if !route.global {
		if c.store, err = findStore(c.query.Get("config")); err != nil {
			return err
		}
	}
	return route.serve(c)
}

// adminError is an answer that is no success.
type adminError struct {
	status   int
	Message  string    `json:"error"`
	Code     string    `json:"code"`
	Allowed  []string  `json:"allowed,omitempty"`
	Mistakes []mistake `json:"mistakes,omitempty"` // in the file
}

// mistake is what is wrong at a place of the file.
type mistake struct {
	Line    int    `json:"line"` // from 1, as column
	Column  int    `json:"column"`
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
}

func (e *adminError) Error() string { return e.Message }

// findRoute returns the route of r, and the name in its path. A name may hold slashes,
// as %2F.
func findRoute(r *http.Request) (route *adminRoute, name string, err error) {
	segments := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), adminRoot+"/"), "/")
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	var methods []string
	for k := range adminRoutes {
		known := &adminRoutes[k]
		n, ok := matchPath(known.path, segments)
		if !ok {
			continue
		}
		if known.method == method {
			return known, n, nil
		}
		methods = append(methods, known.method)
		if known.method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	if len(methods) > 0 {
		return nil, "", &adminError{
			status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Allowed: methods,
			Message: fmt.Sprintf("got method %s, want %s", quote(r.Method), strings.Join(methods, " or ")),
		}
	}
	var paths []string
	for _, known := range adminRoutes {
		paths = append(paths, known.method+" "+adminRoot+known.path)
	}
	return nil, "", &adminError{
		status: http.StatusNotFound, Code: "unknown_path", Allowed: paths, Message: "path " + quote(r.URL.Path) + " is not served",
	}
}

// matchPath compares the segments of a request's path with a route's, and returns the
// last one that stands for a word in braces.
func matchPath(path string, segments []string) (name string, ok bool) {
	want := strings.Split(path[1:], "/")
	if len(want) != len(segments) {
		return "", false
	}
	for n, segment := range segments {
		if strings.HasPrefix(want[n], "{") {
			var err error
			if name, err = url.PathUnescape(segment); err != nil || name == "" {
				return "", false
			}
		} else if want[n] != segment {
			return "", false
		}
	}
	return name, true
}

// readParams returns the parameters of a query, each of which the route must know.
func readParams(raw string, route *adminRoute) (url.Values, error) {
	allowed := slices.Clone(route.params)
	if !route.global {
		allowed = append(allowed, "config")
	}
	query, err := url.ParseQuery(raw)
	if err != nil {
		return nil, &adminError{status: http.StatusBadRequest, Code: "invalid_query", Message: "the query cannot be read", Allowed: allowed}
	}
	for name, values := range query {
		if !slices.Contains(allowed, name) {
			return nil, &adminError{
				status: http.StatusBadRequest, Code: "unknown_parameter", Allowed: allowed, Message: "parameter " + quote(name) + " is not known here",
			}
		}
		if len(values) > 1 {
			return nil, invalidParameter(name, "got it more than once, want it once")
		}
	}
	return query, nil
}

func invalidParameter(name, problem string) error {
	return &adminError{status: http.StatusBadRequest, Code: "invalid_parameter", Message: name + ": " + problem}
}

// findStore returns the store of the file at path, or the only one there is if path is
// empty.
func findStore(path string) (*store, error) {
	var all []*store
	var paths []string
	stores.Range(func(_, value any) bool {
		all = append(all, value.(*store))
		return true
	})
	for _, s := range all {
		if path != "" && s.path == filepath.Clean(path) {
			return s, nil
		}
		paths = append(paths, s.path)
	}
	slices.Sort(paths)
	switch {
	case len(all) == 0:
		return nil, &adminError{status: http.StatusNotFound, Code: "no_gateway", Message: "no ai_gateway runs in this configuration"}
	case path != "":
		return nil, &adminError{status: http.StatusNotFound, Code: "unknown_config", Allowed: paths, Message: "config: no gateway uses " + quote(path)}
	case len(all) > 1:
		return nil, &adminError{
			status: http.StatusBadRequest, Code: "missing_config", Allowed: paths,
			Message: "this process has more than one fleet's file, say which one by config",
		}
	}
	return all[0], nil
}

// answer writes a good answer.
func (c *adminCall) answer(v any) error {
	writeJSON(c.w, http.StatusOK, v)
	return nil
}

// Interface guards.
var (
	_ caddy.AdminRouter = (*Admin)(nil)
	_ caddy.Provisioner = (*Admin)(nil)
)
