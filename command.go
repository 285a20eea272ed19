package aigateway

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:      "ai-gateway",
		Usage:     "<command>",
		Short:     "Works with the files of the AI gateway",
		Long:      "Works with the files of the AI gateway. It needs no running server.",
		CobraFunc: addCommands,
	})
}

// addCommands puts the commands below cmd, which is caddy ai-gateway.
func addCommands(cmd *cobra.Command) {
	cmd.AddCommand(checkCommand(), editCommand(), recordsCommand(), schemaCommand())
}
