package aigateway

import (
	"maps"
	"slices"
)

// OverflowConfig says what becomes of a prompt that an instance refuses as longer than its
// context, by a 400 or 422 that says so.
type OverflowConfig struct {
	// Enabled sends it on to an instance of the model whose context is known to be longer,
	// by context_length or by what the instance tells, or else to the model that models
	// name. The client gets the refusal only if there is none. The default is false: the
	// client gets it at once.
	Enabled bool `json:"enabled"`

	// Models are those that are asked instead, by the model that is asked for; "*" stands
	// for all others. Each is the model_name of an instance, and asked only for clients
	// whose key may ask for it; it is sent under that name, at that price. The default is
	// none.
	Models map[string]string `json:"models"`
}

// overflow checks the names of models in the group of that name.
func (c *checker) overflow(models map[string]string) {
	for _, model := range slices.Sorted(maps.Keys(models)) {
		switch other := models[model]; {
		case model == "" || !validModelName(model):
			c.report([]any{"overflow", "models", model}, "want a model's name of at most 256 bytes without control characters, or \"*\"")
		case other == "" || other == anyModel || !validModelName(other):
			c.report([]any{"overflow", "models", model}, "want the name of the model that is asked instead")
		case other == model:
			c.report([]any{"overflow", "models", model}, "got the same model on both sides, want one with more room")
		}
	}
}

// overflowModels checks that somebody serves the models that are asked instead.
func (c *checker) overflowModels(cfg *Config) {
	var served []string
	for _, entry := range cfg.entries() {
		if entry.ModelName != anyModel && !slices.Contains(served, entry.ModelName) {
			served = append(served, entry.ModelName)
		}
	}
	for _, model := range slices.Sorted(maps.Keys(cfg.Overflow.Models)) {
		if other := cfg.Overflow.Models[model]; other != "" && other != anyModel && !slices.Contains(served, other) {
			c.report([]any{"overflow", "models", model}, "no instance has the model %s, want the model_name of one", quote(other))
		}
	}
}
