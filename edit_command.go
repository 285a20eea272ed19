package aigateway

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/json5"
)

// editCommand returns caddy ai-gateway edit, the commands that change the fleet's file.
func editCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "edit <command>",
		Short: "Changes the fleet in config.json5",
		Long: `Changes the fleet in config.json5: adds and removes instances, sets their weight,
drains them. A running gateway picks the change up at once, as if the file had been
saved by an editor.

Only the bytes that must change do: comments, layout and order stay. What would not be
valid is not written. The file is replaced as a whole, so that a reader sees either the
old or the new content; of edits at the same time none is lost.

NAME is an instance's name, its url, HOST:PORT of that, or its ID, as /health shows them.`,
	}
	e := new(fleetEdit)
	cmd.PersistentFlags().StringVar(&e.Config, "config", defaultConfig, "the fleet's file")
	cmd.PersistentFlags().BoolVar(&e.DryRun, "dry-run", false, "show the change and write nothing; keys are shown as ***")
	cmd.AddCommand(
		editAddCommand(e),
		editOneCommand(e, "remove", "Takes an instance out of the file", (*fleetText).remove),
		editWeightCommand(e),
		editOneCommand(e, "drain", "Gives an instance no new requests; it finishes those it has", drainTo(true)),
		editOneCommand(e, "undrain", "Gives a drained instance requests again", drainTo(false)),
	)
	return cmd
}

// editOneCommand returns a command that changes one instance and takes nothing but its name.
func editOneCommand(e *fleetEdit, name, short string, change func(*fleetText, *fleetEntry) ([]byte, string)) *cobra.Command {
	return &cobra.Command{
		Use:   name + " [--config <file>] [--dry-run] NAME",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.run(cmd, func(f *fleetText) ([]byte, string, error) {
				entry, err := f.find(args[0])
				if err != nil {
					return nil, "", err
				}
				text, done := change(f, entry)
				return text, done, nil
			})
		},
	}
}

func editWeightCommand(e *fleetEdit) *cobra.Command {
	return &cobra.Command{
		Use:   "set-weight [--config <file>] [--dry-run] NAME N",
		Short: "Sets an instance's share of the requests",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			weight, err := strconv.Atoi(args[1])
			if err != nil || weight < 0 || weight > maxWeight {
				return fmt.Errorf("got weight %s, want 0 to %d", quote(args[1]), maxWeight)
			}
			return e.run(cmd, func(f *fleetText) ([]byte, string, error) {
				entry, err := f.find(args[0])
				if err != nil {
					return nil, "", err
				}
				text, done := f.setWeight(entry, weight)
				return text, done, nil
			})
		},
	}
}

// newInstanceFlags are the settings of an instance that is to be added.
type newInstanceFlags struct {
	instance           InstanceConfig
	weight             int
	keyEnv, keyFile    string
	plainKey           string // never taken
	fallback, weighted bool
}

func editAddCommand(e *fleetEdit) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add --url <url> {--model <name> | --discover} [<flags>]",
		Short: "Adds an instance at the end of its list",
		Long: `Adds an instance at the end of instances, or of fallback_instances, in the style of
those that stand there.

A key is given by the name of an environment variable or of a file, never itself: on the
command line it would stay in the shell's history, and all users of the machine would see
it in the list of processes. The variable or file must be there for this command too.`,
		Args: cobra.NoArgs,
	}
	var n newInstanceFlags
	flags := cmd.Flags()
	flags.StringVar(&n.instance.URL, "url", "", "what takes the place of the gateway's /v1 (required)")
	flags.StringVar(&n.instance.ModelName, "model", "", "the model that clients ask for (required, unless --discover is given)")
	flags.BoolVar(&n.instance.Discover, "discover", false, "serve all models that the server lists")
	flags.StringVar(&n.instance.UpstreamModel, "upstream-model", "", "what the server calls the model, if not so")
	flags.StringVar(&n.keyEnv, "api-key-env", "", "the environment variable that holds the key")
	flags.StringVar(&n.keyFile, "api-key-file", "", "the file that holds the key")
	flags.StringVar(&n.plainKey, "api-key", "", "")
	flags.IntVar(&n.weight, "weight", 1, "share of the model's requests")
	flags.IntVar(&n.instance.MaxConcurrency, "max-concurrency", 0, "most requests at once, 0 for no limit")
	flags.IntVar(&n.instance.ContextLength, "context-length", 0, "tokens that the model takes, if the server does not tell")
	flags.StringVar(&n.instance.Resolve, "resolve", "", "a, aaaa or srv: one instance for each server that the DNS has for the url's name")
	flags.StringVar(&n.instance.Name, "name", "", "shown in logs and /health")
	flags.StringVar(&n.instance.Engine, "engine", "", strings.Join(engines, ", "))
	flags.BoolVar(&n.fallback, "fallback", false, "add it to fallback_instances")
	// Known only to say why it is refused.
	if err := flags.MarkHidden("api-key"); err != nil {
		panic(err) // the flag is defined above
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		n.weighted = flags.Changed("weight")
		if flags.Changed("api-key") {
			return errors.New("a key on the command line stays in the shell's history and in the list of processes; " +
				"put it into an environment variable or a file, and give --api-key-env or --api-key-file")
		}
		members, err := n.members(e.Config)
		if err != nil {
			return err
		}
		list := "instances"
		if n.fallback {
			list = "fallback_instances"
		}
		return e.run(cmd, func(f *fleetText) ([]byte, string, error) { return f.add(list, members) })
	}
	return cmd
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// members returns what is written for the instance into the file at config. Values are
// checked later, as those of the file.
func (n *newInstanceFlags) members(config string) ([]json5.Member, error) {
	c := &n.instance
	if c.URL == "" || c.ModelName == "" && !c.Discover {
		return nil, errors.New("adding an instance: want --url, and --model or --discover")
	}
	var key string
	switch {
	case n.keyEnv != "" && n.keyFile != "":
		return nil, errors.New("got --api-key-env and --api-key-file, want one of them")
	case n.keyEnv != "":
		if !variableName.MatchString(n.keyEnv) {
			return nil, errors.New("--api-key-env: want the name of an environment variable, letters, digits and _; the key itself does not belong on the command line")
		}
		key = "{env." + n.keyEnv + "}"
	case n.keyFile != "":
		path, err := keyPath(config, n.keyFile)
		if err != nil {
			return nil, err
		}
		key = "{file." + path + "}"
	}
	members := []json5.Member{{Name: "url", Value: c.URL}}
	for _, m := range []json5.Member{
		{Name: "model_name", Value: c.ModelName},
		{Name: "discover", Value: c.Discover},
		{Name: "resolve", Value: c.Resolve},
		{Name: "upstream_model", Value: c.UpstreamModel},
		{Name: "api_key", Value: key},
		{Name: "weight", Value: n.weight},
		{Name: "max_concurrency", Value: c.MaxConcurrency},
		{Name: "context_length", Value: c.ContextLength},
		{Name: "name", Value: c.Name},
		{Name: "engine", Value: c.Engine},
	} {
		if m.Name == "weight" && !n.weighted || m.Name != "weight" && (m.Value == "" || m.Value == 0 || m.Value == false) {
			continue
		}
		members = append(members, m)
	}
	for _, m := range members {
		if s, ok := m.Value.(string); ok && !utf8.ValidString(s) {
			return nil, fmt.Errorf("the value for %s is not UTF-8", m.Name)
		}
	}
	return members, nil
}

// keyPath returns the path of a key's file as the file at config names it: from its own
// folder, if the key's lies there.
func keyPath(config, path string) (string, error) {
	if strings.Contains(path, "}") {
		return "", errors.New(`--api-key-file: want a path without "}"`)
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("finding the key's file: %w", err)
	}
	dir, err := filepath.Abs(filepath.Dir(config))
	if err != nil {
		return "", fmt.Errorf("finding the key's file: %w", err)
	}
	if inside, err := filepath.Rel(dir, absolute); err == nil && filepath.IsLocal(inside) {
		return inside, nil
	}
	return absolute, nil
}
