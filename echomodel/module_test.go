package echomodel

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func TestCaddyfile(t *testing.T) {
	for _, c := range []struct{ name, input, want string }{
		{"bare", `echo_model`, `{}`},
		{"models", `echo_model a org/b`, `{"models":["a","org/b"]}`},
		{
			"all", `echo_model a {
				name    unit-1
				ttft    50ms
				itl     2ms
				tokens  100
				api_key {env.KEY}
				fault   status 503 date:2s "{}"
			}`,
			`{"models":["a"],"name":"unit-1","api_key":"{env.KEY}","ttft":50000000,"itl":2000000,"tokens":100,` +
				`"fault":"status","status":503,"retry_after":"date:2s","body":"{}"}`,
		},
		{"fault alone", "echo_model {\nfault hang\n}", `{"fault":"hang"}`},
		{"fault after", "echo_model {\nfault reset_mid 3\n}", `{"fault":"reset_mid","after":3}`},
		{"redirect", "echo_model {\nfault redirect http://x 302\n}", `{"fault":"redirect","status":302,"location":"http://x"}`},
		{"slow drip", "echo_model {\nfault slow_drip 1s\n}", `{"itl":1000000000,"fault":"slow_drip"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h Handler
			if err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser(c.input)); err != nil {
				t.Fatal(err)
			}
			if err := h.Validate(); err != nil {
				t.Error(err)
			}
			got, err := json.Marshal(h)
			if err != nil || string(got) != c.want {
				t.Errorf("got %s, %v, want %s", got, err, c.want)
			}
			var back Handler
			if err := caddy.StrictUnmarshalJSON(got, &back); err != nil {
				t.Errorf("loading it back: %v", err)
			}
		})
	}
}

func TestCaddyfileErrors(t *testing.T) {
	for _, c := range []struct{ name, input, want string }{
		{"option", "echo_model {\nmodel x\n}", `unknown option "model": want one of name, ttft, itl, tokens, api_key, fault, vllm, at Testfile:2`},
		{"twice", "echo_model {\nttft 1s\nttft 2s\n}", `ttft: given twice, at Testfile:3`},
		{"none", "echo_model {\nname\n}", `name: want one argument`},
		{"too many", "echo_model {\nname a b\n}", `name: want one argument`},
		{"duration", "echo_model {\nttft 5\n}", `ttft: "5": want a duration such as 50ms`},
		{"negative", "echo_model {\nitl -1s\n}", `itl: "-1s": want a duration such as 50ms`},
		{"number", "echo_model {\ntokens many\n}", `tokens: "many": want a number from 0 to 1000000`},
		{"no fault", "echo_model {\nfault\n}", `fault: want a name, one of after_done, bad_chunk, bad_length, `},
		{"fault", "echo_model {\nfault explode\n}", `fault: unknown fault "explode": want one of after_done, bad_chunk, `},
		{"fault arguments", "echo_model {\nfault hang 3\n}", `fault hang: 1 arguments: want at most 0`},
		{"fault argument", "echo_model {\nfault redirect / 99\n}", `fault redirect: status: "99": want a number from 200 to 599`},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := new(Handler).UnmarshalCaddyfile(caddyfile.NewTestDispenser(c.input))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct{ name, config, want string }{
		{"twice", `{"models":["a","a"]}`, `model "a": given twice`},
		{"empty", `{"models":["a",""]}`, `model 2: empty name`},
		{"ttft", `{"ttft":-1}`, `ttft: -1ns: want 0 or more`},
		{"itl", `{"itl":-1}`, `itl: -1ns: want 0 or more`},
		{"tokens", `{"tokens":-1}`, `tokens: -1: want 0 to 1000000`},
		{"status", `{"status":100}`, `status: 100: want 200 to 599`},
		{"path", `{"path":"v1"}`, `path: "v1": want * or a path that begins with /`},
		{"fault", `{"fault":"x"}`, `fault: unknown fault "x": want one of after_done`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h Handler
			if err := caddy.StrictUnmarshalJSON([]byte(c.config), &h); err != nil {
				t.Fatal(err)
			}
			if err := h.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestOrder: the directive needs no order option, and comes before reverse_proxy.
func TestOrder(t *testing.T) {
	adapter := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}
	got, warnings, err := adapter.Adapt([]byte(":9101 {\n\tbind 127.0.0.1\n\techo_model m {\n\t\tname a\n\t}\n}\n"), nil)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	if want := `{"handler":"echo_model","models":["m"],"name":"a"}`; !strings.Contains(string(got), want) {
		t.Errorf("got %s, want %s in it", got, want)
	}
}

// TestHandler runs the module as Caddy does: provision, serve, clean up.
func TestHandler(t *testing.T) {
	t.Setenv("ECHO_KEY", "sk-1")
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	h := &Handler{Name: "unit", APIKey: "{env.ECHO_KEY}"}
	if err := h.Cleanup(); err != nil { // not provisioned yet
		t.Error(err)
	}
	if err := h.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
		t.Error("the next handler was called")
		return nil
	})
	for path, want := range map[string]int{"/v1/models": 200, "/nothing": 404} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Authorization", "Bearer sk-1")
		w := httptest.NewRecorder()
		if err := h.ServeHTTP(w, r, next); err != nil || w.Code != want || w.Header().Get("X-Echo-Name") != "unit" {
			t.Errorf("%s: got %d, %v, want %d", path, w.Code, err, want)
		}
	}
	if err := h.Cleanup(); err != nil {
		t.Error(err)
	}
	missing := &Handler{APIKey: "{env.ECHO_NO_SUCH_KEY}"}
	if err := missing.Provision(ctx); err == nil || !strings.Contains(err.Error(), "replacing placeholders in api_key") {
		t.Errorf("got %v, want an error for the missing variable", err)
	}
}
