package json5

import "bytes"

// A scanner reads the text once, from left to right, and builds the tree of
// its document. It keeps the open containers on a slice, not on the stack.
type scanner struct {
	doc   *Document
	src   []byte
	pos   int
	state state
	open  []*Node // objects and arrays not yet closed
	slab  []Node  // nodes to hand out
	last  *Node   // value read last
	end   int     // where the last token ended

	name     string // of the member whose value comes next
	keyStart int

	values int     // nodes so far
	most   int     // of them
	plain  []byte  // the text for the second library, see judge; zero is blank
	loneCR bool    // a line comment ends with CR alone
	bad    []*Node // bare values that are neither literal nor number
}

// A state says what may come next.
type state uint8

const (
	wantValue   state = iota // at the top and after ":"
	wantElement              // after "[" and after "," in an array
	wantName                 // after "{" and after "," in an object
	wantColon
	wantComma
	wantEnd
)

func newScanner(d *Document) *scanner {
	return &scanner{doc: d, src: d.src, plain: make([]byte, len(d.src))}
}

// scan builds the tree, or reports the first token that is out of place.
func (s *scanner) scan() error {
	for {
		if err := s.skip(); err != nil {
			return err
		}
		if s.pos == len(s.src) {
			return s.finish()
		}
		var err error
		start := s.pos
		switch c := s.src[s.pos]; c {
		case '{', '[':
			err = s.push(c)
		case '}', ']':
			err = s.pop(c)
		case ',', ':':
			err = s.separator(c)
		case '"', '\'':
			err = s.quoted()
		default:
			err = s.bare()
		}
		if err != nil {
			return err
		}
		if s.values > s.most {
			return s.fail(start, start, "too many values, want at most %d", s.most)
		}
		s.end = s.pos
	}
}

func (s *scanner) finish() error {
	switch {
	case len(s.open) > 0:
		n := s.open[len(s.open)-1]
		line, column := s.doc.position(n.start)
		return s.fail(s.end, s.end, "the file ends inside the %s opened at %d:%d", n.kind, line, column)
	case s.state != wantEnd:
		return s.fail(0, 0, "the file is empty, want a value")
	}
	return nil
}

// skip passes white space and comments. Comments are hidden: instances that
// are commented out have keys too.
func (s *scanner) skip() error {
	for s.pos < len(s.src) {
		if size := spaceSize(s.src[s.pos:]); size > 0 {
			s.pos += size
			continue
		}
		if !startsComment(s.src[s.pos:]) {
			return nil
		}
		start := s.pos
		size, closed := commentSize(s.src[start:])
		if !closed {
			return s.fail(start, start, "comment is not closed, want %q", "*/")
		}
		s.pos += size
		if s.src[start+1] == '/' {
			s.loneCR = s.loneCR || s.pos < len(s.src) && s.src[s.pos] == '\r' && endsLine(s.src, s.pos)
			s.doc.hideComment(start+2, s.pos)
		} else {
			s.doc.hideComment(start+2, s.pos-2)
		}
	}
	return nil
}

func (s *scanner) push(c byte) error {
	if !s.takesValue() {
		return s.misplaced(s.pos + 1)
	}
	if len(s.open) == MaxDepth {
		return s.fail(s.pos, s.pos, "nested too deep, want at most %d levels", MaxDepth)
	}
	n := s.add(s.pos, s.pos+1)
	n.kind, s.state = object, wantName
	if c == '[' {
		n.kind, s.state = array, wantElement
	}
	s.open = append(s.open, n)
	s.plain[s.pos] = c
	s.pos++
	return nil
}

func (s *scanner) pop(c byte) error {
	fits := len(s.open) > 0 && c == s.open[len(s.open)-1].kind.closer()
	if !fits || s.state != wantComma && s.state != wantName && s.state != wantElement {
		return s.misplaced(s.pos + 1)
	}
	s.plain[s.pos] = c
	s.pos++
	n := s.open[len(s.open)-1]
	n.end = s.pos
	s.open = s.open[:len(s.open)-1]
	s.valueRead(n)
	return nil
}

func (s *scanner) separator(c byte) error {
	switch {
	case c == ':' && s.state == wantColon:
		s.state = wantValue
	case c == ',' && s.state == wantComma && s.open[len(s.open)-1].kind == object:
		s.state = wantName
	case c == ',' && s.state == wantComma:
		s.state = wantElement
	default:
		return s.misplaced(s.pos + 1)
	}
	s.plain[s.pos] = c
	s.pos++
	return nil
}

// quoted reads a string, as a member's name or as a value.
func (s *scanner) quoted() error {
	start := s.pos
	size, fault := stringSize(s.src[start:])
	if fault != "" {
		at := start // of an open string the beginning matters, of a bad escape the place
		if size > 0 {
			at += size
		}
		return s.fail(at, start, "%s", fault)
	}
	end := start + size
	switch {
	case s.state == wantName:
		s.nameRead(unquote(s.src[start:end]), start)
		s.doc.hideName(start+1, end-1)
	case s.takesValue():
		n := s.add(start, end)
		n.kind = stringValue
		if n.hidden {
			s.doc.hide(start+1, end-1)
		} else {
			s.doc.hideString(start+1, end-1)
		}
		s.valueRead(n)
	default:
		return s.misplaced(end)
	}
	s.plain[start], s.plain[end-1] = '"', '"'
	fill(s.plain[start+1:end-1], 'x')
	s.pos = end
	return nil
}

// bare reads a run without quotes: a member's name, a literal or a number.
func (s *scanner) bare() error {
	start, end := s.pos, s.pos+bareSize(s.src[s.pos:])
	word := s.src[start:end]
	switch {
	case s.state == wantName:
		name, ok := identifier(word)
		if !ok {
			return s.fail(start, s.afterName(end), "this member name needs quotes")
		}
		s.nameRead(name, start)
		fill(s.plain[start:end], 'k')
	case s.takesValue():
		n := s.add(start, end)
		if n.hidden && !isLiteral(word) {
			s.doc.hide(start, end)
		}
		if len(s.bad) < maxErrors && !isLiteral(word) && !isSpecial(word) && !isNumber(word) {
			s.bad = append(s.bad, n)
		}
		s.valueRead(n)
		copy(s.plain[start:end], bytes.TrimLeft(word, "+-"))
	default:
		return s.misplaced(end)
	}
	s.pos = end
	return nil
}

func (s *scanner) takesValue() bool { return s.state == wantValue || s.state == wantElement }

func (s *scanner) nameRead(name string, start int) {
	s.name, s.keyStart, s.state = name, start, wantColon
}

func (s *scanner) valueRead(n *Node) {
	s.last, s.state = n, wantComma
	if len(s.open) == 0 {
		s.state = wantEnd
	}
}

// add puts a new node into the innermost open container.
func (s *scanner) add(start, end int) *Node {
	s.values++
	if len(s.slab) == 0 {
		s.slab = make([]Node, 128)
	}
	n := &s.slab[0]
	s.slab = s.slab[1:]
	n.start, n.end = start, end
	if len(s.open) == 0 {
		s.doc.root = n
		return n
	}
	n.parent = s.open[len(s.open)-1]
	n.index = len(n.parent.items)
	n.parent.items = append(n.parent.items, n)
	n.hidden = n.parent.hidden
	if n.parent.kind == object {
		n.name, n.keyStart = s.name, s.keyStart
		n.hidden = n.hidden || s.doc.isSecret(n.name)
	}
	return n
}

func (k kind) closer() byte {
	if k == object {
		return '}'
	}
	return ']'
}

func (k kind) String() string {
	return [...]string{bareValue: "value", stringValue: "string", object: "object", array: "array"}[k]
}

func fill(b []byte, c byte) {
	for i := range b {
		b[i] = c
	}
}
