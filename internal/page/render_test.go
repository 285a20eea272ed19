package page

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

func get(t *testing.T, h http.Handler, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func newPage(t *testing.T, source func() *Status, o Options) *Page {
	t.Helper()
	p := Handler(source, o)
	t.Cleanup(p.Close)
	return p
}

func TestPageShowsAll(t *testing.T) {
	p := newPage(t, newSample().take, Options{Recordings: func() string { return "/records/" }})
	for lang, want := range map[string][]string{
		"en": {
			`<html lang="en">`, "Serving, with problems", "9 of 14 instances take requests", "5\u00a0models", "Up 3\u00a0d 5\u00a0h",
			"gpu-03", "first token too late · 38\u00a0s", "10.20.0.13:8000/v1", "Half-open", "Ramping up", "Draining", "Resting", "On fallback",
			"1,284,311", "412 GB", "queue full: 12", "least_connections", "/etc/caddy/config.json5", "v0.9.2", "Trial begun",
			"Nov 23, 09:40:13 UTC", `<time datetime="2026-11-23T09:40:13Z">`, "Qwen/Qwen3-Coder-30B-A3B-Instruct-FP8", "10 failures in a row within 60 s",
			`href="/records/"`, "Recordings",
		},
		"zh": {
			`<html lang="zh-Hans">`, "可以服务，但有问题", "14 个实例中有 9 个可接请求", "5 个模型", "已运行 3 天 5 小时", "首词元超时 · 38 秒",
			"试探中", "慢启动", "排空中", "暂停", "使用备用", "队列已满：12", "11月23日 09:40:13 UTC", "开始试探", "对话记录",
		},
	} {
		w := get(t, p, "/?lang="+lang)
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/html; charset=utf-8" || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: got status %d and header %v", lang, w.Code, w.Header())
		}
		for _, text := range want {
			if !strings.Contains(w.Body.String(), text) {
				t.Errorf("%s: the page has no %q", lang, text)
			}
		}
	}
	if body := get(t, newPage(t, newSample().take, Options{}), "/").Body.String(); strings.Contains(body, "Recordings") {
		t.Error("recordings are linked, though there is no view of them")
	}
}

func TestPageEmpty(t *testing.T) {
	p := newPage(t, func() *Status { return &Status{Config: Config{Valid: true}} }, Options{Language: Chinese})
	body := get(t, p, "/").Body.String()
	for _, want := range []string{"还没有实例", "没有配置实例", "还没有事件", "当前没有告警", "记录已关闭", "最近 15 分钟没有请求"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page has no %q", want)
		}
	}
}

func TestPageRejectedConfig(t *testing.T) {
	s := newSample().take()
	s.Config.Valid, s.Config.Error = false, `12:7: instances[2]: unknown member "wieght", did you mean "weight"?`
	body := get(t, newPage(t, func() *Status { return s }, Options{}), "/").Body.String()
	for _, want := range []string{
		`role="alert"`, "/etc/caddy/config.json5:12:7: instances[2]: unknown member &#34;wieght&#34;",
		`goes on with what it read at <time datetime="2026-11-23T09:00:27Z">`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	s.Config.Loaded = Config{}.Loaded
	if body := get(t, newPage(t, func() *Status { return s }, Options{}), "/").Body.String(); !strings.Contains(body, "Nothing has been read yet.") {
		t.Error("the page does not say that no file has been read")
	}
}

// shape lists the elements of a document with the names of their attributes, and
// the values of those whose value is not from outside.
func shape(t *testing.T, document string) (elements map[string]int, attributes map[string]int) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	elements, attributes = make(map[string]int), make(map[string]int)
	for n := range root.Descendants() {
		if n.Type == html.ElementNode {
			elements[n.Data]++
			for _, a := range n.Attr {
				attributes[a.Key]++
			}
		}
	}
	return elements, attributes
}

// TestPageEscapes: whatever the names are, the page has no element and no attribute
// that it does not have with harmless ones.
func TestPageEscapes(t *testing.T) {
	usual := newSample()
	usual.edit(func(st *Status) { st.Config.Valid, st.Config.Error = false, "1:1: x" })
	plainElements, plainAttributes := shape(t, get(t, newPage(t, usual.take, Options{}), "/").Body.String())
	harm := hostile()
	body := get(t, newPage(t, harm.take, Options{}), "/").Body.String()
	elements, attributes := shape(t, body)
	for element := range elements {
		if plainElements[element] == 0 {
			t.Errorf("hostile names make an element %s", element)
		}
	}
	for attribute := range attributes {
		if plainAttributes[attribute] == 0 {
			t.Errorf("hostile names make an attribute %s", attribute)
		}
		if strings.HasPrefix(attribute, "on") || attribute == "style" {
			t.Errorf("the page has an attribute %s, which its policy forbids", attribute)
		}
	}
	if got, want := elements["script"], plainElements["script"]; got != want {
		t.Errorf("got %d scripts, want %d", got, want)
	}
	if strings.ContainsAny(body, "\u202e\u2066") {
		t.Error("a character that turns the direction of writing is in the page")
	}
	if !strings.Contains(body, `\u202e`) || !strings.Contains(body, "&lt;script&gt;") {
		t.Error("hostile names are not shown")
	}
	if n := len(body); n > 200_000 {
		t.Errorf("names of thousands of characters make a page of %d bytes", n)
	}
}

// TestErrorShares: a share of errors that wants to be seen is marked.
func TestErrorShares(t *testing.T) {
	hot := functions(English)["hot"].(func(float64) string)
	for share, want := range map[float64]string{0: " zero", 0.004: "", 0.01: " warm", 0.049: " warm", 0.05: " hot", 1: " hot"} {
		if got := hot(share); got != want {
			t.Errorf("%v: got %q, want %q", share, got, want)
		}
	}
}

// TestChanges: what is sent to viewers are the pieces that have changed, and they
// make the page that a new viewer gets.
func TestChanges(t *testing.T) {
	s := newSample()
	draw := func(before *rendering) *rendering {
		t.Helper()
		r, err := render(English, s.take(), false, before)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	changed := func(r, before *rendering) []string {
		t.Helper()
		pieces, err := r.changes(before)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Sorted(maps.Keys(pieces))
	}
	model, instance := "m-"+key("deepseek-v3.2"), "i-"+key("deepseek-v3.2", key("h200-a", "10.20.1.21:30000/v1"))

	first := draw(nil)
	if got := changed(draw(first), first); len(got) != 0 {
		t.Errorf("nothing has changed: got %v", got)
	}
	s.set("h200-a", func(in *Instance) { in.InFlight++ })
	second := draw(first)
	if got, want := changed(second, first), []string{instance, model, "traffic"}; !slices.Equal(got, want) {
		t.Errorf("one more in flight: got %v, want %v", got, want)
	}
	s.set("h200-a", func(in *Instance) { in.LastError = &LastError{sampleStart, "cut"} })
	third := draw(second)
	if got, want := changed(third, second), []string{instance}; !slices.Equal(got, want) {
		t.Errorf("an error: got %v, want %v", got, want)
	}
	s.edit(func(st *Status) { st.Models = st.Models[1:] })
	fourth := draw(third)
	if got, want := changed(fourth, third), []string{"main"}; !slices.Equal(got, want) {
		t.Errorf("a model less: got %v, want %v", got, want)
	}
	if alone := draw(nil); !maps.Equal(alone.pieces, fourth.pieces) {
		t.Error("rendered with what was before the pieces differ from those rendered without")
	}
}
