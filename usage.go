package aigateway

import (
	"bytes"
	"io"
	"net/http"
	"slices"

	"go.uber.org/zap"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/splice"
)

// usage is what is known of the tokens of an attempt or an exchange.
type usage struct {
	openai.Usage
	source usageSource
}

// usageSource says who has counted tokens. What the gateway estimates is never added to
// what answers tell.
type usageSource uint8

const (
	usageUnknown usageSource = iota
	usageTold                // by the answer
	usageEstimated
)

// tellers are the engines that tell the usage of a stream when asked, in a chunk of its
// own, and otherwise send the bytes that they would send unasked, but for what
// [openai.Cutter] puts back. Ollama writes zeros into every chunk of completions when
// asked; llama.cpp tells theirs unasked. TGI is left out: it writes null into every
// chunk when asked, as OpenAI does and vLLM did in 2024.
var tellers = map[string][]openai.Dialect{
	"vllm":      {openai.Chat, openai.Completions},
	"sglang":    {openai.Chat, openai.Completions},
	"llama.cpp": {openai.Chat},
	"ollama":    {openai.Chat},
}

// asked returns the dialects whose streams the instance is asked for the usage of.
func (c *InstanceConfig) asked() []openai.Dialect {
	switch {
	case c.AskUsage == nil:
		return tellers[c.Engine]
	case *c.AskUsage:
		return []openai.Dialect{openai.Chat, openai.Completions}
	default:
		return nil
	}
}

var (
	usageMember  = []byte(`"stream_options":{"include_usage":true},`)
	usageOptions = []byte(`{"include_usage":true}`)
	usageOn      = []byte(`true`)
)

// usageEdit returns the edit with which the body asks for the usage of its stream on
// the gateway's behalf. It reports false if the instance is not to be asked, or the
// client has asked itself, or in a way that the gateway does not know. With several
// choices it is unknown which chunks lack what a server puts into the last.
func (a *attempt) usageEdit() (e edit, asks bool) {
	x, i := a.exchange, a.instance
	if !x.ask.stream || !i.asks(x.route.stream) || x.severalChoices() {
		return edit{}, false
	}
	body, place := x.body.bytes, x.ask.streamOptions
	switch place.Kind(body) {
	case "nothing":
		start := bytes.IndexByte(body, '{') + 1 // of an object that has a member stream
		return edit{splice.Value{Start: start, End: start}, usageMember}, true
	case "null":
		return edit{place, usageOptions}, true
	case "an object":
		return includeUsage(body, place)
	}
	return edit{}, false
}

// includeUsage is [attempt.usageEdit] for stream_options that are an object, at place in
// body.
func includeUsage(body []byte, place splice.Value) (e edit, asks bool) {
	var found [2]splice.Value
	// Whoever wants usage in every chunk gets what the server makes of it.
	err := splice.Scan(place.Raw(body), maxDepth, []string{"include_usage", "continuous_usage_stats"}, found[:])
	if err != nil || found[1].Found() {
		return edit{}, false
	}
	if !found[0].Found() {
		return insertMember(body, place, "include_usage", usageOn), true
	}
	switch string(found[0].Raw(place.Raw(body))) {
	case "false", "null":
		return edit{splice.Value{Start: place.Start + found[0].Start, End: place.Start + found[0].End}, usageOn}, true
	}
	return edit{}, false
}

// asks reports whether the instance is to be asked for the usage of a stream.
func (i *instance) asks(d openai.Dialect) bool {
	return slices.Contains(i.asked, d) && !i.refuses.Load()
}

// withdraw takes an answer with an error status to a request that asks for the usage
// on the gateway's behalf. If the error may be about that, the request is sent once
// more as the client has made it, within the same attempt; and if that does better, the
// instance is not asked again until the next swap.
func (a *attempt) withdraw(res *http.Response, again func() (*http.Response, error)) (*http.Response, error) {
	text, err := io.ReadAll(io.LimitReader(res.Body, maxReply))
	if err != nil || !bytes.Contains(text, []byte("stream_options")) && !bytes.Contains(text, []byte("include_usage")) {
		res.Body = &prefixed{io.MultiReader(bytes.NewReader(text), res.Body), res.Body}
		return res, nil
	}
	res.Body.Close()
	a.asks = false
	res, err = again()
	if err == nil && res.StatusCode < http.StatusBadRequest {
		a.refuses()
	}
	return res, err
}

// refuses notes that the instance cannot be asked for the usage of streams.
func (a *attempt) refuses() {
	if a.instance.refuses.Swap(true) {
		return
	}
	a.exchange.events.Warn("instance cannot be asked for usage", zap.String("request_id", a.exchange.id),
		zap.String("upstream", a.instance.id), zap.String("name", a.instance.name), zap.String("model", a.instance.model))
}

// bytesPerToken is how long a token of a prompt is taken to be. English text has
// about 4 bytes a token, Chinese about 3.
const bytesPerToken = 4

// estimate returns what a stream has cost that does not tell its usage: a token for
// each piece of it, and one for every few bytes of the request.
func (x *exchange) estimate(pieces int) usage {
	u := openai.Usage{Prompt: promptTokens(x), Completion: int64(pieces)}
	u.Total = u.Prompt + u.Completion
	return usage{u, usageEstimated}
}

var dataURL = []byte(";base64,")

// textSize is the length of a request's body without what data: URLs hold, and the
// number of these.
func textSize(body []byte) (size, parts int) {
	size = len(body)
	for at := bytes.Index(body, dataURL); at >= 0; at = bytes.Index(body, dataURL) {
		body = body[at+len(dataURL):]
		if end := bytes.IndexByte(body, '"'); end >= 0 {
			size -= end
			body = body[end:]
		}
		parts++
	}
	return size, parts
}
