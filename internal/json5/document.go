// Package json5 reads a configuration file written by hand into Go structs
// and says of every mistake where it is and what was probably meant:
//
//	12:7: instances[2]: unknown member "wieght"; did you mean "weight"?
//	    wieght: 3,
//	    ^
//
// The file may be JSON, JWCC (JSON with commas and comments) or any JSON5.
// Parse works in three steps:
//
//  1. One iterative scan checks UTF-8, size and depth, drops a byte order
//     mark, and builds a tree of nodes with byte offsets. It reports any token
//     that cannot stand where it does. Nothing that recurses sees the text
//     before it: hujson's stack overflows on 0.7 MB of "[".
//  2. github.com/tailscale/hujson gives the first verdict. What it accepts is
//     JWCC.
//  3. What it refuses goes to github.com/titanous/json5, in a form that avoids
//     the faults of that library.
//
// Of two parsers the one that gets further into the file is right about the
// mistake. Here that is the scan, which knows all of JSON5, so its words are
// used; no text of a library reaches a message, as libraries quote what they
// refuse, and that may be a key.
//
// [Document.Decode] then takes the values from the tree, reports all mistakes
// at once, and [Document.At] with [Document.Problem] lets the caller report
// its own at the same places. [Document.Set], [Document.Append] and
// [Document.Remove] edit the text in place, whatever of JSON5 it uses: they
// replace bytes at positions of the tree, so that all else stays as it is.
//
// Positions are line:column, both from 1, columns in characters. CR, LF and
// CRLF end a line; U+2028 and U+2029 do not, as in editors.
//
// # Secrets
//
// An error never quotes a string value in its one-line form. The source line
// of [Error.Detail] shows "***" in place of
//
//   - every value, at any depth, of a member whose name contains key,
//     password, passwd, token, secret, credential, authorization or hook, or
//     one of the names given to Parse, in any case; true, false and null
//     stay;
//   - every value inside members named headers, alerts or receivers;
//   - user names and passwords in URLs, the rest of a string from such a name
//     on ("--api-key=x"), and all comments;
//   - after a syntax error, every word in the rest of the line, because nobody
//     can tell what it is.
//
// Member names are shown, in messages too: they are no place for a secret.
package json5

import (
	"fmt"
	"math"
	"unicode/utf8"
)

const (
	// MaxSize is the largest file Parse reads, in bytes.
	MaxSize = 8 << 20
	// MaxDepth is how deep objects and arrays may be nested.
	MaxDepth = 64
	// MaxValues is how many values a file may hold, containers included: about
	// 50,000 instances. Without it 8 MiB of "0," cost 10 s and 1.5 GB.
	MaxValues = 500_000
)

// A Document is a parsed file. It does not change after Parse, so it may be
// used by several goroutines.
type Document struct {
	bom    string // byte order mark of the file, or ""
	src    []byte // without it
	root   *Node
	jwcc   bool
	marks  []mark
	hidden []span   // what no error may show, in order, not overlapping
	blind  int      // from this byte on no error may show any word
	secret []string // lower case parts of names whose values are hidden
}

// A Node is one value of a document and the place where it is written.
type Node struct {
	kind       kind
	hidden     bool // the value is, or may hold, a secret
	start, end int  // byte offsets of the value
	keyStart   int  // byte offset of the member's name
	index      int  // place among the parent's items
	name       string
	parent     *Node
	items      []*Node // members or elements in file order, duplicates included
}

type kind uint8

const (
	bareValue   kind = iota // number, true, false, null, Infinity, NaN
	stringValue             // in quotes of either kind
	object
	array
)

// Parse reads the text of one file. The error is an [*Error] that says where
// the syntax is wrong or which limit is exceeded; nobody can tell how the rest is
// meant. Only of words without quotes in the place of values several are told, as
// [Errors]. The document keeps src, which must not be changed afterwards.
//
// Values of members whose name contains one of secret, in any case, are never
// shown; see the package comment for those that are hidden anyway.
func Parse(src []byte, secret ...string) (*Document, error) {
	return Limits{MaxSize, MaxValues}.Parse(src, secret...)
}

// Limits take the place of [MaxSize] and [MaxValues].
type Limits struct{ Size, Values int }

// Parse is [Parse] within these limits.
func (l Limits) Parse(src []byte, secret ...string) (*Document, error) {
	if len(src) > l.Size {
		return nil, &Error{Line: 1, Column: 1, Msg: fmt.Sprintf("file has %d bytes, want at most %d", len(src), l.Size)}
	}
	d := &Document{src: trimBOM(src), secret: secretParts(secret), marks: []mark{{1, 1}}, blind: math.MaxInt}
	d.bom = string(src[:len(src)-len(d.src)])
	if off := invalidUTF8(d.src); off >= 0 {
		d.blind = 0
		return nil, d.problemAt(off, "", fmt.Sprintf("byte %#x is not UTF-8, save the file as UTF-8", d.src[off]))
	}
	s := newScanner(d)
	s.most = l.Values
	if err := s.scan(); err != nil {
		return nil, err
	}
	if err := d.judge(s); err != nil {
		return nil, err
	}
	d.marks = index(d.src)
	return d, nil
}

// JWCC reports whether the file is JSON with commas and comments and nothing
// more, so that hujson can read it (after the byte order mark, if any, is cut
// off). A line comment without a line end at the end of the file, and one
// that ends with CR alone, make it false: hujson refuses the first and reads
// on to the next LF in the second, hiding values.
func (d *Document) JWCC() bool { return d.jwcc }

// At returns the node at a path of member names (string) and array indexes
// (int), such as At("instances", 2, "url"). Where the path leaves the
// document the nearest existing parent is returned, so that a missing member
// can be reported at its object. It is never nil. Of duplicates it finds the
// first.
func (d *Document) At(path ...any) *Node {
	n := d.root
	for _, step := range path {
		next := n.child(step)
		if next == nil {
			return n
		}
		n = next
	}
	return n
}

func (n *Node) child(step any) *Node {
	switch step := step.(type) {
	case int:
		if n.kind == array && step >= 0 && step < len(n.items) {
			return n.items[step]
		}
	case string:
		if n.kind != object {
			return nil
		}
		for _, m := range n.items {
			if m.name == step {
				return m
			}
		}
	}
	return nil
}

// Position returns the line and column where the value of n is written, both
// from 1.
func (d *Document) Position(n *Node) (line, column int) { return d.position(n.start) }

// IsArray reports whether n is an array.
func (d *Document) IsArray(n *Node) bool { return n.kind == array }

func (d *Document) text(n *Node) []byte { return d.src[n.start:n.end] }

func trimBOM(src []byte) []byte {
	const bom = "\uFEFF"
	if len(src) >= len(bom) && string(src[:len(bom)]) == bom {
		return src[len(bom):]
	}
	return src
}

// invalidUTF8 returns the offset of the first byte that is not UTF-8, or -1.
func invalidUTF8(src []byte) int {
	if utf8.Valid(src) {
		return -1
	}
	for i := 0; i < len(src); {
		r, size := utf8.DecodeRune(src[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}
