package aigateway

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var shots = flag.Bool("shots", false, "write pictures of the admin endpoint's pages to docs/images")

// shownRecord is a record for people to look at; turns are roles and texts in turn.
type shownRecord struct {
	model, instance, status, finish string
	turns                           []string
	usage                           string
	more                            map[string]string // columns
}

// write appends the record to its file below dir. The n-th is n minutes older than noon.
func (r shownRecord) write(t testing.TB, dir string, n int) {
	t.Helper()
	quoted := func(v any) string {
		text, err := json.Marshal(v)
		must(t, err)
		return string(text)
	}
	var turns []map[string]string
	for k := 0; k < len(r.turns); k += 2 {
		turns = append(turns, map[string]string{"from": r.turns[k], "value": r.turns[k+1]})
	}
	ended := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC).Add(time.Duration(-n) * time.Minute)
	meta := fmt.Sprintf(`{"v":1,"status":%q,"endpoint":"chat","stream":true,"choice":0,"upstream_id":"chatcmpl-%d","instance":%q,"key":"","http":200,"ttft_ms":%d,`+
		`"latency_ms":%d,"usage":%s,"params":{"temperature":0.6,"max_tokens":4096},"flags":[],"outcome":"ok"}`, r.status, n, r.instance, 210+13*n, 2400+333*n, r.usage)
	column := func(name, other string) string {
		if text, ok := r.more[name]; ok {
			return quoted(text)
		}
		return quoted(other)
	}
	line := fmt.Sprintf(`{"id":"6ae2b9f24feaeb5d7cb89a036a2%05d-0","conversations":%s,"tools":%s,"model":%q,"created":%d,"finish_reason":%q,"meta":%s,"request":%s,"response":%s}`,
		n, quoted(turns), column("tools", "[]"), r.model, ended.Unix(), r.finish, quoted(meta), column("request", ""), column("response", ""))
	folder := mainFolder
	if r.status != "ok" && r.status != "length" {
		folder = incompleteFolder
	}
	path := filepath.Join(dir, folder, ended.Format("20060102_15")+".jsonl")
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	before, _ := os.ReadFile(path)
	writeFile(t, path, line+"\n"+string(before)) // the newest has been written first
}

// shownRecords are what admin.test.mjs expects.
func shownRecords() []shownRecord {
	const qwen, deepseek, llama, usage = "qwen3-235b-a22b-instruct", "deepseek-v3.2", "llama-3.3-70b", `{"prompt":120,"completion":340,"total":460}`
	all := []shownRecord{
		{qwen, "gpu-01", "ok", "stop", []string{
			"system", "Be brief.", "human", "Reverse a string in Go, please.", "gpt", "<think>\nRunes, not bytes. slices.Reverse exists since Go 1.21.\n</think>\n\n" +
				"Here is a small function:\n\n```go\nfunc reverse(s string) string {\n\tr := []rune(s)\n\tslices.Reverse(r)\n\treturn string(r)\n}\n```\n\n" +
				"It works on runes, so that “héllo” stays whole. For *grapheme clusters* use a library.",
		}, usage, nil},
		{qwen, "gpu-02", "ok", "stop", []string{
			"human", "What is the weather in Berlin?", "function_call", `{"name":"get_weather","arguments":{"city":"Berlin","unit":"celsius","days":3}}`,
			"observation", `{"today":"rain","temperature":7}`, "gpt", "It rains, 7 °C. Take a coat.",
		}, usage, map[string]string{
			"tools":   `[{"type":"function","function":{"name":"get_weather","description":"Weather of a city","parameters":{"type":"object","properties":{"city":{"type":"string"}}}}}]`,
			"request": `{"model":"qwen3","messages":[{"role":"user","content":"What is the weather in Berlin?"}]}`, "response": `{"role":"assistant","content":"It rains, 7 °C. Take a coat."}`,
		}},
		{deepseek, "h200-a", "ok", "stop", []string{"human", "用一句话解释什么是注意力机制。", "gpt", "注意力机制让模型在处理每个词时，按相关程度去看其他词。"}, usage, nil},
		{deepseek, "h200-b", "client_disconnect", "", []string{
			"human", "Tell me a very long story about a lighthouse.", "gpt", "Once upon a time, on a rock far out in the grey sea, there stood a lighthouse whose keeper had not spoken",
		}, "null", nil},
		{llama, "a100-1", "length", "length", []string{
			"human", "Summarise the report in ten points.", "gpt", "1. Revenue grew by 12 %.\n2. Costs fell.\n3. The board",
		}, `{"prompt":3811,"completion":4096,"total":7907}`, nil},
		{qwen, "gpu-03", "truncated", "", []string{"human", "Why does my build fail?\n```\nundefined: slices\n```", "gpt", "Because the module"}, "null", nil},
		{llama, "a100-2", "ok", "stop", []string{
			"human", "<script>window.harm=1</script></textarea>\"'><img src=x onerror=window.harm=1> \u202eturned", "gpt", "مرحبا بالعالم — שלום עולם. <b>bold</b>",
		}, usage, nil},
		{llama, "a100-2", "ok", "stop", []string{"human", "Give me eight million letters.", "gpt", strings.Repeat("letters ", 1<<20)}, usage, nil},
	}
	for n := range 40 {
		all = append(all, shownRecord{[]string{qwen, deepseek, llama}[n%3], []string{"gpu-01", "h200-a", "a100-1"}[n%3], "ok", "stop", []string{
			"human", fmt.Sprintf("Question number %d about the release notes of this week?", n), "gpt", "The release brings faster starts and fewer surprises.",
		}, usage, nil})
	}
	return all
}

// TestAdminBrowser runs the tests of internal/page/browser/admin.test.mjs in Chromium,
// against a running Caddy.
func TestAdminBrowser(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("skipped: node is not installed")
	}
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("skipped: chromium is not installed")
	}
	folder := filepath.Join("internal", "page", "browser")
	for _, module := range []string{"playwright-core", "axe-core"} {
		if _, err := os.Stat(filepath.Join(folder, "node_modules", module)); err != nil {
			t.Skipf("skipped: the npm package %s is not installed; run npm ci in internal/page/browser", module)
		}
	}
	whole := maxBrowsedTime
	maxBrowsedTime = time.Minute
	t.Cleanup(func() { maxBrowsedTime = whole })
	w := startWitness(t, nil)
	var fleet []string
	for _, name := range []string{"gpu-01", "gpu-02", "gpu-03"} {
		fleet = append(fleet, fmt.Sprintf(`{"url": "%s/%s/v1", "model_name": "qwen3-235b-a22b-instruct", "name": %q, "engine": "vllm"}`, w.URL, name, name))
	}
	g := startAdmin(t, `{"record": {"browse": true, "utc": true}, "instances": [`+strings.Join(fleet, ", ")+`]}`)
	for n, r := range shownRecords() {
		r.write(t, filepath.Join(g.dir, "data"), n)
	}
	foreign := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Referrer-Policy", r.FormValue("policy"))
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<!doctype html><title>other</title><link rel="icon" href="data:,"><form id="post" method="post"><input name="x"></form>`)
	}))
	defer foreign.Close()
	for enforced, pattern := range map[string]string{"": ".", "enforce_origin": "decide|within|list:|scripts"} {
		g.reload(t, enforced+"\norigins ADMIN \"\"")
		cmd := exec.CommandContext(t.Context(), node, "--test", "--test-reporter=spec", "--test-timeout=900000", "--test-name-pattern="+pattern, "admin.test.mjs")
		cmd.Dir = folder
		cmd.WaitDelay = 10 * time.Second
		cmd.Env = append(os.Environ(), "ADMIN=http://"+g.admin+adminRoot+"/", "FOREIGN="+foreign.URL+"/", "CHROMIUM="+chromium)
		if *shots && enforced == "" {
			images, err := filepath.Abs("docs/images")
			must(t, err)
			cmd.Env = append(cmd.Env, "SHOTS="+images)
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%q: node --test admin.test.mjs: %v\n%s", enforced, err, out)
		}
		t.Logf("%q:\n%s", enforced, out)
	}
}
