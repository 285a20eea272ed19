package aigateway

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/alert"
)

// parsed returns the configuration that src stands for, in dir.
func parsed(t testing.TB, src, dir string) *Config {
	t.Helper()
	c, err := parseConfig([]byte(src), dir)
	if err != nil {
		t.Fatalf("%s\ngot error %v", src, err)
	}
	schemaAccepts(t, src)
	return c
}

// same reports a difference between two values of a row.
func same(t testing.TB, src string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s\ngot  %+v\nwant %+v", src, got, want)
	}
}

func seconds(n float64) Seconds { return Seconds(n * float64(time.Second)) }

// ancestorConfig is what the ancestor's file says.
func ancestorConfig(dir string) *Config {
	one := func(url, key string) *InstanceConfig {
		weight := 1
		return &InstanceConfig{URL: url, APIKey: key, ModelName: "deepseek-r1", Weight: &weight}
	}
	return &Config{
		Instances:             []*InstanceConfig{one("http://10.82.1.1:8080/v1", "empty"), one("http://10.82.1.2:8080/v1", "empty")},
		FallbackInstances:     []*InstanceConfig{one("https://cloud.infini-ai.com/maas/v1", "your_api_key")},
		DataDir:               filepath.Join(dir, "data"),
		LoadBalancingStrategy: "round_robin",
		ErrorThreshold:        10,
		ErrorWindow:           seconds(300),
		AlertCooldown:         seconds(300),
		Poll:                  PollConfig{Interval: seconds(2), Timeout: seconds(2)},
		Alerts: alert.Config{
			GroupWait: seconds(30), GroupInterval: seconds(300), Repeat: seconds(4 * 3600), ErrorRate: 0.2, KeepState: true, Cooldown: 300 * time.Second,
		},
		Record:  defaultRecord,
		Retries: RetriesConfig{Attempts: 3, Time: seconds(600), Ratio: 0.2, MaxBody: 32 << 20},
		Queue:   QueueConfig{MaxWaiting: 256, MaxWait: seconds(30)},
		DNS:     DNSConfig{Interval: seconds(15), Timeout: seconds(5)},
		EngineRoutes: []string{
			"/tokenize", "/detokenize", "/score", "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank", "/classify", "/pooling",
		},
	}
}

// TestConfigAncestor guards that the file of the Python program which this one
// replaces loads as it is, comments included.
func TestConfigAncestor(t *testing.T) {
	text, err := os.ReadFile("testdata/ancestor.json5")
	if err != nil {
		t.Fatal(err)
	}
	if want := `// number of consecutive errors before remove this server from the pool`; !strings.Contains(string(text), want) {
		t.Fatal("testdata/ancestor.json5 is not the ancestor's file")
	}
	src := string(text)
	f := func(src string) {
		t.Helper()
		same(t, src, *parsed(t, src, "/etc/gateway"), *ancestorConfig("/etc/gateway"))
	}
	f(src)
	f(strings.ReplaceAll(src, "\n", "\r\n"))
	f("\uFEFF" + src)

	// The same in what only JSON5 has.
	f(`/* our fleet */ {
  instances: [
    {url: 'http://10.82.1.1:8080/v1', api_key: 'empty', model_name: 'deepseek-r1', weight: 0x1,},
    {'url': 'http:\/\/10.82.1.2:8080\
/v1', "api_key": "emp\x74y", model\u005fname: 'deepseek-r\u0031', weight: +1},
  ],
  fallback_instances: [{
    url: "https://cloud.infini-ai.com/maas/v1",` + "\u00a0\u2028" + `
    api_key: 'your_api_key', // not "empty"
    model_name: 'deepseek-r1', weight: 1e0}],
  data_dir: './data',
  load_balancing_strategy: 'round_robin',
  error_threshold: 10., error_window: 3e2, alert_cooldown: +300.0,
}
`)
}

// TestConfigDefaults guards what a file may leave out.
func TestConfigDefaults(t *testing.T) {
	weight := 1
	want := ancestorConfig("/etc/gateway")
	want.FallbackInstances = nil
	want.Instances = []*InstanceConfig{{URL: "http://h:8000/v1", ModelName: "m", Weight: &weight}}
	src := `{instances: [{url: 'http://h:8000/v1', model_name: 'm'}]}`
	same(t, src, *parsed(t, src, "/etc/gateway"), *want)
	src = `{instances: [{url: 'http://h:8000/v1', model_name: 'm', api_key: null, weight: null, drain: null, name: null, upstream_model: null,
		max_concurrency: null, headers: null, engine: null, ask_usage: null, paths: null, timeouts: null, resolve: null, discover: null}], dns: {interval: null, servers: null}, timeouts: {connect: null}, retries: null, queue: {max_waiting: null, max_wait: null, spill_after: null}, poll: {interval: null, timeout: null}, stream_keepalive: null, record: {raw: null, redact: null}, fallback_instances: null, data_dir: null,
		load_balancing_strategy: null, error_threshold: null, error_window: null, alert_cooldown: null, engine_routes: null,
		alerts: {name: null, receivers: null, group_wait: null, group_interval: null, repeat: null, error_rate: null, slow_first_token: null, keep_state: null}}`
	same(t, src, *parsed(t, src, "/etc/gateway"), *want)
	want.Instances, want.FallbackInstances = nil, want.Instances
	src = `{fallback_instances: [{url: 'http://h:8000/v1', model_name: 'm'}]}`
	same(t, src, *parsed(t, src, "/etc/gateway"), *want)
}

// TestConfigMembers guards that every member can be set.
func TestConfigMembers(t *testing.T) {
	weight := 1000
	src := `{
		instances: [{
			url: 'https://h:8443/openai/v1/', resolve: 'aaaa', api_key: 'sk-1', model_name: '*', weight: 1000, name: 'gpu-1:8000/v1@a', upstream_model: 'org/Model "x"',
			max_concurrency: 32, context_length: 131072, drain: true, headers: {'X-Team': 'a b', authorization: 'Basic x'}, engine: 'llama.cpp', ask_usage: true, paths: {'/v1/embeddings': '/embed?a=b&c'},
			timeouts: {total: '1h'},
		}],
		dns: {interval: 60, timeout: '2s', servers: ['10.0.0.1', '[::1]:8600', 'fd00::1%eth0', '127.0.0.1:8600']},
		timeouts: {connect: 1, tls: 2, first_token: 3, first_token_per_mb: 4, learn: false, stall: 5, total: 0},
		retries: {attempts: 5, time: '1m', ratio: 0.5, max_body: 1e6}, queue: {max_waiting: 1000, max_wait: '1m', spill_after: 5}, poll: {interval: 0, timeout: '1m'}, overflow: {enabled: true, models: {'*': 'long', m: 'long'}}, stream_keepalive: 15,
		record: {
			enabled: false, raw: 'always', complete_only: true, endpoints: ['chat'], sample: 0.5, opt_out: false, redact: ['a+'], utc: true,
			min_free: 0, max_age: '24h', max_size: 1e9, compress: 'zstd',
		},
		data_dir: '/var/lib/gateway', load_balancing_strategy: 'least_connections', error_threshold: 1, error_window: 1, alert_cooldown: 9,
		alerts: {
			name: 'gw', group_wait: 1, group_interval: '1m', repeat: 0, error_rate: 0, slow_first_token: 20, keep_state: false, receivers: [{
				name: 'ops', type: 'webhook', url: 'https://h/x', secret: 's', kinds: ['pool_empty'], min_severity: 'critical', language: 'zh',
				send_resolved: false, max_per_minute: 3,
			}],
		},
		engine_routes: ['/generate', '/v1/score'], fallback_instances: [{url: 'http://l', model_name: 'long'}],
	}`
	same(t, src, *parsed(t, src, "/etc/gateway"), Config{
		Instances: []*InstanceConfig{{
			URL: "https://h:8443/openai/v1/", Resolve: "aaaa", APIKey: "sk-1", ModelName: "*", Weight: &weight, Name: "gpu-1:8000/v1@a", UpstreamModel: `org/Model "x"`,
			MaxConcurrency: 32, ContextLength: 131072, Drain: true, Headers: map[string]string{"X-Team": "a b", "authorization": "Basic x"}, Engine: "llama.cpp", AskUsage: new(true),
			Paths: map[string]string{"/v1/embeddings": "/embed?a=b&c"}, Timeouts: TimeoutsConfig{Total: new(seconds(3600))},
		}},
		FallbackInstances: []*InstanceConfig{{URL: "http://l", ModelName: "long", Weight: new(1)}},
		Timeouts: TimeoutsConfig{
			Connect: new(seconds(1)), TLS: new(seconds(2)), FirstToken: new(seconds(3)), FirstTokenPerMB: new(seconds(4)),
			Learn: new(false), Stall: new(seconds(5)), Total: new(seconds(0)),
		},
		Record: RecordConfig{
			Raw: "always", CompleteOnly: true, Endpoints: []string{"chat"}, Sample: 0.5, Redact: []string{"a+"}, UTC: true,
			MaxAge: seconds(86400), MaxSize: 1e9, Compress: "zstd",
		},
		Retries: RetriesConfig{Attempts: 5, Time: seconds(60), Ratio: 0.5, MaxBody: 1e6},
		DNS:     DNSConfig{Interval: seconds(60), Timeout: seconds(2), Servers: []string{"10.0.0.1", "[::1]:8600", "fd00::1%eth0", "127.0.0.1:8600"}},
		Queue:   QueueConfig{MaxWaiting: 1000, MaxWait: seconds(60), SpillAfter: seconds(5)}, Poll: PollConfig{Timeout: seconds(60)}, Overflow: OverflowConfig{true, map[string]string{"*": "long", "m": "long"}}, StreamKeepalive: seconds(15),
		DataDir: "/var/lib/gateway", LoadBalancingStrategy: "least_connections", ErrorThreshold: 1, ErrorWindow: seconds(1),
		AlertCooldown: seconds(9),
		Alerts: alert.Config{
			Name: "gw", GroupWait: seconds(1), GroupInterval: seconds(60), SlowFirstToken: seconds(20), Cooldown: 9 * time.Second, Receivers: []alert.Receiver{{
				Name: "ops", Type: "webhook", URL: "https://h/x", Secret: "s", Kinds: []string{"pool_empty"}, MinSeverity: "critical", Language: "zh",
				SendResolved: new(false), MaxPerMinute: 3,
			}},
		},
		EngineRoutes: []string{"/generate", "/v1/score"},
	})
	if got := parsed(t, at(`http://h`)[:len(at(`http://h`))-1]+`, engine_routes: []}`, "/").EngineRoutes; len(got) > 0 {
		t.Errorf("engine_routes: []: got %q, want none", got)
	}
}

// TestConfigSeconds guards the ways to write a time.
func TestConfigSeconds(t *testing.T) {
	f := func(text string, want time.Duration) {
		t.Helper()
		src := `{instances: [{url: 'http://h/v1', model_name: 'm'}], error_window: ` + text + `, alert_cooldown: ` + text + `}`
		c := parsed(t, src, "/")
		same(t, src, [2]Seconds{c.ErrorWindow, c.AlertCooldown}, [2]Seconds{Seconds(want), Seconds(want)})
	}
	f(`1`, time.Second)
	f(`300`, 5*time.Minute)
	f(`0x12c`, 5*time.Minute)
	f(`+3e2`, 5*time.Minute)
	f(`1.5`, 1500*time.Millisecond)
	f(`"5m"`, 5*time.Minute)
	f(`'1m30s'`, 90*time.Second)
	f(`"1h0m0.5s"`, time.Hour+500*time.Millisecond)
	f(`'1000ms'`, time.Second)
	f(`315360000`, 10*365*24*time.Hour)
	f(`null`, 5*time.Minute)
}

// TestConfigURLs guards which base URLs are taken.
func TestConfigURLs(t *testing.T) {
	for _, url := range []string{
		`http://h`, `http://h/`, `http://h/v1`, `http://h/v1/`, `HTTP://H:1/v1`, `https://h:65535/a/b-c_d~e.f/v4`, `http://10.0.0.1:8000/v1`,
		`http://[::1]:8000/v1`, `http://[fe80::1%25eth0]:8000/v1`, `http://vllm-0.vllm.default.svc.cluster.local:8000/v1`, `http://gpu_1/v1`,
		`https://h/openai/deployments/gpt-4.1@2026/v1`, `https://h/v1beta/openai:x`,
	} {
		if got := parsed(t, at(url), "/").Instances[0].URL; got != url {
			t.Errorf("got %s, want %s", got, url)
		}
	}
}

// TestConfigNotDuplicates guards that what is no duplicate is not called one.
func TestConfigNotDuplicates(t *testing.T) {
	f := func(a, b string) {
		t.Helper()
		if got := len(parsed(t, `{instances: [{`+a+`}, {`+b+`}]}`, "/").Instances); got != 2 {
			t.Errorf("{%s} and {%s}: got %d instances, want 2", a, b, got)
		}
	}
	f(`url: 'http://h/v1', model_name: 'a'`, `url: 'http://h/v1', model_name: 'b'`)
	f(`url: 'http://h/v1', model_name: 'a'`, `url: 'http://h/v1', model_name: 'A'`)
	f(`url: 'http://h/v1', model_name: 'a', api_key: '1'`, `url: 'http://h/v1', model_name: 'a', api_key: '2'`)
	f(`url: 'http://h/v1', model_name: 'a'`, `url: 'http://h/V1', model_name: 'a'`)
	f(`url: 'http://h/v1', model_name: 'a'`, `url: 'https://h/v1', model_name: 'a'`)
	f(`url: 'http://h/v1', model_name: 'a'`, `url: 'http://h:8080/v1', model_name: 'a'`)
	f(`url: 'http://h/v1', model_name: 'a', name: 'x'`, `url: 'http://i/v1', model_name: 'a', name: 'X'`)
}

// TestConfigPlaceholders guards what {env.NAME} and {file.PATH} turn into, in
// every member that is a text.
func TestConfigPlaceholders(t *testing.T) {
	dir, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "key")
	writeFile(t, filepath.Join(dir, "key.txt"), "sk-file\n")
	writeFile(t, filepath.Join(dir, "crlf.txt"), "sk-crlf\r\n")
	writeFile(t, filepath.Join(dir, "lines.txt"), "a\nb\n\n")
	writeFile(t, filepath.Join(dir, "empty.txt"), "")
	writeFile(t, elsewhere, "sk-elsewhere")
	for name, value := range map[string]string{
		"KEY": "sk-env", "HOST": "h:8000", "EMPTY": "", "TIME": "5m", "NAME": "n", "STRATEGY": "least_connections", "NESTED": "{env.AIGATEWAY_TEST_KEY}",
		"BRACE": "}{",
	} {
		t.Setenv("AIGATEWAY_TEST_"+name, value)
	}
	expanded := strings.NewReplacer("{env.", "{env.AIGATEWAY_TEST_")
	f := func(text, want string) {
		t.Helper()
		if got, err := expandPlaceholders(expanded.Replace(text), dir); got != want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", text, got, err, want)
		}
	}
	f(`{env.KEY}`, `sk-env`)
	f(`a{env.KEY}b{env.NAME}{env.EMPTY}c`, `ask-envbnc`)
	f(`{file.key.txt}`, `sk-file`)
	f(`{file../key.txt}`, `sk-file`)
	f(`{file.crlf.txt}`, `sk-crlf`)
	f(`{file.lines.txt}`, "a\nb\n")
	f(`{file.empty.txt}`, ``)
	f(`{file.`+elsewhere+`}`, `sk-elsewhere`)
	f(`{file.`+elsewhere+`}{env.KEY}`, `sk-elsewheresk-env`)
	// What a value holds is not looked at again.
	f(`{env.NESTED}`, `{env.AIGATEWAY_TEST_KEY}`)
	f(`{env.BRACE}{env.KEY}`, `}{sk-env`)
	// Other braces stay.
	for _, text := range []string{``, `{}`, `{`, `}`, `{x}`, `{http.request.host}`, `{env}`, `{ENV.KEY}`, `{ env.KEY}`, `{env.KEY`, `{"a": 1}`} {
		f(text, expanded.Replace(text))
	}
	f(`{{env.KEY}}`, `{sk-env}`)

	src := expanded.Replace(`{
		instances: [{url: 'http://{env.HOST}/v1', api_key: '{env.KEY}', model_name: '{env.NAME}', name: '{env.NAME}', upstream_model: '{file.key.txt}',
			engine: 'vllm{env.EMPTY}', headers: {'X-{env.NAME}': 'Bearer {file.key.txt}'}, paths: {'/v1/x': '/{env.NAME}?k={env.KEY}'}}],
		data_dir: 'data/{env.NAME}', load_balancing_strategy: '{env.STRATEGY}', error_window: '{env.TIME}', alert_cooldown: '{env.TIME}',
		engine_routes: ['/{env.NAME}'],
	}`)
	src = strings.Replace(src, `'X-{env.AIGATEWAY_TEST_NAME}'`, `'X-A'`, 1)
	c := parsed(t, src, dir)
	i := c.Instances[0]
	same(t, src, []string{i.URL, i.APIKey, i.ModelName, i.Name, i.UpstreamModel, i.Engine, i.Headers["X-A"], i.Paths["/v1/x"]},
		[]string{"http://h:8000/v1", "sk-env", "n", "n", "sk-file", "vllm", "Bearer sk-file", "/n?k=sk-env"})
	same(t, src, []string{c.DataDir, c.LoadBalancingStrategy, c.EngineRoutes[0]}, []string{filepath.Join(dir, "data", "n"), "least_connections", "/n"})
	same(t, src, [2]Seconds{c.ErrorWindow, c.AlertCooldown}, [2]Seconds{seconds(300), seconds(300)})
}

// TestConfigDataDir guards that a relative folder stands beside the file.
func TestConfigDataDir(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		src := `{instances: [{url: 'http://h/v1', model_name: 'm'}], data_dir: '` + text + `'}`
		if got := parsed(t, src, "/etc/gateway").DataDir; got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
	f(`.`, `/etc/gateway`)
	f(`./data`, `/etc/gateway/data`)
	f(`data/`, `/etc/gateway/data`)
	f(`../data`, `/etc/data`)
	f(`/var/lib/gateway`, `/var/lib/gateway`)
	f(`мои данные`, `/etc/gateway/мои данные`)
}
