package aigateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestAdminExplain guards that the order told is the one that is gone.
func TestAdminExplain(t *testing.T) {
	all := []*moody{startMoody(t), startMoody(t), startMoody(t), startMoody(t), startMoody(t)}
	var list []string
	for n, m := range all {
		m.status.Store(500)
		list = append(list, m.entry(fmt.Sprintf(`, "name": "i%d"`, n)))
	}
	cloud := startMoody(t)
	cloud.status.Store(500)
	g := startAdmin(t, `{"error_threshold": 1000, "retries": {"attempts": 3, "ratio": 0}, "instances": [`+strings.Join(list, ", ")+
		`], "fallback_instances": [`+cloud.entry(`, "name": "cloud"`)+`]}`)
	g.steer(t, "i3", "drain")
	g.steer(t, "i4", "eject?for=10m")
	explain := func(query string) (e explanation) {
		t.Helper()
		g.good(t, "GET", "/explain?model=m"+query, &e)
		return e
	}
	names := func(list []candidate) (names []string) {
		for _, c := range list {
			names = append(names, c.Name)
		}
		return names
	}
	for range 6 {
		e := explain("")
		before := make(map[string]int)
		for n, m := range append(slices.Clone(all), cloud) {
			before[fmt.Sprintf("i%d", n)] = m.count()
		}
		g.sends(t, chatPath, chat(""))
		var asked []string
		for n, m := range append(slices.Clone(all), cloud) {
			name := fmt.Sprintf("i%d", n)
			if m.count() > before[name] {
				asked = append(asked, strings.Replace(name, "i5", "cloud", 1))
			}
		}
		got := names(e.Order)
		if len(got) != 3 || got[2] != "cloud" || !e.Exact || e.Attempts != 3 || e.Policy != "round_robin" {
			t.Errorf("got %+v, want three, the fallback last", e)
		}
		slices.Sort(asked)
		if slices.Sort(got); !slices.Equal(got, asked) {
			t.Errorf("told %v, asked %v", got, asked)
		}
	}
	sum := func() (n int) {
		for _, m := range append(slices.Clone(all), cloud) {
			n += m.count()
		}
		return n
	}
	before := sum()
	why := make(map[string]string)
	for _, c := range explain("").Others {
		why[c.Name] = c.Why
	}
	if why["i3"] != "it drains, by: api" || !strings.HasPrefix(why["i4"], "it is ejected by hand, a trial is due in ") || len(why) != 3 {
		t.Errorf("got %v", why)
	}
	e := explain("&prompt_bytes=40000000")
	if len(e.Order) != 1 || e.Attempts != 1 || !strings.Contains(strings.Join(e.Notes, " "), "retries.max_body") {
		t.Errorf("of 40 MB: got %+v, want one attempt", e)
	}
	if e := explain("&prompt_bytes=2000000"); e.Order[0].FirstTokenSeconds != 300+120 {
		t.Errorf("of 2 MB: got %v s, want 420", e.Order[0].FirstTokenSeconds)
	}
	g.makeDue(4)
	if e := explain(""); len(e.Others) != 3 && !strings.Contains(fmt.Sprint(e.Order), "its trial is due") {
		t.Errorf("due: got %+v", e)
	}
	if g.phase(4) != ejected || sum() != before {
		t.Errorf("explaining made %d requests and a trial of phase %v, want none", sum()-before, g.phase(4))
	}
}
