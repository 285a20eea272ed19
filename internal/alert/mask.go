package alert

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	masked = "***"
	// maxCause and maxName bound texts from outside, in characters.
	maxCause = 300
	maxName  = 100
	// minSecret is the length from which a known secret is looked for: "empty" or "x"
	// as an API key is none.
	minSecret = 6
	// maxMasked is how much of a text is looked at, in bytes.
	maxMasked = 16 << 10
)

var (
	urlPattern    = regexp.MustCompile(`[a-zA-Z][a-zA-Z0-9+.-]*://[^\s"'<>\x60]+`)
	bearerPattern = regexp.MustCompile(`(?i)\b(bearer|basic|geniekey)\s+[^\s"',;]+`)
	namedPattern  = regexp.MustCompile(`(?i)([a-z_-]*(?:api[_-]?key|secret|passw(?:or)?d|routing_key))(["']?\s*[:=]\s*["']?)[^\s"',;&}]+`)
	// A token may be one of a model: "first token: 12s" is no secret.
	tokenPattern = regexp.MustCompile(`(?i)([a-z_-]*(?:token|authorization|credential|signature))(["']?\s*[:=]\s*["']?)[^\s"',;&}]{8,}`)
	keyPattern   = regexp.MustCompile(`\b(?:sk|pk|rk|ak|gsk|hf|xai|xox[abeprs]|ghp|glpat)[-_][A-Za-z0-9_-]{16,}|\b(?:AKIA|SEC|SCT)[A-Za-z0-9]{16,}`)
)

// masker takes secrets out of texts.
type masker struct{ exact *strings.Replacer }

// newMasker masks the secrets given, and what looks like one.
func newMasker(secrets []string) *masker {
	secrets = slices.Clone(secrets)
	// The longer ones first: one may contain another.
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, s := range secrets {
		if len(s) < minSecret {
			continue
		}
		pairs = append(pairs, s, masked)
		if escaped := url.QueryEscape(s); escaped != s {
			pairs = append(pairs, escaped, masked)
		}
		if escaped := url.PathEscape(s); escaped != s && escaped != url.QueryEscape(s) {
			pairs = append(pairs, escaped, masked)
		}
	}
	return &masker{strings.NewReplacer(pairs...)}
}

// mask returns s without secrets.
func (m *masker) mask(s string) string {
	s = m.exact.Replace(s)
	s = urlPattern.ReplaceAllStringFunc(s, bareURL)
	s = bearerPattern.ReplaceAllString(s, "$1 "+masked)
	s = namedPattern.ReplaceAllString(s, "$1$2"+masked)
	s = tokenPattern.ReplaceAllString(s, "$1$2"+masked)
	return keyPattern.ReplaceAllString(s, masked)
}

// line returns s masked, as one line of at most limit characters.
func (m *masker) line(s string, limit int) string {
	if len(s) > maxMasked { // half a secret would not be known again, so cut between words
		s = s[:max(0, strings.LastIndexAny(s[:maxMasked], " \t\n"))] + "…"
	}
	return shorten(oneLine(m.mask(s)), limit)
}

// bareURL returns a URL without user info, query and fragment.
func bareURL(s string) string {
	whole := strings.TrimRight(s, ":,.;)")
	after := s[len(whole):] // of the sentence, not of the URL
	head, rest, _ := strings.Cut(whole, "://")
	end := strings.IndexAny(rest, "?#")
	cut := ""
	if end >= 0 {
		rest, cut = rest[:end], "?"+masked
	}
	authority, path, slash := strings.Cut(rest, "/")
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		authority = authority[at+1:]
	}
	if slash {
		path = "/" + path
	}
	return head + "://" + authority + path + cut + after
}

// oneLine replaces what breaks lines, controls terminals or changes the direction
// of text by spaces, and runs of space by one.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) || unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) {
			return ' '
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// shorten cuts s to limit characters, the last of which then is an ellipsis.
func shorten(s string, limit int) string {
	if len(s) <= limit || utf8.RuneCountInString(s) <= limit {
		return s
	}
	n := 0
	for i := range s {
		if n == limit-1 {
			return s[:i] + "…"
		}
		n++
	}
	return s
}
