package aigateway

import (
	"errors"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
)

// errBroken is returned to the proxy, which then aborts the client's connection,
// for an answer that broke after its first byte had gone out.
var errBroken = errors.New("answer broke off")

// unheard reports whether the stream ended in an error event that OpenAI's clients
// hand out like any other: openai-node 6.49 raises no exception for that of
// responses. An aborted transfer makes it do so.
func (rl *relay) unheard() bool {
	if rl.stream == nil || rl.attempt.exchange.route.stream != openai.Responses {
		return false
	}
	_, failed := rl.stream.Failed()
	return failed && !rl.stream.Ended()
}

// brokenCode is the code of the error event in a stream that ended for why.
func brokenCode(why reason) string {
	if why == reasonShutdown {
		return "gateway_shutdown"
	}
	return "upstream_" + string(why)
}

// brokenText tells a client's programmer why a stream ended.
func brokenText(why reason) string {
	switch why {
	case reasonStall:
		return "the model server fell silent in the middle of its answer"
	case reasonTotal:
		return "the answer took longer than the gateway allows"
	case reasonCut:
		return "the model server ended its answer before it was whole"
	case reasonShutdown:
		return "the gateway is being stopped in the middle of its answer"
	default:
		return "the connection to the model server broke in the middle of its answer"
	}
}
