package json5

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// mistake returns what is wrong with src: its syntax, or what Decode says.
func mistake(t testing.TB, src string, v any) Errors {
	t.Helper()
	d, err := Parse([]byte(src))
	if es, ok := errors.AsType[Errors](err); ok {
		return es
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return Errors{e}
	}
	if err = d.Decode(v, Options{}); err == nil {
		t.Fatalf("%s: no mistake found", src)
	}
	errs, ok := errors.AsType[Errors](err)
	if !ok {
		t.Fatalf("%s: got %T, want Errors", src, err)
	}
	return errs
}

func TestDetail(t *testing.T) {
	f := func(src string, want ...string) {
		t.Helper()
		got := mistake(t, src, new(sample)).Detail()
		if got != strings.Join(want, "\n") {
			t.Errorf("%q:\ngot\n%s\nwant\n%s", src, got, strings.Join(want, "\n"))
		}
	}
	f("{\n  instances: [{wieght: 3}],\n}",
		`2:16: instances[0]: unknown member "wieght"; did you mean "weight"?`,
		`      instances: [{wieght: 3}],`,
		`                   ^`)
	f("{\r\n\ton: 'é',\tweight: 'x',\r\n}",
		`2:6: on: got a string, want true or false`,
		"    \ton: 'é',\tweight: 'x',",
		"    \t    ^",
		`2:19: weight: got a string, want a whole number`,
		"    \ton: 'é',\tweight: 'x',",
		"    \t        \t        ^")
	f("{on: 1,\rweight: ''}",
		`1:6: on: got a number, want true or false`,
		`    {on: 1,`,
		`         ^`,
		`2:9: weight: got a string, want a whole number`,
		`    weight: ''}`,
		`            ^`)
	f("{on: 1, '\u2028\x1b\u0085': 1}", // no control character reaches a terminal
		`1:6: on: got a number, want true or false`,
		`    {on: 1, '???': 1}`,
		`         ^`,
		`1:9: unknown member "\u2028\x1b\u0085"`+sampleNames,
		`    {on: 1, '???': 1}`,
		`            ^`)
	f("{on: true,\n  name: 'a'\n  weight: 1, tiny: 2}",
		`3:3: want "," or "}" after the value, got a bare word`,
		`      weight: ***, ***: ***}`,
		`      ^`)
	f("{on: true,\n  'name': 'a' 'tiny': 2}",
		`2:15: want "," or "}" after the value, got a string`,
		`      'name': 'a' 'tiny': ***}`,
		`                  ^`)
	f("{\n  on: True, name: 'a b',\n}",
		`2:7: on: got a bare word, want a quoted string, a number, true, false or null`,
		`      on: True, name: 'a b',`,
		`          ^`)
	// Words without quotes are all told, also before a token that is out of place.
	f("{on: yes, tags: [a,\n  1, b c]}",
		`1:6: on: got a bare word, want a quoted string, a number, true, false or null`,
		`    {on: yes, tags: [a,`,
		`         ^`,
		`1:18: tags[0]: got a bare word, want a quoted string, a number, true, false or null`,
		`    {on: yes, tags: [a,`,
		`                     ^`,
		`2:6: tags[2]: got a bare word, want a quoted string, a number, true, false or null`,
		`      1, b ***]}`,
		`         ^`)
	f("{on: yes, weight: 01}",
		`1:6: on: got a bare word, want a quoted string, a number, true, false or null`,
		`    {on: yes, weight: 01}`,
		`         ^`,
		`1:19: weight: not a valid number, and a string needs quotes`,
		`    {on: yes, weight: 01}`,
		`                      ^`)
	// On a terminal Chinese characters are two columns wide, combining marks none.
	f("{name: '模型 e\u0301 ｆ', on: 1}",
		`1:23: on: got a number, want true or false`,
		"    {name: '模型 e\u0301 ｆ', on: 1}",
		`                            ^`)
	f("{tags: [\n  'a',\n\n",
		`2:7: tags: the file ends inside the array opened at 1:8`,
		`      'a',`,
		`          ^`)
	f("{dir: 'C:\\users\\me'}",
		`1:10: want four hexadecimal digits after \u, or \\ for a backslash`,
		`    {dir: '***:***'}`,
		`               ^`)
	f("", `1:1: the file is empty, want a value`)

	// Long lines are cut around the mistake.
	long := strings.Repeat("é", 200)
	f("{name: '"+long+"', on: 1, tags: ['"+long+"']}",
		`1:216: on: got a number, want true or false`,
		"    …"+strings.Repeat("é", 53)+"', on: 1, tags: ['"+strings.Repeat("é", 29)+"…",
		"    "+strings.Repeat(" ", 61)+"^")
	f("{on: 1, tags: ['"+long+"']}",
		`1:6: on: got a number, want true or false`,
		"    {on: 1, tags: ['"+strings.Repeat("é", 84)+"…",
		"         ^")
	f("{tags: ['"+strings.Repeat("é", 5000)+"'], on: 1}",
		`1:5018: on: got a number, want true or false`,
		"    …"+strings.Repeat("é", 90)+"'], on: 1}",
		"    "+strings.Repeat(" ", 99)+"^")
}

func TestSecretsAreMasked(t *testing.T) {
	const secret = "hunter2"
	f := func(src, detail string) {
		t.Helper()
		var v struct {
			On     bool            `json:"on"`
			Key    string          `json:"key"`
			Nested map[string]pool `json:"nested"`
		}
		errs := mistake(t, src, &v)
		for _, text := range []string{errs.Error(), errs.Detail(), fmt.Sprintf("%+v %#v", *errs[0], *errs[0])} {
			if strings.Contains(text, secret) {
				t.Errorf("%s:\nthe secret is shown in\n%s", src, text)
			}
		}
		if got := errs[0].Text; got != detail {
			t.Errorf("%s:\ngot  %s\nwant %s", src, got, detail)
		}
	}
	// The value of the mistake, or another value on its line.
	f(`{on: 1, api_key: 'hunter2', x: 'y'}`, `{on: 1, api_key: '***', x: 'y'}`)
	f(`{api_key: "hunter2", on: 1}`, `{api_key: "***", on: 1}`)
	f(`{"API-KEY": "hunter2", "on": 1}`, `{"API-KEY": "***", "on": 1}`)
	f(`{on: 1, ap\u0069_key: 'hunter2'}`, `{on: 1, ap\u0069_key: '***'}`)
	f(`{on: 1, myPassword: 'hunter2', AuthToken: '', client_secrets: ['hunter2', {a: 'hunter2'}]}`,
		`{on: 1, myPassword: '***', AuthToken: '', client_secrets: ['***', {a: '***'}]}`)
	f(`{on: 1, headers: {X: ['hunter2'], y: null}, Alerts: {url: 'hunter2', on: true}, x: 'y'}`,
		`{on: 1, headers: {X: ['***'], y: null}, Alerts: {url: '***', on: true}, x: 'y'}`)
	f(`{nested: {a: {api_key: 'hunter2'}}}`, `{nested: {a: {api_key: '***'}}}`)
	f(`{on: 1, pin_key: 1234, token: true}`, `{on: 1, pin_key: ***, token: true}`)
	f(`{on: 1, token: hunter2}`, `{on: 1, token: ***}`)
	f(`{on: 1, url: 'http://me:hunter2@host/', mail: 'hunter2@host', args: ['--api-key=hunter2', 'a']}`,
		`{on: 1, url: 'http://***@host/', mail: '***@host', args: ['--api-***', 'a']}`)
	f("{on: 1, // hunter2\n}", `{on: 1, //***`)
	f("{/* key: 'hunter2' */ on: 1}", `{/*****/ on: 1}`)
	f("{/*\n hunter2 */ on: 1, key: 'a\\\nhunter2'}", `****/ on: 1, key: '***`)
	f("{key: 'a\\\nhunter2', on: 1}", `***', on: 1}`)

	// Where the syntax is wrong nobody knows which word is a secret.
	f(`{api_key 'hunter2'}`, `{api_key '***'}`)
	f(`{api_key = hunter2}`, `{api_key *** ***}`)
	f(`{api_key: hunter2}`, `{api_key: ***}`)
	f(`{api_key: hunter2 x}`, `{api_key: *** ***}`)
	f(`{api_key: it's hunter2', on: 1}`, `{api_key: ***'*** ***', ***: ***}`)
	f(`{api_key: 'it's hunter2: 1}`, `{api_key: '***'*** ***: ***}`)
	f(`{api_key: ''hunter2: 1}`, `{api_key: ''***: ***}`)
	f(`{api_key: a, hunter2-b: 1}`, `{api_key: ***, ***: ***}`)
	f(`{url: http://hunter2}`, `{url: http:***}`)
	f(`{url: x y, key: 'hunter2'}`, `{url: x ***, ***: '***'}`)
	f(`{"url": "a, "api_key": "hunter2"}`, `{"url": "a, "***": "***"}`)
	f(`{"api_key: hunter2"}`, `{"api_key:***"}`)
	f(`{"api_key": "hunter2}`, `{"api_key": "***}`)
	f(`{"api_key": "a\x hunter2"}`, `{"api_key": "*** ***"}`)
	f("{a: 1 /* hunter2", `{a: 1 *** ***`)
	f("{a: [1 2], key: 'hunter2'}", `{a: [1 ***], ***: '***'}`)
	f("{key: 'hunter2', a: '\xff'}", `{***: '***', ***: '***'}`)
	f("{key: 'hunter2\xff'}", `{***: '***'}`)
}

func TestMoreSecretNames(t *testing.T) {
	d, err := Parse([]byte(`{on: 1, PIN: '1234', x: 'y'}`), "pin", "")
	if err != nil {
		t.Fatal(err)
	}
	err = d.Decode(new(sample), Options{})
	errs, _ := errors.AsType[Errors](err)
	if want := `{on: 1, PIN: '***', x: 'y'}`; len(errs) == 0 || errs[0].Text != want {
		t.Errorf("got %v, want text %s", err, want)
	}
}

// TestMessagesOfOthers guards that messages written by types, hooks and
// callers do not give away the secret they are about.
func TestMessagesOfOthers(t *testing.T) {
	d := mustParse(t, `{key: "hun\"ter2", name: 'plain', pools: {secret: 'ab'}}`)
	f := func(want string, format string, path ...any) {
		t.Helper()
		n := d.At(path...)
		if got := d.Problem(n, format, unquote(d.text(n))).Msg; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f(`bad key "***"`, "bad key %q", "key")
	f(`bad key ***`, "bad key %s", "key")
	f(`bad name "plain"`, "bad name %q", "name")
	f(`cab "***"`, "cab %q", "pools", "secret")
	f(`two; lines plain`, "two\r\nlines %s", "name")

	hook := func(s string) (string, error) { return "", fmt.Errorf("no %s", s) }
	var v struct {
		Key  string `json:"key"`
		Name string `json:"name"`
	}
	err := mustParse(t, `{key: 'hunter2', name: 'x'}`).Decode(&v, Options{String: hook})
	if want := "1:7: key: no ***\n1:24: name: no x"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestErrorsUnwrap(t *testing.T) {
	err := error(mistake(t, `{x: 1, y: 2}`, new(instance)))
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Line != 1 || e.Column != 2 {
		t.Errorf("got %+v, want the first mistake", e)
	}
}

func TestNearest(t *testing.T) {
	known := []string{"url", "api_key", "model_name", "weight", "error_threshold"}
	f := func(name, want string) {
		t.Helper()
		if got := Nearest(name, known); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	f("URL", "url")
	f("ulr", "url")
	f("uri", "url")
	f("u", "")
	f("apikey", "api_key")
	f("api-keys", "api_key")
	f("model", "")
	f("modelname", "model_name")
	f("wheight", "weight")
	f("wihgt", "weight")
	f("error_treshhold", "error_threshold")
	f("ключ", "")
	f("", "")
	f(strings.Repeat("url", 1000), "")
}

func TestPositions(t *testing.T) {
	// Around marks, and across line ends that marks may cut in two.
	for _, end := range []string{"\n", "\r", "\r\n"} {
		src := []byte(strings.Repeat("é"+end, 400) + "x")
		d := &Document{src: src, marks: index(src)}
		for line := range 401 {
			off := line * (2 + len(end))
			if l, c := d.position(off); l != line+1 || c != 1 {
				t.Fatalf("%q: byte %d: got %d:%d, want %d:1", end, off, l, c, line+1)
			}
			if off+2 < len(src) {
				if l, c := d.position(off + 2); l != line+1 || c != 2 {
					t.Fatalf("%q: byte %d: got %d:%d, want %d:2", end, off+2, l, c, line+1)
				}
			}
		}
	}
}
