package aigateway

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/json5"
)

// errUnwell is returned when doctor has said which instances have failed.
var errUnwell = errors.New("a check has failed")

func doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor [<file>] [--ask] [--json] [--timeout <time>] [--ca <file>]",
		Short: "Asks every instance of config.json5 whether it is as the file says",
		Long: `Asks every instance of config.json5 itself, without the gateway: whether its name resolves,
a connection and TLS come about and for how long the certificate is valid, whether it
accepts the key, has the model, is in good health, is the engine that the file names, and
whether its clock is right. It sends GET of /v1/models, /health and /version alone.

--ask also sends one request of one token to each API: chat, completions, responses and
messages. A cloud may charge for it.

✓ is good, ✗ is a failure, – was not checked or has no meaning there. The exit status is 1
if anything has failed. Keys are never shown. Environment variables that the file names
must be set here as they are for the gateway.`,
		Args: cobra.MaximumNArgs(1),
	}
	flags := cmd.Flags()
	asks := flags.Bool("ask", false, "send a request of one token to each API")
	asJSON := flags.Bool("json", false, "print one JSON object")
	timeout := flags.Duration("timeout", 10*time.Second, "the longest wait for each answer")
	ca := flags.String("ca", "", "certificates of authorities to trust besides the system's, as the Caddyfile's transport does")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		file := defaultConfig
		if len(args) == 1 {
			file = args[0]
		}
		d := &doctor{timeout: *timeout, asks: *asks}
		var err error
		if d.roots, err = authorities(*ca); err != nil {
			return err
		}
		instances, lost, err := readInstances(file)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
		defer stop()
		diagnosis := d.examine(ctx, instances)
		diagnosis.add(lost)
		stdout := cmd.OutOrStdout()
		out := bufio.NewWriter(stdout)
		if *asJSON {
			err = writeObject(out, diagnosis)
		} else {
			diagnosis.write(out, wantsColor(stdout))
		}
		if err = errors.Join(err, out.Flush()); err == nil && !diagnosis.Well {
			cmd.SilenceErrors = true // they have been printed
			err = errUnwell
		}
		return err
	}
	return cmd
}

// authorities returns the system's and those in the file, nil for the system's alone.
func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // as crypto/tls takes it
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the authorities: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("reading the authorities: %s holds no certificate in PEM", file)
	}
	return pool, nil
}

// readInstances returns the instances of a fleet's file, and what there is to say of
// entries whose names bring none.
func readInstances(file string) (instances []*instance, lost []examined, err error) {
	text, err := readRegular(file, json5.MaxSize)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the fleet's file: %w", err)
	}
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return nil, nil, fmt.Errorf("finding %s: %w", file, err)
	}
	config, err := parseConfig(text, dir)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, detailed{err})
	}
	s := &store{path: file, events: newBulletin(), cfg: config, resolver: newResolver()}
	s.resolver.prepare(config, clock(), time.Duration(config.DNS.Timeout))
	for n, entry := range config.entries() {
		if entry.Resolve == "" {
			continue
		}
		if name := entry.dnsName(); len(s.resolver.names[name].records) == 0 {
			t := primary
			if n >= len(config.Instances) {
				t = fallback
			}
			e := examined{Name: entry.shownName(), Address: name.host, Model: entry.ModelName, Tier: t.String()}
			e.Checks = []finding{{"name", bad, fmt.Sprintf("%s has no server by %s: %s", name.host, name.kind, s.resolver.names[name].cause)}}
			lost = append(lost, e)
		}
	}
	return s.instances(config), lost, nil
}

// diagnosis is what doctor tells.
type diagnosis struct {
	Well      bool       `json:"well"` // nothing has failed
	Instances []examined `json:"instances"`
}

// examined is an instance that has been asked.
type examined struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Address string    `json:"address"`
	Model   string    `json:"model"`
	Tier    string    `json:"tier"`
	Well    bool      `json:"well"`
	Checks  []finding `json:"checks"`
}

// mark is the result of a check.
type mark string

const (
	good    mark = "✓"
	bad     mark = "✗"
	skipped mark = "–"
)

// finding is one check.
type finding struct {
	Check  string `json:"check"`
	Result mark   `json:"result"`
	Text   string `json:"text"`
}

// write writes a table for people.
func (d *diagnosis) write(w io.Writer, color bool) {
	t := table{head: []string{"", "INSTANCE", "CHECK", "RESULT"}}
	unwell := 0
	for _, p := range d.Instances {
		if !p.Well {
			unwell++
		}
		for _, c := range p.Checks {
			t.add(string(c.Result), string(c.Result), p.Name, c.Check, c.Text)
		}
	}
	t.write(w, color)
	if unwell > 0 {
		fmt.Fprintf(w, "%s, %d with failures\n", plural(len(d.Instances), "instance"), unwell)
		return
	}
	fmt.Fprintf(w, "%s, all well\n", plural(len(d.Instances), "instance"))
}

// add adds those that could not be asked.
func (d *diagnosis) add(lost []examined) {
	d.Instances = append(d.Instances, lost...)
	d.Well = d.Well && len(lost) == 0
}

// examine asks all instances, several at once.
func (d *doctor) examine(ctx context.Context, instances []*instance) *diagnosis {
	const atOnce = 16
	all := &diagnosis{Well: true, Instances: make([]examined, len(instances))}
	slots, done := make(chan struct{}, atOnce), make(chan struct{})
	for n, i := range instances {
		go func() {
			slots <- struct{}{}
			all.Instances[n] = d.visit(ctx, i)
			<-slots
			done <- struct{}{}
		}()
	}
	for range instances {
		<-done
	}
	for _, p := range all.Instances {
		all.Well = all.Well && p.Well
	}
	return all
}
