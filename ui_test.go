package aigateway

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// TestUI guards that the status page stands at the gateway's own address for
// browsers, that others get a few lines of text, and that it tells of the fleet.
func TestUI(t *testing.T) {
	w := startWitness(t, nil)
	g := startGateway(t, `{"instances": [{"url": "`+w.URL+`/v1", "model_name": "m", "name": "box-7", "api_key": "sk-secret"}]}`)
	get := func(path, accept string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequest("GET", g.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", accept)
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return res, readAll(t, res.Body)
	}
	if res, text := get("/", "*/*"); res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain") || !strings.Contains(text, "models: m\n") {
		t.Errorf("without HTML: got %v %s", res.Header, text)
	}
	res, text := get("/", "text/html,*/*;q=0.8")
	if res.StatusCode != 200 || !strings.Contains(text, "box-7") || strings.Contains(text, "sk-secret") || res.Header.Get("Content-Security-Policy") == "" {
		t.Errorf("page: got %d %v, want box-7 in it and no key", res.StatusCode, res.Header)
	}
	_, rest, _ := strings.Cut(text, `href="assets/`)
	asset, _, _ := strings.Cut(rest, `"`)
	if res, style := get("/assets/"+asset, "*/*"); res.StatusCode != 200 || len(style) < 100 || !strings.Contains(res.Header.Get("Cache-Control"), "immutable") {
		t.Errorf("asset %q: got %d %v", asset, res.StatusCode, res.Header)
	}
	if w.count() != 0 {
		t.Errorf("the instance was asked %d times", w.count())
	}
}

// TestUIStops guards that an open page keeps no configuration from stopping.
func TestUIStops(t *testing.T) {
	g := startGateway(t, fleetOf("http://127.0.0.1:9/v1"))
	res, err := client.Get(g.url + "/feed")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	feed := bufio.NewReader(res.Body)
	if line, err := feed.ReadString('\n'); res.StatusCode != 200 || err != nil || line == "" {
		t.Fatalf("got %d %q, %v, want a first event", res.StatusCode, line, err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- caddy.Stop() }()
	select {
	case err := <-stopped:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Caddy waits for the feed")
	}
	if _, err := io.Copy(io.Discard, feed); err != nil {
		t.Errorf("the feed's end: %v", err)
	}
}
