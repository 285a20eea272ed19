package aigateway

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/limit"
)

const (
	// maxWrongKeys is how many wrong keys from one address are looked up in a minute.
	maxWrongKeys = 30
	// maxStrangers is how many addresses that present wrong keys are remembered.
	maxStrangers = 10_000
)

// keyFields are the fields that a key may stand in: of OpenAI's clients, of Anthropic's,
// and of Azure's. None of them goes on to an instance.
var keyFields = [...]string{"Authorization", "X-Api-Key", "Api-Key"}

// A browser's WebSocket can set no field but the protocols that it offers. Clients of
// OpenAI's realtime API send their key as one of them, behind this prefix.
const (
	protocolField  = "Sec-Websocket-Protocol"
	protocolPrefix = "openai-insecure-api-key."
)

const (
	keyChallenge   = `Bearer realm="caddy-ai-gateway"`
	wrongChallenge = keyChallenge + `, error="invalid_token"`
	basicChallenge = `Basic realm="caddy-ai-gateway", charset="UTF-8"`
)

// admits finds out who asks, and answers those who may not. The key is nil for a route that
// needs none, and if there are no keys. It is taken out of the request, so that nothing
// behind sees it; without keys it is the instance's.
func (s *store) admits(w http.ResponseWriter, r *http.Request, rt *route, keys *keyring) (key *clientKey, ok bool) {
	if keys == nil {
		s.warnOpen(r)
		return nil, true
	}
	key, f := s.identify(r, rt, keys)
	for _, name := range keyFields {
		delete(r.Header, name)
	}
	hideProtocolKey(r.Header, "")
	if f == nil {
		return key, true
	}
	leaveBody(w, r)
	if rt.service == serveProxy {
		unknownCounts.ended[endRefused].Add(1)
	}
	f.write(w, rt.dialect)
	return nil, false
}

// warnOpen tells once that the gateway asks nobody for a key, if r has come by a listener
// that is not for this machine alone.
func (s *store) warnOpen(r *http.Request) {
	if s.openTold.Load() {
		return
	}
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || s.private.Load() == server {
		return
	}
	if !slices.ContainsFunc(server.Listen, isReachable) {
		s.private.Store(server)
		return
	}
	if !s.openTold.CompareAndSwap(false, true) {
		return
	}
	s.logger.Load().Warn("the gateway is open to everybody who can reach it: the fleet's file has no keys",
		zap.String("path", s.path), zap.Strings("listen", server.Listen))
}

// isReachable reports whether a listener's address can be reached from other machines.
func isReachable(address string) bool {
	a, err := caddy.ParseNetworkAddress(address)
	if err != nil || a.IsUnixNetwork() || a.IsFdNetwork() {
		return false
	}
	ip, err := netip.ParseAddr(a.Host)
	return a.Host != "localhost" && (err != nil || !ip.Unmap().IsLoopback())
}

// identify returns the key of a request, or why it is refused.
func (s *store) identify(r *http.Request, rt *route, keys *keyring) (*clientKey, *denial) {
	if rt.service != serveProxy && rt.service != serveModels && rt.service != serveHealth && rt.service != serveIndex {
		return nil, nil //nolint:nilnil // nobody is asked for a key there
	}
	if rt.service == serveHealth && !sendsKey(r) {
		return nil, nil //nolint:nilnil // it gets no details
	}
	place := placeOf(r)
	if wait := s.strangers.Blocked(clock(), place); wait > 0 {
		return nil, &denial{reason: refusedAddress, wait: wait, apiError: apiError{
			Status: http.StatusTooManyRequests, Type: "rate_limit_error", Code: "too_many_wrong_keys", Message: "too many wrong API keys came from this address",
		}}
	}
	if keys.inQuery(r.URL.RawQuery) {
		return nil, &denial{reason: refusedQuery, final: true, apiError: *badRequest("key_in_query", "",
			"an API key stands in the URL, where logs keep it; send it as Authorization: Bearer, and replace it")}
	}
	key, sent := keys.of(r, rt.service == serveIndex || rt.service == serveHealth)
	switch {
	case key == nil && sent:
		s.stranger(place)
	case key != nil && rt.service == serveIndex && !key.status:
		return nil, &denial{reason: refusedStatusPage, final: true, apiError: apiError{
			Status: http.StatusForbidden, Type: "invalid_request_error", Code: "status_not_allowed", Message: "this API key may not see the status page",
		}}
	}
	if key != nil {
		return key, nil
	}
	f := &denial{reason: refusedNoKey, challenge: keyChallenge, apiError: apiError{
		Status: http.StatusUnauthorized, Type: "invalid_request_error", Code: "invalid_api_key", Message: "missing or wrong API key",
	}}
	if sent {
		f.reason, f.challenge = refusedKey, wrongChallenge
	}
	if rt.service == serveIndex { // a browser knows no other
		f.challenge = basicChallenge
	}
	return nil, f
}

// of returns the valid key that a request is sent with, or nil, and whether one is sent
// at all. Of several the first that is known counts. With basic the password of HTTP's
// own authentication is one too.
func (r *keyring) of(req *http.Request, basic bool) (key *clientKey, sent bool) {
	now := time.Now()
	basicSent := false // which may be for Caddy's own authentication
	for n, name := range keyFields {
		values := req.Header[name]
		if len(values) == 0 {
			continue
		}
		text := values[0]
		if n == 0 {
			scheme, rest, _ := strings.Cut(text, " ")
			switch {
			case strings.EqualFold(scheme, "Bearer"):
				text = strings.Trim(rest, " ")
			case basic && strings.EqualFold(scheme, "Basic"):
				_, text, _ = req.BasicAuth()
				basicSent = true
			default:
				continue
			}
		}
		sent = sent || !basicSent || n > 0
		if key = r.find(text, now); key != nil && len(values) == 1 {
			return key, true
		}
	}
	if text, ok := protocolKey(req.Header); ok {
		if sent, key = true, r.find(text, now); key != nil {
			return key, true
		}
	}
	if sent || len(r.byUser) == 0 {
		return nil, sent || basicSent
	}
	if replacer, ok := req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		user, _ := replacer.GetString("http.auth.user.id")
		if key = r.byUser[user]; user != "" && key != nil && key.valid(now) {
			return key, true
		}
	}
	return nil, basicSent
}

// protocolKey returns the key that is offered as a protocol of a WebSocket.
func protocolKey(h http.Header) (key string, ok bool) {
	for _, value := range h[protocolField] {
		for item := range strings.SplitSeq(value, ",") {
			if key, ok = strings.CutPrefix(strings.Trim(item, " \t"), protocolPrefix); ok {
				return key, true
			}
		}
	}
	return "", false
}

// hideProtocolKey puts shown in the place of keys that are offered as protocols, or takes
// them out if that is empty. The slices of h are not written to.
func hideProtocolKey(h http.Header, shown string) {
	if _, ok := protocolKey(h); !ok {
		return
	}
	var rest []string
	for _, value := range h[protocolField] {
		for item := range strings.SplitSeq(value, ",") {
			if item = strings.Trim(item, " \t"); strings.HasPrefix(item, protocolPrefix) {
				item = shown
			}
			if item != "" {
				rest = append(rest, item)
			}
		}
	}
	if delete(h, protocolField); len(rest) > 0 {
		h[protocolField] = []string{strings.Join(rest, ", ")}
	}
}

// sendsKey reports whether r has a field that may hold a key.
func sendsKey(r *http.Request) bool {
	for _, name := range keyFields {
		if r.Header[name] != nil {
			return true
		}
	}
	return r.URL.RawQuery != ""
}

// inQuery reports whether a query holds what looks like a key of the gateway, or is one.
// The keyring may be nil.
func (r *keyring) inQuery(query string) bool {
	if query == "" || r == nil {
		return false
	}
	now := time.Now()
	for part := range strings.FieldsFuncSeq(query, func(c rune) bool { return c == '&' || c == ';' || c == '=' }) {
		text, err := url.QueryUnescape(part)
		if err != nil {
			text = part
		}
		if strings.HasPrefix(text, keyPrefix) && len(text) >= minKey || r.find(text, now) != nil {
			return true
		}
	}
	return false
}

// placeOf returns the part of the network that a request comes from, as Caddy's
// trusted_proxies find it.
func placeOf(r *http.Request) netip.Prefix {
	text, ok := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	if !ok {
		text = r.RemoteAddr
		if end := strings.LastIndexByte(text, ':'); end >= 0 {
			text = strings.Trim(text[:end], "[]")
		}
	}
	address, _ := netip.ParseAddr(text) // a Unix socket's clients have none, and count together
	return limit.Place(address)
}

// stranger counts a wrong key.
func (s *store) stranger(place netip.Prefix) {
	if s.strangers.Fail(clock(), place) {
		s.logger.Load().Warn("many wrong keys from one address, nothing more is heard from there for a minute",
			zap.Stringer("address", place), zap.Int("count", maxWrongKeys))
	}
}
