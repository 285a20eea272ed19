package aigateway

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
)

// checkOutputs returns what caddy ai-gateway check prints of a file that everybody
// can read: as text, in color, and as JSON.
func checkOutputs(src, dir string) []string {
	check := checkText("config.json5", []byte(src), dir, 0o644)
	outputs := make([]string, 3)
	for n, write := range []func(*bufio.Writer){
		func(w *bufio.Writer) { check.writeText(w, false) }, func(w *bufio.Writer) { check.writeText(w, true) }, check.writeJSON,
	} {
		var out bytes.Buffer
		w := bufio.NewWriter(&out)
		write(w)
		_ = w.Flush() // a buffer takes everything
		outputs[n] = out.String()
	}
	return outputs
}

// TestConfigSecrets guards that no mistake or warning on the line of a secret shows
// it: not in the one-line form, nor in the form with the source line, nor in what
// the command prints.
func TestConfigSecrets(t *testing.T) {
	const secret = "hunter2"
	t.Setenv("AIGATEWAY_TEST_SECRET", secret)
	t.Setenv("AIGATEWAY_TEST_USER", secret+":x")
	t.Setenv("AIGATEWAY_TEST_LINES", secret+"\n"+secret)
	dir := t.TempDir()
	writeFile(t, dir+"/secret.txt", secret+"\r\nX: 1\n")
	files, errors, warnings, leaks := 0, 0, 0, 0
	part := 1
	if raceDetector { // which one goroutine gives nothing to find
		part = 7 // no divisor of the numbers below, so that each of them has its turn
	}
	f := func(src string) {
		t.Helper()
		if files++; files%part != 0 {
			return
		}
		outputs := checkOutputs(src, dir)
		warnings += strings.Count(outputs[0], ": warning: ")
		if _, err := parseConfig([]byte(src), dir); err != nil { // not every pair below is a mistake
			errors++
			outputs = append(outputs, err.Error(), detailed{err}.Error())
		}
		for _, shown := range outputs {
			if !strings.Contains(shown, secret) {
				continue
			}
			if leaks++; leaks <= 20 { // more would hide the others
				t.Errorf("%s\nshows the secret:\n%s", src, shown)
			}
			return
		}
	}

	// Where a secret may stand, and what may be wrong beside it.
	secrets := []string{
		`api_key: 'hunter2'`,
		`"api_key": "hunter2"`,
		`api_key: 'sk-hunter2-\'x'`,
		`headers: {Authorization: 'Bearer hunter2'}`,
		`headers: {'X-Team': 'hunter2', 'x-y': "a hunter2"}`,
		`url: 'http://user:hunter2@h/v1'`,
		`url: 'http://hunter2@h/v1'`,
		`url: 'http://hunter2:@h:99999/v1'`,
		`url: 'user:hunter2@h/v1'`,
		`url: 'hunter2:x@h:8000/v1'`,
		`url: '//hunter2@h/v1'`,
		`url: 'ftp://u:hunter2@h/v1'`,
		`url: 'http://u:hunter2@h/%zz'`,
		`api_key: '{env.AIGATEWAY_TEST_SECRET}'`,
		`api_key: '{env.AIGATEWAY_TEST_LINES}'`,
		`api_key: '{file.secret.txt}'`,
		`api_key: 'hunter2{env.AIGATEWAY_TEST_NONE}'`,
		`api_key: 'hunter2{file.none}'`,
		`headers: {X: '{env.AIGATEWAY_TEST_LINES}'}`,
		`headers: {X: 'hunter2 {env.AIGATEWAY_TEST_NONE}'}`,
		`url: 'http://{env.AIGATEWAY_TEST_SECRET}@h/v1'`,
		`url: '{env.AIGATEWAY_TEST_SECRET}'`,
		`url: '{env.AIGATEWAY_TEST_SECRET}://h'`,
		`url: '{env.AIGATEWAY_TEST_USER}@h'`,
		`url: 'http://h:{env.AIGATEWAY_TEST_SECRET}'`,
		`name: '{env.AIGATEWAY_TEST_LINES}'`,
		`model_name: '{env.AIGATEWAY_TEST_LINES}'`,
		`upstream_model: '{env.AIGATEWAY_TEST_LINES}'`,
		`engine: '{env.AIGATEWAY_TEST_SECRET}'`,
		`engine: '{file.secret.txt}'`,
		`paths: {'/v1/x': '{env.AIGATEWAY_TEST_SECRET}'}`,
	}
	mistakes := []string{
		``, `weight: -1`, `weight: 'x'`, `wieght: 1`, `weight: 1 weight`, `weight: 1 'x'`, `weight: hello there`, `weight: Infinity`, `weight: 1, weight: 2`,
		`api_key: 1`, `api_key: {}`, `api_key 'x'`, `model_name: ''`, `headers: {'a b': ''}`, `headers: {Host: ''}`, `engine: 'x'`, `name: 'a b'`,
		`'unclosed`, `"unclosed`, `name: 'unclosed`, `name: "unclosed`, `x: 'a\q\x'`, `]`, `}}`, `{`, `/* open`, "x: '\xff'", `url: 'x'`, `url: 1`, `headers: 1`, `paths: {x: 'y'}`, `:`, `,,`, `# x`,
	}
	for _, s := range secrets {
		for _, m := range mistakes {
			for _, end := range []string{`, model_name: 'm'}]}`, `, model_name: "m"}]}`, ``} {
				f(`{instances: [{` + s + `, ` + m + end)
				f(`{instances: [{` + m + `, ` + s + end)
				f(`{instances: [{` + m + ` ` + s + end)
				f(`{instances: [{` + s + ` ` + m + end)
				f(`{instances: [{url: 'http://h/v1', ` + s + `, ` + m + end)
				f(`{instances: [{url: 'http://h/v1', // hunter2` + "\n" + m + `, ` + s + end)
			}
		}
	}
	for _, setting := range []string{`load_balancing_strategy`, `data_dir`, `error_window`, `alert_cooldown`, `error_threshold`, `engine_routes`} {
		f(`{instances: [{url: 'http://h/v1', model_name: 'm'}], ` + setting + `: '{env.AIGATEWAY_TEST_SECRET}'}`)
		f(`{instances: [{url: 'http://h/v1', model_name: 'm'}], ` + setting + `: ['{env.AIGATEWAY_TEST_SECRET}']}`)
		f(`{instances: [{url: 'http://h/v1', model_name: 'm'}], ` + setting + `: '{env.AIGATEWAY_TEST_LINES}{env.AIGATEWAY_TEST_NONE}'}`)
	}
	receivers := []string{
		`type: 'dingtalk', url: 'https://oapi.dingtalk.com/robot/send?access_token=hunter2'`,
		`type: 'slack', url: 'https://hooks.slack.com/services/T/B/hunter2'`,
		`type: "feishu", url: "https://open.feishu.cn/open-apis/bot/v2/hook/hunter2"`,
		`type: 'serverchan', url: 'https://sctapi.ftqq.com/hunter2.send'`,
		`url: 'telegram://hunter2@telegram?chats=1'`,
		`url: 'pushplus://hunter2'`,
		`url: 'smtp://u:hunter2@h/?from=a@b&to=c@d'`,
		`url: 'hunter2'`,
		`type: 'webhook', url: 'https://h/x', secret: 'hunter2'`,
		`type: 'webhook', url: '{env.AIGATEWAY_TEST_SECRET}'`,
		`url: 'pushplus://{env.AIGATEWAY_TEST_LINES}'`,
		`url: '{file.secret.txt}', type: 'slack'`,
		`url: 'pushplus://key', name: '{env.AIGATEWAY_TEST_LINES}'`,
		`url: 'pushplus://key', type: '{env.AIGATEWAY_TEST_SECRET}'`,
		`url: 'pushplus://key', kinds: ['{env.AIGATEWAY_TEST_SECRET}']`,
		`url: 'pushplus://key', min_severity: '{env.AIGATEWAY_TEST_SECRET}', language: '{env.AIGATEWAY_TEST_SECRET}'`,
	}
	wrong := []string{
		``, `kinds: ['x']`, `kinds: 'x'`, `x: 1`, `secret: 1`, `secret: {}`, `url: 'x'`, `url: 1`, `type: 'x'`, `type: hello there`, `'unclosed`, `"unclosed`, `name: 'a b'`,
		`]`, `}}`, `{`, `/* open`, "x: '\xff'", `:`, `,,`, `# x`, `max_per_minute: -1`, `secret 'x'`,
	}
	for _, r := range receivers {
		for _, m := range wrong {
			for _, end := range []string{`}]}}`, `}], group_wait: '2h'}}`, ``} {
				for _, group := range []string{`alerts: {receivers: [{`, `alert: {receivers: [{`, `receivers: [{`, `alerts: {receiver: [{`, `alerts: {targets: [{`} {
					f(`{instances: [{url: 'http://h/v1', model_name: 'm'}], ` + group + r + `, ` + m + end)
					f(`{instances: [{url: 'http://h/v1', model_name: 'm'}], ` + group + m + ` ` + r + end)
					f(`{instances: [{url: 'http://h/v1', model_name: 'm'}], ` + group + m + `, // hunter2` + "\n" + r + end)
				}
			}
		}
	}
	f(`{instances: [{url: 'http://h/v1', model_name: 'm'}], alerts: {name: '{env.AIGATEWAY_TEST_LINES}'}}`)
	for _, s := range secrets {
		f(`{fallback_instances: [{` + s + `, url: 'http://8.8.8.8', model_name: 'm', weight: 0, timeouts: {stall: 1}}], error_threshold: 1}`)
		f(`{fallback_instances: [{` + s + `, model_name: 'm', weight: 0}], record: {redact: ['(hunter2)*']}}`)
		f(`{instances: [{` + s + `, model_name: 'm', weight: 0}], data_dir: 'secret.txt/x'}`)
	}
	if leaks > 0 || errors < 19_000/part || warnings < 500/part {
		t.Errorf("got %d of %d files with errors, %d warnings, %d of them with the secret, want more than 19,000 and 500 and none", errors, files, warnings, leaks)
	}
}
