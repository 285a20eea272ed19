package aigateway

import "net/http"

// outcome says how an attempt ended.
type outcome uint8

const (
	outcomeOK            outcome = iota // a whole answer
	outcomeRejected                     // the client's own mistake, told by the instance
	outcomeBusy                         // the instance asks to be left alone for a while
	outcomeMisconfigured                // the instance refuses the gateway's key, or does not know the model
	outcomeFailed                       // no answer, or one of an instance in trouble
	outcomeTruncated                    // broke after the client had got the first byte
	outcomeCanceled                     // the client went away
	outcomeShutdown                     // the gateway ended before the answer did
)

func (o outcome) String() string {
	return [...]string{"ok", "rejected", "busy", "misconfigured", "failed", "truncated", "canceled", "shutdown"}[o]
}

// reason says why an attempt ended as it did, in one of a fixed set of words
// that logs, metrics and error codes share.
type reason string

const (
	reasonNone       reason = ""
	reasonConnect    reason = "connect"           // refused, unreachable, or slower than timeouts.connect
	reasonResolve    reason = "resolve"           // the host's name is not known
	reasonTLS        reason = "tls"               // handshake failed
	reasonTLSTimeout reason = "tls_timeout"       // handshake slower than timeouts.tls
	reasonTLSExpired reason = "tls_expired"       // certificate out of its time
	reasonTLSName    reason = "tls_name"          // certificate for another host
	reasonTLSIssuer  reason = "tls_issuer"        // certificate of an unknown authority
	reasonReset      reason = "reset"             // connection broken
	reasonMalformed  reason = "malformed"         // no valid HTTP
	reasonFirstToken reason = "first_token"       // slower than timeouts.first_token
	reasonStall      reason = "stall"             // silent for timeouts.stall
	reasonTotal      reason = "total"             // longer than timeouts.total
	reasonTransport  reason = "transport_timeout" // a deadline of the Caddyfile's transport
	reasonStatus     reason = "status"            // an error status
	reasonRateLimit  reason = "rate_limit"        // 429
	reasonOverload   reason = "overload"          // 503 with Retry-After, or 529
	reasonLoading    reason = "loading"           // 503 while the model is being loaded
	reasonSleeping   reason = "sleeping"          // it says itself that its model has been put aside
	reasonKey        reason = "key"               // 401 or 403 for the instance's own key
	reasonQuota      reason = "quota"             // the provider wants money
	reasonModel      reason = "model"             // 404: the instance does not have the model
	reasonContext    reason = "context_length"    // 400 or 422: the prompt is longer than the instance's context
	reasonRedirect   reason = "redirect"          // 3xx, which is never followed
	reasonBadAnswer  reason = "bad_answer"        // empty, or a web page, where the API answers JSON
	reasonStream     reason = "stream_error"      // an error event in a stream
	reasonCut        reason = "cut"               // ended before it was whole
	reasonResources  reason = "gateway_resources" // the gateway is out of sockets or memory
	reasonGateway    reason = "gateway"           // the request could not be sent as it is
	reasonShutdown   reason = "shutdown"          // the gateway ends
	reasonManual     reason = "manual"            // ejected by hand
)

// verdict is what the end of an attempt means. Nothing else decides about blame:
// [judgeError], [judgeStatus] and [judgeStream] make all of them.
type verdict struct {
	outcome outcome
	reason  reason
	blame   blame
	// elsewhere says that another instance may do better, as long as nothing has
	// been sent to the client.
	elsewhere bool
}

// blame is what an outcome means for the instance.
type blame uint8

const (
	// blameNobody: neither praise nor a failure. A trial that ends so is repeated.
	blameNobody blame = iota
	// blameInstance counts as a failure.
	blameInstance
	// praise counts as a success.
	praise
	// rests: no requests for a time that the instance names.
	rests
	// leaves: no requests until a trial shows that what was wrong with it (its key,
	// the model, loading) is put right.
	leaves
)

// The verdicts that need no evidence.
var (
	whole    = verdict{outcome: outcomeOK, blame: praise}
	canceled = verdict{outcome: outcomeCanceled}
)

// failure is the verdict for an instance in trouble.
func failure(why reason) verdict {
	return verdict{outcome: outcomeFailed, reason: why, blame: blameInstance, elsewhere: true}
}

// judgeStatus judges an answer by its status. Answer is needed for those above
// 399 only; ownKey says that the instance was sent a key of the file's.
func judgeStatus(status int, answer *reply, ownKey bool) verdict {
	switch {
	case status < 300 || status == http.StatusNotModified:
		return whole
	case status < 400:
		return failure(reasonRedirect)
	case ownKey && (status == http.StatusTooManyRequests && answer.wantsMoney() || status == http.StatusPaymentRequired):
		return verdict{outcomeMisconfigured, reasonQuota, rests, true}
	case status == http.StatusTooManyRequests:
		return verdict{outcomeBusy, reasonRateLimit, rests, true}
	case status == 529, status == http.StatusServiceUnavailable && answer.restGiven:
		return verdict{outcomeBusy, reasonOverload, rests, true}
	case status == http.StatusServiceUnavailable && answer.saysLoading():
		return verdict{outcomeBusy, reasonLoading, leaves, true}
	case status == http.StatusForbidden && answer.saysForbidden():
		return verdict{outcome: outcomeRejected, reason: reasonStatus}
	case (status == http.StatusUnauthorized || status == http.StatusForbidden) && ownKey:
		return verdict{outcomeMisconfigured, reasonKey, leaves, true}
	case status == http.StatusNotFound && answer.saysNoModel():
		return verdict{outcomeMisconfigured, reasonModel, leaves, true}
	case answer.saysTooLong():
		return verdict{outcome: outcomeRejected, reason: reasonContext}
	case status < 500, status == http.StatusNotImplemented, status == http.StatusHTTPVersionNotSupported:
		return verdict{outcome: outcomeRejected, reason: reasonStatus}
	default:
		return failure(reasonStatus)
	}
}

// judgeStreamError judges an error event by the status that it stands for.
func judgeStreamError(status int) verdict {
	if status >= 500 || status == http.StatusTooManyRequests {
		v := failure(reasonStream)
		if status == http.StatusTooManyRequests {
			v.blame = blameNobody
		}
		return v
	}
	return verdict{outcome: outcomeRejected, reason: reasonStream}
}

// broken is the verdict v for an answer of which the client has a part.
func (v verdict) broken() verdict {
	if v.outcome == outcomeFailed {
		v.outcome, v.elsewhere = outcomeTruncated, false
	}
	if v.reason == reasonTotal { // it was answering all the time
		v.blame = blameNobody
	}
	return v
}
