package aigateway

import (
	"net/http"
	"sync"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/balance"
)

// sessionHeaders are the headers by which clients and other gateways name a session, the
// first that is given counts.
var sessionHeaders = []string{"X-Session-Id", "X-Session-Affinity", "X-Conversation-Id"}

// maxSession bounds the name of a session in bytes: a longer one is none.
const maxSession = 1024

// prompt is a request's prompt as the policies see it. It belongs to one exchange at a
// time.
type prompt struct {
	balance.Prompt
}

var prompts = sync.Pool{New: func() any { return new(prompt) }}

// release gives the prompt back, if there is one.
func (p *prompt) release() {
	if p != nil {
		prompts.Put(p)
	}
}

// asks is what the policies are to know of the request.
func (x *exchange) asks() balance.Ask {
	a := balance.Ask{Now: x.now}
	if x.body != nil { // explanations have none
		a.Bytes = len(x.body.bytes)
	}
	if x.pool != nil && x.pool.state != nil {
		a.Output = x.pool.state.output.Value(0)
	}
	return a
}

// readPrompt returns the prompt, which it reads when it is first asked for. It is nil if
// there is nothing to read, or nobody to choose between.
func (x *exchange) readPrompt() *balance.Prompt {
	if x.prompt != nil {
		return &x.prompt.Prompt
	}
	if x.body == nil || x.request == nil || len(x.pool.tiers[primary].instances) < 2 && len(x.pool.tiers[fallback].instances) < 2 {
		return nil
	}
	session := sessionOf(x.request)
	if session == "" && x.ask.form != askJSON {
		return nil
	}
	x.prompt = prompts.Get().(*prompt)
	var body []byte
	if x.ask.form == askJSON {
		body = x.body.bytes
	}
	x.prompt.Read(x.route.stream, x.ask.model, session, body, x.ask.longest)
	return &x.prompt.Prompt
}

// sessionOf returns the session that a header of r names, or "".
func sessionOf(r *http.Request) string {
	for _, name := range sessionHeaders {
		if values := r.Header[name]; len(values) > 0 && values[0] != "" && len(values[0]) <= maxSession {
			return values[0]
		}
	}
	return ""
}

// table is what is known of the prompts that the model's instances have got. It is made
// when it is first asked for.
func (m *modelState) table() *balance.Table {
	if t := m.blocks.Load(); t != nil {
		return t
	}
	m.blocks.CompareAndSwap(nil, new(balance.Table))
	return m.blocks.Load()
}

// takes counts the attempt's work as its instance's, until [attempt.end]. With a policy
// that looks at prompts the instance is known to have this one from now on: those that
// come before the answer does are better off there too.
func (a *attempt) takes() {
	x := a.exchange
	cached := 0
	if x.prompt != nil {
		cached = x.prompt.Cached
		server := a.instance.server()
		x.pool.state.table().Record(&x.prompt.Prompt, &server)
	}
	a.work = x.asks().Tokens(cached)
	a.instance.state.load.Begin(a.work)
}

// eases counts that the prompt has been computed.
func (a *attempt) eases() {
	left := min(a.work, int64(a.exchange.asks().Output))
	a.instance.state.load.End(a.work - left)
	a.work = left
}
