package aigateway

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestCaddyfile guards which JSON each option of the block becomes. The texts
// stand at /etc/caddy/Caddyfile.
func TestCaddyfile(t *testing.T) {
	f := func(directive, want string) {
		t.Helper()
		cfg, err := adapt("/etc/caddy/Caddyfile", ":9999 {\n"+directive+"\n}\n")
		if err != nil {
			t.Errorf("%s: %v", directive, err)
			return
		}
		var parsed struct {
			Apps struct {
				HTTP struct {
					Servers map[string]struct {
						Routes []struct {
							Handle []json.RawMessage `json:"handle"`
						} `json:"routes"`
					} `json:"servers"`
				} `json:"http"`
			} `json:"apps"`
		}
		if err := json.Unmarshal(cfg, &parsed); err != nil {
			t.Fatal(err)
		}
		if got := string(parsed.Apps.HTTP.Servers["srv0"].Routes[0].Handle[0]); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", directive, got, want)
		}
	}
	f("ai_gateway", `{"config":"/etc/caddy/config.json5","handler":"ai_gateway","proxy":{}}`)
	f("ai_gateway * fleet.json5", `{"config":"/etc/caddy/fleet.json5","handler":"ai_gateway","proxy":{}}`)
	f("ai_gateway /srv/fleet.json5", `{"config":"/srv/fleet.json5","handler":"ai_gateway","proxy":{}}`)
	f("ai_gateway /v1/* /srv/fleet.json5", `{"config":"/srv/fleet.json5","handler":"ai_gateway","proxy":{}}`)
	f("ai_gateway /v1/*", `{"config":"/etc/caddy/config.json5","handler":"ai_gateway","proxy":{}}`)
	f("ai_gateway {\nconfig /srv/fleet.json5\n}", `{"config":"/srv/fleet.json5","handler":"ai_gateway","proxy":{}}`)
	f("ai_gateway {\nmax_body 1MiB\nproxy_environment\n}", `{"config":"/etc/caddy/config.json5","handler":"ai_gateway","max_body":1048576,"proxy":{},"proxy_environment":true}`)
	f("ai_gateway {\nlb_policy header X-Session {\nfallback first\n}\n}",
		`{"config":"/etc/caddy/config.json5","handler":"ai_gateway","proxy":{"load_balancing":{"selection_policy":{"fallback":{"policy":"first"},"field":"X-Session","policy":"header"}}}}`)
	f("ai_gateway {\nheader_up X-Team t1\nheader_down -Server\n}",
		`{"config":"/etc/caddy/config.json5","handler":"ai_gateway","proxy":{"headers":{"request":{"set":{"X-Team":["t1"]}},"response":{"delete":["Server"]}}}}`)
	f("ai_gateway {\ntransport http {\ndial_timeout 1s\ntls_insecure_skip_verify\n}\nstream_close_delay 5m\nflush_interval -1\n}",
		`{"config":"/etc/caddy/config.json5","handler":"ai_gateway","proxy":{"flush_interval":-1,"stream_close_delay":300000000000,"transport":{"dial_timeout":1000000000,"protocol":"http","tls":{"insecure_skip_verify":true}}}}`)
	f("ai_gateway {\n@bad status 5xx\nhandle_response @bad {\nrespond later 503\n}\n}",
		`{"config":"/etc/caddy/config.json5","handler":"ai_gateway","proxy":{"handle_response":[{"match":{"status_code":[5]},"routes":[{"handle":[{"body":"later","handler":"static_response","status_code":503}]}]}]}}`)
}

// TestCaddyfileErrors guards that each mistake is refused with its place, what
// was found and what is allowed.
func TestCaddyfileErrors(t *testing.T) {
	f := func(directive, want string) {
		t.Helper()
		_, err := adapt("Caddyfile", ":9999 {\n\t"+directive+"\n}\n")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Caddyfile:") {
			t.Errorf("%s: got error %v, want one with %q and its place", directive, err, want)
		}
	}
	block := func(options, want string) { t.Helper(); f("ai_gateway {\n"+options+"\n}", want) }
	f("ai_gateway a b", "got 2 arguments, want at most one, the config file")
	f("ai_gateway a {\nconfig b\n}", "config file is given twice, want one")
	block("config", "config: got 0 arguments, want one file")
	block("config a b", "config: got 2 arguments, want one file")
	block("config a\nconfig b", "config file is given twice, want one")
	block("max_body", "max_body: got 0 arguments, want one size such as 32MiB")
	block("max_body much", `max_body: got "much", want a size such as 32MiB`)
	block("max_body 0", `max_body: got "0", want a size such as 32MiB`)
	block("max_body 1MiB\nmax_body 2MiB", "max_body is given twice, want one")
	block("max_body 9EiB", `max_body: got "9EiB", want a size such as 32MiB`)
	block("proxy_environment on", `proxy_environment: got "on", want no argument`)
	block("to 10.0.0.1:80", "to cannot be set here: instances come from the config file")
	block("dynamic a example.com", "dynamic cannot be set here: instances come from the config file")
	block("health_uri /health", "health_uri cannot be set here")
	block("health_headers {\nA b\n}", "health_headers cannot be set here")
	block("fail_duration 3s", "fail_duration cannot be set here: error_threshold and error_window of the config file do this")
	block("max_fails 3", "max_fails cannot be set here")
	block("unhealthy_status 5xx", "unhealthy_status cannot be set here")
	block("request_buffers 4k", "request_buffers cannot be set here: requests are always read whole; max_body bounds them")
	block("lb_retries 3", "lb_retries cannot be set here: the gateway decides itself when to try another instance")
	block("lb_retry_match {\nmethod POST\n}", "lb_retry_match cannot be set here")
	block("lb_try_duration 3s", "lb_try_duration cannot be set here")
	block("method GET", "method cannot be set here")
	block("rewrite /x", "rewrite cannot be set here")
	block("lb_policy fairest", "http.reverse_proxy.selection_policies.fairest")
	block("lb_policy first\nlb_policy first", "load balancing selection policy already specified")
	block("transport http {\nspeed 9\n}", "unrecognized subdirective speed")
	block("transport pigeon", "http.reverse_proxy.transport.pigeon")
	block("wheels 4", "unrecognized subdirective wheels")
	f("reverse_proxy {\ndynamic ai_gateway a b\n}", "got 2 arguments, want at most one, the config file")
	f("reverse_proxy {\ndynamic ai_gateway {\nmodels m\n}\n}", `got option "models", want model`)
	f("reverse_proxy {\ndynamic ai_gateway {\nmodel\n}\n}", "model: got 0 arguments, want one name")
}

// TestJSONConfig guards the JSON form: its defaults, and the options that are
// refused there too.
func TestJSONConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json5")
	writeFile(t, file, fleetOf("http://127.0.0.1:1/v1"))
	f := func(handler, want string) {
		t.Helper()
		var cfg caddy.Config
		text := `{"admin":{"disabled":true},"logging":{"logs":{"default":{"level":"PANIC"}}},"apps":{"http":{"servers":{"s":{"listen":["127.0.0.1:0"],"automatic_https":{"disable":true},"routes":[{"handle":[` +
			strings.ReplaceAll(handler, "FILE", file) + `]}]}}}}}`
		if err := json.Unmarshal([]byte(text), &cfg); err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := caddy.Validate(&cfg); err != nil {
			got = err.Error()
		}
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: got error %q, want %q", handler, got, want)
		}
	}
	proxy := func(members, want string) {
		t.Helper()
		f(`{"handler":"ai_gateway","config":"FILE","proxy":{`+members+`}}`, want)
	}
	f(`{"handler":"ai_gateway","config":"FILE"}`, "")
	f(`{"handler":"ai_gateway","config":"FILE","max_body":-1}`, "max_body: got -1, want a number of bytes above 0")
	f(`{"handler":"ai_gateway","config":"FILE","bodymax":1}`, `unknown field "bodymax"`)
	f(`{"handler":"ai_gateway","config":"/no/such/file"}`, "reading the fleet's file: stat /no/such/file: no such file or directory")
	f(`{"handler":"ai_gateway","config":"/"}`, "reading the fleet's file: / is no regular file")
	proxy(`"load_balancing":{"selection_policy":{"policy":"first"}},"transport":{"protocol":"http","dial_timeout":1}`, "")
	proxy(`"upstreams":[{"dial":"a:1"}]`, "proxy.upstreams: instances come from the file named by config")
	proxy(`"dynamic_upstreams":{"source":"a"}`, "proxy.dynamic_upstreams: instances come from the file named by config")
	proxy(`"health_checks":{"active":{"uri":"/"}}`, "proxy.health_checks.active: never runs here")
	proxy(`"health_checks":{"passive":{"max_fails":1}}`, "proxy.health_checks.passive: error_threshold and error_window")
	proxy(`"request_buffers":4096`, "proxy.request_buffers: requests are always read whole")
	proxy(`"circuit_breaker":{"type":"x"}`, "proxy.circuit_breaker: error_threshold and error_window")
	proxy(`"rewrite":{"uri":"/"}`, "proxy.rewrite: paths and methods are the API's")
	proxy(`"load_balancing":{"retries":2}`, "proxy.load_balancing: retries are the gateway's own")
	proxy(`"load_balancing":{"selection_policy":{"policy":"fairest"}}`, "unknown module: http.reverse_proxy.selection_policies.fairest")
	proxy(`"transport":{"protocol":"pigeon"}`, "unknown module: http.reverse_proxy.transport.pigeon")
	proxy(`"transport":[]`, "reading the proxy's transport")
}
