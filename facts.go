package aigateway

import (
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/engine"
)

// facts is what an instance has told of itself: engine.Facts has its engine, version and
// models. It is immutable; the poller stores a new one in instanceState.facts whenever the
// instance has told anew, and what it told last stays while it does not answer. Nil until
// the first answer, and for ever for instances that are not polled: nothing is known then,
// so nothing must be concluded.
//
//	if f := i.state.facts.Load(); f != nil { … f.Models … }
type facts struct {
	engine.Facts
	detected bool          // the file does not say which engine it is
	at       time.Duration // of the clock: when it was told
}

// context returns how many tokens the prompt and the answer of a request for model, as
// clients call it, may have together on this instance, by what the instance has told; 0 if
// that is not known. It takes no lock.
func (i *instance) context(model string) int {
	f := i.state.facts.Load()
	if f == nil {
		return 0
	}
	if i.upstreamModel != "" {
		model = i.upstreamModel
	}
	m, ok := f.Model(model)
	if !ok && len(f.Models) == 1 { // llama.cpp and TGI take any name for the one that they have
		m = f.Models[0]
	}
	return m.Context
}
