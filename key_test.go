package aigateway

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// TestKeyFields guards row X2: a key is taken from each field that clients use, in any
// case; none of them goes on to an instance, nor is the key recorded; in a query it is
// refused.
func TestKeyFields(t *testing.T) {
	good := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, chatJSON)
	}
	plain, keyed := startWitness(t, good), startWitness(t, good)
	t.Setenv("AIGATEWAY_TEST_KEY", testKey(2))
	fleet := fmt.Sprintf(`{"instances": [{"url": %q, "model_name": "m"}, {"url": %q, "model_name": "own", "api_key": "sk-instance"}],
		"keys": [%s, {"name": "by-variable", "key": "{env.AIGATEWAY_TEST_KEY}"}]}`, plain.URL+"/v1", keyed.URL+"/v1", keyEntry("team-a", 1, ""))
	g := startGateway(t, fleet)
	body := chatBody(false)
	sent := 0
	for _, field := range []string{
		"Authorization: Bearer ", "authorization: bearer ", "AUTHORIZATION: BEARER  ", "x-api-key: ", "X-API-KEY: ", "X-Api-Key: ", "api-key: ", "Api-Key: ", "API-KEY: ",
	} {
		for n := 1; n <= 2; n++ {
			if got := g.send(t, "POST", chatPath, body, field+testKey(n)); got.status != http.StatusOK {
				t.Errorf("%s: got %d %s", field, got.status, got.body)
			}
			sent++
			for name, values := range plain.last(t).header {
				if name == "Authorization" || name == "X-Api-Key" || name == "Api-Key" || strings.Contains(strings.Join(values, " "), testKey(n)) {
					t.Errorf("%s: the instance gets %s: %q", field, name, values)
				}
			}
		}
	}
	browser := "Sec-WebSocket-Protocol: realtime,openai-insecure-api-key." + testKey(1) + " , openai-beta.realtime-v1"
	if got := g.send(t, "POST", chatPath, body, browser); got.status != http.StatusOK {
		t.Errorf("a key among protocols: got %d %s", got.status, got.body)
	}
	if got := plain.last(t).header["Sec-Websocket-Protocol"]; !slices.Equal(got, []string{"realtime, openai-beta.realtime-v1"}) {
		t.Errorf("the instance is offered the protocols %q", got)
	}
	// Of several the first that is known counts, and all are kept back.
	both := []string{"Authorization: Bearer sk-of-somebody-else", "x-api-key: " + testKey(1), "api-key: x"}
	if got := g.send(t, "POST", chatPath, strings.Replace(body, `"m"`, `"own"`, 1), both...); got.status != http.StatusOK {
		t.Errorf("two keys: got %d %s", got.status, got.body)
	}
	if h := keyed.last(t).header; h.Get("Authorization") != "Bearer sk-instance" || h["X-Api-Key"] != nil || h["Api-Key"] != nil {
		t.Errorf("the instance gets %v, want its own key alone", h)
	}
	for _, query := range []string{"?api_key=" + testKey(1), "?key=aig%2D" + testKey(1)[4:], "?x&" + testKey(2) + "&y", "?k=aig-" + strings.Repeat("x", 40)} {
		if got := g.send(t, "POST", chatPath+query, body, bearer(1)); got.status != http.StatusBadRequest || errorOf(t, got.body) != "invalid_request_error key_in_query" || strings.Contains(got.body, "aig-") {
			t.Errorf("%s: got %d %s", query, got.status, got.body)
		}
	}
	if got := g.send(t, "POST", chatPath+"?n=1&aig=-", body, bearer(1)); got.status != http.StatusOK {
		t.Errorf("a query without a key: got %d %s", got.status, got.body)
	}
	names := make(map[string]int)
	for _, r := range g.waitRecords(t, mainFolder, sent+3) {
		var meta struct{ Key string }
		must(t, json.Unmarshal([]byte(r.Meta), &meta))
		names[meta.Key]++
	}
	if names["team-a"] != sent/2+3 || names["by-variable"] != sent/2 {
		t.Errorf("got records by key %v", names)
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(g.file), "data", "*", "*"))
	must(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		if strings.Contains(string(text), testKey(1)) || strings.Contains(string(text), testKey(2)) {
			t.Errorf("%s holds a key", file)
		}
	}
}

// TestKeyNotLogged guards that neither the access log nor the gateway's own at debug holds
// a key, wherever it is sent, and that the access log has the key's name.
func TestKeyNotLogged(t *testing.T) {
	w := startGood(t)
	dir := t.TempDir()
	file, logs := filepath.Join(dir, "config.json5"), filepath.Join(dir, "log.json")
	writeFile(t, file, fleetFor([]string{keyEntry("team-a", 1, "")}, w.url))
	address := freeAddress(t)
	loadCaddyfile(t, filepath.Join(dir, "Caddyfile"), "http://"+address+" {\n\tlog\n\tai_gateway\n}\n",
		"\tlog everything {\n\t\toutput file "+logs+"\n\t\tlevel DEBUG\n\t}")
	g := &gateway{url: "http://" + address}
	for n, field := range []string{"Authorization: Bearer ", "authorization: bearer ", "x-api-key: ", "api-key: ", "Sec-WebSocket-Protocol: realtime, openai-insecure-api-key."} {
		for _, path := range []string{chatPath, "/", "/health", "/v1/models", chatPath + "?key=" + testKey(1), chatPath + "?key=" + testKey(7)} {
			method := "POST"
			if strings.HasPrefix(path, "/v1/models") || len(path) < 8 {
				method = "GET"
			}
			g.send(t, method, path, chatBody(n%2 == 0), field+testKey(1))
			g.send(t, method, path, chatBody(n%2 == 0), field+testKey(7))
		}
	}
	var text string
	eventually(t, "the last line of the log", func() bool {
		read, _ := os.ReadFile(logs)
		text = string(read)
		return strings.Count(text, `"handled request"`) >= 60
	})
	for _, secret := range []string{testKey(1), testKey(7), testKey(1)[4:], testKey(7)[4:], digestOf(testKey(1)).String()[7:]} {
		if at := strings.Index(text, secret); at >= 0 {
			t.Errorf("the log has a key: …%s", text[max(0, at-300):at+len(secret)])
		}
	}
	if !strings.Contains(text, `"key":"team-a"`) {
		t.Error("the access log does not name the key")
	}
}

// TestOpenKeyNotLogged guards that the access log of an open gateway has no key either,
// which a client sends for an instance of its own account, and has a line for each request.
func TestOpenKeyNotLogged(t *testing.T) {
	w := startWitness(t, nil)
	dir := t.TempDir()
	file, logs := filepath.Join(dir, "config.json5"), filepath.Join(dir, "log.json")
	writeFile(t, file, fleetOf(w.URL+"/v1"))
	address := freeAddress(t)
	loadCaddyfile(t, filepath.Join(dir, "Caddyfile"), "http://"+address+" {\n\tlog\n\tai_gateway\n}\n",
		"\tlog everything {\n\t\toutput file "+logs+"\n\t\tlevel DEBUG\n\t}")
	g := &gateway{url: "http://" + address}
	const secret = "sk-ant-0123456789abcdef"
	sent := 0
	for _, field := range []string{"Authorization: Bearer " + secret, "X-Api-Key: " + secret, "Api-Key: " + secret, "X-Plain: no secret"} {
		for _, query := range []string{"", "?key=" + secret, "?x=1&api_token=" + secret, "?x=1"} {
			g.send(t, "POST", chatPath+query, chatBody(false), field)
			sent++
		}
	}
	if got := w.last(t); got.uri != chatPath+"?x=1" {
		t.Errorf("the instance was asked for %s", got.uri)
	}
	w.mu.Lock()
	for n, field := range []string{"Authorization", "X-Api-Key", "Api-Key"} {
		if got := w.seen[4*n].header.Get(field); !strings.HasSuffix(got, secret) {
			t.Errorf("the instance got %s %q, want the client's", field, got)
		}
	}
	w.mu.Unlock()
	var text string
	eventually(t, "the last line of the log", func() bool {
		read, _ := os.ReadFile(logs)
		text = string(read)
		return strings.Count(text, `"handled request"`) >= sent
	})
	if lines := strings.Count(text, `"handled request"`); lines != sent {
		t.Errorf("got %d lines, want %d", lines, sent)
	}
	if at := strings.Index(text, secret); at >= 0 {
		t.Errorf("the log has a key: …%s", text[max(0, at-300):at+len(secret)])
	}
	if !strings.Contains(text, `?x=1"`) || !strings.Contains(text, "no secret") {
		t.Error("the log lacks what is no secret")
	}
}

// TestKeyRefused guards row X3: whoever has no valid key gets the same answer, whatever is
// wrong with it, in the shape of the API's errors, and no instance hears of it.
func TestKeyRefused(t *testing.T) {
	w := startWitness(t, nil)
	past := time.Now().Add(-time.Hour).Format(time.RFC3339)
	g := startGateway(t, fleetFor([]string{
		keyEntry("good", 1, `, "expires": "`+time.Now().Add(time.Hour).Format(time.RFC3339)+`"`), keyEntry("disabled", 2, `, "disabled": true`), keyEntry("expired", 3, `, "expires": "`+past+`"`),
		keyEntry("old", 4, `, "expires": "2020-01-31"`), `{"name": "alice", "user": "alice"}`,
	}, w.URL+"/v1"))
	f := func(path, body, want, wantChallenge string, fields ...string) {
		t.Helper()
		got := g.send(t, "POST", path, body, fields...)
		if got.status != http.StatusUnauthorized || got.body != want || got.header.Get("WWW-Authenticate") != wantChallenge || len(got.header.Values("WWW-Authenticate")) != 1 {
			t.Errorf("%s with %q: got %d %s, challenge %q", path, fields, got.status, got.body, got.header.Get("WWW-Authenticate"))
		}
	}
	const openAIBody = `{"error":{"code":"invalid_api_key","message":"missing or wrong API key","param":null,"type":"invalid_request_error"}}` + "\n"
	const anthropicBody = `{"error":{"message":"missing or wrong API key","type":"authentication_error"},"type":"error"}` + "\n"
	f(chatPath, chatBody(false), openAIBody, keyChallenge)
	f("/v1/messages", `{"model":"m","max_tokens":1,"messages":[]}`, anthropicBody, keyChallenge)
	f(chatPath, "{ no JSON", openAIBody, keyChallenge)
	wrong := []string{testKey(2), testKey(3), testKey(4), testKey(5), testKey(1)[:43], testKey(1) + "0", "", "alice", digestOf(testKey(1)).String(), strings.Repeat("x", 600)}
	for _, key := range wrong {
		f(chatPath, chatBody(true), openAIBody, wrongChallenge, "Authorization: Bearer "+key)
	}
	f("/v1/messages", `{"model":"m","max_tokens":1,"messages":[]}`, anthropicBody, wrongChallenge, "x-api-key: "+testKey(2))
	f(chatPath, chatBody(false), openAIBody, wrongChallenge, bearer(1), bearer(2)) // one field twice
	f(chatPath, chatBody(false), openAIBody, keyChallenge, "Authorization: Basic YTpi")
	if got := g.send(t, "POST", chatPath, chatBody(false), bearer(1)); got.status != http.StatusOK || w.count() != 1 {
		t.Errorf("the good key: got %d %s, %d requests upstream", got.status, got.body, w.count())
	}
}

// TestKeyTiming guards row X3: what a guess has in common with a key does not show in the
// time that the look-up takes. It compares the two by interleaved samples, so that it
// needs no bound of the clock: of pairs, each is the faster one about half of the time.
func TestKeyTiming(t *testing.T) {
	if raceDetector {
		t.Skip("skipped: the race detector is no measure of time")
	}
	r := &keyring{byDigest: make(map[keyDigest]*clientKey)}
	for n := range 1000 {
		k := &clientKey{name: fmt.Sprint(n), digest: digestOf(testKey(n))}
		r.byDigest[k.digest] = k
	}
	now := time.Now()
	good := testKey(500)
	// Where a digest falls in the table takes its time, so that each guess is another one.
	like := func(bytes int) func() string { // that many of the key's
		return func() string {
			guess := fmt.Sprintf("%016x%016x%016x", rand.Uint64(), rand.Uint64(), rand.Uint64())
			return good[:bytes] + guess[:len(good)-bytes]
		}
	}
	near, far, unlike := like(len(good)-12), like(len(keyPrefix)), like(0)
	took := func(guess string) time.Duration {
		began := time.Now()
		for range 8 {
			if r.find(guess, now) != nil {
				t.Fatal("a guess is taken")
			}
		}
		return time.Since(began)
	}
	for name, pair := range map[string][2]func() string{"near and far": {near, far}, "near and unlike": {near, unlike}} {
		const samples = 100_000
		first, ties := 0, 0
		for range samples {
			a, b := 0, 1
			if rand.IntN(2) == 0 {
				a, b = 1, 0
			}
			var times [2]time.Duration
			guesses := [2]string{pair[0](), pair[1]()}
			times[a] = took(guesses[a])
			times[b] = took(guesses[b])
			switch {
			case times[0] < times[1]:
				first++
			case times[0] == times[1]:
				ties++
			}
		}
		// A compare of bytes would show in nearly every pair; noise of the machine
		// falls on either side alike.
		if share := float64(first) / float64(max(1, samples-ties)); share < .45 || share > .55 {
			t.Errorf("%s: the first is the faster in %.1f %% of %d pairs, want about 50", name, 100*share, samples)
		}
	}
}

// TestKeyBruteForce guards row X5: from an address that presents many wrong keys nothing more
// is looked up for a minute, it is counted, the log names the address once, and others
// are not disturbed.
func TestKeyBruteForce(t *testing.T) {
	w := startGood(t)
	g := startGateway(t, fleetFor([]string{keyEntry("good", 1, "")}, w.url))
	before := refused[refusedAddress].Load()
	for n := range maxWrongKeys {
		if got := g.send(t, "POST", chatPath, chatBody(false), bearer(100+n)); got.status != http.StatusUnauthorized {
			t.Fatalf("wrong key %d: got %d %s", n, got.status, got.body)
		}
		if got := g.send(t, "POST", chatPath, chatBody(false)); n < maxWrongKeys-1 && got.status != http.StatusUnauthorized { // no key is no guess
			t.Fatalf("no key: got %d", got.status)
		}
	}
	for _, key := range []int{7, 1} {
		got := g.send(t, "POST", chatPath, chatBody(false), bearer(key))
		if got.status != http.StatusTooManyRequests || errorOf(t, got.body) != "rate_limit_error too_many_wrong_keys" || got.header.Get("Retry-After") == "" {
			t.Errorf("after %d wrong keys: got %d %s %v", maxWrongKeys, got.status, got.body, got.header)
		}
	}
	if n := refused[refusedAddress].Load() - before; n < 2 || g.store.strangers.Count() != 1 {
		t.Errorf("got %d counted, %d addresses", n, g.store.strangers.Count())
	}
	for _, path := range []string{"/livez", "/readyz", "/health"} {
		if got := g.send(t, "GET", path, ""); got.status != http.StatusOK {
			t.Errorf("%s: got %d", path, got.status)
		}
	}
}

// TestKeyModels guards row X13: a key sees and asks for its own models alone, and learns
// nothing of others, nor of the fleet.
func TestKeyModels(t *testing.T) {
	w := startWitness(t, nil)
	fleet := fmt.Sprintf(`{"instances": [{"url": %q, "model_name": "m"}, {"url": %q, "model_name": "secret-model"}, {"url": %q, "model_name": "*"}], "keys": [%s, %s, %s]}`,
		w.URL+"/v1", w.URL+"/s/v1", w.URL+"/any/v1", keyEntry("some", 1, `, "models": ["m", "other"]`), keyEntry("all", 2, `, "models": ["*"]`), keyEntry("watcher", 3, `, "models": [], "status": true`))
	g := startGateway(t, fleet)
	ask := func(key int, model string) received {
		t.Helper()
		return g.send(t, "POST", chatPath, strings.Replace(chatBody(false), `"m"`, `"`+model+`"`, 1), bearer(key))
	}
	for model, want := range map[string]int{"m": 200, "other": 200, "secret-model": 403, "no-such": 403} {
		got := ask(1, model)
		if got.status != want {
			t.Errorf("%s: got %d %s, want %d", model, got.status, got.body, want)
		}
		if want == 403 && (errorOf(t, got.body) != "invalid_request_error model_not_allowed" || strings.Contains(strings.ReplaceAll(got.body, `\"`+model+`\"`, ""), "secret")) {
			t.Errorf("%s: got %s", model, got.body)
		}
		if got := ask(2, model); got.status != 200 {
			t.Errorf("%s with a key for all: got %d", model, got.status)
		}
		if got := ask(3, model); got.status != 403 {
			t.Errorf("%s with a key for none: got %d", model, got.status)
		}
	}
	if got := g.send(t, "POST", "/v1/messages", `{"model":"secret-model","max_tokens":1,"messages":[]}`, "x-api-key: "+testKey(1)); got.status != 403 || !strings.Contains(got.body, `"permission_error"`) {
		t.Errorf("messages: got %d %s", got.status, got.body)
	}
	if got := g.send(t, "POST", chatPath, `{"messages":[]}`, bearer(1)); got.status == 200 || strings.Contains(got.body, "secret-model") {
		t.Errorf("no model: got %d %s", got.status, got.body)
	}
	for key, want := range map[int]string{1: "m", 2: "m secret-model", 3: ""} {
		var list struct{ Data []modelInfo }
		got := g.send(t, "GET", "/v1/models", "", bearer(key))
		must(t, json.Unmarshal([]byte(got.body), &list))
		var names []string
		for _, m := range list.Data {
			names = append(names, m.ID)
		}
		if strings.Join(names, " ") != want {
			t.Errorf("key %d: got the models %q, want %q", key, names, want)
		}
	}
	if got := g.send(t, "GET", "/v1/models/secret-model", "", bearer(1)); got.status != 404 || strings.Contains(strings.ReplaceAll(got.body, `\"secret-model\"`, ""), "secret") {
		t.Errorf("a model that is not the key's: got %d %s", got.status, got.body)
	}
	if got := g.send(t, "GET", "/v1/models", ""); got.status != 401 {
		t.Errorf("models without a key: got %d", got.status)
	}

	basic := func(key int) string {
		r, err := http.NewRequest("GET", "/", nil)
		must(t, err)
		r.SetBasicAuth("me", testKey(key))
		return "Authorization: " + r.Header.Get("Authorization")
	}
	for _, path := range []string{"/", "/feed?once", "/assets/none", "/health"} {
		if got := g.send(t, "GET", path, "", bearer(1)); path != "/health" && got.status != 403 {
			t.Errorf("%s with a key that may not: got %d %s", path, got.status, got.body)
		} else if path == "/health" && (got.status != 200 || got.body != `{"status":"healthy"}`+"\n") {
			t.Errorf("%s with a key that may not: got %d %s", path, got.status, got.body)
		}
		if got := g.send(t, "GET", path, ""); path != "/health" && (got.status != 401 || got.header.Get("WWW-Authenticate") != basicChallenge) {
			t.Errorf("%s without a key: got %d %v", path, got.status, got.header)
		} else if strings.Contains(got.body, "instances") {
			t.Errorf("%s without a key: got %s", path, got.body)
		}
		if got := g.send(t, "GET", path, "", bearer(9)); got.status != 401 {
			t.Errorf("%s with a wrong key: got %d", path, got.status)
		}
	}
	for _, field := range []string{bearer(3), basic(3)} {
		if got := g.send(t, "GET", "/", "", field); got.status != 200 || !strings.Contains(got.body, "models: m, secret-model") {
			t.Errorf("/ with %s…: got %d %s", field[:20], got.status, got.body)
		}
		if got := g.send(t, "GET", "/health", "", field); got.status != 200 || !strings.Contains(got.body, "instances") {
			t.Errorf("/health with %s…: got %d %s", field[:20], got.status, got.body)
		}
	}
	if got := g.send(t, "POST", chatPath, chatBody(false), basic(2)); got.status != 401 {
		t.Errorf("HTTP's own authentication for the API: got %d", got.status)
	}
}

// TestKeyNotRecorded guards that a key's consent decides about records.
func TestKeyNotRecorded(t *testing.T) {
	w := startGood(t)
	g := startGateway(t, fleetFor([]string{keyEntry("private", 1, `, "record": false`), keyEntry("open", 2, `, "record": true`)}, w.url))
	for range 5 {
		wantStatus(t, g.send(t, "POST", chatPath, chatBody(true), bearer(1)), 200)
	}
	wantStatus(t, g.send(t, "POST", chatPath, chatBody(true), bearer(2)), 200)
	if got := g.waitRecords(t, mainFolder, 1); len(got) != 1 || !strings.Contains(got[0].Meta, `"key":"open"`) {
		t.Errorf("got %+v, want one record, of the key that consents", got)
	}
}

func wantStatus(t testing.TB, got received, want int) {
	t.Helper()
	if got.status != want || got.err != nil {
		t.Errorf("got %d %s %v, want %d", got.status, got.body, got.err, want)
	}
}

// TestKeyOfUser guards that who is known to Caddy's own authentication needs no key, and
// that what it authenticates by goes no further.
func TestKeyOfUser(t *testing.T) {
	w := startWitness(t, nil)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "config.json5"), fleetFor([]string{`{"name": "alice", "user": "alice@corp", "requests_per_minute": 2}`, keyEntry("bob", 1, "")}, w.URL+"/v1"))
	address := freeAddress(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("wonder"), bcrypt.MinCost) // Caddy's own cost takes seconds with the race detector
	must(t, err)
	loadCaddyfile(t, filepath.Join(dir, "Caddyfile"), fmt.Sprintf("http://%s {\n\t@out not header X-Skip *\n\tbasic_auth @out {\n\t\talice@corp %s\n\t\tcarol %[2]s\n\t}\n\tai_gateway\n}\n", address, hash))
	g := &gateway{url: "http://" + address}
	as := func(user string) string {
		r, err := http.NewRequest("GET", "/", nil)
		must(t, err)
		r.SetBasicAuth(user, "wonder")
		return "Authorization: " + r.Header.Get("Authorization")
	}
	wantStatus(t, g.send(t, "POST", chatPath, chatBody(false), as("alice@corp")), 200)
	if h := w.last(t).header; h["Authorization"] != nil {
		t.Errorf("the instance gets %v", h)
	}
	wantStatus(t, g.send(t, "POST", chatPath, chatBody(false), as("carol")), 401)
	wantStatus(t, g.send(t, "POST", chatPath, chatBody(false), as("alice@corp"), "x-api-key: "+testKey(1)), 200) // as bob
	wantStatus(t, g.send(t, "POST", chatPath, chatBody(false), as("alice@corp"), "x-api-key: "+testKey(5)), 401)
	wantStatus(t, g.send(t, "POST", chatPath, chatBody(false), as("alice@corp")), 200)
	wantStatus(t, g.send(t, "POST", chatPath, chatBody(false), as("alice@corp")), 429)
	wantStatus(t, g.send(t, "GET", "/v1/models", "", as("alice@corp")), 200)
	wantStatus(t, g.send(t, "POST", chatPath, chatBody(false), "X-Skip: 1"), 401)
}

// TestKeysFile guards that keys in a file of their own count and that the file is watched;
// that a bad one leaves the last good one in force, with its place told; and that the last
// key taken out does not open the gateway.
func TestKeysFile(t *testing.T) {
	w := startGood(t)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "keys.json5"), "["+keyEntry("a", 1, "")+"]")
	path := filepath.Join(dir, "config.json5")
	writeFile(t, path, fleetWith(`"keys_file": "keys.json5"`, w.url))
	s := watchFile(t, path)
	names := func() string {
		var all []string
		for _, k := range s.snapshot().keys.all {
			all = append(all, k.name)
		}
		return strings.Join(all, " ")
	}
	if names() != "a" {
		t.Errorf("got the keys %q", names())
	}
	writeFile(t, filepath.Join(dir, "keys.json5"), "["+keyEntry("a", 1, "")+",\n"+keyEntry("b", 2, "")+"]")
	eventually(t, "the new key", func() bool { return names() == "a b" })
	writeFile(t, filepath.Join(dir, "keys.json5"), "[\n"+keyEntry("a", 1, "")+",\n {name: 'b', hash: 'aig-0000000000000000000000000000000000000002'}]")
	e := s.events.wait(t, configRejected)
	if want := `keys_file: line 3, column 20 of it: [1].hash: got no SHA-256`; !strings.Contains(e.cause, want) || strings.Contains(e.cause, "aig-") || names() != "a b" {
		t.Errorf("got %q, want %q; keys %s", e.cause, want, names())
	}
	for _, l := range s.logs.All() {
		if strings.Contains(fmt.Sprint(l.ContextMap()), testKey(2)) {
			t.Errorf("the log has the key: %v", l)
		}
	}
	must(t, os.Remove(filepath.Join(dir, "keys.json5")))
	if e := s.events.wait(t, configRejected); !strings.Contains(e.cause, "keys_file: reading it: no such file") {
		t.Errorf("got %q", e.cause)
	}
	writeFile(t, filepath.Join(dir, "keys.json5"), "[]")
	eventually(t, "no key to be left", func() bool { return names() == "" && s.snapshot().keys != nil })
	writeFile(t, path, fleetWith(`"keys": []`, w.url))
	eventually(t, "the file without keys_file", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.cfg.KeysFile == ""
	})
	if s.snapshot().keys == nil {
		t.Error("an empty list of keys opens the gateway")
	}
}
