package aigateway

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
)

// TestPagesAreCurrent guards that the parts of docs that are made of the Go source
// say what it does: the members of config.json5 and the metrics.
func TestPagesAreCurrent(t *testing.T) {
	for _, page := range []struct{ file, part string }{
		{"docs/configuration.md", referenceTables(rootSchema(t))},
		{"docs/metrics.md", metricsTable(t)},
	} {
		text, err := os.ReadFile(page.file)
		if err != nil {
			t.Fatal(err)
		}
		const begin, end = "<!-- written by go generate -->\n", "<!-- end of what go generate writes -->\n"
		before, rest, begun := strings.Cut(string(text), begin)
		part, after, ended := strings.Cut(rest, end)
		if !begun || !ended {
			t.Fatalf("%s has no %s and %s", page.file, strings.TrimSpace(begin), strings.TrimSpace(end))
		}
		want := "\n" + page.part + "\n"
		switch {
		case part == want:
		case *update:
			if err := os.WriteFile(page.file, []byte(before+begin+want+end+after), 0o644); err != nil {
				t.Fatal(err)
			}
		default:
			t.Errorf("%s is not that of the Go source, run go generate", page.file)
		}
	}
}

// tableCell keeps a text in its cell.
func tableCell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n\n", "<br>", "\n", " ", "<", "&lt;", ">", "&gt;").Replace(text)
}

// referenceTables returns a part for the file and one for each kind of object in
// it, in the order in which they are first named.
func referenceTables(root *subschema) string {
	named := map[string]*subschema{"": root}
	for _, def := range root.Defs {
		named[def.name] = def.schema
	}
	var out strings.Builder
	var parts []string
	note := func(name string) {
		if def := named[name]; def != nil && def.Type == "object" && !slices.Contains(parts, name) {
			parts = append(parts, name)
		}
	}
	write := func(title string, s *subschema) {
		fmt.Fprintf(&out, "## %s\n\n%s\n\n| member | what it takes | default | meaning |\n|---|---|---|---|\n", title, tableCell(s.Description))
		for _, member := range s.Properties {
			fmt.Fprintf(&out, "| `%s` | %s | %s | %s |\n", member.name, taken(member.schema, note), defaultCell(s, member), meaningCell(member))
		}
		out.WriteByte('\n')
	}
	write("The file", root)
	for i := 0; i < len(parts); i++ {
		write(partTitle(parts[i]), named[parts[i]])
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// meaningCell is a member's description without its name, which stands beside.
func meaningCell(member namedSchema) string {
	_, meaning, _ := strings.Cut(member.schema.Description, " ")
	for _, verb := range []string{"is ", "are "} {
		meaning = strings.TrimPrefix(meaning, verb)
	}
	meaning = strings.TrimSuffix(meaning, " Required.")
	first, size := utf8.DecodeRuneInString(meaning)
	return tableCell(string(unicode.ToUpper(first)) + meaning[size:])
}

func partTitle(def string) string { return "Members of " + def }

func defaultCell(of *subschema, member namedSchema) string {
	switch {
	case slices.Contains(of.Required, member.name):
		return "required"
	case member.schema.Default == nil:
		return ""
	}
	text, err := json.Marshal(member.schema.Default)
	if err != nil {
		panic(err)
	}
	return "`" + string(text) + "`"
}

// taken says what a member may be. note hears of the objects that are named.
func taken(s *subschema, note func(def string)) string {
	var kinds []string
	add := func(kind string) {
		if kind != "" && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	for _, one := range append([]*subschema{s}, s.AnyOf...) {
		switch def := strings.TrimPrefix(one.Ref, "#/$defs/"); def {
		case "":
			add(takenKind(one, note))
		case "placeholder": // every text may hold one, the page says
		case "duration":
			add(`time such as "1m30s"`)
		default:
			note(def)
			add("[" + def + "](#" + strings.ToLower(strings.ReplaceAll(partTitle(def), " ", "-")) + ")")
		}
	}
	if len(kinds) > 1 && strings.HasPrefix(kinds[0], "number") && strings.HasPrefix(kinds[1], "time") {
		kinds[0] = strings.Replace(kinds[0], "number", "seconds", 1)
	}
	return strings.Join(kinds, ", or ")
}

func takenKind(s *subschema, note func(def string)) string {
	if s.Const != nil {
		return fmt.Sprint("`", s.Const, "`")
	}
	kind, ok := s.Type.(string)
	if kinds, several := s.Type.([]string); several {
		kind, ok = kinds[0], true
	}
	switch {
	case !ok || kind == "null":
		return ""
	case kind == "boolean":
		return "`true` or `false`"
	case kind == "array":
		return "list of " + taken(s.Items, note)
	case kind == "object":
		values, ok := s.AdditionalProperties.(*subschema)
		if !ok {
			return "object"
		}
		return "names, each with a " + taken(values, note)
	case kind == "string":
		return takenText(s)
	}
	return kind + takenRange(s)
}

func takenText(s *subschema) string {
	var words []string
	for _, word := range s.Enum {
		if word != "" {
			words = append(words, "`\""+word+"\"`")
		}
	}
	switch {
	case len(words) > 0:
		return strings.Join(words, ", ")
	case s.MaxLength > 0:
		return fmt.Sprintf("text of up to %d bytes", s.MaxLength)
	}
	return "text"
}

func takenRange(s *subschema) string {
	f := func(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
	switch {
	case s.Minimum != nil && s.Maximum != nil:
		return ", " + f(*s.Minimum) + " to " + f(*s.Maximum)
	case s.Minimum != nil:
		return ", " + f(*s.Minimum) + " or more"
	}
	return ""
}

// metricsTable returns a row for each metric, as it describes itself.
func metricsTable(t testing.TB) string {
	t.Helper()
	ch := make(chan *prometheus.Desc, 100)
	for _, c := range collectors {
		c.Describe(ch)
	}
	close(ch)
	described := regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: ("(?:[^"\\]|\\.)+"), unit: "", constLabels: \{\}, variableLabels: \{([^}]*)\}\}$`)
	out := "| metric | labels | what it says |\n|---|---|---|\n"
	for d := range ch {
		found := described.FindStringSubmatch(d.String())
		if found == nil {
			t.Fatalf("%s is described in another way", d)
		}
		help, err := strconv.Unquote(found[2])
		if err != nil {
			t.Fatal(err)
		}
		labels := ""
		if found[3] != "" {
			labels = "`" + strings.ReplaceAll(found[3], ",", "`, `") + "`"
		}
		out += fmt.Sprintf("| `%s` | %s | %s |\n", found[1], labels, tableCell(help))
	}
	return out
}
