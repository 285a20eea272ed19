package page

import (
	"bytes"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"math"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

//go:embed templates
var templateFiles embed.FS

// templates are parsed once for each language, with its words.
var templates = sync.OnceValue(func() map[Language]*template.Template {
	all := make(map[Language]*template.Template, len(languages))
	for _, l := range languages {
		set := template.New("").Funcs(functions(l.Language))
		for _, name := range []string{"layout", "header", "main", "fleet", "panels", "records", "turns"} {
			source, err := templateFiles.ReadFile("templates/" + name + ".html")
			if err != nil {
				panic(err) // of a file within the program
			}
			template.Must(set.New(name).Parse(l.settle(string(source))))
		}
		all[l.Language] = set
	}
	return all
})

// icon returns the address of the pages' icon, which holds it: browsers ask for icons
// in a mode that Caddy's admin endpoint refuses.
var icon = sync.OnceValue(func() template.URL {
	source, err := templateFiles.ReadFile("templates/icon.svg")
	if err != nil {
		panic(err) // of a file within the program
	}
	return template.URL("data:image/svg+xml;base64," + base64.StdEncoding.EncodeToString(source)) //nolint:gosec // G203: nothing in it is from outside
})

// fixedText is a text without values, which a template would look up in each row.
var fixedText = regexp.MustCompile(`\{\{t "([^"]+)"\}\}`)

// settle puts the words that never change into a template's source: of a row's
// actions they are half.
func (l Language) settle(source string) string {
	return fixedText.ReplaceAllStringFunc(source, func(action string) string {
		return template.HTMLEscapeString(l.text(fixedText.FindStringSubmatch(action)[1]))
	})
}

func functions(l Language) template.FuncMap {
	return template.FuncMap{
		"t": l.text,
		// words is t for a key that may name an event unknown to the table.
		"words": func(key string) string {
			group, word, _ := strings.Cut(key, ".")
			return l.word(group, word)
		},
		"word": func(group string, word any) string { return l.word(group, fmt.Sprint(word)) },
		"span": l.span, "took": l.took,
		"seconds": func(s float64) string { return l.span(time.Duration(s * float64(time.Second))) },
		"time": func(t time.Time) template.HTML {
			if t.IsZero() {
				return none
			}
			//nolint:gosec // G203: nothing in it is from outside
			return template.HTML(`<time datetime="` + t.UTC().Format(time.RFC3339) + `">` + l.moment(t) + `</time>`)
		},
		"int": integer, "rate": rate, "percent": percent, "ms": milliseconds, "size": size, "clean": clean, "plain": func(s string) string { return harmless(s, math.MaxInt) },
		"str":  func(n int) string { return integer(int64(n)) },
		"none": func() string { return none },
		"split": func(s string) []string {
			before, after, _ := strings.Cut(s, "\x00")
			return []string{before, after}
		},
		"counts": func(s *Spark) [2]int64 {
			requests, errors := s.count()
			return [2]int64{requests, errors}
		},
		"icon": icon,
		"wide": func(n int) int64 { return int64(n) },
		"indent": func(s string) string {
			var b bytes.Buffer
			if json.Indent(&b, []byte(s), "", "  ") != nil {
				return s // the beginning of one that is long
			}
			return b.String()
		},
		"turnto": turnTo,
		"act": func(do, name string) map[string]string {
			return map[string]string{"Do": do, "Say": l.text("act." + do), "Ask": l.text("ask."+do, clean(name))}
		},
		// hot marks a share of errors that wants to be seen.
		"hot": func(share float64) string {
			switch {
			case share >= 0.05:
				return " hot"
			case share >= 0.01:
				return " warm"
			case share == 0:
				return " zero"
			default:
				return ""
			}
		},
	}
}

// A rendering is the page's main part in one language, in pieces that each have the
// id of the element they are, so that a viewer is sent those that have changed. It
// is not changed once it is made.
type rendering struct {
	language Language
	pieces   map[string]template.HTML
	rows     []string // ids of the table's pieces, in order
	made     map[string]instanceRow
}

// panels are the pieces that are always there; each is a template.
var panels = []string{"verdict", "traffic", "events", "alerts", "recorder", "config"}

// render renders s, with buttons for what people may decide if steer is set. What
// before, which may be nil, has of instances that are as they were is taken from
// there: of a second's work they are most.
func render(l Language, s *Status, steer bool, before *rendering) (*rendering, error) {
	v := newView(s)
	r := &rendering{language: l, pieces: make(map[string]template.HTML), made: make(map[string]instanceRow, v.Count)}
	for _, name := range panels {
		if err := r.add(name, name, v); err != nil {
			return nil, err
		}
	}
	for _, m := range v.Rows {
		r.rows = append(r.rows, m.Key)
		if err := r.add(m.Key, "model", m); err != nil {
			return nil, err
		}
		for _, i := range m.Instances {
			i.Steer = steer
			r.rows = append(r.rows, i.Key)
			r.made[i.Key] = i
			if before != nil && reflect.DeepEqual(i, before.made[i.Key]) {
				r.pieces[i.Key] = before.pieces[i.Key]
			} else if err := r.add(i.Key, "instance", i); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

func (r *rendering) add(id, name string, data any) error {
	html, err := execute(r.language, name, data)
	r.pieces[id] = html
	return err
}

func execute(l Language, name string, data any) (template.HTML, error) {
	var b bytes.Buffer
	if err := templates()[l].ExecuteTemplate(&b, name, data); err != nil {
		return "", fmt.Errorf("rendering the status page's %q: %w", name, err)
	}
	return template.HTML(b.String()), nil //nolint:gosec // G203: html/template has escaped it
}

// main puts the pieces together.
func (r *rendering) main() (template.HTML, error) {
	data := make(map[string]any, len(panels)+1)
	for _, name := range panels {
		data[name] = r.pieces[name]
	}
	rows := make([]template.HTML, len(r.rows))
	for i, id := range r.rows {
		rows[i] = r.pieces[id]
	}
	data["rows"] = rows
	return execute(r.language, "main", data)
}

// changes returns the pieces that differ from those of before, by id. If rows came,
// went or moved, it is the whole main part.
func (r *rendering) changes(before *rendering) (map[string]template.HTML, error) {
	if !slices.Equal(r.rows, before.rows) {
		return r.whole()
	}
	changed := maps.Clone(r.pieces)
	maps.DeleteFunc(changed, func(id string, html template.HTML) bool { return html == before.pieces[id] })
	return changed, nil
}

// whole returns the main part in the form of changes.
func (r *rendering) whole() (map[string]template.HTML, error) {
	main, err := r.main()
	return map[string]template.HTML{"main": main}, err
}

// document returns the whole page, whose links repeat what query has of o.Keep.
func (r *rendering) document(o *Options, query url.Values) ([]byte, error) {
	main, err := r.main()
	if err != nil {
		return nil, err
	}
	f := newLayout(r.language, "", query, o.Keep)
	recordings := ""
	if o.Recordings != nil {
		recordings = o.Recordings()
	}
	if recordings != "" {
		recordings = f.Link(recordings)
	}
	html, err := execute(r.language, "layout", map[string]any{
		"Main": main, "Head": f, "Recordings": recordings, "Steer": o.Steer,
		"Feed": f.Link("feed", "lang", string(r.language), "assets", assets().version), "Query": f.Link(""),
	})
	return []byte(html), err
}
