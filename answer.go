package aigateway

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxReply bounds what is kept of an instance's error, in bytes.
const maxReply = 64 << 10

// attemptError is returned to the proxy for an attempt that did not lead to an
// answer for the client. It hides the cause, for the proxy would retry some causes
// without asking [retryMatch].
type attemptError struct{ verdict }

func (e *attemptError) Error() string {
	return "attempt " + e.outcome.String() + ": " + string(e.reason)
}

// fail settles an attempt without an answer.
func (a *attempt) fail(err error) error {
	if a.clientGone() {
		a.settle(canceled)
		// The proxy takes this for what it is.
		return a.exchange.request.Context().Err()
	}
	v := judgeError(err, a.ctx)
	a.settle(v)
	return &attemptError{v}
}

// receive decides what becomes of an instance's answer: it is given to the client
// from its first byte on, or, with an error, kept back.
func (a *attempt) receive(res *http.Response) (*http.Response, error) {
	if res.Header["X-Ai-Gateway-Request-Id"] != nil { // the instance is a gateway too
		for _, name := range []string{"Upstream", "Attempts", "Fallback", "Request-Id", "Retries", "Overflow"} {
			delete(res.Header, "X-Ai-Gateway-"+name)
		}
	}
	a.maskHeader(res.Header)
	if res.StatusCode == http.StatusSwitchingProtocols {
		a.upgraded = true
		a.watch.stop()
		a.begins(clock())
		a.describe()
		return res, nil
	}
	ok := res.StatusCode < 300 || res.StatusCode == http.StatusNotModified
	media := mediaType(res.Header)
	switch {
	case !ok:
		return a.refuse(res)
	case a.unlike(res, media):
		return nil, a.discard(res, failure(reasonBadAnswer))
	}
	rl := a.newRelay(res)
	if media == "text/event-stream" && res.Header.Get("Content-Encoding") == "" {
		if err := rl.hold(); err != nil {
			return nil, err
		}
		// Within a declared length a stream that ends too early would look whole, and
		// there would be no place for its error event.
		delete(res.Header, "Content-Length")
		res.ContentLength = -1
	} else if media == "text/event-stream" && a.asks {
		a.refuses() // nothing can be taken out of what is compressed
	} else if media == "application/json" && res.Header.Get("Content-Encoding") == "" {
		rl.tail = tails.Get().(*[]byte)
	}
	if rl.stream == nil && res.ContentLength < 0 && res.Request.Method != http.MethodHead {
		if err := rl.peek(); err != nil {
			return nil, err
		}
	}
	rl.commit()
	res.Body = rl
	a.describe()
	return res, nil
}

// mediaType returns the type of an answer without parameters, in lower case.
func mediaType(h http.Header) string {
	media, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(media))
}

// unlike reports whether an answer with a good status cannot be one of the API's:
// empty, or a web page, as of a proxy in front of the instance that wants a login.
func (a *attempt) unlike(res *http.Response, media string) bool {
	if a.exchange.ask.form != askJSON || res.StatusCode != http.StatusOK {
		return false
	}
	return res.ContentLength == 0 || media == "text/html"
}

// discard drops an answer that the client must not see.
func (a *attempt) discard(res *http.Response, v verdict) error {
	res.Body.Close()
	a.settle(v)
	return &attemptError{v}
}

// refuse takes an answer with an error status. The client's own errors go on to
// the client; others are kept for the case that no instance does better.
func (a *attempt) refuse(res *http.Response) (*http.Response, error) {
	rest, given := retryAfter(res.Header, time.Now())
	r := &reply{status: res.StatusCode, header: res.Header, rest: rest, restGiven: given}
	v := judgeStatus(r.status, r, a.instance.ownKey)
	plain := v.outcome == outcomeRejected && r.status != http.StatusNotFound // without its text
	var err error
	r.body, err = io.ReadAll(io.LimitReader(res.Body, maxReply+1))
	v = judgeStatus(r.status, r, a.instance.ownKey)
	if v.reason == reasonContext && err == nil && r.presentable(v, a.instance) {
		if p := a.exchange.larger(a.instance); p != nil {
			return nil, a.outgrown(res, r, v, p)
		}
	}
	if v.outcome == outcomeRejected {
		if plain || err == nil || len(r.body) > maxReply {
			res.Body = &prefixed{io.MultiReader(bytes.NewReader(a.maskBody(res, r.body)), res.Body), res.Body}
			return a.pass(res, v)
		}
		return nil, a.fail(err)
	}
	if err != nil && a.clientGone() {
		return nil, a.fail(err)
	}
	if v.reason == reasonModel && a.instance.model == anyModel {
		// A client's invention must not take the instance away from all others.
		v.blame = blameNobody
	}
	a.rest = rest
	x := a.exchange
	if v.blame == rests && (x.rest == 0 || rest < x.rest) {
		x.rest = rest
	}
	if v.reason == reasonModel {
		x.lacking++
	}
	switch {
	case err != nil || !r.presentable(v, a.instance):
	case v.reason == reasonModel:
		r.body = a.masked(r.body)
		x.noModel = r
	default:
		r.body = a.masked(r.body)
		x.reply = r
	}
	return nil, a.discard(res, v)
}

// outgrown drops the refusal r of a prompt that is longer than the instance's context: p has
// an instance with more room. The client gets it if that comes to nothing.
func (a *attempt) outgrown(res *http.Response, r *reply, v verdict, p *pool) error {
	r.body = a.masked(r.body)
	a.exchange.reply = r
	v.elsewhere = true
	err := a.discard(res, v)
	a.exchange.outgrows(p)
	return err
}

// pass gives the client an error of its own making.
func (a *attempt) pass(res *http.Response, v verdict) (*http.Response, error) {
	rl := a.newRelay(res)
	rl.end = v
	rl.commit()
	res.Body = rl
	a.describe()
	return res, nil
}

// prefixed is a body of which the beginning has been read.
type prefixed struct {
	io.Reader
	io.Closer
}

// reply is an instance's error answer.
type reply struct {
	status    int
	header    http.Header
	body      []byte        // at most maxReply bytes, and one more if there were more
	rest      time.Duration // of Retry-After, or the default
	restGiven bool          // there is a Retry-After
}

// presentable reports whether the client may see the reply: JSON, whole, without
// the instance's key, and not about the gateway's own standing with the instance.
func (r *reply) presentable(v verdict, i *instance) bool {
	if v.reason == reasonKey || v.reason == reasonQuota || v.reason == reasonRedirect || len(r.body) > maxReply {
		return false
	}
	body := bytes.TrimSpace(r.body)
	return len(body) > 0 && body[0] == '{' && (i.key == "" || !bytes.Contains(body, []byte(i.key)))
}

// write sends the reply to the client.
func (r *reply) write(w http.ResponseWriter) {
	h := w.Header()
	for _, name := range []string{"Content-Type", "X-Request-Id"} {
		if v := r.header[name]; v != nil {
			h[name] = v
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(r.body)))
	w.WriteHeader(r.status)
	w.Write(r.body) //nolint:errcheck // the client went, and nobody is left to tell
}

// says reports whether the error's text has one of the words, in lower case.
func (r *reply) says(words ...string) bool {
	text := strings.ToLower(string(r.body))
	for _, word := range words {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// saysLoading knows llama.cpp ("Loading model"), SGLang and TGI while they start.
func (r *reply) saysLoading() bool {
	return r.says("loading", "starting up", "warming up", "warmup", "not ready", "initializing")
}

// saysNoModel tells a missing model from any other 404, such as of a file or a
// route: OpenAI's code, vLLM's "The model `x` does not exist.", Ollama's "model
// 'x' not found", Anthropic's "model: x".
func (r *reply) saysNoModel() bool {
	return r.says("model_not_found") || r.says("not_found_error") && r.says(`"model: `) ||
		r.says("model") && r.says("does not exist", "not found", "not exist", "unknown model") && !r.says(`"detail":"not found"`)
}

// saysForbidden tells a refused prompt from a refused key: providers answer 403 to
// both.
func (r *reply) saysForbidden() bool {
	return r.says("moderation", "flagged", "content_policy", "content policy", "safety")
}

// wantsMoney tells a provider's empty account from a rate limit.
func (r *reply) wantsMoney() bool {
	return r.says("insufficient_quota", "insufficient_balance", "exceeded_current_quota")
}

// retryAfter reads how long the server wants to be left alone, at most
// longestRest: Retry-After-Ms, or Retry-After in seconds or as a date. Without
// them it is the default.
func retryAfter(h http.Header, now time.Time) (rest time.Duration, given bool) {
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil && ms >= 0 {
		return min(longestRest, time.Duration(min(ms, 1e9)*1e6)), true
	}
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseFloat(text, 64); err == nil && seconds >= 0 {
		return min(longestRest, time.Duration(min(seconds, 1e6)*1e9)), true
	}
	if date, err := http.ParseTime(text); err == nil {
		return min(longestRest, max(0, date.Sub(now))), true
	}
	return defaultRest, false
}
