package aigateway

import (
	"fmt"
	"strings"
	"testing"
)

// TestBadBodies guards that a body whose model cannot be read without doubt
// reaches nobody, and that the answer says where it is wrong.
func TestBadBodies(t *testing.T) {
	w := startWire(t)
	answers := func(body string, want refusal) {
		t.Helper()
		w.refuses(t, post("/v1/chat/completions", jsonType, body), want)
		w.refuses(t, post("/v1/messages", jsonType, body), want)
		chunked := fmt.Sprintf("POST /v1/responses HTTP/1.1\r\nHost: gateway\r\n%sTransfer-Encoding: chunked\r\n\r\n", jsonType)
		if len(body) > 0 {
			chunked += fmt.Sprintf("%x\r\n%s\r\n", len(body), body)
		}
		w.refuses(t, chunked+"0\r\n\r\n", want)
	}
	f := func(body, message string) {
		t.Helper()
		answers(body, refusal{400, "invalid_json", "", "invalid JSON body: " + message})
	}

	f(``, `got nothing, want a JSON object at byte 0`)
	f(" \r\n\t", `got nothing, want a JSON object at byte 4`)
	f(`null`, `got null, want a JSON object at byte 0`)
	f(` true`, `got a boolean, want a JSON object at byte 1`)
	f(`7`, `got a number, want a JSON object at byte 0`)
	f(`"a"`, `got a string, want a JSON object at byte 0`)
	f(`[]`, `got an array, want a JSON object at byte 0`)
	f(`[{"model":"a"}]`, `got an array, want a JSON object at byte 0`)
	f(`NaN`, `got 'N', want a JSON object at byte 0`)
	f(`undefined`, `got 'u', want a JSON object at byte 0`)
	f(`nul`, `got 'n', want a JSON object at byte 0`)
	f(`model=a`, `got 'm', want a JSON object at byte 0`)
	f(`data: {"model":"a"}`, `got 'd', want a JSON object at byte 0`)
	f(`<model>a</model>`, `got '<', want a JSON object at byte 0`)
	f("\x00", `got byte 0x00, want a JSON object at byte 0`)
	f("\uFEFF"+`{"model":"a"}`, `got byte 0xef, want a JSON object at byte 0`)
	f("{\x00\"\x00m\x00", `got byte 0x00, want a member name in double quotes at byte 1`)
	f("\x1f\x8b\x08\x00", `got byte 0x1f, want a JSON object at byte 0`)

	f(`{`, `text ends too early at byte 1`)
	f(`{"model"`, `text ends too early, want ':' at byte 8`)
	f(`{"model":`, `text ends too early at byte 9`)
	f(`{"model":"a"`, `text ends too early at byte 12`)
	f(`{"model":"a`, `string has no end at byte 9`)
	f(`{"model":"a","messages":[{"role":"user"}`, `text ends too early at byte 40`)
	f(`{"model":"a"} x`, `got 'x', want nothing after the object at byte 14`)
	f(`{"model":"a"}{"model":"b"}`, `got '{', want nothing after the object at byte 13`)
	f(`{"model":"a"}}`, `got '}', want nothing after the object at byte 13`)
	f(`{"model":"a",}`, `got '}', want a member name in double quotes at byte 13`)
	f(`{,"model":"a"}`, `got ',', want a member name in double quotes at byte 1`)
	f(`{"model":"a";"n":1}`, `got ';', want ',' or '}' at byte 12`)
	f(`{"model":"a" "n":1}`, `got '"', want ',' or '}' at byte 13`)
	f(`{"model" "a"}`, `got '"', want ':' at byte 9`)
	f(`{"model":"a"]`, `got ']', want ',' or '}' at byte 12`)
	f(`{"model":"a","stop":[1,]}`, `got ']', want a value at byte 23`)
	f(`{"model":"a","stop":[1}`, `got '}', want ',' or ']' at byte 22`)
	f(`{"model":}`, `got '}', want a value at byte 9`)
	f(`{model:"a"}`, `got 'm', want a member name in double quotes at byte 1`)
	f(`{'model':'a'}`, `got '\'', want a member name in double quotes at byte 1`)
	f(`{"model":'a'}`, `got '\'', want a value at byte 9`)
	f(`{"model":"a"/* b */}`, `got '/', want ',' or '}' at byte 12`)
	f("{\"model\":\"a\" // b\n}", `got '/', want ',' or '}' at byte 13`)
	f("{\"model\":\"a\",\u00a0\"n\":1}", `got byte 0xc2, want a member name in double quotes at byte 13`)

	f(`{"model":"a","n":NaN}`, `got 'N', want a value at byte 17`)
	f(`{"model":"a","n":-Infinity}`, `invalid number at byte 17`)
	f(`{"model":"a","n":01}`, `invalid number at byte 17`)
	f(`{"model":"a","n":1.}`, `invalid number at byte 17`)
	f(`{"model":"a","n":.5}`, `got '.', want a value at byte 17`)
	f(`{"model":"a","n":+1}`, `got '+', want a value at byte 17`)
	f(`{"model":"a","n":1e}`, `invalid number at byte 17`)
	f(`{"model":"a","n":0x10}`, `got 'x', want ',' or '}' at byte 18`)
	f(`{"model":"a","n":1_000}`, `got '_', want ',' or '}' at byte 18`)
	f(`{"model":"a","n":True}`, `got 'T', want a value at byte 17`)
	f(`{"model":"a","n":tru}`, `got 't', want a value at byte 17`)
	f(`{"model":"a","n":"\"}`, `string has no end at byte 17`)
	f(`{"model":"a","n":"\\\"}`, `string has no end at byte 17`)
	// A careless receiver could take these for a second model.
	f(`{"model":"a","mode\l":"b"}`, `invalid escape in a member name at byte 13`)
	f(`{"model":"a","mod\u065l":"b"}`, `invalid escape in a member name at byte 13`)
	f(`{"model":"a","mod\x65l":"b"}`, `invalid escape in a member name at byte 13`)

	// The root is the first level, so that 255 arrays may stand in it.
	deep := func(arrays int, open string) string { return `{"model":"a","n":` + strings.Repeat(open, arrays) }
	f(deep(256, `[`), `nested deeper than 256 at byte 272`)
	f(deep(1<<20, `[`), `nested deeper than 256 at byte 272`)
	f(deep(1<<20, `{"a":`), `nested deeper than 256 at byte 1292`)
	f(deep(255, `[`), `text ends too early at byte 272`)
	w.refuses(t, post("/v1/chat/completions", jsonType, deep(10_000_000, `[`)),
		refusal{400, "invalid_json", "", "invalid JSON body: nested deeper than 256 at byte 272"})

	// So much for the text; what follows is about its members.
	f2 := func(body, code, message string) {
		t.Helper()
		status := 400
		if code == "model_not_found" {
			status = 404
			message += "; available: a, b, c"
		}
		answers(body, refusal{status, code, "model", message})
	}
	const missing = `model is missing, and the gateway serves more than one; available: a, b, c`
	f2(`{}`, "missing_model", missing)
	f2(`{"model":null}`, "missing_model", missing)
	f2(`{"Model":"a"}`, "missing_model", missing)
	f2(`{"MODEL":"a","model ":"a"}`, "missing_model", missing)
	f2(`{"x":{"model":"a"}}`, "missing_model", missing)
	f2(`{"model":1}`, "invalid_type", `model: got a number, want a string`)
	f2(`{"model":-1e400}`, "invalid_type", `model: got a number, want a string`)
	f2(`{"model":true}`, "invalid_type", `model: got a boolean, want a string`)
	f2(`{"model":["a"]}`, "invalid_type", `model: got an array, want a string`)
	f2(`{"model":{"id":"a"}}`, "invalid_type", `model: got an object, want a string`)
	f2(`{"model":""}`, "invalid_value", `model: got an empty string, want a model's name`)
	f2(`{"model":"`+strings.Repeat("a", 10<<10)+`"}`, "invalid_value", `model: got a name of 10240 bytes, want at most 1024`)
	f2(`{"model":"a","model":"a"}`, "duplicate_member", `member "model" is given twice, again at byte 13`)
	f2(`{"model":"a","n":1,"model":null}`, "duplicate_member", `member "model" is given twice, again at byte 19`)
	f2(`{"model":"a","mod\u0065l":"b"}`, "duplicate_member", `member "model" is given twice, again at byte 13`)
	f2(`{"\u006d\u006f\u0064\u0065\u006c":"a","model":"b"}`, "duplicate_member", `member "model" is given twice, again at byte 38`)
	for _, text := range []string{"a\n", "a\x00", "\x1b[2Ja", "a\\u0020\n", `\x61`, `\u006`, `a\` + "\n"} {
		f2(`{"model":"`+text+`"}`, "invalid_json", `model: got a string with an invalid escape or a control character`)
	}

	f2(`{"model":"d"}`, "model_not_found", `the model "d" does not exist`)
	f2(`{"model":"A"}`, "model_not_found", `the model "A" does not exist`)
	f2(`{"model":"a "}`, "model_not_found", `the model "a " does not exist`)
	f2(`{"model":"*"}`, "model_not_found", `the model "*" does not exist`)
	f2(`{"model":"a\u0000"}`, "model_not_found", "the model \"a\uFFFD\" does not exist")
	f2(`{"model":"a\r\nX: 1"}`, "model_not_found", "the model \"a\uFFFD\uFFFDX: 1\" does not exist")
	f2(`{"model":"a\n\u001b[2J"}`, "model_not_found", "the model \"a\uFFFD\uFFFD[2J\" does not exist")
	f2(`{"model":"a\u202eb"}`, "model_not_found", "the model \"a\uFFFDb\" does not exist")
	f2(`{"model":"\ud800"}`, "model_not_found", "the model \"\uFFFD\" does not exist")
	f2("{\"model\":\"\xff\"}", "model_not_found", "the model \"\uFFFD\" does not exist")
	f2(`{"model":"../a"}`, "model_not_found", `the model "../a" does not exist`)
	f2(`{"model":"a/../b"}`, "model_not_found", `the model "a/../b" does not exist`)
	f2(`{"model":"http://127.0.0.1:9/v1"}`, "model_not_found", `the model "http://127.0.0.1:9/v1" does not exist`)
	f2(`{"model":"{env.HOME}"}`, "model_not_found", `the model "{env.HOME}" does not exist`)
	f2(`{"model":"🦙"}`, "model_not_found", `the model "🦙" does not exist`)
	f2(`{"model":"\"><script>"}`, "model_not_found", `the model "\"><script>" does not exist`)
	f2(`{"model":"`+strings.Repeat("ü", 512)+`"}`, "model_not_found", `the model "`+strings.Repeat("ü", 40)+`…" does not exist`)
	w.stillServes(t)
}
