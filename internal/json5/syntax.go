package json5

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

// misplaced reports the token from s.pos to end as one that cannot stand here.
func (s *scanner) misplaced(end int) error {
	var want string
	switch s.state {
	case wantValue:
		want = "want a value"
	case wantElement:
		want = `want a value or "]"`
	case wantName:
		want = `want a member name or "}"`
	case wantColon:
		want = `want ":" after the member name`
	case wantComma:
		want = fmt.Sprintf(`want "," or %q after the value`, string(s.open[len(s.open)-1].kind.closer()))
	case wantEnd:
		want = "want nothing after the value"
	}
	var hint string
	c := s.src[s.pos]
	if (c == '}' || c == ']') && len(s.open) > 0 && c != s.open[len(s.open)-1].kind.closer() {
		n := s.open[len(s.open)-1]
		line, column := s.doc.position(n.start)
		hint = fmt.Sprintf("; the %s was opened at %d:%d", n.kind, line, column)
	}
	from := s.pos
	if s.state == wantComma {
		from = s.afterName(end)
	}
	return s.fail(s.pos, from, "%s, got %s%s", want, describe(s.src[s.pos:end]), hint)
}

// afterName returns end where the token from s.pos to end is surely a member's
// name: a colon follows, and the value before is no secret whose quotes went
// wrong. Then the name may be shown, otherwise s.pos is returned.
func (s *scanner) afterName(end int) int {
	i := end
	for i < len(s.src) && (s.src[i] == ' ' || s.src[i] == '\t') {
		i++
	}
	named := i < len(s.src) && s.src[i] == ':' && len(s.open) > 0 && s.open[len(s.open)-1].kind == object
	if !named || s.end == s.pos || s.last != nil && s.last.hidden {
		return s.pos
	}
	return end
}

// fail reports a mistake at off and hides all words from byte from on. Bare
// values that make no sense are reported instead: they stand earlier, and are
// often the cause, as in url: http://host.
func (s *scanner) fail(off, from int, format string, args ...any) error {
	s.doc.blind = from
	if len(s.bad) > 0 {
		return s.badWords()
	}
	var path string
	if len(s.open) > 0 {
		path = s.open[len(s.open)-1].path()
	}
	return s.doc.problemAt(off, path, fmt.Sprintf(format, args...))
}

// badWords returns an [*Error], or [Errors] if there are several.
func (s *scanner) badWords() error {
	all := make(Errors, len(s.bad))
	s.doc.marks = index(s.src)
	for i, n := range s.bad {
		msg := "got a bare word, want a quoted string, a number, true, false or null"
		if looksNumeric(s.doc.text(n)) {
			msg = "not a valid number, and a string needs quotes"
		}
		all[i] = s.doc.problemAt(n.start, n.path(), msg)
	}
	if len(all) == 1 {
		return all[0]
	}
	return all
}

// describe names a token without quoting more than one character of it.
func describe(token []byte) string {
	r, _ := utf8.DecodeRune(token)
	switch {
	case r == '"' || r == '\'':
		return "a string"
	case looksNumeric(token):
		return "a number"
	case unicode.IsLetter(r) || r == '_' || r == '$' || r == '\\':
		return "a bare word"
	}
	return fmt.Sprintf("%q", string(r))
}
