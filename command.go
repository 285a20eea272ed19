package aigateway

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "ai-gateway",
		Usage: "<command>",
		Short: "Works with the AI gateway and its files",
		Long: `Works with the AI gateway and its files.

status, top, drain, undrain, eject, restore, explain, keys list and keys usage ask a running
gateway, by Caddy's admin endpoint. The others need none.`,
		CobraFunc: addCommands,
	})
}

// addCommands puts the commands below cmd, which is caddy ai-gateway.
func addCommands(cmd *cobra.Command) {
	cmd.AddCommand(checkCommand(), editCommand(), recordsCommand(), schemaCommand(), doctorCommand(), testAlertCommand(), keysCommand())
	addSteerCommands(cmd)
}
