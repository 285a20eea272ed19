package aigateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// subschema is a JSON Schema or a part of one, with the keywords that are used
// here in the order of the file.
type subschema struct {
	Schema               string           `json:"$schema,omitempty"`
	ID                   string           `json:"$id,omitempty"`
	Title                string           `json:"title,omitempty"`
	Description          string           `json:"description,omitempty"`
	Ref                  string           `json:"$ref,omitempty"`
	Type                 any              `json:"type,omitempty"` // a string or several
	Const                any              `json:"const,omitempty"`
	Enum                 []string         `json:"enum,omitempty"`
	MinLength            int              `json:"minLength,omitempty"`
	MaxLength            int              `json:"maxLength,omitempty"`
	Pattern              string           `json:"pattern,omitempty"`
	Minimum              *float64         `json:"minimum,omitempty"`
	Maximum              *float64         `json:"maximum,omitempty"`
	MinItems             int              `json:"minItems,omitempty"`
	MaxItems             int              `json:"maxItems,omitempty"`
	Items                *subschema       `json:"items,omitempty"`
	Required             []string         `json:"required,omitempty"`
	Properties           schemaProperties `json:"properties,omitempty"`
	PropertyNames        *subschema       `json:"propertyNames,omitempty"`
	AdditionalProperties any              `json:"additionalProperties,omitempty"`
	Not                  *subschema       `json:"not,omitempty"`
	AnyOf                []*subschema     `json:"anyOf,omitempty"`
	Default              any              `json:"default,omitempty"`
	Examples             []any            `json:"examples,omitempty"`
	Defs                 schemaProperties `json:"$defs,omitempty"`
	AllowTrailingCommas  bool             `json:"allowTrailingCommas,omitempty"` // of VS Code
}

// schemaProperties keep their order, which encoding/json's maps do not.
type schemaProperties []namedSchema

type namedSchema struct {
	name   string
	schema *subschema
}

func (p schemaProperties) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	for n, member := range p {
		value, err := marshalPlain(member.schema)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "%c%q:%s", "{,"[min(n, 1)], member.name, value)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// marshalPlain leaves < and > as they are.
func marshalPlain(v any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return bytes.TrimSpace(out.Bytes()), err
}

// schemaMaker builds the schema of config.json5 out of the Go types, the
// comments in their source, and what the parser makes of the smallest file.
type schemaMaker struct {
	docs map[string]string // by type, and by type and field, as in Config.DataDir
	defs schemaProperties
	used map[string]bool // rules
}

// makeSchema returns the text of config.schema.json.
func makeSchema(t testing.TB) []byte {
	t.Helper()
	text, err := marshalPlain(rootSchema(t))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, text, "", "  "); err != nil {
		t.Fatal(err)
	}
	out.WriteByte('\n')
	return out.Bytes()
}

// rootSchema returns the schema of the file as a whole.
func rootSchema(t testing.TB) *subschema {
	t.Helper()
	m := &schemaMaker{docs: make(map[string]string), used: make(map[string]bool)}
	for _, file := range []string{"config.go", "dns_config.go", "keys_config.go", "record_config.go", "overflow_config.go", "internal/alert/config.go"} {
		if err := m.readDocs(file); err != nil {
			t.Fatal(err)
		}
	}
	least := readConfig([]byte(`{instances: [{url: 'http://h', model_name: 'm'}]}`), "").config
	least.Timeouts = timeoutsOf(defaultDeadlines)
	root := m.object(reflect.ValueOf(*least))
	m.object(reflect.ValueOf(*least.Instances[0]))
	m.object(reflect.ValueOf(KeyConfig{}))
	some := func(member string) *subschema {
		list := &subschema{Type: "array", MinItems: 1}
		return &subschema{Properties: schemaProperties{{member, list}}, Required: []string{member}}
	}
	root.AnyOf = []*subschema{some("instances"), some("fallback_instances")}
	root.Schema, root.Title = "https://json-schema.org/draft/2020-12/schema", "config.json5 of caddy-ai-gateway"
	root.ID = "https://raw.githubusercontent.com/simpleaigateway/caddy-ai-gateway/main/" + schemaPlace
	root.AllowTrailingCommas = true
	root.Defs = append(m.defs, namedSchema{"placeholder", &subschema{
		Description: "A text with the value of an environment variable, {env.NAME}, or the text of a file, {file.PATH}.",
		Type:        "string", Pattern: schemaPlaceholder,
	}}, namedSchema{"duration", &subschema{
		Description: "A time with its unit.", Type: "string", Pattern: schemaDuration, Examples: []any{"1m30s", "500ms", "2h"},
	}})
	for name := range schemaRules {
		if !m.used[name] {
			t.Errorf("schemaRules has %s, of which there is no member", name)
		}
	}
	return root
}

// timeoutsOf returns the members of timeouts that stand for d, by their names.
func timeoutsOf(d deadlines) (c TimeoutsConfig) {
	from, to := reflect.ValueOf(d), reflect.ValueOf(&c).Elem()
	for i := range to.NumField() {
		name := to.Type().Field(i).Name
		value := from.FieldByNameFunc(func(other string) bool { return strings.EqualFold(other, name) })
		if value.Kind() == reflect.Bool {
			to.Field(i).Set(reflect.ValueOf(new(value.Bool())))
			continue
		}
		to.Field(i).Set(reflect.ValueOf(new(Seconds(value.Int()))))
	}
	return c
}

// readDocs collects the comments of a source file's types and fields.
func (m *schemaMaker) readDocs(file string) error {
	source, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		return err
	}
	for _, decl := range source.Decls {
		decl, ok := decl.(*ast.GenDecl)
		if !ok || decl.Tok != token.TYPE {
			continue
		}
		for _, spec := range decl.Specs {
			spec := spec.(*ast.TypeSpec)
			name := typeName(file, spec.Name.Name)
			// As of the name that it has here.
			m.docs[name] = strings.Replace(decl.Doc.Text(), spec.Name.Name, name, 1)
			if structure, ok := spec.Type.(*ast.StructType); ok {
				for _, field := range structure.Fields.List {
					for _, member := range field.Names {
						m.docs[name+"."+member.Name] = field.Doc.Text()
					}
				}
			}
		}
	}
	return nil
}

// typeName returns what a type is called here: two packages have a Config.
func typeName(place, name string) string {
	if strings.Contains(place, "internal/alert") && name == "Config" {
		return "AlertsConfig"
	}
	return name
}

func nameOf(t reflect.Type) string { return typeName(t.PkgPath(), t.Name()) }

// goLink is a sentence with a link to another Go name, which is for who reads Go.
var goLink = regexp.MustCompile(`[^.]*\[[A-Z]\w*\][^.]*\.`)

// description returns a comment as prose: without the breaks of its lines and
// sentences about other Go names, and with subject in place of the Go name that it
// begins with.
func (m *schemaMaker) description(goName, subject string) string {
	doc, ok := m.docs[goName]
	if !ok || doc == "" {
		panic(goName + " has no comment")
	}
	doc = strings.ReplaceAll(strings.Join(strings.Split(strings.TrimSpace(doc), "\n"), " "), "  ", "\n\n")
	doc = strings.TrimSpace(goLink.ReplaceAllString(doc, ""))
	short := goName[strings.LastIndexByte(goName, '.')+1:]
	rest, ok := strings.CutPrefix(doc, short+" ")
	if !ok {
		panic("the comment of " + goName + " does not begin with " + short)
	}
	if subject != "" {
		return subject + " " + rest
	}
	rest = strings.TrimPrefix(rest, "is ")
	first, size := utf8.DecodeRuneInString(rest)
	return string(unicode.ToUpper(first)) + rest[size:]
}

// object returns the schema of a struct; v holds its defaults. All but the root
// get a definition of their own.
func (m *schemaMaker) object(v reflect.Value) *subschema {
	t := v.Type()
	s := &subschema{Description: m.description(nameOf(t), ""), Type: "object", AdditionalProperties: false}
	for i := range t.NumField() {
		field := t.Field(i)
		name := field.Tag.Get("json")
		if name == "-" {
			continue
		}
		key := nameOf(t) + "." + field.Name
		rule := schemaRules[key]
		m.used[key] = true
		member := m.value(v.Field(i), rule)
		if member.Ref == "" {
			member.Description = m.description(key, name)
		} else { // beside a $ref it would hide that of the definition in some editors
			member = &subschema{Description: m.description(key, name), AnyOf: []*subschema{member, {Type: "null"}}}
		}
		member.Examples = rule.examples
		if rule.required && rule.unless != "" {
			given := schemaProperties{{rule.unless, &subschema{Const: true}}}
			s.AnyOf = []*subschema{{Required: []string{name}}, {Required: []string{rule.unless}, Properties: given}}
		} else if rule.required {
			s.Required = append(s.Required, name)
		} else {
			member.Default = defaultOf(v.Field(i))
		}
		s.Properties = append(s.Properties, namedSchema{name, member})
	}
	if t != reflect.TypeFor[Config]() {
		m.define(t, s)
	}
	return s
}

func (m *schemaMaker) define(t reflect.Type, s *subschema) {
	for _, def := range m.defs {
		if def.name == defName(t) {
			return
		}
	}
	m.defs = append(m.defs, namedSchema{defName(t), s})
}

func defName(t reflect.Type) string { return strings.ToLower(strings.TrimSuffix(nameOf(t), "Config")) }

func refTo(t reflect.Type) *subschema { return &subschema{Ref: "#/$defs/" + defName(t)} }

// value returns the schema of a member without what all kinds have. null stands
// for the default everywhere but in lists, and in members that are required.
func (m *schemaMaker) value(v reflect.Value, rule schemaRule) *subschema {
	t := v.Type()
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var kinds any = []string{kindOf(t), "null"}
	if rule.required {
		kinds = kindOf(t)
	}
	switch {
	case t == reflect.TypeFor[Seconds]():
		return m.seconds(rule)
	case t.Kind() == reflect.Struct:
		if v.Kind() == reflect.Struct && t != reflect.TypeFor[TimeoutsConfig]() || !v.IsZero() {
			m.object(v)
		}
		return refTo(t)
	case t.Kind() == reflect.String:
		return text(rule.text, !rule.required)
	case t.Kind() == reflect.Bool:
		return &subschema{Type: kinds}
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Pointer:
		return &subschema{Type: kinds, Items: refTo(t.Elem().Elem())}
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		m.object(reflect.Zero(t.Elem()))
		return &subschema{Type: kinds, MaxItems: rule.items, Items: refTo(t.Elem())}
	case t.Kind() == reflect.Slice:
		return &subschema{Type: kinds, MaxItems: rule.items, Items: text(rule.text, false)}
	case t.Kind() == reflect.Map && t.Elem().Kind() == reflect.Struct:
		m.object(reflect.Zero(t.Elem()))
		return &subschema{Type: kinds, PropertyNames: rule.names, AdditionalProperties: &subschema{AnyOf: []*subschema{refTo(t.Elem()), {Type: "null"}}}}
	case t.Kind() == reflect.Map:
		return &subschema{Type: kinds, PropertyNames: rule.names, AdditionalProperties: text(rule.text, rule.null)}
	case t.Kind() == reflect.Int || t.Kind() == reflect.Int64 || t.Kind() == reflect.Float64:
		s := &subschema{Type: kinds, Minimum: &rule.least}
		if rule.most > 0 {
			s.Maximum = &rule.most
		}
		return s
	}
	panic("no schema for " + t.String())
}

func kindOf(t reflect.Type) string {
	return map[reflect.Kind]string{
		reflect.Bool: "boolean", reflect.Int: "integer", reflect.Int64: "integer", reflect.Float64: "number", reflect.String: "string",
		reflect.Slice: "array", reflect.Map: "object",
	}[t.Kind()]
}

// text returns the schema of a text, which may have a placeholder in it instead of
// what bounds says.
func text(bounds *subschema, null bool) *subschema {
	switch {
	case bounds == nil && null:
		return &subschema{Type: []string{"string", "null"}}
	case bounds == nil:
		return &subschema{Type: "string"}
	}
	bounded := *bounds
	bounded.Type = "string"
	s := &subschema{AnyOf: []*subschema{&bounded, {Ref: "#/$defs/placeholder"}}}
	if null {
		s.AnyOf = append(s.AnyOf, &subschema{Type: "null"})
	}
	return s
}

// seconds returns the schema of a time; what a text says in its unit is not
// compared with the bounds.
func (m *schemaMaker) seconds(rule schemaRule) *subschema {
	longest := float64(10 * 365 * 24 * time.Hour / time.Second)
	if rule.most > 0 {
		longest = rule.most
	}
	s := &subschema{AnyOf: []*subschema{
		{Type: "number", Minimum: &rule.least, Maximum: &longest}, {Ref: "#/$defs/duration"}, {Ref: "#/$defs/placeholder"}, {Type: "null"},
	}}
	if rule.orZero {
		s.AnyOf = append([]*subschema{{Const: 0}}, s.AnyOf...)
	}
	return s
}

// defaultOf returns the value of a member that the parser sets itself, or nil.
func defaultOf(v reflect.Value) any {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	switch v := v.Interface().(type) {
	case Seconds:
		return time.Duration(v).Seconds()
	case string:
		if v == "" {
			return nil
		}
	case []string:
		if len(v) == 0 {
			return nil
		}
	case bool, int, int64, float64:
	default:
		return nil
	}
	return v.Interface()
}
