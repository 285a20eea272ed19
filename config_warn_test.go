package aigateway

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	zapobserver "go.uber.org/zap/zaptest/observer"
)

// warningTest returns a check that a good file of the text src in dir, with the
// permissions mode, has exactly these warnings.
func warningTest(t *testing.T, dir string, mode fs.FileMode) func(src string, want ...string) {
	return func(src string, want ...string) {
		t.Helper()
		check := checkText("config.json5", []byte(src), dir, mode)
		if len(check.mistakes) > 0 {
			t.Errorf("%s\ngot the mistakes\n%v", src, check.mistakes)
		}
		if got := check.warnings.Error(); got != strings.Join(want, "\n") {
			t.Errorf("%s\ngot\n%s\nwant\n%s", src, got, strings.Join(want, "\n"))
		}
	}
}

// pair returns a file with an instance that has member, which begins at 1:15, and
// another one of the same model.
func pair(member string) string {
	return `{instances: [{` + member + `, model_name: 'm'}, {url: 'http://h2/v1', model_name: 'm'}]}`
}

// two returns a file with two instances of a model and setting, which begins at
// 1:91.
func two(setting string) string {
	return `{instances: [{url: 'http://h/v1', model_name: 'm'}, {url: 'http://i/v1', model_name: 'm'}], ` + setting + `}`
}

func TestWarnOfPublicHTTP(t *testing.T) {
	f := warningTest(t, t.TempDir(), 0o600)
	const clear = `1:20: instances[0].url: http:// to a public address: others on the way can read and change what is said; use https://, or a private address`

	for _, host := range []string{
		"8.8.8.8", "8.8.8.8:8000", "172.32.0.1", "100.63.255.255", "100.128.0.1", "192.169.0.1", "169.253.0.1", "[2001:db8::1]:80", "[::ffff:8.8.8.8]", "api.example.com",
		"API.EXAMPLE.COM.", "local.example.com", "a.localx", "gpu.internal.example.com",
	} {
		f(pair(`url: 'http://`+host+`/v1'`), clear)
		f(pair(`url: 'https://` + host + `/v1'`)) // no concern of an own instance
	}
	for _, host := range []string{
		"127.0.0.1", "127.1.2.3:8000", "[::1]:8000", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "169.254.1.1", "[fe80::1]", "[fe80::1%25eth0]", "[fd00::1]",
		"100.64.0.1", "100.127.255.255", "[::ffff:10.0.0.1]", "0.0.0.0", "localhost", "gpu-1", "GPU_1:8000", "vllm-0.local", "gpu.internal", "gpu.LAN", "vllm.ai.svc",
		"vllm-0.vllm.ai.svc.cluster.local.", "a.localhost", "nas.home.arpa",
	} {
		f(pair(`url: 'http://` + host + `/v1', api_key: 'k'`))
	}

	const key = `1:51: instances[0].api_key: is sent in clear text to a public address; use https:// in url`
	f(pair(`url: 'http://api.example.com/v1', api_key: 'k'`), clear, strings.Replace(key, "1:51", "1:58", 1))
	t.Setenv("AIGATEWAY_TEST_KEY", "k")
	f(pair(`url: 'http://8.8.8.8:8000/v1', api_key: '{env.AIGATEWAY_TEST_KEY}'`), clear, strings.Replace(key, "1:51", "1:55", 1))
	f(pair(`url: 'http://8.8.8.8/v1', api_key: 'EMPTY'`), clear)
	f(pair(`url: 'http://8.8.8.8/v1', api_key: ''`), clear)
}

func TestWarnOfFallbackWithoutKey(t *testing.T) {
	f := warningTest(t, t.TempDir(), 0o600)
	const missing = `no api_key for a public address: it gets the clients' own keys, and may refuse them; set api_key`
	cloud := func(members string) string {
		return two(`fallback_instances: [{` + members + `, model_name: 'm'}]`)
	}

	f(cloud(`url: 'https://api.example.com/v1'`), `1:114: fallback_instances[0]: `+missing)
	f(cloud(`url: 'https://api.example.com/v1', api_key: ''`), `1:159: fallback_instances[0].api_key: `+missing)
	f(cloud(`url: 'https://api.example.com/v1', headers: {'X-Team': 'a'}`), `1:114: fallback_instances[0]: `+missing)
	f(cloud(`url: 'https://api.example.com/v1', api_key: 'k'`))
	f(cloud(`url: 'https://api.example.com/v1', headers: {authorization: 'Basic x'}`))
	f(cloud(`url: 'https://api.example.com/v1', headers: {'X-Api-Key': 'x'}`))
	f(cloud(`url: 'https://10.0.0.1/v1'`))
	f(cloud(`url: 'https://cloud.internal/v1'`))
}

func TestWarnOfWeights(t *testing.T) {
	f := warningTest(t, t.TempDir(), 0o600)
	const none = `.weight: 0 gives the instance no requests; remove it, or want 1 or more`

	f(`{instances: [{url: 'http://h/v1', model_name: 'm'}, {url: 'http://i/v1', model_name: 'm'}, {url: 'http://j/v1', model_name: 'm', weight: 0}]}`,
		`1:138: instances[2]`+none)
	f(two(`fallback_instances: [{url: 'http://f/v1', model_name: 'm', weight: 0}]`), `1:160: fallback_instances[0]`+none)
	f(pair(`url: 'http://h/v1', weight: 1`))
	f(pair(`url: 'http://h/v1', weight: null`))
	// Instances that differ only in weight are no matter of taste.
	mistakeTest(t, t.TempDir())(`{instances: [{url: 'http://h/v1', model_name: 'm', weight: 1}, {url: 'http://h/v1', model_name: 'm', weight: 2}]}`,
		`1:64: instances[1]: the same url, model_name and api_key as instances[0] on line 1; give one of them the sum of both weights`)
}

func TestWarnOfDeadlines(t *testing.T) {
	f := warningTest(t, t.TempDir(), 0o600)
	short := func(place, got string) string {
		return place + `: ` + got + ` is less than a busy server needs for a long prompt, so that good instances fail; want 10 or more, or 0 for none`
	}
	total := func(place, total, first string) string {
		return fmt.Sprintf("%s: total (%s) ends a request before first_token (%s) has passed, so that no other instance is asked; want a longer total or a shorter first_token",
			place, total, first)
	}

	f(two(`timeouts: {first_token: 9.5}`), short(`1:117: timeouts.first_token`, `9.5s`))
	f(two(`timeouts: {stall: '5s'}`), short(`1:111: timeouts.stall`, `5s`))
	f(two(`timeouts: {first_token: 10, stall: 10, connect: 1, tls: 1, first_token_per_mb: 1}`))
	f(two(`timeouts: {first_token: 0, stall: 0, total: 0}`))
	f(pair(`url: 'http://h/v1', timeouts: {stall: 1}`), short(`1:53: instances[0].timeouts.stall`, `1s`))
	f(two(`timeouts: {total: 299}`), total(`1:111: timeouts.total`, `4m59s`, `5m0s`))
	f(two(`timeouts: {total: 300}`))
	f(two(`timeouts: {first_token: '1h'}`), total(`1:117: timeouts.first_token`, `30m0s`, `1h0m0s`))
	f(two(`timeouts: {first_token: '1h', total: 0}`))
	f(two(`timeouts: {first_token: 60, total: 100}`))
	// An instance has what the file says where it says nothing.
	f(pair(`url: 'http://h/v1', timeouts: {first_token: '1h'}`), total(`1:59: instances[0].timeouts.first_token`, `30m0s`, `1h0m0s`))
	f(`{timeouts: {total: '2h'}, instances: [{url: 'http://h/v1', model_name: 'm', timeouts: {first_token: '1h'}}, {url: 'http://i/v1', model_name: 'm'}]}`)
}

func TestWarnOfModels(t *testing.T) {
	f := warningTest(t, t.TempDir(), 0o600)
	one := func(place string) string {
		return place + `.model_name: the only instance of its model, without a fallback: when it fails, so does every request for the model; add an instance or a fallback instance`
	}
	other := func(place string) string {
		return place + `.model_name: no entry of instances has this model, so there is nothing it stands in for; want the model_name of an instance, or "*"`
	}
	file := func(instances, fallbacks string) string {
		entries := func(models string) (list string) {
			for n, model := range strings.Fields(models) {
				list += fmt.Sprintf("\n{url: 'http://h%d/v1', model_name: '%s'},", n, strings.ReplaceAll(model, "=0", "', weight: 0, name: '"))
			}
			return list
		}
		return `{instances: [` + entries(instances) + `], fallback_instances: [` + strings.ReplaceAll(entries(fallbacks), "//h", "//f") + `]}`
	}

	f(file(`a`, ``), one(`2:35: instances[0]`))
	f(file(`a a`, ``))
	f(file(`a a b`, ``), one(`4:35: instances[2]`))
	f(file(`a *`, ``), one(`2:35: instances[0]`), one(`3:35: instances[1]`))
	f(file(`a * *`, ``), one(`2:35: instances[0]`))
	f(file(`a`, `a`))
	f(file(`a b`, `*`))
	f(file(`a a`, `b`), other(`4:35: fallback_instances[0]`))
	f(file(`a`, `b`), one(`2:35: instances[0]`), other(`3:35: fallback_instances[0]`))
	f(file(`a a * *`, `b`))
	f(file(`a a`, `*`))
	f(file(``, `a`)) // a file of clouds alone means it
	const none = `.weight: 0 gives the instance no requests; remove it, or want 1 or more`
	f(file(`a a=0`, ``), one(`2:35: instances[0]`), `3:48: instances[1]`+none)
	f(file(`a`, `a=0`), one(`2:35: instances[0]`), `3:48: fallback_instances[0]`+none)

	// While an entry cannot be read nobody knows what is missing.
	got := checkText("x", []byte(`{instances: [{url: 'http://h', model_name: 'a'}, {url: 'http://i', model_name: 1}]}`), t.TempDir(), 0)
	if len(got.mistakes) != 1 || len(got.warnings) != 0 {
		t.Errorf("got the mistakes %v and warnings %v, want one and none", got.mistakes, got.warnings)
	}
}

func TestWarnOfReadableKeys(t *testing.T) {
	key := func(place, mode string) string {
		return place + `: a key in plain text, in a file that group or others can read (mode ` + mode +
			`); chmod 600 the file, or write {env.NAME} or {file.PATH} for the key`
	}
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "key"), "k")
	t.Setenv("AIGATEWAY_TEST_KEY", "k")
	plain := pair(`url: 'http://h/v1', api_key: 'k'`)

	warningTest(t, dir, 0o644)(plain, key(`1:44: instances[0].api_key`, `0644`))
	warningTest(t, dir, 0o640)(plain, key(`1:44: instances[0].api_key`, `0640`))
	warningTest(t, dir, 0o604)(plain, key(`1:44: instances[0].api_key`, `0604`))
	warningTest(t, dir, 0o600)(plain)
	warningTest(t, dir, 0)(plain) // the standard input
	f := warningTest(t, dir, 0o644)
	f(pair(`url: 'http://h/v1', api_key: '{env.AIGATEWAY_TEST_KEY}'`))
	f(pair(`url: 'http://h/v1', api_key: '{file.key}'`))
	f(pair(`url: 'http://h/v1', api_key: 'empty'`))
	f(pair(`url: 'http://h/v1', api_key: ''`))
	// One is enough.
	f(two(`fallback_instances: [{url: 'http://f/v1', model_name: 'm', api_key: 'k'}, {url: 'http://f/v1', model_name: 'm', api_key: 'l'}], error_window: '5m'`),
		key(`1:161: fallback_instances[0].api_key`, `0644`))
}

func TestWarnOfSettings(t *testing.T) {
	f := warningTest(t, t.TempDir(), 0o600)

	f(two(`error_threshold: 1`), `1:110: error_threshold: with 1 a single failure takes an instance out, and models do fail now and then; want 3 or more`)
	f(two(`error_threshold: 2`))

	const redact = `: matches the empty text too, and so between any two characters; want one that matches at least one character, as with + in place of *`
	f(two(`record: {redact: ['a+', 'b*', '(c|)', '\\b', 'd']}`),
		`1:117: record.redact[1]`+redact, `1:123: record.redact[2]`+redact)
	f(two(`record: {enabled: false, redact: ['b*']}`))

	const attempts = `: with 1 no other instance is asked when one fails, not even a fallback; want 2 or more`
	f(two(`retries: {attempts: 1}`), `1:113: retries.attempts`+attempts)
	f(two(`retries: {attempts: 2}`))
	f(`{instances: [{url: 'http://h/v1', model_name: 'm'}], fallback_instances: [{url: 'http://f/v1', model_name: '*'}], retries: {attempts: 1}}`,
		`1:135: retries.attempts`+attempts)
	f(`{fallback_instances: [{url: 'http://f/v1', model_name: 'm'}, {url: 'http://f/v1', model_name: 'n'}], retries: {attempts: 1}}`)
}

func TestWarnOfDataDir(t *testing.T) {
	dir := t.TempDir()
	f := warningTest(t, dir, 0o600)
	writeFile(t, filepath.Join(dir, "file"), "")
	blocked := func(place, why string) string {
		return place + `data_dir cannot be written to by this user: ` + why + `; want a folder of the gateway's own, or one that can be made`
	}

	f(two(`data_dir: './data/of/the/gateway'`))
	f(two(`data_dir: '` + dir + `'`))
	f(two(`data_dir: 'file'`), blocked(`1:103: data_dir: `, `there is a file of this name`))
	f(two(`data_dir: 'file/data'`), blocked(`1:103: data_dir: `, `not a directory`))
	f(two(`data_dir: 'file', record: {enabled: false}`))
	inFile := warningTest(t, filepath.Join(dir, "file"), 0o600)
	inFile(two(`error_window: 300`), blocked(`1:1: `, `not a directory`)) // the default
	if made, err := os.ReadDir(dir); err != nil || len(made) != 1 {
		t.Errorf("looking for a folder made something: got %v, %v", made, err)
	}
	if os.Getuid() == 0 {
		t.Log("root may write everywhere: not tested with a folder that is closed")
		return
	}
	closed := filepath.Join(dir, "closed")
	if err := os.Mkdir(closed, 0o500); err != nil {
		t.Fatal(err)
	}
	f(two(`data_dir: 'closed'`), blocked(`1:103: data_dir: `, `permission denied`))
	f(two(`data_dir: 'closed/data'`), blocked(`1:103: data_dir: `, `permission denied`))
}

// TestWarningsAreLogged guards that the gateway tells the warnings of a file once,
// when it comes into force, and not all of them.
func TestWarningsAreLogged(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json5")
	writeFile(t, file, two(`error_threshold: 1`))
	core, logged := zapobserver.New(zap.WarnLevel)
	s, err := acquireStore(file, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := releaseStore(s); err != nil {
			t.Error(err)
		}
	})
	check := func(want ...string) {
		t.Helper()
		var got []string
		for _, entry := range logged.TakeAll() {
			fields := entry.ContextMap()
			if fields["path"] != file {
				t.Errorf("got the path %v, want %s", fields["path"], file)
			}
			got = append(got, fmt.Sprint(entry.Message, fields["warning"], fields["count"]))
		}
		same(t, file, got, want)
	}
	const message = "fleet's file has a doubtful setting"
	check(message + "1:110: error_threshold: with 1 a single failure takes an instance out, and models do fail now and then; want 3 or more<nil>")

	swap := func(text string) {
		t.Helper()
		before := s.snapshot()
		writeFile(t, file, text)
		eventually(t, "the saved file to be in force", func() bool { return s.snapshot() != before })
	}
	swap(two(`error_threshold: 2`))
	swap(strings.Replace(two(`error_threshold: 2`), `[`, `[`+"{url: 'http://8.8.8.8', model_name: 'm', weight: 0},", 1))
	eventually(t, "two warnings", func() bool { return logged.Len() == 2 })
	check(message+"1:20: instances[0].url: http:// to a public address: others on the way can read and change what is said; use https://, or a private address<nil>",
		message+"1:63: instances[0].weight: 0 gives the instance no requests; remove it, or want 1 or more<nil>")

	var many strings.Builder
	for n := range 13 {
		fmt.Fprintf(&many, "{url: 'http://h%d', model_name: 'm', weight: 0},", n)
	}
	swap(`{instances: [` + many.String() + `{url: 'http://a', model_name: 'm'}, {url: 'http://b', model_name: 'm'}]}`)
	eventually(t, "eleven lines", func() bool { return logged.Len() == 11 })
	all := logged.All()
	if last := all[10]; last.Message != "fleet's file has more doubtful settings" || last.ContextMap()["count"] != int64(3) {
		t.Errorf("the last line: got %s %v, want the number of those left out", last.Message, last.ContextMap())
	}
}
