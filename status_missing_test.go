package aigateway

import (
	"io"
	"slices"
	"testing"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/page"
)

// TestStatusMissing guards that people see why instances are not there.
func TestStatusMissing(t *testing.T) {
	v := &statusView{out: io.Discard, table: tableOf}
	st := &page.Status{
		Names: []page.Name{
			{Name: "a.test", Type: "a", Addresses: 1},
			{Name: "b.test", Type: "srv", Error: "no answer yet"},
			{Name: "c.test", Type: "a", Addresses: 256, More: 44},
		},
		Discovered: []page.Discovery{{Name: "box"}, {Name: "cloud", Answered: true, Models: []string{"m"}, More: 1}, {Name: "good", Answered: true}},
	}
	want := []string{
		"b.test by srv: no answer yet; in use: 0 servers", "c.test by a has 44 servers more than are used",
		"box has not told of its models yet", "cloud has 1 model more than are served", "",
	}
	if got := v.lines(st)[1:6]; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
