// Package page is the status page of the gateway: who serves what, how fast, what
// failed and why. It shows a [Status] that its caller takes anew whenever it is asked:
//
//	p := page.Handler(takeStatus, page.Options{Base: "/ai_gateway/ui/"})
//	defer p.Close()
//
// Below its base path the handler answers GET and HEAD:
//
//	(nothing)                 the page, whole as HTML; it needs no script
//	feed                      what changes, as an event stream
//	assets/VERSION/NAME       style, scripts and icon, to be kept for ever
//
// Where a browser runs scripts the page follows the feed. An event of the type
// "pieces" is a JSON object of elements by their id, as HTML: after the first, which
// holds the whole, only those that have changed. "reload" tells a page of an older
// program to load itself anew. Lines that are comments keep the connection open.
//
// The page speaks English and Chinese, asks nobody else for anything, and runs no
// script that is not its own: the Content-Security-Policy says so.
package page

import (
	"compress/gzip"
	"net/http"
	"strings"
)

// Options are settings of [Handler]. The zero value is a page at "/" in English.
type Options struct {
	// Base is the path of the page, with a slash at both ends; "/" if empty.
	Base string
	// Language is for clients that ask for none the page speaks; English if empty.
	Language Language
	// Keep are parameters of the query that all the page's links repeat.
	Keep []string
	// Recordings returns the address of a view of the recordings, which the page then
	// links; no link if it is nil or returns nothing.
	Recordings func() string
	// Steer is the address below which a POST to ID/drain, ID/undrain, ID/eject or
	// ID/restore decides about an instance, such as "../instances/". The page has
	// buttons for these where scripts run; none if empty.
	Steer string
}

// Page serves the status page. Its methods may be called at once by many.
type Page struct {
	source  func() *Status
	options Options
	chooser *chooser
	feed    *feed
}

// Handler returns the page of what source tells. Source is called for each page and,
// while somebody watches, once a second; it may be called at once from several
// goroutines, and never returns nil. The caller must call [Page.Close].
func Handler(source func() *Status, o Options) *Page {
	if o.Base == "" {
		o.Base = "/"
	}
	if o.Language == "" {
		o.Language = English
	}
	return &Page{source: source, options: o, chooser: newChooser(o.Language), feed: newFeed(source, o.Steer != "")}
}

// Close ends all feeds and waits until nothing of them runs. After it the page is
// served as before, but feeds are refused with 503.
func (p *Page) Close() { p.feed.close() }

// The policies let a page load what comes from its own origin, and nothing inline but
// the icon.
const (
	policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	recordsPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; " +
		"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

// protect sets the headers that keep others from using a page.
func protect(h http.Header, policy string) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	// Caddy's admin endpoint goes by the Referer where a browser sends no Origin.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// ServeHTTP answers requests at the base path and below it.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	protect(h, policy)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "method "+r.Method+" is not allowed here; GET and HEAD are", http.StatusMethodNotAllowed)
		return
	}
	rest, below := strings.CutPrefix(r.URL.Path, p.options.Base)
	folder, file, _ := strings.Cut(rest, "/")
	switch {
	case r.URL.Path+"/" == p.options.Base:
		http.Redirect(w, r, p.options.Base, http.StatusMovedPermanently)
	case !below:
		http.NotFound(w, r)
	case rest == "":
		p.servePage(w, r)
	case rest == "feed":
		p.serveFeed(w, r)
	case folder == "assets":
		serveAsset(w, r, file)
	default:
		http.NotFound(w, r)
	}
}

func (p *Page) servePage(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Accept-Language")
	rendered, err := render(p.chooser.choose(r), p.source(), p.feed.steer, nil)
	var body []byte
	if err == nil {
		body, err = rendered.document(&p.options, r.URL.Query())
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	send(w, r, body, func() []byte { return compress(body, gzip.DefaultCompression) })
}
