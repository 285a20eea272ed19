package aigateway

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/page"
)

// reload runs the gateway anew with an admin endpoint of more settings, at a new address.
func (g *adminGateway) reload(t testing.TB, settings string) {
	t.Helper()
	g.url, g.admin = "http://"+freeAddress(t), freeAddress(t)
	loadCaddyfile(t, filepath.Join(g.dir, "Caddyfile"), g.url+g.block, "admin "+g.admin+" {\n"+strings.ReplaceAll(settings, "ADMIN", g.admin)+"\n}")
}

// browser makes a request as a browser does, with these headers, names and values in
// turn, and returns its status and body.
func (g *adminGateway) browser(t testing.TB, method, path, body string, header ...string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+g.admin+adminRoot+path, strings.NewReader(body))
	must(t, err)
	for n := 0; n < len(header); n += 2 {
		r.Header.Set(header[n], header[n+1])
	}
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
	}
	res, err := client.Do(r)
	must(t, err)
	return res.StatusCode, res.Header, readAll(t, res.Body)
}

// TestAdminUI guards that the status page stands on the admin endpoint too, follows what
// happens, and ends with the configuration.
func TestAdminUI(t *testing.T) {
	w := startWitness(t, nil)
	g := startAdmin(t, `{"instances": [`+entry(w.URL+"/a", `, "name": "box-1", "api_key": "sk-secret"`)+`]}`)
	status, header, text := g.call(t, "GET", "/ui/")
	if status != 200 || header.Get("Content-Security-Policy") == "" || header.Get("Cache-Control") != "no-store" || strings.Contains(text, "sk-secret") {
		t.Errorf("got %d %v", status, header)
	}
	for _, want := range []string{"box-1", `data-do="drain"`, `data-do="eject"`, `data-steer="../instances/"`, "steer.js"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page has no %s", want)
		}
	}
	if strings.Contains(text, "../records") {
		t.Error("recordings are linked, though they are not shown")
	}
	r, err := http.NewRequest("GET", g.url+"/", nil)
	must(t, err)
	r.Header.Set("Accept", "text/html")
	res, err := client.Do(r)
	must(t, err)
	if public := readAll(t, res.Body); strings.Contains(public, "data-do") || strings.Contains(public, "steer.js") || !strings.Contains(public, "box-1") {
		t.Error("the gateway's own page has the buttons of the admin endpoint")
	}

	res, err = client.Get("http://" + g.admin + adminRoot + "/ui/feed")
	must(t, err)
	defer res.Body.Close()
	feed := bufio.NewReader(res.Body)
	told := make(chan string)
	go func() {
		defer close(told)
		for {
			line, err := feed.ReadString('\n')
			if err != nil {
				return
			}
			told <- line
		}
	}()
	<-told // the first is there
	began, own := time.Now(), watchOwn()
	g.steer(t, "box-1", "eject")
	for line := range told {
		if strings.Contains(line, "Ejected") && strings.Contains(line, `data-do=\"restore\"`) {
			break
		}
	}
	took := time.Since(began) - own.longest()
	t.Logf("an ejection stood in the feed after %v", took)
	if took > 2*time.Second {
		t.Errorf("an ejection stood in the feed after %v, want 2 s", took)
	}
	go g.load(t, freeAddress(t))
	for range told { // ends
	}
}

// TestAdminUIFiles guards that with more files than one the page is about the one that
// is named, and that what it links and posts to is so too.
func TestAdminUIFiles(t *testing.T) {
	w := startWitness(t, nil)
	g := startAdmin(t, `{"record": {"browse": true}, "instances": [`+entry(w.URL+"/a", `, "name": "box-a"`)+`]}`)
	other := filepath.Join(g.dir, "other&.json5")
	writeFile(t, other, `{"data_dir": "./other", "instances": [`+entry(w.URL+"/b", `, "name": "box-b"`)+`]}`)
	second := "\nhttp://" + freeAddress(t) + " {\n\tai_gateway {\n\t\tconfig " + other + "\n\t}\n}\n"
	g.url = "http://" + freeAddress(t)
	g.admin = freeAddress(t)
	loadCaddyfile(t, filepath.Join(g.dir, "Caddyfile"), g.url+g.block+second, "admin "+g.admin)
	if status, _, text := g.call(t, "GET", "/ui/"); status != 400 || !strings.Contains(text, "missing_config") {
		t.Errorf("no file named: got %d %s", status, text)
	}
	query := "?config=" + url.QueryEscape(g.file)
	_, _, text := g.call(t, "GET", "/ui/"+query)
	kept := "config=" + strings.ReplaceAll(url.QueryEscape(g.file), "&", "&amp;")
	for _, want := range []string{"box-a", `href="../records?` + kept, `data-query="?` + kept, kept + "&amp;lang=zh", `data-feed="feed?assets=`} {
		if !strings.Contains(text, want) {
			t.Errorf("the page has no %s", want)
		}
	}
	_, _, text = g.call(t, "GET", "/ui/?lang=zh&config="+url.QueryEscape(other))
	if !strings.Contains(text, "box-b") || strings.Contains(text, "box-a") || strings.Contains(text, "../records") {
		t.Error("the other file's page is not about its fleet alone")
	}
	if status, _, text := g.call(t, "GET", "/records?config="+url.QueryEscape(other)); status != 404 || !strings.Contains(text, "browse_off") {
		t.Errorf("the other file's records: got %d %s", status, text)
	}
}

// TestAdminForeignPages guards that no page of another origin can decide anything or
// look at records, and that the status page itself can, by the headers that Chromium
// sends; whether the endpoint enforces origins or not.
func TestAdminForeignPages(t *testing.T) {
	w := startWitness(t, nil)
	g := startAdmin(t, `{"record": {"browse": true}, "instances": [`+entry(w.URL+"/a", `, "name": "box"`)+`]}`)
	for _, settings := range []string{"", "origins ADMIN \"\"", "enforce_origin", "enforce_origin\norigins ADMIN \"\""} {
		g.reload(t, settings)
		own, foreign := "http://"+g.admin, "http://127.0.0.1:1"
		f := func(what string, want bool, method, path string, header ...string) {
			t.Helper()
			status, _, body := g.browser(t, method, path, "text=x", append([]string{"Content-Type", "application/x-www-form-urlencoded"}, header...)...)
			if got := status == 200; got != want {
				t.Errorf("%q: %s: got %d %s, want success %t", settings, what, status, body, want)
			}
			var m memberStatus
			if _, _, text := g.browser(t, "GET", "/instances/box", "", "Origin", own); json.Unmarshal([]byte(text), &m) != nil || (m.State == page.Draining) != (want && path == "/instances/box/drain") {
				t.Errorf("%q: %s: the instance is %s", settings, what, text)
			}
			if _, _, text := g.browser(t, "POST", "/instances/box/undrain", "", "Origin", own); !strings.Contains(text, `"serving"`) {
				t.Errorf("%q: undrain: got %s", settings, text)
			}
		}
		for _, path := range []string{"/instances/box/drain", "/records", "/records/exchanges"} {
			f("script of the page", true, "POST", path, "Origin", own, "Referer", own+"/ai_gateway/ui/", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Site", "same-origin")
			f("foreign script", false, "POST", path, "Origin", foreign, "Sec-Fetch-Mode", "cors", "Sec-Fetch-Site", "cross-site")
			f("foreign script without CORS", false, "POST", path, "Origin", foreign, "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Site", "cross-site")
			f("foreign form", false, "POST", path, "Origin", foreign, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "cross-site")
			f("foreign form without Referer", false, "POST", path, "Origin", "null", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "cross-site")
			f("another name for this address", false, "POST", path, "Origin", "http://rebound.example", "Host", "rebound.example")
		}
		f("foreign script that reads", false, "GET", "/records/exchanges", "Origin", foreign, "Sec-Fetch-Mode", "cors")
		f("foreign image", false, "GET", "/records", "Referer", foreign+"/", "Sec-Fetch-Mode", "no-cors")
		f("asset of the page", true, "GET", "/status", "Referer", own+"/ai_gateway/ui/", "Sec-Fetch-Mode", "cors")
		// A page whose address is typed is opened where the endpoint takes it.
		f("address typed", strings.Contains(settings, `""`), "GET", "/records/exchanges", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "none")
	}
}

// TestRecordsView guards the view of the records over a real gateway: off by default,
// on with the file at once, hostile text harmless in it and nowhere else.
func TestRecordsView(t *testing.T) {
	a := startStandIn(t, "a")
	fleet := func(record string) string {
		return `{"record": {` + record + `}, "instances": [` + entry(a.url, `, "name": "box", "api_key": "sk-secret"`) + `]}`
	}
	g := startAdmin(t, fleet(""))
	views := []string{"/records", "/records/exchanges", "/records/exchange?at=20260314_15,main.jsonl@0", "/records/conversation?at=20260314_15,main.jsonl@0", "/records?outcome=x"}
	for _, path := range views {
		status, _, text := g.call(t, "GET", path)
		var e adminError
		must(t, json.Unmarshal([]byte(text), &e))
		if status != 404 || e.Code != "browse_off" || !strings.Contains(e.Message, "record: {browse: true} in "+g.file) {
			t.Errorf("%s: got %d %s, want 404 and what turns it on", path, status, text)
		}
	}
	const canary = "canary-7f3a"
	harm := canary + ` </script><script>window.harm=1</script><img src=x onerror=window.harm=1> ` + "\u202eturned\u2066" + "\n```html\n<b>bold</b>\n```\n"
	body, err := json.Marshal(map[string]any{"model": "m", "messages": []map[string]string{{"role": "user", "content": harm}}})
	must(t, err)
	if status, text := g.post(t, chatPath, string(body)); status != 200 {
		t.Fatalf("got %d %s", status, text)
	}
	g.save(t, fleet(`"browse": true`))
	at := g.recorded(t)

	var list page.Recordings
	g.good(t, "GET", "/records/exchanges?model=m&outcome=ok", &list)
	if e := list.Exchanges[0]; len(list.Exchanges) != 1 || e.Instance != "box" || e.HTTP != 200 || e.Endpoint != "chat" || e.Finish != "stop" || !strings.HasPrefix(e.Asked, canary) {
		t.Errorf("got %+v", list)
	}
	var one page.Conversation
	g.good(t, "GET", "/records/exchange?at="+url.QueryEscape(at), &one)
	if len(one.Said) != 2 || one.Said[0].Text.Text != harm || one.Params.Text != "{}" {
		t.Errorf("got %+v", one)
	}
	for _, path := range []string{"/records", "/records/conversation?at=" + url.QueryEscape(at)} {
		status, header, text := g.call(t, "GET", path)
		if status != 200 || !strings.Contains(text, canary) || !strings.Contains(text, "&lt;script&gt;") || !strings.Contains(text, `\u202e`) ||
			strings.Contains(text, "<script>window") || strings.Contains(text, "<img") || strings.Contains(text, "<b>bold") || strings.ContainsAny(text, "\u202e\u2066") {
			t.Errorf("%s: got %d %s", path, status, text)
		}
		csp := header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || header.Get("Cache-Control") != "no-store" || header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: got %v", path, header)
		}
	}
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	if status, _, text := g.browser(t, "POST", "/records", "text="+url.QueryEscape(strings.ToUpper(canary)), form...); status != 200 || !strings.Contains(text, canary+" &lt;/script") {
		t.Errorf("looked for: got %d %s", status, text)
	}
	if _, _, text := g.browser(t, "POST", "/records", "text=nowhere", form...); strings.Contains(text, canary) || !strings.Contains(text, "Nothing matches.") {
		t.Errorf("looked for in vain: got %s", text)
	}
	if status, _, text := g.call(t, "GET", "/records?text="+canary); status != 400 || !strings.Contains(text, "unknown_parameter") {
		t.Errorf("a text in a query: got %d %s", status, text)
	}
	// Nothing else shows a text, and nothing at all a key.
	for _, path := range []string{"/status", "/instances", "/ui/", "/explain?model=m", "/records", "/records/exchanges"} {
		_, _, text := g.call(t, "GET", path)
		if strings.Contains(text, "sk-secret") || strings.Contains(text, canary) != strings.HasPrefix(path, "/records") {
			t.Errorf("%s: got %s", path, text)
		}
	}
	g.save(t, fleet(`"browse": false`))
	if status, _, text := g.call(t, "GET", "/records/exchange?at="+url.QueryEscape(at)); status != 404 || strings.Contains(text, canary) {
		t.Errorf("off again: got %d %s", status, text)
	}
}

// TestRecordsViewBesideWriter guards that looking at the records keeps no request from
// being recorded, and sees whole lines only.
func TestRecordsViewBesideWriter(t *testing.T) {
	a := startStandIn(t, "a")
	g := startAdmin(t, `{"record": {"browse": true}, "instances": [`+entry(a.url, "")+`]}`)
	const total = 200
	var asking sync.WaitGroup
	asking.Go(func() {
		for n := range total {
			if status, text := g.post(t, chatPath, fmt.Sprintf(`{"model":"m","messages":[{"role":"user","content":"number %d"}]}`, n)); status != 200 {
				t.Errorf("got %d %s", status, text)
			}
		}
	})
	seen := 0
	eventually(t, "all records to be seen", func() bool {
		seen = 0
		before := ""
		for {
			var list page.Recordings
			g.good(t, "GET", "/records/exchanges?limit=100&before="+before, &list)
			if list.Skipped.Any() || list.Bound != "" {
				t.Errorf("got %+v", list)
				return true
			}
			seen += len(list.Exchanges)
			if before = url.QueryEscape(list.Before); before == "" {
				return seen >= total
			}
		}
	})
	asking.Wait()
	if report := g.store.snapshot().recorder.report(); seen != total || len(report.Dropped) != 0 {
		t.Errorf("got %d records, %+v, want %d and none dropped", seen, report, total)
	}
}

// TestRecordsViewBusy guards that only so many look at once: others are told to wait.
func TestRecordsViewBusy(t *testing.T) {
	g := startAdmin(t, `{"record": {"browse": true}, "instances": [`+entry("http://127.0.0.1:9/v1", "")+`]}`)
	for range cap(browsers) {
		browsers <- struct{}{}
	}
	status, header, text := g.call(t, "GET", "/records/exchanges")
	for range cap(browsers) {
		<-browsers
	}
	if status != 503 || header.Get("Retry-After") == "" || !strings.Contains(text, `"busy"`) {
		t.Errorf("got %d %s", status, text)
	}
	if status, _, text := g.call(t, "GET", "/records/exchanges"); status != 200 {
		t.Errorf("after it: got %d %s", status, text)
	}
}
