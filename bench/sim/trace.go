package main

import (
	"math"
	"math/rand/v2"
	"time"
)

// trace is a kind of traffic.
type trace struct {
	name string

	// Conversations: each has the system prompt of its tenant, and asks the next question
	// some time after the answer.
	tenants  int
	system   int     // tokens
	question int     // mean, tokens
	answer   int     // mean, tokens
	turns    float64 // mean
	think    time.Duration

	// Requests that have nothing in common with others.
	batch       float64 // share of all first requests
	batchPrompt int     // mean, tokens
	batchAnswer int     // mean, tokens
}

// The sizes of conversations are those of the data set generated-shared-prefix in SGLang's
// bench_serving as it stands: 64 groups, each with a system prompt of 2,048 tokens, questions
// of 128 and answers of 256. Five turns and ten seconds between them are an assumption. Of
// batch requests the sizes are the 1,024 and 128 tokens of vLLM's own serving benchmark with
// random prompts.
var (
	conversations = trace{
		name: "conversations", tenants: 64, system: 2048, question: 128, answer: 256, turns: 5, think: 10 * time.Second,
	}
	batch = trace{name: "batch", batch: 1, batchPrompt: 1024, batchAnswer: 128}
	mixed = trace{
		name: "mixed", tenants: 64, system: 2048, question: 128, answer: 256, turns: 5, think: 10 * time.Second,
		batch: 0.5, batchPrompt: 1024, batchAnswer: 128,
	}
)

// talk is a conversation, or a single request.
type talk struct {
	rng        *rand.Rand // of its own, so that it is the same under every policy
	tenant, id uint64
	shared     int    // tokens of the system prompt
	tokens     int    // of all messages so far
	body       []byte // the messages so far, as JSON
	turns      int    // left
	answer     int    // mean
}

// request is one turn.
type request struct {
	talk      *talk
	arrived   time.Duration
	prompt    int // tokens
	output    int // tokens
	body      []byte
	engine    int
	work      int64 // tokens, as the gateway counts them
	ttft      time.Duration
	measured  bool
	computed  int // tokens that are in the cache
	generated int
	chunk     int // tokens of the step under way
	blocks    []*block
	filled    int // blocks that have got their ID
}

// blockID is the hash that the engine has for a block of the request: of all tokens up to
// its end. Whole blocks of a system prompt are those of all its talks.
func (r *request) blockID(n int) uint64 {
	t := r.talk
	if (n+1)*blockTokens <= t.shared {
		return 1 + t.tenant<<20 + uint64(n)
	}
	return 1<<63 + t.id<<20 + uint64(n)
}

// maxTalk is where conversations end, in tokens: the longest prompt that engines are asked.
const maxTalk = 8192

// talks begins a conversation or a single request.
func (tr *trace) talks(seed, id uint64) *talk {
	rng := rand.New(rand.NewPCG(seed, id))
	if rng.Float64() < tr.batch {
		t := &talk{rng: rng, id: id, turns: 1, answer: tr.batchAnswer}
		t.says(rng, "user", length(rng, tr.batchPrompt))
		return t
	}
	t := &talk{rng: rng, id: id, tenant: rng.Uint64N(uint64(tr.tenants)), shared: tr.system, answer: tr.answer}
	t.turns = 1 + int(rng.ExpFloat64()*(tr.turns-1)+0.5)
	t.says(rand.New(rand.NewPCG(t.tenant, 1)), "system", tr.system)
	t.says(rng, "user", length(rng, tr.question))
	return t
}

// length is a number of tokens around mean, log-normal as those of real prompts are.
func length(rng *rand.Rand, mean int) int {
	const sigma = 0.6
	return max(4, min(4*mean, int(float64(mean)*math.Exp(sigma*rng.NormFloat64()-sigma*sigma/2))))
}

// says adds a message of so many tokens to the talk, of four bytes each.
func (t *talk) says(rng *rand.Rand, role string, tokens int) {
	if len(t.body) > 0 {
		t.body = append(t.body, ',')
	}
	t.body = append(t.body, `{"role":"`+role+`","content":"`...)
	for range tokens {
		letters := rng.Uint32()
		t.body = append(t.body, 'a'+byte(letters%26), 'a'+byte(letters>>8%26), 'a'+byte(letters>>16%26), ' ')
	}
	t.body = append(t.body, `"}`...)
	t.tokens += tokens
}

// asks makes the next request of the talk.
func (t *talk) asks() *request {
	t.turns--
	body := make([]byte, 0, len(t.body)+64)
	body = append(body, `{"model":"m","messages":[`...)
	body = append(append(body, t.body...), `],"stream":true}`...)
	return &request{talk: t, prompt: t.tokens, output: length(t.rng, t.answer), body: body}
}
