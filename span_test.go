package aigateway

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/simpleaigateway/caddy-ai-gateway/echomodel"
)

func init() {
	caddy.RegisterModule(new(traced))
	httpcaddyfile.RegisterHandlerDirective("traced", func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) { return new(traced), nil })
	httpcaddyfile.RegisterDirectiveOrder("traced", httpcaddyfile.After, "tracing")
}

// spans keeps what traced records.
var spans = tracetest.NewSpanRecorder()

// traced does what Caddy's handler tracing does, which exports to a server: it puts a
// span into the context and its name into the header.
type traced struct{}

func (*traced) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.traced", New: func() caddy.Module { return new(traced) }}
}

func (*traced) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	ctx, span := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test").Start(r.Context(), "handler")
	defer span.End()
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(r.Header))
	return next.ServeHTTP(w, r.WithContext(ctx))
}

// TestSpans guards that every attempt is a span below the handler's, which the
// instance is told of, with what OpenTelemetry's conventions for models ask for.
func TestSpans(t *testing.T) {
	spans.Reset()
	a := startStandIn(t, "a")
	f := startWitness(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5}}`))
	})
	a.plays(echomodel.Script{Fault: "status", Status: 500})
	g := startTraced(t, `{"record": {"enabled": false}, "instances": [{"url": "`+a.url+`", "model_name": "m"}],
		"fallback_instances": [{"url": "`+f.URL+`/v1", "model_name": "m", "upstream_model": "big"}]}`)
	wantWhole(t, g.sends(t, "/v1/chat/completions", `{"model": "m", "messages": [{"role": "user", "content": "my prompt"}]}`))
	var ended []sdktrace.ReadOnlySpan
	eventually(t, "three spans", func() bool {
		ended = spans.Ended()
		return len(ended) == 3
	})
	first, second, handler := ended[0], ended[1], ended[2]
	attributes := func(s sdktrace.ReadOnlySpan) string {
		var all []string
		for _, kv := range s.Attributes() {
			if key := string(kv.Key); !strings.HasPrefix(key, "server.") && key != "ai_gateway.request_id" && key != "ai_gateway.upstream" {
				all = append(all, key+"="+kv.Value.String())
			}
		}
		return strings.Join(all, " ")
	}
	for n, c := range []struct {
		span       sdktrace.ReadOnlySpan
		name, want string
		code       codes.Code
	}{
		{first, "chat m", "gen_ai.request.model=m ai_gateway.tier=primary ai_gateway.attempt=1 gen_ai.operation.name=chat ai_gateway.outcome=failed error.type=status", codes.Error},
		{second, "chat big", "gen_ai.request.model=big ai_gateway.tier=fallback ai_gateway.attempt=2 gen_ai.operation.name=chat ai_gateway.outcome=ok " +
			"gen_ai.usage.input_tokens=7 gen_ai.usage.output_tokens=5", codes.Unset},
	} {
		if c.span.Name() != c.name || c.span.Status().Code != c.code {
			t.Errorf("span %d: got %q with status %v, want %q with %v", n, c.span.Name(), c.span.Status().Code, c.name, c.code)
		}
		if got := attributes(c.span); got != c.want {
			t.Errorf("span %d: got %s\nwant %s", n, got, c.want)
		}
		if c.span.Parent().SpanID() != handler.SpanContext().SpanID() {
			t.Errorf("span %d: got parent %v, want %v", n, c.span.Parent().SpanID(), handler.SpanContext().SpanID())
		}
	}
	if got, want := f.last(t).header.Get("Traceparent"), second.SpanContext().SpanID().String(); !strings.Contains(got, want) {
		t.Errorf("the instance got traceparent %q, want span %s", got, want)
	}
}
