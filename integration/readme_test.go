package integration

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var readmes = []string{"README.md", "README.zh.md"}

// secrets are the environment variables that examples name.
var secrets = []string{
	"CLOUD_API_KEY=cloud", "VLLM_API_KEY=vllm", "MAIL_PASSWORD=mail", "HOOK_SECRET=hook",
	"DINGTALK_URL=https://oapi.dingtalk.com/robot/send?access_token=dingtalk", "CI_KEY=aig-0123456789abcdefghijklmnopqrstuv",
}

// block is a fenced part of a Markdown file.
type block struct {
	language, text string
	line           int
	from           string // the file of the repository that a comment above says it is of
}

func blocks(t testing.TB, file string) (all []block) {
	t.Helper()
	text := read(t, filepath.Join("..", file))
	fenced := regexp.MustCompile("(?ms)^(<!-- [\\w./-]+ -->\n)?```(\\w+)\n(.*?)^```$")
	for _, at := range fenced.FindAllStringSubmatchIndex(text, -1) {
		b := block{language: text[at[4]:at[5]], text: text[at[6]:at[7]], line: 1 + strings.Count(text[:at[4]], "\n")}
		if at[2] >= 0 {
			b.from = strings.Trim(text[at[2]:at[3]], "<!-> \n")
		}
		all = append(all, b)
	}
	if n := strings.Count(text, "```"); n != 2*len(all) {
		t.Errorf("%s: got %d fences, want two for each of %d blocks", file, n, len(all))
	}
	return all
}

// TestReadmeExamples guards that every configuration in a README can be loaded.
func TestReadmeExamples(t *testing.T) {
	t.Parallel()
	type example struct{ language, text string }
	checked := make(map[example]bool)
	for _, file := range readmes {
		count := 0
		for _, b := range blocks(t, file) {
			x := example{b.language, b.text}
			if !slices.Contains([]string{"caddyfile", "json", "json5"}, b.language) {
				continue
			}
			if count++; checked[x] { // most examples need no translation
				continue
			}
			checked[x] = true
			t.Run(fmt.Sprintf("%s:%d", file, b.line), func(t *testing.T) {
				t.Parallel()
				validate(t, b)
			})
		}
		if count == 0 {
			t.Errorf("%s has no example", file)
		}
	}
}

// validate lets Caddy load a block to the point at which it would listen.
func validate(t testing.TB, b block) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "config.json5"), read(t, filepath.Join("..", "config.json5")))
	write(t, filepath.Join(dir, "keys.json5"), "[]")
	config, text := "Caddyfile", ":9999 {\n\tai_gateway\n}\n"
	switch b.language {
	case "caddyfile":
		text = b.text
	case "json":
		config, text = "caddy.json", b.text
	case "json5":
		write(t, filepath.Join(dir, "config.json5"), b.text)
	}
	write(t, filepath.Join(dir, config), text)
	run(t, dir, secrets, "validate", "--config", config)
	if b.language == "caddyfile" {
		if formatted, _ := run(t, dir, nil, "fmt", config); formatted != text {
			t.Errorf("caddy fmt would write:\n%s", formatted)
		}
	}
}

// TestCommentedExamples guards the lines of config.json5 that are to be used by
// taking their slashes away.
func TestCommentedExamples(t *testing.T) {
	slashes := regexp.MustCompile(`(?m)^//(\S|  )`)
	text := read(t, filepath.Join("..", "config.json5"))
	// The text above the first brace is prose.
	start := strings.Index(text, "\n{\n")
	if n := len(slashes.FindAllString(text[start:], -1)); n < 10 {
		t.Fatalf("config.json5 has %d lines of examples, want more", n)
	}
	validate(t, block{language: "json5", text: text[:start] + slashes.ReplaceAllString(text[start:], "$1")})
}

// TestReadmesAgree guards that both languages have the same parts.
func TestReadmesAgree(t *testing.T) {
	shape := func(file string) (parts []string) {
		for _, b := range blocks(t, file) {
			parts = append(parts, b.language)
		}
		text := read(t, filepath.Join("..", file))
		parts = append(parts, regexp.MustCompile(`(?m)^#+ `).FindAllString(text, -1)...)
		return append(parts, fmt.Sprint(strings.Count(text, "\n|"), " rows of tables"))
	}
	if first, second := shape(readmes[0]), shape(readmes[1]); !slices.Equal(first, second) {
		t.Errorf("%s has %q\n%s has %q", readmes[0], first, readmes[1], second)
	}
}

// TestReadmeMembers guards that a README leaves no member of config.json5 out.
func TestReadmeMembers(t *testing.T) {
	var members []string
	for _, file := range []string{"config.go", "dns_config.go", "overflow_config.go", "record_config.go", "internal/alert/config.go"} {
		source, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", file), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(source, func(n ast.Node) bool {
			field, ok := n.(*ast.Field)
			if !ok || field.Tag == nil {
				return true
			}
			tag, err := strconv.Unquote(field.Tag.Value)
			if err != nil {
				t.Fatal(err)
			}
			name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
			if name != "-" {
				members = append(members, name)
			}
			return true
		})
	}
	if len(members) < 60 {
		t.Fatalf("config.go has the members %q, want more", members)
	}
	for _, file := range readmes {
		text := read(t, filepath.Join("..", file))
		for _, member := range members {
			if !strings.Contains(text, "\n| `"+member+"` |") {
				t.Errorf("%s: no table has a row for %s", file, member)
			}
		}
	}
}

// TestReadmeErrors guards that a README knows the codes of all errors of the
// gateway's own.
func TestReadmeErrors(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	given := regexp.MustCompile(`(?:Code: +|badRequest\(|unavailable\([\w.]+, |code, message :?= )"(\w+)"`)
	codes := make(map[string]bool)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, code := range given.FindAllStringSubmatch(read(t, file), -1) {
			codes[code[1]] = true
		}
	}
	if len(codes) < 15 {
		t.Fatalf("found the codes %v, want more", codes)
	}
	for _, file := range readmes {
		text := read(t, filepath.Join("..", file))
		for code := range codes {
			if !regexp.MustCompile(`(?m)^\| [45]\d\d \|[^|]*` + "`" + code + "`").MatchString(text) {
				t.Errorf("%s: the table of errors has no %s", file, code)
			}
		}
	}
}

// TestReadmeOptions guards that a README shows all options of the directive, and
// that those it calls refused are.
func TestReadmeOptions(t *testing.T) {
	syntax := regexp.MustCompile(`(?m)^//\t    (\w+)`).FindAllStringSubmatch(read(t, filepath.Join("..", "caddyfile.go")), -1)
	if len(syntax) < 10 {
		t.Fatalf("caddyfile.go documents the options %q, want more", syntax)
	}
	for _, file := range readmes {
		text := read(t, filepath.Join("..", file))
		for _, option := range syntax {
			if !regexp.MustCompile(`(?m)^    ` + option[1] + `\b`).MatchString(text) {
				t.Errorf("%s: the syntax has no option %s", file, option[1])
			}
		}
	}

	_, table, _ := strings.Cut(read(t, filepath.Join("..", "README.md")), "| option | why |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	refused := regexp.MustCompile(`(?m)^\| [^|]+`)
	names := regexp.MustCompile("`([a-z_*]+)`").FindAllStringSubmatch(strings.Join(refused.FindAllString(table, -1), " "), -1)
	if len(names) < 10 {
		t.Fatalf("README.md refuses %q, want more", names)
	}
	for _, name := range names {
		option := strings.Replace(name[1], "*", "x", 1)
		dir := t.TempDir()
		write(t, filepath.Join(dir, "Caddyfile"), ":9999 {\n\tai_gateway {\n\t\t"+option+" 1\n\t}\n}\n")
		cmd := command(t, dir, nil, "adapt")
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), option+" cannot be set here") {
			t.Errorf("%s: got %v %s, want it refused", option, err, out)
		}
	}
}
