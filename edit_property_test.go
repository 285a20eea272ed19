package aigateway

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// hand writes a fleet's file in its own way: tidily, or with white space and
// comments anywhere. A comment holds the letter of the part it stands in and a number.
type hand struct {
	t                       *rapid.T
	b                       strings.Builder
	wild                    bool
	eol, indent             string
	nameQuote, textQuote    string
	trailing                bool
	oneLineList, oneLineOne bool
	comments                int
	part                    string // of the comments written now
}

func newHand(t *rapid.T) *hand {
	yes := func(what string) bool { return rapid.Bool().Draw(t, what) }
	return &hand{
		t: t, wild: yes("wild"), eol: rapid.SampledFrom([]string{"\n", "\r\n", "\r"}).Draw(t, "eol"),
		indent:    rapid.SampledFrom([]string{"", "  ", "    ", "\t"}).Draw(t, "indent"),
		nameQuote: rapid.SampledFrom([]string{"", `"`, "'"}).Draw(t, "name quote"), textQuote: rapid.SampledFrom([]string{`"`, "'"}).Draw(t, "text quote"),
		trailing: yes("trailing"), oneLineList: yes("one line list"), oneLineOne: yes("one line entry"),
	}
}

// gap writes white space, tidy by the level of indentation, or -1 for a blank.
func (s *hand) gap(level int) {
	if s.wild {
		for range rapid.IntRange(0, 2).Draw(s.t, "pieces") {
			s.comments++
			s.b.WriteString(strings.ReplaceAll(rapid.SampledFrom([]string{
				" ", "\t", s.eol, s.eol + "  ", "/*" + s.part + "#*/", " // " + s.part + "#" + s.eol, s.eol + " // " + s.part + "#, ]}" + s.eol,
				"/* " + s.part + "#" + s.eol + "*/",
			}).Draw(s.t, "piece"), "#", fmt.Sprint(s.comments)))
		}
		return
	}
	if level < 0 {
		s.b.WriteString(" ")
		return
	}
	s.b.WriteString(s.eol + strings.Repeat(s.indent, level))
}

// list writes items between brackets, each by write.
func (s *hand) list(brackets string, n, level int, oneLine bool, write func(k int)) {
	in, out := level+1, level
	if oneLine {
		in, out = -1, -1
	}
	s.b.WriteString(brackets[:1])
	for k := range n {
		s.gap(in)
		write(k)
		if s.wild {
			s.gap(-1)
		}
		if k < n-1 || s.trailing {
			s.b.WriteString(",")
		}
	}
	if n > 0 || s.wild {
		s.gap(out)
	}
	s.b.WriteString(brackets[1:])
}

func (s *hand) member(name, value string) {
	s.b.WriteString(s.nameQuote + name + s.nameQuote)
	part := s.part
	s.part = "i" + part // inside of a member
	if s.wild {
		s.gap(-1)
	}
	s.b.WriteString(":")
	s.gap(-1)
	s.part = part
	s.b.WriteString(value)
}

// entry writes an instance in k's part, with a random choice of members.
func (s *hand) entry(k, level int) {
	before := s.part
	s.part = fmt.Sprintf("e%d-", k)
	text := func(v string) string { return s.textQuote + v + s.textQuote }
	members := [][2]string{{"url", text(fmt.Sprintf("http://h%d:1/v1", k))}, {"model_name", text("m")}}
	for _, m := range [][2]string{{"weight", fmt.Sprint(k + 2)}, {"drain", fmt.Sprint(k%2 == 0)}, {"engine", text("vllm")}, {"headers", "{a: '}', }"}} {
		if rapid.Bool().Draw(s.t, m[0]) {
			members = append(members, m)
		}
	}
	members = rapid.Permutation(members).Draw(s.t, "order")
	s.list("{}", len(members), level, s.oneLineOne, func(n int) { s.member(members[n][0], members[n][1]) })
	s.part = before
}

// file writes one with as many instances and fallback instances.
func (s *hand) file(primaries, fallbacks int) string {
	if rapid.Bool().Draw(s.t, "mark") {
		s.b.WriteString("\uFEFF")
	}
	s.part = "t"
	if s.wild {
		s.gap(-1)
	}
	order := rapid.Permutation([]string{"instances", "fallback_instances", "error_window"}).Draw(s.t, "lists")
	order = slices.DeleteFunc(order, func(name string) bool {
		return name == "instances" && primaries == 0 && rapid.Bool().Draw(s.t, "left out")
	})
	s.list("{}", len(order), 0, s.oneLineList && s.oneLineOne, func(n int) {
		switch order[n] {
		case "instances":
			s.b.WriteString(s.nameQuote + "instances" + s.nameQuote + ": ")
			s.list("[]", primaries, 1, s.oneLineList, func(k int) { s.entry(k, 2) })
		case "fallback_instances":
			s.b.WriteString(s.nameQuote + "fallback_instances" + s.nameQuote + ": ")
			s.list("[]", fallbacks, 1, s.oneLineList, func(k int) { s.entry(primaries+k, 2) })
		default:
			s.member(order[n], "0x3e8")
		}
	})
	s.b.WriteString(s.eol)
	return s.b.String()
}

// TestEditProperty guards, for files of many hands, that an edit changes the one thing in
// the configuration that it should, and no byte that it need not.
func TestEditProperty(t *testing.T) {
	set(t, "rapid.checks", "2000")
	set(t, "rapid.nofailfile", "true") // the message has the texts
	kinds := make(map[string]int)
	rapid.Check(t, func(t *rapid.T) {
		primaries, fallbacks := rapid.IntRange(0, 3).Draw(t, "primaries"), rapid.IntRange(0, 2).Draw(t, "fallbacks")
		if primaries+fallbacks < 2 {
			fallbacks = 2
		}
		src := newHand(t).file(primaries, fallbacks)
		f, err := readFleetText([]byte(src), "/", nil)
		if err != nil {
			t.Fatalf("%q: %v", src, err)
		}
		want := parsedFile(t, src)
		k := rapid.IntRange(0, primaries+fallbacks-1).Draw(t, "entry")
		e, err := f.find(fmt.Sprintf("h%d:1", k))
		if err != nil {
			t.Fatalf("%q: %v", src, err)
		}
		list := map[string]*[]*InstanceConfig{"instances": &want.Instances, "fallback_instances": &want.FallbackInstances}
		entry := (*list[e.list])[e.n]
		kind := rapid.SampledFrom([]string{"add", "add fallback", "remove", "weight", "drain"}).Draw(t, "edit")
		var text []byte
		var good func(before, after string) bool
		inserted := func(before, after string) bool { return onlyInserted(before, after, 2, true) }
		removed := func(before, after string) bool { return onlyInserted(after, before, 2, true) }
		replaced := func(before, after string) bool {
			p, s := commonEnds(before, after)
			return p+s >= len(before)-len("false")
		}
		switch kind {
		case "add", "add fallback":
			name := "instances"
			if kind != "add" {
				name = "fallback_instances"
			}
			flags := newInstanceFlags{weight: 9, weighted: true, instance: InstanceConfig{URL: "http://n:1/v1", ModelName: "it's"}}
			members, err := flags.members("config.json5")
			if err != nil {
				t.Fatal(err)
			}
			if text, _, err = f.add(name, members); err != nil {
				t.Fatal(err)
			}
			*list[name] = append(*list[name], &InstanceConfig{URL: "http://n:1/v1", ModelName: "it's", Weight: &flags.weight})
			good = inserted
			if f.doc.At(name) == f.doc.At() || len(*list[name]) == 1 {
				good = func(before, after string) bool { return onlyInserted(squeezed(before), squeezed(after), 2, true) } // [ ] may open
			}
		case "remove":
			text, _ = f.remove(e)
			*list[e.list] = slices.Delete(*list[e.list], e.n, e.n+1)
			good = removed
		case "weight":
			text, _ = f.setWeight(e, 77)
			written := *entry.Weight != 1
			*entry.Weight = 77
			if good = inserted; written {
				good = replaced
			}
		case "drain":
			text, _ = drainTo(!e.Drain)(f, e)
			entry.Drain = !e.Drain
			switch {
			case e.Drain:
				good = removed
			case f.doc.At(e.list, e.n, "drain") != f.node(e):
				good = replaced
			default:
				good = inserted
			}
		}
		got := string(text)
		if after := parsedFile(t, got); !reflect.DeepEqual(after, want) {
			t.Fatalf("%s %d:\n%q\n%q\ngot  %+v\nwant %+v", kind, k, src, got, after, want)
		}
		if !good(src, got) {
			t.Fatalf("%s %d: other bytes have changed\n%q\n%q", kind, k, src, got)
		}
		left := commentsOf(got)
		for comment, alone := range commentsOf(src) {
			inside := strings.Contains(comment, fmt.Sprintf("e%d-", k)) && (kind == "remove" || kind == "drain" && e.Drain && comment[0] == 'i')
			behind := !alone && (kind == "remove" || kind == "drain" && e.Drain)
			if _, ok := left[comment]; !ok && !inside && !behind {
				t.Fatalf("%s %d: comment %s is gone\n%q\n%q", kind, k, comment, src, got)
			}
		}
		kinds[kind]++
	})
	t.Logf("edits: %v", kinds)
}

// parsedFile returns the configuration of a text without its lists that are empty.
func parsedFile(t *rapid.T, src string) *Config {
	c, err := parseConfig([]byte(src), "/")
	if err != nil {
		t.Fatalf("%q: %v", src, err)
	}
	if len(c.Instances) == 0 {
		c.Instances = []*InstanceConfig{}
	}
	if len(c.FallbackInstances) == 0 {
		c.FallbackInstances = []*InstanceConfig{}
	}
	return c
}

var commentMark = regexp.MustCompile(`/[*/] ?(i?(?:t|e\d+-)\d+)`)

// commentsOf returns the marks of the comments in src, and whether nothing stands before
// them on their line.
func commentsOf(src string) map[string]bool {
	marks := make(map[string]bool)
	for _, m := range commentMark.FindAllStringSubmatchIndex(src, -1) {
		line := src[:m[0]]
		marks[src[m[2]:m[3]]] = strings.Trim(line[strings.LastIndexAny(line, "\r\n")+1:], " \t/") == ""
	}
	return marks
}

func squeezed(s string) string {
	return strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "").Replace(s)
}

func commonEnds(a, b string) (prefix, suffix int) {
	for prefix < min(len(a), len(b)) && a[prefix] == b[prefix] {
		prefix++
	}
	for suffix < min(len(a), len(b))-prefix && a[len(a)-1-suffix] == b[len(b)-1-suffix] {
		suffix++
	}
	return prefix, suffix
}

// onlyInserted reports whether after is before with a number of commas inserted, and one
// piece of text.
func onlyInserted(before, after string, commas int, piece bool) bool {
	p, _ := commonEnds(before, after)
	before, after = before[p:], after[p:]
	switch {
	case before == after:
		return true
	case len(before) >= len(after):
		return false
	case commas > 0 && after[0] == ',' && onlyInserted(before, after[1:], commas-1, piece):
		return true
	}
	for n := 1; piece && n <= len(after)-len(before); n++ {
		if onlyInserted(before, after[n:], commas, false) {
			return true
		}
	}
	return false
}
