package aigateway

import (
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	placeholderPrefix = "http.ai_gateway."
	// otherModel stands in metrics and logs for whatever a client asks for that no
	// instance of the file serves.
	otherModel = "_other"
)

// told are the names of what an exchange tells of itself, as placeholders behind
// placeholderPrefix and as fields of the access log.
var told = []string{
	"request_id", "key", "model", "upstream", "tier", "attempts", "retries", "fallback", "overflow", "outcome", "reason", "queued", "ttft", "tokens_prompt", "tokens_completion", "estimated",
}

// tells lets placeholders and the access log ask x how it stands. They ask when they
// are used, so nothing is worked out for requests that nobody asks about.
func (x *exchange) tells() {
	ctx := x.request.Context()
	ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer).Map(x.placeholder)
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok && server.Logs != nil {
		if extra, ok := ctx.Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
			extra.Set(zap.Object("ai_gateway", x))
		}
	}
}

// placeholder returns the value of a placeholder of the gateway, or of one of the
// proxy if the request has not gone through it.
func (x *exchange) placeholder(key string) (any, bool) {
	if name, ok := strings.CutPrefix(key, placeholderPrefix); ok {
		return x.tell(name)
	}
	return x.direct.get(x, key)
}

// tell returns what x tells under one of the names in told; nil if there is nothing
// to tell.
func (x *exchange) tell(name string) (value any, known bool) {
	var last *instance
	if n := len(x.tried); n > 0 {
		last = x.tried[n-1]
	}
	switch name {
	case "request_id":
		return x.id, true
	case "model":
		if x.pool == nil {
			return otherModel, true
		}
		return x.home().model, true
	case "overflow":
		if x.length.instead != "" {
			value = x.length.instead
		}
	case "key":
		if x.key != nil {
			value = x.key.name
		}
	case "attempts":
		return len(x.tried), true
	case "retries":
		return max(0, len(x.tried)-1), true
	case "fallback":
		return last != nil && last.tier == fallback, true
	case "outcome":
		return endName(x.outcome()), true
	case "reason":
		return string(x.last.reason), true
	case "upstream":
		if last != nil {
			value = last.id
		}
	case "tier":
		if last != nil {
			value = last.tier.String()
		}
	case "queued":
		if x.line.time > 0 {
			value = x.line.time.Seconds()
		}
	case "ttft":
		if x.ttft > 0 {
			value = x.ttft.Seconds()
		}
	case "tokens_prompt":
		if x.usage.source != usageUnknown {
			value = x.usage.Prompt
		}
	case "tokens_completion":
		if x.usage.source != usageUnknown {
			value = x.usage.Completion
		}
	case "estimated":
		if x.usage.source == usageEstimated {
			value = true
		}
	default:
		return nil, false
	}
	return value, true
}

// MarshalLogObject writes what x tells to the access log, without what there is
// not.
func (x *exchange) MarshalLogObject(e zapcore.ObjectEncoder) error {
	for _, name := range told {
		if value, _ := x.tell(name); value != nil && value != "" {
			zap.Any(name, value).AddTo(e)
		}
	}
	return nil
}
