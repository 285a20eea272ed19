package aigateway

import (
	"bytes"
	"testing"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
)

// countedAttempt returns an attempt as far as counting looks at it.
func countedAttempt() *attempt {
	i := &instance{state: new(instanceState)}
	x := &exchange{pool: &pool{state: new(modelState)}, began: clock()}
	a := &x.firstAttempt
	x.tried = append(x.firstTried[:0], i)
	a.exchange, a.instance, a.begun = x, i, x.began
	a.relay.attempt = a
	return a
}

// BenchmarkCountRequest is what counting adds to a stream of one chunk: the readings
// of the clock that would not be made without it, the first token, the usage in the
// last events, the attempt's and the request's end.
func BenchmarkCountRequest(b *testing.B) {
	events := bytes.Repeat([]byte(`data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"word "}}]}`+"\n\n"), 15)
	events = append(events, `data: {"id":"c","choices":[],"usage":{"prompt_tokens":30,"completion_tokens":15,"total_tokens":45}}`+"\n\ndata: [DONE]\n\n"...)
	a := countedAttempt()
	x, rl := a.exchange, &a.relay
	rl.stream = openai.NewStream(openai.Chat, false)
	rl.stream.Write(events)
	b.ReportAllocs()
	for b.Loop() {
		x.own += clock() - x.working // before the round trip
		x.working = clock()          // behind it
		x.working = clock()          // behind the first read of a stream
		rl.pace = paces.Get().(*pace)
		a.answers(x.working)
		rl.step(x.working)
		rl.readUsage()
		rl.endPace()
		a.count(whole, x.working)
		x.finish()
	}
	if a.usage.source != usageTold || a.usage.Completion != 15 {
		b.Errorf("got usage %+v, want 15 tokens", a.usage)
	}
}

// BenchmarkCountPlain is the same for a plain answer of 1 KB.
func BenchmarkCountPlain(b *testing.B) {
	answer := append([]byte(`{"id":"c","choices":[{"message":{"content":"`), bytes.Repeat([]byte("word "), 180)...)
	answer = append(answer, `"}}],"usage":{"prompt_tokens":30,"completion_tokens":15,"total_tokens":45}}`...)
	a := countedAttempt()
	x, rl := a.exchange, &a.relay
	b.ReportAllocs()
	for b.Loop() {
		x.own += clock() - x.working
		x.working = clock()
		rl.tail = tails.Get().(*[]byte)
		a.answers(x.working)
		rl.keepTail(answer)
		rl.readUsage()
		*rl.tail = (*rl.tail)[:0]
		tails.Put(rl.tail)
		a.count(whole, x.working)
		x.finish()
	}
	if a.usage.source != usageTold || a.usage.Completion != 15 {
		b.Errorf("got usage %+v, want 15 tokens", a.usage)
	}
}

// BenchmarkCountChunk is what counting adds to a chunk of a stream.
func BenchmarkCountChunk(b *testing.B) {
	a := countedAttempt()
	rl := &a.relay
	rl.pace = paces.Get().(*pace)
	piece := []byte(`data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"word "}}]}` + "\n\n")
	now := clock()
	b.ReportAllocs()
	for b.Loop() {
		now += 20 * time.Millisecond
		rl.step(now)
		rl.pace.gets(piece)
	}
}
