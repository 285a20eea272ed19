package aigateway

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// The answers of real servers.
const (
	vllmNoModel      = `{"object":"error","message":"The model ` + "`m`" + ` does not exist.","type":"NotFoundError","param":null,"code":404}`
	vllmNoModelNew   = `{"error":{"message":"The model ` + "`m`" + ` does not exist.","type":"NotFoundError","param":"model","code":404}}`
	vllmBadValue     = `{"object":"error","message":"temperature must be non-negative, got -1.0.","type":"BadRequestError","param":null,"code":400}`
	vllmTooLong      = `{"object":"error","message":"This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.","type":"BadRequestError","param":null,"code":400}`
	vllmDead         = `{"object":"error","message":"EngineCore encountered an issue. See stack trace (above) for the root cause.","type":"InternalServerError","param":null,"code":500}`
	fastAPINoRoute   = `{"detail":"Not Found"}`
	llamaLoading     = `{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}`
	llamaNoRoute     = `{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}`
	llamaKey         = `{"error":{"code":401,"message":"Invalid API Key","type":"authentication_error"}}`
	ollamaNoModel    = `{"error":{"message":"model \"m\" not found, try pulling it first","type":"api_error","param":null,"code":null}}`
	ollamaNoModelNew = `{"error":{"message":"model 'm' not found","type":"not_found_error","param":null,"code":null}}`
	ollamaOwnNoModel = `{"error":"model 'm' not found"}`
	openAINoModel    = `{"error":{"message":"The model ` + "`m`" + ` does not exist or you do not have access to it.","type":"invalid_request_error","param":null,"code":"model_not_found"}}`
	openAINoFile     = `{"error":{"message":"No such File object: file-abc","type":"invalid_request_error","param":"id","code":null}}`
	openAIQuota      = `{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}`
	openAIRate       = `{"error":{"message":"Rate limit reached for m on requests per min (RPM): Limit 3, Used 3, Requested 1.","type":"requests","param":null,"code":"rate_limit_exceeded"}}`
	openAIKey        = `{"error":{"message":"Incorrect API key provided: sk-abc***xyz.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}`
	openAIBusy       = `{"error":{"message":"The server is overloaded or not ready yet.","type":"server_error","param":null,"code":null}}`
	anthropicNoModel = `{"type":"error","error":{"type":"not_found_error","message":"model: claude-x"},"request_id":"req_1"}`
	anthropicNoBatch = `{"type":"error","error":{"type":"not_found_error","message":"Not Found"},"request_id":"req_1"}`
	anthropicRate    = `{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit."}}`
	anthropicBusy    = `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`
	anthropicKey     = `{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}`
	deepSeekMoney    = `{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}`
	openRouterFlag   = `{"error":{"code":403,"message":"Input was flagged by moderation","metadata":{"reasons":["violence"]}}}`
	moonshotQuota    = `{"error":{"message":"Your account is suspended, please check your plan and billing details","type":"exceeded_current_quota_error"}}`
)

// TestJudgeStatus guards who is blamed for an answer's status, and whether another
// instance is asked: the table of faults 3.1 and 4.2.
func TestJudgeStatus(t *testing.T) {
	f := func(status int, body string, ownKey, restGiven bool, want verdict) {
		t.Helper()
		r := &reply{status: status, body: []byte(body), restGiven: restGiven}
		if got := judgeStatus(status, r, ownKey); got != want {
			t.Errorf("status %d, own key %v, Retry-After %v, %s: got %+v, want %+v", status, ownKey, restGiven, body, got, want)
		}
	}
	rejected := verdict{outcome: outcomeRejected, reason: reasonStatus}
	rate := verdict{outcomeBusy, reasonRateLimit, rests, true}
	overload := verdict{outcomeBusy, reasonOverload, rests, true}
	loading := verdict{outcomeBusy, reasonLoading, leaves, true}
	quota := verdict{outcomeMisconfigured, reasonQuota, rests, true}
	key := verdict{outcomeMisconfigured, reasonKey, leaves, true}
	model := verdict{outcomeMisconfigured, reasonModel, leaves, true}
	for _, ownKey := range []bool{false, true} {
		for _, status := range []int{200, 201, 202, 204, 206, 304} {
			f(status, "", ownKey, false, whole)
		}
		for _, status := range []int{300, 301, 302, 303, 307, 308} { // N16
			f(status, "", ownKey, false, verdict{outcomeFailed, reasonRedirect, blameInstance, true})
		}
		// S7, S10: the client's own mistakes, and what no other instance does better.
		for _, status := range []int{400, 405, 406, 408, 409, 410, 413, 415, 422, 424, 431, 451, 499, 501, 505} {
			f(status, vllmBadValue, ownKey, false, rejected)
			want := rejected
			if status == 400 || status == 422 {
				want.reason = reasonContext
			}
			f(status, vllmTooLong, ownKey, false, want)
		}
		// S3, S4, S6: trouble, as is a dead engine's 503.
		for _, status := range []int{500, 502, 503, 504, 507, 520, 524} {
			f(status, vllmDead, ownKey, false, verdict{outcomeFailed, reasonStatus, blameInstance, true})
		}
		f(503, "", ownKey, false, verdict{outcomeFailed, reasonStatus, blameInstance, true})
		// S1.
		for _, restGiven := range []bool{false, true} {
			f(429, openAIRate, ownKey, restGiven, rate)
			f(429, anthropicRate, ownKey, restGiven, rate)
			f(429, "", ownKey, restGiven, rate)
			f(529, anthropicBusy, ownKey, restGiven, overload)
		}
		f(503, openAIBusy, ownKey, true, overload)
		f(503, llamaLoading, ownKey, true, overload) // the time it names is better than a guess
		// S5.
		f(503, llamaLoading, ownKey, false, loading)
		f(503, "Service is starting up", ownKey, false, loading)
		f(503, `{"error":"Model is not ready"}`, ownKey, false, loading)
		// S9, and the 404s that are about something else.
		for _, body := range []string{vllmNoModel, vllmNoModelNew, ollamaNoModel, ollamaNoModelNew, ollamaOwnNoModel, openAINoModel, anthropicNoModel} {
			f(404, body, ownKey, false, model)
		}
		for _, body := range []string{"", fastAPINoRoute, llamaNoRoute, openAINoFile, anthropicNoBatch, "404 page not found"} {
			f(404, body, ownKey, false, rejected)
		}
	}
	// S8: only a key of the file's is the gateway's to worry about.
	for _, status := range []int{401, 403} {
		for _, body := range []string{openAIKey, anthropicKey, llamaKey, ""} {
			f(status, body, true, false, key)
			f(status, body, false, false, rejected)
		}
	}
	f(403, openRouterFlag, true, false, rejected) // the prompt, not the key
	f(403, openRouterFlag, false, false, rejected)
	f(401, openRouterFlag, true, false, key)
	f(402, deepSeekMoney, true, false, quota)
	f(402, deepSeekMoney, false, false, rejected)
	f(429, openAIQuota, true, true, quota)
	f(429, moonshotQuota, true, false, quota)
}

// TestJudgeStreamError guards what an error event in a good stream means (N22):
// a failure from 500 on, for nobody to blame when it is a rate limit.
func TestJudgeStreamError(t *testing.T) {
	f := func(status int, want verdict) {
		t.Helper()
		if got := judgeStreamError(status); got != want {
			t.Errorf("status %d: got %+v, want %+v", status, got, want)
		}
	}
	for _, status := range []int{500, 502, 503, 504, 529} {
		f(status, verdict{outcomeFailed, reasonStream, blameInstance, true})
	}
	f(429, verdict{outcomeFailed, reasonStream, blameNobody, true})
	for _, status := range []int{400, 401, 403, 404, 413, 422} {
		f(status, verdict{outcome: outcomeRejected, reason: reasonStream})
	}
}

// TestBroken guards that a failure behind the first byte is a truncated answer
// which nobody repeats, and that an answer which takes too long in all is not the
// instance's fault.
func TestBroken(t *testing.T) {
	f := func(v, want verdict) {
		t.Helper()
		if got := v.broken(); got != want {
			t.Errorf("%+v: got %+v, want %+v", v, got, want)
		}
	}
	for _, why := range []reason{reasonReset, reasonMalformed, reasonStall, reasonCut} {
		f(failure(why), verdict{outcomeTruncated, why, blameInstance, false})
	}
	f(failure(reasonTotal), verdict{outcomeTruncated, reasonTotal, blameNobody, false})
	f(canceled, canceled)
	f(verdict{outcome: outcomeRejected, reason: reasonStream}, verdict{outcome: outcomeRejected, reason: reasonStream})
}

// TestOutcomeNames guards that each outcome and each phase has a name of its own.
func TestOutcomeNames(t *testing.T) {
	names := make(map[string]bool)
	for o := outcomeOK; o <= outcomeCanceled; o++ {
		names[o.String()] = true
	}
	for p := serving; p <= ramping; p++ {
		names[p.String()] = true
	}
	if want := int(outcomeCanceled) + 1 + int(ramping) + 1; len(names) != want || names[""] {
		t.Errorf("got the names %v, want %d", names, want)
	}
}

// TestRetryAfter guards how an instance's wish for silence is read (S1): in
// milliseconds, seconds or as a date, at most five minutes, 5 s without it.
func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 10, 25, 0, 59, 30, 0, time.UTC)
	f := func(ms, after string, want time.Duration, wantGiven bool) {
		t.Helper()
		h := make(http.Header)
		if ms != "" {
			h.Set("Retry-After-Ms", ms)
		}
		if after != "" {
			h.Set("Retry-After", after)
		}
		if got, given := retryAfter(h, now); got != want || given != wantGiven {
			t.Errorf("Retry-After-Ms %q, Retry-After %q: got %v, given %v, want %v, %v", ms, after, got, given, want, wantGiven)
		}
	}
	f("", "", 5*time.Second, false)
	f("", "7", 7*time.Second, true)
	f("", "0", 0, true)
	f("", "0.25", 250*time.Millisecond, true)
	f("", "300", 5*time.Minute, true)
	f("", "301", 5*time.Minute, true)
	f("", "1e300", 5*time.Minute, true)
	f("", "Inf", 5*time.Minute, true)
	f("", "Sun, 25 Oct 2026 01:00:00 GMT", 30*time.Second, true)
	f("", "Sunday, 25-Oct-26 01:00:00 GMT", 30*time.Second, true)
	f("", "Sun Oct 25 01:00:00 2026", 30*time.Second, true)
	f("", "Sun, 25 Oct 2026 09:00:00 GMT", 5*time.Minute, true)
	f("", "Sun, 25 Oct 2026 00:00:00 GMT", 0, true)
	f("1500", "", 1500*time.Millisecond, true)
	f("1500", "60", 1500*time.Millisecond, true)
	f("1e12", "", 5*time.Minute, true)
	f("soon", "60", time.Minute, true)
	f("-1", "60", time.Minute, true)
	for _, nonsense := range []string{"-1", "NaN", "soon", "1 s", "1e400", "Sun, 32 Oct 2026 01:00:00 GMT"} {
		f("", nonsense, 5*time.Second, false)
		f(nonsense, nonsense, 5*time.Second, false)
	}
}

// TestPresentable guards which errors of an instance a client may see: JSON, whole,
// without the key, and not about the gateway's own standing (S8, X15).
func TestPresentable(t *testing.T) {
	const key = "sk-secret"
	f := func(body string, why reason, want bool) {
		t.Helper()
		r := &reply{body: []byte(body)}
		if got := r.presentable(verdict{reason: why}, &instance{key: key}); got != want {
			t.Errorf("%.80s for %s: got %v, want %v", body, why, got, want)
		}
	}
	for _, why := range []reason{reasonStatus, reasonRateLimit, reasonOverload, reasonLoading, reasonModel} {
		f(anthropicBusy, why, true)
		f(" \r\n\t"+llamaLoading+"\n", why, true)
		f(`{"error":"bad key `+key+`"}`, why, false)
		for _, body := range []string{"", " ", "<html>", "Internal Server Error", `["no object"]`, "null"} {
			f(body, why, false)
		}
		f(`{"error":"`+strings.Repeat("x", maxReply-12)+`"}`, why, true)
		f(`{"error":"`+strings.Repeat("x", maxReply-11)+`"}`, why, false)
	}
	for _, why := range []reason{reasonKey, reasonQuota, reasonRedirect} {
		f(openAIQuota, why, false)
	}
	r := &reply{body: []byte(openAIRate)}
	if !r.presentable(verdict{reason: reasonRateLimit}, new(instance)) {
		t.Error("an instance without a key: not presentable, want it shown")
	}
}

// TestWords guards that an error's text is known by its words in any case, and not
// by others that come near.
func TestWords(t *testing.T) {
	for _, c := range []struct {
		name string
		says func(*reply) bool
		yes  []string
		no   []string
	}{
		{"loading", (*reply).saysLoading, []string{llamaLoading, "LOADING MODEL", "Warming up", "warmup", "initializing", openAIBusy}, []string{"", vllmDead, anthropicBusy}},
		{"money", (*reply).wantsMoney, []string{openAIQuota, moonshotQuota, `{"code":"INSUFFICIENT_BALANCE"}`}, []string{"", openAIRate, anthropicRate}},
		{"no model", (*reply).saysNoModel, []string{vllmNoModel, anthropicNoModel, strings.ToUpper(ollamaNoModel)}, []string{"", fastAPINoRoute, llamaNoRoute, anthropicNoBatch}},
	} {
		for _, body := range c.yes {
			if !c.says(&reply{body: []byte(body)}) {
				t.Errorf("%s: got no for %s, want yes", c.name, body)
			}
		}
		for _, body := range c.no {
			if c.says(&reply{body: []byte(body)}) {
				t.Errorf("%s: got yes for %s, want no", c.name, body)
			}
		}
	}
}
