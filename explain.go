package aigateway

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// explanation says who would be asked for a request of a model, in order, and why not
// the others. The choice is that of [exchange.choose], on copies of what it changes; the
// pool's budget of retries is taken to be full.
type explanation struct {
	Model    string      `json:"model"` // whose pool takes the request: the one asked for, or "*"
	Policy   string      `json:"policy"`
	Exact    bool        `json:"exact"`    // the next request would go this way; else the policy looks at the request
	Attempts int         `json:"attempts"` // how many instances one request may be sent to
	Notes    []string    `json:"notes"`
	Order    []candidate `json:"order"` // who would be tried, the first one first
	Others   []candidate `json:"others"`
}

// candidate is an instance of the pool.
type candidate struct {
	memberStatus
	Why               string  `json:"why"`                           // in words
	FirstTokenSeconds float64 `json:"first_token_seconds,omitempty"` // deadline of a stream's first token, if another could be asked instead
	FirstTokenLearnt  bool    `json:"first_token_learnt,omitempty"`  // it is longer than configured, as the instance needs it
}

// maxPrompt bounds prompt_bytes: no body is larger.
const maxPrompt = 1 << 40

func (c *adminCall) explain() error {
	if c.query.Get("model") == "" {
		return &adminError{
			status: http.StatusBadRequest, Code: "missing_parameter", Message: "model: want the model that a client would ask for",
			Allowed: c.store.snapshot().available(),
		}
	}
	size := int64(0)
	if text := c.query.Get("prompt_bytes"); c.query.Has("prompt_bytes") {
		var err error
		if size, err = strconv.ParseInt(text, 10, 64); err != nil || size < 0 || size > maxPrompt {
			return invalidParameter("prompt_bytes", fmt.Sprintf("got %s, want 0 to %d", quote(text), int64(maxPrompt)))
		}
	}
	e := c.store.explain(c.query.Get("model"), size)
	if e == nil {
		return &adminError{
			status: http.StatusNotFound, Code: "unknown_model", Allowed: c.store.snapshot().available(),
			Message: "model " + quote(c.query.Get("model")) + " is served by no instance",
		}
	}
	return c.answer(e)
}

// explain explains a request of so many bytes, nil if nobody serves the model.
func (s *store) explain(model string, size int64) *explanation {
	snap := s.snapshot()
	p := snap.fleet.pool(model)
	if p == nil {
		return nil
	}
	module, name := s.events.lbPolicy()
	x := &exchange{snap: snap, pool: p.copied(), policy: newPolicy(module, snap.strategy), now: clock()}
	e := &explanation{Model: p.model, Policy: snap.strategy, Exact: true, Attempts: snap.retries.attempts, Notes: []string{}}
	if name != "" {
		e.Policy = name
	}
	if _, foreign := x.policy.(caddyPolicy); foreign {
		e.Exact, x.policy = false, roundRobin{}
		e.Notes = append(e.Notes, "the policy "+name+" of the Caddyfile looks at each request; here the instances take turns")
	}
	switch x.policy.(type) {
	case leastLoad:
		e.Exact = false
		e.Notes = append(e.Notes, "the policy least_load draws two instances at random: the order is one of several")
	case prefixAffinity:
		e.Exact = false
		e.Notes = append(e.Notes, "the policy prefix_affinity looks at the prompt; here it is least_load, which draws two instances at random")
	}
	if snap.retries.tooLarge(size) {
		e.Attempts = 1
		e.Notes = append(e.Notes, "the request is over retries.max_body: a second instance is asked only if the first cannot be reached")
	}
	if p.pressed() {
		e.Notes = append(e.Notes, "less than half of the primary instances are usable and no fallback is: ejections for slowness are looked past")
	}
	steps, full := x.plan(e.Attempts)
	if full {
		waiting, wait := p.state.queue.view(x.now)
		e.Notes = append(e.Notes, fmt.Sprintf("all instances that could take it are full: it waits, with %d others now, for about %v",
			waiting, wait.Round(time.Second)))
	}
	for n, i := range x.tried {
		c := candidate{memberStatus: x.member(i), Why: steps[n].why(i, x.now)}
		if n+1 < len(x.tried) {
			var limit time.Duration
			limit, c.FirstTokenLearnt = i.firstTokenFor(size, 0, &snap.retries, x.now)
			c.FirstTokenSeconds = limit.Seconds()
		}
		e.Exact = e.Exact && i.state.health.view(x.now, snap.errorWindow).phase != ramping
		e.Order = append(e.Order, c)
	}
	for _, r := range p.tiers {
		for _, i := range r.all {
			if !slices.Contains(x.tried, i) {
				e.Others = append(e.Others, candidate{memberStatus: x.member(i), Why: x.whyNot(i, len(x.tried) >= e.Attempts)})
			}
		}
	}
	e.Order, e.Others = append([]candidate{}, e.Order...), append([]candidate{}, e.Others...)
	return e
}

// copied returns a copy of the pool whose turns may be taken.
func (p *pool) copied() *pool {
	c := &pool{model: p.model, state: p.state, changes: p.changes}
	for t, r := range p.tiers {
		c.tiers[t] = &rotation{all: r.all, instances: r.instances, set: r.set.Clone()}
	}
	return c
}

// plan makes the choices of so many attempts that all fail, without the attempts, and
// returns the step that each was made in, and whether the next one has to wait.
func (x *exchange) plan(attempts int) (steps []step, full bool) {
	for len(x.tried) < attempts {
		find := func(s step) bool {
			if s.tier == fallback && s.leeway < anyway && x.saves() {
				return false
			}
			x.leeway = s.leeway
			i := x.policy.pick(x.pool.tiers[s.tier], x)
			if i == nil {
				return false
			}
			x.tried, steps = append(x.tried, i), append(steps, s)
			return true
		}
		all, late := x.steps()
		if slices.ContainsFunc(all[:late], find) {
			continue
		}
		if x.blocked() {
			return steps, true
		}
		if !slices.ContainsFunc(all[late:], find) {
			break
		}
	}
	return steps, false
}

func (x *exchange) member(i *instance) memberStatus {
	return memberStatus{i.model, i.tier.String(), i.status(x.snap, x.now)}
}

// why says in what role i is chosen in this step.
func (s step) why(i *instance, now time.Duration) string {
	h := &i.state.health
	switch p := phase(h.phase.Load()); {
	case p == ejected && int64(now) >= h.until.Load():
		return "its trial is due, and this request is it"
	case p == ejected || p == halfOpen:
		return "it is left out, but nobody better remains"
	case p == ramping && s.leeway >= hurried:
		return "it is in slow start, but nobody better remains"
	case p == ramping:
		return "it is in slow start and gets a share"
	case s.tier == fallback:
		return "no primary instance remains, or this is the last attempt"
	}
	return "it serves"
}

// whyNot says why i is not tried; bounded, that all attempts are taken.
func (x *exchange) whyNot(i *instance, bounded bool) string {
	v := i.state.health.view(x.now, x.snap.errorWindow)
	rest, why := i.state.health.resting(x.now)
	in := func(d time.Duration) string { return max(time.Second, d.Round(time.Second)).String() }
	switch {
	case i.drain.any():
		return "it drains, by: " + i.drain.by()
	case i.weight == 0:
		return "its weight is 0"
	case v.manual && i.state.health.until.Load() == int64(forever):
		return "it is ejected by hand until it is restored"
	case v.manual:
		return "it is ejected by hand, a trial is due in " + in(v.wait)
	case rest > 0:
		return fmt.Sprintf("it wants no requests for %s (%s)", in(rest), why)
	case i.full():
		return fmt.Sprintf("it is full: %d of %d requests in flight", i.state.inFlight.Load(), i.maxConcurrency)
	case v.phase == ejected:
		return fmt.Sprintf("it is ejected (%s), a trial is due in %s", v.why, in(v.wait))
	case v.phase == halfOpen:
		return fmt.Sprintf("its trial is under way (%s)", v.why)
	case bounded:
		return "all attempts are taken by others"
	}
	return "it was not chosen"
}
