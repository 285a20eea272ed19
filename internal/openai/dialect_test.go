package openai

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/sse"
)

func TestDialectOf(t *testing.T) {
	for path, want := range map[string]Dialect{
		"/v1/chat/completions": Chat, "/v1/completions": Completions, "/v1/responses": Responses, "/v1/messages": Messages,
		"/v1/audio/speech": Other, "/v1/responses/resp_1": Other, "": Other,
	} {
		if got := DialectOf(path); got != want {
			t.Errorf("%q: got dialect %d, want %d", path, got, want)
		}
	}
}

// errorEvents are the events that end a broken stream, byte for byte: clients are
// written against these forms.
var errorEvents = map[Dialect]string{
	Other:       `data: {"error":{"message":"it \"broke\"\n","type":"server_error","param":null,"code":"upstream_reset"}}` + "\n\n",
	Chat:        `data: {"error":{"message":"it \"broke\"\n","type":"server_error","param":null,"code":"upstream_reset"}}` + "\n\n",
	Completions: `data: {"error":{"message":"it \"broke\"\n","type":"server_error","param":null,"code":"upstream_reset"}}` + "\n\n",
	Responses: "event: error\n" +
		`data: {"type":"error","code":"upstream_reset","message":"it \"broke\"\n","param":null,"sequence_number":7}` + "\n\n",
	Messages: "event: error\n" + `data: {"type":"error","error":{"message":"it \"broke\"\n","type":"api_error"}}` + "\n\n",
}

func TestErrorEvent(t *testing.T) {
	for d, want := range errorEvents {
		if got := string(d.ErrorEvent("upstream_reset", "it \"broke\"\n", 7)); got != "\n\n"+want {
			t.Errorf("dialect %d: got %q, want %q", d, got, "\n\n"+want)
		}
	}
}

// TestErrorEventBehindAnything guards that the error event is an event of its own
// wherever the stream before it has been cut: in a line, between the two bytes of
// a line's end, or in a character.
func TestErrorEventBehindAnything(t *testing.T) {
	before := "\xef\xbb\xbf: ping\r\n\r\nid: 1\nevent: x\ndata: {\"choices\":[{\"delta\":{\"content\":\"漢\"}}]}\n\ndata: a\r\rerror: x\n\nevent: y\ndata: b\ndata\nevent"
	for d, event := range errorEvents {
		var want sse.Event
		splitter := sse.NewSplitter(maxEvent)
		splitter.Write([]byte(event), func(e sse.Event) { want = e })
		for cut := range len(before) + 1 {
			text := before[:cut] + string(d.ErrorEvent("upstream_reset", "it \"broke\"\n", 7))
			var name, data string
			s := sse.NewSplitter(maxEvent)
			s.Write([]byte(text), func(e sse.Event) { name, data = string(e.Name), string(e.Data) })
			if !s.Idle() || name != string(want.Name) || !json.Valid([]byte(data)) || !strings.Contains(event, data) {
				t.Errorf("dialect %d behind %q: got last event %q %q, want %q", d, before[:cut], name, data, event)
			}
		}
		// The follower of a gateway in front of this one takes it for what it is.
		if got := follow(NewStream(d, false), data(delta(`"content":"a"`))+"data: {\"cho\n\n"+event, 9); d != Other && (!got.failed || got.status != 500) {
			t.Errorf("dialect %d: got %+v, want failed with status 500", d, got)
		}
	}
}

// TestErrorStatus guards the status that each server's errors stand for, for it
// decides whether the instance is to blame. Payloads are as the servers word them.
func TestErrorStatus(t *testing.T) {
	f := func(want int, payload string) {
		t.Helper()
		if got := ErrorStatus([]byte(payload)); got != want {
			t.Errorf("%s: got status %d, want %d", payload, got, want)
		}
	}
	// OpenAI
	f(500, `{"error":{"message":"The server had an error while processing your request. Sorry about that!","type":"server_error","param":null,"code":null}}`)
	f(429, `{"error":{"message":"Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM)","type":"tokens","param":null,"code":"rate_limit_exceeded"}}`)
	f(429, `{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}`)
	f(400, `{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}`)
	f(404, "{\"error\":{\"message\":\"The model `x` does not exist\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"model_not_found\"}}")
	f(503, `{"error":{"message":"Our servers are currently overloaded.","type":"service_unavailable_error","param":null,"code":"server_is_overloaded"}}`)
	f(429, `{"type":"error","code":"rate_limit_exceeded","message":"Rate limit reached","param":null,"sequence_number":4}`)
	f(500, `{"id":"resp_1","object":"response","status":"failed","error":{"code":"server_error","message":"An error occurred"}}`)
	f(400, `{"error":{"message":"The response was filtered","type":null,"param":"prompt","code":"content_filter"}}`)
	// vLLM, since and before version 0.10
	f(400, `{"error":{"message":"This model's maximum context length is 4096 tokens.","type":"BadRequestError","param":null,"code":400}}`)
	f(500, `{"error":{"message":"EngineCore encountered an issue. See stack trace (above) for the root cause.","type":"InternalServerError","param":null,"code":500}}`)
	f(404, "{\"object\":\"error\",\"message\":\"The model `x` does not exist.\",\"type\":\"NotFoundError\",\"param\":null,\"code\":404}")
	f(400, `{"object":"error","message":"bad","type":"BadRequestError","param":null,"code":null}`)
	// SGLang
	f(400, `{"error":{"object":"error","message":"The input is longer than the model's context length.","type":"BadRequestError","param":null,"code":400}}`)
	f(503, `{"error":{"object":"error","message":"The request queue is full.","type":"SERVICE_UNAVAILABLE","param":null,"code":503}}`)
	f(500, `{"error":{"object":"error","message":"Aborted","type":"InternalServerError","param":null,"code":500}}`)
	// llama.cpp
	f(500, `{"code":500,"message":"context shift is disabled","type":"server_error"}`)
	f(400, `{"error":{"code":400,"message":"the request exceeds the available context size. try increasing the context size or enable context shift","type":"exceed_context_size_error","n_prompt_tokens":9412,"n_ctx":8192}}`)
	f(503, `{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}`)
	f(501, `{"error":{"code":501,"message":"This server does not support this","type":"not_supported_error"}}`)
	// Anthropic
	f(503, `{"type":"error","error":{"details":null,"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}`)
	f(500, `{"type":"error","error":{"type":"api_error","message":"Internal server error"}}`)
	f(429, `{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your account's rate limit."}}`)
	f(400, `{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 208310 tokens > 200000 maximum"}}`)
	f(401, `{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}`)
	f(403, `{"type":"error","error":{"type":"permission_error","message":"no"}}`)
	f(404, `{"type":"error","error":{"type":"not_found_error","message":"model: claude-x"}}`)
	// Google
	f(503, `{"error":{"code":503,"message":"The model is overloaded. Please try again later.","status":"UNAVAILABLE"}}`)
	f(429, `{"error":{"code":429,"message":"Resource has been exhausted (e.g. check quota).","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"31s"}]}}`)
	f(400, `{"error":{"code":400,"message":"Invalid JSON payload received.","status":"INVALID_ARGUMENT"}}`)
	f(503, `{"error":{"message":"busy","status":"UNAVAILABLE"}}`)
	f(429, `{"error":{"message":"busy","status":"RESOURCE_EXHAUSTED"}}`)
	// OpenRouter
	f(502, `{"id":"gen-1","provider":"x","error":{"code":502,"message":"Provider returned error","metadata":{"provider_name":"x","raw":"error"}},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}`)
	f(500, `{"id":"gen-1","object":"chat.completion.chunk","error":{"code":"server_error","message":"Provider disconnected unexpectedly"},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}`)
	f(400, `{"error":{"code":400,"message":"Token limit reached"}}`)
	f(429, `{"error":{"code":429,"message":"Rate limit exceeded: free-models-per-min."}}`)
	// Groq
	f(400, `{"error":{"message":"Tool call validation failed","type":"invalid_request_error","code":"tool_use_failed","failed_generation":"{}","status_code":400}}`)
	f(429, "{\"error\":{\"message\":\"Rate limit reached for model `x`\",\"type\":\"tokens\",\"code\":\"rate_limit_exceeded\"}}")
	f(503, `{"error":{"message":"x is currently over capacity.","type":"internal_server_error","code":"service_unavailable"}}`)
	// forms that say little
	f(500, ``)
	f(500, `not JSON`)
	f(500, `{}`)
	f(500, `null`)
	f(500, `[]`)
	f(500, `{"error":"out of memory"}`)
	f(500, `{"error":null}`)
	f(500, `{"error":{"code":200}}`)
	f(500, `{"error":{"code":1302,"message":"no"}}`)
	f(422, `{"error":{"code":"422"}}`)
	f(413, `{"error":{"status":413}}`)
	f(500, `{"error":{"code":-400}}`)
}
