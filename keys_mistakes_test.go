package aigateway

import (
	"strings"
	"testing"
)

// TestWarnOfKeys guards that keys which keep everybody out and budgets that never end are
// told.
func TestWarnOfKeys(t *testing.T) {
	f := warningTest(t, t.TempDir(), 0o600)
	const none = `no keys, so that every client is refused; add one by caddy ai-gateway keys new NAME --add, or remove the member for an open gateway`
	const money = `a budget of money never ends without prices; want prices of the models, or of "*"`
	f(two(`keys: []`), `1:99: keys: `+none)
	f(two(`keys: [{name: 'a', user: 'a', budgets: {daily_cost: 1}}]`), `1:145: keys[0].budgets.daily_cost: `+money)
	f(two(`keys: [{name: 'a', user: 'a', budgets: {monthly_cost: 1}}], prices: {m: {prompt: 1}}`))
	f(two(`keys: [{name: 'a', user: 'a', budgets: {daily_tokens: 1}}]`))
}

// TestKeyMistakes guards row X4, that no plain key can stand in the file, and that every
// other mistake in keys is told at its place.
func TestKeyMistakes(t *testing.T) {
	dir := t.TempDir()
	f := mistakeTest(t, dir)
	hash := strings.Repeat("0a", 32)
	t.Setenv("AIGATEWAY_TEST_SHORT", "short")
	t.Setenv("AIGATEWAY_TEST_BLANK", "aig-with a blank in it")
	t.Setenv("AIGATEWAY_TEST_KEY", testKey(1))
	key := func(members string) string { return setting(`keys: [{` + members + `}]`) }

	f(setting(`keys: {}`), `1:66: keys: got an object, want an array`)
	f(setting(`keys: [null]`), `1:67: keys[0]: got null, want an object with name and hash`)
	f(key(`hash: '`+hash+`'`), `1:67: keys[0]: missing name, want what the client is called`)
	f(key(`name: 'a b', hash: '`+hash+`'`), `1:74: keys[0].name: want at most 64 letters, digits and characters of -._~:@,=+/`)
	f(key(`name: 'a'`), `1:67: keys[0]: missing hash, want it, key or user, by which the client is known`)
	f(key(`name: 'a', key: '`+testKey(1)+`'`),
		`1:84: keys[0].key: a key in plain text; want its hash in place of it, as caddy ai-gateway keys hash prints it, or {env.NAME} or {file.PATH}`)
	f(key(`name: 'a', hash: '`+testKey(1)+`'`),
		`1:85: keys[0].hash: got no SHA-256, want sha256: and 64 hexadecimal digits, as caddy ai-gateway keys hash prints it`)
	f(key(`name: 'a', hash: 'sha1:`+hash+`'`),
		`1:85: keys[0].hash: got no SHA-256, want sha256: and 64 hexadecimal digits, as caddy ai-gateway keys hash prints it`)
	f(key(`name: 'a', key: '{env.AIGATEWAY_TEST_SHORT}'`), `1:84: keys[0].key: got a key of 5 bytes, want 20 to 512; caddy ai-gateway keys new makes good ones`)
	f(key(`name: 'a', key: '{env.AIGATEWAY_TEST_BLANK}'`), `1:84: keys[0].key: got a key with a blank or a character that no client can send`)
	f(key(`name: 'a', key: '{env.AIGATEWAY_TEST_NONE}'`), `1:84: keys[0].key: environment variable AIGATEWAY_TEST_NONE is not set`)
	f(key(`name: 'a', hash: '`+hash+`', key: '{env.AIGATEWAY_TEST_KEY}'`), `1:158: keys[0].key: hash is given too, want one of them`)
	f(setting(`keys: [{name: 'a', hash: '`+hash+`'}, {name: 'a', user: 'u'}]`), `1:161: keys[1].name: the same name as entry 1 of keys`)
	f(setting(`keys: [{name: 'a', hash: '`+hash+`'}, {name: 'b', hash: 'sha256:`+strings.ToUpper(hash)+`'}]`), `1:154: keys[1]: the same key as entry 1 of keys`)
	f(setting(`keys: [{name: 'a', user: 'u'}, {name: 'b', user: 'u'}]`), `1:109: keys[1].user: the same user as entry 1 of keys`)
	f(key(`name: 'a', user: 'u', models: ['']`), `1:99: keys[0].models[0]: want a model's name of at most 256 bytes without control characters, or "*"`)
	f(key(`name: 'a', user: 'u', expires: 'soon'`), `1:99: keys[0].expires: want a date such as 2027-01-31 or a time such as 2027-01-31T12:00:00Z`)
	f(key(`name: 'a', user: 'u', priority: 'high'`), `1:100: keys[0].priority: want one of background, normal, interactive`)
	f(key(`name: 'a', user: 'u', weight: 0`), `1:98: keys[0].weight: got 0, want 1 to 1000`)
	f(key(`name: 'a', user: 'u', requests_per_minute: -1`), `1:111: keys[0].requests_per_minute: got -1, want 1 to 1000000000000, or 0 for no limit`)
	f(key(`name: 'a', user: 'u', budgets: {daily_cost: -1}`), `1:112: keys[0].budgets.daily_cost: got -1, want 0 to 1000000000000`)
	f(key(`name: 'a', user: 'u', budgets: {weekly_cost: 1}`),
		`1:100: keys[0].budgets: unknown member "weekly_cost"; known members are daily_tokens, monthly_tokens, daily_cost, monthly_cost`)
	f(key(`name: 'a', user: 'u', rpm: 1`), `1:90: keys[0]: unknown member "rpm"; known members are name, hash, key, user, models, expires, disabled, priority, weight, spill, requests_per_minute, tokens_per_minute, max_concurrency, budgets, record, status`)
	f(setting(`prices: {m: {prompt: -1}}`), `1:81: prices.m.prompt: got -1, want 0 to 1000000000000`)
	f(setting(`prices: {'': {prompt: 1}}`), `1:73: prices[""]: want a model's name of at most 256 bytes without control characters, or "*"`)
	f(setting(`keys_file: 'none.json5'`), `1:71: keys_file: reading it: no such file or directory`)

	writeFile(t, dir+"/keys.json5", "[\n  {name: 'a', hash: '"+hash+"'},\n  {name: 'b', key: '"+testKey(1)+"', rpm: 1},\n]")
	f(setting(`keys: [{name: 'a', user: 'u'}], keys_file: 'keys.json5'`),
		`1:103: keys_file: line 2, column 10 of it: [0].name: the same name as entry 1 of keys`,
		`1:103: keys_file: line 3, column 20 of it: [1].key: a key in plain text; want its hash in place of it, as caddy ai-gateway keys hash prints it, or {env.NAME} or {file.PATH}`,
		`1:103: keys_file: line 3, column 68 of it: [1]: unknown member "rpm"; known members are name, hash, key, user, models, expires, disabled, priority, weight, spill, requests_per_minute, tokens_per_minute, max_concurrency, budgets, record, status`)
	writeFile(t, dir+"/keys.json5", "[{name: '"+testKey(1)+"'")
	f(setting(`keys_file: 'keys.json5'`), `1:71: keys_file: line 1, column 55 of it: [0]: the file ends inside the object opened at 1:2`)
	writeFile(t, dir+"/keys.json5", "{}")
	f(setting(`keys_file: 'keys.json5'`), `1:71: keys_file: line 1, column 1 of it: got an object, want an array`)
}
