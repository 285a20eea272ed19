package aigateway

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// unifiedDiff returns the change from before to after as diff -u shows it, "" if there is
// none. The change is taken for one: what lies between the first line that differs and
// the last one is shown as a whole. Shown of the texts are the lines of the last two
// arguments, which have as many.
func unifiedDiff(name string, before, after, shownBefore, shownAfter []byte) string {
	a, b := slices.Collect(bytes.Lines(before)), slices.Collect(bytes.Lines(after))
	start := 0
	for start < min(len(a), len(b)) && bytes.Equal(a[start], b[start]) {
		start++
	}
	same := 0 // at the end
	for same < min(len(a), len(b))-start && bytes.Equal(a[len(a)-1-same], b[len(b)-1-same]) {
		same++
	}
	if start+same == len(a) && start+same == len(b) {
		return ""
	}
	const context = 3
	from, tail := max(0, start-context), min(same, context)
	a, b = slices.Collect(bytes.Lines(shownBefore)), slices.Collect(bytes.Lines(shownAfter))
	var out strings.Builder
	fmt.Fprintf(&out, "--- %s\n+++ %s\n@@ -%s +%s @@\n", name, name, lineRange(from, len(a)-same+tail), lineRange(from, len(b)-same+tail))
	write := func(sign string, lines [][]byte) {
		for _, line := range lines {
			out.WriteString(sign)
			out.Write(line)
			if !bytes.HasSuffix(line, []byte("\n")) {
				out.WriteString("\n\\ No newline at end of file\n")
			}
		}
	}
	write(" ", a[from:start])
	write("-", a[start:len(a)-same])
	write("+", b[start:len(b)-same])
	write(" ", a[len(a)-same:len(a)-same+tail])
	return out.String()
}

// lineRange writes the lines from one to another, counted from 0 and without the last, as
// diff does: from 1, with their number unless it is one.
func lineRange(from, to int) string {
	switch to - from {
	case 0:
		return fmt.Sprintf("%d,0", from)
	case 1:
		return fmt.Sprint(from + 1)
	}
	return fmt.Sprintf("%d,%d", from+1, to-from)
}
