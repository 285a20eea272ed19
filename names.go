package aigateway

import (
	"fmt"
	"strings"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/json5"
)

// named is all that an instance may be called.
type named struct {
	id   string
	own  string // that the file gives it, or ""
	name string // own, or the default
	host string // HOST:PORT
	from string // name of the entry that stands for it and others, or ""
	url  string
}

// lookUp returns the positions of those that name means: by the ID, the own name, or
// else the default name, url, or host and port.
func lookUp(all []named, name string) (found []int) {
	for _, means := range []func(n *named) bool{
		func(n *named) bool { return n.id == name },
		func(n *named) bool { return name != "" && n.own == name },
		func(n *named) bool {
			return n.name == name || name != "" && n.from == name || n.host == strings.ToLower(name) || normalURL(n.url) == normalURL(name)
		},
	} {
		for k := range all {
			if means(&all[k]) {
				found = append(found, k)
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

// unknownName words that none of all is called name, with the nearest that one is
// called.
func unknownName(all []named, name string) error {
	var names, known []string
	for _, n := range all {
		names = append(names, n.name)
		known = append(known, n.name, n.host, n.url, n.id)
	}
	if near := json5.Nearest(name, known); near != "" {
		return fmt.Errorf("no instance is called %s; did you mean %s?", quote(name), quote(near))
	}
	const most = 20
	more := ""
	if len(names) > most {
		more, names = fmt.Sprintf(" and %d more", len(names)-most), names[:most]
	}
	return fmt.Errorf("no instance is called %s; there are %s%s", quote(name), strings.Join(names, ", "), more)
}

// names returns what the fleet's instances are called, in order.
func (f *fleet) names() []named {
	all := make([]named, len(f.instances))
	for k, i := range f.instances {
		all[k] = named{id: i.id, name: i.name, host: strings.ToLower(i.upstream.Dial), url: i.scheme + "://" + i.host + i.base}
		if all[k].from = i.config.entry; i.name != i.host+i.base {
			all[k].own = i.name
		}
	}
	return all
}
