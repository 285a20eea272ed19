package aigateway

import (
	"bytes"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/ledger"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/limit"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/splice"
)

// lease is what a request holds of its key's limits. The zero value is none.
type lease struct {
	held   bool
	tokens limit.Reservation // if the key has a limit of tokens
	amount ledger.Amount     // of its budget
	size   estimate
}

// admit checks that the key may ask for the model and has enough left for the request,
// and takes it: all or nothing. [lease.end] gives it back.
func (x *exchange) admit() *denial {
	k := x.key
	if k == nil {
		return nil
	}
	model := x.ask.model
	if model == "" {
		model = x.pool.model
	}
	if !k.allows(model) {
		x.refused = true
		return modelDenial(model, k.allowed(x.snap.available()))
	}
	now := time.Now()
	l := &x.lease
	if k.tokens > 0 || k.limitsBudget() {
		l.size = x.forecast()
	}
	f := k.take(l, x.price(), clock(), now)
	x.refused = f != nil
	return f
}

// take takes the lease of a request that comes at these times.
func (k *clientKey) take(l *lease, p price, at time.Duration, now time.Time) *denial {
	s := k.state
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.concurrency > 0 && s.inFlight >= k.concurrency {
		return k.refuses(refusedConcurrency, at, time.Second)
	}
	if k.requests > 0 {
		if wait := s.requests.Wait(at, 1, k.requests); wait > 0 {
			return k.refuses(refusedRequests, at, wait)
		}
	}
	if k.tokens > 0 {
		if l.size.least() > k.tokens {
			return k.refuses(refusedSize, at, 0)
		}
		l.size.fit(k.tokens)
		if wait := s.tokens.Wait(at, l.size.total(), k.tokens); wait > 0 {
			return k.refuses(refusedTokens, at, wait)
		}
	}
	if k.limitsBudget() {
		want := ledger.Amount{Tokens: l.size.total(), Cost: p.of(l.size.prompt, l.size.completion)}
		least := want
		if !l.size.stated {
			least = ledger.Amount{Tokens: l.size.prompt, Cost: p.of(l.size.prompt, 0)}
		}
		got, lacking, ok := k.counter().Reserve(now, least, want, &k.budget)
		if !ok {
			s.lacks.Store(now.Add(lacking.Renewed).UnixNano())
			return budgetDenial(lacking)
		}
		l.amount = got
	}
	if k.requests > 0 {
		s.requests.Take(at, 1, k.requests)
	}
	if k.tokens > 0 {
		l.tokens = s.tokens.Reserve(at, l.size.total(), k.tokens)
	}
	s.inFlight++
	l.held = true
	return nil
}

// end gives back what x has not used of its lease, and counts what it has. It may be
// called again.
func (l *lease) end(x *exchange) {
	if !l.held {
		return
	}
	l.held = false
	k, used := x.key, x.used()
	s := k.state
	s.mu.Lock()
	s.inFlight--
	if l.tokens != (limit.Reservation{}) {
		s.tokens.Settle(clock(), l.tokens, used.Tokens(), max(k.tokens, 1))
	}
	s.mu.Unlock()
	k.counter().Settle(time.Now(), x.pool.model, l.amount, used)
}

// used returns what the request has used: what its answer has told, or else an estimate
// of what has come of it.
func (x *exchange) used() ledger.Usage {
	u := ledger.Usage{Requests: 1}
	switch {
	case x.usage.source != usageUnknown:
		u.Prompt, u.Completion = x.usage.Prompt, x.usage.Completion
	case x.meter.begun && x.last.outcome != outcomeRejected:
		size := x.lease.size
		if size == (estimate{}) {
			size.prompt = promptTokens(x)
		}
		u.Prompt, u.Completion = size.prompt, x.meter.tokens()
		if !x.generates() {
			u.Completion = 0
		}
	}
	u.Cost = x.price().of(u.Prompt, u.Completion)
	return u
}

// price returns that of the model that is asked.
func (x *exchange) price() price {
	if p, ok := x.snap.prices[x.pool.model]; ok {
		return p
	}
	return x.snap.prices[anyModel]
}

// meter follows an answer that is no stream, for those that do not tell their usage.
type meter struct {
	begun bool  // the client gets it
	bytes int64 // that have come of it
}

// tokens estimates those of the answer.
func (m *meter) tokens() int64 { return m.bytes / bytesPerToken }

// generates reports whether the request's API answers with text.
func (x *exchange) generates() bool {
	operation := operations[x.route.path]
	return operation != "" && operation != "embeddings"
}

// estimate is how many tokens a request may use.
type estimate struct {
	prompt, completion int64
	stated             bool // the client has bounded the completion itself
}

func (e *estimate) total() int64 { return e.prompt + e.completion }

// least is what the request may use in any case.
func (e *estimate) least() int64 {
	if e.stated {
		return e.total()
	}
	return e.prompt
}

// fit makes what is only supposed fit a limit.
func (e *estimate) fit(limit int64) {
	if !e.stated {
		e.completion = min(e.completion, limit-e.prompt)
	}
}

// supposedTokens is what is reserved for an answer that the client does not bound.
const supposedTokens = 1024

// boundMembers bound an answer's tokens, in one API or the other.
var boundMembers = []string{"max_tokens", "max_completion_tokens", "max_output_tokens", "n"}

// forecast returns how many tokens the request may use, from its size and what it says
// itself.
func (x *exchange) forecast() estimate {
	e := estimate{prompt: promptTokens(x)}
	if !x.generates() {
		return e
	}
	e.completion = supposedTokens
	body := x.body.bytes
	if x.ask.form != askJSON || !bytes.Contains(body, []byte(`"max_`)) && !bytes.Contains(body, []byte(`"n"`)) {
		return e
	}
	var found [4]splice.Value
	if splice.Scan(body, maxDepth, boundMembers, found[:]) != nil {
		return e // duplicates, of which servers take one or the other
	}
	bound := int64(0)
	for _, value := range found[:3] {
		bound = max(bound, wholeNumber(value.Raw(body)))
	}
	if bound > 0 {
		e.completion, e.stated = bound, true
	}
	if n := wholeNumber(found[3].Raw(body)); n > 1 {
		e.completion = min(e.completion, math.MaxInt32) * min(n, math.MaxInt16)
	}
	return e
}

// wholeNumber reads a JSON number, 0 if it is none or too large.
func wholeNumber(text []byte) int64 {
	if len(text) == 0 {
		return 0
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || n < 0 || n > math.MaxInt32 {
		return 0
	}
	return n
}

// imageTokens is what a picture or a sound within a prompt is taken for.
const imageTokens = 1000

// promptTokens estimates the tokens of the request's prompt. What is encoded within it
// is no text, and a form has none.
func promptTokens(x *exchange) int64 {
	if x.ask.form != askJSON {
		return 0
	}
	size, parts := textSize(x.body.bytes)
	return int64((size+bytesPerToken-1)/bytesPerToken + parts*imageTokens)
}

// refuses words why the key's limit is reached. The caller holds the lock of its state.
func (k *clientKey) refuses(why denialReason, at, wait time.Duration) *denial {
	s := k.state
	f := &denial{reason: why, wait: wait, apiError: apiError{Status: http.StatusTooManyRequests, Type: "rate_limit_error", Code: "rate_limit_exceeded"}}
	if k.requests > 0 {
		f.requests = rateState{k.requests, s.requests.Left(at, k.requests), s.requests.Lack(at)}
	}
	if k.tokens > 0 {
		f.tokens = rateState{k.tokens, s.tokens.Left(at, k.tokens), s.tokens.Lack(at)}
	}
	switch why {
	case refusedConcurrency:
		f.Message = "as many requests of this API key are under way as may be: " + strconv.Itoa(k.concurrency)
	case refusedRequests:
		f.Message = "this API key may make " + strconv.FormatInt(k.requests, 10) + " requests a minute"
	case refusedTokens:
		f.Message = "this API key may use " + strconv.FormatInt(k.tokens, 10) + " tokens a minute"
	default:
		f.Message = "the request may use more tokens than this API key may in a minute: " + strconv.FormatInt(k.tokens, 10)
		f.Code, f.final = "request_too_large", true
	}
	return f
}

// budgetDenial words what part of a key's budget there is too little left of.
func budgetDenial(lacking ledger.State) *denial {
	period, of := "today", "tokens"
	if lacking.Name == ledger.MonthlyTokens || lacking.Name == ledger.MonthlyCost {
		period = "this month"
	}
	if lacking.Name == ledger.DailyCost || lacking.Name == ledger.MonthlyCost {
		of = "money"
	}
	return &denial{
		reason: refusedBudget, wait: lacking.Renewed, final: true,
		apiError: apiError{
			Status: http.StatusTooManyRequests, Type: "insufficient_quota", Code: "insufficient_quota",
			Message: "too little is left for the request of what this API key may use " + period + ": " + of,
		},
	}
}

// modelDenial words that a key may not ask for a model, whether there is one or not.
func modelDenial(model string, allowed []string) *denial {
	return &denial{reason: refusedModel, final: true, apiError: apiError{
		Status: http.StatusForbidden, Type: "invalid_request_error", Code: "model_not_allowed", Param: "model",
		Message: "this API key may not ask for the model " + quote(model) + "; it may ask for: " + strings.Join(allowed, ", "),
	}}
}
