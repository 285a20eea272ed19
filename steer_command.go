package aigateway

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/page"
)

// addSteerCommands puts the commands that ask a running gateway below cmd.
func addSteerCommands(cmd *cobra.Command) {
	cmd.AddCommand(
		statusCommand(), topCommand(), drainCommand(), ejectCommand(), explainCommand(),
		steerCommand("undrain", "Gives an instance requests again that drain has drained",
			"Ends what drain began. An instance that drains by config.json5 goes on, until\ncaddy ai-gateway edit undrain."),
		steerCommand("restore", "Brings an instance back that is left out",
			"Ends an ejection at once, by the gateway or by hand, with slow start, and a drain\nby hand."),
	)
}

const namesHelp = "\n\nNAME is an instance's name, its url, HOST:PORT of that, or its ID."

// steerCommand returns a command that decides something about one instance.
func steerCommand(decision, short, long string) *cobra.Command {
	c := new(adminClient)
	cmd := &cobra.Command{
		Use: decision + " NAME [--address <admin>] [--config <file>]", Short: short, Long: long + namesHelp, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := make(url.Values)
			if wait := cmd.Flags().Lookup("for"); wait != nil && wait.Changed {
				query.Set("for", wait.Value.String())
			}
			m, err := c.member(http.MethodPost, args[0], decision, query)
			if err == nil {
				fmt.Fprintln(cmd.OutOrStdout(), m)
			}
			return err
		},
	}
	c.addFlags(cmd)
	return cmd
}

// String tells in one line how the instance stands.
func (m memberStatus) String() string {
	text := fmt.Sprintf("%s is %s, %s in flight", m.Name, m.State, plural(int(m.InFlight), "request"))
	if note := noteOf(&m.Instance); note != "" {
		text += "; " + note
	}
	return text
}

func ejectCommand() *cobra.Command {
	cmd := steerCommand("eject", "Takes an instance out until it is restored",
		"Takes an instance out: in no case it gets a request, until restore, or until a trial\nrequest passes after the time of --for.")
	cmd.Use = "eject NAME [--for <time>] [--address <admin>] [--config <file>]"
	cmd.Flags().String("for", "", "time until a trial, such as 10m")
	return cmd
}

func drainCommand() *cobra.Command {
	c := new(adminClient)
	cmd := &cobra.Command{
		Use:   "drain NAME [--wait] [--timeout <time>] [--address <admin>] [--config <file>]",
		Short: "Gives an instance no new requests; it finishes those it has",
		Long: `Gives an instance no new requests, and lets it finish those it has. This holds until
undrain or restore, over changes of config.json5 and reloads of Caddy, but not over a
restart: caddy ai-gateway edit drain does that.

With --wait the command ends when no request is in flight any more, with exit status 1
if that takes longer than --timeout.` + namesHelp,
		Args: cobra.ExactArgs(1),
	}
	c.addFlags(cmd)
	wait := cmd.Flags().Bool("wait", false, "wait until no request is in flight")
	timeout := cmd.Flags().Duration("timeout", 10*time.Minute, "the longest wait")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		m, err := c.member(http.MethodPost, args[0], "drain", nil)
		if err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), m)
		if !*wait {
			return nil
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
		defer stop()
		ctx, cancel := context.WithTimeout(ctx, *timeout)
		defer cancel()
		if m, err = c.awaitIdle(ctx, m); err == nil {
			fmt.Fprintln(cmd.OutOrStdout(), m)
		}
		return err
	}
	return cmd
}

// awaitIdle waits until two looks in a row find the instance draining and without a
// request: one may have been chosen for it just before.
func (c *adminClient) awaitIdle(ctx context.Context, m memberStatus) (memberStatus, error) {
	const pause = 200 * time.Millisecond
	for idle := 0; ; {
		select {
		case <-ctx.Done():
			return m, fmt.Errorf("%s still has %s in flight: %w", m.Name, plural(int(m.InFlight), "request"), ctx.Err())
		case <-time.After(pause):
		}
		var err error
		if m, err = c.member(http.MethodGet, m.ID, "", nil); err != nil {
			return m, err
		}
		if m.State != page.Draining {
			return m, fmt.Errorf("%s does not drain any more, it is %s", m.Name, m.State)
		}
		if idle++; m.InFlight > 0 {
			idle = 0
		}
		if idle == 2 {
			return m, nil
		}
	}
}

func explainCommand() *cobra.Command {
	c := new(adminClient)
	cmd := &cobra.Command{
		Use:   "explain --model <name> [--prompt-bytes <n>] [--json] [--address <admin>] [--config <file>]",
		Short: "Says which instances a request would be sent to, and why not the others",
		Args:  cobra.NoArgs,
	}
	c.addFlags(cmd)
	model := cmd.Flags().String("model", "", "the model that a client would ask for (required)")
	size := cmd.Flags().Int64("prompt-bytes", 0, "size of the request's body")
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		query := url.Values{"prompt_bytes": {strconv.FormatInt(*size, 10)}}
		if *model != "" {
			query.Set("model", *model)
		}
		var e explanation
		if err := c.ask(http.MethodGet, "/explain", query, &e); err != nil {
			return err
		}
		if *asJSON {
			return writeObject(cmd.OutOrStdout(), e)
		}
		out := bufio.NewWriter(cmd.OutOrStdout())
		e.write(out, wantsColor(cmd.OutOrStdout()))
		return out.Flush()
	}
	return cmd
}

// writeObject writes v as JSON on one line.
func writeObject(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// write writes a table for people.
func (e *explanation) write(w io.Writer, color bool) {
	fmt.Fprintf(w, "model %s, %s, at most %s\n", e.Model, e.Policy, plural(e.Attempts, "attempt"))
	for _, note := range e.Notes {
		fmt.Fprintln(w, "note:", note)
	}
	if !e.Exact {
		fmt.Fprintln(w, "note: the order is one of several that are possible")
	}
	t := table{head: []string{"", "INSTANCE", "TIER", "STATE", "WHY"}}
	for n, c := range e.Order {
		why := c.Why
		if c.FirstTokenSeconds > 0 {
			why += fmt.Sprintf("; a stream must begin within %.0f s", c.FirstTokenSeconds)
			if c.FirstTokenLearnt {
				why += ", as learnt"
			}
		}
		t.add(string(c.State), strconv.Itoa(n+1), c.Name, c.Tier, string(c.State), why)
	}
	for _, c := range e.Others {
		t.add(string(c.State), "–", c.Name, c.Tier, string(c.State), c.Why)
	}
	t.write(w, color)
}
