package aigateway

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/alert"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/json5"
)

// mistakeTest returns a check that a config.json5 of the text src is refused
// with exactly these lines.
func mistakeTest(t *testing.T, dir string) func(src string, want ...string) {
	return func(src string, want ...string) {
		t.Helper()
		shown := src
		if len(shown) > 500 {
			shown = shown[:500] + "…"
		}
		c, err := parseConfig([]byte(src), dir)
		if err == nil {
			t.Errorf("%s\ngot no error, want\n%s", shown, strings.Join(want, "\n"))
			return
		}
		if got := err.Error(); got != strings.Join(want, "\n") || c != nil {
			t.Errorf("%s\ngot\n%s\nwant\n%s", shown, got, strings.Join(want, "\n"))
		}
		schemaRefuses(t, src, want...)
		printed := checkOutputs(src, dir)[0]
		for _, line := range want {
			place := strings.SplitN(line, ": ", 2)
			if line := "config.json5:" + place[0] + ": error: " + place[1] + "\n"; !strings.Contains(printed, line) {
				t.Errorf("%s\ncheck prints\n%s\nwant a line %s", shown, printed, line)
			}
		}
	}
}

// with returns a file with one instance that is right but for member, which
// begins at 1:15.
func with(member string) string {
	return `{instances: [{` + member + `, url: 'http://h/v1', model_name: 'm'}]}`
}

// at returns a file with one instance of this URL, which begins at 1:20.
func at(url string) string { return `{instances: [{url: '` + url + `', model_name: 'm'}]}` }

func TestConfigSyntaxMistakes(t *testing.T) {
	f := mistakeTest(t, t.TempDir())

	// What JSON with commas and comments refuses.
	f(``, `1:1: the file is empty, want a value`)
	f(" \r\n\t\n", `1:1: the file is empty, want a value`)
	f("// instances\n/* none */", `1:1: the file is empty, want a value`)
	f("\uFEFF", `1:1: the file is empty, want a value`)
	f("{\n  \"instances\": [\n    {\"url\": \"http://h/v1\" \"model_name\": \"m\"}\n  ]\n}",
		`3:27: instances[0]: want "," or "}" after the value, got a string`)
	f("{\n  \"instances\": []\n  \"data_dir\": \".\"\n}", `3:3: want "," or "}" after the value, got a string`)
	f(`{"instances": [`, `1:16: instances: the file ends inside the array opened at 1:15`)
	f(`{"instances": [{"url": "http://h/v1"`, `1:37: instances[0]: the file ends inside the object opened at 1:16`)
	f(`{"instances": [}`, `1:16: instances: want a value or "]", got "}"; the array was opened at 1:15`)
	f(`{"instances": [{]}`, `1:17: instances[0]: want a member name or "}", got "]"; the object was opened at 1:16`)
	f(`{"instances" []}`, `1:14: want ":" after the member name, got "["`)
	f(`{"instances": , "data_dir": "."}`, `1:15: want a value, got ","`)
	f(`{"instances": [,]}`, `1:16: instances: want a value or "]", got ","`)
	f(`{,}`, `1:2: want a member name or "}", got ","`)
	f(`{"data_dir": ".",, "instances": []}`, `1:18: want a member name or "}", got ","`)
	f(`{"data_dir": "."}}`, `1:18: want nothing after the value, got "}"`)
	f(`{"data_dir": "."} {}`, `1:19: want nothing after the value, got "{"`)
	f("{\"data_dir\": \"./data\n\"}", `1:14: string is not closed on its line`)
	f(`{"data_dir": "./data}`, `1:14: string is not closed`)
	f(`{"data_dir": "." /* folder }`, `1:18: comment is not closed, want "*/"`)
	f(`{"data_dir": "." / folder }`, `1:18: want "," or "}" after the value, got "/"`)
	f("{\"data_dir\": \".\", # folder\n}", `1:19: this member name needs quotes`)
	f(`{"data_dir" = "."}`, `1:13: want ":" after the member name, got "="`)

	// What goes wrong in JSON5 only.
	f(`{data-dir: '.'}`, `1:2: this member name needs quotes`)
	f(`{1st: '.'}`, `1:2: this member name needs quotes`)
	f(`{instances: [{url: http://h/v1, model_name: 'm'}]}`,
		`1:20: instances[0].url: got a bare word, want a quoted string, a number, true, false or null`)
	f(`{instances: [{url: 'http://h/v1', model_name: m}]}`,
		`1:47: instances[0].model_name: got a bare word, want a quoted string, a number, true, false or null`)
	f(`{instances: [{url: h, weight: 1x, model_name: m}]}`,
		`1:20: instances[0].url: got a bare word, want a quoted string, a number, true, false or null`,
		`1:31: instances[0].weight: not a valid number, and a string needs quotes`,
		`1:47: instances[0].model_name: got a bare word, want a quoted string, a number, true, false or null`)
	f(with(`weight: True`), `1:23: instances[0].weight: got a bare word, want a quoted string, a number, true, false or null`)
	f(with(`weight: 01`), `1:23: instances[0].weight: not a valid number, and a string needs quotes`)
	f(with(`weight: 0x`), `1:23: instances[0].weight: not a valid number, and a string needs quotes`)
	f(with(`weight: 1_000`), `1:23: instances[0].weight: not a valid number, and a string needs quotes`)
	f(with(`weight: +-1`), `1:23: instances[0].weight: not a valid number, and a string needs quotes`)
	f(`{error_window: 5m}`, `1:16: error_window: not a valid number, and a string needs quotes`)
	f(`{data_dir: 'C:\users\gateway'}`, `1:15: want four hexadecimal digits after \u, or \\ for a backslash`)
	f(`{data_dir: 'D:\xyz'}`, `1:15: want two hexadecimal digits after \x, or \\ for a backslash`)
	f(`{data_dir: 'D:\2026'}`, `1:15: octal escapes are not allowed, want \x or \\ for a backslash`)
	f(`{data_dir: 'it's'}`, `1:16: want "," or "}" after the value, got a bare word`)
	f("{data_dir: `.`}", `1:12: data_dir: got a bare word, want a quoted string, a number, true, false or null`)

	// Bounds of the text.
	f("{\n  data_dir: 'é\xff'\n}", `2:15: byte 0xff is not UTF-8, save the file as UTF-8`)
	f("\xff\xfe{\x00}\x00", `1:1: byte 0xff is not UTF-8, save the file as UTF-8`)
	f(strings.Repeat(`[`, 65), `1:65: `+strings.Repeat(`[0]`, 63)+`: nested too deep, want at most 64 levels`)
	f(strings.Repeat(`{a:`, 65), `1:193: a`+strings.Repeat(`.a`, 62)+`: nested too deep, want at most 64 levels`)
	f(strings.Repeat(`[`, 6<<20), `1:65: `+strings.Repeat(`[0]`, 63)+`: nested too deep, want at most 64 levels`)
	f(strings.Repeat(`[`, 64)+strings.Repeat(`]`, 64), `1:1: got an array, want an object`)
	f(strings.Repeat(` `, 8<<20)+`{}`, `1:1: file has 8388610 bytes, want at most 8388608`)
	f(`[`+strings.Repeat(`0,`, 500_000)+`]`, `1:1000000: too many values, want at most 500000`)
}

func TestConfigUnknownMembers(t *testing.T) {
	f := mistakeTest(t, t.TempDir())
	const top = `instances, fallback_instances, data_dir, load_balancing_strategy, error_threshold, error_window, alert_cooldown, dns, alerts, timeouts, retries, queue, poll, overflow, keys, keys_file, key_label, prices, budget_utc, stream_keepalive, record, engine_routes, $schema`
	const entry = `url, resolve, api_key, model_name, discover, weight, drain, name, upstream_model, max_concurrency, context_length, headers, engine, ask_usage, timeouts, paths`

	f(`{instance: []}`, `1:2: unknown member "instance"; did you mean "instances"?`)
	f(`{Instances: []}`, `1:2: unknown member "Instances"; did you mean "instances"?`)
	f(`{fallbackInstances: []}`, `1:2: unknown member "fallbackInstances"; did you mean "fallback_instances"?`)
	f(`{error_treshold: 5}`, `1:2: unknown member "error_treshold"; did you mean "error_threshold"?`)
	f("{\n  'load-balancing-strategy': 'round_robin',\n}",
		`2:3: unknown member "load-balancing-strategy"; did you mean "load_balancing_strategy"?`)
	f(`{servers: []}`, `1:2: unknown member "servers"; known members are `+top)
	f(`{'': 1}`, `1:2: unknown member ""; known members are `+top)
	f(`{__proto__: {}}`, `1:2: unknown member "__proto__"; known members are `+top)

	f(with(`wieght: 3`), `1:15: instances[0]: unknown member "wieght"; did you mean "weight"?`)
	f(with(`apiKey: 'k'`), `1:15: instances[0]: unknown member "apiKey"; did you mean "api_key"?`)
	f(with(`header: {}`), `1:15: instances[0]: unknown member "header"; did you mean "headers"?`)
	f(with(`model: 'm'`), `1:15: instances[0]: unknown member "model"; known members are `+entry)
	f(with(`error_window: 1`), `1:15: instances[0]: unknown member "error_window"; known members are `+entry)
	f("{fallback_instances: [\n  {url: 'http://h/v1', model_name: 'm', 'max-concurency': 1},\n]}",
		`2:41: fallback_instances[0]: unknown member "max-concurency"; did you mean "max_concurrency"?`)

	f(`{overflow: {model: 'x'}}`, `1:13: overflow: unknown member "model"; did you mean "models"?`)

	// A name cannot steer a terminal, nor fill the log.
	f("{'a\x1b[2J\u202eb': 1}", `1:2: unknown member "a\x1b[2J\u202eb"; known members are `+top)
	f(`{`+strings.Repeat(`x`, 1000)+`: 1}`, `1:2: unknown member "`+strings.Repeat(`x`, 64)+`…"; known members are `+top)
}

func TestConfigWrongTypes(t *testing.T) {
	f := mistakeTest(t, t.TempDir())

	f(`[]`, `1:1: got an array, want an object`)
	f(`'http://h/v1'`, `1:1: got a string, want an object`)
	f(`Infinity`, `1:1: got Infinity, want an object`)
	f(`{instances: {url: 'http://h/v1'}}`, `1:13: instances: got an object, want an array`)
	f(`{instances: 'http://h/v1'}`, `1:13: instances: got a string, want an array`)
	f(`{instances: ['http://h/v1']}`, `1:14: instances[0]: got a string, want an object`)
	f(`{instances: [{url: 'http://h/v1', model_name: 'm'}, 1]}`, `1:53: instances[1]: got a number, want an object`)
	f(`{fallback_instances: true}`, `1:22: fallback_instances: got true, want an array`)
	f(`{fallback_instances: [[]]}`, `1:23: fallback_instances[0]: got an array, want an object`)
	f(`{data_dir: 1}`, `1:12: data_dir: got a number, want a string`)
	f(`{load_balancing_strategy: ['round_robin']}`, `1:27: load_balancing_strategy: got an array, want a string`)
	f(`{error_threshold: '10'}`, `1:19: error_threshold: got a string, want a whole number`)
	f(`{error_threshold: 2.5}`, `1:19: error_threshold: got a number with a fraction, want a whole number`)
	f(`{error_threshold: -Infinity}`, `1:19: error_threshold: got -Infinity, want a whole number`)
	f(`{error_window: {}}`, `1:16: error_window: got an object, want a single value`)
	f(`{error_window: true}`, `1:16: error_window: got a boolean, want seconds or a text such as "1m30s"`)
	f(`{error_window: 'five minutes'}`, `1:16: error_window: got a text that is no duration, want seconds or a text such as "1m30s"`)
	f(`{error_window: '300'}`, `1:16: error_window: got a text that is no duration, want seconds or a text such as "1m30s"`)
	f(`{error_window: Infinity}`, `1:16: error_window: got Infinity, want a finite number`)
	f(`{alert_cooldown: NaN}`, `1:18: alert_cooldown: got NaN, want a finite number`)
	f(`{alert_cooldown: [300]}`, `1:18: alert_cooldown: got an array, want a single value`)
	f(`{alert_cooldown: false}`, `1:18: alert_cooldown: got a boolean, want seconds or a text such as "1m30s"`)
	f(`{engine_routes: '/tokenize'}`, `1:17: engine_routes: got a string, want an array`)
	f(`{engine_routes: ['/tokenize', 1]}`, `1:31: engine_routes[1]: got a number, want a string`)

	f(`{instances: [{url: ['http://h/v1'], model_name: 'm'}]}`, `1:20: instances[0].url: got an array, want a string`)
	f(`{instances: [{url: 'http://h/v1', model_name: 4}]}`, `1:47: instances[0].model_name: got a number, want a string`)
	f(with(`api_key: 123`), `1:24: instances[0].api_key: got a number, want a string`)
	f(with(`drain: 1`), `1:22: instances[0].drain: got a number, want true or false`)
	f(with(`drain: 'true'`), `1:22: instances[0].drain: got a string, want true or false`)
	f(with(`weight: '1'`), `1:23: instances[0].weight: got a string, want a whole number`)
	f(with(`weight: 0.5`), `1:23: instances[0].weight: got a number with a fraction, want a whole number`)
	f(with(`weight: Infinity`), `1:23: instances[0].weight: got Infinity, want a whole number`)
	f(with(`weight: NaN`), `1:23: instances[0].weight: got NaN, want a whole number`)
	f(with(`name: {}`), `1:21: instances[0].name: got an object, want a string`)
	f(with(`upstream_model: true`), `1:31: instances[0].upstream_model: got true, want a string`)
	f(with(`max_concurrency: '4'`), `1:32: instances[0].max_concurrency: got a string, want a whole number`)
	f(with(`headers: ['X-Team: a']`), `1:24: instances[0].headers: got an array, want an object`)
	f(with(`headers: {'X-Team': 1}`), `1:35: instances[0].headers["X-Team"]: got a number, want a string`)
	f(with(`engine: 1`), `1:23: instances[0].engine: got a number, want a string`)
	f(with(`ask_usage: 'yes'`), `1:26: instances[0].ask_usage: got a string, want true or false`)
	f(with(`ask_usage: 1`), `1:26: instances[0].ask_usage: got a number, want true or false`)
	f(with(`paths: '/v1'`), `1:22: instances[0].paths: got a string, want an object`)
	f(with(`paths: {'/v1/embeddings': {}}`), `1:41: instances[0].paths["/v1/embeddings"]: got an object, want a string`)

	// All mistakes are told at once, in the order of the file.
	f("{\n  instances: [\n    {url: 1, wieght: 2},\n    2,\n  ],\n  error_window: {},\n}",
		`3:11: instances[0].url: got a number, want a string`,
		`3:14: instances[0]: unknown member "wieght"; did you mean "weight"?`,
		`4:5: instances[1]: got a number, want an object`,
		`6:17: error_window: got an object, want a single value`)
	// Of what could be decoded the values are checked too.
	f("{\n  instances: [\n    {url: 'ftp://h', model_nam: 'm', weight: -1},\n    {weight: 'x', headers: {'X-A': 1, Host: ''}},\n  ],\n"+
		"  retries: {attempts: 0},\n  record: {raw: 1, sample: 2, redact: [1, '(']},\n  data_dir: '{env.AIGATEWAY_TEST_NONE}',\n}",
		`3:11: instances[0].url: want a URL that begins with http:// or https://`,
		`3:22: instances[0]: unknown member "model_nam"; did you mean "model_name"?`,
		`3:46: instances[0].weight: got -1, want 0 to 1000`,
		`4:5: instances[1]: missing url, want one such as http://10.0.0.1:8000/v1`,
		`4:5: instances[1]: missing model_name, want the model's name or "*"`,
		`4:14: instances[1].weight: got a string, want a whole number`,
		`4:36: instances[1].headers["X-A"]: got a number, want a string`,
		`4:45: instances[1].headers.Host: "Host" belongs to the connection and cannot be set`,
		`6:23: retries.attempts: got 0, want 1 to 100`,
		`7:17: record.raw: got a number, want a string`,
		`7:28: record.sample: got a number outside of 0 to 1`,
		`7:40: record.redact[0]: got a number, want a string`,
		`7:43: record.redact[1]: got a text that is no regular expression of RE2`,
		`8:13: data_dir: environment variable AIGATEWAY_TEST_NONE is not set`)
}

func TestConfigBadURLs(t *testing.T) {
	f := mistakeTest(t, t.TempDir())
	const (
		missing = `: missing url, want one such as http://10.0.0.1:8000/v1`
		noURL   = `1:20: instances[0].url: got a text that is no URL, want one such as http://10.0.0.1:8000/v1`
		scheme  = `1:20: instances[0].url: want a URL that begins with http:// or https://`
		host    = `1:20: instances[0].url: missing host, want one such as http://10.0.0.1:8000/v1`
		user    = `1:20: instances[0].url: holds a user name, want the key in api_key or headers`
		query   = `1:20: instances[0].url: has a query or a fragment, want neither; paths can add a query to a path`
		port    = `1:20: instances[0].url: want a port from 1 to 65535`
		path    = `1:20: instances[0].url: path is not plain: want no escapes, no empty and no dot segments`
	)

	f(`{instances: [{model_name: 'm'}]}`, `1:14: instances[0]`+missing)
	f(at(``), `1:20: instances[0].url`+missing)
	f(`{instances: [{url: null, model_name: 'm'}]}`, `1:20: instances[0].url`+missing)
	f("{fallback_instances: [\n  {url: '', model_name: 'm'}\n]}", `2:9: fallback_instances[0].url`+missing)
	f(at(`10.0.0.1:8000/v1`), noURL)
	f(at(`http://h:80x/v1`), noURL)
	f(at(`http://[::1/v1`), noURL)
	f(at(`http://h/%zz`), noURL)
	f(at(` http://h/v1`), noURL)
	f(at(`http://h /v1`), noURL)
	f(at(`http://h/v1\n`), noURL)
	f(at(`localhost:8000/v1`), scheme)
	f(at(`10.0.0.1/v1`), scheme)
	f(at(`/v1`), scheme)
	f(at(`//h/v1`), scheme)
	f(at(`ftp://h/v1`), scheme)
	f(at(`unix:///run/vllm.sock`), scheme)
	f(at(`wss://h/v1`), scheme)
	f(at(`http:/h/v1`), host)
	f(at(`http:h/v1`), host)
	f(at(`http://`), host)
	f(at(`http://:8000/v1`), host)
	f(at(`https:///v1`), host)
	f(at(`http://user@h/v1`), user)
	f(at(`http://user:pass@h/v1`), user)
	f(at(`http://:@h/v1`), user)
	f(at(`http://h/v1?api-version=1`), query)
	f(at(`http://h/v1?`), query)
	f(at(`http://h/v1#top`), query)
	f(at(`http://h:0/v1`), port)
	f(at(`http://h:65536/v1`), port)
	f(at(`http://h:/v1`), port)
	f(at(`http://h/../v1`), path)
	f(at(`http://h/./v1`), path)
	f(at(`http://h//v1`), path)
	f(at(`http://h/a//v1`), path)
	f(at(`http://h/a%20b/v1`), path)
	f(at(`http://h/a%2Fb/v1`), path)
	f(at(`http://h/é/v1`), path)
	f(at(`http://h/a;b/v1`), path)
	f(at(`http://h/a\\b`), path)
	f(at(`http://h/{v1}`), path)
}

func TestConfigBadValues(t *testing.T) {
	f := mistakeTest(t, t.TempDir())

	for _, none := range []string{`{}`, `null`, `{fallback_instances: []}`} {
		f(none, `1:1: no instances, want at least one in instances or fallback_instances`)
	}
	f("{\n  instances: [],\n  fallback_instances: [],\n}", `2:14: instances: no instances, want at least one in instances or fallback_instances`)
	f(`{instances: null}`, `1:13: instances: no instances, want at least one in instances or fallback_instances`)
	f(`{instances: [null]}`, `1:14: instances[0]: got null, want an object with url and model_name`)
	f(`{instances: [{}]}`,
		`1:14: instances[0]: missing url, want one such as http://10.0.0.1:8000/v1`,
		`1:14: instances[0]: missing model_name, want the model's name or "*"`)

	const names = `: want at most 256 bytes without control characters`
	f(`{instances: [{url: 'http://h/v1', model_name: ''}]}`, `1:47: instances[0].model_name: missing model_name, want the model's name or "*"`)
	f(`{instances: [{url: 'http://h/v1', model_name: '`+strings.Repeat(`m`, 257)+`'}]}`, `1:47: instances[0].model_name`+names)
	f(`{instances: [{url: 'http://h/v1', model_name: 'a\nb'}]}`, `1:47: instances[0].model_name`+names)
	f(`{instances: [{url: 'http://h/v1', model_name: 'a\0'}]}`, `1:47: instances[0].model_name`+names)
	f(with(`discover: 'yes'`), `1:25: instances[0].discover: got a string, want true or false`)
	f(`{instances: [{url: 'http://h', discover: false}]}`, `1:14: instances[0]: missing model_name, want the model's name or "*"`)
	f(`{instances: [{url: 'http://h', model_name: '*', discover: true}]}`,
		`1:59: instances[0].discover: got true beside the model_name "*", which takes every model; want one of them`)
	f(`{instances: [{url: 'http://h', discover: true, upstream_model: 'u'}]}`,
		`1:64: instances[0].upstream_model: is what the server calls the model of model_name, and there is none`)
	f(setting(`instances: [{url: 'http://h', discover: true}], poll: {interval: 0}`),
		`1:100: instances[0].discover: got true, but poll.interval is 0, so that the server is never asked; want no discover, or an interval above 0`)
	f(`{instances: [{url: 'http://h', discover: true}, {url: 'http://H:80', discover: true}]}`,
		`1:49: instances[1]: the same url, model_name and api_key as instances[0] on line 1; give one of them the sum of both weights`)

	f(with(`resolve: 'A'`), `1:24: instances[0].resolve: want one of a, aaaa, srv`)
	f(with(`resolve: true`), `1:24: instances[0].resolve: got true, want a string`)
	const address = `: holds an address, and resolve asks to look up a name; want a name, or no resolve`
	f(`{instances: [{url: 'http://10.0.0.1:8000/v1', model_name: 'm', resolve: 'a'}]}`, `1:20: instances[0].url`+address)
	f(`{instances: [{url: 'http://[::1]/v1', model_name: 'm', resolve: 'srv'}]}`, `1:20: instances[0].url`+address)
	f(`{instances: [{url: 'http://vllm:8000/v1', model_name: 'm', resolve: 'srv'}]}`,
		`1:20: instances[0].url: has a port, and that comes from the SRV records; want a url without one`)
	f(with(`resolve: 'srv', weight: 0`), `1:39: instances[0].weight: comes from the SRV records; want no weight here`)
	f(with(`resolve: 'a', weight: 1001`), `1:37: instances[0].weight: got 1001, want 0 to 1000`)
	f(`{instances: [{url: 'http://h', model_name: 'm', resolve: 'a'}, {url: 'http://h', model_name: 'm', resolve: 'a'}]}`,
		`1:64: instances[1]: the same url, model_name and api_key as instances[0] on line 1; give one of them the sum of both weights`)
	f(setting(`dns: {interval: 0.5}`), `1:76: dns.interval: got 500ms, outside of 1s to 1h`)
	f(setting(`dns: {interval: 3601}`), `1:76: dns.interval: got 1h0m1s, outside of 1s to 1h`)
	f(setting(`dns: {timeout: 0}`), `1:75: dns.timeout: got 0s, outside of 100ms to 1m`)
	f(setting(`dns: {timeout: '61s'}`), `1:75: dns.timeout: got 1m1s, outside of 100ms to 1m`)
	const server = `1:76: dns.servers[0]: want an IP address, with a port if it is not 53, such as 127.0.0.1:8600 or [::1]:53`
	f(setting(`dns: {servers: ['']}`), server)
	f(setting(`dns: {servers: ['dns.example:53']}`), server)
	f(setting(`dns: {servers: ['10.0.0.1:']}`), server)
	f(setting(`dns: {servers: [':53']}`), server)
	f(setting(`dns: {servers: [`+strings.Repeat(`'10.0.0.1', `, 17)+`]}`), `1:75: dns.servers: got 17 entries, want at most 16`)
	f(setting(`dns: {server: '10.0.0.1'}`), `1:66: dns: unknown member "server"; did you mean "servers"?`)

	f(with(`upstream_model: '*'`), `1:31: instances[0].upstream_model: got "*", want the name that the server knows`)
	// It goes into forms and queries too, where a line end would be a second field.
	f(with(`upstream_model: 'a\r\nb'`), `1:31: instances[0].upstream_model`+names)
	f(with(`upstream_model: '`+strings.Repeat(`m`, 257)+`'`), `1:31: instances[0].upstream_model`+names)

	const name = `1:21: instances[0].name: want at most 64 letters, digits and characters of -._~:@,=+/`
	f(with(`name: '`+strings.Repeat(`n`, 65)+`'`), name)
	f(with(`name: 'gpu 1'`), name)
	f(with(`name: 'gpu\n1'`), name)
	f(with(`name: 'müller'`), name)
	f(with(`name: 'a"b'`), name)

	f(with(`weight: -1`), `1:23: instances[0].weight: got -1, want 0 to 1000`)
	f(with(`weight: 1001`), `1:23: instances[0].weight: got 1001, want 0 to 1000`)
	f(with(`weight: 0x3e9`), `1:23: instances[0].weight: got 1001, want 0 to 1000`)
	f(with(`context_length: -1`), `1:31: instances[0].context_length: got -1, want 0 to 1073741824 tokens`)
	f(with(`context_length: 2e9`), `1:31: instances[0].context_length: got 2000000000, want 0 to 1073741824 tokens`)
	f(with(`max_concurrency: -1`), `1:32: instances[0].max_concurrency: got -1, want 0 or more`)
	const one = `{instances: [{url: 'http://h/v1', model_name: 'm'}], queue: `
	f(one+`{max_waiting: -1}}`, `1:75: queue.max_waiting: got -1, want 0 to 100000`)
	f(one+`{max_waiting: 100001}}`, `1:75: queue.max_waiting: got 100001, want 0 to 100000`)
	const polled = `{instances: [{url: 'http://h/v1', model_name: 'm'}], poll: `
	f(polled+`{interval: 0.4}}`, `1:71: poll.interval: got less than half a second, want 0 or 0.5 and more`)
	f(polled+`{timeout: 0}}`, `1:70: poll.timeout: got less than a tenth of a second, want 0.1 to 60`)
	f(polled+`{timeout: 61}}`, `1:70: poll.timeout: got more than a minute, want 0.1 to 60`)
	f(with(`api_key: 'a\nb'`), `1:24: instances[0].api_key: holds a character that no header can carry`)
	f(with(`engine: 'vllm '`), `1:23: instances[0].engine: want one of vllm, sglang, llama.cpp, ollama, tgi, generic`)
	f(with(`engine: 'VLLM'`), `1:23: instances[0].engine: want one of vllm, sglang, llama.cpp, ollama, tgi, generic`)

	f(with(`headers: {'X Team': 'a'}`), `1:35: instances[0].headers["X Team"]: "X Team" is no header's name`)
	f(with(`headers: {'': 'a'}`), `1:29: instances[0].headers[""]: "" is no header's name`)
	f(with(`headers: {'X-Team:': 'a'}`), `1:36: instances[0].headers["X-Team:"]: "X-Team:" is no header's name`)
	f(with(`headers: {'X-Team': 'a\r\nX-Admin: 1'}`), `1:35: instances[0].headers["X-Team"]: holds a character that no header can carry`)
	for _, reserved := range reservedHeaders {
		lower := strings.ToLower(reserved)
		place := fmt.Sprintf(`1:%d: instances[0].headers`, 29+len(lower))
		if step := `.` + lower; strings.Contains(lower, "-") {
			place += `["` + lower + `"]`
		} else {
			place += step
		}
		f(with(`headers: {'`+lower+`': 'a'}`), place+`: "`+lower+`" belongs to the connection and cannot be set`)
	}

	const paths = `: want a path of the gateway on the left and one of the server on the right, such as /v1/embeddings and /embed?version=1`
	f(with(`paths: {'v1/x': '/y'}`), `1:31: instances[0].paths["v1/x"]`+paths)
	f(with(`paths: {'/v1/x?a=b': '/y'}`), `1:36: instances[0].paths["/v1/x?a=b"]`+paths)
	f(with(`paths: {'/v1/x': 'y'}`), `1:32: instances[0].paths["/v1/x"]`+paths)
	f(with(`paths: {'/v1/x': ''}`), `1:32: instances[0].paths["/v1/x"]`+paths)
	f(with(`paths: {'/v1/x': '/a/../b'}`), `1:32: instances[0].paths["/v1/x"]`+paths)
	f(with(`paths: {'/v1/x': '/y?a=b c'}`), `1:32: instances[0].paths["/v1/x"]`+paths)
	f(with(`paths: {'/v1/x': '/y?a#b'}`), `1:32: instances[0].paths["/v1/x"]`+paths)
	f(with(`paths: {'/v1/x': 'http://h/y'}`), `1:32: instances[0].paths["/v1/x"]`+paths)
}

func TestConfigBadSettings(t *testing.T) {
	f := mistakeTest(t, t.TempDir())
	// top returns a file with a right instance and member, which begins at 1:52.
	top := func(member string) string {
		return `{instances: [{url: 'http://h/v1', model_name: 'm'}], ` + member + `}`
	}

	const strategy = `1:79: load_balancing_strategy: want one of round_robin, least_connections, least_load, prefix_affinity; Caddy's selection policies are set by lb_policy in the Caddyfile`
	f(top(`load_balancing_strategy: 'least_conn'`), strategy)
	f(top(`load_balancing_strategy: 'Round_Robin'`), strategy)
	f(top(`load_balancing_strategy: ''`), strategy)
	f(top(`data_dir: ''`), `1:64: data_dir: got an empty text, want a folder`)
	f(top(`error_threshold: 0`), `1:71: error_threshold: got 0, want 1 or more`)
	f(top(`error_threshold: -3`), `1:71: error_threshold: got -3, want 1 or more`)
	f(top(`error_window: 0`), `1:68: error_window: got less than a second, want 1 or more`)
	f(top(`error_window: .5`), `1:68: error_window: got less than a second, want 1 or more`)
	f(top(`error_window: '500ms'`), `1:68: error_window: got less than a second, want 1 or more`)
	f(top(`error_window: -1`), `1:68: error_window: got a time outside of 0 to 10 years`)
	f(top(`error_window: 1e300`), `1:68: error_window: got a time outside of 0 to 10 years`)
	f(top(`alert_cooldown: '-5m'`), `1:70: alert_cooldown: got a time outside of 0 to 10 years`)
	f(top(`alert_cooldown: '1000000h'`), `1:70: alert_cooldown: got a time outside of 0 to 10 years`)
	f(top(`alert_cooldown: '5 m'`), `1:70: alert_cooldown: got a text that is no duration, want seconds or a text such as "1m30s"`)
	f(top(`alert_cooldown: ''`), `1:70: alert_cooldown: got a text that is no duration, want seconds or a text such as "1m30s"`)

	for _, path := range []string{`tokenize`, `/`, ``, `/a/`, `//a`, `/a//b`, `/a/../b`, `/.`, `/a?b`, `/a%20b`, `/a*`, `/{x}`, `/ä`, `/a\n`} {
		f(top(`engine_routes: ['`+path+`']`),
			`1:70: engine_routes[0]: got a text that is no path such as /tokenize, without query, escapes or empty parts`)
	}
	f(top(`engine_routes: [null]`), `1:70: engine_routes[0]: got a text that is no path such as /tokenize, without query, escapes or empty parts`)
}

func TestConfigDuplicates(t *testing.T) {
	f := mistakeTest(t, t.TempDir())

	f("{\n  data_dir: 'a',\n  data_dir: 'b',\n}", `3:3: duplicate member "data_dir"; the first is on line 2`)
	f("{\n  data_dir: 'a',\n  'data\\u005fdir': 'a',\n}", `3:3: duplicate member "data_dir"; the first is on line 2`)
	f("{\n  data_dir: 'a',\n  d\\u0061ta_dir: 'a',\n}", `3:3: duplicate member "data_dir"; the first is on line 2`)
	f(`{instances: [], instances: []}`, `1:17: duplicate member "instances"; the first is on line 1`)
	f(with(`weight: 1, weight: 1`), `1:26: instances[0]: duplicate member "weight"; the first is on line 1`)
	f(with(`headers: {'X-A': '1', 'X-A': '1'}`), `1:37: instances[0].headers: duplicate member "X-A"; the first is on line 1`)
	f(with(`paths: {'/v1/x': '/a', '/v1/\x78': '/b'}`), `1:38: instances[0].paths: duplicate member "/v1/x"; the first is on line 1`)
	// Case makes no other header, and which value went out would be chance.
	f(with(`headers: {'X-A': '1', 'x-a': '2'}`), `1:44: instances[0].headers["x-a"]: the same header as "X-A"`)

	same := func(first, second string) {
		t.Helper()
		f(fmt.Sprintf("{instances: [\n  {url: '%s', model_name: 'm', api_key: 'k'},\n  {url: '%s', model_name: 'm', api_key: 'k', weight: 2},\n]}", first, second),
			`3:3: instances[1]: the same url, model_name and api_key as instances[0] on line 2; give one of them the sum of both weights`)
	}
	same(`http://h:8000/v1`, `http://h:8000/v1`)
	same(`http://h:8000/v1`, `http://h:8000/v1/`)
	same(`http://h:8000/v1`, `HTTP://H:8000/v1`)
	same(`http://h/v1`, `http://h:80/v1`)
	same(`https://h:443`, `https://h/`)
	same(`http://[::A]/v1`, `http://[::a]:80/v1`)
	f("{\n  instances: [{url: 'http://h/v1', model_name: 'm'}],\n  fallback_instances: [{url: 'http://h/v1/', model_name: 'm'}],\n}",
		`3:24: fallback_instances[0]: the same url, model_name and api_key as instances[0] on line 2; give one of them the sum of both weights`)
	f("{instances: [\n  {url: 'http://a/v1', model_name: 'm', name: 'gpu'},\n  {url: 'http://b/v1', model_name: 'm', name: 'gpu'},\n]}",
		`3:47: instances[1].name: the same name as instances[0] on line 2`)
	f("{\n  instances: [{url: 'http://a/v1', model_name: 'm', name: 'gpu'}],\n  fallback_instances: [{url: 'http://b/v1', model_name: 'm', name: 'gpu'}],\n}",
		`3:68: fallback_instances[0].name: the same name as instances[0] on line 2`)
}

func TestConfigMissingPlaceholders(t *testing.T) {
	dir := t.TempDir()
	f := mistakeTest(t, dir)
	writeFile(t, filepath.Join(dir, "large.txt"), strings.Repeat("k", maxSecretFile+1))

	f(with(`api_key: '{env.AIGATEWAY_TEST_NONE}'`), `1:24: instances[0].api_key: environment variable AIGATEWAY_TEST_NONE is not set`)
	f(with(`api_key: 'a{env.AIGATEWAY_TEST_NONE}b'`), `1:24: instances[0].api_key: environment variable AIGATEWAY_TEST_NONE is not set`)
	f(with(`headers: {'X-A': '{env.AIGATEWAY_TEST_NONE}'}`), `1:32: instances[0].headers["X-A"]: environment variable AIGATEWAY_TEST_NONE is not set`)
	f(`{instances: [{url: 'http://{env.AIGATEWAY_TEST_NONE}/v1', model_name: 'm'}]}`,
		`1:20: instances[0].url: environment variable AIGATEWAY_TEST_NONE is not set`)
	f(`{data_dir: '{env.AIGATEWAY_TEST_NONE}'}`, `1:12: data_dir: environment variable AIGATEWAY_TEST_NONE is not set`)
	f(`{error_window: '{env.AIGATEWAY_TEST_NONE}'}`, `1:16: error_window: environment variable AIGATEWAY_TEST_NONE is not set`)
	f(`{engine_routes: ['{env.AIGATEWAY_TEST_NONE}']}`, `1:18: engine_routes[0]: environment variable AIGATEWAY_TEST_NONE is not set`)
	f("{\n  data_dir: '{env.AIGATEWAY_TEST_NONE}', error_window: '{env.AIGATEWAY_TEST_NEITHER}'\n}",
		`2:13: data_dir: environment variable AIGATEWAY_TEST_NONE is not set`,
		`2:56: error_window: environment variable AIGATEWAY_TEST_NEITHER is not set`)

	// A file that is missing is named as it is looked for.
	gone := filepath.Join(dir, "keys", "gone.txt")
	f(`{data_dir: '{file.keys/gone.txt}'}`, `1:12: data_dir: file placeholder: stat `+gone+`: no such file or directory`)
	f(`{data_dir: '{file.`+gone+`}'}`, `1:12: data_dir: file placeholder: stat `+gone+`: no such file or directory`)
	f(with(`api_key: '{file.keys/gone.txt}'`), `1:24: instances[0].api_key: file placeholder: stat `+gone+`: no such file or directory`)
	f(with(`api_key: 'x{file.keys/gone.txt}'`), `1:24: instances[0].api_key: file placeholder: stat `+gone+`: no such file or directory`)
	f(with(`api_key: '{file.}'`), `1:24: instances[0].api_key: file placeholder: `+dir+` is no regular file`)
	f(with(`api_key: '{file.large.txt}'`), `1:24: instances[0].api_key: file placeholder: `+filepath.Join(dir, "large.txt")+` is larger than 65536 bytes`)
}

// TestConfigAlertMistakes guards the words for each mistake in alerts.
func TestConfigAlertMistakes(t *testing.T) {
	f := mistakeTest(t, t.TempDir())
	const kinds = `pool_empty, key_refused, budget_over, instance_ejected, fallback_in_use, model_missing, config_rejected, records_dropped, ` +
		`disk_low, error_rate, slow_first_token, budget_near`
	types := strings.Join(alert.Types(), ", ")
	group := func(member string, want ...string) {
		t.Helper()
		f(setting(`alerts: {`+member+`}`), want...) // from 1:69 on
	}
	one := func(member string, want ...string) {
		t.Helper()
		f(receiver(member), want...) // from 1:82 on
	}
	f(setting(`alerts: []`), `1:68: alerts: got an array, want an object`)
	f(setting(`alert: {}`), `1:60: unknown member "alert"; did you mean "alerts"?`)
	group(`receiver: []`, `1:69: alerts: unknown member "receiver"; did you mean "receivers"?`)
	group(`cooldown: 1`, `1:69: alerts: unknown member "cooldown"; known members are name, receivers, group_wait, group_interval, repeat, error_rate, slow_first_token, keep_state`)
	group(`name: 'a\nb'`, `1:75: alerts.name: want one line of at most 100 bytes`)
	group(`group_wait: '2h'`, `1:81: alerts.group_wait: got more than an hour, want 0 to 3600`)
	group(`group_wait: 'soon'`, `1:81: alerts.group_wait: got a text that is no duration, want seconds or a text such as "1m30s"`)
	group(`group_interval: 0`, `1:85: alerts.group_interval: got less than a second, want 1 or more`)
	group(`repeat: 60`, `1:77: alerts.repeat: got a time shorter than group_interval, want 0, or as much or more`)
	group(`error_rate: 1.5`, `1:81: alerts.error_rate: got a number outside of 0 to 1`)
	group(`slow_first_token: -1`, `1:87: alerts.slow_first_token: got a time outside of 0 to 10 years`)
	group(`keep_state: 'no'`, `1:81: alerts.keep_state: got a string, want true or false`)
	group(`receivers: {}`, `1:80: alerts.receivers: got an object, want an array`)
	group(`receivers: [null]`, `1:81: alerts.receivers[0]: missing url, want the address that the service shows, or one such as telegram://token@telegram?chats=1`)
	group(`receivers: [{url: 'wecom://a'}, {url: 'wecom://b'}]`,
		`1:101: alerts.receivers[1]: the same name as receivers[0], or both have none; give them different ones`)
	one(`name: 'a b', url: 'wecom://a'`, `1:88: alerts.receivers[0].name: want at most 64 letters, digits and signs, without spaces`)
	one(`url: 'https://h/x'`, `1:81: alerts.receivers[0]: missing type, want one of `+types)
	one(`type: 'phone', url: 'https://h/x'`, `1:88: alerts.receivers[0].type: want one of `+types)
	one(`url: 'pager://h'`, `1:87: alerts.receivers[0].url: the scheme is none of `+types)
	one(`type: 'slack', url: 'https://'`, `1:102: alerts.receivers[0].url: missing host`)
	one(`type: 'slack', url: 'https://u:p@h/'`, `1:102: alerts.receivers[0].url: holds a user name, which is not sent; want the address alone`)
	one(`url: 'wecom://a', kinds: ['pool_empty', 'pool-empty']`, `1:122: alerts.receivers[0].kinds[1]: want one of `+kinds)
	one(`url: 'wecom://a', min_severity: 'fatal'`, `1:114: alerts.receivers[0].min_severity: want one of info, warning, critical`)
	one(`url: 'wecom://a', language: 'de'`, `1:110: alerts.receivers[0].language: want en or zh`)
	one(`url: 'wecom://a', max_per_minute: -1`, `1:116: alerts.receivers[0].max_per_minute: got -1, want 1 to 6000, or 0 for what the service allows`)
	one(`url: 'wecom://a', send_resolved: 1`, `1:115: alerts.receivers[0].send_resolved: got a number, want true or false`)
	one(`url: 'wecom://a', secert: 's'`, `1:100: alerts.receivers[0]: unknown member "secert"; did you mean "secret"?`)
	one(`url: '{env.AIGATEWAY_TEST_NONE}'`, `1:87: alerts.receivers[0].url: environment variable AIGATEWAY_TEST_NONE is not set`)
}

// TestConfigOverflow guards the words for each mistake in overflow.
func TestConfigOverflow(t *testing.T) {
	f := mistakeTest(t, t.TempDir())
	file := func(models string) string {
		return `{overflow: {enabled: true, models: ` + models + `}, instances: [{url: 'http://h/v1', model_name: 'm'}, {url: 'http://h/v1', model_name: '*'}]}`
	}
	const name = `want a model's name of at most 256 bytes without control characters, or "*"`
	f(file(`{m: 'n'}`), `1:40: overflow.models.m: no instance has the model "n", want the model_name of one`)
	f(file(`{m: 'm'}`), `1:40: overflow.models.m: got the same model on both sides, want one with more room`)
	f(file(`{m: ''}`), `1:40: overflow.models.m: want the name of the model that is asked instead`)
	f(file(`{m: '*'}`), `1:40: overflow.models.m: want the name of the model that is asked instead`)
	f(file(`{'': 'm'}`), `1:41: overflow.models[""]: `+name)
	f(file(`{"a\u0007": 'm'}`), `1:48: overflow.models["a\a"]: `+name)
	f(file(`['m']`), `1:36: overflow.models: got an array, want an object`)
	f(file(`{m: 1}`), `1:40: overflow.models.m: got a number, want a string`)
	f(`{overflow: true}`, `1:12: overflow: got true, want an object`)
	f(`{overflow: {enabled: 1}}`, `1:22: overflow.enabled: got a number, want true or false`)
}

// TestConfigMistakesAreBounded guards that a large file that is wrong in every
// entry fills neither memory nor log.
func TestConfigMistakesAreBounded(t *testing.T) {
	for _, entry := range []string{`{},`, `{x:1},`} {
		_, err := parseConfig([]byte(`{instances: [`+strings.Repeat(entry, 2_000)+`]}`), t.TempDir())
		all, ok := errors.AsType[json5.Errors](err)
		if !ok || len(all) > 1001 {
			t.Errorf("2,000 entries of %s: got %d errors, want at most 1,001", entry, len(all))
		}
	}
}
