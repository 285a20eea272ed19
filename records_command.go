package aigateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// errProblems is returned when a check has found something wrong and said what.
var errProblems = errors.New("the records have problems")

// recordsCommand returns caddy ai-gateway records, the commands over the files
// below a data_dir.
func recordsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "records <command>",
		Short: "Counts, checks, exports and imports records",
		Long: `Counts, checks and exports the exchanges that the gateway has recorded below
its data_dir, packed files included, and adds conversations from elsewhere. A running
gateway may go on writing; what it adds meanwhile is not seen.`,
	}
	dir := cmd.PersistentFlags().String("data-dir", "./data", "the gateway's data_dir")
	cmd.AddCommand(recordStatsCommand(dir), recordVerifyCommand(dir), recordExportCommand(dir), recordImportCommand(dir))
	return cmd
}

func recordStatsCommand(dir *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stats [--data-dir <dir>] [--json]",
		Short: "Counts records by hour, model and status",
		Args:  cobra.NoArgs,
	}
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		stats, err := readRecordStats(*dir)
		if err != nil {
			return err
		}
		if *asJSON {
			return stats.writeJSON(cmd.OutOrStdout())
		}
		return stats.writeTable(cmd.OutOrStdout())
	}
	return cmd
}

func recordVerifyCommand(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "verify [--data-dir <dir>]",
		Short: "Checks every line of the records",
		Long: `Checks every line against the layout that trainers rely on: columns, their order
and types, the turns' roles and order, JSON texts, unique ids. Prints FILE:LINE and what
is wrong, never a text of the record. The exit status is 1 if anything is wrong.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := bufio.NewWriter(cmd.OutOrStdout())
			problems, err := verifyRecords(out, *dir)
			if err = errors.Join(err, out.Flush()); err == nil && problems > 0 {
				cmd.SilenceErrors = true // they have been printed
				err = errProblems
			}
			return err
		},
	}
}

func recordExportCommand(dir *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export [--data-dir <dir>] [--to <file>] [--format messages|sharegpt] [--dedupe] [--folder main|media|incomplete|completions|all]",
		Short: "Writes records as one JSONL file",
		Long: `Writes records as one JSONL file, by default the whole conversations as messages of
OpenAI's chat completions, which fine-tuning reads.

A file is complete once it has its name: until then it has a temporary one beside it.
The format sharegpt writes the lines as they are; those with media have more columns
than others, so give it one folder at a time.`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	to := flags.String("to", "-", "the file to write, - for the standard output")
	format := flags.String("format", formatMessages, "messages (OpenAI) or sharegpt (the lines as they are)")
	dedupe := flags.Bool("dedupe", false, "keep only the longest record of each conversation")
	folder := flags.String("folder", "main", "main, media, incomplete, completions or all")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		export := recordExport{Dir: *dir, Format: *format, Folder: *folder, Dedupe: *dedupe}
		stderr := cmd.ErrOrStderr()
		if isTerminal(stderr) && (*to != "-" || !isTerminal(cmd.OutOrStdout())) {
			export.Progress = progressLine(stderr)
		}
		var result exported
		var err error
		if *to == "-" {
			out := bufio.NewWriter(cmd.OutOrStdout())
			result, err = export.write(ctx, out)
			err = errors.Join(err, out.Flush())
		} else {
			result, err = export.writeFile(ctx, *to)
		}
		if export.Progress != nil {
			fmt.Fprint(stderr, "\r\x1b[K")
		}
		if err == nil {
			fmt.Fprintln(stderr, result)
		}
		return err
	}
	return cmd
}

func recordImportCommand(dir *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import [--data-dir <dir>] [--from <file>] [--model <name>]",
		Short: "Adds conversations to the records",
		Long: `Adds conversations to the records: a JSONL file in the form of an export, each line an
object with messages of which the last is an assistant's, and tools if there are any.
A running gateway does not mind. The exit status is 1 if a line is left out.`,
		Args: cobra.NoArgs,
	}
	from := cmd.Flags().String("from", "-", "the file to read, - for the standard input")
	model := cmd.Flags().String("model", "", "the model of lines that name none")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		in := cmd.InOrStdin()
		if *from != "-" {
			f, err := os.Open(*from)
			if err != nil {
				return fmt.Errorf("importing records: %w", err)
			}
			defer func() { _ = f.Close() }() // only read
			in = f
		}
		stderr := cmd.ErrOrStderr()
		written, wrong, err := (&recordImport{Dir: *dir, Model: *model}).read(ctx, in, stderr)
		fmt.Fprintf(stderr, "%d records imported, %d lines left out\n", written, wrong)
		if err == nil && wrong > 0 {
			cmd.SilenceErrors = true // they have been printed
			err = errProblems
		}
		return err
	}
	return cmd
}

// isTerminal reports whether what is written to w appears on a screen.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// progressLine returns a function that shows on w how much is done, ten times a
// second at most.
func progressLine(w io.Writer) func(done, total int64) {
	var next time.Time
	return func(done, total int64) {
		if now := time.Now(); now.After(next) && total > 0 {
			next = now.Add(100 * time.Millisecond)
			fmt.Fprintf(w, "\r\x1b[K%3d%% of %.1f MB read", 100*done/total, float64(total)/1e6)
		}
	}
}
