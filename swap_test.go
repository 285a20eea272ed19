package aigateway

import (
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// swapOf returns what the log says of a change from one content to another, without
// path and counts.
func swapOf(t testing.TB, was, is string) map[string]any {
	t.Helper()
	s := &store{path: t.TempDir() + "/config.json5", events: newBulletin()}
	s.logger.Store(zap.NewNop())
	var changed *swap
	for _, text := range []string{was, is} {
		writeFile(t, s.path, text)
		var err error
		if changed, _, err = s.load(); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range changed.fields() {
		f.AddTo(enc)
	}
	if (len(enc.Fields) == 0) != changed.empty() {
		t.Errorf("got %v for a swap of %d changes", enc.Fields, changed.count())
	}
	return enc.Fields
}

// TestSwap guards what the log says of a change: the names of instances, members and
// settings, old and new values, and never a secret.
func TestSwap(t *testing.T) {
	const a, b = `{url: "http://10.0.0.1/v1", model_name: "m"%s}`, `{url: "http://10.0.0.2/v1", model_name: "m", name: "b"%s}`
	file := func(settings string, list ...string) string {
		return `{record: {enabled: false, sample: 1}, ` + settings + `instances: [` + strings.Join(list, ", ") + `]}`
	}
	one := func(members string) string { return file("", fmt.Sprintf(a, members), fmt.Sprintf(b, "")) }
	plain := one("")
	set := func(settings string) string {
		return file(settings, fmt.Sprintf(a, ""), fmt.Sprintf(b, ""))
	}
	f := func(was, is, want string) {
		t.Helper()
		if got := fmt.Sprint(swapOf(t, was, is)); got != "map["+want+"]" {
			t.Errorf("%s\n%s:\ngot  %s\nwant map[%s]", was, is, got, want)
		}
	}
	f(plain, plain+" // a comment", "")
	f(plain, strings.ReplaceAll(plain, "instances", "/* here */ 'instances'"), "")
	f(plain, one(", weight: 1"), "") // the default
	f(plain, one(", weight: 2"), "changed:[10.0.0.1/v1: weight 1 -> 2]")
	f(one(", weight: 2, max_concurrency: 3"), plain, "changed:[10.0.0.1/v1: weight 2 -> 1, max_concurrency 3 -> 0]")
	f(plain, one(`, name: "first", engine: "vllm"`), `changed:[10.0.0.1/v1: name "" -> "first", engine "" -> "vllm"]`)
	f(plain, one(`, api_key: "sk-1"`), "changed:[10.0.0.1/v1: api_key changed]")
	f(one(`, api_key: "sk-1"`), one(`, api_key: "sk-2"`), "changed:[10.0.0.1/v1: api_key changed]")
	f(one(`, headers: {"X-A": "sk-1"}`), one(`, headers: {"X-A": "sk-2"}`), "changed:[10.0.0.1/v1: headers changed]")
	f(plain, one(`, paths: {"/v1/embeddings": "/e?code=sk-1"}`), "changed:[10.0.0.1/v1: paths changed]")
	f(plain, one(`, upstream_model: "https://x/sk-1"`), "changed:[10.0.0.1/v1: upstream_model changed]")
	f(plain, one(`, timeouts: {stall: 9, first_token: "1m"}`), "changed:[10.0.0.1/v1: timeouts.first_token default -> 1m0s, timeouts.stall default -> 9s]")
	f(plain, strings.Replace(plain, "http://10.0.0.1/v1", "HTTP://10.0.0.1:80/v1/", 1), "changed:[10.0.0.1/v1: url changed]")
	f(plain, file("", fmt.Sprintf(b, "")), "removed:[10.0.0.1/v1]")
	f(file("", fmt.Sprintf(b, "")), plain, "added:[10.0.0.1/v1]")
	f(plain, strings.Replace(plain, "10.0.0.1", "10.0.0.3", 1), "added:[10.0.0.3/v1] removed:[10.0.0.1/v1]")
	f(plain, file("", fmt.Sprintf(b, ""), fmt.Sprintf(a, "")), "settings:[order of the instances]")
	f(plain, file("fallback_instances: ["+fmt.Sprintf(b, "")+"], ", fmt.Sprintf(a, "")), "changed:[b: tier primary -> fallback]")
	f(plain, set("error_threshold: 5, error_window: 60, "), "settings:[error_threshold 10 -> 5 error_window 5m0s -> 1m0s]")
	f(plain, set(`load_balancing_strategy: "least_connections", `), `settings:[load_balancing_strategy "round_robin" -> "least_connections"]`)
	f(plain, one(`, timeouts: {learn: false}`), "changed:[10.0.0.1/v1: timeouts.learn default -> false]")
	f(plain, set("retries: {ratio: 0.5}, timeouts: {total: 0}, "), "settings:[timeouts.total default -> 0s retries.ratio 0.2 -> 0.5]")
	f(set(`data_dir: "/srv/a", engine_routes: ["/score"], `), set(`data_dir: "/srv/b", engine_routes: [], `),
		`settings:[data_dir "/srv/a" -> "/srv/b" engine_routes ["/score"] -> []]`)
	told := func(receiver string) string {
		return set(`alerts: {group_wait: 1, keep_state: false, receivers: [{name: "ops", type: "webhook", ` + receiver + `}]}, `)
	}
	f(plain, told(`url: "https://h/sk-1"`), "settings:[alerts.receivers changed alerts.group_wait 30s -> 1s alerts.keep_state true -> false]")
	f(told(`url: "https://h/sk-1"`), told(`url: "https://h/sk-2"`), "settings:[alerts.receivers changed]")
	f(told(`url: "https://h", secret: "sk-1"`), told(`url: "https://h", secret: "sk-2"`), "settings:[alerts.receivers changed]")
	f(plain, set(`alert_cooldown: 60, alerts: {name: "sk-1"}, `), "settings:[alert_cooldown 5m0s -> 1m0s alerts.name changed]")
	f(plain, strings.Replace(plain, "sample: 1", `sample: .5, redact: ["sk-[a-z]+"]`, 1), "settings:[record.sample 1 -> 0.5 record.redact changed]")
}

// TestSwapTwins guards that entries which share URL and model are told apart by
// their keys in what the log says, and the key is not said.
func TestSwapTwins(t *testing.T) {
	entry := func(key string, weight int) string {
		return fmt.Sprintf(`{url: "http://10.0.0.1/v1", model_name: "m", name: "n%s", api_key: "sk-%s", weight: %d}`, key, key, weight)
	}
	was := `{record: {enabled: false}, instances: [` + entry("a", 1) + "," + entry("b", 1) + "," + entry("c", 1) + "]}"
	is := `{record: {enabled: false}, instances: [` + entry("c", 1) + "," + entry("b", 5) + "]}"
	if got, want := fmt.Sprint(swapOf(t, was, is)), "map[changed:[nb: weight 1 -> 5] removed:[na] settings:[order of the instances]]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestSwapIsBounded guards that a change of 10,000 instances is a short line.
func TestSwapIsBounded(t *testing.T) {
	fields := swapOf(t, largeFleet(1000, 0, strategyRoundRobin), largeFleet(1000, 1, strategyRoundRobin))
	text := fmt.Sprint(fields)
	if len(text) > 4096 || !strings.HasSuffix(text, "and 9980 more]]") {
		t.Errorf("got %d bytes, %.300s…, want at most 4096, with the number of the rest", len(text), text)
	}
}
