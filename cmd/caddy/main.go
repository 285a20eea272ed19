// Command caddy is Caddy with its standard modules and this plugin.
//
//	go run ./cmd/caddy run --config Caddyfile.example
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/simpleaigateway/caddy-ai-gateway"
)

func main() { caddycmd.Main() }
