package page

import (
	"maps"
	"net/url"
	"slices"
)

// layout is what all pages have in common: the head of the document and the header.
type layout struct {
	Language  Language
	Languages any
	Assets    string // address of the folder of assets, relative to the page
	keep      url.Values
	self      []string // parameters of the page itself, beside keep
}

// newLayout returns that of a page from which the status page is at root. Its links
// repeat what query has of keep; the links to other languages also what self is, names
// and values in turn.
func newLayout(l Language, root string, query url.Values, keep []string, self ...string) *layout {
	f := &layout{Language: l, Languages: languages, Assets: root + "assets/" + assets().version + "/", keep: url.Values{}, self: self}
	for name, values := range query {
		if slices.Contains(keep, name) {
			f.keep[name] = values
		}
	}
	return f
}

// Link returns an address with the kept parameters and more, names and values in turn.
// Those that are empty are left out.
func (f *layout) Link(address string, more ...string) string {
	query := url.Values{}
	maps.Copy(query, f.keep)
	for pair := range slices.Chunk(more, 2) {
		if pair[1] != "" {
			query.Set(pair[0], pair[1])
		}
	}
	if len(query) == 0 {
		return address
	}
	return address + "?" + query.Encode()
}

// In returns the address of the page itself in another language.
func (f *layout) In(l Language) string {
	return f.Link("", append(slices.Clone(f.self), "lang", string(l))...)
}
