package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// pages returns the files of docs.
func pages(t testing.TB) (files []string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join("..", "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range found {
		files = append(files, filepath.Join("docs", filepath.Base(file)))
	}
	if len(files) < 11 {
		t.Fatalf("docs has the pages %q, want more", files)
	}
	return files
}

// TestDocsSnippets guards that what stands in a box of docs is a part of the file that
// it is said to be of, or a configuration that Caddy loads. Commands are run by
// TestDocsCommands.
func TestDocsSnippets(t *testing.T) {
	t.Parallel()
	for _, file := range pages(t) {
		for _, b := range blocks(t, file) {
			t.Run(fmt.Sprintf("%s:%d", file, b.line), func(t *testing.T) {
				t.Parallel()
				switch {
				case b.from != "":
					if whole := read(t, filepath.Join("..", b.from)); !strings.Contains("\n"+whole, "\n"+b.text) {
						t.Errorf("this is no part of %s:\n%s", b.from, b.text)
					}
				case b.language == "json" && b.text == "[]\n": // keys.json5 of validate
				case slices.Contains([]string{"caddyfile", "json5"}, b.language):
					validate(t, b)
				case b.language == "sh", b.language == "text": // run, or printed
				default:
					t.Errorf("a box of %s wants a comment above that names its file", b.language)
				}
			})
		}
	}
}

// stranger stands in for a program that is not run here: it wants the files of the
// repository that are named to it.
const stranger = `#!/bin/sh
for word; do
	word=${word%%:/*} word=${word#./}
	case $word in deploy/*|examples/*)
		test -e "$REPOSITORY/$word" || { echo "there is no $word" >&2; exit 1; } ;;
	esac
done
`

// TestDocsCommands runs the commands of each page of docs, one after the other, beside
// a gateway that is started from the example files.
func TestDocsCommands(t *testing.T) {
	t.Parallel()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	repository, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	tools := t.TempDir()
	if err := os.Symlink(binary, filepath.Join(tools, "caddy")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"docker", "kubectl", "sudo", "go", "llamafactory-cli", "axolotl", "swift"} {
		if err := os.WriteFile(filepath.Join(tools, name), []byte(stranger), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range pages(t) {
		script, blocks := "", blocks(t, file)
		for _, b := range blocks {
			if b.language == "sh" {
				script += b.text
			}
		}
		if script == "" {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath("curl"); err != nil {
				t.Skip("curl is not here")
			}
			g := start(t)
			config := read(t, g.file)
			port := regexp.MustCompile(`url: "http://(127\.0\.0\.1:\d+)/v1"`).FindStringSubmatch(config)
			if port == nil {
				t.Fatal("config.json5 names no instance")
			}
			script := strings.NewReplacer("http://127.0.0.1:9999", g.url, "localhost:2019", g.admin, "127.0.0.1:9101", port[1], "./caddy ", "caddy ").Replace(script)
			cmd := exec.Command("sh", "-eux", "-c", script)
			cmd.Dir = g.dir
			cmd.Env = append(os.Environ(), "PATH="+tools+":"+os.Getenv("PATH"), "HOME="+g.dir, "CADDY_ADMIN="+g.admin, "REPOSITORY="+repository)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestDocsLinks guards that links between files of the repository lead somewhere, to
// the part that they name.
func TestDocsLinks(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading := regexp.MustCompile(`(?m)^#+ (.*)$`)
	dropped := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	for _, file := range append(pages(t), readmes...) {
		for _, found := range link.FindAllStringSubmatch(read(t, filepath.Join("..", file)), -1) {
			if strings.Contains(found[1], "://") {
				continue
			}
			place, part, _ := strings.Cut(found[1], "#")
			target := filepath.Join("..", filepath.Dir(file), place)
			if place == "" {
				target = filepath.Join("..", file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			if part == "" || filepath.Ext(target) != ".md" {
				continue
			}
			known := false
			for _, h := range heading.FindAllStringSubmatch(read(t, target), -1) {
				name := strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-")
				known = known || name == part
			}
			if !known {
				t.Errorf("%s: %s has no part %s", file, target, part)
			}
		}
	}
}

// TestDocsErrors guards that the page about failures names every code that the README does.
func TestDocsErrors(t *testing.T) {
	row := regexp.MustCompile(`(?m)^\| [45]\d\d[^|]*\|([^|]*)\|`)
	code := regexp.MustCompile("`(\\w+)`")
	readme := read(t, filepath.Join("..", "README.md"))
	_, table, _ := strings.Cut(readme, "## What the gateway answers itself")
	table, _, _ = strings.Cut(table, "## Status page")
	page := read(t, filepath.Join("..", "docs", "failures.md"))
	found := 0
	for _, cells := range row.FindAllStringSubmatch(table, -1) {
		for _, c := range code.FindAllStringSubmatch(cells[1], -1) {
			if found++; !strings.Contains(page, "`"+c[1]+"`") {
				t.Errorf("docs/failures.md does not know %s", c[1])
			}
		}
	}
	if found < 30 {
		t.Errorf("README.md has %d codes, want more", found)
	}
}

// TestDocsFigures guards that the tables of figures say what bench/README.md does.
func TestDocsFigures(t *testing.T) {
	measured := make(map[string]string)
	result := regexp.MustCompile(`(?m)^\| (\w+) +\| gateway-(norecord|record) +\|[^|]+\|[^|]+\| +([\d.]+) \|`)
	for _, row := range result.FindAllStringSubmatch(read(t, filepath.Join("..", "bench", "README.md")), -1) {
		var ratio float64
		if _, err := fmt.Sscan(row[3], &ratio); err != nil {
			t.Fatal(err)
		}
		measured[row[1]+" "+row[2]] = fmt.Sprintf("%.2f", ratio)
	}
	place := regexp.MustCompile(`(?m)^<!-- figures: ([\w ]+) -->\n\n\|.*\n\|[-|]+\n((?:\|.*\n)+)`)
	for _, file := range append([]string{"docs/performance.md"}, readmes...) {
		table := place.FindStringSubmatch(read(t, filepath.Join("..", file)))
		if table == nil {
			t.Errorf("%s has no table of figures", file)
			continue
		}
		scenarios, rows := strings.Fields(table[1]), strings.Split(strings.TrimSpace(table[2]), "\n")
		if len(scenarios) < 4 || len(rows) != len(scenarios) {
			t.Errorf("%s: got %d rows for the scenarios %q", file, len(rows), scenarios)
			continue
		}
		for n, scenario := range scenarios {
			want := fmt.Sprintf("| %s | %s |", measured[scenario+" norecord"], measured[scenario+" record"])
			if !strings.HasSuffix(rows[n], want) {
				t.Errorf("%s: %s: got %s, want it to end in %s", file, scenario, rows[n], want)
			}
		}
	}
}

// TestTrainingRecipes guards that the files of examples/training name the columns and
// roles that a record has.
func TestTrainingRecipes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "in.jsonl"), `{"messages": [{"role": "system", "content": "be short"}, {"role": "user", "content": "how warm is it?"}, `+
		`{"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "now", "arguments": "{}"}}]}, `+
		`{"role": "tool", "tool_call_id": "c", "content": "20"}, {"role": "assistant", "content": "20 degrees"}], `+
		`"tools": [{"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}]}`+"\n")
	run(t, dir, nil, "ai-gateway", "records", "import", "--from", "in.jsonl", "--model", "m")
	run(t, dir, nil, "ai-gateway", "records", "export", "--format", "sharegpt", "--to", "train.jsonl")
	var record map[string]any
	if err := json.Unmarshal([]byte(read(t, filepath.Join(dir, "train.jsonl"))), &record); err != nil {
		t.Fatal(err)
	}
	var roles []string
	turns, _ := record["conversations"].([]any)
	for _, turn := range turns {
		turn := turn.(map[string]any)
		roles = append(roles, turn["from"].(string))
		if _, ok := turn["value"].(string); !ok || len(turn) != 2 {
			t.Errorf("turn %v, want from and value", turn)
		}
	}
	slices.Sort(roles)
	if roles = slices.Compact(roles); len(roles) != 5 {
		t.Fatalf("got the roles %q, want five", roles)
	}
	training := filepath.Join("..", "examples", "training")

	var entries map[string]struct {
		Formatting string
		Columns    map[string]string
		Tags       map[string]string
	}
	if err := json.Unmarshal([]byte(read(t, filepath.Join(training, "dataset_info.json"))), &entries); err != nil || len(entries) != 3 {
		t.Errorf("dataset_info.json: got %v and %d entries", err, len(entries))
	}
	for name, entry := range entries {
		if entry.Formatting != "sharegpt" || entry.Columns["messages"] != "conversations" || entry.Tags != nil {
			t.Errorf("dataset_info.json: %s is %+v", name, entry)
		}
		for _, column := range entry.Columns {
			if record[column] == nil {
				t.Errorf("dataset_info.json: %s names the column %s, a record has none", name, column)
			}
		}
	}

	var factory struct{ Dataset string }
	unmarshal(t, read(t, filepath.Join(training, "llamafactory.yaml")), &factory)
	if _, ok := entries[factory.Dataset]; !ok {
		t.Errorf("llamafactory.yaml: dataset_info.json has no %q", factory.Dataset)
	}

	var axolotl struct {
		Datasets []struct {
			Messages string            `yaml:"field_messages"`
			Names    map[string]string `yaml:"message_property_mappings"`
			Roles    map[string][]string
		}
	}
	unmarshal(t, read(t, filepath.Join(training, "axolotl.yaml")), &axolotl)
	var mapped []string
	for _, d := range axolotl.Datasets {
		if record[d.Messages] == nil || d.Names["role"] != "from" || d.Names["content"] != "value" {
			t.Errorf("axolotl.yaml: got %+v", d)
		}
		for _, names := range d.Roles {
			mapped = append(mapped, names...)
		}
	}
	if slices.Sort(mapped); !slices.Equal(mapped, roles) {
		t.Errorf("axolotl.yaml: maps the roles %q, records have %q", mapped, roles)
	}

	column := regexp.MustCompile(`record\["(\w+)"\]`)
	for _, file := range []string{"load.py", "unsloth.py"} {
		text := read(t, filepath.Join(training, file))
		for _, c := range column.FindAllStringSubmatch(text, -1) {
			if record[c[1]] == nil {
				t.Errorf("%s: names the column %s, a record has none", file, c[1])
			}
		}
		python, err := exec.LookPath("python3")
		if err != nil {
			t.Logf("%s: python3 is not here, so it is not parsed", file)
			continue
		}
		if out, err := exec.Command(python, "-c", "import ast, sys; ast.parse(sys.argv[1])", text).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
	if out, err := exec.Command("sh", "-n", filepath.Join(training, "ms-swift.sh")).CombinedOutput(); err != nil {
		t.Errorf("ms-swift.sh: %v\n%s", err, out)
	}
}

func unmarshal(t testing.TB, text string, v any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), v); err != nil {
		t.Fatal(err)
	}
}
