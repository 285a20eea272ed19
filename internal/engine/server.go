package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// MaxAnswer bounds an answer, in bytes. Nobody needs as much: vLLM's metrics have 100 KB.
const MaxAnswer = 1 << 20

// Answer is what a server answers to GET.
type Answer struct {
	Status int
	Server string // the header of that name
	Body   []byte // whole; valid until the next question
}

// Get asks for a path below the server's root, such as /metrics, or of its OpenAI API, which
// begins with /v1/. It returns an error if no whole answer of at most [MaxAnswer] bytes has
// come; any status is an answer. Redirects are not followed.
type Get func(ctx context.Context, path string) (Answer, error)

// ErrUntold is returned when a server has answered, but has said nothing of its models: the
// key is refused, or what answers is no model server.
var ErrUntold = errors.New("the server tells nothing of its models")

// State is whether a server takes requests, as far as it tells.
type State uint8

// The states. Nothing follows from Unknown: most servers tell nothing, and one in trouble may
// say that it is well.
const (
	Unknown  State = iota
	Ready          // it says that it takes requests
	Loading        // it loads its model
	Sleeping       // its model has been put aside, until somebody wakes it up
)

func (s State) String() string { return [...]string{"unknown", "ready", "loading", "sleeping"}[s] }

// Look is what a server says of itself at a moment.
type Look struct {
	State  State
	Gauges Gauges // all NaN if they were not asked for, or it has none
}

// Server asks one server. It remembers which paths the server does not have, until the next
// survey. It is for one goroutine at a time.
type Server struct {
	get    Get
	facts  Facts
	given  bool // the engine is, and needs no detection
	absent map[string]bool
}

// NewServer returns one for a server of that name, or with "" of one that is to be detected.
func NewServer(name Name, get Get) *Server {
	return &Server{get: get, facts: Facts{Engine: name}, given: name != "", absent: make(map[string]bool)}
}

// Survey asks which engine it is, unless that is given, its version and its models. Models
// that it told of before stay known if it does not tell of any now. The error is that of
// [Get], after which nothing more is asked, or [ErrUntold].
func (s *Server) Survey(ctx context.Context) (Facts, error) {
	clear(s.absent)
	list, err := s.ask(ctx, modelsPath)
	if err != nil {
		return s.facts, err
	}
	models, untold := readModels(list) // now, for the answer to another question may take its place
	if !s.given {
		name, err := s.detect(ctx, list)
		if err != nil {
			return s.facts, err
		}
		if name != s.facts.Engine {
			s.facts = Facts{Engine: name}
		}
	}
	if err = untold; err == nil || list.Status == http.StatusNotFound {
		models, err = s.complete(ctx, models)
	}
	if err != nil {
		return s.facts, err
	}
	if len(models) == 0 {
		return s.facts, ErrUntold
	}
	s.facts.Models = models
	return s.facts, nil
}

// complete adds to models what the engine tells elsewhere, and notes its version.
func (s *Server) complete(ctx context.Context, models []Model) ([]Model, error) {
	p := profiles[s.facts.Engine]
	if p.complete == nil {
		return models, nil
	}
	return p.complete(ctx, s, models)
}

// Look asks whether the server takes requests and, with gauges, how much it has to do. An
// answer that cannot be read tells nothing. The error is that of [Get], after which nothing
// more is asked; what was learnt before it is returned too.
func (s *Server) Look(ctx context.Context, gauges bool) (Look, error) {
	l := Look{Gauges: noGauges}
	p := profiles[s.facts.Engine]
	for _, q := range p.gauges {
		if !gauges || s.absent[q.path] {
			continue
		}
		a, err := s.ask(ctx, q.path)
		if err != nil {
			return l, err
		}
		if a.Status == http.StatusOK {
			q.read(a, &l)
			break
		}
	}
	if p.state.path != "" && !s.absent[p.state.path] {
		a, err := s.ask(ctx, p.state.path)
		if err != nil {
			return l, err
		}
		p.state.read(a, &l)
	}
	return l, nil
}

// Silent reports whether [Server.Look] has nothing to ask: nothing of it is known yet, or the
// engine does not tell, as it did not when it was last surveyed.
func (s *Server) Silent(gauges bool) bool {
	p := profiles[s.facts.Engine]
	if p.state.path != "" && !s.absent[p.state.path] {
		return false
	}
	for _, q := range p.gauges {
		if gauges && !s.absent[q.path] {
			return false
		}
	}
	return true
}

// ask gets a path. One that the server does not have, or keeps to itself, is noted.
func (s *Server) ask(ctx context.Context, path string) (Answer, error) {
	a, err := s.get(ctx, path)
	if err != nil {
		return Answer{}, fmt.Errorf("GET %s: %w", path, err)
	}
	if a.Status >= 300 && a.Status < 500 || a.Status == http.StatusNotImplemented {
		s.absent[path] = true
	}
	return a, nil
}
