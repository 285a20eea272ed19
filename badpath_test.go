package aigateway

import (
	"slices"
	"strings"
	"testing"
)

// notForwarded is the answer to a path that no instance shall see. The path is
// as [quote] shows it.
func notForwarded(shown string) refusal {
	return refusal{404, "unknown_url", "", "path " + shown +
		" is not forwarded; the gateway serves the OpenAI API below /v1/ and the engine_routes of its configuration"}
}

// unknownPaths are request targets that no instance shall see.
var unknownPaths = []string{
	// Unknown, and almost known.
	"/v1", "/v2", "/v2/chat/completions", "/v1/unknown", "/v1/chats", "/v1/Chat/completions", "/v1/chat.", "/v1/-chat", "/v1/skills", "/x",
	"/api/v1/chat/completions", "/openai/v1/chat/completions", "/chat/completions", "/v10/chat", "/v1beta/chat", "/index.html", "/favicon.ico",
	"/Tokenize", "/tokenize/x", "/v1/tokenize", "/v2/score", "/v1/rerankx", "/healthz", "/health/x", "/readyz/x", "/ai_gateway/config", "/admin",
	"/config/", "/load", "/.well-known/x", "/.env", "/" + strings.Repeat("x", 70),

	// vLLM's administration.
	"/metrics", "/sleep", "/wake_up", "/is_sleeping", "/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/load_lora_adapter", "/unload_lora_adapter",
	"/reset_prefix_cache", "/reset_mm_cache", "/server_info", "/version", "/ping", "/invocations", "/collective_rpc", "/pause", "/resume",
	"/start_profile", "/stop_profile", "/scale_elastic_ep", "/abort_requests", "/docs", "/openapi.json",
	// SGLang's.
	"/flush_cache", "/get_server_info", "/get_model_info", "/update_weights_from_disk", "/update_weights_from_tensor", "/release_memory_occupation",
	"/resume_memory_occupation", "/init_weights_update_group", "/set_internal_state", "/configure_logging", "/abort_request", "/generate", "/encode",
	// llama.cpp's, Ollama's and those of others.
	"/slots", "/props", "/lora-adapters", "/infill", "/apply-template", "/api/pull", "/api/delete", "/api/create", "/api/copy", "/api/push", "/api/tags",
	"/api/ps", "/api/generate", "/info", "/v1/internal/model/load", "/v1/engines", "/v1/admin", "/v1/organization/admin_api_keys", "/v1/dashboard",
}

// trickyPaths are more of them, which servers read in different ways.
var trickyPaths = []string{
	"/V1/chat/completions", "//v1/chat/completions", "/v1//chat/completions", "/v1/chat//completions", "/v1/chat/completions/", "/v1/chat/completions//",
	"/v1/", "//", "///", "/v1/./chat/completions", "/./v1/chat/completions", "/v1/chat/completions/.", "/v1/chat/completions/..", "/v1/../metrics",
	"/v1/../sleep", "/v1/chat/../load_lora_adapter", "/v1/chat/../../metrics", "/../v1/chat/completions", "/..", "/.", "/v1/..", "/v1/.",
	"/v1/chat/..;/sleep", "/v1/chat/completions;x=1", "/v1;/chat/completions", "/v1/chat/completions;", "/v1/chat/completions*", "/v1/chat/completions(x)",
	"/v1/chat/completions!", "/v1/chat/completions$", "/v1/chat/{x}", "/v1/chat/|", "/v1/chat/^", "/v1/chat/'", "/v1/chat/`", "/v1/chat/<", "/v1/chat/[x]",
	"/v1/chat/completions#x", "/v1/chat/é", "/v1/ｃhat/completions",

	// One segment or two: servers do not agree, so the escape is shown too.
	"/v1/chat%2Fcompletions", "/v1%2fchat/completions", "/%2Fv1/chat/completions", "/v1/chat%2F%2Fcompletions", "/v1/chat/completions%2F",
	"/v1/files/a%2Fb", "/v1/chat/%2e%2e%2fload_lora_adapter", "/v1/files/%2E%2E%2F%2E%2E%2Fmetrics",

	// Anthropic's clients read the same in their own shape.
	"/v1/messages/", "/v1/messages/../sleep", "/v1/messages//batches",
}

// shownPaths are more of them, which answers show in another form.
var shownPaths = [][2]string{
	{"/" + strings.Repeat("x", 200), `"/` + strings.Repeat("x", 79) + `…"`},
	{`/v1/chat\completions`, `"/v1/chat\\completions"`},
	{`/v1\..\metrics`, `"/v1\\..\\metrics"`},
	{`/v1/chat/"`, `"/v1/chat/\""`},
	{`/v1/..%5Cmetrics`, `"/v1/..\\metrics"`},
	{`/v1/%00`, "\"/v1/\uFFFD\""},
	{`/v1/chat/completions%00`, "\"/v1/chat/completions\uFFFD\""},
	{`/v1/chat/completions%00.json`, "\"/v1/chat/completions\uFFFD.json\""},
	{`/v1/chat/completions%20`, `"/v1/chat/completions "`},
	{`/v1/chat/completions%09`, "\"/v1/chat/completions\uFFFD\""},
	{`/v1/chat/completions%0d%0aX:1`, "\"/v1/chat/completions\uFFFD\uFFFDX:1\""},
	{`/v1/chat/completions%3Fx=1`, `"/v1/chat/completions?x=1"`},
	{`/v1/chat/completions%23`, `"/v1/chat/completions#"`},
	{`/v1/chat/completions%3bx`, `"/v1/chat/completions;x"`},
	{`/v1/chat/completions%25`, `"/v1/chat/completions%"`},
	{`/v1/%252e%252e/metrics`, `"/v1/%2e%2e/metrics"`},
	{`/v1/%2e%2e/metrics`, `"/v1/../metrics"`},
	{`/v1/%2E./metrics`, `"/v1/../metrics"`},
	{`/%2e/v1/chat/completions`, `"/./v1/chat/completions"`},
	{"/v1/chat/\xff", "\"/v1/chat/\uFFFD\""},
	{`/v1/chat/%c0%ae%c0%ae`, "\"/v1/chat/\uFFFD\uFFFD\uFFFD\uFFFD\""},
	{`/v1/chat/%E2%80%AE`, "\"/v1/chat/\uFFFD\""},
	{"/v1/chat/\u202emoc", "\"/v1/chat/\uFFFDmoc\""},
	{`/v1/messages/%2e%2e/sleep`, `"/v1/messages/../sleep"`},
}

// TestBadPaths guards that an instance sees no path but a plain one of the list,
// whatever it would make of the others. See also TestRouteMutations.
func TestBadPaths(t *testing.T) {
	w := startWire(t)
	f := func(target, shown string) {
		t.Helper()
		w.refuses(t, post(target, jsonType, `{"model":"a"}`), notForwarded(shown))
		w.refuses(t, "GET "+target+"?model=a HTTP/1.1\r\nHost: gateway\r\n\r\n", notForwarded(shown))
		w.refuses(t, "HEAD "+target+"?model=a HTTP/1.1\r\nHost: gateway\r\n\r\n", notForwarded(shown))
	}
	for _, path := range slices.Concat(unknownPaths, trickyPaths) {
		f(path, `"`+path+`"`)
	}
	for _, row := range shownPaths {
		f(row[0], row[1])
	}
	w.stillServes(t)
}

// TestBadMethods guards that a method which makes no sense for a path is said to
// be the mistake.
func TestBadMethods(t *testing.T) {
	w := startWire(t)
	f := func(method, path string) {
		t.Helper()
		w.refuses(t, method+" "+path+"?model=a HTTP/1.1\r\nHost: gateway\r\nContent-Length: 0\r\n\r\n",
			refusal{405, "method_not_allowed", "", "method " + method + ` is not served at path "` + path + `"`})
	}
	f("TRACE", "/v1/chat/completions")
	f("TRACE", "/v1/messages")
	f("TRACE", "/tokenize")
	f("CONNECT", "/v1/chat/completions")
	f("CONNECT", "/v1/realtime")
	f("POST", "/v1/models")
	f("DELETE", "/v1/models")
	f("POST", "/health")
	f("PUT", "/livez")
	f("DELETE", "/readyz")
	f("POST", "/")
	w.refuses(t, "TRACE /metrics HTTP/1.1\r\nHost: gateway\r\n\r\n", notForwarded(`"/metrics"`))
	w.refuses(t, "PROPFIND /v1/unknown HTTP/1.1\r\nHost: gateway\r\n\r\n", notForwarded(`"/v1/unknown"`))
	w.refuses(t, "OPTIONS /metrics HTTP/1.1\r\nHost: gateway\r\n\r\n", notForwarded(`"/metrics"`))
	w.refuses(t, "CONNECT 127.0.0.1:9 HTTP/1.1\r\nHost: gateway\r\n\r\n", notForwarded(`""`))
	w.stillServes(t)
}

// TestBadModelPaths guards what GET /v1/models/NAME says of a name that is no
// model's. Nobody is asked, so the name may hold anything.
func TestBadModelPaths(t *testing.T) {
	w := startWire(t)
	f := func(name, shown string) {
		t.Helper()
		w.refuses(t, "GET /v1/models/"+name+" HTTP/1.1\r\nHost: gateway\r\n\r\n",
			refusal{404, "model_not_found", "model", "the model " + shown + " does not exist; available: a, b, c"})
	}
	f("d", `"d"`)
	f("A", `"A"`)
	f("a/", `"a/"`)
	f("..", `".."`)
	f("../../metrics", `"../../metrics"`)
	f("%2e%2e%2fmetrics", `"../metrics"`)
	f("a%00", "\"a\uFFFD\"")
	f("a%0d%0aX:1", "\"a\uFFFD\uFFFDX:1\"")
	f("a;b", `"a;b"`)
	f("org%2Fname", `"org/name"`)
	w.refuses(t, "GET /v1/models/ HTTP/1.1\r\nHost: gateway\r\n\r\n", notForwarded(`"/v1/models/"`))
	w.stillServes(t)
}

// TestBadTargets guards that only the file decides where a request goes, not the
// host that a client names.
func TestBadTargets(t *testing.T) {
	w := startWire(t)
	elsewhere := startWitness(t, nil)
	other := strings.TrimPrefix(elsewhere.URL, "http://")
	f := func(target, shown string) {
		t.Helper()
		w.refuses(t, post(target, jsonType, `{"model":"a"}`), notForwarded(shown))
	}
	f("http://"+other+"/metrics", `"/metrics"`)
	f("http://"+other, `""`)
	f("http://"+other+"/v1/../metrics", `"/v1/../metrics"`)
	f("http://"+other+"//v1/chat/completions", `"//v1/chat/completions"`)
	f("http://user:pass@"+other+"/metrics", `"/metrics"`)
	f("//"+other+"/v1/chat/completions", `"//`+other+`/v1/chat/completions"`)
	f("/http://"+other+"/v1/chat/completions", `"/http://`+other+`/v1/chat/completions"`)
	f("/v1/http://"+other+"/", `"/v1/http://`+other+`/"`)
	f("*", `"*"`)
	f("file:///etc/passwd", `"/etc/passwd"`)

	// A right path goes to the model's instance, under its own name.
	for n, head := range []string{
		"http://" + other + "/v1/chat/completions HTTP/1.1\r\nHost: gateway",
		"https://" + other + "/v1/chat/completions HTTP/1.1\r\nHost: gateway",
		"http://" + other + "/v1/chat/completions HTTP/1.1\r\nHost: " + other,
		"/v1/chat/completions HTTP/1.1\r\nHost: " + other,
		"/v1/chat/completions HTTP/1.1\r\nHost: 169.254.169.254",
		"/v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nX-Forwarded-Host: " + other + "\r\nForwarded: host=" + other,
		"/v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nX-Original-Url: http://" + other + "/x\r\nX-Rewrite-Url: /metrics",
		"/v1/chat/completions?base_url=http://" + other + " HTTP/1.1\r\nHost: gateway",
	} {
		k := w.dial(t)
		body := `{"model":"a","base_url":"http://` + other + `/v1","api_base":"http://` + other + `/v1"}`
		k.send("POST "+head+"\r\n"+strings.TrimPrefix(post("", jsonType, body), "POST  HTTP/1.1\r\nHost: gateway\r\n"), false)
		if res, text := k.receive(t, "POST"); res.StatusCode != 200 || w.count() != n+1 {
			t.Fatalf("%s: got %d %s, instance asked %d times, want %d", head, res.StatusCode, text, w.count(), n+1)
		}
		path, _, _ := strings.Cut(w.last(t).uri, "?")
		if got := w.last(t); path != "/v1/chat/completions" || got.host != strings.TrimPrefix(w.URL, "http://") {
			t.Errorf("%s: instance was asked %s of %s", head, got.uri, got.host)
		}
		k.end()
	}
	if n := elsewhere.count(); n > 0 {
		t.Errorf("%d requests went where a client wanted, want 0", n)
	}
}
