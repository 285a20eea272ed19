//go:build !linux && !darwin

package hourly

import "slices"

// WriteParts makes one text of the parts: written one by one, a line could be torn between
// two of them.
func (f hostFile) WriteParts(parts [][]byte) (int, error) { return f.Write(slices.Concat(parts...)) }
