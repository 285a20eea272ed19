package aigateway

import (
	"slices"
	"strings"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/page"
)

// meant is an instance that an entry of the file stands for.
type meant struct {
	*InstanceConfig
	tier tier
}

// scouts reports whether m only asks its server for models.
func (m meant) scouts() bool { return m.ModelName == "" }

// expand returns the instances that the file's entries stand for, primaries first: by the
// addresses of names, and by the models that servers have told of. Behind the scout of a
// server stands what it has discovered. The caller holds mu.
func (s *store) expand(cfg *Config) []meant {
	var members []meant
	for n, entry := range cfg.entries() {
		t := primary
		if n >= len(cfg.Instances) {
			t = fallback
		}
		for _, one := range s.resolver.expand(entry) {
			if one.ModelName != "" {
				members = append(members, meant{one, t})
			}
			if one.Discover {
				scout := *one
				scout.ModelName, scout.UpstreamModel = "", ""
				members = append(members, meant{&scout, t})
			}
		}
	}
	return s.discovered(members)
}

// discovered returns members with the models behind each scout that its server has told of,
// but for those that the file gives that server already.
func (s *store) discovered(members []meant) []meant {
	if !slices.ContainsFunc(members, meant.scouts) {
		return members
	}
	entries := make([]*InstanceConfig, len(members))
	taken := make(map[[2]string]bool)
	for n, m := range members {
		entries[n] = m.InstanceConfig
		if !m.scouts() {
			server := normalURL(m.URL) + " " + m.address
			taken[[2]string{server, m.ModelName}], taken[[2]string{server, m.UpstreamModel}] = true, true
		}
	}
	ids := identify(entries, s.snap.Load())
	all := make([]meant, 0, len(members))
	for n, m := range members {
		all = append(all, m)
		if state := s.states[ids[n].id]; m.scouts() && state != nil {
			for _, model := range state.facts.Load().list() {
				if !taken[[2]string{normalURL(m.URL) + " " + m.address, model}] {
					one := *m.InstanceConfig
					one.ModelName, one.discovered = model, true
					all = append(all, meant{&one, m.tier})
				}
			}
		}
	}
	return all
}

// list returns the models that a server has told of, as clients may name them, sorted: the
// first maxModels of its list. F may be nil.
func (f *facts) list() (models []string) {
	if f == nil {
		return nil
	}
	for _, m := range f.Models {
		if len(models) == maxModels {
			break
		}
		if m.ID != anyModel && !slices.Contains(models, m.ID) {
			models = append(models, m.ID)
		}
	}
	slices.Sort(models)
	return models
}

// discovers puts the fleet in force that follows from what the server of a scout has told
// now, after before, which may be nil.
func (s *store) discovers(scout *instance, before *facts) {
	models := scout.state.facts.Load().list()
	if slices.Equal(models, before.list()) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.states[scout.id] != scout.state { // it has left the file
		return
	}
	s.redraw("models of a server have changed", event{kind: modelsChanged, name: scout.name})
}

// discoveries tells of the servers that are asked for their models.
func (f *fleet) discoveries() (all []page.Discovery) {
	for _, i := range f.scouts {
		d := page.Discovery{Name: i.name, Address: i.place(), Tier: i.tier.String(), Models: []string{}}
		if told := i.state.facts.Load(); told != nil {
			d.Answered, d.Models = true, told.list()
			d.More = len(told.Models) - len(d.Models)
		}
		all = append(all, d)
	}
	slices.SortStableFunc(all, func(a, b page.Discovery) int { return strings.Compare(a.Tier, b.Tier) * -1 })
	return all
}
