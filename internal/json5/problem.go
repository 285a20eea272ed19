package json5

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// An Error is one mistake in a file.
type Error struct {
	Line, Column int    // from 1, the column in characters
	Path         string // such as instances[2].url, empty at the top
	Msg          string // what is wrong, without place and path
	Text         string // the source line, cut to 100 characters around the mistake, with secrets masked

	caret int // where in Text the mistake is, in characters
}

// Error returns one line: "12:7: instances[2]: unknown member ...". It holds
// no string value of the file.
func (e *Error) Error() string {
	place := fmt.Sprintf("%d:%d: ", e.Line, e.Column)
	if e.Path != "" {
		place += e.Path + ": "
	}
	return place + e.Msg
}

// Detail returns the line of Error, then what Excerpt does, without a line end
// after the last.
func (e *Error) Detail() string {
	if e.Text == "" {
		return e.Error()
	}
	return e.Error() + "\n" + e.Excerpt()
}

// Excerpt returns the source line and a line with a caret under the mistake, both
// indented, without a line end after the last; nothing if the line is empty.
func (e *Error) Excerpt() string {
	if e.Text == "" {
		return ""
	}
	const indent = "    "
	var pad strings.Builder
	for i, r := range []rune(e.Text) {
		if i == e.caret {
			break
		}
		pad.WriteString(blank(r))
	}
	return indent + e.Text + "\n" + indent + pad.String() + "^"
}

// blank returns white space as wide as r is on a terminal: Chinese characters
// and most emoji take two columns there, combining marks none.
func blank(r rune) string {
	switch kind := width.LookupRune(r).Kind(); {
	case r == '\t':
		return "\t"
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return ""
	case kind == width.EastAsianWide || kind == width.EastAsianFullwidth:
		return "  "
	}
	return " "
}

// Errors are the mistakes of one file in the order of their places.
type Errors []*Error

// Error returns the one-line forms, one a line.
func (es Errors) Error() string { return es.join((*Error).Error) }

// Detail returns the long forms, one after the other.
func (es Errors) Detail() string { return es.join((*Error).Detail) }

func (es Errors) join(form func(*Error) string) string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = form(e)
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.Is and errors.As each mistake.
func (es Errors) Unwrap() []error {
	out := make([]error, len(es))
	for i, e := range es {
		out[i] = e
	}
	return out
}

func (es Errors) sort() {
	slices.SortStableFunc(es, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// Problem reports a mistake in the value of n, for checks that decoding does
// not make. The message should not quote string values; that of n is masked
// when it is a secret. A nil n means the whole document.
func (d *Document) Problem(n *Node, format string, args ...any) *Error {
	if n == nil {
		n = d.root
	}
	msg := fmt.Sprintf(format, args...)
	if n.kind == stringValue {
		msg = d.scrub(n, msg, unquote(d.text(n)))
	}
	return d.problemAt(n.start, n.path(), msg)
}

func (d *Document) problemAt(off int, path, msg string) *Error {
	e := &Error{Path: path, Msg: strings.Join(strings.FieldsFunc(msg, isLineEnd), "; ")}
	e.Line, e.Column = d.position(off)
	e.Text, e.caret = d.show(off)
	return e
}

func isLineEnd(r rune) bool { return r == '\n' || r == '\r' }

// path returns the place of n in the tree, such as instances[2].url. Names
// that are no plain words are quoted, as in headers["x-a"].
func (n *Node) path() string {
	var steps []string
	for ; n.parent != nil; n = n.parent {
		switch {
		case n.parent.kind == array:
			steps = append(steps, "["+strconv.Itoa(n.index)+"]")
		case !isPlainName(n.name):
			steps = append(steps, "["+quoteName(n.name)+"]")
		default:
			steps = append(steps, "."+n.name)
		}
	}
	slices.Reverse(steps)
	return strings.TrimPrefix(strings.Join(steps, ""), ".")
}

const nameWidth = 64 // bytes of a member's name shown in messages

func isPlainName(name string) bool {
	if name == "" || len(name) > nameWidth {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// quoteName quotes a member's name, cut when it is unreasonably long.
func quoteName(name string) string {
	if len(name) > nameWidth {
		name = strings.ToValidUTF8(name[:nameWidth], "") + "…"
	}
	return strconv.Quote(name)
}
