package chat

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"time"
)

// Model is the model that requests ask for and configurations name.
const Model = "mock-model"

// FirstSeed is the smallest seed. Seeds have 9 digits, so that one can be
// written over another.
const FirstSeed = 100_000_000

const (
	messagesOpen  = `"messages":`
	messagesClose = `,"temperature":`
	mockOpen      = `"mock":{"seed":`
)

// Order says what the answer to a request is to be.
type Order struct {
	Tokens int           // words in the answer
	Gap    time.Duration // from one token to the next, in whole milliseconds; 0 sends them at once
	Stream bool          // server-sent events instead of one JSON object
	Usage  bool          // stream_options.include_usage
}

// Request is a request body whose seed can be changed in place.
type Request struct {
	Body        []byte
	Fingerprint []byte // what the answer's system_fingerprint has to be
	seedAt      int
}

// NewRequest builds a request of about size bytes.
func NewRequest(size int, o Order) *Request {
	head := `{"model":"` + Model + `",` + messagesOpen +
		`[{"role":"system","content":"You are a careful assistant."},{"role":"user","content":"`
	tail := messagesClose + `0.7,"max_tokens":1024,"stream":` + strconv.FormatBool(o.Stream)
	if o.Stream && o.Usage {
		tail += `,"stream_options":{"include_usage":true}`
	}
	order := fmt.Sprintf(`%d,"tokens":%d,"gap_ms":%d}}`, FirstSeed, o.Tokens, o.Gap.Milliseconds())
	fill := size - len(head) - len(`"}]`) - len(tail) - len(`,`+mockOpen) - len(order)

	b := appendPrompt([]byte(head), max(fill, 16))
	b = append(b, `"}]`+tail+`,`+mockOpen...)
	r := &Request{seedAt: len(b)}
	r.Body = append(b, order...)
	r.Fingerprint = appendFingerprint(nil, messages(r.Body))
	return r
}

// SetSeed writes the seed into buf, a copy of Body.
func (r *Request) SetSeed(buf []byte, seed uint32) {
	strconv.AppendUint(buf[:r.seedAt], uint64(seed), 10)
}

// messages returns the messages of a request body as they stand there.
func messages(body []byte) []byte {
	_, b, _ := bytes.Cut(body, []byte(messagesOpen))
	b, _, _ = bytes.Cut(b, []byte(messagesClose))
	return b
}

func appendFingerprint(dst, messages []byte) []byte {
	return fmt.Appendf(dst, "fp_%08x_%d", crc32.ChecksumIEEE(messages), len(messages))
}

// ErrNoOrder is returned when a request body has no mock member.
var ErrNoOrder = errors.New(`no member "mock" with seed, tokens and gap_ms`)

// Parse reads a request as the upstream got it, and resets a to its answer.
//
// It looks for members by their text instead of parsing, because a mock has to
// cost less than what it helps to measure. No prompt can fool it: a quotation
// mark in a prompt has a backslash before it.
func Parse(body []byte, a *Answer) (Order, error) {
	var o Order
	i := bytes.LastIndex(body, []byte(mockOpen))
	if i < 0 {
		return o, ErrNoOrder
	}
	tail := body[i+len(mockOpen):]
	seed, tail := number(tail)
	tokens, tail := number(bytes.TrimPrefix(tail, []byte(`,"tokens":`)))
	gap, _ := number(bytes.TrimPrefix(tail, []byte(`,"gap_ms":`)))
	if seed < FirstSeed || tokens == 0 {
		return o, ErrNoOrder
	}
	o = Order{Tokens: tokens, Gap: time.Duration(gap) * time.Millisecond}
	o.Stream = bytes.Contains(body, []byte(`"stream":true`))
	o.Usage = o.Stream && bytes.Contains(body, []byte(`"include_usage":true`))
	_, model, _ := bytes.Cut(body, []byte(`"model":"`))
	model, _, _ = bytes.Cut(model, []byte(`"`))
	a.fingerprint = appendFingerprint(a.fingerprint[:0], messages(body))
	a.Reset(uint32(seed), model, a.fingerprint, o)
	return o, nil
}

// number reads the digits at the start of b and returns what follows them.
func number(b []byte) (int, []byte) {
	n, i := 0, 0
	for ; i < len(b) && i < 18 && b[i] >= '0' && b[i] <= '9'; i++ {
		n = n*10 + int(b[i]-'0')
	}
	return n, b[i:]
}
