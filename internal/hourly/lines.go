package hourly

import "bytes"

// lines are whole lines in parts, of which each that ends a line ends in its line feed.
type lines struct {
	parts [][]byte
	size  int // bytes
	count int
}

// measure counts them and reports whether they are whole lines. It looks into the parts
// that end one, which are short where the others are long.
func (l *lines) measure() bool {
	open := true
	for _, p := range l.parts {
		l.size += len(p)
		if open = len(p) == 0 || p[len(p)-1] != '\n'; open {
			continue
		}
		if bytes.IndexByte(p, '\n') != len(p)-1 {
			return false
		}
		l.count++
	}
	return !open
}

// whole returns how many of the first n bytes are whole lines, and their number.
func (l *lines) whole(n int) (size, count int) {
	before := 0
	for _, p := range l.parts {
		p = p[:min(len(p), n-before)]
		if at := bytes.LastIndexByte(p, '\n'); at >= 0 {
			size = before + at + 1
			count += linesOf(p)
		}
		if before += len(p); before == n {
			break
		}
	}
	return size, count
}

func linesOf(p []byte) int { return bytes.Count(p, []byte{'\n'}) }
