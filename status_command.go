package aigateway

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/page"
)

func statusCommand() *cobra.Command {
	c := new(adminClient)
	cmd := &cobra.Command{
		Use:   "status [--watch] [--json] [--address <admin>] [--config <file>]",
		Short: "Shows how the fleet stands",
		Long: `Shows how the fleet stands: models, tiers, and of each instance its state, its requests
in flight, requests a second, the part of them that fail, and what there is to say.

--watch shows it anew every two seconds and whenever something happens, with --json as a
JSON object on each line, until the command is interrupted.`,
		Args: cobra.NoArgs,
	}
	c.addFlags(cmd)
	watch := cmd.Flags().Bool("watch", false, "go on showing it")
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		v := &statusView{client: c, out: cmd.OutOrStdout(), asJSON: *asJSON, table: tableOf}
		if *watch {
			return v.watch(cmd.Context())
		}
		return v.once()
	}
	return cmd
}

func topCommand() *cobra.Command {
	c := new(adminClient)
	cmd := &cobra.Command{
		Use:   "top [--address <admin>] [--config <file>]",
		Short: "Shows the instances, those with most to do first",
		Long: `Shows the instances, those with most requests in flight first, anew every two seconds and
whenever something happens, until the command is interrupted; once, if that is not on a
terminal.`,
		Args: cobra.NoArgs,
	}
	c.addFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		v := &statusView{client: c, out: cmd.OutOrStdout(), table: loadOf}
		if isTerminal(v.out) {
			return v.watch(cmd.Context())
		}
		return v.once()
	}
	return cmd
}

// statusView shows a status.
type statusView struct {
	client *adminClient
	out    io.Writer
	asJSON bool
	table  func(*page.Status) table
}

func (v *statusView) once() error {
	st, err := v.client.status()
	if err != nil {
		return err
	}
	if v.asJSON {
		return writeObject(v.out, st)
	}
	out := bufio.NewWriter(v.out)
	for _, line := range v.lines(st) {
		fmt.Fprintln(out, line)
	}
	return out.Flush()
}

// lines are what people see of st.
func (v *statusView) lines(st *page.Status) []string {
	t := v.table(st)
	lines := append([]string{summaryOf(st)}, missingOf(st)...)
	return append(append(lines, ""), t.lines(wantsColor(v.out))...)
}

// missingOf tells of instances that are not there, or not all, for what is not known of them.
func missingOf(st *page.Status) (lines []string) {
	for _, n := range st.Names {
		if n.Error != "" {
			lines = append(lines, fmt.Sprintf("%s by %s: %s; in use: %s", n.Name, n.Type, n.Error, plural(n.Addresses, "server")))
		}
		if n.More > 0 {
			lines = append(lines, fmt.Sprintf("%s by %s has %s more than are used", n.Name, n.Type, plural(n.More, "server")))
		}
	}
	for _, d := range st.Discovered {
		if !d.Answered {
			lines = append(lines, d.Name+" has not told of its models yet")
		}
		if d.More > 0 {
			lines = append(lines, fmt.Sprintf("%s has %s more than are served", d.Name, plural(d.More, "model")))
		}
	}
	return lines
}

// watch shows the status until it is interrupted. A gateway that goes away is waited
// for.
func (v *statusView) watch(ctx context.Context) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if _, err := v.client.status(); err != nil { // a mistake of the command line is told at once
		return err
	}
	screen := isTerminal(v.out) && !v.asJSON
	if screen {
		fmt.Fprint(v.out, "\x1b[?25l\x1b[2J") // without a cursor
		defer fmt.Fprint(v.out, "\x1b[?25h")
	}
	happens := make(chan struct{}, 1)
	go v.client.listen(ctx, happens)
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		var err error
		if screen {
			err = v.redraw()
		} else if err = v.once(); err != nil {
			return err
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-happens:
		}
	}
}

// redraw overwrites the screen, without a flicker and no further than it is large.
func (v *statusView) redraw() error {
	st, err := v.client.status()
	lines := []string{fmt.Sprint(err)}
	if err == nil {
		lines = v.lines(st)
	}
	width, height := 80, 24
	if f, ok := v.out.(*os.File); ok {
		if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 && h > 1 {
			width, height = w, h
		}
	}
	if len(lines) >= height {
		more := len(lines) - height + 2
		lines = append(lines[:height-2], fmt.Sprintf("… and %d more", more))
	}
	var b bytes.Buffer
	b.WriteString("\x1b[H")
	for _, line := range lines {
		b.WriteString(cut(line, width) + plain + "\x1b[K\r\n")
	}
	b.WriteString("\x1b[J")
	_, err = v.out.Write(b.Bytes())
	return err
}

// cut shortens a line to a width, not counting the colors at its beginning.
func cut(line string, width int) string {
	color := ""
	if strings.HasPrefix(line, "\x1b[") {
		n := strings.IndexByte(line, 'm') + 1
		color, line = line[:n], strings.TrimSuffix(line[n:], plain)
	}
	if utf8.RuneCountInString(line) > width {
		line = string([]rune(line)[:width-1]) + "…"
	}
	return color + line
}

// listen notes in happens that something has happened. If the stream of events ends, as
// with each configuration of Caddy, it is asked for again.
func (c *adminClient) listen(ctx context.Context, happens chan<- struct{}) {
	for ctx.Err() == nil {
		if res, err := c.open(http.MethodGet, "/events", nil); err == nil {
			stop := context.AfterFunc(ctx, func() { _ = res.Body.Close() }) // which ends the reading
			for lines := bufio.NewScanner(res.Body); lines.Scan(); {
				if strings.HasPrefix(lines.Text(), "event: ") {
					select {
					case happens <- struct{}{}:
					default:
					}
				}
			}
			stop()
			_ = res.Body.Close() // it has been read
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// summaryOf is the first line.
func summaryOf(st *page.Status) string {
	file := "in force since " + st.Config.Loaded.Format("15:04:05")
	if !st.Config.Valid {
		file = "NOT VALID: " + st.Config.Error
	}
	return fmt.Sprintf("%s in flight, %.1f requests/s, %s errors · %s · %s %s", strconv.FormatInt(st.Totals.InFlight, 10),
		st.Totals.RequestsPerSecond, percent(st.Totals.ErrorShare), st.Config.Strategy, st.Config.Path, file)
}

func percent(share float64) string {
	return strconv.FormatFloat(100*share, 'f', 1, 64) + "%"
}

// tableOf has the instances in the order of the file.
func tableOf(st *page.Status) table {
	t := table{head: []string{"MODEL", "TIER", "INSTANCE", "STATE", "IN FLIGHT", "REQ/S", "ERRORS", "NOTE"}}
	for _, m := range st.Models {
		for _, tier := range m.Tiers {
			for _, i := range tier.Instances {
				note := noteOf(&i)
				if m.State != page.ModelServing {
					note = strings.TrimPrefix(note+"; model is "+strings.ReplaceAll(string(m.State), "_", " "), "; ")
				}
				t.add(string(i.State), m.Name, tier.Tier, i.Name, string(i.State), flightOf(&i), rateOf(&i), percent(i.ErrorShare), note)
			}
		}
	}
	return t
}

// loadOf has each instance once, those with most to do first.
func loadOf(st *page.Status) table {
	t := table{head: []string{"INSTANCE", "IN FLIGHT", "", "REQ/S", "ERRORS", "STATE", "MODELS", "NOTE"}}
	var all []page.Instance
	models := make(map[string][]string)
	for _, m := range st.Models {
		for _, tier := range m.Tiers {
			for _, i := range tier.Instances {
				if models[i.ID] == nil {
					all = append(all, i)
				}
				models[i.ID] = append(models[i.ID], m.Name)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b page.Instance) int {
		return cmp.Or(cmp.Compare(b.InFlight, a.InFlight), cmp.Compare(b.RequestsPerSecond, a.RequestsPerSecond))
	})
	const bar = 20
	for _, i := range all {
		full := max(all[0].InFlight, 1)
		t.add(string(i.State), i.Name, flightOf(&i), strings.Repeat("▇", int(bar*i.InFlight/full)), rateOf(&i), percent(i.ErrorShare), string(i.State),
			strings.Join(models[i.ID], ", "), noteOf(&i))
	}
	return t
}

func flightOf(i *page.Instance) string {
	text := strconv.FormatInt(i.InFlight, 10)
	if i.MaxConcurrency > 0 {
		text += "/" + strconv.Itoa(i.MaxConcurrency)
	}
	return text
}

func rateOf(i *page.Instance) string { return strconv.FormatFloat(i.RequestsPerSecond, 'f', 1, 64) }

// noteOf says why the instance is in its state, and for how long.
func noteOf(i *page.Instance) string {
	var parts []string
	if i.By != "" {
		parts = append(parts, "by "+map[string]string{"api": "hand", "file": "the file", "both": "the file and by hand"}[i.By])
	}
	if i.Reason != "" && i.Reason != string(reasonManual) {
		parts = append(parts, i.Reason)
	}
	if i.WaitSeconds > 0 {
		wait := time.Duration(i.WaitSeconds * float64(time.Second)).Round(time.Second)
		parts = append(parts, map[page.InstanceState]string{page.Ejected: "trial in ", page.Ramping: "slow start for "}[i.State]+wait.String())
	}
	return strings.Join(parts, ", ")
}
