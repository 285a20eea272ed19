package aigateway

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/page"
)

// table is rows of cells for a terminal.
type table struct {
	head   []string
	rows   [][]string
	states []string // of each row, for its color
}

// add adds a row. What a cell holds comes from a file or a server: nothing in it can
// move the cursor.
func (t *table) add(state string, cells ...string) {
	for n, c := range cells {
		cells[n] = strings.Map(func(r rune) rune {
			if !unicode.IsPrint(r) {
				return '?'
			}
			return r
		}, c)
	}
	t.rows, t.states = append(t.rows, cells), append(t.states, state)
}

// stateColors are those of the rows that want to be seen.
var stateColors = map[string]string{
	"ejected": red, "half_open": yellow, "ramping": yellow, string(page.Draining): yellow, string(page.Resting): yellow, "✗": red,
}

// lines returns the table with columns two blanks apart.
func (t *table) lines(color bool) []string {
	widths := make([]int, len(t.head))
	rows := append([][]string{t.head}, t.rows...)
	for _, row := range rows {
		for n, cell := range row {
			widths[n] = max(widths[n], utf8.RuneCountInString(cell))
		}
	}
	lines := make([]string, len(rows))
	for k, row := range rows {
		var b strings.Builder
		for n, cell := range row {
			b.WriteString(cell + strings.Repeat(" ", widths[n]-utf8.RuneCountInString(cell)+2))
		}
		lines[k] = strings.TrimRight(b.String(), " ")
		code := bold
		if k > 0 {
			code = stateColors[t.states[k-1]]
		}
		if color && code != "" {
			lines[k] = code + lines[k] + plain
		}
	}
	return lines
}

func (t *table) write(w io.Writer, color bool) {
	for _, line := range t.lines(color) {
		fmt.Fprintln(w, line)
	}
}
