package aigateway

import (
	"context"
	"net"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// tracerName names the gateway in spans.
const tracerName = "github.com/simpleaigateway/caddy-ai-gateway"

// operations are the words of OpenTelemetry's GenAI conventions (in development, as of
// semantic-conventions 1.40) for the routes that have one.
var operations = map[string]string{
	"/v1/chat/completions": "chat", "/v1/messages": "chat", "/v1/responses": "chat", "/v1/completions": "text_completion", "/v1/embeddings": "embeddings",
}

// trace begins a span for the attempt below the one of Caddy's handler tracing, if
// that is there and recorded. The instance is told the span in place of its parent.
func (a *attempt) trace(ctx context.Context, f *fields) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return
	}
	x, i := a.exchange, a.instance
	model := x.ask.model
	if name, _ := a.renames(); name != "" {
		model = name
	}
	host, port, _ := net.SplitHostPort(i.upstream.Dial)
	number, _ := strconv.Atoi(port) // a name of a service is none
	attributes := []attribute.KeyValue{
		attribute.String("gen_ai.request.model", model), attribute.String("server.address", host), attribute.Int("server.port", number),
		attribute.String("ai_gateway.request_id", x.id), attribute.String("ai_gateway.upstream", i.id), attribute.String("ai_gateway.tier", i.tier.String()),
		attribute.Int("ai_gateway.attempt", len(x.tried)),
	}
	operation := operations[x.route.path]
	if operation == "" {
		operation = "request"
	} else {
		attributes = append(attributes, attribute.String("gen_ai.operation.name", operation))
	}
	ctx, a.span = parent.TracerProvider().Tracer(tracerName).Start(ctx, operation+" "+model,
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...))
	if f.values("Traceparent") != nil {
		propagation.TraceContext{}.Inject(ctx, f)
	}
}

// endSpan ends the attempt's span, if it has one.
func (a *attempt) endSpan(v verdict) {
	if a.span == nil {
		return
	}
	a.span.SetAttributes(attribute.String("ai_gateway.outcome", v.outcome.String()))
	if v.reason != reasonNone {
		a.span.SetAttributes(attribute.String("error.type", string(v.reason)))
	}
	if (attemptEnd{v.outcome, v.reason}).errs() {
		a.span.SetStatus(codes.Error, v.outcome.String())
	}
	if a.usage.source == usageTold {
		a.span.SetAttributes(attribute.Int64("gen_ai.usage.input_tokens", a.usage.Prompt), attribute.Int64("gen_ai.usage.output_tokens", a.usage.Completion))
	}
	a.span.End()
}
