package page

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

func TestChooseLanguage(t *testing.T) {
	f := func(first Language, query, accept string, want Language) {
		t.Helper()
		r := httptest.NewRequest(http.MethodGet, "/"+query, nil)
		if accept != "" {
			r.Header.Set("Accept-Language", accept)
		}
		if got := newChooser(first).choose(r); got != want {
			t.Errorf("default %s, %q, Accept-Language %q: got %s, want %s", first, query, accept, got, want)
		}
	}
	f(English, "", "", English)
	f(Chinese, "", "", Chinese)
	f(English, "", "zh-CN,zh;q=0.9,en;q=0.8", Chinese)
	f(English, "", "zh-TW", Chinese)
	f(English, "", "zh-Hans-SG", Chinese)
	f(Chinese, "", "en-GB,en;q=0.5", English)
	f(Chinese, "", "fr-FR", Chinese)
	f(English, "", "fr, zh;q=0.5", Chinese)
	f(English, "?lang=zh", "en", Chinese)
	f(Chinese, "?lang=en", "zh", English)
	f(English, "?lang=xx", "zh", Chinese)
	f(English, "", "\x00;;;q=q", English)
}

var placeholder = regexp.MustCompile(`%(?:\[\d\])?[sd]`)

// TestTextsComplete: both languages say everything, with the same values in it.
func TestTextsComplete(t *testing.T) {
	for key, pair := range texts {
		for i, words := range pair {
			if strings.TrimSpace(words) == "" {
				t.Errorf("%s: no words in %s", key, languages[i].Name)
			}
		}
		if got, want := len(placeholder.FindAllString(pair[1], -1)), len(placeholder.FindAllString(pair[0], -1)); got != want {
			t.Errorf("%s: got %d values in Chinese, want %d as in English", key, got, want)
		}
		chinese := strings.ContainsFunc(pair[1], func(r rune) bool { return unicode.Is(unicode.Han, r) })
		if same := []string{"lang", "more.id", "colon", "model.takes"}; !chinese && !slices.Contains(same, key) {
			t.Errorf("%s: %q has no Chinese in it", key, pair[1])
		}
	}
}

var (
	textCall = regexp.MustCompile(`\bt "([^"\\]+)"`)
	goCall   = regexp.MustCompile(`(?:l\.text\(|Text:? ?=? |problem\{Text: )"([^"]+)"`)
	// literal is text of a template that no action makes.
	action = regexp.MustCompile(`(?s)\{\{.*?\}\}`)
	markup = regexp.MustCompile(`(?s)<[^>]*>`)
)

// TestTextsUsed: the templates and the code ask for texts of the table only, and no
// words of a template or a script stand outside of it.
func TestTextsUsed(t *testing.T) {
	used := make(map[string]bool)
	names, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil || len(names) == 0 {
		t.Fatalf("got %d templates and error %v", len(names), err)
	}
	for _, name := range names {
		source, _ := templateFiles.ReadFile(name)
		for _, match := range textCall.FindAllSubmatch(source, -1) {
			used[string(match[1])] = true
		}
		plain := markup.ReplaceAllString(action.ReplaceAllString(string(source), ""), " ")
		for word := range strings.FieldsSeq(plain) {
			if strings.ContainsFunc(word, unicode.IsLetter) && !slices.Contains([]string{"p50", "p99"}, word) {
				t.Errorf("%s: the word %q is not from the table of texts", name, word)
			}
		}
	}
	for _, name := range []string{"view.go", "format.go", "records.go"} {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range goCall.FindAllSubmatch(source, -1) {
			if key := string(match[1]); !strings.HasSuffix(key, ".") {
				used[key] = true
			}
		}
	}
	groups := []string{"verdict", "model", "state", "tier", "severity", "event", "reason", "dropped", "act", "ask", "role", "recorded", "bound"} // named by values
	for key := range used {
		if _, ok := texts[key]; !ok {
			t.Errorf("%q is used and not in the table of texts", key)
		}
	}
	for key := range texts {
		group, _, _ := strings.Cut(key, ".")
		if !used[key] && !slices.Contains(groups, group) {
			t.Errorf("%q is in the table of texts and not used", key)
		}
	}
}

// TestWordsOfStates: every constant of the contract has its words.
func TestWordsOfStates(t *testing.T) {
	for _, key := range []string{
		"model." + string(ModelServing), "model." + string(ModelOnFallback), "model." + string(ModelEmpty),
		"state." + string(Serving), "state." + string(Ejected), "state." + string(HalfOpen), "state." + string(Ramping),
		"state." + string(Draining), "state." + string(Resting), "state." + string(Off),
		"severity." + string(Info), "severity." + string(Warning), "severity." + string(Critical),
		"verdict.ok", "verdict.warning", "verdict.critical", "verdict.idle", "tier.primary", "tier." + Fallback,
	} {
		if _, ok := texts[key]; !ok {
			t.Errorf("%q is not in the table of texts", key)
		}
	}
	for _, state := range []InstanceState{Serving, Ejected, HalfOpen, Ramping, Draining, Resting, Off} {
		if state.Rank() < 0 {
			t.Errorf("%s has no rank", state)
		}
		if css, _ := assetFiles.ReadFile("assets/page.css"); !strings.Contains(string(css), ".s-"+string(state)+"::before") {
			t.Errorf("%s has no shape in page.css", state)
		}
	}
}

var reasonConstant = regexp.MustCompile(`(?m)^\s+(?:reason|drop|[A-Z])\w+\s+(?:reason |Reason )?= "([a-z_]+)"`)

// TestWordsOfReasons: the words that the gateway and its recorder use are in the table.
func TestWordsOfReasons(t *testing.T) {
	for _, c := range []struct{ file, group string }{
		{"../../outcome.go", "reason"}, {"../../recorder.go", "dropped"}, {"../hourly/reason.go", "dropped"},
	} {
		source, err := os.ReadFile(c.file)
		if err != nil {
			t.Fatal(err)
		}
		found := reasonConstant.FindAllSubmatch(source, -1)
		if len(found) < 4 {
			t.Errorf("%s: found %d reasons, which cannot be all", c.file, len(found))
		}
		for _, match := range found {
			if _, ok := texts[c.group+"."+string(match[1])]; !ok {
				t.Errorf("%s: %q of %s is not in the table of texts", c.group, match[1], c.file)
			}
		}
	}
}
