package aigateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/balance"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/engine"
)

// newPollTransport returns the transport that instances are asked by about themselves: with
// the dialler, proxy and TLS settings of the stock one, and next to no idle connections.
func newPollTransport(stock *http.Transport) *http.Transport {
	t := &http.Transport{
		DialContext: stock.DialContext, Proxy: stock.Proxy, TLSHandshakeTimeout: stock.TLSHandshakeTimeout,
		DisableKeepAlives: stock.DisableKeepAlives, DisableCompression: true,
		MaxIdleConns: 4 * maxPolls, MaxIdleConnsPerHost: 1, MaxConnsPerHost: 2, IdleConnTimeout: 4 * time.Second,
		MaxResponseHeaderBytes: 64 << 10, WriteBufferSize: 1 << 10, ReadBufferSize: 32 << 10,
	}
	if stock.TLSClientConfig != nil {
		t.TLSClientConfig = stock.TLSClientConfig.Clone()
		t.TLSClientConfig.NextProtos = nil
	}
	return t
}

// polled reports whether the instance is asked about itself. One at a public address, as of
// a cloud, is only if the file says which engine it is: others have nothing to tell.
// A scout is in any case, and speaks for the models that it has discovered.
func (i *instance) polled() bool {
	return i.scouts() || i.scout == nil && (i.engine != "" || isPrivateHost(hostname(i.host)))
}

// like reports whether i, which is the same instance, is asked in the same way.
func (one *poll) like(i *instance) bool {
	was := one.newest
	return was.engine == i.engine && was.authorization == i.authorization &&
		maps.EqualFunc(was.headers, i.headers, slices.Equal) && maps.Equal(was.paths, i.paths)
}

// ask asks the instance for what is due, and notes what it says.
func (one *poll) ask(ctx context.Context, s *store, settings polling, gauges bool) {
	ctx = context.WithValue(ctx, pollTimeout{}, settings.timeout)
	if now := clock(); now >= one.survey {
		told, err := one.server.Survey(ctx)
		if err != nil && !errors.Is(err, engine.ErrUntold) {
			one.errors++
			return
		}
		one.learns(s, told, clock())
	}
	about := slices.Concat(one.following, []*instance{one.instance})
	before := make([]int64, len(about))
	for n, i := range about {
		before[n] = i.state.inFlight.Load()
	}
	look, err := one.server.Look(ctx, gauges)
	now := clock()
	for n, i := range about {
		own := max(before[n], i.state.inFlight.Load())
		i.state.load.Observe(balance.Gauges{Running: look.Gauges.Running, Waiting: look.Gauges.Waiting, KV: look.Gauges.KV}, own, now)
		if tells(look.Gauges) {
			i.state.told.Store(&toldLoad{look.Gauges, now})
		}
	}
	one.hears(s, look.State, now, 3*settings.interval+settings.timeout)
	if err != nil {
		one.errors++
		one.survey = 0 // it may be another one when it answers again
		return
	}
	one.errors = 0
}

// learns keeps what the instance has told of itself.
func (one *poll) learns(s *store, told engine.Facts, now time.Duration) {
	one.survey = now + surveyTime
	switch told.Engine {
	case "": // it is in trouble
		one.survey = now + longestSilence
		return
	case engine.Generic:
		if !one.scouts() {
			one.survey = now + seldomTime
		}
	default:
	}
	fresh := &facts{Facts: told, detected: one.engine == "", at: now}
	before := one.state.facts.Swap(fresh)
	for _, i := range one.following {
		i.state.facts.Store(fresh)
	}
	if one.scouts() {
		s.discovers(one.instance, before)
	}
}

// hears lets the instance rest for wait while it loads or sleeps, and ends that rest as soon
// as it says that it is ready.
func (one *poll) hears(s *store, state engine.State, now, wait time.Duration) {
	if state != engine.Unknown {
		if one.told != engine.Unknown && one.told != state {
			one.survey = 0 // what it did not tell while it loaded
		}
		one.told = state
	}
	for _, i := range one.following {
		i.hears(s, state, now, wait)
	}
	if !one.scouts() {
		one.instance.hears(s, state, now, wait)
	}
}

func (i *instance) hears(s *store, state engine.State, now, wait time.Duration) {
	switch h := &i.state.health; state {
	case engine.Loading:
		h.dozes(reasonLoading, now, wait)
		s.events.rests(i)
	case engine.Sleeping:
		h.dozes(reasonSleeping, now, wait)
		s.events.rests(i)
	case engine.Ready:
		h.wakes(now)
	default:
	}
}

// pollTimeout is the key of a context's time for each question.
type pollTimeout struct{}

// polledKey is the key of the instance that a question goes to.
type polledKey struct{}

var errTooLong = errors.New("answer is too long")

// get asks the instance for a path, with its own key and headers.
func (one *poll) get(ctx context.Context, path string) (engine.Answer, error) {
	timeout, _ := ctx.Value(pollTimeout{}).(time.Duration)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	rt := &route{path: path}
	if rest, ok := strings.CutPrefix(path, "/v1"); ok {
		rt.rest = rest
	}
	target, query := one.target(rt)
	ctx = context.WithValue(ctx, polledKey{}, one.instance)
	u := url.URL{Scheme: one.scheme, Host: one.dials, Path: target, RawQuery: query}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return engine.Answer{}, err
	}
	r.Host = one.host
	if t, ok := one.transport.(*http.Transport); ok && r.URL.Host != one.host && t.Proxy != nil {
		if by, err := t.Proxy(r); err == nil && by != nil {
			r.URL.Host = one.host // the proxy looks the name up itself
		}
	}
	r.Header.Set("User-Agent", "caddy-ai-gateway")
	if one.authorization != "" {
		r.Header.Set("Authorization", one.authorization)
	}
	maps.Copy(r.Header, one.headers)
	res, err := one.transport.RoundTrip(r)
	if err != nil {
		return engine.Answer{}, err
	}
	defer res.Body.Close()
	one.body.Reset()
	if _, err := one.body.ReadFrom(io.LimitReader(res.Body, engine.MaxAnswer+1)); err != nil {
		return engine.Answer{}, fmt.Errorf("reading the answer: %w", err)
	}
	if one.body.Len() > engine.MaxAnswer {
		one.body = bytes.Buffer{}
		return engine.Answer{}, errTooLong
	}
	return engine.Answer{Status: res.StatusCode, Server: res.Header.Get("Server"), Body: one.body.Bytes()}, nil
}
