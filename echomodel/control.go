package echomodel

import (
	"encoding/json"
	"net/http"
	"sync"
)

// control is the script that POST /echo/control has put over the configured one.
type control struct {
	mu     sync.Mutex
	on     bool // guarded by mu, as the rest
	script Script
	left   int // requests it still holds for; 0 means all
}

func (c *control) set(s Script, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on, c.script, c.left = true, s, n
}

func (c *control) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on, c.script, c.left = false, Script{}, 0
}

// take puts the controlled script into s if there is one that concerns the route, and counts the request off.
func (c *control) take(s *Script, path string, inference bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.on || !c.script.acts(path, inference) {
		return
	}
	*s = c.script
	if c.left > 0 {
		c.left--
		c.on = c.left > 0
	}
}

// controlState is what /echo/control shows.
type controlState struct {
	Script
	Count int `json:"count,omitempty"` // requests left; 0 means all
}

// current is the script in force, the configured one if none is controlled. It counts nothing off.
func (s *Server) current() controlState {
	s.control.mu.Lock()
	defer s.control.mu.Unlock()
	if s.control.on {
		return controlState{s.control.script, s.control.left}
	}
	return controlState{Script: s.opts.Script}
}

// serveControl answers /echo/control and /echo/stats, which are no part of the stand-in: they ask for no key and are
// neither counted nor failed.
func (s *Server) serveControl(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Echo-Name", s.opts.Name)
	switch r.Method + " " + r.URL.Path {
	case "POST /echo/control":
		script, n := s.opts.Script, 0
		b := newBody()
		defer b.release()
		err := b.read(r)
		if err == nil {
			err = script.overlay(b.bytes, &n)
		}
		if err != nil {
			writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
			return
		}
		s.SetScript(script, n)
		writeJSON(w, http.StatusOK, s.current())
	case "DELETE /echo/control":
		s.ClearScript()
		writeJSON(w, http.StatusOK, s.current())
	case "GET /echo/control":
		writeJSON(w, http.StatusOK, s.current())
	case "GET /echo/stats":
		writeJSON(w, http.StatusOK, s.Stats())
	case "DELETE /echo/stats":
		s.stats.reset()
		writeJSON(w, http.StatusOK, s.Stats())
	default:
		writeJSON(w, http.StatusNotFound, map[string]string{
			"error": "want POST, GET or DELETE /echo/control, or GET or DELETE /echo/stats",
		})
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // fails only when the client is gone
}
