package aigateway

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/alert"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/json5"
)

// errNotDelivered is returned when test-alert has said what is wrong with a receiver.
var errNotDelivered = errors.New("a receiver has not taken the test message")

func testAlertCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test-alert [<receiver>] [--config <file>]",
		Short: "Sends a test message to the receivers of alerts",
		Long: `Sends a message that is marked as a test to the receivers of alerts in a config.json5, or to the
one of that name, and prints what each answered. No gateway needs to run. The exit status
is 1 if one of them did not take it.

Environment variables that the file names must be set here as they are for the gateway.`,
		Args: cobra.MaximumNArgs(1),
	}
	file := cmd.Flags().String("config", defaultConfig, "the fleet's file")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		text, err := readRegular(*file, json5.MaxSize)
		if err != nil {
			return fmt.Errorf("reading the fleet's file: %w", err)
		}
		cfg, err := parseConfig(text, filepath.Dir(*file))
		if err != nil {
			return fmt.Errorf("%s: %w", *file, detailed{err})
		}
		if len(cfg.Alerts.Receivers) == 0 {
			return fmt.Errorf("%s: alerts has no receivers, so that nobody is told", *file)
		}
		name := ""
		if len(args) == 1 {
			name = args[0]
		}
		results, err := alert.Test(cmd.Context(), alert.Settings{Config: cfg.Alerts, Secrets: cfg.secrets()}, name)
		if err != nil {
			return err
		}
		if err := writeResults(cmd.OutOrStdout(), results); err != nil {
			return err
		}
		if slices.ContainsFunc(results, func(r alert.Result) bool { return !r.OK }) {
			cmd.SilenceErrors = true // they have been printed
			return errNotDelivered
		}
		return nil
	}
	return cmd
}

// writeResults writes a table of what each receiver answered.
func writeResults(w io.Writer, results []alert.Result) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "receiver\ttype\tresult\ttime\tanswer")
	for _, r := range results {
		result := "taken"
		if !r.OK {
			result = "FAILED"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%v\t%s\n", r.Receiver, r.Type, result, r.Latency.Round(time.Millisecond), r.Answer)
	}
	return table.Flush()
}
