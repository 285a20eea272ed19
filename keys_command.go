package aigateway

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/json5"
)

// keysCommand returns caddy ai-gateway keys, the commands about clients' keys.
func keysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys <command>",
		Short: "Makes, lists and revokes the keys of clients",
		Long: `Makes, lists and revokes the keys of clients. config.json5 holds only their hashes; a key
itself is shown once, when it is made.

new, hash and revoke need no running gateway. list and usage ask one, by Caddy's admin
endpoint.`,
	}
	cmd.AddCommand(newKeyCommand(), hashKeyCommand(), listKeysCommand(), usageCommand(), revokeKeyCommand())
	return cmd
}

// randomKey returns a new key: keyPrefix and 256 random bits, in hexadecimal digits.
func randomKey() string {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // it never fails
	return keyPrefix + hex.EncodeToString(raw[:])
}

func newKeyCommand() *cobra.Command {
	e := new(fleetEdit)
	cmd := &cobra.Command{
		Use:   "new NAME [--add] [--config <file>] [--dry-run]",
		Short: "Makes a key and prints it, once",
		Long: `Makes a key of 256 random bits and prints it, with the entry for keys in config.json5, which
holds its hash. The key is kept nowhere: who loses it needs another one.

With --add the entry is put into config.json5 at once, behind those that are there.`,
		Args: cobra.ExactArgs(1),
	}
	add := cmd.Flags().Bool("add", false, "put the entry into config.json5")
	cmd.Flags().StringVar(&e.Config, "config", defaultConfig, "the fleet's file")
	cmd.Flags().BoolVar(&e.DryRun, "dry-run", false, "with --add: show the change and write nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name := args[0]
		if name == "" || len(name) > 64 || !canonicalName(name) {
			return fmt.Errorf("got the name %s, want 1 to 64 letters, digits and characters of -._~:@,=+/", quote(name))
		}
		key := randomKey()
		hash := digestOf(key).String()
		if !*add {
			fmt.Fprintf(cmd.OutOrStdout(), "key:   %s\nentry: { name: %q, hash: %q },\n", key, name, hash)
			return nil
		}
		err := e.run(cmd, func(f *fleetText) ([]byte, string, error) { return f.addKey(cmd.ErrOrStderr(), name, hash) })
		if err == nil && !e.DryRun { // a key that stands nowhere is of no use
			fmt.Fprintf(cmd.OutOrStdout(), "key:   %s\n", key)
		}
		return err
	}
	return cmd
}

// addKey puts an entry at the end of keys.
func (f *fleetText) addKey(stderr io.Writer, name, hash string) ([]byte, string, error) {
	for _, k := range f.keys {
		if k.Name == name {
			return nil, "", fmt.Errorf("there is a key called %s already; revoke it, or choose another name", quote(name))
		}
	}
	if f.keys == nil {
		fmt.Fprintln(stderr, "note: the file had no keys; from now on the gateway asks every client for one")
	}
	text, _, err := f.add("keys", []json5.Member{{Name: "name", Value: name}, {Name: "hash", Value: hash}})
	return text, "added key " + name + " to keys", err
}

func hashKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "hash",
		Short: "Prints the hash of a key that it reads from the standard input",
		Long: `Prints the hash of a key, for the member hash of an entry of keys. The key is read from the
standard input, and is not shown while it is typed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := readSecret(cmd.InOrStdin(), cmd.ErrOrStderr())
			if err != nil {
				return fmt.Errorf("reading the key: %w", err)
			}
			if len(key) < minKey || len(key) > maxKey || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
				return fmt.Errorf("got a key of %d bytes, want %d to %d characters without blanks; caddy ai-gateway keys new makes good ones", len(key), minKey, maxKey)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), digestOf(key))
			return err
		},
	}
}

// readSecret reads a line, without showing it on a terminal.
func readSecret(from io.Reader, prompt io.Writer) (string, error) {
	if f, ok := from.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(prompt, "key: ")
		text, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(prompt)
		return string(text), err
	}
	line, err := bufio.NewReader(io.LimitReader(from, 64<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}

func revokeKeyCommand() *cobra.Command {
	e := new(fleetEdit)
	cmd := &cobra.Command{
		Use:   "revoke NAME [--config <file>] [--dry-run]",
		Short: "Refuses a key from now on",
		Long: `Sets disabled: true in the key's entry in config.json5. A running gateway refuses the key at
once; requests under way go on. All other bytes of the file stay as they are.

A key of keys_file is revoked there by hand.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.run(cmd, func(f *fleetText) ([]byte, string, error) { return f.revokeKey(args[0]) })
		},
	}
	cmd.Flags().StringVar(&e.Config, "config", defaultConfig, "the fleet's file")
	cmd.Flags().BoolVar(&e.DryRun, "dry-run", false, "show the change and write nothing")
	return cmd
}

// revokeKey disables the key of that name.
func (f *fleetText) revokeKey(name string) ([]byte, string, error) {
	var names []string
	for n, k := range f.keys {
		switch {
		case k.Name != name:
			names = append(names, k.Name)
		case n >= f.ownKeys:
			return nil, "", fmt.Errorf("key %s stands in keys_file; set disabled: true there", quote(name))
		case k.Disabled:
			return nil, "key " + name + " is disabled already", nil
		default:
			return f.doc.Set(f.doc.At("keys", n), json5.Member{Name: "disabled", Value: true}), "revoked key " + name, nil
		}
	}
	if near := json5.Nearest(name, names); near != "" {
		return nil, "", fmt.Errorf("no key is called %s; did you mean %s?", quote(name), quote(near))
	}
	return nil, "", fmt.Errorf("no key is called %s", quote(name))
}

func listKeysCommand() *cobra.Command {
	c := new(adminClient)
	cmd := &cobra.Command{
		Use:   "list [--json] [--address <admin>] [--config <file>]",
		Short: "Shows the keys, their limits, and what is left of them",
		Args:  cobra.NoArgs,
	}
	c.addFlags(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var list struct {
			Open bool        `json:"open"`
			Keys []keyStatus `json:"keys"`
		}
		if err := c.ask(http.MethodGet, "/keys", nil, &list); err != nil {
			return err
		}
		if *asJSON {
			return writeObject(cmd.OutOrStdout(), list)
		}
		out := bufio.NewWriter(cmd.OutOrStdout())
		if list.Open {
			fmt.Fprintln(out, "the gateway is open: its file has no keys")
			return out.Flush()
		}
		t := table{head: []string{"KEY", "STATE", "MODELS", "IN FLIGHT", "REQUESTS/MIN", "TOKENS/MIN", "BUDGETS"}}
		for _, k := range list.Keys {
			t.add(k.State, k.Name, k.State, strings.Join(k.Models, " "), of(int64(k.InFlight), int64(k.MaxConcurrency)), k.Requests.String(), k.Tokens.String(), shownBudgets(k.Budgets))
		}
		t.write(out, wantsColor(cmd.OutOrStdout()))
		return out.Flush()
	}
	return cmd
}

// of writes a number and its limit, if there is one.
func of(n, limit int64) string {
	if limit == 0 {
		return strconv.FormatInt(n, 10)
	}
	return fmt.Sprintf("%d of %d", n, limit)
}

// String tells how much is left, "–" where there is no limit.
func (s *rateStatus) String() string {
	if s == nil {
		return "–"
	}
	return fmt.Sprintf("%d of %d left", s.Left, s.Limit)
}

func shownBudgets(all []budgetStatus) string {
	if len(all) == 0 {
		return "–"
	}
	texts := make([]string, len(all))
	for n, b := range all {
		texts[n] = fmt.Sprintf("%s %s of %s", b.Name, amountText(b.Used), amountText(b.Limit))
	}
	return strings.Join(texts, ", ")
}

// amountText writes tokens or money, with no more digits than it has.
func amountText(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }

func usageCommand() *cobra.Command {
	c := new(adminClient)
	cmd := &cobra.Command{
		Use:   "usage [<key>] [--json] [--address <admin>] [--config <file>]",
		Short: "Shows what keys have used today and this month, by model",
		Args:  cobra.MaximumNArgs(1),
	}
	c.addFlags(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		query := make(url.Values)
		if len(args) == 1 {
			query.Set("key", args[0])
		}
		var used usageAnswer
		if err := c.ask(http.MethodGet, "/usage", query, &used); err != nil {
			return err
		}
		if *asJSON {
			return writeObject(cmd.OutOrStdout(), used)
		}
		out := bufio.NewWriter(cmd.OutOrStdout())
		used.write(out, wantsColor(cmd.OutOrStdout()))
		return out.Flush()
	}
	return cmd
}

// write writes a table for people.
func (u *usageAnswer) write(w io.Writer, color bool) {
	if !u.Kept {
		fmt.Fprintln(w, "note: the folder for it cannot be used, this is lost with the process")
	}
	t := table{head: []string{"KEY", "MODEL", "TODAY", "", "", "THIS MONTH", "", ""}}
	row := func(name, model string, today, month usageSum) {
		t.add("", name, model, plural(int(today.Requests), "request"), fmt.Sprintf("%d tokens", today.Prompt+today.Completion), amountText(today.Cost),
			plural(int(month.Requests), "request"), fmt.Sprintf("%d tokens", month.Prompt+month.Completion), amountText(month.Cost))
	}
	for _, k := range u.Keys {
		name := k.Name
		if !k.Known {
			name += " (not in the file)"
		}
		for _, m := range k.Models {
			row(name, m.Model, m.Today, m.Month)
			name = ""
		}
		if len(k.Models) != 1 {
			row(name, "all", k.Today, k.Month)
		}
	}
	t.write(w, color)
}
