package aigateway

import (
	"cmp"
	"net/http"
	"slices"
)

// maxModels bounds what is taken of the list of models of one server: what it says is no
// more to be trusted than an answer, and each model has a pool, or a line, and metrics.
const maxModels = 256

// modelInfo is one entry of /v1/models, as OpenAI shapes it.
type modelInfo struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
	// MaxModelLen is how many tokens prompt and answer may have together, by the name that
	// vLLM gives it; not there if no instance has told.
	MaxModelLen int `json:"max_model_len,omitempty"`
}

// serveModels lists the models that the key may ask for: those of the file, and what instances
// for any model have told that they have. It asks no instance, so it cannot fail because one
// is down, and waits for none.
func (h *Handler) serveModels(w http.ResponseWriter, rt *route, snap *snapshot, key *clientKey) {
	models := snap.fleet.listed()
	list := make([]modelInfo, 0, len(models))
	for _, model := range models {
		if !key.allows(model) || rt.model != "" && rt.model != model {
			continue
		}
		info := modelInfo{
			ID: model, Object: "model", Created: snap.loaded.Unix(), OwnedBy: "caddy-ai-gateway", MaxModelLen: snap.fleet.pool(model).context(model),
		}
		if rt.model != "" {
			writeJSON(w, http.StatusOK, info)
			return
		}
		list = append(list, info)
	}
	if rt.model != "" {
		unknownModel(rt.model, key.allowed(snap.available())).write(w, rt.dialect)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": list})
}

// listed returns the names of the models that are known to be there, sorted: those of the
// pools, and what the instances of anyModel have told.
func (f *fleet) listed() []string {
	if f.any == nil {
		return f.models
	}
	all := slices.Clone(f.models)
	for _, r := range f.any.tiers {
		for _, i := range r.instances {
			if i.upstreamModel == "" { // it calls every model so
				all = append(all, i.state.facts.Load().list()...)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// context returns how many tokens the prompt and the answer of a request for model may have
// together: the most that the file says of a primary instance, or the instance itself, as
// longer requests go there; that of a fallback instance if none is known of a primary; 0 if
// none is known at all.
func (p *pool) context(model string) (most int) {
	for _, r := range p.tiers {
		for _, i := range r.instances {
			most = max(most, cmp.Or(i.contextLength, i.context(model)))
		}
		if most > 0 {
			break
		}
	}
	return most
}
