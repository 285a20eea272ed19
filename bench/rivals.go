//go:build linux

package main

import (
	"bytes"
	"fmt"
	"runtime"
)

// nginxConfig is as close to the candidates by Caddy as it gets: round robin, kept
// connections, streams passed on at once, requests of any size in memory.
func nginxConfig(address string, upstreams []string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "daemon off;\npid nginx.pid;\nworker_processes %d;\nerror_log stderr error;\n"+
		"events { worker_connections 19900; }\nhttp {\n\taccess_log off;\n\tclient_body_temp_path body;\n\tproxy_temp_path proxy;\n"+
		"\tfastcgi_temp_path fastcgi;\n\tuwsgi_temp_path uwsgi;\n\tscgi_temp_path scgi;\n\tkeepalive_requests 1000000000;\n\tupstream fleet {\n", runtime.NumCPU())
	for _, u := range upstreams {
		fmt.Fprintf(&b, "\t\tserver %s;\n", u)
	}
	fmt.Fprintf(&b, "\t\tkeepalive 10000;\n\t\tkeepalive_requests 1000000000;\n\t}\n\tserver {\n\t\tlisten %s backlog=16384;\n"+
		"\t\tclient_max_body_size 64m;\n\t\tclient_body_buffer_size 8m;\n\t\tlocation / {\n\t\t\tproxy_pass http://fleet;\n"+
		"\t\t\tproxy_http_version 1.1;\n\t\t\tproxy_set_header Connection \"\";\n\t\t\tproxy_buffering off;\n\t\t\tproxy_read_timeout 300s;\n\t\t}\n\t}\n}\n", address)
	return b.Bytes()
}

// haproxyConfig likewise.
func haproxyConfig(address string, upstreams []string) []byte {
	var b bytes.Buffer
	// Without maxconn it takes what the limit of open files allows.
	fmt.Fprintf(&b, "global\n\tnbthread %d\n\ndefaults\n\tmode http\n\toption http-no-delay\n\thttp-reuse always\n"+
		"\ttimeout connect 5s\n\ttimeout client 300s\n\ttimeout server 300s\n\nfrontend front\n\tbind %s\n\tdefault_backend fleet\n\n"+
		"backend fleet\n\tbalance roundrobin\n", runtime.NumCPU(), address)
	for i, u := range upstreams {
		fmt.Fprintf(&b, "\tserver s%d %s pool-max-conn 10000\n", i, u)
	}
	return b.Bytes()
}
