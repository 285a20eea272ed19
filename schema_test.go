package aigateway

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	titanous "github.com/titanous/json5"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/alert"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/json5"
)

var update = flag.Bool("update", false, "write config.schema.json and the generated parts of docs anew")

// TestSchemaIsCurrent guards that config.schema.json says what the Go source does.
func TestSchemaIsCurrent(t *testing.T) {
	want := makeSchema(t)
	if *update {
		if err := os.WriteFile(schemaPlace, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(configSchema, want) {
		t.Error("config.schema.json is not that of the Go source, run go generate")
	}
}

// compiledSchema is the embedded schema, which the compiler has compared with the
// one of its draft.
var compiledSchema = sync.OnceValues(func() (*jsonschema.Schema, error) {
	text, err := jsonschema.UnmarshalJSON(bytes.NewReader(configSchema))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(schemaPlace, text); err != nil {
		return nil, err
	}
	return c.Compile(schemaPlace)
})

// schemaVerdict returns what the schema says against a text of JSON5. Where the
// text is none, or holds a number that JSON does not have, asked is false.
func schemaVerdict(t testing.TB, src string) (verdict error, asked bool) {
	t.Helper()
	if _, err := json5.Parse([]byte(src)); err != nil {
		return nil, false
	}
	// What the library does not know of JSON5; see internal/json5.
	src = strings.NewReplacer("\u00a0", " ", "\u2028", " ", "\uFEFF", "", `\u005f`, "_", `\u0061`, "a", `\x78`, "x", `\x74`, "t", "\x1b", `\u001b`, `\0`, `\u0000`).Replace(src)
	var value any
	if err := titanous.Unmarshal([]byte(src), &value); err != nil {
		t.Fatalf("%s\ncannot be read for the schema: %v", src, err)
	}
	if !finite(value) {
		return nil, false
	}
	s, err := compiledSchema()
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(value), true
}

func finite(value any) bool {
	switch v := value.(type) {
	case float64:
		return !math.IsInf(v, 0) && !math.IsNaN(v)
	case []any:
		return !slices.ContainsFunc(v, func(e any) bool { return !finite(e) })
	case map[string]any:
		for _, e := range v {
			if !finite(e) {
				return false
			}
		}
	}
	return true
}

// setting returns a file with a right instance and member, which begins at 1:59.
func setting(member string) string {
	return `{fallback_instances: [{url: 'http://f', model_name: 'm'}], ` + member + `}`
}

// receiver returns a file with a receiver of alerts of these members.
func receiver(members string) string { return setting(`alerts: {receivers: [{` + members + `}]}`) }

// beyondSchema are the mistakes that a schema cannot know: what compares two
// places of the file, what is outside of it, and what takes more than a pattern to
// read. Each has words of its message and a sample.
var beyondSchema = []struct{ words, sample string }{
	{`duplicate member`, with(`weight: 1, weight: 1`)},
	{`the same url`, `{instances: [{url: 'http://h', model_name: 'm'}, {url: 'http://h:80', model_name: 'm'}]}`},
	{`the same name`, `{instances: [{url: 'http://h', model_name: 'm', name: 'a'}, {url: 'http://i', model_name: 'm', name: 'a'}]}`},
	{`the same header`, with(`headers: {'X-A': '1', 'x-a': '2'}`)},
	{`environment variable`, with(`api_key: '{env.AIGATEWAY_TEST_NONE}'`)},
	{`file placeholder`, with(`api_key: '{file./none}'`)},
	{`port from 1`, at(`http://h:65536`)},
	{`belongs to the connection`, with(`headers: {Host: 'h'}`)},
	{`no regular expression`, setting(`record: {redact: ['(']}`)},
	{`shorter than group_interval`, setting(`alerts: {repeat: 299}`)},
	{`want one line`, setting(`alerts: {name: ' a'}`)},
	{`missing type`, receiver(`url: 'https://h'`)},
	{`the scheme`, receiver(`url: 'x://h'`)},
	{`receivers[0].url: missing host`, receiver(`type: 'webhook', url: 'https://'`)},
	{`a user name, which is not sent`, receiver(`type: 'webhook', url: 'https://u@h'`)},
	{`is no URL`, receiver(`type: 'webhook', url: 'https://%'`)},
	{`want a URL that begins with pushplus`, receiver(`type: 'pushplus', url: 'https://h'`)},
	{`missing token`, receiver(`url: 'pushplus://'`)},
	{`more than an hour`, setting(`alerts: {group_wait: '2h'}`)},
	{`more than a minute`, setting(`poll: {timeout: '2m'}`)},
	{`less than`, setting(`error_window: '500ms'`)},
	{`outside of 0 to 10 years`, setting(`error_window: '100000h'`)},
	{`no instance has the model`, setting(`overflow: {models: {m: 'none'}}`)},
	{`the same model on both sides`, setting(`overflow: {models: {m: 'm'}}`)},
	{`number is out of range`, with(`max_concurrency: 1e19`)},
	{`the same key`, setting(`keys: [{name: 'a', hash: '` + strings.Repeat("0a", 32) + `'}, {name: 'b', hash: 'sha256:` + strings.Repeat("0A", 32) + `'}]`)},
	{`the same user`, setting(`keys: [{name: 'a', user: 'u'}, {name: 'b', user: 'u'}]`)},
	{`missing hash`, setting(`keys: [{name: 'a'}]`)},
	{`hash is given too`, setting(`keys: [{name: 'a', hash: '` + strings.Repeat("0a", 32) + `', key: '{env.PATH}'}]`)},
	{`got a key `, setting(`keys: [{name: 'a', key: '{env.HOME}'}]`)},
	{`want a date such as`, setting(`keys: [{name: 'a', user: 'a', expires: '2027-02-30'}]`)},
	{`keys_file: `, setting(`keys_file: 'none.json5'`)},
	{`outside of 1s to 1h`, setting(`dns: {interval: '2h'}`)},
	{`outside of 100ms to 1m`, setting(`dns: {timeout: '50ms'}`)},
	{`which takes every model`, `{instances: [{url: 'http://h', model_name: '*', discover: true}]}`},
	{`and there is none`, `{instances: [{url: 'http://h', discover: true, upstream_model: 'u'}]}`},
	{`poll.interval is 0`, setting(`instances: [{url: 'http://h', discover: true}], poll: {interval: 0}`)},
	{`asks to look up a name`, `{instances: [{url: 'http://10.0.0.1', model_name: 'm', resolve: 'a'}]}`},
	{`comes from the SRV records`, with(`resolve: 'srv', weight: 1`)},
	{`256 bytes`, `{instances: [{url: 'http://h', model_name: '` + strings.Repeat("ä", 129) + `'}]}`},
}

// durationText is a time in a text, of which a schema sees no more than the form.
var durationText = regexp.MustCompile(`'\+?([0-9.]+(ns|us|µs|ms|s|m|h)|0')`)

// isBeyondSchema reports whether a schema cannot know this mistake of src.
func isBeyondSchema(src, message string) bool {
	for _, class := range beyondSchema {
		if strings.Contains(message, class.words) {
			ofTime := strings.HasPrefix(class.words, "less") || strings.HasPrefix(class.words, "more") || strings.HasPrefix(class.words, "outside")
			return !ofTime || durationText.MatchString(src)
		}
	}
	return false
}

// TestSchemaLimits guards that the list of what a schema cannot know has no entry
// too many.
func TestSchemaLimits(t *testing.T) {
	for _, class := range beyondSchema {
		if _, err := parseConfig([]byte(class.sample), t.TempDir()); err == nil || !strings.Contains(err.Error(), class.words) {
			t.Errorf("%s: got error %v, want one about %s", class.sample, err, class.words)
		}
		if err, asked := schemaVerdict(t, class.sample); err != nil || !asked {
			t.Errorf("%s: the schema does know about %s: %v", class.sample, class.words, err)
		}
	}
}

// schemaAccepts checks that the schema accepts what the parser does.
func schemaAccepts(t testing.TB, src string) {
	t.Helper()
	if err, _ := schemaVerdict(t, src); err != nil {
		t.Errorf("%s\nthe schema refuses what the parser reads: %v", src, err)
	}
}

// schemaRefuses checks that the schema refuses what the parser does, for these
// reasons, unless none of them is a matter of shape.
func schemaRefuses(t testing.TB, src string, reasons ...string) {
	t.Helper()
	shape := slices.ContainsFunc(reasons, func(reason string) bool { return !isBeyondSchema(src, reason) })
	if err, asked := schemaVerdict(t, src); asked && shape && err == nil {
		t.Errorf("%s\nthe schema accepts what the parser refuses: %s", src, strings.Join(reasons, "\n"))
	}
}

// TestSchemaAccepts guards that the schema knows the files that are shipped; the
// samples of the tests of config.json5 are compared in [parsed].
func TestSchemaAccepts(t *testing.T) {
	for _, file := range []string{"config.json5", "testdata/ancestor.json5"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		schemaAccepts(t, string(text))
		start := strings.Index(string(text), "\n{\n") + 1
		examples := regexp.MustCompile(`(?m)^//(\S|  )`).ReplaceAllString(string(text[start:]), "$1")
		if file == "config.json5" && examples == string(text[start:]) {
			t.Error("config.json5 has no examples")
		}
		schemaAccepts(t, examples)
	}
}

// TestSchemaAgrees guards that parser and schema give the same verdict on every
// value of a list in every member.
func TestSchemaAgrees(t *testing.T) {
	values := []string{
		`null`, `true`, `false`, `[]`, `{}`, `[null]`, `[[]]`, `[{}]`, `{x: null}`, `{x: 1}`, `{x: {}}`, `['']`, `[1]`, `{'': ''}`, `{'/a': '/b'}`, `{'/a': 'b'}`,
		`{'/': '/'}`, `{'/a/./b': '/b'}`, `{'/a': '/b?c=d'}`, `{'/a': '/b?c d'}`, `{'/a': '/b/..c/.d'}`, `{'X-A': 'b'}`, `{'X-A': 'b\n'}`, `{'X A': 'b'}`, `{connect: 1}`,
		`{m: null}`, `{m: {prompt: 1}}`, `[{name: 'k', user: 'u'}]`, `{daily_tokens: 1}`, `'2027-01-31'`, `'2027-01-31T12:00:00Z'`, `'2027-01-31 12:00'`,
		`'` + strings.Repeat("0a", 32) + `'`, `'sha256:` + strings.Repeat("0A", 32) + `'`, `'sha1:` + strings.Repeat("0A", 32) + `'`,
		`{attempts: 1}`, `{raw: 'never'}`, `{url: 'http://h', model_name: 'm'}`,
		`{group_wait: 1}`, `[{type: 'webhook', url: 'https://h'}]`, `[{type: 'webhook'}]`,
		`['/a']`, `['/a/']`, `['/a/..']`, `['/a/..b/...']`, `['/a?b']`, `['chat']`, `['chat', 'x']`, `['a*']`, `['{env.AIGATEWAY_TEST_SET}']`,
		`''`, `'x'`, `'*'`, `'a b'`, `'a\nb'`, `'ä'`, `'a/b'`, `'0'`, `'1'`, `'1s'`, `'+1.5h'`, `'.5m'`, `'1.m2s'`, `'1h30m'`, `'-1s'`, `'5 m'`, `'1d'`, `'m'`, `'.s'`, `'1e3s'`,
		`'{env.AIGATEWAY_TEST_SET}'`, `'http://h/v1'`, `'HTTPS://h:8/'`, `'ftp://h'`, `'http://u@h'`, `'http://h?q'`, `'http://h/a/'`,
		`'` + strings.Repeat("n", 64) + `'`, `'` + strings.Repeat("n", 65) + `'`, `'` + strings.Repeat("n", 257) + `'`,
	}
	for _, words := range [][]string{strategies, engines, rawKinds, recordedAPIs, compressKinds, alertKinds(), {"info", "zh", "webhook", "pushplus"}} {
		for _, word := range words {
			values = append(values, `'`+word+`'`, `'`+strings.ToUpper(word)+`'`, `['`+word+`']`)
		}
	}
	for _, n := range []float64{0, 1, 10, 100, 1000, 3600, 315360000, 1 << 40} {
		for _, d := range []float64{-1, -.5, 0, .5, 1} {
			values = append(values, fmt.Sprintf("%.1f", n+d), fmt.Sprintf("%.0f", n+d))
		}
	}
	t.Setenv("AIGATEWAY_TEST_SET", "")
	dir := t.TempDir()
	members, compared, refused := 0, 0, 0
	f := func(of reflect.Type, form string) {
		for field := range of.Fields() {
			name := field.Tag.Get("json")
			if name == "-" {
				continue
			}
			members++
			for n, value := range values {
				if raceDetector && (members+n)%4 > 0 { // which one goroutine gives nothing to find
					continue
				}
				src := fmt.Sprintf(form, `'`+name+`': `+value)
				switch name { // the form has one already
				case "name", "user":
					src = strings.Replace(src, `, `+name+`: 'k'`, ``, 1)
				case "url":
					src = strings.Replace(src, `, url: 'http://h', model_name: 'm'}]}`, `, model_name: 'm'}]}`, 1)
					src = strings.Replace(src, `, url: 'pushplus://key'}`, `}`, 1)
				case "model_name":
					src = strings.Replace(src, `, url: 'http://h', model_name: 'm'}]}`, `, url: 'http://h'}]}`, 1)
				}
				compared++
				_, err := parseConfig([]byte(src), dir)
				if err == nil {
					schemaAccepts(t, src)
					continue
				}
				// An empty variable makes an empty text; the schema does not look into it.
				if refused++; !strings.Contains(value, "{env.") {
					schemaRefuses(t, src, strings.Split(err.Error(), "\n")...)
				}
			}
		}
	}
	f(reflect.TypeFor[InstanceConfig](), `{instances: [{%s, url: 'http://h', model_name: 'm'}]}`)
	f(reflect.TypeFor[TimeoutsConfig](), `{instances: [{timeouts: {%s}, url: 'http://h', model_name: 'm'}]}`)
	f(reflect.TypeFor[TimeoutsConfig](), setting(`timeouts: {%s}`))
	f(reflect.TypeFor[DNSConfig](), setting(`dns: {%s}`))
	f(reflect.TypeFor[RetriesConfig](), setting(`retries: {%s}`))
	f(reflect.TypeFor[RecordConfig](), setting(`record: {%s}`))
	f(reflect.TypeFor[alert.Config](), setting(`alerts: {%s}`))
	f(reflect.TypeFor[alert.Receiver](), setting(`alerts: {receivers: [{%s, url: 'pushplus://key'}]}`))
	f(reflect.TypeFor[KeyConfig](), setting(`keys: [{%s, name: 'k', user: 'k'}]`))
	f(reflect.TypeFor[BudgetsConfig](), setting(`keys: [{name: 'k', user: 'k', budgets: {%s}}]`))
	f(reflect.TypeFor[PriceConfig](), setting(`prices: {m: {%s}}`))
	f(reflect.TypeFor[Config](), setting(`%s`))
	t.Logf("%d members, %d files compared, %d refused by the parser", members, compared, refused)
}
