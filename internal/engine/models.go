package engine

import (
	"encoding/json"
	"net/http"
	"strconv"
	"unicode"
)

const (
	modelsPath = "/v1/models"
	maxModels  = 10_000
	maxID      = 256     // bytes, as of models in the gateway's file
	maxContext = 1 << 30 // tokens: more is a mistake
)

// number is one that may be missing, null, a string or absurd.
type number float64

// UnmarshalJSON takes what is no number for 0.
func (n *number) UnmarshalJSON(text []byte) error {
	value, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		value = 0
	}
	*n = number(value)
	return nil
}

// tokens is a length of a context, 0 if it can be none.
func (n number) tokens() int {
	if n >= 1 && n <= maxContext {
		return int(n)
	}
	return 0
}

// listed is an entry of /v1/models: OpenAI's members, and those in which servers tell the
// length of the context.
type listed struct {
	ID      string `json:"id"`
	OwnedBy string `json:"owned_by"`

	MaxModelLen   number `json:"max_model_len"`  // vLLM, SGLang
	ContextLength number `json:"context_length"` // of routers to many providers
	ContextWindow number `json:"context_window"`
}

func (m *listed) model() Model {
	context := m.MaxModelLen.tokens()
	if context == 0 {
		context = m.ContextLength.tokens()
	}
	if context == 0 {
		context = m.ContextWindow.tokens()
	}
	return Model{m.ID, context}
}

// readList reads the entries of a list of models, nil if it is none.
func readList(a Answer) []listed {
	var list struct {
		Data []listed `json:"data"`
	}
	if a.Status != http.StatusOK || json.Unmarshal(a.Body, &list) != nil {
		return nil
	}
	return list.Data
}

// readModels returns the models of a list, which may be empty. The error is [ErrUntold] if it
// is no list.
func readModels(a Answer) (models []Model, err error) {
	var list struct {
		Data *json.RawMessage `json:"data"`
	}
	if a.Status != http.StatusOK || json.Unmarshal(a.Body, &list) != nil || list.Data == nil {
		return nil, ErrUntold
	}
	for _, m := range readList(a) {
		models = appendModel(models, m.model())
	}
	return models, nil
}

// appendModel appends m if it is one, and there is room.
func appendModel(models []Model, m Model) []Model {
	if m.ID == "" || len(m.ID) > maxID || !isPlain(m.ID) || len(models) == maxModels {
		return models
	}
	return append(models, m)
}

// isPlain reports whether text has no control characters.
func isPlain(text string) bool {
	for _, r := range text {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return false
		}
	}
	return true
}
