package integration

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// outcome runs the binary with a standard input and returns what it printed and
// its exit status.
func outcome(t testing.TB, dir, stdin string, env []string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := command(t, dir, env, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

const (
	goodFleet     = `{instances: [{url: "http://10.0.0.1/v1", model_name: "m"}, {url: "http://10.0.0.2/v1", model_name: "m"}]}`
	doubtfulFleet = `{instances: [{url: "http://10.0.0.1/v1", model_name: "m", api_key: "hunter2"}], error_threshold: 1}`
	badFleet      = "{\n  instances: [{url: 'http://10.0.0.1/v1', model_name: 'm', api_key: 'hunter2', wieght: 3}],\n  error_window: 0, error_threshold: 1,\n}\n"
)

// TestCheckCommand guards that the built binary tells all that is wrong with a file,
// by text, JSON and exit status, without colors and keys.
func TestCheckCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "config.json5")
	f := func(name, stdin string, status int, want string, args ...string) {
		t.Helper()
		out, errs, got := outcome(t, dir, stdin, nil, append([]string{"ai-gateway", "check"}, args...)...)
		if got != status || !strings.HasSuffix(out, want) || errs != "" {
			t.Errorf("%s: got status %d, %s%s\nwant %d, %s", name, got, out, errs, status, want)
		}
		for _, no := range []string{"hunter2", "\x1b"} {
			if strings.Contains(out, no) {
				t.Errorf("%s: %q is printed: %s", name, no, out)
			}
		}
	}
	write(t, file, goodFleet)
	const good = ": good: 2 instances, 1 model, 0 fallback instances\n"
	f("good", "", 0, "config.json5"+good)
	f("good, strict", "", 0, "config.json5"+good, "--strict")
	f("good, stdin", goodFleet, 0, "stdin"+good, "-")
	f("good, by its path", "", 0, file+good, file)
	write(t, file, doubtfulFleet)
	const doubtful = "config.json5: good, 2 warnings: 1 instance, 1 model, 0 fallback instances\n"
	f("warnings", "", 0, doubtful)
	f("warnings, strict", "", 1, doubtful, "--strict")
	write(t, file, badFleet)
	const bad = `config.json5:2:80: error: instances[0]: unknown member "wieght"; did you mean "weight"?
      instances: [{url: 'http://10.0.0.1/v1', model_name: 'm', api_key: '***', wieght: 3}],
                                                                               ^
config.json5:3:17: error: error_window: got less than a second, want 1 or more
      error_window: 0, error_threshold: 1,
                    ^
config.json5:3:37: warning: error_threshold: with 1 a single failure takes an instance out, and models do fail now and then; want 3 or more
      error_window: 0, error_threshold: 1,
                                        ^
config.json5: 2 errors, 1 warning
`
	f("errors", "", 1, bad)
	f("errors, strict", "", 1, bad, "--strict")

	out, _, status := outcome(t, dir, "", nil, "ai-gateway", "check", "--json")
	var printed struct {
		File             string
		Valid            *bool
		Errors, Warnings []struct {
			Line, Column  int
			Path, Message string
		}
		Summary string
	}
	if err := json.Unmarshal([]byte(out), &printed); err != nil || status != 1 || printed.Valid == nil || *printed.Valid ||
		len(printed.Errors) != 2 || len(printed.Warnings) != 1 || printed.Errors[1].Line != 3 || printed.Errors[1].Column != 17 ||
		printed.Errors[1].Path != "error_window" || printed.Summary != "config.json5: 2 errors, 1 warning" {
		t.Errorf("--json: got status %d, %v, %s", status, err, out)
	}

	if _, errs, status := outcome(t, dir, "", nil, "ai-gateway", "check", "none.json5"); status != 1 || !strings.Contains(errs, "none.json5: no such file") {
		t.Errorf("no file: got status %d, %s", status, errs)
	}
	if _, errs, status := outcome(t, dir, "", nil, "ai-gateway", "check", "a", "b"); status != 1 || !strings.Contains(errs, "at most 1 arg") {
		t.Errorf("two files: got status %d, %s", status, errs)
	}
}

// TestValidateCommand guards that Caddy's own commands refuse a file with mistakes,
// and say where they are.
func TestValidateCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "Caddyfile"), ":9999 {\n\tai_gateway\n}\n")
	write(t, filepath.Join(dir, "config.json5"), badFleet)
	for _, args := range [][]string{{"validate", "--config", "Caddyfile"}, {"adapt", "--config", "Caddyfile", "--validate"}} {
		out, errs, status := outcome(t, dir, "", nil, args...)
		all := strings.ReplaceAll(out+errs, `\"`, `"`) // the log is JSON
		for _, want := range []string{
			`config.json5: 2:80: instances[0]: unknown member "wieght"; did you mean "weight"?`, `3:17: error_window: got less than a second, want 1 or more`,
		} {
			if status != 1 || !strings.Contains(all, want) {
				t.Errorf("%s: got status %d, %s\nwant 1 and %s", args[0], status, all, want)
			}
		}
		if strings.Contains(all, "hunter2") {
			t.Errorf("%s shows the key: %s", args[0], all)
		}
	}
	write(t, filepath.Join(dir, "config.json5"), doubtfulFleet)
	_, errs, status := outcome(t, dir, "", nil, "validate", "--config", "Caddyfile")
	if n := strings.Count(errs, "fleet's file has a doubtful setting"); status != 0 || n != 2 || strings.Contains(errs, "hunter2") {
		t.Errorf("warnings: got status %d, %d warnings, want 0 and 2: %s", status, n, errs)
	}
}

// TestSchemaCommand guards that the binary prints the schema that is shipped.
func TestSchemaCommand(t *testing.T) {
	t.Parallel()
	out, _ := run(t, t.TempDir(), nil, "ai-gateway", "schema")
	if want := read(t, filepath.Join("..", "config.schema.json")); out != want || !json.Valid([]byte(out)) {
		t.Errorf("got %d bytes, want the %d of config.schema.json", len(out), len(want))
	}
}
