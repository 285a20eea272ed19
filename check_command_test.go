package aigateway

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheck guards the forms of what check prints.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	f := func(src string, want ...string) {
		t.Helper()
		outputs := checkOutputs(src, dir)
		for n, got := range outputs {
			outputs[n] = strings.TrimSuffix(got, "\n")
		}
		if got := outputs[0]; got != strings.Join(want[:len(want)-1], "\n") {
			t.Errorf("%s\ngot\n%s\nwant\n%s", src, got, strings.Join(want[:len(want)-1], "\n"))
		}
		if got := outputs[2]; got != want[len(want)-1] {
			t.Errorf("%s\ngot\n%s\nwant\n%s", src, got, want[len(want)-1])
		}
		if got := strings.NewReplacer(bold, "", red, "", yellow, "", plain, "").Replace(outputs[1]); got != outputs[0] {
			t.Errorf("%s\ncolored: got\n%s\nwant\n%s", src, got, outputs[0])
		}
	}
	f(two(`error_window: 5`),
		`config.json5: good: 2 instances, 1 model, 0 fallback instances`,
		`{"file":"config.json5","valid":true,"errors":[],"warnings":[],"summary":"config.json5: good: 2 instances, 1 model, 0 fallback instances"}`)
	f("{\n  instances: [\n\t{url: 'http://10.0.0.1', model_name: '模型', weight: 0}, {url: 'http://10.0.0.2', model_name: '*'},\n  ],\n"+
		"  fallback_instances: [{url: 'http://10.0.0.3', model_name: '*'}],\n}",
		`config.json5:3:53: warning: instances[0].weight: 0 gives the instance no requests; remove it, or want 1 or more`,
		"    \t{url: 'http://10.0.0.1', model_name: '模型', weight: 0}, {url: 'http://10.0.0.2', model_name: '*'},",
		"    \t"+strings.Repeat(" ", 53)+`^`,
		`config.json5: good, 1 warning: 2 instances, 2 models, 1 fallback instance`,
		`{"file":"config.json5","valid":true,"errors":[],"warnings":[{"line":3,"column":53,"path":"instances[0].weight",`+
			`"message":"0 gives the instance no requests; remove it, or want 1 or more"}],"summary":"config.json5: good, 1 warning: 2 instances, 2 models, 1 fallback instance"}`)
	f("{\n  instances: [{url: 'http://h', model_name: 'm', wieght: 2}],\n  error_threshold: 1,\n  eror_window: '<1>',\n}",
		`config.json5:2:50: error: instances[0]: unknown member "wieght"; did you mean "weight"?`,
		`      instances: [{url: 'http://h', model_name: 'm', wieght: 2}],`,
		`                                                     ^`,
		`config.json5:4:3: error: unknown member "eror_window"; did you mean "error_window"?`,
		`      eror_window: '<1>',`,
		`      ^`,
		`config.json5:3:20: warning: error_threshold: with 1 a single failure takes an instance out, and models do fail now and then; want 3 or more`,
		`      error_threshold: 1,`,
		`                       ^`,
		`config.json5: 2 errors, 1 warning`,
		`{"file":"config.json5","valid":false,"errors":[{"line":2,"column":50,"path":"instances[0]","message":"unknown member \"wieght\"; did you mean \"weight\"?"},`+
			`{"line":4,"column":3,"path":"","message":"unknown member \"eror_window\"; did you mean \"error_window\"?"}],`+
			`"warnings":[{"line":3,"column":20,"path":"error_threshold","message":"with 1 a single failure takes an instance out, and models do fail now and then; want 3 or more"}],`+
			`"summary":"config.json5: 2 errors, 1 warning"}`)
	f(`{instances: [`,
		`config.json5:1:14: error: instances: the file ends inside the array opened at 1:13`,
		`    {instances: [`,
		`                 ^`,
		`config.json5: 1 error`,
		`{"file":"config.json5","valid":false,"errors":[{"line":1,"column":14,"path":"instances","message":"the file ends inside the array opened at 1:13"}],`+
			`"warnings":[],"summary":"config.json5: 1 error"}`)
	f(``,
		`config.json5:1:1: error: the file is empty, want a value`,
		`config.json5: 1 error`,
		`{"file":"config.json5","valid":false,"errors":[{"line":1,"column":1,"path":"","message":"the file is empty, want a value"}],"warnings":[],"summary":"config.json5: 1 error"}`)

	colored := checkOutputs(`{instances: []}`, dir)[1]
	if want := "\x1b[1mconfig.json5:1:13:\x1b[0m \x1b[1;31merror:\x1b[0m instances: no instances"; !strings.HasPrefix(colored, want) {
		t.Errorf("got %q, want it to begin with %q", colored, want)
	}
}

// TestCheckFile guards what is read, and from where relative paths start.
func TestCheckFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "fleet.json5")
	writeFile(t, filepath.Join(dir, "key"), "k")
	writeFile(t, file, pair(`url: 'http://h', api_key: '{file.key}'`))
	check, err := checkFile(file, strings.NewReader("not this"))
	if want := file + ": good: 2 instances, 1 model, 0 fallback instances"; err != nil || check.summary() != want {
		t.Errorf("got %s, %v, want %s", check.summary(), err, want)
	}
	writeFile(t, file, pair(`url: 'http://h', api_key: 'k'`))
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if check, err = checkFile(file, nil); err != nil || len(check.warnings) != 1 || check.warnings[0].Path != "instances[0].api_key" {
		t.Errorf("mode 0644: got %v, %v, want a warning about the key", check.warnings, err)
	}
	t.Chdir(dir)
	check, err = checkFile("-", strings.NewReader(pair(`url: 'http://h', api_key: '{file.key}'`)))
	if want := "stdin: good: 2 instances, 1 model, 0 fallback instances"; err != nil || check.summary() != want {
		t.Errorf("got %s, %v, want %s", check.summary(), err, want)
	}
	check, err = checkFile("-", bytes.NewReader(make([]byte, 9<<20)))
	if err != nil || len(check.mistakes) != 1 || !strings.Contains(check.mistakes[0].Msg, "want at most 8388608") {
		t.Errorf("9 MiB: got %v, %v, want a mistake", check.mistakes, err)
	}
	for _, name := range []string{"none.json5", "."} {
		if _, err := checkFile(name, nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got error %v, want one with its name", name, err)
		}
	}
}

// FuzzCheck guards that check survives whatever stands in a file, agrees with the
// gateway on whether it is good, and keeps its forms.
func FuzzCheck(f *testing.F) {
	for _, file := range []string{"config.json5", "testdata/ancestor.json5"} {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	for _, src := range []string{
		two(`timeouts: {stall: 1, total: 2}, retries: {attempts: 1}`), pair(`url: 'http://8.8.8.8', weight: 0, api_key: 'k'`), setting(`record: {redact: ['a*', '(']}`),
		`{instances: [null, {}, 1, {url: a, weight: 01}], fallback_instances: [{url: 'https://a.b'}]}`, `{data_dir: '/dev/null/x', instances: {`,
	} {
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src string) {
		outputs := checkOutputs(src, "/nowhere")
		_, err := parseConfig([]byte(src), "/nowhere")
		var printed struct{ Valid bool }
		if jsonErr := json.Unmarshal([]byte(outputs[2]), &printed); jsonErr != nil || printed.Valid != (err == nil) {
			t.Errorf("%q\ngot %s, %v\nthe gateway says %v", src, outputs[2], jsonErr, err)
		}
		for line := range strings.Lines(outputs[0]) {
			if !strings.HasPrefix(line, "config.json5:") && !strings.HasPrefix(line, "    ") {
				t.Errorf("%q\ngot a line of no kind: %q", src, line)
			}
		}
	})
}
