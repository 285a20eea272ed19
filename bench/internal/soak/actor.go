package soak

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// The request's header says what instances are to act out, and when; an answer's
// header, that one has. Both pass through the gateway as they are.
const (
	scriptField = "X-Soak-Script"
	actingField = "X-Soak-Acting"
	actedField  = "X-Soak-Acted"
)

// Actor stands in front of the echo models of a fleet and lets them act out what
// requests carry. It may be used at once from many requests.
type Actor struct {
	// Calm instances act out nothing but what all of them do.
	Calm bool

	mu   sync.Mutex
	seen map[string]bool // guarded by mu: faults that were to be acted out once, and have been
}

// Instance is the handler of the n-th instance, with its echo model behind.
func (a *Actor) Instance(n int, echo http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		script := r.Header.Get(scriptField)
		if script == "" || !a.acts(n, r.Header.Get(actingField)) {
			echo.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler) // its sender went
		}
		body = bytes.Replace(body, []byte(`"echo":{`), []byte(`"echo":{`+script+`,`), 1)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		w.Header().Set(actedField, "yes")
		echo.ServeHTTP(w, r)
	})
}

// acts reports whether instance n acts out the fault: "once 17" of request 17,
// "at 2" on instance 2, or "everywhere".
func (a *Actor) acts(n int, when string) bool {
	kind, number, _ := strings.Cut(when, " ")
	switch {
	case kind == "everywhere":
		return true
	case a.Calm:
		return false
	case kind == "at":
		return number == strconv.Itoa(n)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.seen == nil {
		a.seen = make(map[string]bool)
	}
	acted := a.seen[number]
	a.seen[number] = true
	return !acted
}

// orders are the header fields that tell instances of p's fault.
func (p *Plan) orders() map[string]string {
	if p.fault == nil || p.fault.acting == nowhere {
		return nil
	}
	when := map[acting]string{everywhere: "everywhere", once: fmt.Sprint("once ", p.N), onlyThere: fmt.Sprint("at ", p.fault.at)}[p.fault.acting]
	return map[string]string{scriptField: p.fault.script, actingField: when}
}
