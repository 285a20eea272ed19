package aigateway

import (
	"math"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/engine"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/page"
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

// maxToldAge is how long people are shown what an instance said of its load.
const maxToldAge = time.Minute

// toldLoad is what an instance said of its load, and when. It is immutable.
type toldLoad struct {
	engine.Gauges
	at time.Duration
}

// tells reports whether g says anything of a load.
func tells(g engine.Gauges) bool {
	return !math.IsNaN(g.Running) || !math.IsNaN(g.Waiting) || !math.IsNaN(g.KV)
}

// report words the load for people.
func (l *toldLoad) report(now time.Duration) *page.EngineLoad {
	number := func(value float64) *float64 {
		if math.IsNaN(value) || math.IsInf(value, 0) {
			return nil
		}
		return &value
	}
	return &page.EngineLoad{
		Running: number(l.Running), Waiting: number(l.Waiting), KV: number(l.KV), PrefixHits: number(l.Hits / l.Queries),
		Age: (now - l.at).Seconds(),
	}
}
