package aigateway

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/simpleaigateway/caddy-ai-gateway/echomodel"
)

// TestAccessLog guards what the access log and placeholders tell of a request, and
// that they tell nothing of its text.
func TestAccessLog(t *testing.T) {
	a, f := startStandIn(t, "a"), startStandIn(t, "f")
	path := filepath.Join(t.TempDir(), "access.log")
	g := startMeasured(t, fmt.Sprintf(
		`{"record": {"enabled": false}, "instances": [{"url": %q, "model_name": "m", "api_key": "sk-very-secret"}], "fallback_instances": [{"url": %q, "model_name": "m"}]}`, a.url, f.url),
		"log {\n\t\toutput file "+path+"\n\t\tformat json\n\t\tlevel INFO\n\t}",
		"log_append told_model {http.ai_gateway.model}", "log_append told_tier {http.ai_gateway.tier}", "log_append told_attempts {http.ai_gateway.attempts}")
	lines := 0
	f1 := func(name, body string, status int, want map[string]any, told string) {
		t.Helper()
		if got := g.sends(t, "/v1/chat/completions", body); got.status != status {
			t.Errorf("%s: got status %d %s, want %d", name, got.status, got.body, status)
		}
		lines++
		var text string
		eventually(t, "the line in the access log", func() bool {
			all, _ := os.ReadFile(path)
			found := 0
			for s := bufio.NewScanner(strings.NewReader(string(all))); s.Scan(); {
				if found++; found == lines {
					text = s.Text()
				}
			}
			return text != ""
		})
		var line struct {
			Model    string         `json:"told_model"`
			Tier     any            `json:"told_tier"`
			Attempts int            `json:"told_attempts"`
			Gateway  map[string]any `json:"ai_gateway"`
		}
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%s: %v in %s", name, err, text)
		}
		for _, secret := range []string{"sk-very-secret", "my prompt"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s: the access log tells %q: %s", name, secret, text)
			}
		}
		id, _ := line.Gateway["request_id"].(string)
		if len(id) < 10 {
			t.Errorf("%s: got request_id %q", name, id)
		}
		delete(line.Gateway, "request_id")
		if ttft, ok := line.Gateway["ttft"].(float64); ok && ttft > 0 && ttft < 5 {
			line.Gateway["ttft"] = "some"
		}
		if got, want := fmt.Sprint(line.Gateway), fmt.Sprint(want); got != want {
			t.Errorf("%s: got fields %s\nwant %s", name, got, want)
		}
		if got := fmt.Sprintf("%s %v %d", line.Model, line.Tier, line.Attempts); got != told {
			t.Errorf("%s: got placeholders %s, want %s", name, got, told)
		}
	}
	id := func(n int) string { return g.store.snapshot().fleet.instances[n].id }
	const prompt = `"messages": [{"role": "user", "content": "my prompt"}]`
	f1("a plain answer", `{"model": "m", `+prompt+`}`, 200, map[string]any{
		"model": "m", "upstream": id(0), "tier": "primary", "attempts": 1, "retries": 0, "fallback": false, "outcome": "ok", "tokens_prompt": 2, "tokens_completion": 2,
	}, "m primary 1")
	f1("a stream", `{"model": "m", "stream": true, `+prompt+`}`, 200, map[string]any{
		"model": "m", "upstream": id(0), "tier": "primary", "attempts": 1, "retries": 0, "fallback": false, "outcome": "ok", "ttft": "some",
		"tokens_prompt": 22, "tokens_completion": 2, "estimated": true,
	}, "m primary 1")
	f1("an unknown model", `{"model": "my prompt", `+prompt+`}`, 404, map[string]any{
		"model": "_other", "attempts": 0, "retries": 0, "fallback": false, "outcome": "refused",
	}, "_other <nil> 0")
	a.plays(echomodel.Script{Fault: "status", Status: 500})
	f1("a failure", `{"model": "m", `+prompt+`}`, 200, map[string]any{
		"model": "m", "upstream": id(1), "tier": "fallback", "attempts": 2, "retries": 1, "fallback": true, "outcome": "ok", "tokens_prompt": 2, "tokens_completion": 2,
	}, "m fallback 2")
	f.plays(echomodel.Script{Fault: "status", Status: 503})
	f1("two failures", `{"model": "m", `+prompt+`}`, 503, map[string]any{
		"model": "m", "upstream": id(1), "tier": "fallback", "attempts": 2, "retries": 1, "fallback": true, "outcome": "failed", "reason": "status",
	}, "m fallback 2")
}
