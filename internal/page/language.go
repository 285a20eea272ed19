package page

import (
	"net/http"

	"golang.org/x/text/language"
)

// Language is one that the page speaks.
type Language string

// The languages of the page.
const (
	English Language = "en"
	Chinese Language = "zh"
)

// languages are all of them, each with its tag and with what it calls itself.
var languages = []struct {
	Language
	tag  language.Tag
	Name string
}{
	{English, language.English, "English"},
	{Chinese, language.SimplifiedChinese, "中文"},
}

// chooser finds the language for a request: ?lang= first, then Accept-Language,
// then the default.
type chooser struct {
	matcher language.Matcher
	order   []Language // as the matcher numbers them, the default first
}

func newChooser(first Language) *chooser {
	c := &chooser{}
	var tags []language.Tag
	for _, l := range languages {
		if l.Language == first {
			c.order, tags = append([]Language{first}, c.order...), append([]language.Tag{l.tag}, tags...)
		} else {
			c.order, tags = append(c.order, l.Language), append(tags, l.tag)
		}
	}
	c.matcher = language.NewMatcher(tags)
	return c
}

func (c *chooser) choose(r *http.Request) Language {
	asked := r.URL.Query().Get("lang")
	for _, l := range languages {
		if asked == string(l.Language) {
			return l.Language
		}
	}
	_, i := language.MatchStrings(c.matcher, r.Header.Get("Accept-Language"))
	return c.order[i]
}
