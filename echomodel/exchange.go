package echomodel

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"
)

// exchange is one request and its answer. It comes from a pool, and keeps its buffers there.
type exchange struct {
	s      *Server
	w      http.ResponseWriter // wrapped by the faults gzip and slow_drip
	r      *http.Request
	ctx    context.Context // done when the client goes
	route  *route
	body   *body
	req    request
	upload upload // the file of a form
	script Script
	fault  *fault

	choices []choice
	created int64                    // of Responses, Unix seconds
	buf     []byte                   // the answer, or what of a stream is not yet written
	head    []byte                   // what every chunk of a stream begins with; in Responses the hexadecimal part of the ids
	events  int                      // of a stream, whole in buf or written
	whole   int                      // end of the last whole event in buf
	seq     int                      // next sequence_number of Responses
	timer   *time.Timer              // not pooled: a timer of one synctest bubble panics in another
	flusher *http.ResponseController // of w, once the answer streams
	closer  func()                   // undoes what a fault wrapped around w; nil if none did
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// newExchange counts the request in; end counts it out.
func newExchange(s *Server, w http.ResponseWriter, r *http.Request) *exchange {
	x := exchanges.Get().(*exchange)
	*x = exchange{
		s: s, w: w, r: r, ctx: r.Context(), body: newBody(), route: noRoute, fault: noFault,
		choices: x.choices[:0], buf: x.buf[:0], head: x.head[:0],
	}
	s.stats.begin()
	return x
}

func (x *exchange) end() {
	if x.closer != nil {
		x.closer()
	}
	x.s.stats.end()
	x.body.release()
	if cap(x.buf) > maxPooled {
		x.buf = nil
	}
	clear(x.choices) // lets go of the body's texts
	*x = exchange{choices: x.choices[:0], buf: x.buf, head: x.head}
	exchanges.Put(x)
}

// serve reads, checks, takes the script, and answers.
func (x *exchange) serve() error {
	x.w.Header().Set("X-Echo-Name", x.s.opts.Name)
	if err := x.readBody(); err != nil {
		return err
	}
	path := x.r.URL.Path
	rt, known := routes[path]
	if !known {
		x.s.stats.arrive(x, "other")
		return x.detail(http.StatusNotFound)
	}
	x.route = rt
	x.s.stats.arrive(x, path)
	if !rt.open && !x.s.authorized(x.r) {
		return x.write(http.StatusUnauthorized, "application/json", []byte(`{"error":"Unauthorized"}`))
	}
	if rt.method != "" && rt.method != x.r.Method {
		x.w.Header().Set("Allow", rt.method)
		return x.detail(http.StatusMethodNotAllowed)
	}
	if err := x.takeScript(path); err != nil {
		return err
	}
	if err := x.checkModel(); err != nil {
		return err
	}
	if err := x.begin(); err != nil {
		return err
	}
	if x.s.vllm != nil && rt.inference && rt.parse != nil {
		leave, err := x.s.vllm.enter(x)
		if err != nil {
			return err
		}
		defer leave()
	}
	return rt.serve(x)
}

func (x *exchange) readBody() error {
	err := x.body.read(x.r)
	if err != nil && x.ctx.Err() != nil {
		return errGone
	}
	if _, ok := err.(*apiError); err != nil && !ok { //nolint:errorlint // read returns it bare
		return errGone // a body that ends too early: its sender went, or is not worth an answer
	}
	return err
}

// takeScript fills x.script from the configuration or the control endpoint and from the request, and finds the fault.
func (x *exchange) takeScript(path string) error {
	x.script = x.s.opts.Script
	x.s.control.take(&x.script, path, x.route.inference)
	if !x.script.acts(path, x.route.inference) {
		x.script.Fault = ""
	}
	if x.route.parse != nil {
		if err := x.route.parse(x); err != nil {
			return err
		}
	}
	if x.req.echo != nil {
		if err := x.script.overlay(x.req.echo, nil); err != nil {
			return badRequest("echo", "echo: "+err.Error())
		}
	}
	if err := x.script.check(); err != nil {
		return badRequest("echo", "echo: "+err.Error())
	}
	x.fault = faults[x.script.name()]
	return nil
}

func parseJSON(x *exchange) error { return x.req.parse(x.body.bytes) }

// checkModel refuses a model that is not served, and fills in the first one where the request names none, as vLLM.
func (x *exchange) checkModel() error {
	switch {
	case !x.route.inference:
	case x.req.model == nil:
		x.req.model = x.s.first
	case len(x.s.opts.Models) > 0 && !slices.Contains(x.s.opts.Models, goString(x.req.model)):
		return &apiError{
			status:  http.StatusNotFound,
			message: "The model `" + goString(x.req.model) + "` does not exist.",
			param:   "model",
		}
	}
	return nil
}

// wait lets d pass. It returns errGone when the client goes meanwhile, or has gone.
func (x *exchange) wait(d time.Duration) error {
	if d <= 0 {
		if x.ctx.Err() != nil {
			return errGone
		}
		return nil
	}
	if x.timer == nil {
		x.timer = time.NewTimer(d)
	} else {
		x.timer.Reset(d)
	}
	defer x.timer.Stop()
	select {
	case <-x.timer.C:
		return nil
	case <-x.ctx.Done():
		return errGone
	case <-x.s.closed.Done():
		return errClosed
	}
}

// hang waits until the client goes.
func (x *exchange) hang() error {
	select {
	case <-x.ctx.Done():
		return errGone
	case <-x.s.closed.Done():
		return errClosed
	}
}

// think waits as long as a plain answer of so many tokens takes.
func (x *exchange) think(tokens int) error {
	return x.wait(time.Duration(x.script.TTFT) + time.Duration(max(tokens-1, 0))*time.Duration(x.script.ITL))
}
