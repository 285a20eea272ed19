package aigateway

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/ledger"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
)

// leastMeasured is the length of a body below which its words are not counted: nobody
// serves with a context that it could be longer than, as a word and what parts it from the
// next are two bytes at the least.
const leastMeasured = 4 << 10

// overflow says what becomes of prompts that an instance refuses as longer than its context.
type overflow struct {
	enabled bool
	models  map[string]string // that are asked instead, by model; anyModel's for all others
}

// instead returns the model that is asked in place of model, "" for none.
func (o *overflow) instead(model string) string {
	other, ok := o.models[model]
	if !ok {
		other = o.models[anyModel]
	}
	if other == model {
		return ""
	}
	return other
}

// length is what is known of how much context the request of an exchange needs. The zero
// value is nothing.
type length struct {
	counted bool
	words   int    // tokens that the prompt has at the least, if counted
	least   int    // the same while somebody in the pool can take it and somebody cannot; else 0
	above   int    // context of the largest instance that has refused the prompt as too long
	instead string // model whose pool is asked in place of the client's; "" for none
	trusts  bool   // its instances are believed to be larger where it is not known, as the file says
}

// wanted returns the model whose pool is asked.
func (x *exchange) wanted() string { return cmp.Or(x.length.instead, x.ask.model) }

// home returns the pool of the model that the client asks for: requests are counted there,
// wherever they are answered.
func (x *exchange) home() *pool { return cmp.Or(x.asked, x.pool) }

// window returns how many tokens the prompt and the answer of x may have together on i, 0
// if that is not known.
func (x *exchange) window(i *instance) int { return i.window(x.model()) }

// model returns the name by which instances are asked for what they know of it.
func (x *exchange) model() string { return cmp.Or(x.wanted(), x.pool.model) }

// window is the context of a model on i, as the file or the server says; 0 if neither does.
func (i *instance) window(model string) int {
	if i.contextLength > 0 {
		return i.contextLength
	}
	return i.context(model)
}

// measure finds out whether the prompt is surely too long for a part of the pool. If all of
// it is too small, x goes the usual way: the instance says so itself.
func (x *exchange) measure() {
	l := &x.length
	l.least = 0
	if x.ask.form != askJSON || len(x.body.bytes) < leastMeasured || !x.narrow(len(x.body.bytes)/2) {
		return
	}
	if !l.counted {
		l.counted, l.words = true, openai.LeastTokens(x.body.bytes)
	}
	if x.narrow(l.words) && x.some(func(i *instance) bool { w := x.window(i); return w == 0 || w >= l.words }) {
		l.least = l.words
	}
}

// narrow reports whether a prompt of so many tokens is too long for some instance.
func (x *exchange) narrow(tokens int) bool {
	return x.some(func(i *instance) bool { w := x.window(i); return w > 0 && w < tokens })
}

// some reports whether f holds for some instance of the pool that does not drain.
func (x *exchange) some(f func(*instance) bool) bool {
	return slices.ContainsFunc(x.pool.tiers[:], func(r *rotation) bool {
		return slices.ContainsFunc(r.instances, func(i *instance) bool { return !i.state.drain.Load() && f(i) })
	})
}

// fits reports whether i may have room for the prompt, by what is known of both.
func (x *exchange) fits(i *instance) bool { return !x.length.matters() || x.length.fits(i, x.model()) }

// matters reports whether some instance may be too small.
func (l *length) matters() bool { return l.least != 0 || l.above != 0 }

func (l *length) fits(i *instance, model string) bool {
	w := i.window(model)
	if w == 0 {
		return l.above == 0 || l.trusts
	}
	return w > l.above && w >= l.least
}

// larger returns the pool with an instance that may have room for a prompt which i has
// refused as too long: x's own if a larger one is there, else that of the model that the
// file names. It is nil if there is none, or it may not be asked.
func (x *exchange) larger(i *instance) *pool {
	o, r := &x.snap.overflow, &x.snap.retries
	if !o.enabled || x.ask.form != askJSON || x.lastAttempt() || r.time > 0 && clock()-x.began >= r.time {
		return nil
	}
	l := &x.length
	l.above, l.trusts = max(l.above, x.window(i)), false
	leeway := x.leeway
	defer func() { x.leeway = leeway }()
	x.leeway = anyway
	if l.above > 0 && x.some(x.wants) {
		return x.pool
	}
	model := o.instead(x.pool.model)
	if model == "" || l.instead != "" || !x.key.allows(model) {
		return nil
	}
	own, p := x.pool, x.snap.fleet.pool(model)
	if p == nil || p == own {
		return nil
	}
	x.pool, l.instead, l.trusts = p, model, true
	defer func() { x.pool, l.instead, l.trusts = own, "", false }()
	if !x.some(x.wants) || !x.reprices() {
		return nil
	}
	return p
}

// outgrows makes x go on in p, which [exchange.larger] has returned.
func (x *exchange) outgrows(p *pool) {
	if p == x.pool {
		return
	}
	x.length.instead, x.length.trusts = x.snap.overflow.instead(x.pool.model), true
	x.asked, x.pool = x.pool, p
	p.state.budget.requests.Add(1)
}

// reprices makes the lease one for the price of the model that is asked now. It reports
// whether the key's budget has room for that.
func (x *exchange) reprices() bool {
	l, k := &x.lease, x.key
	if !l.held || !k.limitsBudget() {
		return true
	}
	p := x.price()
	want := ledger.Amount{Cost: p.of(l.size.prompt, l.size.completion) - l.amount.Cost}
	least := want
	if !l.size.stated {
		least.Cost = p.of(l.size.prompt, 0) - l.amount.Cost
	}
	if want.Cost <= 0 {
		return true
	}
	money := k.budget
	money.DailyTokens, money.MonthlyTokens = 0, 0 // the tokens are reserved already
	got, _, ok := k.counter().Reserve(time.Now(), ledger.Amount{Cost: max(0, least.Cost)}, want, &money)
	l.amount.Cost += got.Cost
	return ok
}

// tooLong are the words by which servers say that a prompt, or what is asked for together
// with it, is longer than the context: OpenAI's code, llama.cpp's type, and the messages of
// vLLM 0.6 to 0.17, SGLang, TGI, Ollama, LM Studio, OpenAI's responses, Anthropic, Gemini,
// DashScope and Kimi.
var tooLong = []string{
	"context_length_exceeded", "exceed_context_size_error", "exceeds the available context size", "maximum context length", "model's context length",
	"maximum model length", "maximum allowed length", "must have less than", "`max_new_tokens` must be <=", "exceeds the context length",
	"greater than the context length", "exceeds the context window", "prompt is too long", "exceed context limit", "exceeds the maximum number of tokens",
	"range of input length should be", "exceeded model token limit",
}

// saysTooLong reports whether the error says that the request is longer than the context.
func (r *reply) saysTooLong() bool {
	return (r.status == http.StatusBadRequest || r.status == http.StatusUnprocessableEntity) && r.says(tooLong...)
}
