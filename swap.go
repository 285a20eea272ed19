package aigateway

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// swap is what a new content of the file changes. It holds no secret: of a value
// that may be one it says only that it has changed. A nil swap changes nothing.
type swap struct {
	added, removed, changed, settings some
}

// maxListed is how many entries of a list are shown: a swap is one line of the log,
// also if it changes 10,000 instances.
const maxListed = 20

// some are the first entries of a list that may be long.
type some struct {
	shown []string
	total int
}

func (l *some) add(entry string) {
	if l.total++; l.total <= maxListed {
		l.shown = append(l.shown, entry)
	}
}

func (l *some) list() []string {
	if l.total > maxListed {
		return append(slices.Clone(l.shown), fmt.Sprintf("and %d more", l.total-maxListed))
	}
	return l.shown
}

// newSwap compares two contents of the file and the snapshots made of them, of
// which the first may be nil.
func newSwap(was *Config, before *snapshot, is *Config, after *snapshot) *swap {
	s := new(swap)
	if was == nil {
		return s
	}
	compare(reflect.ValueOf(was), reflect.ValueOf(is), "", s.settings.add)
	s.compareKeys(was.clientKeys, is.clientKeys)
	s.compareInstances(before.fleet.everyone(), after.fleet.everyone())
	return s
}

// compareKeys tells of keys by their names.
func (s *swap) compareKeys(was, is []*KeyConfig) {
	before := make(map[string]*KeyConfig, len(was))
	for _, k := range was {
		before[k.Name] = k
	}
	for _, k := range is {
		switch old := before[k.Name]; {
		case old == nil:
			s.settings.add("key " + k.Name + " added")
		case !reflect.DeepEqual(old, k):
			s.settings.add("key " + k.Name + " changed")
		}
		delete(before, k.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		s.settings.add("key " + name + " removed")
	}
}

func (s *swap) compareInstances(before, after []*instance) {
	old := make(map[string]int, len(before))
	for n, i := range before {
		old[i.id] = n
	}
	last, moved := -1, false
	for _, i := range after {
		o, ok := old[i.id]
		if !ok {
			s.added.add(i.name)
			continue
		}
		delete(old, i.id)
		last, moved = o, moved || o < last
		var members some
		if before[o].tier != i.tier {
			members.add(fmt.Sprintf("tier %s -> %s", before[o].tier, i.tier))
		}
		compare(reflect.ValueOf(before[o].config), reflect.ValueOf(i.config), "", members.add)
		if members.total > 0 {
			s.changed.add(before[o].name + ": " + strings.Join(members.list(), ", "))
		}
	}
	for _, n := range slices.Sorted(maps.Values(old)) {
		s.removed.add(before[n].name)
	}
	if moved {
		s.settings.add("order of the instances")
	}
}

// listTypes are those of lists whose entries are told by name.
var listTypes = []reflect.Type{reflect.TypeFor[[]*InstanceConfig](), reflect.TypeFor[[]*KeyConfig]()}

// compare tells of each member of two structures that differs, by its path. Lists
// of instances and of keys are not looked at.
func compare(was, is reflect.Value, path string, tell func(string)) {
	if was.Kind() == reflect.Pointer && was.Type().Elem().Kind() == reflect.Struct && !was.IsNil() && !is.IsNil() {
		was, is = was.Elem(), is.Elem()
	}
	if was.Kind() == reflect.Struct {
		for n := range was.NumField() {
			name, _, _ := strings.Cut(was.Type().Field(n).Tag.Get("json"), ",")
			if name == "" || name == "-" || slices.Contains(listTypes, was.Type().Field(n).Type) {
				continue
			}
			if path != "" {
				name = path + "." + name
			}
			compare(was.Field(n), is.Field(n), name, tell)
		}
		return
	}
	if reflect.DeepEqual(was.Interface(), is.Interface()) {
		return
	}
	before, ok := shown(path, was)
	after, ok2 := shown(path, is)
	if ok && ok2 {
		tell(path + " " + before + " -> " + after)
	} else {
		tell(path + " changed")
	}
}

// secretParts are parts of the names of members whose texts are not shown.
var secretParts = []string{"key", "password", "passwd", "token", "secret", "credential", "authorization", "hook", "header", "alert", "redact"}

// shown words a value, unless it may hold a secret: a text whose member sounds like
// one, what could be a URL or an address, and whatever is no plain value.
func shown(path string, v reflect.Value) (text string, ok bool) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return "default", true
		}
		v = v.Elem()
	}
	switch v := v.Interface().(type) {
	case Seconds:
		return time.Duration(v).String(), true
	case bool, int, int64, float64:
		return fmt.Sprint(v), true
	case string, []string:
		text = fmt.Sprintf("%q", v)
	}
	secret := slices.ContainsFunc(secretParts, func(part string) bool { return strings.Contains(path, part) })
	return text, text != "" && !secret && len(text) <= 200 && !strings.Contains(text, "//") && !strings.ContainsAny(text, "@?")
}

// count is the number of changes.
func (s *swap) count() int {
	if s == nil {
		return 0
	}
	return s.added.total + s.removed.total + s.changed.total + s.settings.total
}

func (s *swap) empty() bool { return s.count() == 0 }

// String counts the changes.
func (s *swap) String() string {
	if s.empty() {
		return "no change"
	}
	return fmt.Sprintf("%d instances added, %d removed, %d changed; %d settings changed", s.added.total, s.removed.total, s.changed.total, s.settings.total)
}

// fields are the changes for the log.
func (s *swap) fields() (fields []zap.Field) {
	if s == nil {
		return nil
	}
	for _, f := range []struct {
		name string
		list *some
	}{{"added", &s.added}, {"removed", &s.removed}, {"changed", &s.changed}, {"settings", &s.settings}} {
		if f.list.total > 0 {
			fields = append(fields, zap.Strings(f.name, f.list.list()))
		}
	}
	return fields
}
