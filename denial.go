package aigateway

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// denialReason says why a client is refused that the gateway could serve.
type denialReason uint8

const (
	refusedNoKey       denialReason = iota // no key is sent
	refusedKey                             // it is unknown, expired or disabled
	refusedQuery                           // it stands in the URL
	refusedAddress                         // too many wrong keys came from there
	refusedStatusPage                      // the key may not see how the fleet stands
	refusedModel                           // the key may not ask for the model
	refusedConcurrency                     // too many of the key's requests are under way
	refusedRequests                        // too many in a minute
	refusedTokens                          // too many tokens in a minute
	refusedSize                            // more tokens than a minute ever has
	refusedBudget                          // of a day or a month
	denials                                // how many there are
)

// denialNames are the values of the metric's label.
var denialNames = [denials]string{
	"no_key", "wrong_key", "key_in_query", "address", "status_page", "model", "concurrency", "requests", "tokens", "request_tokens", "budget",
}

// refused counts denials in this process.
var refused [denials]atomic.Int64

// denial is an answer to a client that is refused.
type denial struct {
	apiError
	reason    denialReason
	challenge string        // of WWW-Authenticate, or ""
	wait      time.Duration // of Retry-After, 0 for none
	final     bool          // to ask again is of no use
	requests  rateState     // of the key's limits, for the client, as tokens
	tokens    rateState
}

// rateState is how a key stands towards a limit of a minute. A limit of 0 is none.
type rateState struct {
	limit, left int64
	reset       time.Duration // until all of it is left again
}

// write counts the refusal and answers.
func (f *denial) write(w http.ResponseWriter, d dialect) {
	refused[f.reason].Add(1)
	h := w.Header()
	if f.challenge != "" {
		h.Set("WWW-Authenticate", f.challenge)
	}
	if f.wait > 0 {
		h.Set("Retry-After", wholeSeconds(f.wait))
	}
	if f.final {
		h.Set("X-Should-Retry", "false")
	}
	f.requests.write(h, "requests")
	f.tokens.write(h, "tokens")
	f.apiError.write(w, d)
}

// write sets the headers of OpenAI's API about a limit.
func (s *rateState) write(h http.Header, of string) {
	if s.limit == 0 {
		return
	}
	h.Set("X-Ratelimit-Limit-"+of, strconv.FormatInt(s.limit, 10))
	h.Set("X-Ratelimit-Remaining-"+of, strconv.FormatInt(s.left, 10))
	h.Set("X-Ratelimit-Reset-"+of, s.reset.Round(time.Millisecond).String())
}
