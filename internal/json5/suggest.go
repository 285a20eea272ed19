package json5

import (
	"strings"
	"unicode/utf8"
)

// listed is how many known names a message lists when none is near.
const listed = 40

// suggestion ends the message about an unknown member: with the nearest known
// name, or with all of them when they are few.
func suggestion(name string, known []string) string {
	if near := Nearest(name, known); near != "" {
		return "; did you mean " + quoteName(near) + "?"
	}
	if len(known) == 0 || len(known) > listed {
		return ""
	}
	return "; known members are " + strings.Join(known, ", ")
}

// Nearest returns the known name with the fewest typing errors between it and
// name, or "" when they are too many to be the same word. Case, "_" and "-"
// do not count, so apiKey is api_key.
func Nearest(name string, known []string) string {
	folded := fold(name)
	if len(name) > nameWidth {
		return ""
	}
	best, limit := "", 1
	switch n := utf8.RuneCountInString(folded); {
	case n > 8:
		limit = 3
	case n > 4:
		limit = 2
	}
	for _, k := range known {
		if d := distance(folded, fold(k)); d <= limit {
			best, limit = k, d-1
		}
	}
	return best
}

var separators = strings.NewReplacer("_", "", "-", "", " ", "")

func fold(name string) string { return separators.Replace(strings.ToLower(name)) }

// distance counts the insertions, deletions, replacements and swaps of
// neighbours that lead from a to b (optimal string alignment).
func distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	before, row := make([]int, len(t)+1), make([]int, len(t)+1)
	for j := range row {
		row[j] = j
	}
	for i, c := range s {
		next := make([]int, len(t)+1)
		next[0] = i + 1
		for j, d := range t {
			cost := 1
			if c == d {
				cost = 0
			}
			next[j+1] = min(row[j]+cost, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && c == t[j-1] && s[i-1] == d {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(t)]
}
