package json5

import "unicode/utf8"

// A mark is the position of one byte. Marks stand markEvery bytes apart, so
// that a position is found by reading at most that many bytes, also in a file
// that is one line of 8 MiB with an error in each of its members. They are set
// when the syntax is right, or wrong in several places; a single error is found
// from the top.
type mark struct{ line, column int }

const markEvery = 512

func index(src []byte) []mark {
	marks := make([]mark, 0, len(src)/markEvery+1)
	at := mark{1, 1}
	for i := 0; ; {
		marks = append(marks, at)
		end := min(i+markEvery, len(src))
		if end == i || end == len(src) {
			return marks
		}
		at = at.advance(src, i, end)
		i = end
	}
}

// advance moves a position from byte i to byte end.
func (m mark) advance(src []byte, i, end int) mark {
	for ; i < end; i++ {
		switch c := src[i]; {
		case endsLine(src, i):
			m.line++
			m.column = 1
		case utf8.RuneStart(c):
			m.column++
		}
	}
	return m
}

// endsLine reports whether the byte at i is the last of a line end.
func endsLine(src []byte, i int) bool {
	return src[i] == '\n' || src[i] == '\r' && (i+1 == len(src) || src[i+1] != '\n')
}

func (d *Document) position(off int) (line, column int) {
	k := min(off/markEvery, len(d.marks)-1)
	m := d.marks[k].advance(d.src, k*markEvery, off)
	return m.line, m.column
}

// lineStart returns where the line of the byte at off begins, looking back at
// most limit bytes.
func (d *Document) lineStart(off, limit int) int {
	i := off
	for i > 0 && off-i < limit && d.src[i-1] != '\n' && d.src[i-1] != '\r' {
		i--
	}
	return i
}

// lineEnd returns where the line of the byte at off ends, without its line
// end, looking forward at most limit bytes.
func (d *Document) lineEnd(off, limit int) int {
	i := off
	for i < len(d.src) && i-off < limit && d.src[i] != '\n' && d.src[i] != '\r' {
		i++
	}
	return i
}
