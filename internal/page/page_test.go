package page

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestHeaders(t *testing.T) {
	p := newPage(t, newSample().take, Options{})
	asset := "/assets/" + assets().version + "/page.js"
	for _, path := range []string{"/", asset, "/nothing"} {
		h := get(t, p, path).Header()
		csp := h.Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "default-src 'none'; script-src 'self'; style-src 'self';") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") ||
			!strings.Contains(csp, "frame-ancestors 'none'") || !strings.Contains(csp, "base-uri 'none'") || !strings.Contains(csp, "form-action 'none'") {
			t.Errorf("%s: got Content-Security-Policy %q", path, csp)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "same-origin" {
			t.Errorf("%s: got header %v", path, h)
		}
	}
}

func TestRoutes(t *testing.T) {
	for _, base := range []string{"", "/", "/ai_gateway/ui/"} {
		p := newPage(t, newSample().take, Options{Base: base})
		base = "/" + strings.TrimPrefix(base, "/")
		f := func(method, path string, want int) *httptest.ResponseRecorder {
			t.Helper()
			w := httptest.NewRecorder()
			p.ServeHTTP(w, httptest.NewRequest(method, path, nil))
			if w.Code != want {
				t.Errorf("base %q, %s %s: got status %d, want %d", base, method, path, w.Code, want)
			}
			return w
		}
		f(http.MethodGet, base, http.StatusOK)
		f(http.MethodHead, base, http.StatusOK)
		f(http.MethodHead, base+"feed", http.StatusOK)
		f(http.MethodGet, base+"assets/"+assets().version+"/page.css", http.StatusOK)
		f(http.MethodGet, base+"assets/"+assets().version+"/nothing.css", http.StatusNotFound)
		f(http.MethodGet, base+"assets/"+assets().version+"/LICENSE", http.StatusNotFound)
		f(http.MethodGet, base+"assets/000000000000/page.css", http.StatusNotFound)
		f(http.MethodGet, base+"assets/", http.StatusNotFound)
		f(http.MethodGet, base+"assets/../page.go", http.StatusNotFound)
		f(http.MethodGet, base+"other", http.StatusNotFound)
		if w := f(http.MethodPost, base, http.StatusMethodNotAllowed); w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("got Allow %q", w.Header().Get("Allow"))
		}
		if len(base) > 1 {
			f(http.MethodGet, "/", http.StatusNotFound)
			if w := f(http.MethodGet, strings.TrimSuffix(base, "/"), http.StatusMovedPermanently); w.Header().Get("Location") != base {
				t.Errorf("got Location %q, want %q", w.Header().Get("Location"), base)
			}
		}
	}
}

var link = regexp.MustCompile(`(?:src|href)="(assets/[^"]+)"`)

// TestAssets: what the page loads is there, in both forms, to be kept for ever.
func TestAssets(t *testing.T) {
	p := newPage(t, newSample().take, Options{})
	plainPage := get(t, p, "/")
	links := link.FindAllStringSubmatch(plainPage.Body.String(), -1)
	if len(links) < 8 {
		t.Errorf("the page loads %d files only", len(links))
	}
	total := len(get(t, p, "/", "Accept-Encoding", "gzip").Body.Bytes())
	for _, match := range links {
		path := "/" + match[1]
		plain, small := get(t, p, path), get(t, p, path, "Accept-Encoding", "br, gzip;q=0.5")
		if plain.Code != http.StatusOK || plain.Header().Get("Cache-Control") != "public, max-age=31536000, immutable" || plain.Header().Get("Content-Encoding") != "" {
			t.Errorf("%s: got status %d and header %v", path, plain.Code, plain.Header())
		}
		if small.Header().Get("Content-Encoding") != "gzip" || small.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: got header %v for a client that takes gzip", path, small.Header())
		}
		total += small.Body.Len()
		if got := gunzip(t, small.Body.Bytes()); !bytes.Equal(got, plain.Body.Bytes()) {
			t.Errorf("%s: the gzip form holds %d bytes, want the %d of the plain one", path, len(got), plain.Body.Len())
		}
		if refused := get(t, p, path, "Accept-Encoding", "gzip;q=0, identity"); refused.Header().Get("Content-Encoding") != "" {
			t.Errorf("%s: gzip is sent to a client that refuses it", path)
		}
	}
	t.Logf("the page and all it loads: %d bytes compressed", total)
	if total > 100_000 {
		t.Errorf("the page and all it loads are %d bytes compressed, want 100,000 at most", total)
	}
}

func gunzip(t *testing.T, b []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// TestNoForeignAddress: nothing that is ours names another host.
func TestNoForeignAddress(t *testing.T) {
	for _, pattern := range []string{"assets/*.*", "templates/*"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: got %d files and error %v", pattern, len(names), err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range regexp.MustCompile(`(?:https?:)?//[a-z][^\s"]*\.[^\s"]*`).FindAllString(string(b), -1) {
				if match != "http://www.w3.org/2000/svg" {
					t.Errorf("%s names %s", name, match)
				}
			}
		}
	}
}

// TestVendoredChart: what is shipped of uPlot is what the npm package holds.
func TestVendoredChart(t *testing.T) {
	digest := func(name string) (sum [sha256.Size]byte) {
		t.Helper()
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return sha256.Sum256(b)
	}
	source := filepath.Join("browser", "node_modules", "uplot")
	if _, err := os.Stat(source); err != nil {
		t.Skip("skipped: the npm package uplot is not installed; run npm ci in internal/page/browser")
	}
	for name, from := range map[string]string{
		"uPlot.iife.min.js": "dist/uPlot.iife.min.js", "uPlot.min.css": "dist/uPlot.min.css", "LICENSE": "LICENSE",
	} {
		got, want := digest(filepath.Join("assets", "uplot", name)), digest(filepath.Join(source, from))
		if got != want {
			t.Errorf("%s: got digest %x, want %x of the npm package; run npm run vendor in internal/page/browser", name, got, want)
		}
	}
}
