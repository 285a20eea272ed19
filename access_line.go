package aigateway

import (
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// accessLine writes the line of the access log for a request with a key where Caddy would
// show it: it masks Authorization, but no other field, nor a query, and it has
// copied them for its line before any handler is asked.
type accessLine struct {
	request *http.Request // without what it hides
	writer  caddyhttp.ResponseRecorder
	began   time.Time
	logger  *zap.Logger
	told    *exchange // nil if the request was refused before it began
}

// newAccessLine takes the line of r over from Caddy, if there would be one, and returns
// nil otherwise. It hides the query if that holds a key, one of keys or another one; there
// may be none. W is what Caddy gave the handler.
func newAccessLine(logger *zap.Logger, w http.ResponseWriter, r *http.Request, keys *keyring) *accessLine {
	inQuery := secretQuery(r.URL.RawQuery) || keys.inQuery(r.URL.RawQuery)
	if !inQuery && !shownByCaddy(r.Header) {
		return nil
	}
	skip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.LogSkipVar).(bool)
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if skip || !ok || server.Logs == nil || server.Logs.ShouldLogCredentials && !inQuery {
		return nil
	}
	recorder, ok := w.(caddyhttp.ResponseRecorder)
	for !ok {
		wrapped, more := w.(interface{ Unwrap() http.ResponseWriter })
		if !more {
			return nil // nobody wants a line
		}
		w = wrapped.Unwrap()
		recorder, ok = w.(caddyhttp.ResponseRecorder)
	}
	caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	shown := r.Clone(r.Context())
	for _, name := range keyFields[1:] {
		if shown.Header[name] != nil && !server.Logs.ShouldLogCredentials {
			shown.Header[name] = []string{"REDACTED"}
		}
	}
	if !server.Logs.ShouldLogCredentials {
		hideProtocolKey(shown.Header, "REDACTED")
	}
	if inQuery {
		shown.RequestURI, _, _ = strings.Cut(r.RequestURI, "?")
		shown.RequestURI += "?REDACTED"
	}
	return &accessLine{request: shown, writer: recorder, began: time.Now(), logger: logger}
}

// shownByCaddy reports whether a header has a key in a field that Caddy does not mask.
func shownByCaddy(h http.Header) bool {
	_, ok := protocolKey(h)
	return ok || h["X-Api-Key"] != nil || h["Api-Key"] != nil
}

// tells lets the line say what x tells of itself.
func (l *accessLine) tells(x *exchange) {
	if l != nil {
		l.told = x
	}
}

// write writes the line, as Caddy would, once the answer has gone out.
func (l *accessLine) write() {
	if l == nil {
		return
	}
	r := l.request
	server := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	level := zap.InfoLevel
	if l.writer.Status() >= 500 {
		level = zap.ErrorLevel
	}
	replacer := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	user, _ := replacer.GetString("http.auth.user.id")
	fields := []zap.Field{
		zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: r, ShouldLogCredentials: server.Logs.ShouldLogCredentials}),
		zap.Int("bytes_read", int(max(0, r.ContentLength))), zap.String("user_id", user), zap.Duration("duration", time.Since(l.began)),
		zap.Int("size", l.writer.Size()), zap.Int("status", l.writer.Status()),
		zap.Object("resp_headers", caddyhttp.LoggableHTTPHeader{Header: l.writer.Header(), ShouldLogCredentials: server.Logs.ShouldLogCredentials}),
	}
	if l.told != nil {
		fields = append(fields, zap.Object("ai_gateway", l.told))
	}
	for _, name := range loggerNames(server.Logs, r) {
		logger := l.logger
		if name != "" {
			logger = logger.Named(name)
		}
		if c := logger.Check(level, "handled request"); c != nil {
			c.Write(fields...)
		}
	}
}

// loggerNames returns the names of the access logs of a request: those that log_name
// sets, or else those of its host.
func loggerNames(logs *caddyhttp.ServerLogConfig, r *http.Request) (names []string) {
	if set, ok := caddyhttp.GetVar(r.Context(), caddyhttp.AccessLoggerNameVarKey).([]any); ok {
		for _, name := range set {
			text, _ := name.(string)
			names = append(names, text)
		}
		return names
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	host = strings.ToLower(host)
	if names, ok := logs.LoggerNames[host]; ok {
		return names
	}
	labels := strings.Split(host, ".")
	for n := range labels {
		labels[n] = "*"
		if names, ok := logs.LoggerNames[strings.Join(labels, ".")]; ok && labels[n] != "" {
			return names
		}
	}
	return []string{logs.DefaultLoggerName}
}
