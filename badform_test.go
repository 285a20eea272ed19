package aigateway

import (
	"strings"
	"testing"
)

// TestBadContentTypes guards that the form in which a body is read is the one
// that the instance will see.
func TestBadContentTypes(t *testing.T) {
	w := startWire(t)
	f := func(headers, body string, want refusal) {
		t.Helper()
		w.refuses(t, post("/v1/audio/transcriptions", headers, body), want)
	}
	missing := refusal{400, "missing_model", "model", `model is missing, and the gateway serves more than one; available: a, b, c`}
	invalid := func(message string) refusal { return refusal{400, "invalid_json", "", "invalid JSON body: " + message} }
	const good = `{"model":"a"}`

	encoded := func(encoding string) refusal {
		return refusal{415, "unsupported_content_encoding", "", "got a request body with Content-Encoding " + encoding + ", want it without"}
	}
	f(jsonType+"Content-Encoding: gzip\r\n", "\x1f\x8b\x08\x00", encoded(`"gzip"`))
	f(jsonType+"Content-Encoding: gzip\r\n", good, encoded(`"gzip"`))
	f(jsonType+"content-encoding: GZIP\r\n", good, encoded(`"GZIP"`))
	f(jsonType+"Content-Encoding: zstd\r\n", good, encoded(`"zstd"`))
	f(jsonType+"Content-Encoding: br\r\n", good, encoded(`"br"`))
	f(jsonType+"Content-Encoding: identity, gzip\r\n", good, encoded(`"identity, gzip"`))
	f(jsonType+"Content-Encoding: identity\r\nContent-Encoding: gzip\r\n", good, encoded(`"identity, gzip"`))
	f(jsonType+"Content-Encoding:\r\nContent-Encoding: gzip\r\n", good, encoded(`", gzip"`))
	f(jsonType+"Content-Encoding: gzip\r\nExpect: 100-continue\r\n", good, encoded(`"gzip"`))

	f("", "", missing)
	f("", "hello", invalid(`got 'h', want a JSON object at byte 0`))
	f("Content-Type: application/json; charset=utf-8\r\n", "hello", invalid(`got 'h', want a JSON object at byte 0`))
	f("Content-Type: application/vnd.api+json\r\n", "[]", invalid(`got an array, want a JSON object at byte 0`))
	f("Content-Type: application/x-www-form-urlencoded\r\n", "model=a", invalid(`got 'm', want a JSON object at byte 0`))
	f("Content-Type: text/plain\r\n", `{"model":"a"`, invalid(`text ends too early at byte 12`))
	f("Content-Type: text/plain\r\n", "hello", missing)
	f("Content-Type: text/plain\r\n", "", missing)
	f("Content-Type: application/octet-stream\r\n", "\x00\x01", missing)
	f("Content-Type: /\r\n", "hello", invalid(`got 'h', want a JSON object at byte 0`))
	twice := refusal{400, "duplicate_header", "", "header Content-Type is given twice"}
	f(jsonType+"Content-Type: multipart/form-data; boundary=b\r\n", good, twice)

	form := func(message string) refusal {
		return refusal{400, "invalid_form", "", "invalid multipart body: " + message}
	}
	const multipart = "Content-Type: multipart/form-data; boundary=b\r\n"
	part := func(disposition, value string) string {
		return "--b\r\nContent-Disposition: " + disposition + "\r\n\r\n" + value + "\r\n"
	}
	model := part(`form-data; name="model"`, "a")
	const end = "--b--\r\n"
	f("Content-Type: multipart/form-data\r\n", model+end, form(`multipart boundary is missing or longer than 70 bytes at byte 0`))
	f("Content-Type: multipart/form-data; boundary="+strings.Repeat("b", 71)+"\r\n", model+end, form(`multipart boundary is missing or longer than 70 bytes at byte 0`))
	f("Content-Type: multipart/form-data; boundary=b; boundary=c\r\n", model+end, invalid(`got '-', want a JSON object at byte 0`))
	f(multipart, "", form(`multipart form has no part at byte 0`))
	f(multipart, good, form(`multipart form has no part at byte 0`))
	f(multipart, "--c\r\n\r\n--c--", form(`multipart form has no part at byte 0`))
	f(multipart, "--bc\r\n\r\n--b--", form(`multipart delimiter is followed by text at byte 3`))
	f(multipart, "--b", form(`multipart delimiter is followed by text at byte 3`))
	f(multipart, "--b\r\nContent-Disposition: form-data", form(`multipart header has no end within 16384 bytes at byte 5`))
	f(multipart, "--b\r\nX: "+strings.Repeat("x", 17<<10)+"\r\n\r\n\r\n--b--", form(`multipart header has no end within 16384 bytes at byte 5`))
	f(multipart, "--b\r\n\r\na\r\n--b--", form(`multipart part has no valid Content-Disposition header at byte 5`))
	f(multipart, part(`attachment; name="model"`, "a")+end, form(`multipart part has no valid Content-Disposition header at byte 5`))
	f(multipart, part(`form-data; name="model`, "a")+end, form(`multipart part has no valid Content-Disposition header at byte 5`))
	f(multipart, part("form-data; name=x\r\nContent-Disposition: form-data; name=model", "a")+end, form(`multipart part has two Content-Disposition headers at byte 5`))
	f(multipart, "--b\r\nContent-Disposition: form-data; name=model\r\n\r\na", form(`multipart part has no end at byte 51`))
	f(multipart, model[:len(model)-2], form(`multipart part has no end at byte 53`))
	f(multipart, model+model+end, refusal{400, "duplicate_member", "model", `member "model" is given twice, again at byte 109`})
	f(multipart, part(`form-data; name="model"`, "")+end, refusal{400, "invalid_value", "model", `model: got an empty string, want a model's name`})
	f(multipart, part(`form-data; name="model"`, "d\r\nX: 1")+end,
		refusal{404, "model_not_found", "model", "the model \"d\uFFFD\uFFFDX: 1\" does not exist; available: a, b, c"})
	f(multipart, part(`form-data; name="model"; filename="model"`, "a")+end, missing)
	f(multipart, part(`form-data; name="Model"`, "a")+end, missing)
	f(multipart, end, missing)
	// Forms are for what carries files.
	for _, path := range []string{"/v1/chat/completions", "/v1/embeddings", "/v1/responses", "/tokenize"} {
		w.refuses(t, post(path, multipart, model+end),
			refusal{415, "unsupported_content_type", "", `got a multipart body, want JSON`})
	}
	w.stillServes(t)
}

// TestBadQueries guards the model of requests without a body.
func TestBadQueries(t *testing.T) {
	w := startWire(t)
	f := func(target string, want refusal) {
		t.Helper()
		w.refuses(t, "GET "+target+" HTTP/1.1\r\nHost: gateway\r\n\r\n", want)
		w.refuses(t, "DELETE "+target+" HTTP/1.1\r\nHost: gateway\r\n\r\n", want)
	}
	missing := refusal{400, "missing_model", "model", `model is missing, and the gateway serves more than one; available: a, b, c`}
	invalid := refusal{400, "invalid_query", "", "invalid query string"}
	twice := refusal{400, "duplicate_member", "model", `query parameter "model" is given twice`}
	f("/v1/files", missing)
	f("/v1/files?", missing)
	f("/v1/files?Model=a", missing)
	f("/v1/files?model%20=a", missing)
	f("/v1/files?model=a&model=b", twice)
	f("/v1/files?model=a&model=a", twice)
	f("/v1/files?mod%65l=a&x=y&model=b", twice)
	f("/v1/files?model", refusal{400, "invalid_value", "model", `model: got an empty string, want a model's name`})
	f("/v1/files?model=", refusal{400, "invalid_value", "model", `model: got an empty string, want a model's name`})
	f("/v1/files?model=a;model=b", invalid)
	f("/v1/files?model=%zz", invalid)
	f("/v1/files?model=a%0d%0aX:1", refusal{404, "model_not_found", "model", "the model \"a\uFFFD\uFFFDX:1\" does not exist; available: a, b, c"})
	f("/v1/files?model=d", refusal{404, "model_not_found", "model", `the model "d" does not exist; available: a, b, c`})
	w.stillServes(t)
}
