package json5

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// A style is how an object is written.
type style struct {
	open, between, close string // white space after "{", after "," and before "}"
	colon                string // with the white space around it
	name, text           byte   // quotes of names and strings; a name may have none: 0
	trailing             bool   // a comma stands behind the last member
}

// styleOf returns the style of the object n. What it does not show, and the style
// of no object, is that of the document.
func (d *Document) styleOf(n *Node) style {
	st := style{open: " ", between: " ", close: " ", colon: ": ", name: '"', text: '"'}
	if n != d.root && len(d.root.items) > 0 {
		top := d.styleOf(d.root)
		st.colon, st.name, st.text = top.colon, top.name, top.text
	}
	if n == nil || n.kind != object || len(n.items) == 0 {
		if !strings.Contains(st.colon, " ") {
			st.open, st.between, st.close = "", "", ""
		}
		return st
	}
	first, last := n.items[0], n.items[len(n.items)-1]
	st.name = 0
	if c := d.src[first.keyStart]; c == '"' || c == '\'' {
		st.name = c
	}
	if q := d.quoteIn(n); q != 0 {
		st.text = q
	}
	st.colon = d.colonOf(first)
	st.open = d.gapBefore(n, 0)
	switch {
	case len(n.items) > 1:
		st.between = d.gapBefore(n, 1)
	case endsLines(st.open):
		st.between = st.open
	case !strings.Contains(st.colon, " "):
		st.between = ""
	}
	end := last.end
	comma, found := d.commaAfter(last)
	if st.trailing = found; found {
		end = comma + 1
	}
	st.close = d.gap(end, n.end-1)
	return st
}

// quoteIn returns the quote of the first string in n, or 0.
func (d *Document) quoteIn(n *Node) byte {
	if n.kind == stringValue {
		return d.src[n.start]
	}
	for _, m := range n.items {
		if q := d.quoteIn(m); q != 0 {
			return q
		}
	}
	return 0
}

// colonOf returns the colon of the member m with the blanks around it.
func (d *Document) colonOf(m *Node) string {
	b := d.src[m.keyStart:m.start]
	size := bareSize(b)
	if size == 0 {
		size, _ = stringSize(b)
	}
	if colon := string(b[size:]); strings.Trim(colon, " \t") == ":" {
		return colon
	}
	return ": "
}

// moved returns the style for a line with another indentation than that of the
// object it is taken from.
func (st style) moved(from, to string) style {
	move := func(gap string) string {
		i := strings.LastIndexAny(gap, "\r\n") + 1
		if i == 0 || !strings.HasPrefix(gap[i:], from) {
			return gap
		}
		return gap[:i] + to + gap[i+len(from):]
	}
	st.open, st.between, st.close = move(st.open), move(st.between), move(st.close)
	return st
}

func (st style) object(members []Member) string {
	texts := make([]string, len(members))
	for i, m := range members {
		texts[i] = st.member(m)
	}
	text := "{" + st.open + strings.Join(texts, ","+st.between)
	if st.trailing {
		text += ","
	}
	return text + st.close + "}"
}

func (st style) member(m Member) string {
	name := m.Name
	if _, plain := identifier([]byte(name)); st.name != 0 {
		name = quoteText(name, st.name)
	} else if !plain {
		name = quoteText(name, st.text)
	}
	return name + st.colon + st.value(m.Value)
}

func (st style) value(v any) string {
	if s, ok := v.(string); ok {
		return quoteText(s, st.text)
	}
	return fmt.Sprint(v) // true, false, whole numbers and Raw are written so
}

// quoteText writes s as a string. What is not UTF-8 in it becomes U+FFFD.
func quoteText(s string, quote byte) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always encodes
	text := strings.TrimSuffix(b.String(), "\n")
	if quote == '"' {
		return text
	}
	text = strings.ReplaceAll(text[1:len(text)-1], `\"`, `"`)
	return "'" + strings.ReplaceAll(text, "'", `\'`) + "'"
}

// sample returns the element of the array n that a new one should look like: the
// last object that ends as far to the right as it begins, or else the last one;
// nil if there is none.
func (d *Document) sample(n *Node) (like *Node) {
	if n.kind != array {
		return nil
	}
	for _, e := range slices.Backward(n.items) {
		if e.kind != object || len(e.items) == 0 {
			continue
		}
		if d.indent(e.start) == d.indent(e.end-1) {
			return e
		}
		if like == nil {
			like = e
		}
	}
	return like
}

// gapBefore returns the white space before item k of n, without what comments
// stand in it.
func (d *Document) gapBefore(n *Node, k int) string {
	from := n.start + 1
	if k > 0 {
		comma, _ := d.commaAfter(n.items[k-1])
		from = comma + 1
	}
	return d.gap(from, n.items[k].first())
}

// gap returns the white space from one byte to another: one line end and the
// indentation of the line behind it, or blanks.
func (d *Document) gap(from, to int) string {
	text := d.src[from:to]
	if i := bytes.LastIndexAny(text, "\r\n"); i >= 0 {
		return d.lineBreak() + leadingBlanks(text[i+1:])
	}
	if isBlank(text) {
		return string(text)
	}
	return " "
}

// indent returns the blanks at the beginning of the line of the byte at off.
func (d *Document) indent(off int) string { return leadingBlanks(d.src[d.lineStart(off, off):off]) }

func leadingBlanks(line []byte) string {
	return string(line[:len(line)-len(bytes.TrimLeft(line, " \t"))])
}

// indentUnit returns how far the document indents what is one level deeper.
func (d *Document) indentUnit() string {
	if len(d.root.items) > 0 {
		gap := d.gapBefore(d.root, 0)
		if unit := strings.TrimPrefix(strings.TrimLeft(gap, "\r\n"), d.indent(d.root.start)); endsLines(gap) && unit != "" {
			return unit
		}
	}
	return "  "
}

// trailingComma reports whether the document has a comma behind its last member.
func (d *Document) trailingComma() bool {
	if len(d.root.items) == 0 {
		return false
	}
	_, found := d.commaAfter(d.root.items[len(d.root.items)-1])
	return found
}

// lineBreak returns the line end of the document: that of its first line.
func (d *Document) lineBreak() string {
	i := bytes.IndexAny(d.src, "\r\n")
	switch {
	case i < 0 || d.src[i] == '\n':
		return "\n"
	case i+1 < len(d.src) && d.src[i+1] == '\n':
		return "\r\n"
	}
	return "\r"
}
