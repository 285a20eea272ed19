package aigateway

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/json5"
)

// errNotGood is returned when check has said what is wrong with a file.
var errNotGood = errors.New("the file has mistakes")

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [<file>] [--strict] [--json]",
		Short: "Checks a config.json5",
		Long: `Checks a config.json5 as the gateway does when it loads it: prints every mistake, then
what may not be meant as it is written, each with its place and what to do, and a
summary. Keys are never shown. The file - is the standard input. The exit status is 1 if
there are mistakes, or, with --strict, warnings.

Environment variables that the file names must be set here as they are for the gateway.`,
		Args: cobra.MaximumNArgs(1),
	}
	strict := cmd.Flags().Bool("strict", false, "exit with status 1 on warnings too")
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		file := defaultConfig
		if len(args) == 1 {
			file = args[0]
		}
		check, err := checkFile(file, cmd.InOrStdin())
		if err != nil {
			return fmt.Errorf("reading the fleet's file: %w", err)
		}
		stdout := cmd.OutOrStdout()
		out := bufio.NewWriter(stdout)
		if *asJSON {
			check.writeJSON(out)
		} else {
			check.writeText(out, wantsColor(stdout))
		}
		if err = out.Flush(); err == nil && (len(check.mistakes) > 0 || *strict && len(check.warnings) > 0) {
			cmd.SilenceErrors = true // they have been printed
			err = errNotGood
		}
		return err
	}
	return cmd
}

// wantsColor reports whether what is written to w may be colored, see
// https://no-color.org.
func wantsColor(w io.Writer) bool {
	return isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// configCheck is what there is to say of a config.json5.
type configCheck struct {
	file               string
	config             *Config // nil after a mistake in the syntax
	mistakes, warnings json5.Errors
}

// checkFile reads the file of that name, or stdin if it is -.
func checkFile(name string, stdin io.Reader) (configCheck, error) {
	var text []byte
	var err error
	if name == "-" {
		name = "stdin"
		if text, err = io.ReadAll(io.LimitReader(stdin, json5.MaxSize+1)); err != nil {
			return configCheck{}, err
		}
		return checkText(name, text, ".", 0), nil
	}
	if text, err = readRegular(name, json5.MaxSize); err != nil {
		return configCheck{}, err
	}
	return checkText(name, text, filepath.Dir(name), permissions(name)), nil
}

// checkText checks the text of a file called name, which stands in dir and has
// the permissions mode.
func checkText(name string, text []byte, dir string, mode fs.FileMode) configCheck {
	r := readConfig(text, dir)
	return configCheck{name, r.config, r.mistakes, r.warnings(dir, mode)}
}

// summary is one line: how much is wrong, and if nothing is, what the fleet is.
func (c configCheck) summary() string {
	counts := []string{plural(len(c.mistakes), "error")}
	if len(c.warnings) > 0 {
		counts = append(counts, plural(len(c.warnings), "warning"))
	}
	if len(c.mistakes) > 0 {
		return c.file + ": " + strings.Join(counts, ", ")
	}
	models := make(map[string]bool)
	for _, list := range [][]*InstanceConfig{c.config.Instances, c.config.FallbackInstances} {
		for _, entry := range list {
			if entry.ModelName != "" {
				models[entry.ModelName] = true
			}
		}
	}
	counts[0] = "good"
	return fmt.Sprintf("%s: %s: %s, %s, %s", c.file, strings.Join(counts, ", "), plural(len(c.config.Instances), "instance"),
		plural(len(models), "model"), plural(len(c.config.FallbackInstances), "fallback instance"))
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

const (
	bold   = "\x1b[1m"
	red    = "\x1b[1;31m"
	yellow = "\x1b[1;33m"
	plain  = "\x1b[0m"
)

// writeText writes lines such as
//
//	config.json5:12:7: error: instances[2]: unknown member "wieght"; did you mean "weight"?
//	    wieght: 3,
//	    ^
//	config.json5: 1 error
func (c configCheck) writeText(w *bufio.Writer, color bool) {
	paint := func(code, text string) string {
		if !color {
			return text
		}
		return code + text + plain
	}
	list := func(kind, code string, all json5.Errors) {
		for _, e := range all {
			path := e.Path
			if path != "" {
				path += ": "
			}
			place := fmt.Sprintf("%s:%d:%d:", c.file, e.Line, e.Column)
			fmt.Fprintf(w, "%s %s %s%s\n", paint(bold, place), paint(code, kind+":"), path, e.Msg)
			if source := e.Excerpt(); source != "" {
				fmt.Fprintln(w, source)
			}
		}
	}
	list("error", red, c.mistakes)
	list("warning", yellow, c.warnings)
	fmt.Fprintln(w, c.summary())
}

// writeJSON writes one object on one line.
func (c configCheck) writeJSON(w *bufio.Writer) {
	type message struct {
		Line    int    `json:"line"`
		Column  int    `json:"column"`
		Path    string `json:"path"`
		Message string `json:"message"`
	}
	list := func(all json5.Errors) []message {
		messages := make([]message, len(all))
		for n, e := range all {
			messages[n] = message{e.Line, e.Column, e.Path, e.Msg}
		}
		return messages
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(struct { // what w refuses its Flush tells
		File     string    `json:"file"`
		Valid    bool      `json:"valid"`
		Errors   []message `json:"errors"`
		Warnings []message `json:"warnings"`
		Summary  string    `json:"summary"`
	}{c.file, len(c.mistakes) == 0, list(c.mistakes), list(c.warnings), c.summary()})
}
