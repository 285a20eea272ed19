package aigateway

import (
	"context"
	"net"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
)

// attempt is one instance's try at an exchange: a lease, deadlines, and in the end
// a verdict. It belongs to the request's goroutine; its context and its watchdog
// are used from others.
type attempt struct {
	exchange *exchange
	instance *instance
	trial    bool
	begun    time.Duration
	upgraded bool
	underway member[*attempt] // of streams

	ctx         context.Context // of the instance's connection, while the attempt lasts
	plain       bool            // [http1.Transport] makes it
	life        life            // ctx, if plain
	provisional earlyAnswers
	watch       watchdog
	elsewhere   elsewhere // for watch, if it has a deadline for the first token
	relay       relay
	settled     bool
	rest        time.Duration // that the instance asks for

	answered time.Duration // when the answer began; 0 before
	asks     bool          // for the usage of a stream, as the client does not
	usage    usage
	span     trace.Span // nil if nobody traces
	work     int64      // tokens that are counted as the instance's load
}

// attemptContext is the context of a request that the standard transport makes. It embeds a
// cancelable context of the standard library, which the transport recognizes.
type attemptContext struct {
	context.Context
	attempt *attempt
	// vars has the request variables that the stock transport and dialler look at.
	// The dialler does so from a goroutine that can outlive the attempt, while later
	// handlers write to the table itself.
	vars map[string]any
	// trace takes the place of the proxy's, which it calls.
	trace httptrace.ClientTrace
}

type attemptKey struct{}

// traceKey is the key of a context's trace, which net/http/httptrace keeps to itself.
var traceKey = func() any {
	var c keyCatcher
	httptrace.ContextClientTrace(&c)
	return c.key
}()

// keyCatcher is a context that notes the key it is asked for.
type keyCatcher struct {
	context.Context
	key any
}

func (c *keyCatcher) Value(key any) any {
	c.key = key
	return nil
}

func (c *attemptContext) Value(key any) any {
	switch key {
	case attemptKey{}:
		return c.attempt
	case caddyhttp.VarsCtxKey:
		return c.vars
	case traceKey:
		return &c.trace
	}
	return c.Context.Value(key)
}

// start opens the attempt's context below parent, for [http1.Transport] or the standard
// one, and begins the watch.
func (a *attempt) start(parent context.Context) {
	if a.plain {
		a.life.begin(parent, a)
		a.ctx, a.watch.ends = &a.life, &a.life
	} else {
		ctx, cancel := context.WithCancelCause(parent)
		a.ctx, a.watch.ends = ctx, endFunc(cancel)
	}
	d := &a.instance.deadlines
	if d.total > 0 {
		a.watch.total = a.exchange.began + d.total
	}
	limit := time.Duration(0)
	if x := a.exchange; d.firstToken > 0 && x.ask.stream {
		if other, ok := x.elsewhere(); ok {
			a.elsewhere, a.watch.spares = other, &a.elsewhere
			limit, _ = a.instance.firstTokenFor(int64(len(x.body.bytes)), a.begun-x.began, &x.snap.retries, a.begun)
		}
	}
	if limit == 0 && d.stall > 0 {
		// The watch over stalls, which comes next, then finds a timer that will do.
		a.watch.begin(a.begun, reasonNone, d.stall)
	} else {
		a.watch.begin(a.begun, reasonFirstToken, limit)
	}
	if a.exchange.ask.stream {
		streams.add(a.exchange.id, &a.underway, a)
		if ending.Load() { // too late to be found
			a.watch.ends.end(errShutdown)
		}
	}
}

// context returns the attempt's context as the standard transport gets it, below parent.
func (a *attempt) context(parent context.Context) context.Context {
	c := &attemptContext{Context: a.ctx, attempt: a, vars: make(map[string]any)}
	vars, _ := parent.Value(caddyhttp.VarsCtxKey).(map[string]any)
	for name, value := range vars {
		if strings.HasPrefix(name, "reverse_proxy.") {
			c.vars[name] = value
		}
	}
	proxy := httptrace.ContextClientTrace(parent)
	c.trace.Got1xxResponse = func(status int, header textproto.MIMEHeader) error { return a.early(proxy, status, header) }
	if d := a.instance.deadlines.tls; a.instance.scheme == "https" && d > 0 {
		c.trace.TLSHandshakeStart = func() { a.watch.handshake(clock(), d) }
		c.trace.GotConn = func(httptrace.GotConnInfo) { a.watch.connects(clock()) }
	}
	return c
}

// clientGone reports whether the client has left.
func (a *attempt) clientGone() bool { return a.exchange.request.Context().Err() != nil }

// begins tells that the answer begins and the client gets it.
func (a *attempt) begins(now time.Duration) {
	a.answers(now)
	a.eases()
	if c, changed := a.instance.state.health.begins(a.begun, now); changed {
		a.exchange.events.back(a.instance, c)
	}
}

// settle counts how the attempt ended, the first time it is called.
func (a *attempt) settle(v verdict) {
	if a.settled {
		return
	}
	a.settled = true
	x := a.exchange
	x.last = v
	x.pool.pulse.settled(v)
	r := result{verdict: v, begun: a.begun, ended: clock(), trial: a.trial, rest: a.rest}
	a.count(v, r.ended)
	a.endSpan(v)
	rules := x.rules(a.instance, v)
	c, changed := a.instance.state.health.settle(r, &rules)
	if changed {
		x.events.out(a.instance, c)
	}
	if v.blame == rests {
		x.events.bulletin.rests(a.instance)
	}
	if v.outcome == outcomeTruncated {
		x.events.truncated(x, a, v)
	}
}

// end gives the lease back and lets the instance know that nobody waits for it
// any more.
func (a *attempt) end() {
	a.watch.stop()
	switch {
	case a.settled:
	case a.upgraded:
		a.settle(whole)
	default:
		a.settle(canceled)
	}
	if a.watch.ends != nil {
		a.watch.ends.end(context.Canceled)
	}
	if a.exchange.ask.stream {
		streams.remove(a.exchange.id, &a.underway)
	}
	a.instance.state.load.End(a.work)
	a.instance.free()
}

// describe says who answers, and after how many attempts. It writes to the client's
// header, for the proxy would copy the instance's once more.
func (a *attempt) describe() { a.exchange.describe(a.instance) }

func (x *exchange) describe(i *instance) {
	h, values := x.writer.Header(), &x.headerValues
	*values = [...]string{i.name, "1", "true", "off; request body is over retries.max_body", x.length.instead, ""}
	if n := len(x.tried); n > 1 {
		values[1] = strconv.Itoa(n)
	}
	h["X-Ai-Gateway-Upstream"] = values[0:1:1]
	h["X-Ai-Gateway-Attempts"] = values[1:2:2]
	if i.tier == fallback {
		h["X-Ai-Gateway-Fallback"] = values[2:3:3]
	}
	if x.tooLarge() {
		h["X-Ai-Gateway-Retries"] = values[3:4:4]
	}
	if x.length.instead != "" {
		h["X-Ai-Gateway-Overflow"] = values[4:5:5]
	}
}

// dialer is how a transport opens connections.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// within bounds inner by the deadline of the attempt that dials, and marks its
// errors.
func within(inner dialer) dialer {
	if inner == nil {
		return nil
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		limit := time.Duration(0)
		if a, ok := ctx.Value(attemptKey{}).(*attempt); ok {
			limit = a.instance.deadlines.connect
			address = a.instance.reaches(address)
		} else if i, ok := ctx.Value(polledKey{}).(*instance); ok {
			address = i.reaches(address)
		}
		for {
			conn, timedOutBy, err := inner.within(ctx, limit, network, address)
			if err == nil {
				return conn, nil
			}
			if !late(timedOutBy, limit) || ctx.Err() != nil {
				return nil, &connectError{err}
			}
		}
	}
}

// within dials once. If it takes longer than limit, unless that is 0, it tells by
// how much. The context need not have ended by then: package net has a timer of its
// own for the same time.
func (d dialer) within(ctx context.Context, limit time.Duration, network, address string) (conn net.Conn, timedOutBy time.Duration, err error) {
	if limit <= 0 {
		conn, err = d(ctx, network, address)
		return conn, 0, err
	}
	due := clock() + limit
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if conn, err = d(ctx, network, address); err != nil {
		timedOutBy = max(0, clock()-due)
	}
	return conn, timedOutBy, err
}

// logger tells people and subscribers of transitions.
type logger struct {
	*zap.Logger
	bulletin *bulletin
}

func (l logger) out(i *instance, c change) {
	i.state.counts.ejected()
	l.bulletin.emit(instanceEvent(outKind(c.why), i, c.why, c.wait))
	l.Warn("instance is left out", zap.String("upstream", i.id), zap.String("name", i.name), zap.String("model", i.model),
		zap.Stringer("tier", i.tier), zap.String("reason", string(c.why)), zap.Duration("trial_in", c.wait))
}

func (l logger) back(i *instance, c change) {
	l.bulletin.emit(instanceEvent(instanceBack, i, c.why, 0))
	l.Info("instance is back", zap.String("upstream", i.id), zap.String("name", i.name), zap.String("model", i.model),
		zap.Stringer("tier", i.tier), zap.String("reason", string(c.why)))
}

func (l logger) truncated(x *exchange, a *attempt, v verdict) {
	l.Warn("answer broke off", zap.String("request_id", x.id), zap.String("upstream", a.instance.id), zap.String("model", x.pool.model),
		zap.Int("attempt", len(x.tried)), zap.Stringer("outcome", v.outcome), zap.String("reason", string(v.reason)))
}
