package json5

import (
	"bytes"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A span is a range of bytes.
type span struct {
	start, end int
	comment    bool // the inside of one
}

const masked = "***"

// secretNames are parts of names whose values no error shows, in lower case.
var secretNames = []string{"key", "password", "passwd", "token", "secret", "credential", "authorization", "hook"}

func secretParts(more []string) []string {
	parts := slices.Clone(secretNames)
	for _, s := range more {
		if s != "" {
			parts = append(parts, strings.ToLower(s))
		}
	}
	return parts
}

func (d *Document) isSecret(name string) bool {
	switch lower := strings.ToLower(name); lower {
	case "headers", "alerts", "alert", "receivers", "receiver": // the wrong names too, an address there may be a key
		return true
	default:
		return d.secretIn([]byte(lower)) >= 0
	}
}

// secretIn returns where in lower case text the first part of a secret name
// begins, or -1.
func (d *Document) secretIn(lower []byte) int {
	first := -1
	for _, part := range d.secret {
		if i := bytes.Index(lower, []byte(part)); i >= 0 && (first < 0 || i < first) {
			first = i
		}
	}
	return first
}

func (d *Document) hide(start, end int) {
	if start < end {
		d.hidden = append(d.hidden, span{start: start, end: end})
	}
}

func (d *Document) hideComment(start, end int) {
	if start < end {
		d.hidden = append(d.hidden, span{start, end, true})
	}
}

// hideString hides what a string that is no secret by name may hold of one,
// given the offsets of its contents: user name and password of a URL, all from
// the first "//" or from the beginning to the last "@", and what follows the
// name of a secret, as in "--api-key=x" or "Authorization: x".
func (d *Document) hideString(start, end int) {
	s := d.src[start:end]
	if at := bytes.LastIndexByte(s, '@'); at >= 0 {
		from := 0
		if i := bytes.Index(s[:at], []byte("//")); i >= 0 {
			from = i + 2
		}
		d.hide(start+from, start+at)
		start += at
		s = s[at:]
	}
	if i := d.secretIn(lowerASCII(s)); i >= 0 {
		d.hide(start+i, end)
	} else if i := bytes.IndexAny(s, `"'`); i >= 0 {
		d.hide(start+i, end) // a string that lacks its end has taken in the next one
	}
}

// hideName hides the value in a name such as "api_key: x", which is a member
// whose quotes stand wrong.
func (d *Document) hideName(start, end int) {
	s := d.src[start:end]
	if i := bytes.IndexAny(s, ":= "); i >= 0 && d.secretIn(lowerASCII(s)) >= 0 {
		d.hide(start+i+1, end)
	} else if i := bytes.IndexAny(s, `"'`); i >= 0 {
		d.hide(start+i, end) // as in hideString
	}
}

// Masked returns the file for people, with *** in place of what no error shows, but
// for values that are to be shown all the same. Of a line of a comment it hides what
// comes from the name of a secret on, or behind a scheme that is not http or https, or
// stands before an "@". It has the lines of
// the file.
func (d *Document) Masked(shown func(value string) bool) []byte {
	out, at := []byte(d.bom), 0
	for _, s := range d.hidden {
		if !s.comment && shown(string(d.src[s.start:s.end])) {
			continue
		}
		for line := range bytes.Lines(bytes.ReplaceAll(d.src[s.start:s.end], []byte("\r"), []byte("\n"))) {
			text := bytes.TrimSuffix(line, []byte("\n"))
			start, end := s.start, s.start+len(text)
			if s.start += len(line); s.comment {
				start, end = d.secretOf(start, end)
			}
			if start < end {
				out = append(append(out, d.src[at:start]...), masked...)
				at = end
			}
		}
	}
	return append(out, d.src[at:]...)
}

// foreignURL matches the beginning of a URL that is no web address: those of receivers of
// alerts hold keys wherever they like.
var foreignURL = regexp.MustCompile(`(?i)\b(?:[a-gi-z][a-z]*|h[a-su-z][a-z]*)://`)

// secretOf returns what to hide in a line of a comment.
func (d *Document) secretOf(start, end int) (from, to int) {
	line := d.src[start:end]
	from, to = end, end
	if i := d.secretIn(lowerASCII(line)); i >= 0 {
		from = start + i
	}
	if at := foreignURL.FindIndex(line); at != nil {
		from = min(from, start+at[1]) // behind ://
	}
	if i := bytes.LastIndexByte(line, '@'); i >= 0 {
		if from == end {
			to = start + i
		}
		user := start
		if k := bytes.Index(line[:i], []byte("//")); k >= 0 {
			user += k + 2
		}
		from = min(from, user)
	}
	return from, to
}

// lowerASCII keeps offsets, as bytes.ToLower does not.
func lowerASCII(b []byte) []byte {
	lower := bytes.Clone(b)
	for i, c := range lower {
		if 'A' <= c && c <= 'Z' {
			lower[i] = c + 'a' - 'A'
		}
	}
	return lower
}

// wordSize returns the size of the word that stands in b at i, or 0.
func wordSize(b []byte, i int) int {
	start := i
	for i < len(b) && isWordByte(b[i:]) {
		i++
	}
	return i - start
}

func isWordByte(b []byte) bool {
	return strings.IndexByte("{}[]:,\"'", b[0]) < 0 && spaceSize(b) == 0
}

const (
	lookAround = 2048 // bytes of a line read on each side of a mistake
	shownWidth = 100  // characters of a line shown
	shownLeft  = 60   // of these at most before the mistake
)

// show returns the line around the byte at off, cut to shownWidth characters,
// without what is hidden, and the place of that byte in it, in characters.
func (d *Document) show(off int) (text string, caret int) {
	from, to := d.lineStart(off, lookAround), d.lineEnd(off, lookAround)
	cutLeft := from > 0 && d.src[from-1] != '\n' && d.src[from-1] != '\r'
	cutRight := to < len(d.src) && d.src[to] != '\n' && d.src[to] != '\r'
	k := sort.Search(len(d.hidden), func(i int) bool { return d.hidden[i].end > from })
	var line []rune
	caret = -1
	for i := from; i < to; {
		next, shown := i, masked
		for k < len(d.hidden) && d.hidden[k].end <= i {
			k++
		}
		if k < len(d.hidden) && d.hidden[k].start <= i {
			next = min(d.hidden[k].end, to)
		} else if i >= d.blind {
			next += wordSize(d.src[:to], i)
		}
		if next == i {
			r, size := utf8.DecodeRune(d.src[i:])
			next, shown = i+size, string(printable(r))
		}
		if caret < 0 && off < next {
			caret = len(line)
		}
		line = append(line, []rune(shown)...)
		i = next
	}
	if caret < 0 {
		caret = len(line)
	}
	return window(line, caret, cutLeft, cutRight)
}

func window(line []rune, caret int, cutLeft, cutRight bool) (string, int) {
	const ellipsis = "…"
	if len(line) > shownWidth {
		from := min(max(caret-shownLeft, 0), len(line)-shownWidth)
		to := from + shownWidth
		cutLeft, cutRight = cutLeft || from > 0, cutRight || to < len(line)
		line, caret = line[from:to], caret-from
	}
	text := string(line)
	if cutLeft {
		text = ellipsis + text
		caret++
	}
	if cutRight {
		text += ellipsis
	}
	return text, caret
}

// printable keeps control characters of the file away from terminals and logs.
func printable(r rune) rune {
	if r == '\t' || unicode.IsGraphic(r) {
		return r
	}
	return '?'
}

// scrub removes the value of n from a message that a type or a hook has
// written, when the value is secret, and in any case what a hook made of it.
func (d *Document) scrub(n *Node, msg, hooked string) string {
	if n.kind != stringValue {
		return msg
	}
	written := unquote(d.text(n))
	if hooked != written || n.hidden {
		msg = without(msg, hooked)
	}
	if n.hidden {
		msg = without(msg, written)
	}
	return msg
}

// without masks a value in a message. One or two characters are masked in
// quotes only: they are part of any word.
func without(msg, value string) string {
	quoted := strconv.Quote(value)
	msg = strings.ReplaceAll(msg, quoted, strconv.Quote(masked))
	if len(value) < 3 {
		return msg
	}
	msg = strings.ReplaceAll(msg, quoted[1:len(quoted)-1], masked)
	return strings.ReplaceAll(msg, value, masked)
}
