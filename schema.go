package aigateway

import (
	_ "embed"

	"github.com/spf13/cobra"
)

// configSchema is the JSON Schema of config.json5 (draft 2020-12), made of
// [Config], its comments, the parser's defaults and the bounds that check knows.
//
//go:generate go test -timeout 5m -run ^(TestSchemaIsCurrent|TestPagesAreCurrent)$ . -update
//go:embed config.schema.json
var configSchema []byte

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Prints the JSON Schema of config.json5",
		Long: `Prints the JSON Schema of config.json5, by which editors complete and check the file:

  caddy ai-gateway schema > config.schema.json

and in config.json5, beside it, the member "$schema": "./config.schema.json".`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(configSchema)
			return err
		},
	}
}
