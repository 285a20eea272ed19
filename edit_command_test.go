package aigateway

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// editRun is a folder with a fleet's file that is edited.
type editRun struct {
	t    *testing.T
	file string
}

// newEditRun writes a fleet's file.
func newEditRun(t *testing.T, text string) *editRun {
	t.Helper()
	e := &editRun{t, filepath.Join(t.TempDir(), "config.json5")}
	writeFile(t, e.file, text)
	return e
}

// text returns what the file holds.
func (e *editRun) text() string {
	e.t.Helper()
	text, err := os.ReadFile(e.file)
	if err != nil {
		e.t.Fatal(err)
	}
	return string(text)
}

// run edits the file and returns what that prints.
func (e *editRun) run(args ...string) (stdout, stderr string, err error) {
	return runCommand(append([]string{"edit", "--config", e.file}, args...)...)
}

// good edits the file, which must go well, and leave nothing else in the folder.
func (e *editRun) good(args ...string) (stdout string) {
	e.t.Helper()
	stdout, stderr, err := e.run(args...)
	if err != nil || stderr != "" {
		e.t.Fatalf("edit %q: %v, and it says %q", args, err, stderr)
	}
	e.alone()
	return stdout
}

// alone checks that the folder holds nothing but the file.
func (e *editRun) alone() {
	e.t.Helper()
	if left, err := os.ReadDir(filepath.Dir(e.file)); err != nil || len(left) != 1 {
		e.t.Errorf("got %v in the folder, %v, want the file alone", left, err)
	}
}

// refused edits the file, which must fail with this text and change nothing.
func (e *editRun) refused(want string, args ...string) {
	e.t.Helper()
	before := e.text()
	stdout, stderr, err := e.run(args...)
	if err == nil || !strings.Contains(err.Error(), want) || stdout != "" {
		e.t.Errorf("edit %q: got %v and %q, want an error with %q", args, err, stdout, want)
	}
	if e.text() != before {
		e.t.Errorf("edit %q: the file has changed to %s", args, e.text())
	}
	if strings.Contains(fmt.Sprint(err)+stderr, "hunter2") {
		e.t.Errorf("edit %q: a key is shown: %v %s", args, err, stderr)
	}
	e.alone()
}

// newEntry are the flags of an instance to add.
var newEntry = []string{"add", "--url", "http://n:1/v1", "--model", "m"}

// TestEdit guards that edits change the bytes they must and no others.
func TestEdit(t *testing.T) {
	f := func(file string, args []string, want string) {
		t.Helper()
		e := newEditRun(t, file)
		diff, _, err := e.run(append(args, "--dry-run")...)
		if err != nil || !strings.HasPrefix(diff, "--- ") || e.text() != file {
			t.Errorf("edit %q --dry-run: got %q, %v, and the file %q", args, diff, err, e.text())
		}
		if got := patched(t, file, diff); got != want {
			t.Errorf("edit %q --dry-run of %q: the diff makes it\n%q, want\n%q", args, file, got, want)
		}
		e.good(args...)
		if got := e.text(); got != want {
			t.Errorf("edit %q of %q:\ngot  %q\nwant %q", args, file, got, want)
		}
	}
	remove, drain, undrain, weight := []string{"remove", "a:1"}, []string{"drain", "a:1"}, []string{"undrain", "a:1"}, []string{"set-weight", "a:1", "7"}

	// Minified JSON.
	const minified = `{"instances":[{"url":"http://a:1/v1","model_name":"m"},{"url":"http://b:1/v1","model_name":"m"}]}`
	f(minified, newEntry, `{"instances":[{"url":"http://a:1/v1","model_name":"m"},{"url":"http://b:1/v1","model_name":"m"},{"url":"http://n:1/v1","model_name":"m"}]}`)
	f(minified, remove, `{"instances":[{"url":"http://b:1/v1","model_name":"m"}]}`)
	f(minified, drain, `{"instances":[{"url":"http://a:1/v1","model_name":"m","drain":true},{"url":"http://b:1/v1","model_name":"m"}]}`)
	f(minified, weight, `{"instances":[{"url":"http://a:1/v1","model_name":"m","weight":7},{"url":"http://b:1/v1","model_name":"m"}]}`)
	f(minified, append(newEntry, "--fallback"), `{"instances":[{"url":"http://a:1/v1","model_name":"m"},{"url":"http://b:1/v1","model_name":"m"}],"fallback_instances":[{"url":"http://n:1/v1","model_name":"m"}]}`)

	// CRLF, tabs, a byte order mark, comments before, after and inside entries.
	const windows = "\uFEFF// top\r\n{\r\n\tinstances: [ // list\r\n\t\t// first\r\n\t\t{\r\n\t\t\turl: 'http://a:1/v1', // where\r\n\t\t\t/* what */ model_name: 'm',\r\n\t\t\tweight: 0x2, // 2\r\n\t\t}, // end of first\r\n" +
		"\t\t// second\r\n\t\t{\r\n\t\t\turl: 'http://b:1/v1',\r\n\t\t\tmodel_name: 'm' // last\r\n\t\t} // end of second\r\n\t\t// end\r\n\t],\r\n}\r\n// bottom"
	f(windows, newEntry, strings.Replace(windows, "\t\t} // end of second\r\n", "\t\t}, // end of second\r\n\t\t{\r\n\t\t\turl: 'http://n:1/v1',\r\n\t\t\tmodel_name: 'm'\r\n\t\t}\r\n", 1))
	f(windows, remove, strings.Replace(windows, windows[strings.Index(windows, "\t\t{"):strings.Index(windows, "\t\t// second")], "", 1))
	f(windows, []string{"remove", "b:1"}, strings.Replace(strings.Replace(windows, windows[strings.LastIndex(windows, "\t\t{"):strings.Index(windows, "\t\t// end\r\n")], "", 1), "}, // end of first", "} // end of first", 1))
	f(windows, weight, strings.Replace(windows, "0x2", "7", 1))
	f(windows, drain, strings.Replace(windows, "0x2, // 2\r\n", "0x2, // 2\r\n\t\t\tdrain: true,\r\n", 1))
	f(windows, []string{"drain", "b:1"}, strings.Replace(windows, "'m' // last\r\n", "'m', // last\r\n\t\t\tdrain: true\r\n", 1))

	// A file that drains.
	const drains = "{\n  instances: [\n    { url: \"http://a:1/v1\", model_name: \"m\", drain: true },\n    {\n      drain: true, // for the fan\n      url: \"http://b:1/v1\",\n      model_name: \"m\",\n    },\n  ],\n}\n"
	f(drains, undrain, strings.Replace(drains, ", drain: true }", " }", 1))
	f(drains, []string{"undrain", "b:1"}, strings.Replace(drains, "      drain: true, // for the fan\n", "", 1))
	f(strings.ReplaceAll(drains, "true", "false"), drain, strings.Replace(strings.ReplaceAll(drains, "true", "false"), "false", "true", 1))

	// No list, null, an empty one, and one with comments only.
	const other = "{\n  \"fallback_instances\": [\n    {\n      \"url\": \"http://a:1/v1\",\n      \"model_name\": \"m\"\n    }\n  ]%s\n}\n"
	const added = "[\n    {\n      \"url\": \"http://n:1/v1\",\n      \"model_name\": \"m\"\n    }\n  ]"
	f(fmt.Sprintf(other, ""), newEntry, fmt.Sprintf(other, ",\n  \"instances\": "+added))
	f(fmt.Sprintf(other, `, "instances": null`), newEntry, fmt.Sprintf(other, `, "instances": `+added))
	f(fmt.Sprintf(other, `, "instances": []`), newEntry, fmt.Sprintf(other, `, "instances": `+added))
	f("{ instances: [\n // none\n ], fallback_instances: [{ url: 'http://a:1/v1', model_name: 'm' }] }", newEntry,
		"{ instances: [\n // none\n { url: 'http://n:1/v1', model_name: 'm' }], fallback_instances: [{ url: 'http://a:1/v1', model_name: 'm' }] }")

	// The ancestor's file, and the shipped one.
	ancestor := readText(t, filepath.Join("testdata", "ancestor.json5"))
	f(ancestor, append(newEntry, "--weight", "1"), strings.Replace(ancestor, "      }\n    ],\n    \"fallback", "      },\n      {\n        \"url\": \"http://n:1/v1\",\n        \"model_name\": \"m\",\n        \"weight\": 1\n      }\n    ],\n    \"fallback", 1))
	f(ancestor, append(newEntry, "--fallback"), strings.Replace(ancestor, "      }\n\n    ],", "      },\n      {\n        \"url\": \"http://n:1/v1\",\n        \"model_name\": \"m\"\n      }\n\n    ],", 1))
	f(ancestor, []string{"remove", "10.82.1.1:8080"}, cutLines(ancestor, 3, 8))
	f(ancestor, []string{"remove", "10.82.1.2:8080"}, strings.Replace(cutLines(ancestor, 9, 14), "      },\n    ],", "      }\n    ],", 1))
	f(ancestor, []string{"drain", "10.82.1.2:8080"}, strings.Replace(ancestor, "1\n      }\n    ],\n    \"fall", "1,\n       \"drain\": true\n      }\n    ],\n    \"fall", 1))
	shipped := readText(t, "config.json5")
	last := "    { url: \"http://127.0.0.1:9102/v1\", model_name: \"echo\", weight: 1 },\n"
	f(shipped, append(newEntry, "--weight", "2"), strings.Replace(shipped, last, last+"    { url: \"http://n:1/v1\", model_name: \"m\", weight: 2 },\n", 1))
	f(shipped, append(newEntry, "--fallback"), strings.Replace(shipped, "//},\n  ],\n\n  // How", "//},\n    { url: \"http://n:1/v1\", model_name: \"m\" },\n  ],\n\n  // How", 1))
	f(shipped, []string{"remove", "127.0.0.1:9102"}, strings.Replace(shipped, last, "", 1))
	f(shipped, []string{"set-weight", "127.0.0.1:9102", "0"}, strings.Replace(shipped, last, strings.Replace(last, "weight: 1", "weight: 0", 1), 1))
}

func readText(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// cutLines returns text without the lines from one to another, counted from 1.
func cutLines(text string, from, to int) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(append(lines[:from-1:from-1], lines[to:]...), "")
}

// keys matches those of the ancestor's file.
var keys = regexp.MustCompile(`("api_key": ?)"[^"]*"`)

var hunk = regexp.MustCompile(`^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@$`)

// patched applies a diff of one hunk to text, and checks that its lines and numbers fit.
func patched(t *testing.T, text, diff string) string {
	t.Helper()
	diff = strings.ReplaceAll(diff, "\n\\ No newline at end of file\n", "\x00")
	lines := strings.SplitAfter(diff, "\n")
	var body []string
	for _, line := range lines[3:] { // what lacks its line end stands before the mark
		body = append(body, strings.SplitAfter(line, "\x00")...)
	}
	var from, count, to, countTo int
	m := hunk.FindStringSubmatch(strings.TrimSuffix(lines[2], "\n"))
	if m == nil {
		t.Fatalf("got %q, want a hunk", lines[2])
	}
	for n, p := range []*int{&from, &count, &to, &countTo} {
		if *p = 1; m[n+1] != "" {
			fmt.Sscan(m[n+1], p)
		}
	}
	old := strings.SplitAfter(text, "\n")
	if from != to || from < 1 {
		t.Errorf("hunk %s begins at different lines", m[0])
	}
	out, at := append([]string{}, old[:from-1]...), from-1
	for _, line := range body {
		if line == "" {
			continue
		}
		sign, rest := line[0], strings.TrimSuffix(line[1:], "\x00")
		if sign != '+' {
			if shown := keys.ReplaceAllString(old[at], `$1"***"`); shown != rest {
				t.Errorf("diff has %q, the file %q", rest, old[at])
			}
			if sign == ' ' {
				rest = old[at]
			}
			at++
			count--
		}
		if sign != '-' {
			out = append(out, rest)
			countTo--
		}
	}
	if count != 0 || countTo != 0 {
		t.Errorf("hunk %s has %d and %d lines less than it says", m[0], count, countTo)
	}
	return strings.Join(append(out, old[at:]...), "")
}

// TestEditBack guards that what an edit adds its opposite takes away again.
func TestEditBack(t *testing.T) {
	for _, file := range []string{readText(t, "config.json5"), readText(t, filepath.Join("testdata", "ancestor.json5")), fleetOf("http://a:1/v1", "http://b:1/v1")} {
		e := newEditRun(t, file)
		e.good(newEntry...)
		e.good("drain", "n:1")
		e.good("set-weight", "n:1", "5")
		e.good("undrain", "n:1")
		e.good("remove", "n:1")
		if e.text() != file {
			t.Errorf("got %q, want %q again", e.text(), file)
		}
	}
}

// TestEditAddMembers guards all that can be said of a new instance.
func TestEditAddMembers(t *testing.T) {
	t.Setenv("EDIT_TEST_KEY", "hunter2")
	e := newEditRun(t, `{instances: [{url: 'http://a:1/v1', model_name: 'm'}]}`)
	got := e.good("add", "--url", "https://n/maas/v1", "--model", "it's", "--weight", "0", "--name", "gpu-9", "--api-key-env", "EDIT_TEST_KEY",
		"--upstream-model", `a"b\c`, "--engine", "vllm", "--max-concurrency", "64")
	want := `{instances: [{url: 'http://a:1/v1', model_name: 'm'}, {url: 'https://n/maas/v1', model_name: 'it\'s', upstream_model: 'a"b\\c', api_key: '{env.EDIT_TEST_KEY}', weight: 0, max_concurrency: 64, name: 'gpu-9', engine: 'vllm'}]}`
	if e.text() != want || got != "added https://n/maas/v1 to instances\n" {
		t.Errorf("got %q and\n%s, want\n%s", got, e.text(), want)
	}
	e = newEditRun(t, `{instances: [{url: 'http://a:1/v1', model_name: 'm'}]}`)
	e.good("add", "--url", "http://fleet:8000/v1", "--discover", "--resolve", "a", "--context-length", "8192")
	want = `{instances: [{url: 'http://a:1/v1', model_name: 'm'}, {url: 'http://fleet:8000/v1', discover: true, resolve: 'a', context_length: 8192}]}`
	if e.text() != want {
		t.Errorf("got\n%s, want\n%s", e.text(), want)
	}
	// A key's file in the folder of the file is named from there.
	writeFile(t, filepath.Join(filepath.Dir(e.file), "k"), "hunter2")
	outside := filepath.Join(t.TempDir(), "k")
	writeFile(t, outside, "hunter2")
	for path, written := range map[string]string{filepath.Join(filepath.Dir(e.file), "k"): "k", outside: outside} {
		out, _, err := e.run("add", "--url", "http://n:1/v1", "--model", "m", "--api-key-file", path, "--dry-run")
		if err != nil || !strings.Contains(out, "api_key: '{file."+written+"}'") {
			t.Errorf("key in %s: got %s, %v", path, out, err)
		}
	}
}

// TestEditRefused guards what is not done, and the reasons given.
func TestEditRefused(t *testing.T) {
	const file = "{instances: [\n  {url: 'http://a:1/v1', model_name: 'm', api_key: 'hunter2'},\n  {url: 'http://a:1/v1', model_name: 'n', name: 'gpu-8'},\n]}"
	e := newEditRun(t, file)
	add := func(want string, flags ...string) { t.Helper(); e.refused(want, append([]string{"add"}, flags...)...) }
	add("want --url, and --model or --discover")
	add("want --url, and --model or --discover", "--url", "http://n:1/v1")
	add("instances[2].resolve: want one of a, aaaa, srv", append(newEntry[1:], "--resolve", "mx")...)
	add("stays in the shell's history and in the list of processes", append(newEntry[1:], "--api-key", "hunter2")...)
	add("stays in the shell's history and in the list of processes", append(newEntry[1:], "--api-key=hunter2")...)
	add("want the name of an environment variable", append(newEntry[1:], "--api-key-env", "sk-hunter2")...)
	add("want one of them", append(newEntry[1:], "--api-key-env", "A", "--api-key-file", "b")...)
	add(`want a path without "}"`, append(newEntry[1:], "--api-key-file", "a}b")...)
	add("environment variable EDIT_TEST_MISSING is not set", append(newEntry[1:], "--api-key-env", "EDIT_TEST_MISSING")...)
	add("no such file", append(newEntry[1:], "--api-key-file", "missing")...)
	add("instances[2].url: want a URL that begins with http:// or https://", "--url", "n:1", "--model", "m")
	add("instances[2].url: holds a user name", "--url", "http://u:hunter2@n:1/v1", "--model", "m")
	add("instances[2].weight: got 1001, want 0 to 1000", append(newEntry[1:], "--weight", "1001")...)
	add("instances[2].max_concurrency: got -1, want 0 or more", append(newEntry[1:], "--max-concurrency", "-1")...)
	add("instances[2].engine: want one of vllm, sglang", append(newEntry[1:], "--engine", "vlm")...)
	add("instances[2].name: the same name as instances[1] on line 3", append(newEntry[1:], "--name", "gpu-8")...)
	add("instances[2]: the same url, model_name and api_key as instances[1] on line 3", "--url", "http://a:1/v1", "--model", "n")
	add("is not UTF-8", append(newEntry[1:], "--name", "a\xff")...)

	e.refused(`no instance is called "gpu-9"; did you mean "gpu-8"?`, "drain", "gpu-9")
	e.refused(`no instance is called "a:11"; did you mean "a:1"?`, "drain", "a:11")
	e.refused(`no instance is called "nowhere"; there are a:1/v1, gpu-8`, "drain", "nowhere")
	ids := identify([]*InstanceConfig{{URL: "http://a:1/v1", ModelName: "m"}, {URL: "http://a:1/v1", ModelName: "n"}}, nil)
	e.refused("\"a:1\" is 2 instances, give the ID of one:\n  "+ids[0].id+"  a:1/v1, model m, instances[0] on line 2\n  "+ids[1].id+"  gpu-8, model n, instances[1] on line 3", "drain", "a:1")
	e.refused(`got weight "many", want 0 to 1000`, "set-weight", "gpu-8", "many")
	e.refused(`got weight "1001", want 0 to 1000`, "set-weight", "gpu-8", "1001")
	e.refused("accepts 1 arg(s), received 0", "drain")

	e.good("remove", "gpu-8")
	e.refused("it would not be valid, and stays as it was: 1:13: instances: no instances, want at least one", "remove", "a:1")
	e = newEditRun(t, `{instances: [{url: 'http://a:1/v1', model_name: 'm', wieght: 1}]}`)
	e.refused(`it has mistakes, which must be mended first: 1:54: instances[0]: unknown member "wieght"`, "drain", "a:1")
	e = newEditRun(t, "{instances: [{url: 'http://a:1/v1', api_key: 'hunter2' model_name: 'm'}]}")
	e.refused(`it has mistakes, which must be mended first: 1:`, "drain", "a:1")
	if _, _, err := runCommand("edit", "--config", filepath.Join(t.TempDir(), "none"), "drain", "a"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
}

// TestEditNames guards all the ways to name an instance.
func TestEditNames(t *testing.T) {
	const file = `{instances: [{url: 'HTTP://A.example/maas/v1/', model_name: 'm'}, {url: 'http://b:1/v1', model_name: 'm', name: 'a.example:80'}]}`
	id := identify([]*InstanceConfig{{URL: "http://a.example/maas/v1", ModelName: "m"}}, nil)[0].id
	for name, want := range map[string]int{
		"http://a.example/maas/v1": 0, "HTTP://A.example:80/maas/v1/": 0, "a.example/maas/v1": 0, id: 0,
		"a.example:80": 1, "b:1": 1, "B:1": 1, "http://b:1/v1": 1, // a name of its own goes before
	} {
		f, err := readFleetText([]byte(file), "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := f.find(name); err != nil || e.n != want {
			t.Errorf("%s: got %+v, %v, want instance %d", name, e, err, want)
		}
	}
}

// TestEditNothing guards that what is so already writes nothing and is no error.
func TestEditNothing(t *testing.T) {
	e := newEditRun(t, `{instances: [{url: 'http://a:1/v1', model_name: 'm'}, {url: 'http://b:1/v1', model_name: 'm', drain: true}]}`)
	before, err := os.Stat(e.file)
	if err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"a:1/v1 does not drain\n": {"undrain", "a:1"}, "b:1/v1 drains already\n": {"drain", "b:1"}, "a:1/v1 has weight 1 already\n": {"set-weight", "a:1", "1"},
	} {
		if got := e.good(args...); got != want {
			t.Errorf("%q: got %q, want %q", args, got, want)
		}
		if out, errs, err := e.run(append(args, "--dry-run")...); out != "" || errs != want || err != nil {
			t.Errorf("%q --dry-run: got %q %q %v, want %q", args, out, errs, err, want)
		}
	}
	if after, err := os.Stat(e.file); err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was replaced, %v", err)
	}
}

// TestEditEnvironment guards that a gateway's variables need not be known to edit its file,
// but for those that the edit brings in.
func TestEditEnvironment(t *testing.T) {
	const file = `{instances: [{url: 'http://{env.EDIT_TEST_A}:1/v1', model_name: 'm', api_key: '{env.EDIT_TEST_B}{file./none/k}'}, {url: 'http://{env.EDIT_TEST_C}:1/v1', model_name: 'm', api_key: 'hunter2'}]}`
	e := newEditRun(t, file)
	out, notes, err := e.run(append(newEntry, "--api-key-env", "EDIT_TEST_B", "--dry-run")...)
	if err != nil || !strings.Contains(out, "api_key: '{env.EDIT_TEST_B}'}]}") || strings.Contains(out, "hunter2") || !strings.Contains(out, "api_key: '***'") {
		t.Errorf("got %s, %v", out, err)
	}
	want := "note: what {env.EDIT_TEST_A} stands for is not checked: environment variable EDIT_TEST_A is not set\n" +
		"note: what {env.EDIT_TEST_B} stands for is not checked: environment variable EDIT_TEST_B is not set\n" +
		"note: what {env.EDIT_TEST_C} stands for is not checked: environment variable EDIT_TEST_C is not set\n" +
		"note: what {file./none/k} stands for is not checked: file placeholder: stat /none/k: no such file or directory\n"
	if notes != want {
		t.Errorf("got %s, want %s", notes, want)
	}
	e.refused("environment variable EDIT_TEST_D is not set", append(newEntry, "--api-key-env", "EDIT_TEST_D")...)
}

// TestEditReceivers guards that an edit shows no address of a receiver, and does not need
// those that are placeholders.
func TestEditReceivers(t *testing.T) {
	const file = `{
  alerts: { receivers: [
    { type: 'dingtalk', url: '{env.EDIT_TEST_A}', secret: 'hunter2' },
    { type: 'slack', url: 'https://h/services/T/B/hunter2', name: 'a' }, // https://hooks.slack.com/services/T/B/hunter2
    //{ url: 'gotify://h/hunter2' },
    { url: 'telegram://hunter2@telegram?chats=1' } ] }, instances: [ {url: 'http://a:1/v1', model_name: 'm'} ],
}
`
	e := newEditRun(t, file)
	out, _, err := e.run(append(newEntry, "--dry-run")...)
	if err != nil || !strings.Contains(out, "gotify://***") || strings.Contains(out, "hunter2") {
		t.Errorf("got %s, %v, want a diff without what opens a receiver", out, err)
	}
	if _, _, err := e.run(newEntry...); err != nil || !strings.Contains(e.text(), "http://n:1/v1") {
		t.Errorf("got %s, %v, want the new instance", e.text(), err)
	}
}

// TestEditParallel guards that of edits at the same time none is lost.
func TestEditParallel(t *testing.T) {
	const n = 20
	e := newEditRun(t, fleetOf("http://a:1/v1"))
	var wg sync.WaitGroup
	for k := range n {
		wg.Go(func() {
			if out, errs, err := e.run("add", "--url", fmt.Sprintf("http://n%d:1/v1", k), "--model", "m"); err != nil {
				t.Errorf("got %s %s %v", out, errs, err)
			}
		})
	}
	wg.Wait()
	f, err := readFleetText([]byte(e.text()), "/", nil)
	if err != nil || len(f.entries) != n+1 {
		t.Fatalf("got %s, %v, want %d instances", e.text(), err, n+1)
	}
	for k := range n {
		if _, err := f.find(fmt.Sprintf("n%d:1", k)); err != nil {
			t.Error(err)
		}
	}
	e.alone()
}
