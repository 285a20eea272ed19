package aigateway

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
)

// TestMonotonic guards row T1: whatever ejects an instance, ends an attempt or bounds
// a request reads [clock], which no jump of the wall clock moves. What files of
// records are called after a jump is tested in package hourly.
func TestMonotonic(t *testing.T) {
	if !strings.Contains(began.String(), " m=") {
		t.Errorf("clock begins at %v, want a monotonic reading", began)
	}
	for _, name := range []string{
		"attempt.go", "budget.go", "counts.go", "deadline.go", "exchange.go", "fault.go", "final.go", "health.go", "keepalive.go", "outcome.go",
		"pace.go", "poll.go", "poller.go", "queue.go", "relay.go", "rest.go", "selection.go", "steer.go", "tally.go", "transport.go", "underway.go", "usher.go", "waiter.go",
	} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		var reads []string
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" && (s.Sel.Name == "Now" || s.Sel.Name == "Since" || s.Sel.Name == "Until") {
					reads = append(reads, s.Sel.Name)
				}
			}
			return true
		})
		want := map[string]string{"health.go": "Since Now"}[name] // clock itself
		if got := strings.Join(reads, " "); got != want {
			t.Errorf("%s reads the wall clock by %q, want %q: use clock", name, got, want)
		}
	}
}
