package json5

import (
	"fmt"
	"reflect"
	"strings"
)

// Options change how Decode reads values. The zero value is ready for use.
type Options struct {
	// String is applied to every string value, not to names, before it is
	// stored or handed to an Unmarshaler; it resolves placeholders. Its error
	// is reported at the value.
	String func(s string) (string, error)
}

// An Unmarshaler reads itself from a single value: a string, bool, int64 (a
// whole number that fits), float64 (any other finite number) or nil for null.
// Objects, arrays, Infinity and NaN are refused before it is asked. Its error
// becomes the message at the value's place, after the path; a secret value is
// masked in it.
type Unmarshaler interface{ UnmarshalValue(v any) error }

// maxErrors bounds what one file can report: the thousandth mistake helps
// nobody, and each holds its source line.
const maxErrors = 1000

// Decode stores the document in the value v points to and returns nil or all
// mistakes as [Errors]. When there are any, v is filled as far as possible.
//
// It knows structs with `json:"name"` tags (fields without are left alone, so
// are embedded structs), pointers, slices, maps with string keys, strings,
// bools, all sizes of integers and floats, and [Unmarshaler]. Names match
// exactly. Members that are unknown or given twice are mistakes, also when
// only an escape tells them apart. A number for an integer must be whole and
// in range, however it is written (0x10, +1, 1e3); 64 bits are kept exactly.
// null changes nothing, so defaults set before stay.
//
// After maxErrors (1000) mistakes the rest is only counted, in a last entry.
func (d *Document) Decode(v any, opt Options) error {
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Pointer || rv.IsNil() {
		return fmt.Errorf("decoding: got %T, want a pointer that is not nil", v)
	}
	dec := &decoder{doc: d, opt: opt, structs: make(map[reflect.Type]fields)}
	dec.value(d.root, rv.Elem())
	if len(dec.errs) == 0 {
		return nil
	}
	dec.errs.sort()
	if dec.more > 0 {
		last := *dec.errs[len(dec.errs)-1]
		last.Path, last.Msg = "", fmt.Sprintf("too many mistakes, %d more are not shown", dec.more)
		dec.errs = append(dec.errs, &last)
	}
	return dec.errs
}

type decoder struct {
	doc     *Document
	opt     Options
	errs    Errors
	more    int // mistakes beyond maxErrors
	structs map[reflect.Type]fields
}

// fields are the members of a struct type.
type fields struct {
	index map[string]int // by name
	names []string       // in the order of the type
}

// value stores n in v, which can be set. It recurses at most MaxDepth deep.
func (dec *decoder) value(n *Node, v reflect.Value) {
	null := n.kind == bareValue && string(dec.doc.text(n)) == "null"
	if v.Kind() == reflect.Pointer {
		if null {
			return
		}
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		dec.value(n, v.Elem())
		return
	}
	if u, ok := reflect.TypeAssert[Unmarshaler](v.Addr()); ok {
		dec.unmarshaler(n, u)
		return
	}
	if null {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		dec.structure(n, v)
	case reflect.Map:
		dec.mapping(n, v)
	case reflect.Slice:
		dec.slice(n, v)
	default:
		dec.single(n, v)
	}
}

func (dec *decoder) structure(n *Node, v reflect.Value) {
	if n.kind != object {
		dec.mismatch(n, "an object")
		return
	}
	known := dec.fieldsOf(v.Type())
	dec.members(n, func(m *Node) {
		if i, ok := known.index[m.name]; ok {
			dec.value(m, v.Field(i))
			return
		}
		dec.reportName(m, "unknown member %s%s", quoteName(m.name), suggestion(m.name, known.names))
	})
}

func (dec *decoder) mapping(n *Node, v reflect.Value) {
	t := v.Type()
	if t.Key().Kind() != reflect.String {
		dec.report(n, "type %s cannot be read from a file", t)
		return
	}
	if n.kind != object {
		dec.mismatch(n, "an object")
		return
	}
	if v.IsNil() {
		v.Set(reflect.MakeMapWithSize(t, len(n.items)))
	}
	dec.members(n, func(m *Node) {
		elem := reflect.New(t.Elem()).Elem()
		dec.value(m, elem)
		v.SetMapIndex(reflect.ValueOf(m.name).Convert(t.Key()), elem)
	})
}

// members calls read for each member and reports those given twice.
func (dec *decoder) members(n *Node, read func(m *Node)) {
	first := make(map[string]*Node, len(n.items))
	for _, m := range n.items {
		if f, ok := first[m.name]; ok {
			line, _ := dec.doc.position(f.keyStart)
			dec.reportName(m, "duplicate member %s; the first is on line %d", quoteName(m.name), line)
			continue
		}
		first[m.name] = m
		read(m)
	}
}

func (dec *decoder) slice(n *Node, v reflect.Value) {
	if n.kind != array {
		dec.mismatch(n, "an array")
		return
	}
	s := reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
	for i, e := range n.items {
		dec.value(e, s.Index(i))
	}
	v.Set(s)
}

func (dec *decoder) mismatch(n *Node, want string) {
	var got string
	switch text := dec.doc.text(n); {
	case n.kind == object:
		got = "an object"
	case n.kind == array:
		got = "an array"
	case n.kind == stringValue:
		got = "a string"
	case isLiteral(text) || isSpecial(text):
		got = string(text)
	default:
		got = "a number"
	}
	dec.report(n, "got %s, want %s", got, want)
}

// report reports a mistake in the value of n.
func (dec *decoder) report(n *Node, format string, args ...any) {
	dec.add(n.start, n, format, args...)
}

// reportName reports a mistake in the name of m, with the path of its object.
func (dec *decoder) reportName(m *Node, format string, args ...any) {
	dec.add(m.keyStart, m.parent, format, args...)
}

func (dec *decoder) add(off int, n *Node, format string, args ...any) {
	if len(dec.errs) == maxErrors {
		dec.more++
		return
	}
	dec.errs = append(dec.errs, dec.doc.problemAt(off, n.path(), fmt.Sprintf(format, args...)))
}

func (dec *decoder) fieldsOf(t reflect.Type) fields {
	if fs, ok := dec.structs[t]; ok {
		return fs
	}
	fs := fields{index: make(map[string]int)}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || f.Anonymous || name == "" || name == "-" {
			continue
		}
		fs.index[name] = i
		fs.names = append(fs.names, name)
	}
	dec.structs[t] = fs
	return fs
}
