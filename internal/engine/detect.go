package engine

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
)

// owners are what engines say of their models.
var owners = map[string]Name{"vllm": VLLM, "sglang": SGLang, "llamacpp": LlamaCpp, "library": Ollama}

// sign is a path that one engine has, and the members of its answer, all of which must be
// there.
type sign struct {
	engine  Name
	path    string
	members []string
}

// signs are looked for in this order, the surest first.
var signs = []sign{
	{LlamaCpp, "/props", []string{"default_generation_settings"}},
	{TGI, "/info", []string{"model_id", "max_total_tokens"}},
	{SGLang, "/get_model_info", []string{"model_path", "is_generation"}},
	{Ollama, "/api/version", []string{"version"}},
	{VLLM, "/version", []string{"version"}},
}

// detect returns which engine the server is, by its list of models or, where that says
// nothing, by paths that only one has. The error is [ErrUntold] for a server in trouble: it
// may be any.
func (s *Server) detect(ctx context.Context, list Answer) (Name, error) {
	models := readList(list)
	for _, m := range models {
		if name := owners[m.OwnedBy]; name != "" {
			return name, nil
		}
	}
	if strings.HasPrefix(strings.ToLower(list.Server), "llama.cpp") {
		return LlamaCpp, nil
	}
	trouble := list.Status >= 500 && list.Status != http.StatusNotImplemented
	for _, sign := range signs {
		// Many programs tell a version there. That it is vLLM is likely only where no list
		// says otherwise: it asks for the key there, and here for none.
		if sign.engine == VLLM && len(models) > 0 {
			continue
		}
		a, err := s.ask(ctx, sign.path)
		if err != nil {
			return "", err
		}
		if a.Status == http.StatusOK && sign.in(a.Body) {
			return sign.engine, nil
		}
	}
	if trouble {
		return "", ErrUntold
	}
	return Generic, nil
}

func (s *sign) in(body []byte) bool {
	var told map[string]json.RawMessage
	if json.Unmarshal(body, &told) != nil {
		return false
	}
	for _, member := range s.members {
		if told[member] == nil {
			return false
		}
	}
	return true
}
