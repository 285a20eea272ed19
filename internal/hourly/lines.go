package hourly

import "bytes"

// lines are whole lines in parts, of which each that ends a line ends in its line feed.
type lines struct {
	parts [][]byte
	size  int // bytes
	count int
}

// measure counts them and reports whether they are whole lines.
func (l *lines) measure() bool {
	for i, p := range l.parts {
		l.size += len(p)
		switch at := bytes.IndexByte(p, '\n'); {
		case at < 0 && i+1 == len(l.parts), at >= 0 && at != len(p)-1:
			return false
		case at >= 0:
			l.count++
		}
	}
	return l.count > 0
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
