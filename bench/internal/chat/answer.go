package chat

import (
	"encoding/json"
	"strconv"
)

// tokens are the words of answers in JSON form. Their number is a prime, so
// that every stride visits all of them.
var tokens = func() [][]byte {
	var out [][]byte
	for _, s := range []string{
		" the", " of", " model", " and", " gateway", " to", " in", " answer", " token", " is", " it", " for",
		" was", " on", " are", " with", " they", " at", " be", " this", " from", " one", " had", " but", " all",
		" when", " can", " your", " said", " there", " use", " each", "\n", "\t", ` "q"`, ` a\b`, " naïve",
		" “x”", " 漢字", " 🙂", ".", ",", " if",
	} {
		b, err := json.Marshal(s)
		if err != nil {
			panic(err) // cannot happen: a string
		}
		out = append(out, b[1:len(b)-1])
	}
	return out
}()

// stampDigits is the width of a time in nanoseconds, up to the year 2286.
const stampDigits = 19

// Answer is the one right answer to a request. Reset it before use; its
// buffers are its own and are used again.
type Answer struct {
	seed        uint32
	order       Order
	fingerprint []byte
	prefix      []byte // of every event, up to the place of the time stamp
	member      []byte // model and fingerprint
}

// Reset makes a the answer to the given seed and order.
func (a *Answer) Reset(seed uint32, model, fingerprint []byte, o Order) {
	a.seed, a.order = seed, o
	a.member = append(a.member[:0], `","created":1700000000,"model":"`...)
	a.member = append(append(a.member, model...), `","system_fingerprint":"`...)
	a.member = append(append(a.member, fingerprint...), '"')
	a.prefix = append(a.prefix[:0], `data: {"id":"chatcmpl-`...)
	a.prefix = strconv.AppendUint(a.prefix, uint64(seed), 10)
	a.prefix = append(a.prefix, `","object":"chat.completion.chunk`...)
	a.prefix = append(append(a.prefix, a.member...), `,"sent_ns":`...)
}

func (a *Answer) token(i int) []byte {
	n := uint32(len(tokens))
	return tokens[(a.seed+uint32(i)*(1+a.seed/n%(n-1)))%n]
}

// AppendWhole appends the answer as one JSON object.
func (a *Answer) AppendWhole(dst []byte) []byte {
	dst = append(dst, `{"id":"chatcmpl-`...)
	dst = strconv.AppendUint(dst, uint64(a.seed), 10)
	dst = append(dst, `","object":"chat.completion`...)
	dst = append(dst, a.member...)
	dst = append(dst, `,"choices":[{"index":0,"message":{"role":"assistant","content":"`...)
	for i := range a.order.Tokens {
		dst = append(dst, a.token(i)...)
	}
	dst = append(dst, `"},"logprobs":null,"finish_reason":"stop"}],`...)
	return append(a.appendUsage(dst), '}')
}

func (a *Answer) appendUsage(dst []byte) []byte {
	dst = append(dst, `"usage":{"prompt_tokens":100,"completion_tokens":`...)
	dst = strconv.AppendInt(dst, int64(a.order.Tokens), 10)
	dst = append(dst, `,"total_tokens":`...)
	dst = strconv.AppendInt(dst, int64(100+a.order.Tokens), 10)
	return append(dst, '}')
}

// Events returns the number of events of the streamed answer: the role, a token
// each, the finish reason, the usage when it was asked for, and [DONE].
func (a *Answer) Events() int {
	if a.order.Usage {
		return a.order.Tokens + 4
	}
	return a.order.Tokens + 3
}

// Token reports whether event i carries a token, and if so its number from 0.
func (a *Answer) Token(i int) (int, bool) { return i - 1, i >= 1 && i <= a.order.Tokens }

// AppendEvent appends event i of the streamed answer, blank line included, sent
// at the given time in nanoseconds since 1970. Its length is the same for every
// time.
//
//	data: {"id":"chatcmpl-100000001",…,"sent_ns":1767225600000000000,"choices":[{"index":0,"delta":{"content":" the"},…}]}
func (a *Answer) AppendEvent(dst []byte, i int, sent int64) []byte {
	if i == a.Events()-1 {
		return append(dst, "data: [DONE]\n\n"...)
	}
	dst = append(dst, a.prefix...)
	dst = appendStamp(dst, sent)
	switch n, ok := a.Token(i); {
	case i == 0:
		dst = append(dst, `,"choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]`...)
	case ok:
		dst = append(dst, `,"choices":[{"index":0,"delta":{"content":"`...)
		dst = append(dst, a.token(n)...)
		dst = append(dst, `"},"logprobs":null,"finish_reason":null}]`...)
	case i == a.order.Tokens+1:
		dst = append(dst, `,"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]`...)
	default:
		dst = a.appendUsage(append(dst, `,"choices":[],`...))
	}
	return append(dst, "}\n\n"...)
}

func appendStamp(dst []byte, sent int64) []byte {
	at := len(dst)
	dst = append(dst, "0000000000000000000"...)
	for i := at + stampDigits - 1; i >= at; i-- {
		dst[i] = byte('0' + sent%10)
		sent /= 10
	}
	return dst
}
