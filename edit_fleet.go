package aigateway

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/json5"
)

// fleetText is one content of the fleet's file, that can be edited.
type fleetText struct {
	text    []byte
	doc     *json5.Document
	entries []*fleetEntry // in the order of the file
	excused map[string]error
	keys    []*KeyConfig // of clients, nil for an open gateway
	ownKeys int          // of them that stand in the file itself, first
}

// fleetEntry is an instance in the file.
type fleetEntry struct {
	*InstanceConfig
	list string // that it stands in
	n    int    // where
	id   string
	name string // its own, or the default
	host string // HOST:PORT
}

// shapedPlaces match the paths of texts that have a form: a receiver's url, and a client's key.
var shapedPlaces = regexp.MustCompile(`^(alerts\.receivers\[\d+\]\.url|keys\[\d+\]\.key)$`)

// readFleetText reads and checks text, whose relative paths start at dir, as the gateway
// does, but for placeholders that have no value here: as the gateway's environment is
// another one than a shell's, those are excused that stood in before, the content before
// the edit. With none before, all are.
func readFleetText(text []byte, dir string, before *fleetText) (*fleetText, error) {
	f := &fleetText{text: text, excused: make(map[string]error)}
	expand := func(s string) (string, error) {
		for {
			value, err := expandPlaceholders(s, dir)
			missing, ok := errors.AsType[*placeholderError](err)
			if !ok || before != nil && before.excused[missing.name] == nil {
				return value, err
			}
			f.excused[missing.name] = missing
			// Different names stay different, and may stand in a URL's host.
			s = strings.ReplaceAll(s, "{"+missing.name+"}", strings.NewReplacer("/", "-", "\\", "-", ":", "-").Replace(missing.name))
		}
	}
	read := readConfigWith(text, dir, expand)
	if len(f.excused) > 0 { // they may be placeholders as a whole
		read.mistakes = slices.DeleteFunc(read.mistakes, func(m *json5.Error) bool { return shapedPlaces.MatchString(m.Path) })
	}
	config, err := read.result(dir)
	if err != nil {
		return nil, detailed{err}
	}
	if f.doc, err = json5.Parse(text, "redact"); err != nil {
		return nil, err
	}
	f.keys, f.ownKeys = config.clientKeys, len(config.Keys)
	ids := identify(config.entries(), nil)
	for n, c := range config.Instances {
		f.entries = append(f.entries, newFleetEntry(c, "instances", n, ids[n].id))
	}
	for n, c := range config.FallbackInstances {
		f.entries = append(f.entries, newFleetEntry(c, "fallback_instances", n, ids[len(config.Instances)+n].id))
	}
	return f, nil
}

func newFleetEntry(c *InstanceConfig, list string, n int, id string) *fleetEntry {
	u, err := url.Parse(c.URL)
	if err != nil { // checked by Config.check
		panic(err)
	}
	e := &fleetEntry{InstanceConfig: c, list: list, n: n, id: id, name: c.Name, host: strings.ToLower(dialAddress(u))}
	if e.name == "" {
		e.name = defaultName(u)
	}
	return e
}

// find returns the one instance that name means.
func (f *fleetText) find(name string) (*fleetEntry, error) {
	all := make([]named, len(f.entries))
	for n, e := range f.entries {
		all[n] = named{id: e.id, own: e.Name, name: e.name, host: e.host, url: e.URL}
	}
	found := lookUp(all, name)
	switch len(found) {
	case 0:
		return nil, unknownName(all, name)
	case 1:
		return f.entries[found[0]], nil
	}
	entries := make([]*fleetEntry, len(found))
	for k, n := range found {
		entries[k] = f.entries[n]
	}
	return nil, f.ambiguous(name, entries)
}

func (f *fleetText) ambiguous(name string, found []*fleetEntry) error {
	const most = 20
	var list strings.Builder
	for _, e := range found[:min(len(found), most)] {
		line, _ := f.doc.Position(f.node(e))
		fmt.Fprintf(&list, "\n  %s  %s, model %s, %s[%d] on line %d", e.id, e.name, cmp.Or(e.ModelName, "as listed"), e.list, e.n, line)
	}
	if len(found) > most {
		fmt.Fprintf(&list, "\n  and %d more", len(found)-most)
	}
	return fmt.Errorf("%s is %d instances, give the ID of one:%s", quote(name), len(found), &list)
}

// node returns where e stands.
func (f *fleetText) node(e *fleetEntry) *json5.Node { return f.doc.At(e.list, e.n) }

// The edits return the new text, or nil if there is nothing to do, and say what they do.

func (f *fleetText) add(list string, members []json5.Member) ([]byte, string, error) {
	doc := f.doc
	if !doc.IsArray(doc.At(list)) { // missing or null
		var err error
		if doc, err = json5.Parse(doc.Set(doc.At(), json5.Member{Name: list, Value: json5.Raw("[]")}), "redact"); err != nil {
			return nil, "", err
		}
	}
	return doc.Append(doc.At(list), members...), fmt.Sprintf("added %v to %s", members[0].Value, list), nil
}

func (f *fleetText) remove(e *fleetEntry) ([]byte, string) {
	return f.doc.Remove(f.node(e)), "removed " + e.name
}

func (f *fleetText) setWeight(e *fleetEntry, weight int) ([]byte, string) {
	if *e.Weight == weight {
		return nil, fmt.Sprintf("%s has weight %d already", e.name, weight)
	}
	return f.doc.Set(f.node(e), json5.Member{Name: "weight", Value: weight}), fmt.Sprintf("set the weight of %s from %d to %d", e.name, *e.Weight, weight)
}

// drainTo returns the edit that drains, or does so no more. It takes the member away
// instead of setting it to false, so that the file is again as it was.
func drainTo(drain bool) func(*fleetText, *fleetEntry) ([]byte, string) {
	return func(f *fleetText, e *fleetEntry) ([]byte, string) {
		switch {
		case e.Drain == drain && drain:
			return nil, e.name + " drains already"
		case e.Drain == drain:
			return nil, e.name + " does not drain"
		case drain:
			return f.doc.Set(f.node(e), json5.Member{Name: "drain", Value: true}), e.name + " drains: it finishes its requests and gets no new ones"
		}
		return f.doc.Remove(f.doc.At(e.list, e.n, "drain")), e.name + " gets requests again"
	}
}
