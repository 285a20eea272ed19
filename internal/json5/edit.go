package json5

import (
	"bytes"
	"strings"
)

// A Member is a name and a value to be written into an object. The value is a
// string, a bool, an int, or [Raw].
type Member struct {
	Name  string
	Value any
}

// Raw is the text of a value, written as it is.
type Raw string

// Set returns the file with the member m in the object n: its value takes the
// place of the one there is, or the member comes to the end of the object, in
// the style of the others.
func (d *Document) Set(n *Node, m Member) []byte {
	st := d.styleOf(n)
	if old := n.child(m.Name); old != nil {
		return d.apply(splice{old.start, old.end, st.value(m.Value)})
	}
	if len(n.items) == 0 {
		return d.fill(n, func(string) string { return st.member(m) })
	}
	gap := st.between
	if k := len(n.items) - 1; k > 0 {
		gap = d.gapBefore(n, k)
	} else if first := d.gapBefore(n, 0); endsLines(first) {
		gap = first
	}
	return d.insert(n, st.member(m), gap)
}

// Append returns the file with an object of these members behind the last
// element of the array n, in the style of the elements there. Where there are
// none, it is written like those of the other arrays at the top of the file.
// Comments at the end of the line of the last element stay with it.
func (d *Document) Append(n *Node, members ...Member) []byte {
	like := d.sample(n)
	if like == nil {
		for _, other := range d.root.items {
			if like = d.sample(other); like != nil {
				break
			}
		}
	}
	st, from := d.styleOf(like), ""
	if like != nil {
		from = d.indent(like.start)
	}
	write := func(indent string) string { return st.moved(from, indent).object(members) }
	if len(n.items) == 0 {
		return d.fill(n, write)
	}
	if like == nil || like.parent != n { // of null or numbers: the last one shows where
		like = n.items[len(n.items)-1]
	}
	k := like.index
	if k == 0 && !endsLines(d.gapBefore(n, 0)) {
		k = len(n.items) - 1
	}
	gap := d.gapBefore(n, k)
	if k == 0 && !endsLines(gap) {
		if gap = st.between; endsLines(gap) {
			gap = " "
		}
	}
	return d.insert(n, write(d.indent(like.start)), gap)
}

// Remove returns the file without n, a member or an element. If it has its
// lines for itself they go, with the comments at their end; comments on lines
// of their own stay, as they may speak of others too.
func (d *Document) Remove(n *Node) []byte {
	items := n.parent.items
	start, end := n.first(), n.end
	var cuts []splice
	comma, found := d.commaAfter(n)
	before := n.parent.start + 1 // what stands before n ends here
	if n.index > 0 {
		c, _ := d.commaAfter(items[n.index-1])
		before = c + 1
		if !found { // the one before is the last now
			cuts = append(cuts, splice{c, c + 1, ""})
		}
	}
	far := found && !isBlank(d.src[end:comma]) // comments stand before the comma
	if found && !far {
		end = comma + 1
	}
	last := n.index == len(items)-1
	if from, to, ok := d.ownLines(start, end); ok && !far {
		return d.apply(append(cuts, splice{from, to, ""})...)
	}
	switch {
	case !last && !far && isBlank(d.src[end:items[n.index+1].first()]):
		end = items[n.index+1].first()
	case last && n.index == 0 && !far && isBlank(d.src[before:start]) && isBlank(d.src[end:n.parent.end-1]):
		start, end = before, n.parent.end-1
	case last && isBlank(d.src[before:start]):
		start = before
		if prev := before - 1; !found && n.index > 0 && isBlank(d.src[items[n.index-1].end:prev]) {
			start, cuts = items[n.index-1].end, nil
		}
	}
	cuts = append(cuts, splice{start, end, ""})
	if far {
		cuts = append(cuts, splice{comma, comma + 1, ""})
	}
	return d.apply(cuts...)
}

// A splice replaces the bytes from start to end by text.
type splice struct {
	start, end int
	text       string
}

// apply returns the file with the splices made. They are in order and do not
// overlap.
func (d *Document) apply(splices ...splice) []byte {
	out, at := []byte(d.bom), 0
	for _, s := range splices {
		out = append(append(out, d.src[at:s.start]...), s.text...)
		at = s.end
	}
	return append(out, d.src[at:]...)
}

// insert puts item behind the last item of n, with gap between them. A comma
// behind the last item moves to the new one.
func (d *Document) insert(n *Node, item, gap string) []byte {
	last := n.items[len(n.items)-1]
	at := last.end
	comma, found := d.commaAfter(last)
	if found {
		at, item = comma+1, item+","
	}
	if endsLines(gap) {
		at = d.afterComments(at)
	}
	splices := []splice{{last.end, last.end, ","}, {at, at, gap + item}}
	if found {
		splices = splices[1:]
	}
	return d.apply(splices...)
}

// fill puts a single item into n, which has none. It stands on a line of its own
// if those of the whole document do. Write is given the indentation of its line.
func (d *Document) fill(n *Node, write func(indent string) string) []byte {
	from, to := n.start+1, n.end-1
	inner := d.src[from:to]
	if len(d.root.items) > 0 && !endsLines(d.gapBefore(d.root, 0)) {
		if !isBlank(inner) {
			from = to
		}
		return d.apply(splice{from, to, write(d.indent(n.start))})
	}
	outer := d.indent(n.start)
	line := d.lineStart(to, to)
	own := line >= from && isBlank(d.src[line:to])
	if own {
		outer = string(d.src[line:to])
	}
	item := write(outer + d.indentUnit())
	if d.trailingComma() {
		item += ","
	}
	item = outer + d.indentUnit() + item + d.lineBreak()
	if own {
		return d.apply(splice{line, line, item})
	}
	from += len(bytes.TrimRight(inner, " \t"))
	return d.apply(splice{from, to, d.lineBreak() + item + outer})
}

// first returns where n begins, with its name.
func (n *Node) first() int {
	if n.parent != nil && n.parent.kind == object {
		return n.keyStart
	}
	return n.start
}

// commaAfter returns where the comma behind n stands, if there is one.
func (d *Document) commaAfter(n *Node) (off int, found bool) {
	for off = n.end; off < len(d.src); {
		if size := spaceSize(d.src[off:]); size > 0 {
			off += size
		} else if startsComment(d.src[off:]) {
			size, _ := commentSize(d.src[off:])
			off += size
		} else {
			break
		}
	}
	return off, off < len(d.src) && d.src[off] == ','
}

// afterComments returns where the comments end that begin behind off on its
// line, or off.
func (d *Document) afterComments(off int) int {
	end := off
	for i := off; i < len(d.src) && !isLineEnd(rune(d.src[i])); {
		if size := spaceSize(d.src[i:]); size > 0 {
			i += size
			continue
		}
		if !startsComment(d.src[i:]) {
			break
		}
		size, _ := commentSize(d.src[i:])
		i += size
		end = i
	}
	return end
}

// ownLines reports whether nothing but blanks stands before start on its line,
// and nothing but comments behind end. Then from and to are the whole lines.
func (d *Document) ownLines(start, end int) (from, to int, ok bool) {
	from, to = d.lineStart(start, start), d.afterComments(end)
	for to < len(d.src) && (d.src[to] == ' ' || d.src[to] == '\t') {
		to++
	}
	if !isBlank(d.src[from:start]) || to == len(d.src) || !isLineEnd(rune(d.src[to])) {
		return 0, 0, false
	}
	for !endsLine(d.src, to) {
		to++
	}
	return from, to + 1, true
}

func isBlank(b []byte) bool { return len(bytes.Trim(b, " \t\r\n")) == 0 }

func endsLines(gap string) bool { return strings.ContainsAny(gap, "\r\n") }
