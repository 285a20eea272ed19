package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
)

// question is a path and how to read its answer.
type question struct {
	path string
	read func(a Answer, l *Look)
}

// profile is how an engine is asked. What it does not have is empty.
//
// The paths /health of SGLang and TGI are not asked: SGLang computes a token for each, TGI as
// long as it has not computed any for others. Neither opens its port before the model is
// loaded. vLLM's /health tells only a dead engine, of which nothing may follow here.
type profile struct {
	// gauges are asked in this order, up to the first that the server has.
	gauges []question
	// state is asked for whether it takes requests.
	state question
	// complete adds to models what is not in their list, and sets the version.
	complete func(ctx context.Context, s *Server, models []Model) ([]Model, error)
}

var profiles = map[Name]profile{
	VLLM: {
		gauges:   []question{{"/metrics", readVLLM}},
		state:    question{"/is_sleeping", readSleeping}, // with VLLM_SERVER_DEV_MODE
		complete: completeVLLM,
	},
	SGLang: {gauges: []question{{"/metrics", readSGLang}}, complete: completeSGLang}, // with --enable-metrics
	LlamaCpp: {
		gauges:   []question{{"/metrics", readLlamaCpp}, {"/slots", readSlots}}, // with --metrics; without --no-slots
		state:    question{"/health", readLoading},
		complete: completeLlamaCpp,
	},
	Ollama:  {complete: completeOllama},
	TGI:     {gauges: []question{{"/metrics", readTGI}}, complete: completeTGI},
	Generic: {},
}

// readSleeping reads {"is_sleeping": true}.
func readSleeping(a Answer, l *Look) {
	var told struct {
		Sleeping *bool `json:"is_sleeping"`
	}
	if a.Status != http.StatusOK || json.Unmarshal(a.Body, &told) != nil || told.Sleeping == nil {
		return
	}
	l.State = Ready
	if *told.Sleeping {
		l.State = Sleeping
	}
}

// readLoading knows llama.cpp's 503, {"error":{"message":"Loading model",…}}.
func readLoading(a Answer, l *Look) {
	switch {
	case a.Status == http.StatusOK:
		l.State = Ready
	case a.Status == http.StatusServiceUnavailable && bytes.Contains(bytes.ToLower(a.Body), []byte("loading model")):
		l.State = Loading
	}
}

func completeVLLM(ctx context.Context, s *Server, models []Model) ([]Model, error) {
	var told struct {
		Version string `json:"version"`
	}
	return models, s.read(ctx, "/version", &told, func() { s.version(told.Version) })
}

// completeSGLang reads what the list of models leaves out before version 0.4.7. The answer
// costs the scheduler a message, so it is asked for no more than needed.
func completeSGLang(ctx context.Context, s *Server, models []Model) ([]Model, error) {
	untold := len(models) == 1 && models[0].Context == 0
	if !untold && s.facts.Version != "" {
		return models, nil
	}
	var told struct {
		Version string `json:"version"`
		Context number `json:"context_length"`
		Length  number `json:"max_req_input_len"`
	}
	return models, s.read(ctx, "/get_server_info", &told, func() {
		s.version(told.Version)
		if untold {
			models[0].Context = told.Context.tokens()
			if models[0].Context == 0 {
				models[0].Context = told.Length.tokens()
			}
		}
	})
}

// completeLlamaCpp takes the context of a slot: that of the model is shared by all.
func completeLlamaCpp(ctx context.Context, s *Server, models []Model) ([]Model, error) {
	var told struct {
		Settings struct {
			Context number `json:"n_ctx"`
		} `json:"default_generation_settings"`
		Build string `json:"build_info"`
	}
	return models, s.read(ctx, "/props", &told, func() {
		s.version(told.Build)
		for n := range models {
			if len(models) == 1 || models[n].Context == 0 {
				models[n].Context = told.Settings.Context.tokens()
			}
		}
	})
}

// completeOllama takes the contexts of the models that are loaded; the others get one when
// they are.
func completeOllama(ctx context.Context, s *Server, models []Model) ([]Model, error) {
	var version struct {
		Version string `json:"version"`
	}
	if err := s.read(ctx, "/api/version", &version, func() { s.version(version.Version) }); err != nil {
		return models, err
	}
	type entry struct {
		Name    string `json:"name"`
		Context number `json:"context_length"`
	}
	var list struct {
		Models []entry `json:"models"`
	}
	if len(models) == 0 {
		if err := s.read(ctx, "/api/tags", &list, func() {
			for _, m := range list.Models {
				models = appendModel(models, Model{ID: m.Name})
			}
		}); err != nil {
			return models, err
		}
	}
	list.Models = nil
	return models, s.read(ctx, "/api/ps", &list, func() {
		for _, m := range list.Models {
			for n := range models {
				if models[n].ID == m.Name {
					models[n].Context = m.Context.tokens()
				}
			}
		}
	})
}

func completeTGI(ctx context.Context, s *Server, models []Model) ([]Model, error) {
	var told struct {
		Model   string `json:"model_id"`
		Total   number `json:"max_total_tokens"`
		Version string `json:"version"`
	}
	return models, s.read(ctx, "/info", &told, func() {
		s.version(told.Version)
		if len(models) == 0 {
			models = appendModel(models, Model{ID: told.Model})
		}
		for n := range models {
			models[n].Context = told.Total.tokens()
		}
	})
}

// read asks for a path and decodes its JSON into told; use is called if that has worked.
func (s *Server) read(ctx context.Context, path string, told any, use func()) error {
	a, err := s.ask(ctx, path)
	if err == nil && a.Status == http.StatusOK && json.Unmarshal(a.Body, told) == nil {
		use()
	}
	return err
}

// version notes a version, if it can be one.
func (s *Server) version(told string) {
	if told != "" && len(told) <= 100 && isPlain(told) {
		s.facts.Version = told
	}
}
