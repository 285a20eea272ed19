package soak

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Model is the one that all requests ask for.
const Model = "soak"

// Plan is one request. The same seed and number give the same plan.
type Plan struct {
	N      int
	api    *api
	stream bool
	bytes  int // of the prompt
	tokens int // of the answer
	pace   string
	fault  *fault // nil for none
}

// api is one of the four that have streams.
type api struct {
	name, path string
	// body is a format of the members that hold the prompt
	body string
}

var apis = []*api{
	{"chat", "/v1/chat/completions", `"messages":[{"role":"user","content":%q}]`},
	{"responses", "/v1/responses", `"input":%q`},
	{"messages", "/v1/messages", `"max_tokens":4096,"messages":[{"role":"user","content":%q}]`},
	{"completions", "/v1/completions", `"prompt":%q`},
}

const (
	usualPrompt = 1 << 10
	longPrompt  = 64 << 10
	hugePrompt  = 4 << 20
)

// NewPlan returns the n-th request. Rate is the part of requests with a fault, 0 to 1.
// The first ones have the largest prompts, and answers that break, so that a warm-up
// fills every buffer and opens every file that the gateway keeps.
func NewPlan(seed uint64, n int, rate float64) *Plan {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	p := &Plan{N: n, api: apis[r.IntN(len(apis))], stream: r.IntN(3) > 0, bytes: usualPrompt, tokens: 12 + r.IntN(20)}
	if first := n - len(apis); n < len(apis) {
		p.api, p.bytes = apis[n], hugePrompt
	} else if first < len(apis) {
		p.api, p.stream, p.fault = apis[first], true, breaks
	} else {
		p.chance(r, rate)
	}
	if p.pace == "" {
		p.pace = fmt.Sprintf(`"ttft":"%dms","itl":"%dms"`, r.IntN(60), 1+r.IntN(8))
	}
	return p
}

// chance leaves to it how large the prompt is, and what fault the request has.
func (p *Plan) chance(r *rand.Rand, rate float64) {
	switch dice := r.Float64(); {
	case dice < 0.0005:
		p.bytes = hugePrompt
	case dice < 0.01:
		p.bytes = longPrompt
	}
	if r.Float64() >= rate {
		return
	}
	for p.fault == nil || !p.fault.fits(p) {
		p.fault = faults[r.IntN(len(faults))]
	}
	p.bytes, p.pace = usualPrompt, p.fault.pace
}

// Fault names the fault, "" for none.
func (p *Plan) Fault() string {
	if p.fault == nil {
		return ""
	}
	return p.fault.row + " " + p.fault.name
}

// Wearies reports whether all instances that get the request rest for a moment. Those it
// does not reach may be out already.
func (p *Plan) Wearies() bool { return p.fault == wearies }

// Kind names the request's API and form.
func (p *Plan) Kind() string {
	if p.stream {
		return p.api.name + " stream"
	}
	return p.api.name
}

// Mark begins every prompt, before the number of its request. By it a record tells
// which request it is of.
const Mark = "soak "

// mark begins the prompt of request n.
func mark(n int) string { return fmt.Sprintf("%s%d ", Mark, n) }

// body is the request's body. The echo model answers with the words w1 w2 w3 …
func (p *Plan) body() []byte {
	prompt := mark(p.N)
	if n := p.bytes - len(prompt); n > 0 {
		prompt += strings.Repeat("lorem ipsum dolor sit amet ", n/27+1)[:n]
	}
	var b strings.Builder
	fmt.Fprintf(&b, `{"model":%q,"echo":{"tokens":%d,%s},`, Model, p.tokens, p.pace)
	fmt.Fprintf(&b, p.api.body, prompt)
	fmt.Fprintf(&b, `,"stream":%t}`, p.stream)
	return []byte(b.String())
}

// text is what the answer must say.
func (p *Plan) text() string {
	words := make([]string, p.tokens)
	for i := range words {
		words[i] = fmt.Sprint("w", i+1)
	}
	return strings.Join(words, " ")
}
